//! Our own plan: what the official suite does not test and an attacker would. One file a theme; each
//! module names the clauses it proves. It must not know how modules are run.

mod change;
mod requests;
mod response;

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
        certification: |_| None,
        modules: |_| modules().into_iter().map(|module| Entry::Ready(Box::new(module))).collect(),
    }
}

fn modules() -> Vec<Module> {
    [response::modules(), requests::modules()].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_has_an_id_of_its_own_and_a_clause() {
        let modules = modules();
        let ids: BTreeSet<_> = modules.iter().map(|module| module.id.as_str()).collect();
        assert_eq!(ids.len(), modules.len());
        for module in &modules {
            assert!(!module.clauses.is_empty(), "{}", module.id);
            assert!(module.does.ends_with('.'), "{}: {}", module.id, module.does);
            let well_formed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(module.id.chars().all(well_formed), "{}", module.id);
        }
    }
}
