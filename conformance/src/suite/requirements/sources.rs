//! Finds the project's tests and the clauses they cite, in a checkout of the sources. The result is
//! kept in a file, because an installed harness has none. Reads Rust as rustfmt leaves it, by lines:
//! it must not know the language better than that.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use super::Matrix;

/// Where the result is kept, from the root of the repository.
pub const TESTS_FILE: &str = "conformance/requirements/tests.toml";

const HEADER: &str = "\
# Which tests cite which clause: written by `cargo conformance requirements --update`, not by hand.
";

/// Where the project's tests are, from the root. What the harness tests about itself is not there.
const ROOTS: [&str; 3] = ["src", "tests", "conformance/tests"];

/// The tests that cite each clause, by its id, as `file::test`. A test cites in its doc comment or its
/// body; what a file of nothing but tests, or a module of tests, says about itself in `//!` holds for
/// each of its tests.
pub fn citations(root: &Path, matrix: &Matrix) -> io::Result<BTreeMap<String, Vec<String>>> {
    let mut cited: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for folder in ROOTS {
        for file in files(&root.join(folder), &["rs"])? {
            let text = fs::read_to_string(&file)?;
            let name = relative(root, &file);
            for test in tests_in(&name, &text) {
                for (_, clauses) in matrix.cited(&test.text) {
                    for clause in clauses {
                        let tests = cited.entry(clause.id.clone()).or_default();
                        tests.insert(format!("{name}::{}", test.name));
                    }
                }
            }
        }
    }
    Ok(cited.into_iter().map(|(id, tests)| (id, tests.into_iter().collect())).collect())
}

/// Writes [`TESTS_FILE`] below `root` anew; says whether it changed.
pub fn refresh(root: &Path) -> io::Result<bool> {
    let matrix = Matrix::load().map_err(io::Error::other)?;
    let text = written(&citations(root, &matrix)?);
    let file = root.join(TESTS_FILE);
    if fs::read_to_string(&file).is_ok_and(|present| present == text) {
        return Ok(false);
    }
    fs::write(file, text)?;
    Ok(true)
}

/// The file's text.
pub(super) fn written(citations: &BTreeMap<String, Vec<String>>) -> String {
    let mut text = HEADER.to_owned();
    for (id, tests) in citations {
        // Ids and names need no escapes: the one are in the matrix, the other are Rust's.
        let _ = writeln!(text, "\n\"{id}\" = [");
        for test in tests {
            let _ = writeln!(text, "    \"{test}\",");
        }
        text.push_str("]\n");
    }
    text
}

/// Files below a folder with one of these extensions, sorted.
pub(super) fn files(folder: &Path, extensions: &[&str]) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| extensions.iter().any(|e| ext == *e)) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// With slashes on every system.
pub(super) fn relative(root: &Path, file: &Path) -> String {
    let path = file.strip_prefix(root).unwrap_or(file);
    path.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// A test and all that it says.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Test {
    pub name: String,
    pub text: String,
}

/// Whether the file has nothing but tests, so that its `//!` is about them.
fn is_of_tests(name: &str) -> bool {
    let path = Path::new(name);
    path.iter().any(|part| part == "tests") || path.file_stem().is_some_and(|stem| stem == "tests")
}

/// The tests of a file.
pub(super) fn tests_in(name: &str, source: &str) -> Vec<Test> {
    let lines: Vec<&str> = source.lines().collect();
    let mut tests = Vec::new();
    let mut shared = String::new();
    let mut is_about_tests = is_of_tests(name);
    let mut before = String::new();
    let mut is_test = false;
    let mut rest = lines.as_slice();
    while let Some((line, following)) = rest.split_first() {
        rest = following;
        let trimmed = line.trim_start();
        if let Some(doc) = trimmed.strip_prefix("//!") {
            if is_about_tests {
                push(&mut shared, doc);
            }
        } else if trimmed.starts_with("//") || trimmed.starts_with("#[") {
            is_test |= trimmed.starts_with("#[test]") || trimmed.starts_with("#[tokio::test");
            push(&mut before, trimmed);
        } else {
            if is_test && let Some(name) = function(trimmed) {
                let (body, following) = item(line, following);
                rest = following;
                let mut text = format!("{shared}{before}");
                for line in body {
                    push(&mut text, line);
                }
                tests.push(Test { name: name.to_owned(), text });
            }
            if trimmed.starts_with("mod ") && trimmed.ends_with('{') && before.contains("cfg(test)")
            {
                is_about_tests = true;
            }
            before.clear();
            is_test = false;
        }
    }
    tests
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn function(line: &str) -> Option<&str> {
    let (before, name) = line.split_once("fn ")?;
    let is_plain = before.split(' ').all(|word| matches!(word, "" | "pub" | "async"));
    is_plain.then(|| name.split('(').next()).flatten()
}

/// An item from its first line to the brace that closes it at the same depth, and what follows.
fn item<'a, 'l>(first: &'l str, following: &'a [&'l str]) -> (Vec<&'l str>, &'a [&'l str]) {
    let depth = first.len() - first.trim_start().len();
    let is_end = |line: &&str| line.trim_start() == "}" && line.len() == depth + 1;
    let length = if first.ends_with('}') {
        0
    } else {
        following.iter().position(is_end).map_or(following.len(), |end| end + 1)
    };
    let (body, rest) = following.split_at_checked(length).unwrap_or((following, &[]));
    let mut lines = vec![first];
    lines.extend(body);
    (lines, rest)
}
