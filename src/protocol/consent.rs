//! Owns what an ecosystem adds to an authorization request: how a lodged consent is named in it, and how
//! the authentication context is asked for. Must not know: where a consent was lodged, or by whom.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::ecosystem::{AcrClaim, Consent, Ecosystem};

/// Longest name of a consent, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// Whether this may name a consent: unreserved characters, and the colon of a namespaced name such as
/// `urn:bank:C1DD33123`. Nothing of it ends a scope token or needs escaping in a claim.
pub fn is_consent_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._~:".contains(&c))
}

/// A claim that the ID token must return as it was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentClaim {
    /// Its name.
    pub name: String,
    /// The consent.
    pub value: String,
}

/// The additions to one request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Additions {
    /// Individual claims of the ID token (OpenID Connect Core §5.5).
    id_token: Map<String, Value>,
    /// The authentication context classes the login asks for, one way or the other.
    pub acr_values: Vec<String>,
    /// Whether they are asked for beside or in an essential claim: then one of them must be reached
    /// (FAPI1-ADV-5.2.3-3).
    pub acr_demanded: bool,
    /// The claim that the ID token must return.
    pub returned: Option<ConsentClaim>,
    /// One more scope.
    scope: Option<String>,
}

impl Additions {
    /// What `ecosystem` adds, if there is one, `acr_values` being those that the login would ask for
    /// and `intent` the consent it is to authorize. Without `openid` there is no ID token to have
    /// claims.
    pub fn of(
        ecosystem: Option<&Ecosystem>,
        openid: bool,
        acr_values: Vec<String>,
        intent: Option<&str>,
    ) -> Self {
        let mut additions = Self { acr_values, ..Self::default() };
        let Some(ecosystem) = ecosystem else { return additions };
        let id_token = &mut additions.id_token;
        match ecosystem.acr_claim {
            _ if !openid => {}
            AcrClaim::Voluntary => {}
            AcrClaim::Bare => {
                id_token.insert("acr".into(), json!({"essential": true}));
                additions.acr_demanded = !additions.acr_values.is_empty();
            }
            AcrClaim::Values => {
                if additions.acr_values.is_empty() {
                    let all = ecosystem.acr_values.iter().map(|value| (*value).to_owned());
                    additions.acr_values = all.collect();
                }
                let values = &additions.acr_values;
                id_token.insert("acr".into(), json!({"essential": true, "values": values}));
                additions.acr_demanded = true;
            }
        }
        match ecosystem.consent.zip(intent) {
            Some((Consent::Claim(name), intent)) => {
                id_token.insert(name.into(), json!({"essential": true, "value": intent}));
                additions.returned =
                    Some(ConsentClaim { name: name.to_owned(), value: intent.to_owned() });
            }
            Some((Consent::Scope(prefix), intent)) => {
                additions.scope = Some(format!("{prefix}{intent}"));
            }
            None => {}
        }
        additions
    }

    /// Whether the authentication context is asked for as a claim, in the ecosystem's way.
    pub fn has_acr_claim(&self) -> bool {
        self.id_token.contains_key("acr")
    }

    /// Puts the claims into those that are asked for anyway, over any of the same name.
    pub fn add_to(&self, claims: &mut Map<String, Value>) {
        if self.id_token.is_empty() {
            return;
        }
        let place = claims.entry("id_token").or_insert_with(|| Map::new().into());
        match place.as_object_mut() {
            Some(id_token) => id_token.extend(self.id_token.clone()),
            None => *place = self.id_token.clone().into(),
        }
    }

    /// The value of `acr_values`. It does not stand beside a claim with values: the same demand made in
    /// two ways has no meaning (OIDC-3.1.3.7-12).
    pub fn acr_parameter(&self) -> Option<String> {
        let acr = self.id_token.get("acr");
        let claimed = acr.is_some_and(|acr| acr.get("values").is_some());
        let wished = !self.acr_values.is_empty() && !claimed;
        wished.then(|| self.acr_values.join(" "))
    }

