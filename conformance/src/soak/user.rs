//! A user of a soak: logs in, calls the API now and then from one or two tabs, tries again when the
//! service is away, and notices when she is asked to log in. She must not know how many instances there are.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::figures::Figures;
use crate::{
    as_double::AsDouble,
    demo::browser::{Answer, Browser, Call, From, text},
    pki::{APP_HOST, AS_HOST, Pki},
};

/// Logins at a time.
const AT_A_TIME: usize = 8;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(40);

/// Those who are about to log in.
#[derive(Debug)]
pub(super) struct Crowd {
    http: reqwest::Client,
    origin: String,
}

impl Crowd {
    pub(super) fn new(pki: &Pki, origin: &str, double: &AsDouble) -> Result<Self, String> {
        let mut hosts = double.resolve();
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        hosts.extend([APP_HOST, AS_HOST].map(|host| (host.to_owned(), here)));
        // One connection is one instance: HTTP/2 would keep everybody on the same.
        let http = pki.http1_client(&hosts).map_err(|error| error.to_string())?;
        Ok(Self { http, origin: origin.to_owned() })
    }

    /// Everybody logs in, a few at a time.
    pub(super) async fn log_in(&self, users: usize) -> Result<Vec<User>, String> {
        let turn = Arc::new(Semaphore::new(AT_A_TIME));
        let mut logins = JoinSet::new();
        for number in 0..users {
            let browser = Browser::with_client(self.http.clone(), &self.origin);
            let turn = Arc::clone(&turn);
            logins.spawn(async move {
                let _turn = turn.acquire().await.map_err(|error| error.to_string())?;
                User { number, browser, random: number as u64 + 1 }.log_in().await
            });
        }
        let mut users = Vec::new();
        while let Some(login) = logins.join_next().await {
            users.push(login.map_err(|error| error.to_string())??);
        }
        Ok(users)
    }
}

/// One of them, logged in.
#[derive(Debug)]
pub(super) struct User {
    number: usize,
    browser: Browser,
    random: u64,
}

impl User {
    async fn log_in(mut self) -> Result<Self, String> {
        let start = Call::post("/bff/login/start").form("");
        let started = self.browser.fetch(start).await?.expect(200)?.json()?;
        let url = text(&started, "authorization_url").to_owned();
        let back = self.browser.navigate(From::CrossSite, &url).await?.expect(303)?.location()?;
        let end = Call::post("/bff/login/end").form(back.query().unwrap_or_default());
        self.browser.fetch(end).await?.expect(200)?;
        Ok(self)
    }

    /// A number below `limit` (xorshift: the times need not be unpredictable).
    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit.max(1)
    }

    /// Uses the service until `deadline`.
    pub(super) async fn live(mut self, deadline: Instant, figures: &Figures) -> Self {
        while Instant::now() < deadline {
            let pause = Duration::from_millis(500 + self.below(3000));
            sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
            match self.below(20) {
                0..=2 => self.call("/bff/session", figures).await,
                3 => {
                    let mut tab = self.second_tab();
                    tokio::join!(
                        self.call("/api/accounts", figures),
                        tab.call("/api/accounts", figures)
                    );
                }
                // A page that is left before its answer.
                4 => {
                    let hurry = Duration::from_millis(self.below(20));
                    let left = timeout(hurry, self.call("/api/accounts", figures)).await.is_err();
                    if left {
                        figures.answered("left");
                    }
                }
                _ => self.call("/api/accounts", figures).await,
            }
        }
        self
    }

    fn second_tab(&self) -> Self {
        Self { number: self.number, browser: self.browser.clone(), random: self.random }
    }

    async fn call(&mut self, path: &str, figures: &Figures) {
        let start = Instant::now();
        let answer = timeout(PATIENCE, self.browser.fetch(Call::get(path))).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let judged = judge(path, answer);
        match &judged {
            Judged::Good => {
                figures.answered("good");
                figures.took(start.elapsed());
            }
            Judged::Away(what) => figures.answered(what),
            Judged::LoggedOut(what) => {
                figures.answered("logged out");
                figures.logged_out(format!("user {}: {path}: {what}", self.number));
            }
        }
    }

    /// At the end, with everything well: is she logged in, and after a logout nowhere any more?
    pub(super) async fn last_look(&mut self, instances: usize) -> Vec<String> {
        let mut lost = Vec::new();
        for path in ["/bff/session", "/api/accounts"] {
            match judge(path, self.browser.fetch(Call::get(path)).await) {
                Judged::Good => {}
                Judged::Away(what) | Judged::LoggedOut(what) => {
                    lost.push(format!("user {} at the end: {path}: {what}", self.number));
                }
            }
        }
        let copy = self.browser.clone();
        match self.browser.fetch(Call::post("/bff/logout")).await.and_then(|a| a.expect(200)) {
            Ok(_) => {}
            Err(what) => lost.push(format!("user {}: logout: {what}", self.number)),
        }
        // The bound of the read cache.
        sleep(Duration::from_millis(if self.number == 0 { 1100 } else { 0 })).await;
        if self.number == 0 {
            for _ in 0..instances * 4 {
                let answer = copy.clone().fetch(Call::get("/api/accounts")).await;
                if !matches!(judge("/api/accounts", answer), Judged::LoggedOut(_)) {
                    lost.push("a session was served after its logout".to_owned());
                }
            }
        }
        lost
    }
}

enum Judged {
    Good,
    /// The service is away, and says so or does not answer; the session is none the worse for it.
    Away(String),
    /// The user is asked to log in.
    LoggedOut(String),
}

fn judge(path: &str, answer: Result<Answer, String>) -> Judged {
    let Ok(answer) = answer else { return Judged::Away("no answer".to_owned()) };
    let body = answer.json().unwrap_or_default();
    match answer.status {
        200 if path == "/bff/session" && body.get("is_logged_in") != Some(&Value::Bool(true)) => {
            Judged::LoggedOut("is_logged_in is false".to_owned())
        }
        200 => Judged::Good,
        502..=504 => Judged::Away(format!("{} {}", answer.status, text(&body, "error_code"))),
        status => Judged::LoggedOut(format!("{status} {}", text(&body, "error_code"))),
    }
}
