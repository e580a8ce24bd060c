//! Plain OpenID Connect: the relying party's plans for logins, discovery, logout and refresh.

use super::{Over, ROW, Row, acts, always, entries};
use crate::{
    as_double::{
        Behaviour, ClientAuth, Conduct,
        Target::{IdToken, LogoutToken},
        edits,
    },
    jws::{Alg, random_token},
    suite::{
        client::{Channel, Client, LogoutTokenTyp},
        mutation::{Mutation as M, Others},
        plan::{Entry, Parameter, Plan, Variant, value},
    },
};

const PREFIX: &str = "oidcc-client-test";

const CODE: Parameter = Parameter::pinned("response_type", &["code"]);
const AUTH: Parameter =
    Parameter::free("client_auth_type", &["private_key_jwt", "client_secret_basic"]);
const REQUEST: Parameter =
    Parameter::free("request_type", &["plain_http_request", "request_object"]);
const STATIC: Parameter = Parameter::free("client_registration", &["static_client"]);

/// Logins, logouts, refresh, and the comprehensive plan.
pub(super) fn plans() -> Vec<Plan> {
    let mut plans = logins();
    plans.extend(logouts());
    plans.extend(others());
    plans
}

fn plan(
    id: &'static str,
    title: &'static str,
    parameters: Vec<Parameter>,
    lacks: fn(&Variant) -> Vec<&'static str>,
    modules: fn(&Variant) -> Vec<Entry>,
) -> Plan {
    let certification = |_: &Variant| None;
    Plan {
        id,
        title,
        parameters,
        possible: always,
        lacks,
        by_default: always,
        certification,
        modules,
    }
}

/// The client that a variant calls for.
fn client(variant: &Variant) -> Client {
    let conduct = Conduct {
        signed_requests: value(variant, "request_type") == "request_object",
        client_auth: match value(variant, "client_auth_type") {
            "private_key_jwt" => ClientAuth::PrivateKeyJwt,
            _ => ClientAuth::SecretBasic,
        },
        ..Conduct::openid_connect()
    };
    let form_post = value(variant, "response_mode") == "form_post";
    Client { form_post, ..Client::of(conduct) }
}

fn with_auth(client: &Client, client_auth: ClientAuth) -> Client {
    Client { conduct: Conduct { client_auth, ..client.conduct }, ..client.clone() }
}

fn common() -> Vec<Parameter> {
    vec![AUTH, REQUEST, STATIC, CODE]
}

fn logins() -> Vec<Plan> {
    vec![
        Plan {
            certification: |_| Some("Basic RP".to_owned()),
            ..plan(
                "oidcc-client-basic-certification-test-plan",
                "OpenID Connect Basic, relying party",
                vec![
                    REQUEST,
                    STATIC,
                    CODE,
                    Parameter::pinned("response_mode", &["default"]),
                    Parameter::pinned("client_auth_type", &["client_secret_basic"]),
                ],
                |_| Vec::new(),
                |variant| entries(PREFIX, BASIC, variant, &client(variant)),
            )
        },
        Plan {
            certification: |_| Some("Config RP".to_owned()),
            ..plan(
                "oidcc-client-config-certification-test-plan",
                "OpenID Connect Config, relying party",
                common(),
                |_| Vec::new(),
                |variant| entries(PREFIX, CONFIG, variant, &client(variant)),
            )
        },
        Plan {
            certification: |_| Some("Form Post Basic RP".to_owned()),
            ..plan(
                "oidcc-client-formpost-basic-certification-test-plan",
                "OpenID Connect Basic by form post, relying party",
                vec![
                    REQUEST,
                    STATIC,
                    CODE,
                    Parameter::pinned("response_mode", &["form_post"]),
                    Parameter::pinned("client_auth_type", &["client_secret_basic"]),
                ],
                |_| Vec::new(),
                |variant| entries(PREFIX, BASIC, variant, &client(variant)),
            )
        },
    ]
}

