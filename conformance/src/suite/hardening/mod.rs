//! Our own plan: what the official suite does not test and an attacker would. One file a theme; each
//! module names the clauses it proves. It must not know how modules are run.

mod acts;
mod answers;
mod bound;
mod browser;
mod change;
mod encrypted;
mod forge;
mod forwarding;
mod granted;
mod id_token;
mod login;
mod logout;
mod missing;
mod mixups;
mod refresh;
mod refusal;
mod requests;
mod response;
mod session;
mod unsigned;

use super::{
    module::Module,
    plan::{Entry, Plan},
};

/// `bff-hardening-test-plan`.
pub fn plan() -> Plan {
    Plan {
        id: "bff-hardening-test-plan",
        title: "What an attacker, a broken server and a tired network do to a BFF",
        parameters: Vec::new(),
        possible: |_| true,
        lacks: |_| Vec::new(),
        by_default: |_| true,
        certification: |_| None,
        modules: |_| entries(),
    }
}

/// Everything that can be played, then what the product lacks the feature for.
fn entries() -> Vec<Entry> {
    let ready = modules().into_iter().map(|module| Entry::Ready(Box::new(module)));
    ready.chain(missing::entries()).collect()
}

fn modules() -> Vec<Module> {
    [
        response::modules(),
        requests::modules(),
        id_token::modules(),
        encrypted::modules(),
        unsigned::modules(),
        bound::modules(),
        granted::modules(),
        answers::modules(),
        mixups::modules(),
        login::modules(),
        browser::modules(),
        session::modules(),
        refresh::modules(),
        forwarding::modules(),
        logout::modules(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn there_are_at_least_eighty_and_each_has_an_id_of_its_own_and_a_clause() {
        let entries = entries();
        let ids: BTreeSet<_> = entries.iter().map(Entry::id).collect();
        assert_eq!(ids.len(), entries.len());
        let ready = entries.iter().filter(|entry| entry.is_ready()).count();
        assert!(ready >= 80, "{ready}");
        for entry in &entries {
            let (does, must, clauses) = match entry {
                Entry::Ready(module) => (&module.does, &module.must, &module.clauses),
                Entry::NotYetSupported { does, must, clauses, lacks, .. } => {
                    assert!(!lacks.is_empty(), "{}", entry.id());
                    (does, must, clauses)
                }
            };
            assert!(!clauses.is_empty(), "{}", entry.id());
            assert!(does.ends_with('.'), "{}: {does}", entry.id());
            assert!(!must.is_empty() && !must.ends_with('.'), "{}: {must}", entry.id());
            let well_formed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(entry.id().chars().all(well_formed), "{}", entry.id());
        }
    }
}
