//! Right logout tokens: whose sessions they end, at once and everywhere, whose they leave alone, and that
//! each works once. It must not know how tokens can be wrong.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, header::CONTENT_TYPE};

use super::told::{ACTION, Seat, form};
use crate::{
    as_double::{Encryption, Fault, Gate},
    demo::{browser::Call, wire::head},
    jwe,
    ledger::Endpoint,
    suite::{
        client::{BACK_CHANNEL, Client},
        hardening::acts::FORM,
        module::{Halt, Module, Step},
        stage::{Raw, Stage},
        world::CLIENT_ID,
    },
};

const REPLAYED: &str = "logout_token.replayed";

/// Three people's worth of sessions: two of one person, one of another.
async fn seats(stage: &mut Stage) -> Step<[Seat; 3]> {
    Ok([stage.seat("alice").await?, stage.seat("alice").await?, stage.seat("bjork").await?])
}

/// Sends a right logout token, which must be taken; `reason` says whether anybody was meant by it.
async fn take(stage: &mut Stage, sub: Option<&str>, sid: Option<&str>, reason: &str) -> Step {
    let token = stage.logout_token(sub, sid)?;
    let answer = stage.tell(&token).await?;
    stage.expect_told(&answer, 200);
    stage.expect_record(ACTION, "success", reason);
    Ok(())
}

async fn this_session(stage: &mut Stage) -> Step {
    let [meant, other, stranger] = seats(stage).await?;
    take(stage, Some("alice"), Some(&meant.sid), "none").await?;
    stage.expect_record("session.end", "success", "backchannel_logout");
    stage.expect_unseated(&meant).await?;
    stage.expect_seated(&other).await?;
    stage.expect_seated(&stranger).await?;
    // The same without sub.
    take(stage, None, Some(&other.sid), "none").await?;
    stage.expect_unseated(&other).await?;
    stage.expect_seated(&stranger).await
}

async fn every_session(stage: &mut Stage) -> Step {
    let [first, second, stranger] = seats(stage).await?;
    take(stage, Some("alice"), None, "none").await?;
    for seat in [first, second] {
        stage.expect_unseated(&seat).await?;
    }
    stage.expect_seated(&stranger).await
}

async fn nobodys_session(stage: &mut Stage) -> Step {
    let [first, second, stranger] = seats(stage).await?;
    for (sub, sid) in [
        (None, Some("unknown")),
        (Some("carol"), None),
        // Another one's session.
        (Some("bjork"), Some(first.sid.as_str())),
        (Some("carol"), Some(stranger.sid.as_str())),
    ] {
        take(stage, sub, sid, "session.unknown").await?;
    }
    stage.expect_asked(Endpoint::Revocation, 0);
    for seat in [first, second, stranger] {
        stage.expect_seated(&seat).await?;
    }
    Ok(())
}

async fn ended_before(stage: &mut Stage) -> Step {
    let seat = stage.seat("alice").await?;
    stage.log_out().await?;
    take(stage, Some("alice"), Some(&seat.sid), "session.unknown").await?;
    take(stage, Some("alice"), None, "session.unknown").await?;
    stage.expect_asked(Endpoint::Revocation, 2);
    Ok(())
}

async fn replayed(stage: &mut Stage) -> Step {
    let first = stage.seat("alice").await?;
    let token = stage.logout_token(Some("alice"), None)?;
    let answer = stage.tell(&token).await?;
    stage.expect_told(&answer, 200);
    stage.expect_unseated(&first).await?;
    let second = stage.seat("alice").await?;
    for _ in 0..2 {
        let answer = stage.tell(&token).await?;
        stage.expect_untold(&answer, 400, REPLAYED);
    }
    stage.expect_seated(&second).await?;
    // A new one ends it.
    take(stage, Some("alice"), None, "none").await?;
    stage.expect_unseated(&second).await
}

