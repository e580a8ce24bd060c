//! What a script stands on: the world it plays in, a browser, the steps of a login, and the means to
//! say what must hold. It must not know which module is played.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::Value;
use url::Url;

use super::{
    evidence::Redactor,
    exam::{Exam, millis},
    module::{Halt, Step},
    verdict::{Condition, Severity, Verdict},
    world::World,
};
use crate::{
    as_double::Endpoint,
    demo::browser::{Answer, Browser, Call, From as Coming, PageForm},
};

/// Name of the app's session cookie.
pub const SESSION_COOKIE: &str = "__Host-Http-web";

/// What names of login transactions' cookies start with.
pub const TRANSACTION_COOKIE: &str = "__Host-Http-web.tx-";

/// `(action, outcome, reason)`.
pub type AuditLine = (String, String, String);

/// The condition log of one module.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Condition>>>);

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log").field(&self.conditions().len()).finish()
    }
}

impl Log {
    /// Adds a condition.
    pub fn add(&self, condition: Condition) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(condition);
    }

    /// All of them, in the order they were added.
    pub fn conditions(&self) -> Vec<Condition> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The worst verdict among them.
    pub fn verdict(&self) -> Verdict {
        let conditions = self.conditions();
        conditions.iter().map(Condition::verdict).max().unwrap_or(Verdict::Passed)
    }
}

/// How a browser logs in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LoginMode {
    /// The app's script starts and ends the login.
    #[default]
    Script,
    /// The browser navigates to the BFF and is sent back by it.
    Navigation,
}

/// How an authorization response travels.
#[derive(Clone, Debug)]
pub enum Way {
    /// In the query of the address.
    Query,
    /// In its fragment, which only a page's script sees.
    Fragment,
    /// In a form that a page posts.
    Form {
        /// Where the page is.
        origin: String,
        /// The page.
        page: Box<Answer>,
    },
}

/// An authorization response on its way back to the BFF.
#[derive(Clone, Debug)]
pub struct Response {
    /// The whole address the browser was sent to, or that the form goes to.
    pub url: String,
    /// Its parameters, form-encoded.
    pub query: String,
    /// How it travels.
    pub way: Way,
}

impl Response {
    /// The value of `response`, the signed answer itself.
    pub fn token(&self) -> Step<String> {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        let found = pairs.find(|(name, _)| name == "response");
        let missing = || Halt::Trouble("the authorization response has no `response`".to_owned());
        Ok(found.ok_or_else(missing)?.1.into_owned())
    }
}

/// A request exactly as told, with nothing a browser would add.
#[derive(Clone, Debug, Default)]
pub struct Raw<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Headers in order.
    pub headers: Vec<(&'a str, String)>,
    /// The body.
    pub body: String,
}

/// Where a module is played.
#[derive(Debug)]
pub struct Stage {
    /// The authorization server, the API, the BFF.
    pub world: World,
    /// The browser.
    pub browser: Browser,
    /// How it logs in.
    pub mode: LoginMode,
    exam: Exam,
    log: Log,
    /// Something in the audit stream was to be looked at and could not be.
    missed_audit: AtomicBool,
}

impl Stage {
    /// A stage with an empty browser.
    pub fn new(world: World, mode: LoginMode, exam: Exam, log: Log) -> Self {
        let browser = world.browser();
        Self { world, browser, mode, exam, log, missed_audit: AtomicBool::new(false) }
    }

    // === what must hold ===

    /// Notes whether something held; the script goes on either way.
    pub fn check(
        &self,
        check: &str,
        clauses: &[&str],
        held: bool,
        message: impl fmt::Display,
    ) -> bool {
        self.note("browser", Severity::Failure, check, clauses, held, &message);
        held
    }

    /// The same, and the script ends here if it did not hold.
    pub fn demand(
        &self,
        check: &str,
        clauses: &[&str],
        held: bool,
        message: impl fmt::Display,
    ) -> Step {
        if self.check(check, clauses, held, message) { Ok(()) } else { Err(Halt::Condition) }
    }

    /// What had better hold.
    pub fn advise(&self, check: &str, clauses: &[&str], held: bool, message: impl fmt::Display) {
        self.note("browser", Severity::Warning, check, clauses, held, &message);
    }

    /// What was seen.
    pub fn remark(&self, message: impl fmt::Display) {
        self.note("harness", Severity::Info, "remark", &[], true, &message);
    }

