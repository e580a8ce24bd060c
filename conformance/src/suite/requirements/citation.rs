//! Clause ids in running text: where one begins and ends, and the short forms `…-3/4` and `…-1..5`.
//! Must not know which files have text.

use super::{Clause, Matrix};

impl Matrix {
    /// Everything in the text that looks like a clause id, in order, and the clauses it means; none if
    /// the matrix does not know all of it.
    pub(super) fn cited<'t>(&self, text: &'t str) -> Vec<(&'t str, Vec<&Clause>)> {
        text.split(|c: char| !(c.is_ascii_alphanumeric() || "-./_".contains(c)))
            .filter_map(|word| {
                let word = word.trim_matches(|c| "./-".contains(c));
                let (family, rest) = word.split_once('-')?;
                let item = rest.chars().next()?;
                let is_id = self.families.contains(family)
                    && (item.is_ascii_digit() || item.is_ascii_uppercase())
                    && !self.is_stem(word);
                (is_id || self.resolve(word).is_some()).then(|| (word, self.expand(word)))
            })
            .collect()
    }

    /// Whether it only names a specification, as `FAPI2-SP` does.
    fn is_stem(&self, word: &str) -> bool {
        let is_of = |id: &String| id.strip_prefix(word).is_some_and(|rest| rest.starts_with('-'));
        word.ends_with(|c: char| c.is_ascii_uppercase()) && self.index.keys().any(is_of)
    }

    /// The clauses an id means: one, or several in the forms `…-3/4` and `…-1..5`, each once. None if
    /// one of them is unknown.
    pub fn expand(&self, written: &str) -> Vec<&Clause> {
        let mut clauses: Vec<&Clause> = Vec::new();
        for id in self.spelled_out(written) {
            match self.resolve(&id) {
                Some(clause) if clauses.contains(&clause) => {}
                Some(clause) => clauses.push(clause),
                None => return Vec::new(),
            }
        }
        clauses
    }

    fn spelled_out(&self, written: &str) -> Vec<String> {
        let whole = || vec![written.to_owned()];
        if self.resolve(written).is_some() {
            return whole();
        }
        let Some((stem, items)) = written.rsplit_once('-') else { return whole() };
        let range = items.split_once("..").and_then(|(first, last)| {
            let (first, last) = (first.parse::<u8>().ok()?, last.parse::<u8>().ok()?);
            (first < last).then(|| (first..=last).map(|item| format!("{stem}-{item}")).collect())
        });
        range.unwrap_or_else(|| items.split('/').map(|item| format!("{stem}-{item}")).collect())
    }
}
