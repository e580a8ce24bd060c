//! The weakenings: what each takes away, where, and which modules must notice. Pure but for reading the
//! source; it must not know how a copy is built.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::Deserialize;

use super::WeakenFault;
use crate::suite::runner::shuffle;

const LIST: &str = include_str!("../../weakenings.toml");

/// One check taken away.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weakening {
    /// Its name.
    pub name: String,
    /// What it takes away, in one sentence.
    pub removes: String,
    /// The modules that must notice, each of them.
    pub modules: Vec<String>,
    /// The clauses that stand behind the check.
    pub clauses: Vec<String>,
    /// Text in the condition by which it is noticed, where that can be told from all others.
    pub says: Option<String>,
    /// What goes is a recommendation: a warning is notice enough.
    #[serde(default)]
    pub warns: bool,
    /// The changes: one, or one for each place where the check is made.
    #[serde(rename = "edit")]
    pub edits: Vec<Edit>,
}

/// One change of one file.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The file, from the repository's root.
    pub file: String,
    /// Text that occurs there exactly once.
    pub find: String,
    /// What stands there instead.
    pub replace: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(rename = "weakening")]
    weakenings: Vec<Weakening>,
}

/// Every weakening this harness was built with.
pub fn all() -> Result<Vec<Weakening>, WeakenFault> {
    let list: List = toml::from_str(LIST).map_err(|error| WeakenFault::List(Box::new(error)))?;
    Ok(list.weakenings)
}

/// So many of them, spread by a seed, in the list's order.
pub fn sample(weakenings: Vec<Weakening>, size: usize, seed: u64) -> Vec<Weakening> {
    let mut numbered: Vec<_> = weakenings.into_iter().enumerate().collect();
    shuffle(&mut numbered, seed);
    numbered.truncate(size);
    numbered.sort_by_key(|(place, _)| *place);
    numbered.into_iter().map(|(_, weakening)| weakening).collect()
}

/// Why a weakening cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum Misfit {
    /// Its file cannot be read.
    #[error("{file}: {source}")]
    Unreadable {
        /// Which.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// The source has moved on.
    #[error(
        "the weakening no longer fits, update it: {file} has {places} places, not one, for\n{find}"
    )]
    Places {
        /// Which file.
        file: String,
        /// How many places.
        places: usize,
        /// The text.
        find: String,
    },
}

/// A file before and after.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Changed {
    pub(super) file: String,
    pub(super) before: String,
    pub(super) after: String,
}

impl Weakening {
    /// The files it changes in the source below `root`; writes nothing.
    pub(super) fn applied(&self, root: &Path) -> Result<Vec<Changed>, Misfit> {
        let mut files: BTreeMap<&str, Changed> = BTreeMap::new();
        for edit in &self.edits {
            let before = match files.get(edit.file.as_str()) {
                Some(changed) => changed.before.clone(),
                None => fs::read_to_string(root.join(&edit.file))
                    .map_err(|source| Misfit::Unreadable { file: edit.file.clone(), source })?,
            };
            let text = files.get(edit.file.as_str()).map_or(&before, |changed| &changed.after);
            let after = edit.apply(text)?;
            let changed = Changed { file: edit.file.clone(), before, after };
            files.insert(&edit.file, changed);
        }
        Ok(files.into_values().collect())
    }
}

