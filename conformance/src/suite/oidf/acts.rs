//! What some modules of the official suite play that is no plain login. It must not know the tables.

use serde_json::Value;
use url::Url;

use crate::{
    as_double::{Target, edits},
    demo::browser::{Answer, Call, From as Coming},
    ledger::Endpoint,
    suite::{
        client::FRONT_CHANNEL,
        module::Step,
        stage::{Stage, is_logged_in},
    },
};

/// How the browser comes back from a logout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Return {
    Right,
    OtherState,
    NoState,
}

async fn userinfo(stage: &mut Stage) -> Step<Answer> {
    Ok(stage.browser.fetch(Call::get("/bff/userinfo")).await?)
}

async fn login_with_userinfo(stage: &mut Stage) -> Step {
    stage.login().await?;
    let answer = userinfo(stage).await?;
    stage.expect("userinfo", &answer, 200)
}

/// Userinfo about somebody else is not passed on.
pub(super) async fn discard_userinfo(stage: &mut Stage) -> Step {
    stage.login().await?;
    let answer = userinfo(stage).await?;
    stage.expect_refusal("userinfo_refused", &answer, 502, "authorization_server_error");
    Ok(())
}

/// The metadata are asked for where OpenID Connect has them.
pub(super) async fn discover(stage: &mut Stage) -> Step {
    stage.start_login().await?;
    let asked = stage.world.double.last(Endpoint::Metadata).map(|event| event.path);
    let asked = asked.unwrap_or_default();
    let held = asked.ends_with("/.well-known/openid-configuration");
    stage.check("discovery", &["META-3.1"], held, format!("the metadata are asked for at {asked}"));
    Ok(())
}

/// The keys change between the authorization response and the token response.
pub(super) async fn rotated_before_signing(stage: &mut Stage) -> Step {
    let response = stage.response().await?;
    stage.world.double.rotate_keys(false)?;
    let answer = stage.deliver(&response).await?;
    stage.expect("login_ended", &answer, stage.success(&response))?;
    let answer = userinfo(stage).await?;
    stage.expect("userinfo", &answer, 200)
}

/// The keys change between two logins.
pub(super) async fn rotated_between_logins(stage: &mut Stage) -> Step {
    login_with_userinfo(stage).await?;
    let before = stage.world.double.count(Endpoint::Jwks);
    stage.world.double.rotate_keys(false)?;
    stage.browser = stage.world.browser();
    login_with_userinfo(stage).await?;
    let fetched = stage.world.double.count(Endpoint::Jwks);
    let held = before > 0 && fetched > before;
    let message = format!("the keys were asked for {before} times before and {fetched} in all");
    stage.check("keys_again", &["JWK-ROT"], held, message);
    Ok(())
}

/// Leaves here; gives the way to the server.
async fn leave(stage: &mut Stage) -> Step<Url> {
    login_with_userinfo(stage).await?;
    let answer = stage.browser.fetch(Call::post("/bff/logout")).await?;
    stage.expect("logged_out", &answer, 200)?;
    let body = answer.json()?;
    let url = crate::demo::browser::text(&body, "logout_url").to_owned();
    let there = lead_on(stage, Coming::SameOrigin, &url).await?;
    let parameter =
        |name: &str| there.query_pairs().find(|(n, _)| n == name).map(|(_, value)| value);
    let hint = parameter("id_token_hint").unwrap_or_default().into_owned();
    let known = stage.world.secrets().contains(&hint);
    stage.check("hint", &["RPL-2/2.1"], known, "the hint is an ID token of this module");
    let has_state = parameter("state").is_some();
    stage.check("state", &["RPL-2b"], has_state, "a state goes along");
    Ok(there)
}

/// Comes back from the server; the browser must end at the app, logged out.
async fn come_home(stage: &mut Stage, back: &str) -> Step {
    let end = lead_on(stage, Coming::CrossSite, back).await?;
    let held = end.origin().ascii_serialization() == stage.world.origin;
    stage.check("home", &["RPL-2b"], held, format!("the browser ends at {end}"));
    stage.expect_no_session().await
}

/// Leaves here and at the server, and comes back so.
pub(super) async fn log_out(stage: &mut Stage, how: Return) -> Step {
    let there = leave(stage).await?;
    let mut back = lead_on(stage, Coming::CrossSite, there.as_str()).await?;
    match how {
        Return::Right => {}
        Return::OtherState => {
            let right = back.query_pairs().find(|(name, _)| name == "state");
            let wrong = right.map(|(_, value)| format!("{value}1")).unwrap_or_default();
            back.query_pairs_mut().clear().append_pair("state", &wrong);
        }
        Return::NoState => back.set_query(None),
    }
    come_home(stage, back.as_str()).await
}

