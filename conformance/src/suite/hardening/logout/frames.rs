//! Logout in a frame of the server's page: what it ends, by what it is told, and who may show it. It must
//! not know what a logout token is.

use url::Url;

use super::told::Seat;
use crate::{
    demo::browser::{Answer, Call, From as Coming},
    suite::{
        client::{Channel, Client, FRONT_CHANNEL},
        hardening::acts::leaves_cookies_alone,
        module::{Halt, Module, Step},
        stage::{Raw, Stage},
        world::CLIENT_ID,
    },
};

const ACTION: &str = "logout.frontchannel";
const EVIL: &str = "https://evil.example";

fn client() -> Client {
    Client { logout: Channel::Front, ..Client::default() }
}

impl Stage {
    /// The origin of the server's pages.
    fn server_origin(&self) -> Step<String> {
        let url = Url::parse(self.world.double.issuer());
        Ok(url.map_err(|error| Halt::Trouble(error.to_string()))?.origin().ascii_serialization())
    }

    /// The address that the server's page has in its frame for this session.
    fn framed(&self, sid: &str) -> Step<String> {
        let url = self.world.double.front_channel_url(CLIENT_ID, sid);
        url.ok_or_else(|| Halt::Trouble("the client is registered for no frames".to_owned()))
    }

    /// Kept by nobody, no cookie touched, shown by the server's pages and by no other.
    fn expect_frame(&self, answer: &Answer, server: &str) {
        let shown = answer.may_be_framed_by(server) && !answer.may_be_framed_by(EVIL);
        let policy = answer.header("content-security-policy");
        let exact = policy.split(';').any(|rule| {
            let mut words = rule.split_whitespace();
            words.next() == Some("frame-ancestors") && words.collect::<Vec<_>>() == [server]
        });
        let message = format!("{} is shown under {policy}", answer.request);
        self.check("frame_ancestors", &["FCL-PRJ"], shown && exact, message);
        let quiet = answer.header("cache-control").contains("no-store")
            && leaves_cookies_alone(answer)
            && answer.header("location").is_empty();
        let message = format!("{}: no-store, no cookie, no redirect", answer.request);
        self.check("quiet", &["FCL-2", "FCL-4.1"], quiet, message);
    }
}

async fn right(stage: &mut Stage) -> Step {
    let server = stage.server_origin()?;
    let meant = stage.seat("alice").await?;
    let other = stage.seat("alice").await?;
    let stranger = stage.seat("bjork").await?;
    let frame = stage.framed(&meant.sid)?;
    // No cookie of ours gets into a frame of another site; even in a browser of somebody else the
    // address says which session is meant.
    let mut browser = stranger.browser.clone();
    let answer = browser.frame(&server, &frame).await?;
    stage.expect("framed", &answer, 200)?;
    stage.expect_frame(&answer, &server);
    stage.expect_record(ACTION, "success", "none");
    stage.expect_record("session.end", "success", "frontchannel_logout");
    stage.expect_unseated(&meant).await?;
    stage.expect_seated(&other).await?;
    stage.expect_seated(&stranger).await?;
    // Once more: there is nothing left to do.
    let answer = browser.frame(&server, &frame).await?;
    stage.expect("framed_again", &answer, 200)?;
    stage.expect_record(ACTION, "success", "session.unknown");
    Ok(())
}

async fn elsewhere(stage: &mut Stage) -> Step {
    let server = stage.server_origin()?;
    let seat = stage.seat("alice").await?;
    let (right, guessed) = (stage.framed(&seat.sid)?, stage.framed("guessed")?);
    // Whoever frames it does not know the name of the session.
    for url in [FRONT_CHANNEL.to_owned(), guessed] {
        let mut browser = seat.browser.clone();
        let answer = browser.frame(EVIL, &url).await?;
        stage.expect_frame(&answer, &server);
    }
    // By script, as an image or in a window of its own it is no logout at all.
    for (mode, dest) in [("cors", "empty"), ("no-cors", "image"), ("navigate", "document")] {
        let headers = vec![
            ("sec-fetch-site", "cross-site".to_owned()),
            ("sec-fetch-mode", mode.to_owned()),
            ("sec-fetch-dest", dest.to_owned()),
        ];
        let raw = Raw { method: "GET", path: &right, headers, body: String::new() };
        let answer = stage.send(raw).await?;
        let held = (400..500).contains(&answer.status) && leaves_cookies_alone(&answer);
        let message = format!("as {dest}: {} -> {}", answer.request, answer.status);
        stage.check("no_frame", &["FCL-PRJ"], held, message);
    }
    stage.expect_seated(&seat).await?;
    // What is for frames is for this address alone.
    for path in ["/bff/session", "/bff/callback", "/bff/logout/callback", "/bff/login"] {
        let mut browser = stage.world.browser();
        let answer = browser.frame(&server, path).await?;
        let held = !answer.may_be_framed_by(&server) && !answer.may_be_framed_by(EVIL);
        let message = format!("{} is shown in no frame", answer.request);
        stage.check("no_other_frames", &["FCL-PRJ", "HDR-3/4"], held, message);
    }
    Ok(())
}