fn logouts() -> Vec<Plan> {
    vec![
        plan(
            "oidcc-client-rp-initiated-logout-rp-basic",
            "RP-initiated logout, relying party",
            common(),
            |_| Vec::new(),
            |variant| entries(PREFIX, RP_INITIATED, variant, &client(variant)),
        ),
        plan(
            "oidcc-client-back-channel-logout-rp-basic",
            "Back-channel logout, relying party",
            common(),
            |_| Vec::new(),
            |variant| entries(PREFIX, BACK_CHANNEL, variant, &client(variant)),
        ),
        plan(
            "oidcc-client-front-channel-logout-rp-basic",
            "Front-channel logout, relying party",
            common(),
            |_| Vec::new(),
            |variant| entries(PREFIX, FRONT_CHANNEL, variant, &client(variant)),
        ),
        plan(
            "oidcc-client-rp-session-management-rp-basic",
            "Session management, relying party",
            common(),
            |_| vec![FRAMES],
            |variant| entries(PREFIX, SESSION_MANAGEMENT, variant, &client(variant)),
        ),
        plan(
            "oidcc-client-logout-test-plan",
            "Every logout, relying party (no certification)",
            common(),
            |_| Vec::new(),
            |variant| {
                let client = client(variant);
                let logouts = [RP_INITIATED, BACK_CHANNEL, FRONT_CHANNEL, FRONT_CHANNEL_BY_OP];
                let mut all: Vec<_> = logouts
                    .into_iter()
                    .flat_map(|rows| entries(PREFIX, rows, variant, &client))
                    .collect();
                let frames = entries(PREFIX, SESSION_MANAGEMENT, variant, &client);
                all.extend(frames.into_iter().map(|entry| entry.lacking(FRAMES)));
                all
            },
        ),
    ]
}

fn others() -> Vec<Plan> {
    vec![
        plan(
            "oidcc-client-test-plan",
            "OpenID Connect, comprehensive, relying party (no certification)",
            common(),
            |_| Vec::new(),
            |variant| {
                let client = client(variant);
                let tables = [BASIC, CONFIG, FURTHER].into_iter();
                let mut all: Vec<Entry> = Vec::new();
                for entry in tables.flat_map(|rows| entries(PREFIX, rows, variant, &client)) {
                    if !all.iter().any(|known| known.id() == entry.id()) {
                        all.push(entry);
                    }
                }
                all
            },
        ),
        plan(
            "oidcc-client-refreshtoken-test-plan",
            "Refresh tokens, relying party",
            common(),
            |_| Vec::new(),
            |variant| entries(PREFIX, REFRESH, variant, &client(variant)),
        ),
    ]
}

/// What its modules need, and no BFF should have: a page of the server's that listens in a frame.
const FRAMES: &str = "session management by frames, which no BFF should do";

/// A row of a logout, which the script decides.
const LOGOUT: Row = Row {
    besides: as_in_logouts,
    client: |client| Client { logout_token_typ: LogoutTokenTyp::Optional, ..client.clone() },
    over: Over::Script,
    ..ROW
};

/// In its modules about logouts the official suite's server sends a `session_state`, and its logout
/// tokens have no `typ`, but a claim that nobody knows.
fn as_in_logouts(behaviour: &mut Behaviour) {
    behaviour.logout_token_typ = None;
    behaviour.edit(LogoutToken, edits::set("unknown", "ignore me".into()));
    behaviour.redirect_params(|parameters| {
        parameters.push(("session_state".to_owned(), random_token()));
    });
}

/// The client that is told in frames.
fn in_frames(client: &Client) -> Client {
    Client { logout: Channel::Front, logout_token_typ: LogoutTokenTyp::Optional, ..client.clone() }
}

const ACCEPT: &str = "accept it and call userinfo";
const STOP: &str = "stop: no userinfo";

