//! Acts and checks that many modules of this plan share: several browsers, many tabs at once, what the
//! servers heard meanwhile. It must not know any single module.

use std::time::Duration;

use futures_util::future::join_all;

use crate::{
    as_double::{Endpoint, Event},
    demo::browser::{Answer, Browser, Call, From as Coming},
    suite::{
        module::{Halt, Step},
        stage::{Raw, SESSION_COOKIE, Stage, TRANSACTION_COOKIE, is_logged_in},
    },
};

/// The type of forms.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// Headers as written in tables.
pub(super) type Pairs = &'static [(&'static str, &'static str)];

/// How much the servers had heard at some moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Heard {
    authorization_server: usize,
    api: usize,
}

/// The same call in many tabs of one browser at once.
pub(super) async fn at_once(browser: &Browser, call: &Call, tabs: usize) -> Step<Vec<Answer>> {
    let calls = (0..tabs).map(|_| {
        let (mut tab, call) = (browser.clone(), call.clone());
        async move { tab.fetch(call).await }
    });
    let answers: Result<Vec<_>, String> = join_all(calls).await.into_iter().collect();
    Ok(answers?)
}

/// The session cookie a browser holds, if any.
pub(super) fn session_cookie(browser: &Browser) -> Option<String> {
    let cookies = browser.cookies();
    let found = cookies.iter().find(|(name, _)| *name == SESSION_COOKIE);
    found.map(|(_, value)| (*value).to_owned())
}

/// Headers of a table, with `{origin}` for the app's origin and `{plain}` for the same without TLS.
pub(super) fn filled(pairs: Pairs, origin: &str) -> Vec<(&'static str, String)> {
    let plain = origin.replacen("https", "http", 1);
    let fill = |value: &str| value.replace("{origin}", origin).replace("{plain}", &plain);
    pairs.iter().map(|(name, value)| (*name, fill(value))).collect()
}

/// What an answer must not contain if it is to be read by no other origin.
pub(super) fn has_cors(answer: &Answer) -> bool {
    answer.headers.keys().any(|name| name.as_str().starts_with("access-control-"))
}

/// Whether an answer leaves the browser's cookies alone.
pub(super) fn leaves_cookies_alone(answer: &Answer) -> bool {
    !answer.headers.contains_key("set-cookie")
}

impl Stage {
    /// A call by the app's script.
    pub(super) async fn fetch(&mut self, call: Call) -> Step<Answer> {
        Ok(self.browser.fetch(call).await?)
    }

    /// A GET by the app's script.
    pub(super) async fn get(&mut self, path: &str) -> Step<Answer> {
        self.fetch(Call::get(path)).await
    }

    /// A navigation.
    pub(super) async fn go(&mut self, from: Coming, url: &str) -> Step<Answer> {
        Ok(self.browser.navigate(from, url).await?)
    }

    /// Calls the sample API, which must work.
    pub(super) async fn reach_api(&mut self) -> Step {
        let answer = self.get("/lab/accounts").await?;
        self.expect("api", &answer, 200)
    }

    /// Goes on with an empty browser; gives the one so far.
    pub(super) fn another_browser(&mut self) -> Browser {
        let empty = self.world.browser();
        std::mem::replace(&mut self.browser, empty)
    }

    /// A script's call with exactly these cookie lines.
    pub(super) async fn call(
        &mut self,
        method: &str,
        path: &str,
        cookies: &[String],
        form: &str,
    ) -> Step<Answer> {
        let mut headers = self.own_headers();
        headers.extend(cookies.iter().map(|line| ("cookie", line.clone())));
        if !form.is_empty() {
            headers.push(("content-type", FORM.to_owned()));
        }
        self.send(Raw { method, path, headers, body: form.to_owned() }).await
    }

    /// Leaves, by the app's script, and waits until both tokens were given up.
    pub(super) async fn log_out(&mut self) -> Step<Answer> {
        let before = self.world.double.accepted(Endpoint::Revocation);
        let answer = self.fetch(Call::post("/bff/logout")).await?;
        self.expect("logged_out", &answer, 200)?;
        self.given_up(before + 2).await?;
        Ok(answer)
    }

    /// Waits until so many tokens were given up in all.
    pub(super) async fn given_up(&self, tokens: usize) -> Step {
        let wait = self.until(|stage| stage.world.double.accepted(Endpoint::Revocation) >= tokens);
        self.soon("tokens_given_up", wait).await
    }

    /// Gives a call that was broken off the time to be noticed by the API: one that was reached says
    /// so at once, one that was not never does.
    pub(super) async fn perhaps_reached(&self, path: &str) {
        let next = self.world.api.count(path) + 1;
        let noticed = self.world.api.wait_for(path, next);
        let _ = tokio::time::timeout(Duration::from_millis(300), noticed).await;
    }

    /// Waits until the BFF, started so often, has met the authorization server, which it does by
    /// itself at each start.
    pub(super) async fn settled(&self, starts: usize) -> Step {
        // Elsewhere they have met long since.
        if !self.world.is_here() {
            return Ok(());
        }
        self.soon("metadata", self.world.double.wait_for(Endpoint::Metadata, starts)).await
    }

    /// Resolves once this holds. Wrap it in [`Stage::soon`].
    pub(super) async fn until(&self, holds: impl Fn(&Self) -> bool + Send) {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        while !holds(self) {
            looks.tick().await;
        }
    }

