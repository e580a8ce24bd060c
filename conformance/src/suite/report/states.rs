//! The states of a clause in the order in which the forms show them, with their words. Knows
//! nothing of markup or of what is counted as proof.

use super::{ClauseCoverage, Coverage, Openness, Standing};

/// How a clause stands, with the reason if it is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Contradicted,
    Unproven,
    Remarked,
    NotBuilt,
    Modules,
    Tests,
}

impl State {
    /// What asks most for a look first.
    pub(super) const ALL: [Self; 6] = [
        Self::Contradicted,
        Self::Unproven,
        Self::Remarked,
        Self::NotBuilt,
        Self::Modules,
        Self::Tests,
    ];

    /// What is proven first: the order of a sentence that counts.
    pub(super) const COUNTED: [Self; 6] = [
        Self::Modules,
        Self::Tests,
        Self::NotBuilt,
        Self::Remarked,
        Self::Unproven,
        Self::Contradicted,
    ];

    pub(super) fn of(clause: &ClauseCoverage) -> Self {
        match (clause.openness(), clause.standing()) {
            (Some(Openness::Contradicted), _) => Self::Contradicted,
            (Some(Openness::NotBuilt), _) => Self::NotBuilt,
            (Some(Openness::Remarked), _) => Self::Remarked,
            (Some(Openness::Unproven), _) | (None, Standing::Open) => Self::Unproven,
            (None, Standing::Modules) => Self::Modules,
            (None, Standing::Tests) => Self::Tests,
        }
    }

    /// The word for programs: a class, the value of a filter.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Contradicted => "contradicted",
            Self::Unproven => "unproven",
            Self::Remarked => "remarked",
            Self::NotBuilt => "not_built",
            Self::Modules => "modules",
            Self::Tests => "tests",
        }
    }

    /// The words on their own.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Contradicted => "contradicted",
            Self::Unproven => "unproven",
            Self::Remarked => "remarked",
            Self::NotBuilt => "not built",
            Self::Modules => "proven by modules",
            Self::Tests => "proven by tests only",
        }
    }
}

impl Coverage {
    pub(super) fn in_state(&self, state: State) -> usize {
        self.clauses.iter().filter(|clause| State::of(clause) == state).count()
    }

    /// `3 proven by modules, 1 by tests, 0 not built, …`: every state, so that a nought is said.
    pub(super) fn counts(&self) -> String {
        let part = |state: State| {
            let words = if state == State::Tests { "by tests" } else { state.label() };
            format!("{} {words}", self.in_state(state))
        };
        State::COUNTED.map(part).join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::report::samples;

    #[test]
    fn every_clause_is_in_one_state_and_the_worst_reason_wins() {
        let mut clause = samples::clause("X-1");
        assert_eq!(State::of(&clause), State::Unproven);
        clause.remark = Some("only a person can see it".into());
        assert_eq!(State::of(&clause), State::Remarked);
        clause.tests = vec!["file::test".into()];
        assert_eq!(State::of(&clause), State::Tests);
        clause.modules = vec!["plan/module".into()];
        assert_eq!(State::of(&clause), State::Modules);
        clause.feature = Some("dpop".into());
        assert_eq!(State::of(&clause), State::NotBuilt);
        clause.open_modules = vec!["plan/other".into()];
        assert_eq!(State::of(&clause), State::Contradicted);
    }

    #[test]
    fn the_counts_name_every_state_and_add_up() {
        let coverage = samples::small().coverage.unwrap();
        assert_eq!(
            coverage.counts(),
            "1 proven by modules, 1 by tests, 1 not built, 1 remarked, 1 unproven, 1 contradicted"
        );
        let all: usize = State::ALL.iter().map(|state| coverage.in_state(*state)).sum();
        assert_eq!(all, coverage.clauses.len());
    }
}