static BASIC: &[Row] = &[
    Row {
        suffix: "",
        does: "Everything is right.",
        must: "log in and call userinfo",
        over: Over::Userinfo,
        clauses: &["OIDC-3.1.3.3"],
        ..ROW
    },
    Row {
        suffix: "-invalid-iss",
        does: "The ID token's iss is wrong.",
        must: STOP,
        mutation: M::Wrong(IdToken, "iss"),
        over: Over::TokenResponse,
        reasons: &["id_token.issuer_mismatch"],
        clauses: &["OIDC-3.1.3.7-2"],
        ..ROW
    },
    Row {
        suffix: "-missing-sub",
        does: "The ID token has no sub.",
        must: STOP,
        mutation: M::Absent(IdToken, "sub"),
        over: Over::TokenResponse,
        reasons: &["id_token.subject_missing"],
        clauses: &["OIDC-3.1.3.3"],
        ..ROW
    },
    Row {
        suffix: "-invalid-aud",
        does: "The ID token's aud is wrong.",
        must: STOP,
        mutation: M::Wrong(IdToken, "aud"),
        over: Over::TokenResponse,
        reasons: &["id_token.audience_mismatch"],
        clauses: &["OIDC-3.1.3.7-3"],
        ..ROW
    },
    Row {
        suffix: "-missing-iat",
        does: "The ID token has no iat.",
        must: STOP,
        mutation: M::Absent(IdToken, "iat"),
        over: Over::TokenResponse,
        reasons: &["id_token.issued_at_missing"],
        clauses: &["OIDC-3.1.3.3"],
        ..ROW
    },
    Row {
        suffix: "-kid-absent-single-jwks",
        does: "ID token and key have no kid; one published key fits.",
        must: ACCEPT,
        mutation: M::NamelessKeys(Others::OfOtherKinds),
        over: Over::Userinfo,
        clauses: &["JWK-SEL"],
        ..ROW
    },
    Row {
        suffix: "-kid-absent-multiple-jwks",
        does: "ID token and keys have no kid; three published keys fit.",
        must: "refuse it, or find the right key",
        mutation: M::NamelessKeys(Others::OfTheSameKind),
        over: Over::TokenResponse,
        reasons: &["id_token.key_ambiguous"],
        clauses: &["JWK-SEL"],
        ..ROW
    },
    Row {
        suffix: "-idtoken-sig-rs256",
        does: "The ID token is signed with RS256.",
        must: ACCEPT,
        over: Over::Userinfo,
        clauses: &["ALG-MAT"],
        ..ROW
    },
    Row {
        suffix: "-idtoken-sig-none",
        does: "The ID token is unsecured (alg none).",
        must: STOP,
        mutation: M::AlgNone(IdToken),
        over: Over::TokenResponse,
        reasons: &["id_token.alg_not_allowed"],
        clauses: &["JWT-3.1"],
        ..ROW
    },
    Row {
        suffix: "-invalid-sig-rs256",
        does: "The ID token's RS256 signature is wrong in every byte.",
        must: STOP,
        mutation: M::BadSignature(IdToken),
        over: Over::TokenResponse,
        reasons: &["id_token.signature_invalid"],
        clauses: &["OIDC-3.1.3.7-6"],
        ..ROW
    },
    Row {
        suffix: "-userinfo-invalid-sub",
        does: "Userinfo is about somebody else.",
        must: "discard it",
        mutation: M::UserinfoSubject,
        over: Over::Userinfo,
        play: Some(|stage| Box::pin(acts::discard_userinfo(stage))),
        clauses: &["OIDC-5.3.2"],
        ..ROW
    },
    Row {
        suffix: "-nonce-invalid",
        does: "The ID token's nonce is wrong.",
        must: STOP,
        mutation: M::Wrong(IdToken, "nonce"),
        over: Over::TokenResponse,
        reasons: &["id_token.nonce_mismatch"],
        clauses: &["OIDC-3.1.3.7-11"],
        ..ROW
    },
    Row {
        suffix: "-scope-userinfo-claims",
        does: "Claims are asked for by scope.",
        must: "ask for profile, email, address or phone",
        over: Over::Userinfo,
        clauses: &["OIDC-3.1.2.1"],
        ..ROW
    },
    Row {
        suffix: "-client-secret-basic",
        does: "The client authenticates with client_secret_basic.",
        must: ACCEPT,
        over: Over::Userinfo,
        client: |client| with_auth(client, ClientAuth::SecretBasic),
        clauses: &["PKJ-2.2"],
        ..ROW
    },
];