async fn replayed_after_restart(stage: &mut Stage) -> Step {
    let [first, second, stranger] = seats(stage).await?;
    let used = stage.logout_token(Some("alice"), Some(&first.sid))?;
    let answer = stage.tell(&used).await?;
    stage.expect_told(&answer, 200);
    stage.world.restart().await?;
    let answer = stage.tell(&used).await?;
    stage.expect_untold(&answer, 400, REPLAYED);
    stage.expect_seated(&second).await?;
    // Sessions of before are found.
    take(stage, Some("alice"), None, "none").await?;
    stage.expect_unseated(&second).await?;
    stage.expect_seated(&stranger).await?;
    stage.settled(2).await
}

async fn many_at_once(stage: &mut Stage) -> Step {
    let seat = stage.seat("alice").await?;
    let token = stage.logout_token(Some("alice"), Some(&seat.sid))?;
    let calls = (0..8).map(|_| {
        let (browser, body) = (stage.world.browser(), form(&token));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
        async move { browser.raw(Method::POST, BACK_CHANNEL, headers, body.into()).await }
    });
    let answers: Result<Vec<_>, String> = join_all(calls).await.into_iter().collect();
    let statuses: Vec<_> = answers?.iter().map(|answer| answer.status).collect();
    let count = |status| statuses.iter().filter(|found| **found == status).count();
    let held = count(200) == 1 && count(400) == statuses.len() - 1;
    stage.check("once", &["BCL-2.6-7"], held, format!("the answers are {statuses:?}"));
    let replays = stage.recorded(REPLAYED);
    let held = replays.is_none_or(|replays| replays == statuses.len() - 1);
    stage.check("recorded", &["BCL-2.6-7"], held, format!("{replays:?} replays are recorded"));
    stage.expect_unseated(&seat).await
}

async fn while_streaming(stage: &mut Stage) -> Step {
    let [streaming, other, _] = seats(stage).await?;
    let accept = ["Accept: text/event-stream"];
    let mut lines = Vec::new();
    for seat in [&streaming, &other] {
        let mut line = stage.world.line().await?;
        let target = "/lab/sse?count=0&ms=20";
        line.send(head(&stage.world.origin, &seat.browser, "GET", target, &accept).as_bytes())
            .await;
        line.until("data: 3").await?;
        lines.push(line);
    }
    take(stage, Some("alice"), Some(&streaming.sid), "none").await?;
    let (Some(mut stays), Some(ends)) = (lines.pop(), lines.pop()) else {
        return Err(Halt::Trouble("there are no streams".to_owned()));
    };
    let ended = ends.rest().await;
    let message = match &ended {
        Ok(_) => "the stream of the ended session ended".to_owned(),
        Err(_) => "the stream of the ended session went on".to_owned(),
    };
    stage.check("stream_ended", &["BCL-2.7", "SES-7.4"], ended.is_ok(), message);
    let goes_on = stays.until("data: 40").await.is_ok();
    stage.check("other_goes_on", &["BCL-2.7"], goes_on, "the other session's stream goes on");
    stage.expect_unseated(&streaming).await?;
    stage.expect_seated(&other).await
}

async fn during_refresh(stage: &mut Stage) -> Step {
    let seat = stage.seat("alice").await?;
    let (gate, hold) = (Gate::new(), Gate::new());
    stage.world.double.behave(|behaviour| {
        behaviour.fault(Endpoint::Token, Fault::Gate(gate.clone()));
        // The server answers the refresh first and hears of tokens given up later.
        behaviour.fault(Endpoint::Revocation, Fault::Gate(hold.clone()));
    });
    let mut tab = seat.browser.clone();
    let call = tokio::spawn(async move { tab.fetch(Call::post("/bff/refresh")).await });
    stage.soon("token_request", gate.reached(1)).await?;
    take(stage, Some("alice"), Some(&seat.sid), "none").await?;
    gate.open();
    let answer = stage.soon("held_call", call).await?;
    let answer = answer.map_err(|error| Halt::Trouble(error.to_string()))??;
    stage.expect_refusal("logout_wins", &answer, 401, "session_missing");
    hold.open();
    // The two that came too late. The session's own nobody can open without its cookie.
    stage.given_up(2).await?;
    let events = stage.world.double.events();
    let revoked = events.iter().filter(|event| event.endpoint == Endpoint::Revocation);
    let tokens: BTreeSet<_> = revoked.filter_map(|event| event.form("token")).collect();
    let message = format!("{} different tokens were given up; 2 expected", tokens.len());
    stage.check("late_tokens_given_up", &["REV-2.1"], tokens.len() == 2, message);
    stage.expect_unseated(&seat).await
}