    /// The login transactions the browser holds, oldest first.
    pub(super) fn transactions(&self) -> Vec<(String, String)> {
        let cookies = self.browser.cookies().into_iter();
        cookies
            .filter(|(name, _)| name.starts_with(TRANSACTION_COOKIE))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// The oldest of them.
    pub(super) fn transaction(&self) -> Step<(String, String)> {
        let missing = || Halt::Trouble("the browser has no login under way".to_owned());
        self.transactions().into_iter().next().ok_or_else(missing)
    }

    /// The browser must have a session, by the BFF's word.
    pub(super) async fn expect_session(&mut self, why: &str) -> Step {
        let session = self.session().await?;
        self.check("session", &[], is_logged_in(&session), why);
        Ok(())
    }

    /// The last audit line of this action must have this outcome and reason.
    pub(super) fn expect_record(&self, action: &str, outcome: &str, reason: &str) -> bool {
        let Some(lines) = self.audited() else { return true };
        let last = lines.iter().rev().find(|(found, ..)| found == action);
        let found =
            last.map_or("nothing".to_owned(), |(_, outcome, reason)| format!("{outcome} {reason}"));
        let expected = format!("{outcome} {reason}");
        self.check(
            "audit",
            &[],
            found == expected,
            format!("the audit stream's last {action} says {found}; {expected} expected"),
        )
    }

    /// Audit lines with this reason, if they can be read.
    pub(super) fn recorded(&self, reason: &str) -> Option<usize> {
        let lines = self.audited()?;
        Some(lines.iter().filter(|(_, _, found)| found == reason).count())
    }

    /// The authorization server's endpoint must have been asked this often.
    pub(super) fn expect_asked(&self, endpoint: Endpoint, times: usize) -> bool {
        let found = self.world.double.count(endpoint);
        let name = endpoint.name();
        self.check(
            &format!("{name}_requests"),
            &[],
            found == times,
            format!("{found} requests to the {name} endpoint; {times} expected"),
        )
    }

    /// The API must have been asked for this path this often.
    pub(super) fn expect_api_asked(&self, path: &str, times: usize) -> bool {
        let found = self.world.api.count(path);
        self.check(
            "api_requests",
            &[],
            found == times,
            format!("{found} requests to the API for {path}; {times} expected"),
        )
    }

    /// The token requests that were refreshes.
    pub(super) fn refreshes(&self) -> Vec<Event> {
        let events = self.world.double.events().into_iter();
        events.filter(|event| event.form("grant_type") == Some("refresh_token")).collect()
    }

    /// There must have been this many of them.
    pub(super) fn expect_refreshes(&self, times: usize) -> bool {
        let found = self.refreshes().len();
        let message = format!("{found} refreshes; {times} expected");
        self.check("refreshes", &[], found == times, message)
    }

    /// What the servers have heard so far, but for metadata and keys, which are nobody's doing.
    pub(super) fn heard(&self) -> Heard {
        let events = self.world.double.events();
        let asked = |event: &&Event| !matches!(event.endpoint, Endpoint::Metadata | Endpoint::Jwks);
        Heard {
            authorization_server: events.iter().filter(asked).count(),
            api: self.world.api.events().len(),
        }
    }

    /// They must have heard nothing since.
    pub(super) fn expect_unheard(&self, before: Heard) -> bool {
        let now = self.heard();
        let new = |now: usize, before: usize| now.saturating_sub(before);
        self.check(
            "nothing_heard",
            &[],
            now == before,
            format!(
                "{} requests reached the authorization server and {} the API; none expected",
                new(now.authorization_server, before.authorization_server),
                new(now.api, before.api)
            ),
        )
    }

    /// A page of the BFF's own: locked down, never kept, sets no cookie but to delete one.
    pub(super) fn expect_page(&self, answer: &Answer, status: u16) -> bool {
        let policy = answer.header("content-security-policy");
        let rules = ["default-src 'none'", "base-uri 'none'", "form-action 'none'"];
        let locked = rules.iter().all(|rule| policy.contains(rule))
            && policy.contains("frame-ancestors 'none'")
            && !policy.contains("unsafe");
        let held = answer.status == status
            && answer.header("content-type") == "text/html; charset=utf-8"
            && answer.header("cache-control") == "no-store"
            && answer.header("x-content-type-options") == "nosniff"
            && answer.header("referrer-policy") == "no-referrer"
            && answer.header("location").is_empty()
            && answer.cookies().iter().all(|cookie| cookie.max_age() == Some(0))
            && locked;
        self.check(
            "page",
            &["HDR-3/4", "BCP-4.16"],
            held,
            format!("{} -> {}, a locked page of {status}", answer.request, answer.status),
        )
    }

    /// A refusal by script: this status and code, JSON, kept by nobody, no redirect, no cookie.
    pub(super) fn expect_plain_refusal(&self, answer: &Answer, status: u16, code: &str) -> bool {
        let told = self.expect_refusal("refused", answer, status, code);
        let plain = answer.header("content-type") == "application/json"
            && answer.header("cache-control") == "no-store"
            && answer.header("location").is_empty()
            && leaves_cookies_alone(answer)
            && !has_cors(answer);
        let message = format!("{}: JSON, no redirect, no cookie, no CORS", answer.request);
        self.check("refused_plainly", &["BFF-6.1.2.1-chk"], plain, message) && told
    }
}
