//! The one way a rule is checked: whether it held is written down, and a demand that did not hold
//! becomes a refusal. It must not know what the rules are about.

use super::{
    exchange::{NONCE_WANTED, Refusal},
    rules::{Consequence, Rule},
};
use crate::ledger::Check;

/// The checks made of one request, in order.
#[derive(Default)]
pub(crate) struct Checks(Vec<Check>);

impl Checks {
    pub(crate) fn into_inner(self) -> Vec<Check> {
        self.0
    }

    /// Writes down how a rule came out; the request goes on. `found` must hold no secret.
    pub(crate) fn observe(&mut self, rule: Rule, held: bool, found: &str) {
        let info = rule.info();
        let message = match (held, found) {
            (true, _) => info.statement.to_owned(),
            (false, "") => format!("broken: {}", info.statement),
            (false, found) => format!("broken: {} ({found})", info.statement),
        };
        self.0.push(Check {
            name: info.name,
            severity: info.severity,
            held,
            clauses: info.clauses,
            message,
        });
    }

    /// The rule is broken: written down, and the refusal for it.
    pub(crate) fn refuse(&mut self, rule: Rule, found: &str) -> Refusal {
        self.observe(rule, false, found);
        let info = rule.info();
        let detail = if found.is_empty() { info.statement } else { found };
        match rule.consequence() {
            Consequence::Bearer(error, status) => Refusal::bearer(error, status, info.name, detail),
            Consequence::Refuse(error, status) => Refusal::new(error, status, info.name, detail),
            Consequence::Challenge => Refusal::new(NONCE_WANTED, 400, info.name, detail),
            Consequence::Observe(_) => Refusal::new("invalid_request", 400, info.name, detail),
        }
    }

    /// Refuses unless the rule holds.
    pub(crate) fn demand(&mut self, rule: Rule, held: bool) -> Result<(), Refusal> {
        self.demand_with(rule, held, "")
    }

    /// The same, saying what was found.
    pub(crate) fn demand_with(
        &mut self,
        rule: Rule,
        held: bool,
        found: &str,
    ) -> Result<(), Refusal> {
        if held {
            self.observe(rule, true, "");
            return Ok(());
        }
        Err(self.refuse(rule, found))
    }

    /// Refuses unless there is a value.
    pub(crate) fn require<T>(&mut self, rule: Rule, value: Option<T>) -> Result<T, Refusal> {
        match value {
            Some(value) => {
                self.observe(rule, true, "");
                Ok(value)
            }
            None => Err(self.refuse(rule, "")),
        }
    }

    /// All of these held.
    pub(crate) fn held(&mut self, steps: &[Rule]) {
        for step in steps {
            self.observe(*step, true, "");
        }
    }

    /// Of rules that are checked in this order, all before `broken` held.
    pub(crate) fn broken(&mut self, steps: &[Rule], broken: Rule, found: &str) -> Refusal {
        let before = steps.iter().take_while(|step| **step != broken);
        for step in before {
            self.observe(*step, true, "");
        }
        self.refuse(broken, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::verdict::Severity;

    #[test]
    fn a_broken_step_leaves_the_steps_before_it_held_and_those_after_it_unsaid() {
        let mut checks = Checks::default();
        let steps = [Rule::AuthMalformed, Rule::AuthAlg, Rule::AuthSignature];
        let refusal = checks.broken(&steps, Rule::AuthAlg, "none");
        assert_eq!(refusal.reason, "client_auth.alg_not_allowed");
        assert_eq!(refusal.detail, "none");
        let made: Vec<_> = checks.0.iter().map(|check| (check.name, check.held)).collect();
        assert_eq!(made, [("client_auth.malformed", true), ("client_auth.alg_not_allowed", false)]);
        assert!(
            checks.0[1].message.starts_with("broken: ") && checks.0[1].message.contains("none")
        );
    }

    #[test]
    fn a_demand_says_the_same_whether_it_holds_or_not_but_for_the_outcome() {
        let mut checks = Checks::default();
        assert!(checks.demand(Rule::RoAud, true).is_ok());
        assert!(checks.demand(Rule::RoAud, false).is_err());
        assert!(checks.require(Rule::RoAud, None::<()>).is_err());
        checks.observe(Rule::RoNonceForm, false, "44 characters");
        let made = checks.into_inner();
        assert!(made[0].held && !made[1].held && !made[2].held);
        assert_eq!((made[0].name, made[0].clauses), (made[1].name, made[1].clauses));
        assert_eq!(made[3].severity, Severity::Warning);
    }
}
