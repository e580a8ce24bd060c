//! The folder in which copies are weakened: the source, brought to the state of the repository, and a
//! build folder of its own that starts with the dependencies built already. The only place that writes;
//! it must not know what is changed or played.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File, FileTimes, TryLockError},
    io,
    path::{Component, Path, PathBuf},
    process::Command,
};

use super::WeakenFault;

/// Says that a folder is ours, and whether somebody is at work in it.
const LOCK: &str = "weaken.lock";
/// Says that the build folder has got its dependencies.
const PREPARED: &str = "prepared";
/// What of a build folder tells cargo that dependencies are there.
const PARTS: [&str; 3] = ["deps", "build", ".fingerprint"];
/// Never copied where git does not say what belongs to the source.
const NOT_SOURCE: [&str; 3] = [".git", "node_modules", "target"];

/// The folder.
#[derive(Debug)]
pub(super) struct Work {
    folder: PathBuf,
    /// Held while we are at work.
    _lock: File,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> WeakenFault + '_ {
    |source| WeakenFault::File { path: path.to_owned(), source }
}

impl Work {
    /// Makes or takes up a folder.
    pub(super) fn open(folder: &Path) -> Result<Self, WeakenFault> {
        fs::create_dir_all(folder).map_err(at(folder))?;
        let lock = folder.join(LOCK);
        let empty = fs::read_dir(folder).map_err(at(folder))?.next().is_none();
        if !empty && !lock.exists() {
            return Err(WeakenFault::Foreign(folder.to_owned()));
        }
        let file = File::options().create(true).append(true).open(&lock).map_err(at(&lock))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _lock: file }),
            Err(TryLockError::WouldBlock) => Err(WeakenFault::Busy(folder.to_owned())),
            Err(TryLockError::Error(source)) => Err(at(&lock)(source)),
        }
    }

    /// The copy of the source.
    pub(super) fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// The build folder. It belongs to the copy alone: cargo takes what one tree built for another's.
    pub(super) fn build(&self) -> PathBuf {
        self.folder.join("build")
    }

    /// Where a run's report goes.
    pub(super) fn report(&self) -> PathBuf {
        self.folder.join("report.json")
    }

    /// Deletes all of it.
    pub(super) fn remove(self) -> Result<(), WeakenFault> {
        fs::remove_dir_all(&self.folder).map_err(at(&self.folder))
    }

    /// Makes the copy what the source below `root` is. What is the same already is left alone, so
    /// that it is not built again.
    pub(super) fn copy_source(&self, root: &Path) -> Result<(), WeakenFault> {
        let tree = self.tree();
        let mut wanted = BTreeSet::new();
        for file in source_files(root, &self.folder)? {
            let (from, to) = (root.join(&file), tree.join(&file));
            let text = fs::read(&from).map_err(at(&from))?;
            if fs::read(&to).ok().as_ref() != Some(&text) {
                let parent = to.parent().unwrap_or(&tree);
                fs::create_dir_all(parent).map_err(at(parent))?;
                fs::write(&to, text).map_err(at(&to))?;
            }
            wanted.insert(file);
        }
        if !wanted.contains(Path::new("Cargo.toml")) {
            return Err(WeakenFault::NoSource(root.to_owned()));
        }
        for file in walk(&tree, &|_| true)? {
            if !wanted.contains(&file) {
                let path = tree.join(&file);
                fs::remove_file(&path).map_err(at(&path))?;
            }
        }
        Ok(())
    }

    /// Gives the build folder the dependencies that `profile` (such as `target/debug`) holds, once.
    /// Compiled files, which are only ever replaced whole, are linked; what cargo writes into is
    /// copied with its time, by which cargo tells what is new. Where there is nothing, cargo builds.
    pub(super) fn take_dependencies(&self, profile: &Path) -> Result<(), WeakenFault> {
        let (build, debug) = (self.build(), self.build().join("debug"));
        let marker = build.join(PREPARED);
        if marker.exists() {
            return Ok(());
        }
        if build.exists() {
            fs::remove_dir_all(&build).map_err(at(&build))?;
        }
        fs::create_dir_all(&debug).map_err(at(&debug))?;
        for part in PARTS {
            let from = profile.join(part);
            if !from.is_dir() {
                continue;
            }
            for file in walk(&from, &|path| !is_ours(path))? {
                let compiled = is_compiled(&file);
                if part == "deps" && !compiled && file.extension() != Some(OsStr::new("d")) {
                    continue;
                }
                let (from, to) = (from.join(&file), debug.join(part).join(&file));
                let parent = to.parent().unwrap_or(&debug);
                fs::create_dir_all(parent).map_err(at(parent))?;
                if !compiled || fs::hard_link(&from, &to).is_err() {
                    copy_with_time(&from, &to).map_err(at(&to))?;
                }
            }
        }
        File::create(&marker).map_err(at(&marker))?;
        Ok(())
    }
}