/// Addresses that name nobody, or somebody by another server.
async fn incomplete(stage: &mut Stage) -> Step {
    let server = stage.server_origin()?;
    let seat = stage.seat("alice").await?;
    let issuer = stage.world.double.issuer().to_owned();
    let with = |pairs: &[(&str, &str)]| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        format!("{FRONT_CHANNEL}?{}", query.extend_pairs(pairs).finish())
    };
    let (iss, sid) = (issuer.as_str(), seat.sid.as_str());
    let foreign = format!("{iss}1");
    for (url, reason) in [
        (FRONT_CHANNEL.to_owned(), Some("frontchannel.issuer_missing")),
        (with(&[("sid", sid)]), Some("frontchannel.issuer_missing")),
        (with(&[("iss", iss)]), Some("frontchannel.sid_missing")),
        (with(&[("iss", iss), ("sid", "")]), Some("frontchannel.sid_missing")),
        (with(&[("iss", &foreign), ("sid", sid)]), Some("frontchannel.issuer_mismatch")),
        (with(&[("iss", EVIL), ("sid", sid)]), Some("frontchannel.issuer_mismatch")),
        (with(&[("iss", iss), ("sid", sid), ("sid", sid)]), None),
        (with(&[("iss", iss), ("iss", &foreign), ("sid", sid)]), None),
    ] {
        let mut browser = seat.browser.clone();
        let answer = browser.frame(&server, &url).await?;
        let held = answer.status == 400;
        let message = format!("{url}: {}, 400 expected", answer.status);
        stage.check("refused", &["FCL-2"], held, message);
        stage.expect_frame(&answer, &server);
        if let Some(reason) = reason {
            stage.expect_record(ACTION, "rejected", reason);
        }
    }
    let answer = stage.fetch(Call::post(&with(&[("iss", iss), ("sid", sid)]))).await?;
    let held = answer.status == 405;
    let message = format!("{} -> {}, 405 expected", answer.request, answer.status);
    stage.check("by_get_only", &["FCL-2"], held, message);
    stage.expect_seated(&seat).await?;
    finish(stage, &server, seat).await
}

/// Nothing but what was wrong kept the session alive.
async fn finish(stage: &mut Stage, server: &str, seat: Seat) -> Step {
    let frame = stage.framed(&seat.sid)?;
    let answer = stage.world.browser().frame(server, &frame).await?;
    stage.expect("framed", &answer, 200)?;
    stage.expect_unseated(&seat).await
}

async fn off_by_default(stage: &mut Stage) -> Step {
    let server = stage.server_origin()?;
    let seat = stage.seat("alice").await?;
    let pairs = [("iss", stage.world.double.issuer()), ("sid", seat.sid.as_str())];
    let url = Url::parse_with_params(&format!("{}{FRONT_CHANNEL}", stage.world.origin), pairs);
    let url = url.map_err(|error| Halt::Trouble(error.to_string()))?;
    let mut browser = seat.browser.clone();
    for answer in [
        browser.frame(&server, url.as_str()).await?,
        browser.navigate(Coming::CrossSite, url.as_str()).await?,
    ] {
        let held = answer.status == 404 && !answer.may_be_framed_by(&server);
        let message = format!("{} -> {}, 404 and no frame", answer.request, answer.status);
        stage.check("nothing_there", &["FCL-PRJ"], held, message);
    }
    stage.expect_seated(&seat).await
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        Module::new(
            "frontchannel-logout-in-a-frame",
            "The server's page loads the address for one of three sessions, in anybody's browser.",
            "end that session without a cookie, and no other",
            &["FCL-2", "FCL-4.1"],
            |stage| Box::pin(right(stage)),
        )
        .with_client(client())
        .reasons(&[]),
        Module::new(
            "frontchannel-logout-framed-elsewhere",
            "A page that is not the server's frames the front-channel logout address.",
            "refuse to be framed, and end nothing",
            &["FCL-PRJ", "FCL-2"],
            |stage| Box::pin(elsewhere(stage)),
        )
        .with_client(client()),
        Module::new(
            "frontchannel-logout-incomplete",
            "The address in the frame lacks iss or sid, has one twice, or is another server's.",
            "end nothing, and record why",
            &["FCL-2"],
            |stage| Box::pin(incomplete(stage)),
        )
        .with_client(client())
        .reasons(&[
            "frontchannel.issuer_missing",
            "frontchannel.sid_missing",
            "frontchannel.issuer_mismatch",
        ]),
        Module::new(
            "frontchannel-logout-off-by-default",
            "The server's page loads the address of an app that did not turn it on.",
            "have nothing there",
            &["FCL-PRJ"],
            |stage| Box::pin(off_by_default(stage)),
        ),
    ]
}
