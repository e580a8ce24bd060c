//! Owns what a login asks for in detail (RFC 9396): a page names a template and an intent, and the
//! details come from the configuration or from a server of ours (RAR-12). Must not know: how that
//! server is asked, or what details mean.

use std::{fmt, sync::Arc};

use super::{Login, LoginFailure};
use crate::{
    protocol::{AuthorizationDetails, DetailsRejected, Transaction, is_consent_name},
    session::BoxFuture,
};

/// Longest name of an intent, in bytes.
const MAX_INTENT_BYTES: usize = 128;

/// Knows the details of an intent: the payment an order stands for, not the one a page says it is.
pub trait Intents: Send + Sync + fmt::Debug {
    /// The details of the intent with this name, which is made of unreserved characters.
    fn details<'a>(
        &'a self,
        intent: &'a str,
    ) -> BoxFuture<'a, Result<AuthorizationDetails, IntentFailure>>;
}

/// Why the details of an intent could not be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IntentFailure {
    /// There is none of this name.
    #[error("there is no such intent")]
    Unknown,
    /// The server that knows it does not answer, or says no.
    #[error("the intent's server does not answer: {reason}")]
    Unavailable {
        /// The stable reason, `intent.*`.
        reason: &'static str,
    },
    /// It answered no usable details.
    #[error("the intent's details are unusable: {0}")]
    Rejected(#[from] DetailsRejected),
}

/// One thing an app's pages may ask to be authorized.
#[derive(Clone, Debug)]
pub enum Template {
    /// Always the same.
    Fixed(AuthorizationDetails),
    /// Another one for every intent.
    Intent {
        /// Who knows it.
        intents: Arc<dyn Intents>,
        /// The only types it may bring.
        types: Vec<String>,
    },
}

/// What a login asks for in detail.
#[derive(Debug, Default)]
pub(super) struct Authorization {
    /// The template's name, if the page named one.
    pub(super) name: Option<String>,
    /// What an intent brought.
    pub(super) details: Option<AuthorizationDetails>,
}

/// The page's wish: the name of a template, and of an intent.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Wish {
    authorization: Option<String>,
    intent: Option<String>,
}

impl Wish {
    /// Takes the two parameters out of what was sent; the rest is left to others. Only a page of the
    /// app may name anything at all (FAPI2-SP-5.3.3.1-12).
    pub(super) fn take(
        parameters: Vec<(String, String)>,
        by_app: bool,
    ) -> Result<(Self, Vec<(String, String)>), LoginFailure> {
        let (mut wish, mut rest) = (Self::default(), Vec::new());
        for (name, value) in parameters {
            let place = match name.as_str() {
                "authorization" => &mut wish.authorization,
                "intent" => &mut wish.intent,
                _ => {
                    rest.push((name, value));
                    continue;
                }
            };
            if place.replace(value).is_some() {
                return Err(refused("parameter.duplicate"));
            }
        }
        if !by_app && wish != Self::default() {
            return Err(refused("parameter.authorization_not_by_app"));
        }
        Ok((wish, rest))
    }

    /// Whether the page wants anything of the kind.
    pub(super) const fn is_some(&self) -> bool {
        self.authorization.is_some()
    }
}

impl Login {
    /// What this wish comes to. Nothing in it is the page's own words but two names.
    pub(super) async fn authorization(&self, wish: Wish) -> Result<Authorization, LoginFailure> {
        let Wish { authorization, intent } = wish;
        let Some(name) = authorization else {
            let stray = refused("parameter.intent_unexpected");
            return if intent.is_none() || self.policy.names_consent {
                Ok(Authorization::default())
            } else {
                Err(stray)
            };
        };
        let template = self.policy.authorizations.get(&name);
        let template = template.ok_or_else(|| refused("parameter.authorization_unknown"))?;
        let details = match (template, intent) {
            (Template::Fixed(_), None) => None,
            (Template::Fixed(_), Some(_)) if self.policy.names_consent => None,
            (Template::Fixed(_), Some(_)) => return Err(refused("parameter.intent_unexpected")),
            (Template::Intent { .. }, None) => return Err(refused("parameter.intent_missing")),
            (Template::Intent { intents, types }, Some(intent)) => {
                if !is_intent(&intent) {
                    return Err(refused("parameter.intent_malformed"));
                }
                let details = intents.details(&intent).await?;
                if !details.types().all(|kind| types.iter().any(|known| known == kind)) {
                    return Err(LoginFailure::Intent { reason: "intent.type_not_allowed" });
                }
                Some(details)
            }
        };
        Ok(Authorization { name: Some(name), details })
    }