/// What the workspace itself built; its copy builds that anew.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.contains("fapi_bff") || name.contains("fapi-bff")
}

fn is_compiled(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    ["rlib", "rmeta", "so", "dylib"].contains(&extension)
}

fn copy_with_time(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    let modified = fs::metadata(from)?.modified()?;
    File::options().write(true).open(to)?.set_times(FileTimes::new().set_modified(modified))
}

/// The files of the source, from its root: those git knows or would take, or, outside git, all but
/// what is never source.
fn source_files(root: &Path, work: &Path) -> Result<Vec<PathBuf>, WeakenFault> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output();
    if let Ok(output) = listed
        && output.status.success()
    {
        let files: BTreeSet<PathBuf> = output
            .stdout
            .split(|byte| *byte == 0)
            .filter_map(|name| std::str::from_utf8(name).ok())
            .map(PathBuf::from)
            .filter(|file| is_below(file) && root.join(file).is_file())
            .collect();
        // A folder inside somebody else's repository is not known there.
        if files.contains(Path::new("Cargo.toml")) {
            return Ok(files.into_iter().collect());
        }
    }
    let is_source = |path: &Path| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        !NOT_SOURCE.contains(&name) && root.join(path) != work
    };
    walk(root, &is_source)
}

/// A path that stays where it starts.
fn is_below(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_))) && path != Path::new("")
}