async fn server_is_deaf(stage: &mut Stage) -> Step {
    let seat = stage.seat("alice").await?;
    let gate = Gate::new();
    stage.world.double.behave(|behaviour| {
        for endpoint in [Endpoint::Revocation, Endpoint::Metadata, Endpoint::Jwks] {
            behaviour.fault(endpoint, Fault::Gate(gate.clone()));
        }
    });
    let token = stage.logout_token(Some("alice"), Some(&seat.sid))?;
    let (browser, body) = (stage.world.browser(), form(&token));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
    let telling = browser.raw(Method::POST, BACK_CHANNEL, headers, body.into());
    // The server would be waited for longer than that.
    let answer = stage.soon("does_not_wait", telling).await??;
    stage.expect_told(&answer, 200);
    stage.expect_unseated(&seat).await?;
    gate.open();
    Ok(())
}

async fn by_a_new_key(stage: &mut Stage) -> Step {
    let seat = stage.seat("alice").await?;
    let before = stage.world.double.count(Endpoint::Jwks);
    stage.world.double.rotate_keys(false)?;
    take(stage, Some("alice"), Some(&seat.sid), "none").await?;
    let asked = stage.world.double.count(Endpoint::Jwks) - before;
    let message = format!("the keys were asked for {asked} times");
    stage.check("keys_again", &["JWK-ROT", "BCL-2.6-1/2"], asked == 1, message);
    stage.expect_unseated(&seat).await
}

/// A key that may be new, of a server that does not say.
async fn keys_unavailable(stage: &mut Stage) -> Step {
    let seat = stage.seat("alice").await?;
    stage.world.double.rotate_keys(false)?;
    stage.world.double.behave(|b| b.fault(Endpoint::Jwks, Fault::status(503)));
    let token = stage.logout_token(Some("alice"), Some(&seat.sid))?;
    let answer = stage.tell(&token).await?;
    // Nobody knows yet whether it is right: no refusal, and come again.
    stage.expect_told(&answer, 503);
    let held = !answer.header("retry-after").is_empty();
    stage.check("come_again", &["BCL-2.8"], held, "the server is told to come again");
    let lines = stage.audited();
    let last = lines.as_ref().and_then(|lines| lines.iter().rev().find(|(a, ..)| a == ACTION));
    let held = lines.is_none() || last.is_some_and(|(_, outcome, _)| outcome == "failed");
    stage.check("recorded", &["BCL-2.8"], held, format!("the audit stream says {last:?}"));
    stage.expect_seated(&seat).await?;
    stage.world.double.behave(|behaviour| behaviour.heal(Endpoint::Jwks));
    // As often as keys are asked for.
    stage.world.advance(31)?;
    let answer = stage.tell(&token).await?;
    stage.expect_told(&answer, 200);
    stage.expect_unseated(&seat).await
}