    /// The consent that this wish names: where the app's logins name one, there is no login without.
    pub(super) fn consent(&self, wish: &Wish) -> Result<Option<String>, LoginFailure> {
        if !self.policy.names_consent {
            return Ok(None);
        }
        let name = wish.intent.clone().ok_or(refused("parameter.intent_missing"))?;
        if !is_consent_name(&name) {
            return Err(refused("parameter.intent_malformed"));
        }
        Ok(Some(name))
    }

    /// Everything a login with this authorization asks for in detail.
    pub(super) fn asked_details(
        &self,
        name: Option<&str>,
        intent: Option<&AuthorizationDetails>,
    ) -> Option<AuthorizationDetails> {
        let fixed = match name.and_then(|name| self.policy.authorizations.get(name)) {
            Some(Template::Fixed(details)) => Some(details),
            _ => None,
        };
        let parts = [self.policy.details.as_ref(), fixed, intent];
        parts.into_iter().flatten().cloned().reduce(AuthorizationDetails::and)
    }

    /// Everything the login of this transaction asked for in detail.
    pub(super) fn details_of(&self, transaction: &Transaction) -> Option<AuthorizationDetails> {
        self.asked_details(transaction.authorization.as_deref(), transaction.details.as_ref())
    }
}

/// A name that is safe wherever it is put into a URL: no separator, and no way up.
fn is_intent(text: &str) -> bool {
    let unreserved = |c: u8| c.is_ascii_alphanumeric() || b"-._~".contains(&c);
    (1..=MAX_INTENT_BYTES).contains(&text.len())
        && text.bytes().all(unreserved)
        && !text.bytes().all(|c| c == b'.')
}

const fn refused(reason: &'static str) -> LoginFailure {
    LoginFailure::Parameter { reason }
}

impl From<IntentFailure> for LoginFailure {
    fn from(failure: IntentFailure) -> Self {
        match failure {
            IntentFailure::Unknown => refused("parameter.intent_unknown"),
            IntentFailure::Unavailable { reason } => Self::Intent { reason },
            IntentFailure::Rejected(rejected) => Self::Intent { reason: rejected.reason() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// RAR-2: nothing else of what a page sends becomes an authorization.
    #[test]
    fn a_wish_is_two_names_each_once() {
        let sent = pairs(&[("authorization", "payment"), ("prompt", "login"), ("intent", "7")]);
        let (wish, rest) = Wish::take(sent, true).unwrap();
        assert_eq!(
            (wish.authorization.as_deref(), wish.intent.as_deref()),
            (Some("payment"), Some("7"))
        );
        assert_eq!(rest, pairs(&[("prompt", "login")]));
        let raw = pairs(&[("authorization_details", "[]"), ("Authorization", "payment")]);
        let (wish, rest) = Wish::take(raw.clone(), false).unwrap();
        assert_eq!((wish, rest), (Wish::default(), raw));
        for name in ["authorization", "intent"] {
            let twice = Wish::take(pairs(&[(name, "a"), (name, "a")]), true);
            assert_eq!(twice.unwrap_err(), refused("parameter.duplicate"));
            // FAPI2-SP-5.3.3.1-12: a link that somebody was sent.
            let sent = Wish::take(pairs(&[(name, "a")]), false);
            assert_eq!(sent.unwrap_err(), refused("parameter.authorization_not_by_app"));
        }
    }

    #[test]
    fn an_intent_is_1_to_128_unreserved_characters_and_no_way_up() {
        let longest = "a".repeat(128);
        for good in ["a", "7f3c-._~Z", "a..b", ".a", &longest] {
            assert!(is_intent(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "...",
            "a/b",
            "a%2fb",
            "a?b",
            "a#b",
            "a b",
            "a\\b",
            "ä",
            "a\n",
            &format!("{longest}a"),
        ] {
            assert!(!is_intent(bad), "{bad}");
        }
    }
}