impl Edit {
    fn apply(&self, text: &str) -> Result<String, Misfit> {
        let places = if self.find.is_empty() { 0 } else { text.matches(&self.find).count() };
        if places == 1 {
            Ok(text.replacen(&self.find, &self.replace, 1))
        } else {
            let (file, find) = (self.file.clone(), self.find.clone());
            Err(Misfit::Places { file, places, find })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        suite::{hardening, oidf, requirements::Matrix},
        weaken::CONTROL,
    };

    fn edit(find: &str, replace: &str) -> Edit {
        Edit { file: "src/a.rs".into(), find: find.into(), replace: replace.into() }
    }

    fn weakening(edits: Vec<Edit>) -> Weakening {
        Weakening {
            name: "name".into(),
            removes: "Something.".into(),
            modules: vec![],
            clauses: vec![],
            says: None,
            warns: false,
            edits,
        }
    }

    #[test]
    fn text_that_is_not_there_or_there_twice_is_no_place() {
        for (find, places) in [("nowhere", 0), ("if ", 2), ("", 0)] {
            let error = edit(find, "x").apply("if a { }\nif b { }\n").unwrap_err();
            let Misfit::Places { places: found, .. } = &error else { unreachable!() };
            assert_eq!(*found, places, "{find:?}");
            assert!(error.to_string().contains("no longer fits"), "{error}");
        }
        assert_eq!(edit("a", "false").apply("if a {}").unwrap(), "if false {}");
    }

    #[test]
    fn several_edits_of_one_file_add_up_and_the_source_stays_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("src")).unwrap();
        fs::write(root.path().join("src/a.rs"), "one two").unwrap();
        let both = weakening(vec![edit("one", "1"), edit("two", "2")]);
        let changed = both.applied(root.path()).unwrap();
        assert_eq!(changed.len(), 1);
        assert_eq!((&*changed[0].before, &*changed[0].after), ("one two", "1 2"));
        assert_eq!(fs::read_to_string(root.path().join("src/a.rs")).unwrap(), "one two");
        let twice = weakening(vec![edit("one", "two"), edit("two", "2")]);
        assert!(matches!(twice.applied(root.path()), Err(Misfit::Places { places: 2, .. })));
        let mut elsewhere = both;
        elsewhere.edits[0].file = "src/b.rs".into();
        assert!(matches!(elsewhere.applied(root.path()), Err(Misfit::Unreadable { .. })));
    }

    #[test]
    fn a_sample_is_reproducible_in_order_and_never_more_than_there_is() {
        let names = |list: &[Weakening]| -> Vec<String> {
            list.iter().map(|weakening| weakening.name.clone()).collect()
        };
        let numbered = || -> Vec<Weakening> {
            let one = |n: usize| Weakening { name: format!("{n:02}"), ..weakening(vec![]) };
            (0..50).map(one).collect()
        };
        let one = names(&sample(numbered(), 8, 7));
        assert_eq!(one, names(&sample(numbered(), 8, 7)));
        assert_ne!(one, names(&sample(numbered(), 8, 8)));
        assert_eq!(one.len(), 8);
        assert!(one.is_sorted());
        assert_eq!(sample(numbered(), 100, 7).len(), 50);
    }

    /// The guard against a list that the source has outgrown.
    #[test]
    fn every_weakening_fits_the_source_as_it_is() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for weakening in all().unwrap() {
            let changed = weakening.applied(root);
            let changed = changed.unwrap_or_else(|error| panic!("{}: {error}", weakening.name));
            assert!(!changed.is_empty(), "{}", weakening.name);
            for Changed { file, before, after } in changed {
                assert_ne!(before, after, "{}", weakening.name);
                assert!(
                    file.starts_with("src/") && !file.contains("..") && !file.contains("tests"),
                    "{}: {file}",
                    weakening.name
                );
            }
        }
    }

    #[test]
    fn every_weakening_names_modules_that_can_be_played_and_clauses_that_exist() {
        let mut plans = oidf::plans();
        plans.push(hardening::plan());
        let modules: BTreeSet<String> = plans
            .iter()
            .flat_map(|plan| plan.variants().into_iter().flat_map(|v| plan.entries(&v)))
            .filter(crate::suite::plan::Entry::is_ready)
            .map(|entry| entry.id().to_owned())
            .collect();
        assert!(modules.contains(CONTROL));
        let matrix = Matrix::load().unwrap();
        let mut names = BTreeSet::new();
        let mut missing = Vec::new();
        let all = all().unwrap();
        for weakening in &all {
            let name = &weakening.name;
            assert!(names.insert(name), "{name} is there twice");
            let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(name.chars().all(kebab), "{name}");
            assert!(weakening.removes.ends_with('.'), "{name}: a sentence");
            assert!(!weakening.modules.is_empty() && !weakening.clauses.is_empty(), "{name}");
            for module in &weakening.modules {
                if !modules.contains(module) {
                    missing.push(format!("{name}: module {module}"));
                }
            }
            for clause in &weakening.clauses {
                if matrix.resolve(clause).is_none() {
                    missing.push(format!("{name}: clause {clause}"));
                }
            }
        }
        assert!(missing.is_empty(), "{missing:#?}");
        assert!(all.len() >= 40, "{}", all.len());
    }
}