/// Leaves here and at the server, which sends a logout token while the browser waits for it.
pub(super) async fn back_channel(stage: &mut Stage, status: u16) -> Step {
    let there = leave(stage).await?;
    let back = lead_on(stage, Coming::CrossSite, there.as_str()).await?;
    let event = stage.world.double.last(Endpoint::EndSession);
    let said = event.and_then(|event| event.notes.get("backchannel_logout").cloned());
    let said = said.unwrap_or_default();
    let found = said.get("status").and_then(Value::as_u64).unwrap_or_default();
    let message = format!("the logout token is answered with {found}; {status} expected");
    stage.check("logout_token", &["BCL-2.8"], found == u64::from(status), message);
    let kept = crate::demo::browser::text(&said, "cache_control");
    let message = format!("the answer's Cache-Control is {kept:?}");
    stage.advise("not_kept", &["BCL-2.8"], kept.contains("no-store"), message);
    come_home(stage, back.as_str()).await
}

/// Loads what a page of the server's has in frames, which must be the client's front-channel logout.
async fn load_frames(stage: &mut Stage, page: &Answer) -> Step {
    let server = Url::parse(stage.world.double.issuer()).map_err(|error| error.to_string())?;
    let server = server.origin().ascii_serialization();
    let here = format!("{}{FRONT_CHANNEL}?", stage.world.origin);
    let frames = page.frames();
    let held = frames.len() == 1 && frames.iter().all(|frame| frame.starts_with(&here));
    stage.demand("in_a_frame", &["FCL-2"], held, "the page has the client's address in a frame")?;
    for frame in frames {
        let answer = stage.browser.frame(&server, &frame).await?;
        stage.expect("framed", &answer, 200)?;
        let shown = answer.may_be_framed_by(&server);
        stage.check("may_be_framed", &["FCL-PRJ"], shown, "the server's page may frame it");
        let kept = answer.header("cache-control").contains("no-store");
        stage.check("not_kept", &["FCL-2"], kept, "nobody keeps the answer");
    }
    Ok(())
}

/// Leaves here and at the server, whose page loads the client's address in a frame and goes on.
pub(super) async fn front_channel(stage: &mut Stage) -> Step {
    let there = leave(stage).await?;
    let page = stage.browser.navigate(Coming::CrossSite, there.as_str()).await?;
    stage.expect("logout_page", &page, 200)?;
    load_frames(stage, &page).await?;
    let back = page.link().ok_or_else(|| "the logout page leads nowhere".to_owned())?;
    come_home(stage, &back).await
}

/// The server ends the session of its own accord, by a page with the client's address in a frame.
pub(super) async fn front_channel_by_server(stage: &mut Stage) -> Step {
    login_with_userinfo(stage).await?;
    let (sid, _) = stage.world.double.sessions().pop().ok_or_else(|| "no session".to_owned())?;
    let mut page = Url::parse(&stage.world.double.url(Endpoint::FrontChannelLogout))
        .map_err(|error| error.to_string())?;
    page.query_pairs_mut().append_pair("sid", &sid);
    let page = stage.browser.navigate(Coming::Typed, page.as_str()).await?;
    stage.expect("logout_page", &page, 200)?;
    load_frames(stage, &page).await?;
    stage.expect_no_session().await
}

/// Follows a navigation that must lead on; gives where to.
async fn lead_on(stage: &mut Stage, from: Coming, url: &str) -> Step<Url> {
    let answer = stage.browser.navigate(from, url).await?;
    stage.expect("leads_on", &answer, 303)?;
    Ok(answer.location()?)
}

/// Renews the tokens; the ID token that comes along has this claim wrong.
pub(super) async fn refresh(stage: &mut Stage, wrong: Option<&'static str>) -> Step {
    login_with_userinfo(stage).await?;
    stage.world.double.behave(|behaviour| {
        behaviour.id_token_on_refresh = true;
        if let Some(claim) = wrong {
            behaviour.edit(Target::IdToken, edits::wrong(claim));
        }
    });
    let before = stage.world.double.count(Endpoint::Token);
    let answer = stage.browser.fetch(Call::post("/bff/refresh")).await?;
    let asked = stage.world.double.count(Endpoint::Token) - before;
    stage.check("asked_once", &["OIDC-12.2"], asked == 1, format!("{asked} token requests"));
    if wrong.is_some() {
        // The session is not to blame: it goes on with the tokens it has.
        stage.expect_refusal("refresh_refused", &answer, 503, "token_unavailable");
        let session = stage.session().await?;
        stage.check("still_there", &["OIDC-12.2"], is_logged_in(&session), "the session lives");
        return Ok(());
    }
    stage.expect("refreshed", &answer, 200)?;
    let answer = userinfo(stage).await?;
    stage.expect("userinfo", &answer, 200)
}
