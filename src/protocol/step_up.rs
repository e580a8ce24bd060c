//! Owns step-up authentication (RFC 9470): which authentication a resource demands, and whether
//! that of a session meets it. Must not know: who asks the user, or how often.

use super::{
    challenge::{AmbiguousParameter, Challenge},
    reason::rejection,
    token::is_scope_token,
};
use crate::clock::UnixTime;

/// Longest `acr_values` and `scope`, in bytes: what a login takes of a script.
const MAX_BYTES: usize = 512;

/// A demand for another authentication.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct StepUp {
    /// Authentication context classes, most wanted first; empty if any will do.
    pub acr_values: Vec<String>,
    /// Seconds since the user authenticated, at most.
    pub max_age: Option<u32>,
    /// The scope needed, as space-separated tokens.
    pub scope: Option<String>,
}

/// How a session's user authenticated.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Authentication<'a> {
    /// `acr`
    pub acr: Option<&'a str>,
    /// `auth_time`
    pub auth_time: Option<UnixTime>,
}

rejection! {
    /// Why a step-up challenge is not followed: it does not say, in the form RFC 9470 §3 gives it,
    /// what it wants.
    pub enum StepUpRejected {
        Ambiguous => "step_up.ambiguous", "a parameter is repeated or malformed, or two challenges differ";
        AcrValues => "step_up.acr_values", "`acr_values` is empty, too long or not a list of values";
        MaxAge => "step_up.max_age", "`max_age` is not a number of seconds";
        Scope => "step_up.scope", "`scope` is empty, too long or not a list of scope tokens";
    }
}

impl From<AmbiguousParameter> for StepUpRejected {
    fn from(_: AmbiguousParameter) -> Self {
        Self::Ambiguous
    }
}

impl StepUp {
    /// What the challenges of a 401 demand (STEP-3); `None` if none of them is
    /// `insufficient_user_authentication`. The scheme may be the token's or the other one: resources
    /// are not strict about it, and nothing is sent anywhere because of it.
    pub fn demanded(challenges: &[Challenge]) -> Result<Option<Self>, StepUpRejected> {
        let mut demand = None;
        for challenge in challenges {
            let token_scheme = challenge.is("Bearer") || challenge.is("DPoP");
            if !token_scheme || !challenge.says("insufficient_user_authentication") {
                continue;
            }
            let this = Self::read(challenge)?;
            match &demand {
                None => demand = Some(this),
                Some(other) if *other == this => {}
                Some(_) => return Err(StepUpRejected::Ambiguous),
            }
        }
        Ok(demand)
    }

    fn read(challenge: &Challenge) -> Result<Self, StepUpRejected> {
        let mut acr_values = Vec::new();
        if let Some(list) = challenge.parameter("acr_values")? {
            for value in tokens(list).ok_or(StepUpRejected::AcrValues)? {
                if !acr_values.contains(&value) {
                    acr_values.push(value);
                }
            }
        }
        let max_age = challenge.parameter("max_age")?.map(seconds).transpose()?;
        let scope = match challenge.parameter("scope")? {
            None => None,
            Some(scope) => {
                tokens(scope).ok_or(StepUpRejected::Scope)?;
                Some(scope.to_owned())
            }
        };
        Ok(Self { acr_values, max_age, scope })
    }

    /// Whether an authentication met this demand at the time `at`, to the second (STEP-5). What is
    /// unknown meets nothing. `scope` is the resource's to judge.
    pub fn met_by(&self, authentication: &Authentication<'_>, at: UnixTime) -> bool {
        let acr = self.acr_values.is_empty()
            || authentication.acr.is_some_and(|acr| self.acr_values.iter().any(|one| one == acr));
        let age = |max_age: u32| {
            authentication.auth_time.is_some_and(|time| at.since(time) <= i64::from(max_age))
        };
        acr && self.max_age.is_none_or(age)
    }

    /// This demand, limited to what an operator allows to be asked for; an empty list allows every
    /// value (STEP-9). `None` if values were demanded and none of them is allowed.
    #[must_use]
    pub fn within(mut self, allowed: &[String]) -> Option<Self> {
        if allowed.is_empty() || self.acr_values.is_empty() {
            return Some(self);
        }
        self.acr_values.retain(|value| allowed.contains(value));
        (!self.acr_values.is_empty()).then_some(self)
    }
}

/// Printable values between single spaces. An `acr` is held to the shape of a scope token, which is
/// also what a configuration can list.
fn tokens(list: &str) -> Option<Vec<String>> {
    let well_formed = list.len() <= MAX_BYTES && list.split(' ').all(is_scope_token);
    well_formed.then(|| list.split(' ').map(str::to_owned).collect())
}