async fn with_odd_company(stage: &mut Stage) -> Step {
    let [meant, other, stranger] = seats(stage).await?;
    let token = stage.logout_token(Some("alice"), Some(&meant.sid))?;
    stage.browser = other.browser.clone();
    let (name, cookies) = stage.cookie_header();
    let headers = vec![
        ("content-type", format!("{FORM}; charset=UTF-8")),
        (name, cookies),
        ("authorization", "Bearer x".to_owned()),
    ];
    let body = format!("unknown=1&{}&sid={}&sub=bjork", form(&token), stranger.sid);
    let answer = stage.send(Raw { method: "POST", path: BACK_CHANNEL, headers, body }).await?;
    stage.expect_told(&answer, 200);
    stage.expect_unseated(&meant).await?;
    // Neither the cookie nor what stands beside the token means anybody.
    stage.expect_seated(&other).await?;
    stage.expect_seated(&stranger).await
}

async fn turned_off(stage: &mut Stage) -> Step {
    let seat = stage.seat("alice").await?;
    let token = stage.logout_token(Some("alice"), Some(&seat.sid))?;
    let answer = stage.tell(&token).await?;
    let held = matches!(answer.status, 404 | 405);
    let message = format!("{} -> {}, 404 expected", answer.request, answer.status);
    stage.check("nothing_there", &["BCL-2.5"], held, message);
    stage.expect_seated(&seat).await
}

fn encrypting() -> Client {
    let encryption = Encryption { alg: "RSA-OAEP-256".into(), enc: "A256GCM".into() };
    Client { id_token_encryption: Some(encryption), ..Client::default() }
}

async fn encrypted(stage: &mut Stage) -> Step {
    const ENCRYPTED: &str = "logout_token.bare";
    let seat = stage.seat("alice").await?;
    let claims = stage.world.double.logout_token_claims(CLIENT_ID, Some("alice"), Some(&seat.sid));
    let plain = stage.world.double.sign_as_server(Some("logout+jwt"), &claims, None)?;
    let answer = stage.tell(&plain).await?;
    stage.expect_untold(&answer, 400, ENCRYPTED);
    stage.expect_seated(&seat).await?;
    let flaw = Some(jwe::Flaw::Rsa15);
    stage.world.double.behave(|behaviour| behaviour.flaw = flaw);
    let weak = stage.logout_token(Some("alice"), Some(&seat.sid))?;
    let answer = stage.tell(&weak).await?;
    stage.expect_told(&answer, 400);
    stage.expect_seated(&seat).await?;
    stage.world.double.behave(|behaviour| behaviour.flaw = None);
    let right = stage.logout_token(Some("alice"), Some(&seat.sid))?;
    let wrapped = right.split('.').count() == 5;
    stage.check("is_encrypted", &[], wrapped, "the server encrypts logout tokens to the client");
    let answer = stage.tell(&right).await?;
    stage.expect_told(&answer, 200);
    stage.expect_unseated(&seat).await
}

pub(super) fn modules() -> Vec<Module> {
    [whose(), once(), meanwhile(), around()].into_iter().flatten().collect()
}

/// Whose sessions end.
fn whose() -> Vec<Module> {
    vec![
        Module::new(
            "backchannel-logout-ends-this-session",
            "The server ends one of a person's two sessions, then the other by its sid alone.",
            "end that session each time, and leave everybody else alone",
            &["BCL-2.7", "BCL-2.2", "SES-7.4", "BCL-PRJ"],
            |stage| Box::pin(this_session(stage)),
        )
        .reasons(&[]),
        Module::new(
            "backchannel-logout-ends-every-session-of-a-person",
            "The server ends all sessions of a person who has two browsers.",
            "end both, and nobody else's",
            &["BCL-2.7", "BCL-PRJ"],
            |stage| Box::pin(every_session(stage)),
        )
        .reasons(&[]),
        Module::new(
            "backchannel-logout-of-nobody-here",
            "Right logout tokens name unknown sessions, and sessions together with other people.",
            "say yes, and end nothing",
            &["BCL-2.6-7", "BCL-2.7", "BCL-2.8"],
            |stage| Box::pin(nobodys_session(stage)),
        )
        .reasons(&[]),
        Module::new(
            "backchannel-logout-after-logout",
            "The server's logout token comes when the user has left here already.",
            "say yes, and trouble the server no more",
            &["BCL-2.7", "BCL-2.8"],
            |stage| Box::pin(ended_before(stage)),
        )
        .reasons(&[]),
    ]
}