    /// The scope with the one more.
    pub fn widened(&self, scope: String) -> String {
        match &self.scope {
            Some(more) => format!("{scope} {more}"),
            None => scope,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecosystem::EcosystemName;

    fn additions(name: EcosystemName, acr_values: &[&str], intent: Option<&str>) -> Additions {
        let acr_values = acr_values.iter().map(|value| (*value).to_owned()).collect();
        Additions::of(Some(name.ecosystem()), true, acr_values, intent)
    }

    fn claims(additions: &Additions) -> Value {
        let mut claims = Map::new();
        additions.add_to(&mut claims);
        claims.into()
    }

    #[test]
    fn a_consent_is_named_by_unreserved_characters() {
        let longest = "a".repeat(128);
        for name in ["a", "urn:bancoex:C1DD33123", "aac-a319ff12_x.y~z", &longest] {
            assert!(is_consent_name(name), "{name}");
        }
        let longer = "a".repeat(129);
        for name in [
            "", " ", "a b", "a/b", "a%20b", "a\"b", "a\u{e9}", "a\n", "a?b", "a#b", "a+b", "a\\b",
            &longer,
        ] {
            assert!(!is_consent_name(name), "{name:?}");
        }
    }

    #[test]
    fn what_is_asked_for_anyway_stays() {
        let added = additions(EcosystemName::OpenBankingBrazil, &[], Some("urn:x:1"));
        let acr = json!({"essential": true});
        for (asked, expected) in [
            (json!({}), json!({"id_token": {"acr": acr}})),
            (json!({"id_token": null}), json!({"id_token": {"acr": acr}})),
            (
                json!({"id_token": {"cpf": null, "acr": {"values": ["x"]}}, "userinfo": {"cpf": null}}),
                json!({"id_token": {"cpf": null, "acr": acr}, "userinfo": {"cpf": null}}),
            ),
        ] {
            let mut claims = asked.as_object().unwrap().clone();
            added.add_to(&mut claims);
            assert_eq!(Value::Object(claims), expected);
        }
        let mut untouched = Map::new();
        Additions::default().add_to(&mut untouched);
        assert!(untouched.is_empty());
    }

    #[test]
    fn golden_request_in_the_united_kingdom() {
        let sca = "urn:openbanking:psd2:sca";
        let added = additions(EcosystemName::OpenBankingUk, &[sca], Some("urn-alphabank-58923"));
        let expected = json!({"id_token": {
            "acr": {"essential": true, "values": [sca]},
            "openbanking_intent_id": {"essential": true, "value": "urn-alphabank-58923"},
        }});
        assert_eq!(claims(&added), expected);
        assert_eq!(added.acr_values, [sca]);
        assert!(added.acr_demanded);
        assert_eq!(added.acr_parameter(), None);
        assert_eq!(added.widened("openid accounts".into()), "openid accounts");
        let returned = added.returned.unwrap();
        assert_eq!(returned.name, "openbanking_intent_id");
        assert_eq!(returned.value, "urn-alphabank-58923");

        let unspecific = additions(EcosystemName::OpenBankingUk, &[], None);
        let all = ["urn:openbanking:psd2:sca", "urn:openbanking:psd2:ca"];
        let expected = json!({"id_token": {"acr": {"essential": true, "values": all}}});
        assert_eq!(claims(&unspecific), expected);
        assert_eq!(unspecific.acr_values, all);
        assert_eq!(unspecific.returned, None);
    }

    #[test]
    fn golden_request_in_brazil() {
        let loa2 = "urn:brasil:openbanking:loa2";
        let intent = Some("urn:bancoex:C1DD33123");
        let added = additions(EcosystemName::OpenBankingBrazil, &[loa2], intent);
        assert_eq!(claims(&added), json!({"id_token": {"acr": {"essential": true}}}));
        assert!(added.has_acr_claim());
        let scope = added.widened("openid accounts".into());
        assert_eq!(scope, "openid accounts consent:urn:bancoex:C1DD33123");
        // FAPI1-ADV-5.2.3-3: what is essential is checked.
        assert!(added.acr_demanded);
        assert_eq!(added.acr_parameter().as_deref(), Some(loa2));
        assert_eq!(added.returned, None);
        let without = additions(EcosystemName::OpenBankingBrazil, &[], None);
        assert_eq!(without.widened("openid".into()), "openid");
        assert_eq!(without.acr_parameter(), None);
        assert!(!without.acr_demanded);
    }

    #[test]
    fn nothing_is_added_in_australia_or_without_an_ecosystem() {
        let values = vec!["urn:cds.au:cdr:3".to_owned(), "urn:cds.au:cdr:2".to_owned()];
        for ecosystem in [None, Some(EcosystemName::ConsumerDataRightAu.ecosystem())] {
            let added = Additions::of(ecosystem, true, values.clone(), Some("unheard"));
            assert_eq!(added, Additions { acr_values: values.clone(), ..Additions::default() });
            assert_eq!(added.acr_parameter(), Some(values.join(" ")));
        }
    }

    /// OIDC-3.1.2.1: plain OAuth has no ID token; a consent may be named in the scope all the same.
    #[test]
    fn without_openid_the_authentication_context_is_no_claim() {
        for name in EcosystemName::ALL {
            let added = Additions::of(Some(name.ecosystem()), false, Vec::new(), Some("i1"));
            assert_eq!(claims(&added).pointer("/id_token/acr"), None);
            assert!(!added.acr_demanded);
        }
        let brazil = EcosystemName::OpenBankingBrazil.ecosystem();
        let added = Additions::of(Some(brazil), false, Vec::new(), Some("urn:x:1"));
        assert_eq!(added.widened("accounts".into()), "accounts consent:urn:x:1");
        assert_eq!(claims(&added), json!({}));
    }
}
