//! Owns the record of one login between its two halves, and the rule that the halves belong
//! together. Must not know: how the record is sealed, stored or consumed.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::clock::UnixTime;

use super::{
    consent::ConsentClaim, pkce::CodeVerifier, rar::AuthorizationDetails, reason::rejection,
};

/// Who carries the browser through the login.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The application's script, over the SPA API.
    Spa,
    /// The BFF, by redirects.
    Navigation,
}

/// One login in progress. Single use; holds secrets, so it is kept sealed and `Debug` shows none.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    /// Names the transaction; not a secret.
    pub id: String,
    /// The issuer asked, byte for byte (BCP-2.1-3).
    pub issuer: String,
    /// The client asked as (JARM-2.4-2/3/4).
    pub client_id: String,
    /// The application that started it.
    pub app: String,
    /// How it was started, and therefore how it must return.
    pub mode: Mode,
    /// Sent as `state`; comes back in the response.
    pub state: String,
    /// Sent as `nonce`; comes back in the ID token. None where no ID token is asked for.
    pub nonce: Option<String>,
    /// Redeems the code together with it (FAPI2-SP-5.3.3.2-4).
    pub code_verifier: CodeVerifier,
    /// The redirect URI asked for, repeated in the token request (OA-4.1.3).
    pub redirect_uri: String,
    /// Where a navigation goes afterwards, already judged safe.
    pub return_to: Option<String>,
    /// The scope asked for.
    pub scope: String,
    /// The authentication context classes asked for.
    pub acr_values: Vec<String>,
    /// Whether the login fails unless it meets one of them.
    pub require_acr: bool,
    /// Seconds the user's authentication may be old, if a limit was asked for.
    pub max_age: Option<u32>,
    /// When it was started.
    pub created: UnixTime,
    /// The first second at which it is dead.
    pub expires: UnixTime,
    /// Names the session it was started in; it must end in the same one (DRAFT-9700U-2).
    pub session_binding: Option<String>,
    /// The handle of the session the browser was in at the start. A new login ends it (SES-7.2.4),
    /// and a browser that returns from another site does not send its cookie (CK-SS-1).
    pub replaces: Option<String>,
    /// Names the consent that is to be authorized; comes back in the ID token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<ConsentClaim>,
    /// The template of details the page named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<String>,
    /// The details an intent brought, against which the grant is held (RAR-7). What is configured is
    /// not repeated here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<AuthorizationDetails>,
}

rejection! {
    /// Why a response does not continue a transaction.
    pub enum TransactionRejected {
        Expired => "transaction.expired", "the login took too long";
        WrongApp => "transaction.wrong_app", "the login was started by another application";
        WrongIssuer => "transaction.wrong_issuer", "the login was started at another issuer (BCP-2.1-3)";
        WrongClient => "transaction.wrong_client", "the login was started as another client (JARM-2.4-2/3/4)";
        WrongMode => "transaction.wrong_mode", "the login was started in another mode";
        WrongRedirectUri => "transaction.wrong_redirect_uri", "the response came to another redirect URI (FAPI1-BASE-5.2.3-4)";
        WrongSession => "transaction.wrong_session", "the login was started inside another session (DRAFT-9700U-2)";
    }
}

/// Where and when a response arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The time.
    pub now: UnixTime,
    /// The application it came to.
    pub app: &'a str,
    /// The issuer that the application's client is registered at.
    pub issuer: &'a str,
    /// The client it is there.
    pub client_id: &'a str,
    /// The way it came.
    pub mode: Mode,
    /// The redirect URI it came to.
    pub redirect_uri: &'a str,
    /// The session the browser is in, as in [`Transaction::session_binding`].
    pub session_binding: Option<&'a str>,
}