static CONFIG: &[Row] = &[
    Row {
        suffix: "-discovery-openid-config",
        does: "The metadata is asked for.",
        must: "ask for it",
        over: Over::Script,
        play: Some(|stage| Box::pin(acts::discover(stage))),
        clauses: &["META-3.1"],
        ..ROW
    },
    Row {
        suffix: "-discovery-jwks-uri-keys",
        does: "The address of the keys changes with every test.",
        must: "take it from the metadata",
        mutation: M::KeysElsewhere,
        over: Over::Userinfo,
        clauses: &["META-3.1"],
        ..ROW
    },
    Row {
        suffix: "-discovery-issuer-mismatch",
        does: "The metadata's issuer is wrong.",
        must: "stop after discovery",
        mutation: M::IssuerInMetadata,
        over: Over::Metadata,
        reasons: &["metadata.issuer_mismatch"],
        clauses: &["META-3.3"],
        ..ROW
    },
    Row {
        suffix: "-idtoken-sig-none",
        does: "The ID token is unsecured (alg none).",
        must: STOP,
        mutation: M::AlgNone(IdToken),
        over: Over::TokenResponse,
        reasons: &["id_token.alg_not_allowed"],
        clauses: &["JWT-3.1"],
        ..ROW
    },
    Row {
        suffix: "-signing-key-rotation-just-before-signing",
        does: "A new key signs; the published set has it at once.",
        must: "ask for the keys again",
        over: Over::Userinfo,
        play: Some(|stage| Box::pin(acts::rotated_before_signing(stage))),
        clauses: &["JWK-ROT"],
        ..ROW
    },
    Row {
        suffix: "-signing-key-rotation",
        does: "Between two logins the keys change.",
        must: "ask for the keys again",
        over: Over::Script,
        play: Some(|stage| Box::pin(acts::rotated_between_logins(stage))),
        clauses: &["JWK-ROT"],
        ..ROW
    },
];

static BACK_CHANNEL: &[Row] = &[
    Row {
        suffix: "-rp-backchannel-rpinitlogout",
        does: "The logout token is right.",
        must: "answer 200",
        play: Some(|stage| Box::pin(acts::back_channel(stage, 200))),
        clauses: &["BCL-2.5", "BCL-2.7", "BCL-2.8"],
        ..LOGOUT
    },
    Row {
        suffix: "-rp-backchannel-rpinitlogout-alg-none",
        does: "The logout token is unsecured (alg none).",
        must: "answer 400",
        mutation: M::AlgNone(LogoutToken),
        reasons: &["logout_token.alg_not_allowed"],
        play: Some(|stage| Box::pin(acts::back_channel(stage, 400))),
        clauses: &["BCL-2.6-1/2"],
        ..LOGOUT
    },
    Row {
        suffix: "-rp-backchannel-rpinitlogout-no-event",
        does: "The logout token has no events.",
        must: "answer 400",
        mutation: M::Absent(LogoutToken, "events"),
        reasons: &["logout_token.events_missing"],
        play: Some(|stage| Box::pin(acts::back_channel(stage, 400))),
        clauses: &["BCL-2.6-4/5/6"],
        ..LOGOUT
    },
    Row {
        suffix: "-rp-backchannel-rpinitlogout-with-nonce",
        does: "The logout token has a nonce.",
        must: "answer 400",
        mutation: M::Unexpected(LogoutToken, "nonce"),
        reasons: &["logout_token.nonce_present"],
        play: Some(|stage| Box::pin(acts::back_channel(stage, 400))),
        clauses: &["BCL-2.6-4/5/6"],
        ..LOGOUT
    },
    Row {
        suffix: "-rp-backchannel-rpinitlogout-wrong-alg",
        does: "The logout token is signed with another algorithm by a published key.",
        must: "answer 400",
        mutation: M::AlternateAlg(LogoutToken),
        reasons: &["logout_token.alg_not_allowed"],
        play: Some(|stage| Box::pin(acts::back_channel(stage, 400))),
        clauses: &["BCL-2.6-1/2"],
        ..LOGOUT
    },
    Row {
        suffix: "-rp-backchannel-rpinitlogout-wrong-aud",
        does: "The logout token's aud is wrong.",
        must: "answer 400",
        mutation: M::Invalid(LogoutToken, "aud"),
        reasons: &["logout_token.audience_mismatch"],
        play: Some(|stage| Box::pin(acts::back_channel(stage, 400))),
        clauses: &["BCL-2.6-3"],
        ..LOGOUT
    },
    Row {
        suffix: "-rp-backchannel-rpinitlogout-wrong-event",
        does: "The logout token's event is another one.",
        must: "answer 400",
        mutation: M::OtherEvent,
        reasons: &["logout_token.event_missing"],
        play: Some(|stage| Box::pin(acts::back_channel(stage, 400))),
        clauses: &["BCL-2.6-4/5/6"],
        ..LOGOUT
    },
    Row {
        suffix: "-rp-backchannel-rpinitlogout-wrong-iss",
        does: "The logout token's iss is wrong.",
        must: "answer 400",
        mutation: M::Invalid(LogoutToken, "iss"),
        reasons: &["logout_token.issuer_mismatch"],
        play: Some(|stage| Box::pin(acts::back_channel(stage, 400))),
        clauses: &["BCL-2.6-3"],
        ..LOGOUT
    },
];

