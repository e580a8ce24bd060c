//! Logout tokens that must end nothing. Each is right but for one thing, and the same without that thing
//! ends the session afterwards. It must not know what else can go wrong on the way.

use serde_json::{Value, json};

use super::told::{ACTION, form};
use crate::{
    as_double::{Tamper, Target, edits},
    jws::Object,
    ledger::Endpoint,
    suite::{
        client::{BACK_CHANNEL, Client, LogoutTokenTyp},
        hardening::{
            acts::FORM,
            change::{Change, edit, header, placed, rewrite, tamper},
            forge::{duplicate_claim, signed_anew},
        },
        module::{Module, Step},
        stage::{Raw, Stage},
        world::CLIENT_ID,
    },
};

const T: Target = Target::LogoutToken;
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
const REFUSE: &str = "answer 400, end nothing, and record why";

/// Takes no logout token at first, and the right one afterwards.
async fn refused(stage: &mut Stage, reason: &'static str) -> Step {
    let seat = stage.seat("alice").await?;
    let wrong = stage.logout_token(Some(seat.sub), Some(&seat.sid))?;
    let answer = stage.tell(&wrong).await?;
    stage.expect_untold(&answer, 400, reason);
    stage.expect_asked(Endpoint::Revocation, 0);
    stage.expect_seated(&seat).await?;
    right_one(stage, seat).await
}

/// Nothing but what was wrong kept the session alive.
async fn right_one(stage: &mut Stage, seat: super::told::Seat) -> Step {
    stage.world.double.reset_behaviour();
    if stage.world.configuration().is_ok_and(|toml| toml.contains("logout_token_typ_required")) {
        stage.world.double.behave(|behaviour| behaviour.logout_token_typ = None);
    }
    let right = stage.logout_token(Some(seat.sub), Some(&seat.sid))?;
    let answer = stage.tell(&right).await?;
    stage.expect_told(&answer, 200);
    stage.expect_record(ACTION, "success", "none");
    stage.expect_unseated(&seat).await
}