fn seconds(value: &str) -> Result<u32, StepUpRejected> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    value.parse().ok().filter(|_| digits).ok_or(StepUpRejected::MaxAge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::challenge::challenges;

    fn demanded(line: &str) -> Result<Option<StepUp>, StepUpRejected> {
        StepUp::demanded(&challenges(line))
    }

    /// A challenge with these further parameters.
    fn with(parameters: &str) -> Result<Option<StepUp>, StepUpRejected> {
        demanded(&format!("Bearer error=\"insufficient_user_authentication\"{parameters}"))
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|item| (*item).to_owned()).collect()
    }

    fn step_up(acr_values: &[&str], max_age: Option<u32>) -> StepUp {
        StepUp { acr_values: strings(acr_values), max_age, scope: None }
    }

    /// STEP-3.
    #[test]
    fn every_form_of_a_challenge_is_read() {
        for (parameters, read) in [
            ("", step_up(&[], None)),
            (r#", acr_values="a""#, step_up(&["a"], None)),
            (", acr_values=a", step_up(&["a"], None)),
            (r#", acr_values="b a b""#, step_up(&["b", "a"], None)),
            (r#", acr_values="urn:x:loa:3", max_age="60""#, step_up(&["urn:x:loa:3"], Some(60))),
            (", max_age=0", step_up(&[], Some(0))),
            (r#", MAX_AGE="4294967295""#, step_up(&[], Some(u32::MAX))),
            (
                r#", scope="accounts payments""#,
                StepUp { scope: Some("accounts payments".into()), ..StepUp::default() },
            ),
        ] {
            assert_eq!(with(parameters), Ok(Some(read)), "{parameters}");
        }
        for line in [
            r#"dpop error="insufficient_user_authentication", max_age=5"#,
            r#"Basic, Bearer error=insufficient_user_authentication, max_age="5""#,
            r#"Bearer error=insufficient_user_authentication, max_age=5, DPoP error=insufficient_user_authentication, max_age="5""#,
        ] {
            assert_eq!(demanded(line), Ok(Some(step_up(&[], Some(5)))), "{line}");
        }
    }

    #[test]
    fn other_challenges_demand_nothing() {
        for line in [
            "",
            "Bearer max_age=5",
            r#"Bearer error="invalid_token", max_age=5"#,
            r#"Basic error="insufficient_user_authentication", max_age=5"#,
            r#"Bearer error="insufficient_user_authentication", error="x""#,
        ] {
            assert_eq!(demanded(line), Ok(None), "{line}");
        }
    }

    /// STEP-3: negative, overflowing, repeated or shapeless values are not guessed at.
    #[test]
    fn a_malformed_challenge_is_refused_as_a_whole() {
        use StepUpRejected::{AcrValues, Ambiguous, MaxAge, Scope};
        let long = "a".repeat(513);
        for (parameters, why) in [
            (", max_age=-1", MaxAge),
            (", max_age=\"-1\"", MaxAge),
            (", max_age=\"+1\"", MaxAge),
            (", max_age=\"\"", MaxAge),
            (", max_age=\" 1\"", MaxAge),
            (", max_age=1.5", MaxAge),
            (", max_age=1e3", MaxAge),
            (", max_age=4294967296", MaxAge),
            (", max_age=99999999999999999999999", MaxAge),
            (", max_age=", Ambiguous),
            (", max_age=1, max_age=1", Ambiguous),
            (", max_age=1, Max_Age=2", Ambiguous),
            (", acr_values=\"\"", AcrValues),
            (", acr_values=\"a  b\"", AcrValues),
            (", acr_values=\" a\"", AcrValues),
            (r#", acr_values="a\"b""#, AcrValues),
            (r#", acr_values="a\\b""#, AcrValues),
            (", acr_values=\"é\"", AcrValues),
            (", acr_values=a, acr_values=a", Ambiguous),
            (&format!(", acr_values={long}"), AcrValues),
            (", scope=\"\"", Scope),
            (", scope=\"a  b\"", Scope),
            (&format!(", scope={long}"), Scope),
            (", scope=a, scope=b", Ambiguous),
            (", DPoP error=insufficient_user_authentication, max_age=1", Ambiguous),
        ] {
            assert_eq!(with(parameters), Err(why), "{parameters}");
        }
        assert!(with(&format!(", acr_values={}", &long[1..])).is_ok());
    }

    /// STEP-5, SES-7.5.
    #[test]
    fn a_demand_is_met_to_the_second_and_never_by_what_is_unknown() {
        let at = UnixTime::new(1_000_000);
        let authentication = |acr: Option<&'static str>, age: Option<i64>| Authentication {
            acr,
            auth_time: age.map(|age| at.plus(-age)),
        };
        for (demand, acr, age, met) in [
            (step_up(&[], None), None, None, true),
            (step_up(&["a", "b"], None), Some("b"), None, true),
            (step_up(&["a", "b"], None), Some("c"), None, false),
            (step_up(&["a", "b"], None), Some("A"), None, false),
            (step_up(&["a", "b"], None), Some("a b"), None, false),
            (step_up(&["a"], None), None, Some(0), false),
            (step_up(&[], Some(60)), None, Some(60), true),
            (step_up(&[], Some(60)), None, Some(61), false),
            (step_up(&[], Some(60)), Some("a"), None, false),
            // The authorization server's clock may be ahead.
            (step_up(&[], Some(0)), None, Some(-5), true),
            (step_up(&["a"], Some(60)), Some("a"), Some(61), false),
            (step_up(&["a"], Some(60)), Some("b"), Some(0), false),
            (step_up(&["a"], Some(60)), Some("a"), Some(0), true),
        ] {
            assert_eq!(
                demand.met_by(&authentication(acr, age), at),
                met,
                "{demand:?} {acr:?} {age:?}"
            );
        }
    }

    /// STEP-9.
    #[test]
    fn a_demand_is_limited_to_the_values_an_operator_lists() {
        let allowed = strings(&["a", "b"]);
        let within = |values: &[&str], allowed: &[String]| step_up(values, Some(1)).within(allowed);
        assert_eq!(within(&["x", "b", "a"], &allowed), Some(step_up(&["b", "a"], Some(1))));
        assert_eq!(within(&["x"], &allowed), None);
        assert_eq!(within(&[], &allowed), Some(step_up(&[], Some(1))));
        assert_eq!(within(&["x"], &[]), Some(step_up(&["x"], Some(1))));
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(line in ".*insufficient_user_authentication.*") {
            let _ = demanded(&line);
            let _ = with(&line);
        }
    }
}