static FRONT_CHANNEL: &[Row] = &[Row {
    suffix: "-rp-frontchannel-rpinitlogout",
    does: "The logout page loads the client's front-channel logout address in a frame.",
    must: "let itself be framed by the server, and end the session",
    play: Some(|stage| Box::pin(acts::front_channel(stage))),
    client: in_frames,
    clauses: &["FCL-2", "FCL-4.1"],
    ..LOGOUT
}];

static RP_INITIATED: &[Row] = &[
    Row {
        suffix: "-rp-init-logout",
        does: "The browser comes back from the logout with the right state.",
        must: "send id_token_hint, and cope",
        play: Some(|stage| Box::pin(acts::log_out(stage, acts::Return::Right))),
        clauses: &["RPL-2/2.1"],
        ..LOGOUT
    },
    Row {
        suffix: "-rp-init-logout-other-state",
        does: "It comes back with another state.",
        must: "cope without a loop",
        reasons: &["logout.state_mismatch"],
        play: Some(|stage| Box::pin(acts::log_out(stage, acts::Return::OtherState))),
        clauses: &["RPL-2b"],
        ..LOGOUT
    },
    Row {
        suffix: "-rp-init-logout-no-state",
        does: "It comes back without state.",
        must: "cope without a loop",
        reasons: &["logout.state_mismatch"],
        play: Some(|stage| Box::pin(acts::log_out(stage, acts::Return::NoState))),
        clauses: &["RPL-2b"],
        ..LOGOUT
    },
];

static SESSION_MANAGEMENT: &[Row] = &[Row {
    suffix: "-session-management",
    does: "The client polls the session in a frame.",
    must: "notice the change",
    clauses: &["SM-2/3"],
    ..ROW
}];

static REFRESH: &[Row] = &[
    Row {
        suffix: "-refresh-token",
        does: "A refresh token is used.",
        must: "take the new tokens",
        over: Over::Script,
        play: Some(|stage| Box::pin(acts::refresh(stage, None))),
        clauses: &["OIDC-12.2"],
        ..ROW
    },
    Row {
        suffix: "-refresh-token-invalid-issuer",
        does: "The refreshed ID token's iss is wrong.",
        must: "give it up",
        over: Over::Script,
        reasons: &["id_token.issuer_mismatch"],
        play: Some(|stage| Box::pin(acts::refresh(stage, Some("iss")))),
        clauses: &["OIDC-12.2"],
        ..ROW
    },
    Row {
        suffix: "-refresh-token-invalid-sub",
        does: "The refreshed ID token's sub is wrong.",
        must: "give it up",
        over: Over::Script,
        reasons: &["id_token.subject_changed"],
        play: Some(|stage| Box::pin(acts::refresh(stage, Some("sub")))),
        clauses: &["OIDC-12.2"],
        ..ROW
    },
];