impl Transaction {
    /// Whether a response that arrived like this continues the transaction. A login started
    /// without a session may end in any browser state; the transaction cookie binds it.
    pub fn check(&self, arrival: &Arrival<'_>) -> Result<(), TransactionRejected> {
        if arrival.app != self.app {
            return Err(TransactionRejected::WrongApp);
        }
        // The settings may have changed since the start. A code of the one issuer must not be sent to
        // the other, nor what opens it.
        if arrival.issuer != self.issuer {
            return Err(TransactionRejected::WrongIssuer);
        }
        if arrival.client_id != self.client_id {
            return Err(TransactionRejected::WrongClient);
        }
        if arrival.now >= self.expires {
            return Err(TransactionRejected::Expired);
        }
        if arrival.mode != self.mode {
            return Err(TransactionRejected::WrongMode);
        }
        if arrival.redirect_uri != self.redirect_uri {
            return Err(TransactionRejected::WrongRedirectUri);
        }
        match (self.session_binding.as_deref(), arrival.session_binding) {
            (None, _) => Ok(()),
            (Some(started), Some(now)) if bool::from(started.as_bytes().ct_eq(now.as_bytes())) => {
                Ok(())
            }
            (Some(_), _) => Err(TransactionRejected::WrongSession),
        }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Transaction")
            .field("id", &self.id)
            .field("issuer", &self.issuer)
            .field("app", &self.app)
            .field("mode", &self.mode)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction() -> Transaction {
        Transaction {
            id: "tx1".into(),
            issuer: "https://as.example/".into(),
            client_id: "bff".into(),
            app: "web".into(),
            mode: Mode::Spa,
            state: "state-secret".into(),
            nonce: Some("nonce-secret".into()),
            code_verifier: CodeVerifier::from_random([1; 32]),
            redirect_uri: "https://app.example/".into(),
            return_to: None,
            scope: "openid".into(),
            acr_values: vec![],
            require_acr: false,
            max_age: None,
            created: UnixTime::new(1000),
            expires: UnixTime::new(1600),
            session_binding: None,
            replaces: None,
            consent: None,
            authorization: None,
            details: None,
        }
    }

    fn arrival() -> Arrival<'static> {
        Arrival {
            now: UnixTime::new(1599),
            app: "web",
            issuer: "https://as.example/",
            client_id: "bff",
            mode: Mode::Spa,
            redirect_uri: "https://app.example/",
            session_binding: None,
        }
    }

    #[test]
    fn a_transaction_lives_until_the_second_before_it_expires() {
        assert_eq!(transaction().check(&arrival()), Ok(()));
        for now in [1600, 1601] {
            let late = Arrival { now: UnixTime::new(now), ..arrival() };
            assert_eq!(transaction().check(&late), Err(TransactionRejected::Expired));
        }
    }

    /// FAPI1-BASE-5.2.3-4.
    #[test]
    fn the_response_returns_the_way_the_request_went() {
        let cases = [
            (Arrival { app: "web1", ..arrival() }, TransactionRejected::WrongApp),
            (Arrival { app: "Web", ..arrival() }, TransactionRejected::WrongApp),
            (
                Arrival { issuer: "https://as.example", ..arrival() },
                TransactionRejected::WrongIssuer,
            ),
            (Arrival { client_id: "BFF", ..arrival() }, TransactionRejected::WrongClient),
            (Arrival { mode: Mode::Navigation, ..arrival() }, TransactionRejected::WrongMode),
            (
                Arrival { redirect_uri: "https://app.example", ..arrival() },
                TransactionRejected::WrongRedirectUri,
            ),
            (
                Arrival { redirect_uri: "https://app.example/1", ..arrival() },
                TransactionRejected::WrongRedirectUri,
            ),
        ];
        for (arrival, rejected) in cases {
            assert_eq!(transaction().check(&arrival), Err(rejected));
        }
    }

    /// DRAFT-9700U-2, CK-SS-3: a step-up link opened by somebody else is refused.
    #[test]
    fn a_login_started_in_a_session_ends_in_that_session() {
        let bound = Transaction { session_binding: Some("s1".into()), ..transaction() };
        assert_eq!(bound.check(&Arrival { session_binding: Some("s1"), ..arrival() }), Ok(()));
        for other in [None, Some(""), Some("s2"), Some("s11")] {
            let refused = bound.check(&Arrival { session_binding: other, ..arrival() });
            assert_eq!(refused, Err(TransactionRejected::WrongSession));
        }
        let unbound = transaction().check(&Arrival { session_binding: Some("s1"), ..arrival() });
        assert_eq!(unbound, Ok(()));
    }

    #[test]
    fn the_record_survives_serialisation_and_refuses_unknown_members() {
        let mut json = serde_json::to_value(transaction()).unwrap();
        assert_eq!(serde_json::from_value::<Transaction>(json.clone()).unwrap(), transaction());
        json["extra"] = true.into();
        assert!(serde_json::from_value::<Transaction>(json).is_err());
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", transaction());
        assert!(!shown.contains("secret") && !shown.contains(transaction().code_verifier.expose()));
    }
}