/// Every file below a folder that `wanted` lets pass, file or folder, by its path from there.
fn walk(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>, WeakenFault> {
    let mut files = Vec::new();
    let mut left = vec![PathBuf::new()];
    while let Some(inner) = left.pop() {
        let here = folder.join(&inner);
        for entry in fs::read_dir(&here).map_err(at(&here))? {
            let entry = entry.map_err(at(&here))?;
            let path = inner.join(entry.file_name());
            if !wanted(&path) {
                continue;
            }
            let kind = entry.file_type().map_err(at(&here))?;
            if kind.is_dir() {
                left.push(path);
            } else if kind.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, files: &[(&str, &str)]) {
        for (file, text) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn read(path: impl AsRef<Path>) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_folder_with_something_else_in_it_or_at_work_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), &[("thesis.txt", "mine")]);
        assert!(matches!(Work::open(folder.path()), Err(WeakenFault::Foreign(_))));
        assert_eq!(read(folder.path().join("thesis.txt")), "mine");
        let folder = tempfile::tempdir().unwrap();
        let first = Work::open(folder.path()).unwrap();
        assert!(matches!(Work::open(folder.path()), Err(WeakenFault::Busy(_))));
        drop(first);
        Work::open(folder.path()).unwrap().remove().unwrap();
        assert!(!folder.path().exists());
    }

    #[test]
    fn the_copy_becomes_what_the_source_is_and_only_what_differs_is_written() {
        let root = tempfile::tempdir().unwrap();
        put(
            root.path(),
            &[
                ("Cargo.toml", "[workspace]"),
                ("src/a.rs", "a"),
                ("src/b.rs", "b"),
                ("target/debug/x", "built"),
                ("e2e/node_modules/x", "fetched"),
                ("target2", "named so"),
            ],
        );
        let folder = root.path().join("work");
        let work = Work::open(&folder).unwrap();
        work.copy_source(root.path()).unwrap();
        let tree = work.tree();
        let copied = walk(&tree, &|_| true).unwrap();
        let copied: Vec<_> = copied.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(copied, ["Cargo.toml", "src/a.rs", "src/b.rs", "target2"]);

        let before = fs::metadata(tree.join("src/a.rs")).unwrap().modified().unwrap();
        put(&tree, &[("src/b.rs", "weakened"), ("src/c.rs", "left over")]);
        fs::remove_file(root.path().join("target2")).unwrap();
        work.copy_source(root.path()).unwrap();
        assert_eq!(read(tree.join("src/b.rs")), "b");
        assert!(!tree.join("src/c.rs").exists() && !tree.join("target2").exists());
        assert_eq!(fs::metadata(tree.join("src/a.rs")).unwrap().modified().unwrap(), before);
        assert_eq!(read(root.path().join("src/b.rs")), "b");
    }

    #[test]
    fn a_folder_without_source_is_said_to_have_none() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), &[("readme", "x")]);
        let work = Work::open(&root.path().join("work")).unwrap();
        let fault = work.copy_source(root.path()).unwrap_err();
        assert!(matches!(fault, WeakenFault::NoSource(_)));
    }

    #[test]
    fn dependencies_are_taken_once_and_what_the_workspace_built_is_not() {
        let root = tempfile::tempdir().unwrap();
        let profile = root.path().join("target/debug");
        put(
            &profile,
            &[
                ("deps/libtokio-1.rlib", "t"),
                ("deps/tokio-1.d", "d"),
                ("deps/libfapi_bff-1.rlib", "o"),
                ("deps/conformance-1", "program"),
                ("build/ring-1/output", "out"),
                (".fingerprint/tokio-1/lib-tokio", "f"),
                (".fingerprint/fapi-bff-1/lib-fapi_bff", "f"),
                ("conformance", "program"),
            ],
        );
        let work = Work::open(&root.path().join("work")).unwrap();
        work.take_dependencies(&profile).unwrap();
        let debug = work.build().join("debug");
        let taken = walk(&debug, &|_| true).unwrap();
        let taken: Vec<_> = taken.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(
            taken,
            [
                ".fingerprint/tokio-1/lib-tokio",
                "build/ring-1/output",
                "deps/libtokio-1.rlib",
                "deps/tokio-1.d",
            ]
        );
        for file in taken {
            let time = |base: &Path| fs::metadata(base.join(file)).unwrap().modified().unwrap();
            assert_eq!(time(&debug), time(&profile), "{file}");
        }
        // What cargo writes in place must not reach the folder it came from.
        fs::write(debug.join(".fingerprint/tokio-1/lib-tokio"), "new").unwrap();
        assert_eq!(read(profile.join(".fingerprint/tokio-1/lib-tokio")), "f");
        put(&profile, &[("deps/libnew-1.rlib", "n")]);
        work.take_dependencies(&profile).unwrap();
        assert!(!debug.join("deps/libnew-1.rlib").exists());
        let nothing = Work::open(&root.path().join("other")).unwrap();
        nothing.take_dependencies(&root.path().join("nowhere")).unwrap();
    }

    #[test]
    fn a_listed_path_that_leads_elsewhere_is_not_followed() {
        for wrong in ["", "/etc/passwd", "../x", "src/../../x"] {
            assert!(!is_below(Path::new(wrong)), "{wrong}");
        }
        assert!(is_below(Path::new("src/a.rs")));
    }
}