static FURTHER: &[Row] = &[
    Row {
        suffix: "-missing-aud",
        does: "The ID token has no aud.",
        must: STOP,
        mutation: M::Absent(IdToken, "aud"),
        over: Over::TokenResponse,
        reasons: &["id_token.audience_missing"],
        clauses: &["OIDC-3.1.3.3"],
        ..ROW
    },
    Row {
        suffix: "-invalid-sig-es256",
        does: "The ID token's ES256 signature is wrong in every byte.",
        must: STOP,
        client: |client| Client { server_alg: Alg::Es256, ..client.clone() },
        mutation: M::BadSignature(IdToken),
        over: Over::TokenResponse,
        reasons: &["id_token.signature_invalid"],
        clauses: &["OIDC-3.1.3.7-6"],
        ..ROW
    },
    Row {
        suffix: "-invalid-sig-hs256",
        does: "The ID token's HS256 signature is wrong.",
        must: STOP,
        over: Over::TokenResponse,
        clauses: &["OIDC-3.1.3.7-7/8"],
        lacks: Some("HS256, which no client here will have"),
        ..ROW
    },
    Row {
        suffix: "-userinfo-bearer-header",
        does: "Userinfo takes the token in the Authorization header.",
        must: "send it there",
        over: Over::Userinfo,
        clauses: &["OIDC-5.3.1"],
        ..ROW
    },
    Row {
        suffix: "-userinfo-bearer-body",
        does: "Userinfo takes the token in the form.",
        must: "send it there",
        clauses: &["OIDC-5.3.1"],
        lacks: Some("tokens in forms, which no client here will send"),
        ..ROW
    },
    Row {
        suffix: "-userinfo-signed",
        does: "Userinfo is a signed token.",
        must: "verify it",
        over: Over::Userinfo,
        clauses: &["OIDC-5.3.2-sig"],
        client: |client| Client { signed_userinfo: true, ..client.clone() },
        ..ROW
    },
    Row {
        suffix: "-mtls-endpoint-aliases",
        does: "Endpoints have aliases for mutual TLS.",
        must: "use them",
        over: Over::Userinfo,
        client: |client| with_auth(client, ClientAuth::TlsClientAuth),
        clauses: &["MTLS-5"],
        ..ROW
    },
    Row {
        suffix: "-aggregated-claims",
        does: "Userinfo has aggregated claims.",
        must: "cope",
        clauses: &["OIDC-5.3.2"],
        lacks: Some("aggregated claims"),
        ..ROW
    },
    Row {
        suffix: "-distributed-claims",
        does: "Userinfo has distributed claims.",
        must: "cope",
        clauses: &["OIDC-5.3.2"],
        lacks: Some("distributed claims"),
        ..ROW
    },
];

static FRONT_CHANNEL_BY_OP: &[Row] = &[Row {
    suffix: "-rp-frontchannel-opinitlogout",
    does: "The authorization server ends the session by a front-channel logout of its own.",
    must: "end the session",
    play: Some(|stage| Box::pin(acts::front_channel_by_server(stage))),
    client: in_frames,
    clauses: &["FCL-2"],
    ..LOGOUT
}];

#[cfg(test)]
mod tests {
    use super::*;

    /// The official suite's own numbers.
    #[test]
    fn each_plan_has_as_many_modules_as_the_official_one() {
        let numbers: Vec<_> =
            plans().iter().map(|plan| plan.entries(&plan.variants()[0]).len()).collect();
        assert_eq!(numbers, [14, 6, 14, 3, 8, 1, 1, 14, 28, 3]);
    }

    #[test]
    fn session_management_by_frames_is_lacking_and_nothing_else_is() {
        let supported = |plan: &Plan| plan.variants().iter().all(|v| plan.is_supported(v));
        let lacking: Vec<_> =
            plans().iter().filter(|plan| !supported(plan)).map(|plan| plan.id).collect();
        assert_eq!(lacking, ["oidcc-client-rp-session-management-rp-basic"]);
        for plan in plans().iter().filter(|plan| plan.id.contains("logout")) {
            let entries = plan.entries(&plan.variants()[0]);
            let lacking: Vec<_> =
                entries.iter().filter(|entry| !entry.is_ready()).map(Entry::id).collect();
            let whole = plan.id == "oidcc-client-logout-test-plan";
            assert_eq!(lacking.len(), usize::from(whole), "{}: {lacking:?}", plan.id);
            assert!(lacking.iter().all(|id| id.ends_with("-session-management")));
        }
    }
}