    fn note(
        &self,
        source: &str,
        severity: Severity,
        check: &str,
        clauses: &[&str],
        held: bool,
        message: &dyn fmt::Display,
    ) {
        self.log.add(Condition {
            at_ms: millis(self.exam.elapsed()),
            source: source.to_owned(),
            check: check.to_owned(),
            severity,
            held,
            clauses: clauses.iter().map(|clause| (*clause).to_owned()).collect(),
            message: message.to_string(),
        });
    }

    /// The answer must have this status; gives its body as JSON where it is some.
    pub fn expect(&self, check: &str, answer: &Answer, status: u16) -> Step {
        let found = answer.status;
        let shown = if found == status {
            String::new()
        } else {
            // Redacted first: half a secret would not be recognised as one.
            let body = Redactor::new(self.world.secrets());
            let body = body.text(&String::from_utf8_lossy(&answer.body));
            format!(": {}", body.chars().take(200).collect::<String>())
        };
        self.demand(
            check,
            &[],
            found == status,
            format!("{} -> {found}, {status} expected{shown}", answer.request),
        )
    }

    /// The answer must be a refusal with this status and code, and must not set a session cookie. A
    /// page, which a navigation is answered with, shows no code.
    pub fn expect_refusal(&self, check: &str, answer: &Answer, status: u16, code: &str) -> bool {
        let is_page = answer.header(header::CONTENT_TYPE).starts_with("text/html");
        let found = answer.json().ok();
        let text = |name: &str| {
            let value = found.as_ref().and_then(|body| body.get(name));
            value.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let (error_code, request_id) = (text("error_code"), text("request_id"));
        let sets_session = answer
            .cookies()
            .iter()
            .any(|c| c.name == SESSION_COOKIE && c.max_age().is_none_or(|s| s > 0));
        let told = if is_page {
            self.mode == LoginMode::Navigation
        } else {
            error_code == code && !request_id.is_empty()
        };
        self.check(
            check,
            &[],
            answer.status == status && told && !sets_session,
            format!(
                "{} -> {} {}, {status} {code} expected{}",
                answer.request,
                answer.status,
                if is_page { "(a page)" } else { &error_code },
                if sets_session { "; it sets a session cookie" } else { "" }
            ),
        )
    }

    /// The answer must not say more than its code: no other member, nothing of the reason that the
    /// operator finds in the audit stream (`jarm.expired` must not show `expired`).
    pub fn expect_no_detail(&self, answer: &Answer, code: &str, reason: &str) -> bool {
        let known = ["detailed_error", "error_code", "request_id"];
        let body = answer.json().ok();
        let members = body.as_ref().and_then(Value::as_object);
        let mut names = members.iter().flat_map(|members| members.keys());
        let more = names.any(|name| !known.contains(&name.as_str()));
        // The code itself may be made of the same words, and so may a sentence for people.
        let text = String::from_utf8_lossy(&answer.body).replace(code, "");
        let (_, rule) = reason.split_once('.').unwrap_or_default();
        let rule = if body.is_some() { rule } else { reason };
        let shown = !rule.is_empty() && text.contains(rule);
        self.check("no_detail", &[], !more && !shown, "the browser is told a code and no detail")
    }

    // === the steps of a login ===

    /// Asks the BFF for a login; gives the address at the authorization server.
    pub async fn start_login(&mut self) -> Step<String> {
        let answer = self.try_start_login().await?;
        match self.mode {
            LoginMode::Script => {
                self.expect("login_started", &answer, 200)?;
                let body = answer.json()?;
                let url = body.get("authorization_url").and_then(Value::as_str);
                let url = url.map(str::to_owned).unwrap_or_default();
                self.demand("login_started", &[], !url.is_empty(), "an authorization_url came")?;
                Ok(url)
            }
            LoginMode::Navigation => {
                self.expect("login_started", &answer, 303)?;
                Ok(answer.location()?.into())
            }
        }
    }

    /// The same, whatever the answer.
    pub async fn try_start_login(&mut self) -> Step<Answer> {
        Ok(match self.mode {
            LoginMode::Script => {
                let mut call = Call::post("/bff/login/start");
                if !self.world.wishes.is_empty() {
                    call = call.form(self.world.wishes);
                }
                self.browser.fetch(call).await?
            }
            LoginMode::Navigation => {
                let path = format!("/bff/login?{}", self.world.wishes);
                self.browser.navigate(Coming::SameOrigin, path.trim_end_matches('?')).await?
            }
        })
    }

    /// Sends the browser to the authorization server; gives what it comes back with.
    pub async fn authorize(&mut self, url: &str) -> Step<Response> {
        let answer = self.browser.navigate(Coming::SameOrigin, url).await?;
        let response = if let Some(form) = answer.form().filter(|_| answer.status == 200) {
            let at = Url::parse(url).map(|url| url.origin().ascii_serialization());
            let way = Way::Form { origin: at.unwrap_or_default(), page: Box::new(answer) };
            Response { url: form.action, query: form.body, way }
        } else {
            self.expect("authorization_endpoint", &answer, 303)?;
            let location = answer.location()?;
            let (way, query) = match location.fragment() {
                Some(fragment) => (Way::Fragment, fragment),
                None => (Way::Query, location.query().unwrap_or_default()),
            };
            Response { query: query.to_owned(), url: location.into(), way }
        };
        let here = Url::parse(&response.url).map(|url| url.origin().ascii_serialization());
        let here = here.unwrap_or_default();
        self.demand(
            "redirect_uri",
            &["OA-4.1.3"],
            here == self.world.origin,
            format!("the browser is sent back to {here}"),
        )?;
        Ok(response)
    }

    /// Up to the authorization response.
    pub async fn response(&mut self) -> Step<Response> {
        let url = self.start_login().await?;
        self.authorize(&url).await
    }

    /// Hands a response to the BFF.
    pub async fn deliver(&mut self, response: &Response) -> Step<Answer> {
        Ok(match (&response.way, self.mode) {
            // A form goes where it says, whoever started the login.
            (Way::Form { origin, page }, _) => {
                let (action, body) = (response.url.clone(), response.query.clone());
                self.browser.submit_from((page, origin), &PageForm { action, body }).await?
            }
            (_, LoginMode::Script) => {
                let call = Call::post("/bff/login/end").form(&response.query);
                self.browser.fetch(call).await?
            }
            (Way::Query, LoginMode::Navigation) => {
                self.browser.navigate(Coming::CrossSite, &response.url).await?
            }
            (Way::Fragment, LoginMode::Navigation) => self.relay(response).await?,
        })
    }

    /// A response in the fragment reaches the BFF by a page of its own, whose script posts it
    /// (OIDC-FRAG).
    async fn relay(&mut self, response: &Response) -> Step<Answer> {
        let page = self.browser.navigate(Coming::CrossSite, &response.url).await?;
        self.expect("relay_page", &page, 200)?;
        let policy = page.header(header::CONTENT_SECURITY_POLICY).to_owned();
        let kind = page.header(header::CONTENT_TYPE).to_owned();
        let strict = policy.contains("default-src 'none'")
            && policy.contains("form-action 'self'")
            && !policy.contains("unsafe");
        let held = strict && kind.starts_with("text/html");
        let message = format!("the relay page is {kind} under {policy}");
        self.check("relay_page", &["OIDC-FRAG", "BFF-6.1.2.1-cb"], held, message);
        let action = Url::parse(&response.url).map_err(|error| Halt::Trouble(error.to_string()))?;
        let action = action[..url::Position::AfterPath].to_owned();
        let form = PageForm { action, body: response.query.clone() };
        Ok(self.browser.submit_from((&page, &self.world.origin), &form).await?)
    }

    /// What a login that works is answered with: a page's script is told, a browser is sent on.
    pub fn success(&self, response: &Response) -> u16 {
        match (self.mode, &response.way) {
            (LoginMode::Navigation, _) | (_, Way::Form { .. }) => 303,
            (LoginMode::Script, _) => 200,
        }
    }

    /// A whole login that must work.
    pub async fn login(&mut self) -> Step {
        let response = self.response().await?;
        let answer = self.deliver(&response).await?;
        self.expect("login_ended", &answer, self.success(&response))?;
        let session = self.session().await?;
        self.demand("logged_in", &[], is_logged_in(&session), "the browser has a session")
    }

    /// What the BFF says of the session.
    pub async fn session(&mut self) -> Step<Value> {
        let answer = self.browser.fetch(Call::get("/bff/session")).await?;
        self.expect("session", &answer, 200)?;
        Ok(answer.json()?)
    }

    /// The browser must have no session: by the BFF's word, by its cookies, and at the API.
    pub async fn expect_no_session(&mut self) -> Step {
        // The API first, while the browser still holds whatever it holds.
        let before = self.world.double.count(Endpoint::Accounts);
        let answer = self.accounts().await?;
        let code = answer.json().ok();
        let code = code.as_ref().and_then(|body| body.get("error_code")).and_then(Value::as_str);
        let message = format!(
            "{} -> {} {}, 401 with an error_code expected",
            answer.request,
            answer.status,
            code.unwrap_or_default()
        );
        self.check("no_api", &[], answer.status == 401 && code.is_some(), message);
        let reached = self.world.double.count(Endpoint::Accounts) - before;
        let message = format!("{reached} calls without a session reached the accounts endpoint");
        self.check("api_unheard", &[], reached == 0, message);
        let session = self.session().await?;
        self.check("no_session", &[], !is_logged_in(&session), "the BFF says: not logged in");
        let held = self.browser.cookies().iter().any(|(name, _)| *name == SESSION_COOKIE);
        self.check("no_session_cookie", &[], !held, "the browser holds no session cookie");
        Ok(())
    }

    /// Calls the accounts endpoint through the BFF.
    pub async fn accounts(&mut self) -> Step<Answer> {
        Ok(self.browser.fetch(Call::get("/api/accounts")).await?)
    }

    /// The same, and it must work.
    pub async fn reach_accounts(&mut self) -> Step {
        let answer = self.accounts().await?;
        self.expect("accounts", &answer, 200)
    }

    // === what no browser would do ===

    /// The browser's cookies as one header.
    pub fn cookie_header(&self) -> (&'static str, String) {
        let cookies = self.browser.cookies().into_iter();
        let all: Vec<_> = cookies.map(|(name, value)| format!("{name}={value}")).collect();
        ("cookie", all.join("; "))
    }

    /// The session cookie's value.
    pub fn session_cookie(&self) -> Step<String> {
        let cookies = self.browser.cookies();
        let found = cookies.iter().find(|(name, _)| *name == SESSION_COOKIE);
        let missing = || Halt::Trouble("the browser has no session cookie".to_owned());
        Ok(found.ok_or_else(missing)?.1.to_owned())
    }

    /// What the app's own script sends, besides cookies.
    pub fn own_headers(&self) -> Vec<(&'static str, String)> {
        vec![
            ("x-bff-csrf", "1".to_owned()),
            ("sec-fetch-site", "same-origin".to_owned()),
            ("origin", self.world.origin.clone()),
        ]
    }

    /// Sends a request with exactly these headers.
    pub async fn send(&mut self, raw: Raw<'_>) -> Step<Answer> {
        let mut headers = HeaderMap::new();
        for (name, value) in &raw.headers {
            let name: HeaderName =
                name.parse().map_err(|_| Halt::Trouble(format!("{name:?} is no header name")))?;
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| Halt::Trouble(format!("no header value for {name}")))?;
            headers.append(name, value);
        }
        let method: Method =
            raw.method.parse().map_err(|_| Halt::Trouble("no HTTP method".to_owned()))?;
        Ok(self.browser.raw(method, raw.path, headers, raw.body.into()).await?)
    }