/// That each token works once.
fn once() -> Vec<Module> {
    vec![
        Module::new(
            "backchannel-logout-token-replayed",
            "The server's logout token is sent a second time, after a new login.",
            "refuse it and keep the new session",
            &["BCL-2.6-7"],
            |stage| Box::pin(replayed(stage)),
        )
        .reasons(&[REPLAYED]),
        Module::new(
            "backchannel-logout-over-a-restart",
            "The BFF is restarted; a used logout token comes again, and a new one.",
            "refuse the first, and find the sessions of before by the second",
            &["BCL-2.6-7", "BCL-2.7"],
            |stage| Box::pin(replayed_after_restart(stage)),
        ),
        Module::new(
            "backchannel-logout-token-many-times-at-once",
            "One logout token comes eight times at once.",
            "take it once",
            &["BCL-2.6-7"],
            |stage| Box::pin(many_at_once(stage)),
        )
        .reasons(&[REPLAYED]),
    ]
}

/// What else goes on at the same time.
fn meanwhile() -> Vec<Module> {
    vec![
        Module::new(
            "backchannel-logout-while-a-call-streams",
            "The server ends a session whose page listens to events without end.",
            "end that stream, and not the other session's",
            &["BCL-2.7", "SES-7.4"],
            |stage| Box::pin(while_streaming(stage)),
        )
        .reasons(&[]),
        Module::new(
            "backchannel-logout-during-a-refresh",
            "The server ends a session whose tokens are being renewed.",
            "let the logout win, and give up the tokens that come too late",
            &["BCL-2.7", "REV-2.1"],
            |stage| Box::pin(during_refresh(stage)),
        )
        .behaving(|double| double.behave(|behaviour| behaviour.rotate_refresh_tokens = true)),
        Module::new(
            "backchannel-logout-while-the-server-is-deaf",
            "The server that sent the logout token answers nothing itself.",
            "end the session at once all the same",
            &["BCL-2.7", "BCL-PRJ"],
            |stage| Box::pin(server_is_deaf(stage)),
        )
        .configured("request_timeout = \"10s\"", "request_timeout = \"60s\"")
        .reasons(&[]),
        Module::new(
            "backchannel-logout-by-a-new-key",
            "The logout token is signed by a key that was published a moment ago.",
            "ask for the keys again, and take it",
            &["JWK-ROT", "BCL-2.6-1/2"],
            |stage| Box::pin(by_a_new_key(stage)),
        )
        .reasons(&[]),
        Module::new(
            "backchannel-logout-without-keys",
            "The key of the logout token cannot be had at the moment.",
            "ask the server to come again, and take the token then",
            &["BCL-2.8", "JWK-ROT"],
            |stage| Box::pin(keys_unavailable(stage)),
        )
        .timed(),
    ]
}

/// How the token comes.
fn around() -> Vec<Module> {
    vec![
        Module::new(
            "backchannel-logout-in-odd-company",
            "The logout token comes with another session's cookie and with other names beside it.",
            "end the session of the token, and no other",
            &["BCL-2.2", "BCL-2.5"],
            |stage| Box::pin(with_odd_company(stage)),
        )
        .reasons(&[]),
        Module::new(
            "backchannel-logout-turned-off",
            "The app takes no logouts by the server; a right logout token comes.",
            "have nothing there",
            &["BCL-2.5"],
            |stage| Box::pin(turned_off(stage)),
        )
        .configured("[apps.web]\n", "[apps.web]\nbackchannel_logout = false\n"),
        Module::new(
            "backchannel-logout-encrypted",
            "ID tokens come encrypted; a logout token comes plain, weakly encrypted, and right.",
            "take the right one only",
            &["BCL-2.6-1/2"],
            |stage| Box::pin(encrypted(stage)),
        )
        .with_client(encrypting()),
    ]
}
