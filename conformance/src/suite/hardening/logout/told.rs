//! What the modules about logouts by the server share: how a logout token is sent, and what must hold of
//! the answer. It must not know any single module.

use serde_json::Value;
use url::form_urlencoded::Serializer;

use crate::{
    demo::browser::{Answer, Browser},
    ledger::Endpoint,
    suite::{
        client::BACK_CHANNEL,
        hardening::acts::{FORM, has_cors, leaves_cookies_alone},
        module::{Halt, Step},
        stage::{Raw, Stage},
        world::CLIENT_ID,
    },
};

/// The action of the audit stream.
pub(super) const ACTION: &str = "logout.backchannel";

/// A person's browser, and the session that the server has with it.
pub(super) struct Seat {
    pub(super) sub: &'static str,
    pub(super) sid: String,
    pub(super) browser: Browser,
}

/// The form that brings a logout token.
pub(super) fn form(token: &str) -> String {
    Serializer::new(String::new()).append_pair("logout_token", token).finish()
}

impl Stage {
    /// Logs this person in with a browser of its own, which is left on the stage.
    pub(super) async fn seat(&mut self, sub: &'static str) -> Step<Seat> {
        self.world.double.behave(|behaviour| behaviour.user = Some(sub.to_owned()));
        self.browser = self.world.browser();
        self.login().await?;
        Ok(Seat { sub, sid: self.sid()?, browser: self.browser.clone() })
    }

    /// The server's session of the last login.
    pub(super) fn sid(&self) -> Step<String> {
        let event = self.world.double.last(Endpoint::Token);
        let sid = event.and_then(|event| event.notes.get("sid")?.as_str().map(str::to_owned));
        sid.ok_or_else(|| Halt::Trouble("no login gave a session".to_owned()))
    }

    /// A logout token as the server makes them at the moment.
    pub(super) fn logout_token(&self, sub: Option<&str>, sid: Option<&str>) -> Step<String> {
        Ok(self.world.double.logout_token(CLIENT_ID, sub, sid)?)
    }

    /// Sends it as the server does: no browser, no cookie.
    pub(super) async fn tell(&mut self, token: &str) -> Step<Answer> {
        self.post_logout(FORM, form(token)).await
    }

    /// Sends anything there.
    pub(super) async fn post_logout(&mut self, kind: &str, body: String) -> Step<Answer> {
        let headers = vec![("content-type", kind.to_owned())];
        self.send(Raw { method: "POST", path: BACK_CHANNEL, headers, body }).await
    }

    /// The answer to a logout token: this status, kept by nobody, nothing for a browser in it.
    pub(super) fn expect_told(&self, answer: &Answer, status: u16) -> bool {
        let plain = answer.header("cache-control").contains("no-store")
            && answer.header("location").is_empty()
            && leaves_cookies_alone(answer)
            && !has_cors(answer);
        let held = answer.status == status && plain;
        let message = format!(
            "{} -> {} ({}), {status} expected, kept by nobody, without cookie, CORS and redirect",
            answer.request,
            answer.status,
            answer.header("cache-control")
        );
        self.check("logout_token_answer", &["BCL-2.8"], held, message)
    }

    /// The same as a refusal for this reason, which only the audit stream says.
    pub(super) fn expect_untold(&self, answer: &Answer, status: u16, reason: &str) {
        self.expect_told(answer, status);
        let body = String::from_utf8_lossy(&answer.body);
        let (_, rule) = reason.split_once('.').unwrap_or_default();
        let json = answer.json().is_ok_and(|body| body.get("error").is_some_and(Value::is_string));
        let held = (body.is_empty() || json) && !body.contains(rule);
        self.check("no_detail", &["BCL-2.8"], held, "the sender is told an error and no detail");
        self.expect_record(ACTION, "rejected", reason);
    }

    /// This person's session must be as it was.
    pub(super) async fn expect_seated(&mut self, seat: &Seat) -> Step {
        self.browser = seat.browser.clone();
        self.expect_session(&format!("the session of {} is as it was", seat.sub)).await?;
        self.reach_api().await
    }

    /// This person's session must be over: at the API, at a refresh, by the BFF's word.
    pub(super) async fn expect_unseated(&mut self, seat: &Seat) -> Step {
        self.browser = seat.browser.clone();
        let before = self.world.api.count("/accounts");
        let answer = self.get("/lab/accounts").await?;
        let dead = answer.status == 401;
        let message = format!("{} -> {}, 401 expected", answer.request, answer.status);
        self.check("dead_at_the_api", &["BCL-2.7", "SES-7.4"], dead, message);
        self.browser = seat.browser.clone();
        let answer = self.fetch(crate::demo::browser::Call::post("/bff/refresh")).await?;
        let dead = answer.status == 401;
        let message = format!("{} -> {}, 401 expected", answer.request, answer.status);
        self.check("dead_at_refresh", &["BCL-2.7"], dead, message);
        let reached = self.world.api.count("/accounts") - before;
        let message = format!("{reached} calls reached the API");
        self.check("api_unheard", &["BCL-2.7"], reached == 0, message);
        self.browser = seat.browser.clone();
        self.expect_no_session().await
    }
}