fn row(
    id: &str,
    does: &str,
    clauses: &[&'static str],
    reason: &'static str,
    change: Change,
) -> Module {
    let id = format!("backchannel-logout-{id}");
    let module =
        Module::new(&id, does, REFUSE, clauses, move |stage| Box::pin(refused(stage, reason)));
    change.throughout(module.reasons(&[reason]))
}

fn set(claim: &str, value: Value) -> Change {
    edit(T, edits::set(claim, value))
}

fn without(claim: &str) -> Change {
    edit(T, edits::remove(claim))
}

fn event(value: &Value) -> Change {
    set("events", json!({ EVENT: value }))
}

fn signatures() -> Vec<Module> {
    const SIGNED: &[&str] = &["BCL-2.6-1/2"];
    vec![
        row(
            "unsigned",
            "The logout token is unsecured (alg none).",
            SIGNED,
            "logout_token.alg_not_allowed",
            tamper(T, Tamper::AlgNone),
        ),
        row(
            "by-another-algorithm",
            "The logout token is signed with RS256 by a key that the server really publishes.",
            SIGNED,
            "logout_token.alg_not_allowed",
            tamper(T, Tamper::AlternateAlg),
        ),
        row(
            "signature-changed",
            "Every byte of the logout token's signature is changed.",
            SIGNED,
            "logout_token.signature_invalid",
            tamper(T, Tamper::Flip),
        ),
        row(
            "by-another-key",
            "The logout token names the right key and is signed by another.",
            SIGNED,
            "logout_token.signature_invalid",
            tamper(T, Tamper::WrongKey),
        ),
        row(
            "hs256-keyed-with-jwk",
            "The logout token has a right MAC, keyed with the text of the server's public key.",
            &["BCL-2.6-1/2", "OIDC-3.1.3.7-7/8"],
            "logout_token.alg_not_allowed",
            signed_anew(T, |draft| draft.maced(draft.public_jwk().to_string().as_bytes())),
        ),
        row(
            "claim-twice",
            "The rightly signed logout token has sid twice, first another's.",
            &["JWT-PARSE", "BCL-2.6-1/2"],
            "logout_token.duplicate_member",
            duplicate_claim(T, "sid"),
        ),
        row(
            "crit-unknown",
            "The logout token's header has a critical member that nobody knows.",
            &["JWT-PARSE", "BCL-2.6-1/2"],
            "logout_token.header_not_allowed",
            header(T, &json!({"crit": ["b64"], "b64": true})),
        ),
        row(
            "no-token-at-all",
            "Something comes that is no token.",
            &["BCL-2.6-1/2", "BCL-2.8"],
            "logout_token.malformed",
            rewrite(T, |_| "null".to_owned()),
        ),
    ]
}

/// By whom and for whom.
fn origins() -> Vec<Module> {
    let origin = |id, does, reason, change| row(id, does, &["BCL-2.6-3"], reason, change);
    vec![
        origin(
            "of-another-issuer",
            "The logout token's iss is another server.",
            "logout_token.issuer_mismatch",
            edit(T, edits::wrong("iss")),
        ),
        origin(
            "without-issuer",
            "The logout token has no iss.",
            "logout_token.issuer_missing",
            without("iss"),
        ),
        origin(
            "for-another-client",
            "The logout token's aud is another client.",
            "logout_token.audience_mismatch",
            edit(T, edits::wrong("aud")),
        ),
        origin(
            "for-two-clients",
            "The logout token's aud names another client beside ours.",
            "logout_token.audience_untrusted",
            set("aud", json!([CLIENT_ID, "another-client"])),
        ),
        origin(
            "without-audience",
            "The logout token has no aud.",
            "logout_token.audience_missing",
            without("aud"),
        ),
        origin(
            "without-expiry",
            "The logout token never expires.",
            "logout_token.expiry_missing",
            without("exp"),
        ),
        origin(
            "without-time-of-issue",
            "The logout token has no iat.",
            "logout_token.issued_at_missing",
            without("iat"),
        ),
    ]
}

/// What for, about whom, and under which name.
fn events() -> Vec<Module> {
    const JTI: &[&str] = &["BCL-2.6-7"];
    let events = |id, does, reason, change| row(id, does, &["BCL-2.6-4/5/6"], reason, change);
    vec![
        events(
            "without-events",
            "The logout token has no events.",
            "logout_token.events_missing",
            without("events"),
        ),
        events(
            "of-another-event",
            "The logout token's one event is another one.",
            "logout_token.event_missing",
            set("events", json!({"http://schemas.openid.net/event/another": {}})),
        ),
        events(
            "event-as-string",
            "The logout token's event is a string.",
            "logout_token.event_invalid",
            event(&json!("{}")),
        ),
        events(
            "event-null",
            "The logout token's event is null.",
            "logout_token.event_invalid",
            event(&json!(null)),
        ),
        events(
            "events-as-list",
            "The logout token's events are a list of names.",
            "logout_token.claim_type",
            set("events", json!([EVENT])),
        ),
        events(
            "with-nonce",
            "The logout token has a nonce, as ID tokens have.",
            "logout_token.nonce_present",
            set("nonce", json!("n")),
        ),
        events(
            "with-nonce-null",
            "The logout token's nonce is null.",
            "logout_token.nonce_present",
            set("nonce", json!(null)),
        ),
        events(
            "naming-nobody",
            "The logout token has neither sub nor sid.",
            "logout_token.nobody_named",
            edit(T, |claims: &mut Object| {
                claims.remove("sub");
                claims.remove("sid");
            }),
        ),
        events(
            "sid-empty",
            "The logout token's sid is empty.",
            "logout_token.sid_invalid",
            set("sid", json!("")),
        ),
        events(
            "sid-as-number",
            "The logout token's sid is a number.",
            "logout_token.claim_type",
            set("sid", json!(7)),
        ),
        row(
            "without-jti",
            "The logout token has no name by which it could be known again (jti).",
            JTI,
            "logout_token.jti_missing",
            without("jti"),
        ),
        row(
            "jti-empty",
            "The logout token's jti is empty.",
            JTI,
            "logout_token.jti_invalid",
            set("jti", json!("")),
        ),
    ]
}

/// The clock stands still: a second counts.
fn times() -> Vec<Module> {
    let timed =
        |id, does, reason, change| row(id, does, &["BCL-2.6-3", "CLK-1"], reason, change).timed();
    vec![
        timed(
            "expired-ten-seconds-ago",
            "The logout token expired ten seconds ago, the first second beyond the leeway.",
            "logout_token.expired",
            edit(T, |claims: &mut Object| {
                let now = claims.get("iat").and_then(Value::as_i64).unwrap_or_default();
                claims.insert("iat".to_owned(), json!(now - 100));
                claims.insert("exp".to_owned(), json!(now - 10));
            }),
        ),
        timed(
            "from-the-next-minute",
            "The logout token's iat is 61 seconds ahead.",
            "logout_token.issued_in_future",
            placed(T, "iat", 61),
        ),
        timed(
            "good-for-too-long",
            "The logout token is good for ten minutes and a second.",
            "logout_token.lifetime_too_long",
            placed(T, "exp", 601),
        ),
    ]
}

fn types() -> Vec<Module> {
    const TYPE: &[&str] = &["BCL-4.1"];
    const TYPED: &str = "logout_token.typ_not_allowed";
    let untyped = || Client { logout_token_typ: LogoutTokenTyp::Optional, ..Client::default() };
    let typ = |id, does, typ: Value| row(id, does, TYPE, TYPED, header(T, &json!({"typ": typ})));
    vec![
        typ("untyped", "The logout token does not say what it is (typ).", json!(null)),
        typ("typed-as-jwt", "The logout token says that it is any JWT.", json!("JWT")),
        typ("typed-as-access-token", "The logout token's typ is at+jwt.", json!("at+jwt")),
        typ(
            "typed-otherwise-where-none-is-needed",
            "The client takes untyped logout tokens; this one says that it is any JWT.",
            json!("JWT"),
        )
        .with_client(untyped()),
        Module::new(
            "backchannel-logout-untyped-where-none-is-needed",
            "The client takes untyped logout tokens, and one comes.",
            "take it",
            TYPE,
            |stage| Box::pin(untyped_taken(stage)),
        )
        .with_client(untyped())
        .reasons(&[]),
        Module::new(
            "backchannel-logout-by-an-id-token",
            "The session's own ID token comes where a logout token is expected.",
            REFUSE,
            &["BCL-4.1", "BCL-2.6-4/5/6"],
            |stage| Box::pin(id_token(stage, TYPED)),
        )
        .reasons(&[TYPED]),
        Module::new(
            "backchannel-logout-by-an-untyped-id-token",
            "The client takes untyped logout tokens; the session's own ID token comes, untyped.",
            REFUSE,
            &["BCL-2.6-4/5/6", "JWT-3.12"],
            |stage| Box::pin(id_token(stage, "logout_token.nonce_present")),
        )
        .with_client(untyped())
        .behaving(|double| {
            let none =
                Tamper::Header(json!({"typ": null}).as_object().cloned().unwrap_or_default());
            double.behave(|behaviour| behaviour.tamper(Target::IdToken, none));
        })
        .reasons(&["logout_token.nonce_present"]),
    ]
}

async fn untyped_taken(stage: &mut Stage) -> Step {
    let seat = stage.seat("alice").await?;
    stage.world.double.behave(|behaviour| behaviour.logout_token_typ = None);
    let token = stage.logout_token(Some(seat.sub), Some(&seat.sid))?;
    let answer = stage.tell(&token).await?;
    stage.expect_told(&answer, 200);
    stage.expect_unseated(&seat).await
}

async fn id_token(stage: &mut Stage, reason: &'static str) -> Step {
    let seat = stage.seat("alice").await?;
    let event = stage.world.double.last(Endpoint::Token);
    let body = event.map(|event| event.answer.body).unwrap_or_default();
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let token = body.get("id_token").and_then(Value::as_str).unwrap_or_default().to_owned();
    stage.demand("id_token", &[], !token.is_empty(), "the login gave an ID token")?;
    let answer = stage.tell(&token).await?;
    stage.expect_untold(&answer, 400, reason);
    stage.expect_seated(&seat).await?;
    right_one(stage, seat).await
}

/// The right token, in every way but the one.
async fn in_another_form(stage: &mut Stage) -> Step {
    let seat = stage.seat("alice").await?;
    let token = stage.logout_token(Some(seat.sub), Some(&seat.sid))?;
    let right = form(&token);
    let in_query = format!("{BACK_CHANNEL}?{right}");
    let post = |path, kind: &str, body: &str| Raw {
        method: "POST",
        path,
        headers: vec![("content-type", kind.to_owned())],
        body: body.to_owned(),
    };
    let json = json!({ "logout_token": token }).to_string();
    let (twice, beside) = (format!("{right}&{right}"), format!("logout_token=x&{right}"));
    let padded = format!("{right}&padding={}", "a".repeat(1024 * 1024));
    let parts = format!(
        "--x\r\nContent-Disposition: form-data; name=\"logout_token\"\r\n\r\n{token}\r\n--x--\r\n"
    );
    let (missing, repeated) = ("logout_token.missing", "logout_token.repeated");
    for (what, raw, reason) in [
        ("in the query", post(&in_query, FORM, ""), missing),
        ("as JSON", post(BACK_CHANNEL, "application/json", &json), missing),
        ("in parts", post(BACK_CHANNEL, "multipart/form-data; boundary=x", &parts), missing),
        ("as text", post(BACK_CHANNEL, "text/plain", &right), missing),
        ("twice", post(BACK_CHANNEL, FORM, &twice), repeated),
        ("beside another", post(BACK_CHANNEL, FORM, &beside), repeated),
        ("not at all", post(BACK_CHANNEL, FORM, "token=x"), missing),
        ("empty", post(BACK_CHANNEL, FORM, "logout_token="), "logout_token.malformed"),
        ("with a megabyte beside it", post(BACK_CHANNEL, FORM, &padded), missing),
    ] {
        stage.remark(what);
        let answer = stage.send(raw).await?;
        stage.expect_untold(&answer, 400, reason);
    }
    let get = Raw { method: "GET", path: in_query.as_str(), ..Raw::default() };
    let answer = stage.send(get).await?;
    stage.expect_told(&answer, 405);
    stage.expect_asked(Endpoint::Revocation, 0);
    stage.expect_seated(&seat).await?;
    right_one(stage, seat).await
}

pub(super) fn modules() -> Vec<Module> {
    let mut modules: Vec<Module> =
        [signatures(), origins(), events(), times(), types()].into_iter().flatten().collect();
    modules.push(Module::new(
        "backchannel-logout-token-in-another-form",
        "The right logout token comes by GET, in the query, as JSON, in parts, twice, and not at all.",
        "refuse it each time, and end nothing",
        &["BCL-2.5", "BCL-2.8"],
        |stage| Box::pin(in_another_form(stage)),
    ));
    modules
}