    // === what was recorded ===

    /// The same, or nothing where the audit stream cannot be read: then a person must look.
    pub fn audited(&self) -> Option<Vec<AuditLine>> {
        if self.world.is_audited() {
            return Some(self.audit());
        }
        self.missed_audit.store(true, Ordering::Relaxed);
        None
    }

    /// Whether something in the audit stream was to be looked at and could not be.
    pub fn missed_audit(&self) -> bool {
        self.missed_audit.load(Ordering::Relaxed)
    }

    /// `(action, outcome, reason)` of every audit line so far.
    pub fn audit(&self) -> Vec<AuditLine> {
        let text = |line: &Value, name: &str| {
            line.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let lines = self.world.audit();
        lines
            .iter()
            .map(|line| (text(line, "action"), text(line, "outcome"), text(line, "reason")))
            .collect()
    }

    /// The last audit line of this action must have this reason.
    pub fn expect_audit(&self, action: &str, reason: &str) -> bool {
        let Some(lines) = self.audited() else { return true };
        let last = lines.iter().rev().find(|(found, ..)| found == action);
        let found = last.map_or("nothing", |(_, _, reason)| reason.as_str());
        let message = format!("the audit stream's last {action} says {found}; {reason} expected");
        let held = found == reason;
        self.note("audit", Severity::Failure, "audit_reason", &[], held, &message);
        held
    }

    /// Waits for something that other tasks bring about; a condition that it came within half a minute.
    pub async fn soon<T>(&self, check: &str, future: impl Future<Output = T>) -> Step<T> {
        let Ok(value) = tokio::time::timeout(Duration::from_secs(30), future).await else {
            self.check(check, &[], false, "did not happen within half a minute");
            return Err(Halt::Condition);
        };
        Ok(value)
    }

    /// Ends the stage and gives the world back.
    pub fn strike(self) -> World {
        self.world
    }
}

/// Whether the session document says so.
pub fn is_logged_in(session: &Value) -> bool {
    session.get("is_logged_in").and_then(Value::as_bool) == Some(true)
}
