//! The journey of `cargo demo --check`: what a browser does from the first page view to the last logout,
//! and what it must never get to see. It must not know how anything is started or reported.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use url::Url;

use super::{
    browser::{Answer, Browser, Call, From, text},
    check::{Failed, Report},
    cookies::SetCookie,
    leaks,
    world::{World, WorldFault},
};
use crate::as_double::Endpoint;

const BODY: usize = 5 * 1024 * 1024;
const RETURN_TO: &str = "/accounts?view=all";

type Step = Result<String, String>;

/// One walk through the demo.
pub(super) struct Journey<'a> {
    world: &'a World,
    origin: String,
    browser: Browser,
    /// Where the next navigation goes.
    next: String,
    /// The browser as it was before the first login ended: with the transaction's cookie.
    before_login: Option<Browser>,
    /// The browser as it was before logout: with the session's cookie.
    before_logout: Option<Browser>,
    /// The answer of the first login.
    response: String,
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn names(url: &Url) -> Vec<String> {
    url.query_pairs().map(|(name, _)| name.into_owned()).collect()
}

fn is_logged_in(state: &Value) -> Option<bool> {
    state.get("is_logged_in").and_then(Value::as_bool)
}

fn positive(state: &Value, member: &str) -> Result<i64, String> {
    let seconds = state.get(member).and_then(Value::as_i64).filter(|seconds| *seconds > 0);
    seconds.ok_or_else(|| format!("{member} is not a positive number of seconds: {state}"))
}

/// Every attribute a cookie of the BFF must have, one by one (BFF-6.1.3.2-1..6).
fn hardened(cookie: &SetCookie, same_site: &str) -> Result<(), String> {
    let name = &cookie.name;
    ensure(name.starts_with("__Host-Http-"), || format!("{name} lacks the prefix __Host-Http-"))?;
    ensure(cookie.has("secure"), || format!("{name} lacks Secure"))?;
    ensure(cookie.has("httponly"), || format!("{name} lacks HttpOnly"))?;
    ensure(cookie.attribute("path") == Some("/"), || format!("{name} has not Path=/"))?;
    ensure(!cookie.has("domain"), || format!("{name} has a Domain"))?;
    ensure(cookie.attribute("samesite") == Some(same_site), || {
        format!("{name} has not SameSite={same_site}: {:?}", cookie.attributes)
    })
}

/// The one cookie of this answer that is set or, with `deleted`, removed.
fn the_cookie(
    answer: &Answer,
    deleted: bool,
    wanted: impl Fn(&str) -> bool,
) -> Result<SetCookie, String> {
    let cookies = answer.cookies();
    let found: Vec<_> = cookies
        .iter()
        .filter(|cookie| wanted(&cookie.name) && (cookie.max_age() == Some(0)) == deleted)
        .collect();
    if let [one] = found.as_slice() {
        return Ok((*one).clone());
    }
    let verb = if deleted { "deletes" } else { "sets" };
    let names: Vec<_> = cookies.iter().map(|cookie| cookie.name.as_str()).collect();
    Err(format!("{} {verb} not exactly one such cookie; it names {names:?}", answer.request))
}

fn is_session(name: &str) -> bool {
    name == "__Host-Http-web"
}

fn is_transaction(name: &str) -> bool {
    name.starts_with("__Host-Http-web") && name.contains("tx-")
}

fn is_logout(name: &str) -> bool {
    name.starts_with("__Host-Http-web") && name.contains("logout")
}

impl<'a> Journey<'a> {
    pub(super) fn new(world: &'a World) -> Result<Self, WorldFault> {
        let origin = world.app()?.origin.clone();
        Ok(Self {
            browser: Browser::new(&world.pki, &origin)?,
            next: String::new(),
            before_login: None,
            before_logout: None,
            response: String::new(),
            origin,
            world,
        })
    }

    /// All steps in order, to the first that fails.
    pub(super) async fn walk(&mut self, report: &mut Report<'_>) -> Result<(), Failed> {
        macro_rules! walk {
            ($($step:ident),* $(,)?) => {$(
                let outcome = self.$step().await;
                report.note(outcome)?;
            )*};
        }
        walk!(
            page_loads,
            starts_logged_out,
            no_login_without_the_header,
            no_login_from_elsewhere,
            login_starts,
            authorization_server_answers,
            login_ends,
            replay_is_refused,
            session_is_there,
            userinfo,
            accounts,
            payment,
            upload,
            download,
            refresh,
            operations,
            logout,
            logout_goes_on,
            logged_out_everywhere,
            navigation_login,
            navigation_login_ends,
            nothing_leaked,
        );
        Ok(())
    }

    /// The session as the page sees it.
    async fn session(&mut self) -> Result<Value, String> {
        self.browser.fetch(Call::get("/bff/session")).await?.expect(200)?.json()
    }

    async fn page_loads(&mut self) -> Step {
        let page = self.browser.navigate(From::Typed, "/").await?.expect(200)?;
        let policy = page.header(header::CONTENT_SECURITY_POLICY);
        ensure(
            policy.contains("script-src 'self'") && policy.contains("default-src 'none'"),
            || format!("the page's policy is {policy:?}"),
        )?;
        ensure(page.cookies().is_empty(), || "the page sets a cookie".to_owned())?;
        for file in ["/app.js", "/app.css", "/icon.svg"] {
            self.browser.fetch(Call::get(file)).await?.expect(200)?;
        }
        Ok("GET / -> 200, the page and its files, no cookie".to_owned())
    }

    async fn starts_logged_out(&mut self) -> Step {
        let state = self.session().await?;
        ensure(is_logged_in(&state) == Some(false), || format!("a new browser has {state}"))?;
        Ok("GET /bff/session -> 200, logged out".to_owned())
    }

    async fn no_login_without_the_header(&mut self) -> Step {
        let call = Call::post("/bff/login/start").without_custom_header();
        self.browser.fetch(call).await?.expect_refusal(403, "csrf_rejected")?;
        Ok("POST /bff/login/start without x-bff-csrf -> 403 csrf_rejected".to_owned())
    }

    async fn no_login_from_elsewhere(&mut self) -> Step {
        let call = Call::post("/bff/login/start").by_origin("https://evil.example");
        let answer = self.browser.fetch(call).await?.expect_refusal(403, "csrf_rejected")?;
        let shared = answer.header(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        ensure(shared.is_empty(), || format!("the refusal is shared with {shared}"))?;
        let pushed = self.world.authorization_server.count(Endpoint::Par);
        ensure(pushed == 0, || "a refused call reached the authorization server".to_owned())?;
        Ok("POST /bff/login/start from another origin -> 403 csrf_rejected, no CORS".to_owned())
    }

    async fn login_starts(&mut self) -> Step {
        let call = Call::post("/bff/login/start").form("");
        let answer = self.browser.fetch(call).await?.expect(200)?;
        let transaction = the_cookie(&answer, false, is_transaction)?;
        // The page itself brings the answer back, so this cookie never crosses sites.
        hardened(&transaction, "Strict")?;
        let age = transaction.max_age().unwrap_or_default();
        ensure((60..=1800).contains(&age), || format!("{} lives {age} s", transaction.name))?;
        let body = answer.json()?;
        let url = Url::parse(text(&body, "authorization_url"))
            .map_err(|_| format!("authorization_url is no URL: {body}"))?;
        self.goes_to_authorization_server(&url)?;
        self.next = url.into();
        Ok("POST /bff/login/start -> 200, authorization_url carries only client_id and request_uri; \
            cookie Secure, HttpOnly, Path=/, SameSite=Strict, no Domain"
            .to_owned())
    }

    fn goes_to_authorization_server(&self, url: &Url) -> Result<(), String> {
        let expected = self.world.authorization_server.url(Endpoint::Authorize);
        let mut bare = url.clone();
        bare.set_query(None);
        ensure(bare.as_str() == expected, || format!("the login goes to {bare}, not {expected}"))?;
        let mut parameters = names(url);
        parameters.sort_unstable();
        ensure(parameters == ["client_id", "request_uri"], || {
            format!("the authorization URL carries {parameters:?} (FAPI2-SP-5.3.3.2-6)")
        })
    }

    async fn authorization_server_answers(&mut self) -> Step {
        let next = std::mem::take(&mut self.next);
        let answer = self.browser.navigate(From::CrossSite, &next).await?.expect(303)?;
        let back = answer.location()?;
        let carried = names(&back);
        ensure(back.as_str().starts_with(&format!("{}/?", self.origin)), || {
            format!("back to {back}")
        })?;
        ensure(carried == ["response"], || format!("the browser comes back with {carried:?}"))?;
        self.next = back.into();
        Ok("GET authorization endpoint -> 303 to the app's page with only `response`".to_owned())
    }

    async fn login_ends(&mut self) -> Step {
        let next = std::mem::take(&mut self.next);
        let page = self.browser.navigate(From::CrossSite, &next).await?.expect(200)?;
        ensure(page.cookies().is_empty(), || "loading the page sets a cookie".to_owned())?;
        self.response = next.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
        self.before_login = Some(self.browser.clone());
        let call = Call::post("/bff/login/end").form(&self.response);
        let answer = self.browser.fetch(call).await?.expect(200)?;
        hardened(&the_cookie(&answer, false, is_session)?, "Strict")?;
        hardened(&the_cookie(&answer, true, is_transaction)?, "Strict")?;
        let state = answer.json()?;
        let subject = state.pointer("/id_token_claims/sub").and_then(Value::as_str);
        ensure(is_logged_in(&state) == Some(true) && subject == Some("alice"), || {
            format!("not logged in as alice: {state}")
        })?;
        Ok("POST /bff/login/end -> 200, alice's claims, session cookie set, transaction cookie deleted"
            .to_owned())
    }

    async fn replay_is_refused(&mut self) -> Step {
        let again = || Call::post("/bff/login/end").form(&self.response);
        self.browser.fetch(again()).await?.expect_refusal(400, "transaction_missing")?;
        // Somebody who copied the transaction's cookie, too, is no better off.
        let mut copy = self.before_login.clone().unwrap_or_else(|| self.browser.clone());
        let answer = copy.fetch(again()).await?.expect_refusal(400, "transaction_missing")?;
        ensure(!answer.cookies().iter().any(|cookie| is_session(&cookie.name)), || {
            "the refused replay touches the session cookie".to_owned()
        })?;
        let redeemed = self.world.authorization_server.count(Endpoint::Token);
        ensure(redeemed == 1, || format!("{redeemed} token requests for one login"))?;
        Ok("POST /bff/login/end again, with and without the old cookie -> 400 transaction_missing"
            .to_owned())
    }

    async fn session_is_there(&mut self) -> Step {
        let state = self.session().await?;
        ensure(is_logged_in(&state) == Some(true), || format!("the session is {state}"))?;
        let token = positive(&state, "access_token_expires_in")?;
        let session = positive(&state, "session_expires_in")?;
        let idle = positive(&state, "idle_expires_in")?;
        Ok(format!(
            "GET /bff/session -> 200, logged in; ends in {session} s, idle {idle} s, access token {token} s"
        ))
    }

    async fn userinfo(&mut self) -> Step {
        let claims = self.browser.fetch(Call::get("/bff/userinfo")).await?.expect(200)?.json()?;
        let email = text(&claims, "email");
        ensure(text(&claims, "sub") == "alice" && email == "alice@example.com", || {
            format!("userinfo says {claims}")
        })?;
        Ok(format!("GET /bff/userinfo -> 200, {email}"))
    }

    async fn accounts(&mut self) -> Step {
        let call = Call::get("/api/accounts").without_custom_header();
        self.browser.fetch(call).await?.expect_refusal(403, "csrf_rejected")?;
        let answer = self.browser.fetch(Call::get("/api/accounts")).await?.expect(200)?.json()?;
        let accounts = answer.get("accounts").and_then(Value::as_array).map_or(0, Vec::len);
        ensure(text(&answer, "owner") == "alice" && accounts > 0, || format!("got {answer}"))?;
        let event = self.world.api.last("/accounts").ok_or("the API saw no request")?;
        let certificate = self.world.pki.client_tls.thumbprint().map_err(|e| e.to_string())?;
        ensure(event.peer_thumbprint == Some(certificate), || {
            "the API was not called with the client's certificate".to_owned()
        })?;
        let cookie = event.headers.iter().any(|(name, _)| name == "cookie");
        ensure(!cookie, || "the API was sent a cookie".to_owned())?;
        Ok(format!(
            "GET /api/accounts -> 200, {accounts} accounts; the API saw certificate and token, no cookie"
        ))
    }

    async fn payment(&mut self) -> Step {
        let payment =
            json!({"creditor": "Ærøskøbing Ferries", "amount": "12.50", "currency": "EUR"});
        let call = Call::post("/api/payments").json(&payment);
        let answer = self.browser.fetch(call).await?.expect(201)?.json()?;
        ensure(answer == payment, || format!("the payment arrived as {answer}"))?;
        Ok("POST /api/payments with JSON -> 201, arrived unchanged".to_owned())
    }

    async fn upload(&mut self) -> Step {
        let body: Vec<u8> = (0_u8..=250).cycle().take(BODY).collect();
        let sum = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &body));
        let call = Call::post("/api/upload").bytes("application/octet-stream", body);
        let answer = self.browser.fetch(call).await?.expect(200)?.json()?;
        let bytes = answer.get("bytes").and_then(Value::as_u64);
        ensure(bytes == u64::try_from(BODY).ok() && text(&answer, "sha256") == sum, || {
            format!("{BODY} bytes arrived as {answer}")
        })?;
        Ok(format!("POST /api/upload of {BODY} bytes -> 200, same digest"))
    }

    async fn download(&mut self) -> Step {
        let call = Call::get(&format!("/api/download?bytes={BODY}"));
        let answer = self.browser.fetch(call).await?.expect(200)?;
        let sound = answer.body.len() == BODY && answer.body.iter().all(|byte| *byte == b'd');
        ensure(sound, || format!("{} bytes came, or other ones", answer.body.len()))?;
        Ok(format!("GET /api/download of {BODY} bytes -> 200, complete"))
    }

    async fn refresh(&mut self) -> Step {
        let before = self.world.authorization_server.accepted(Endpoint::Token);
        let answer = self.browser.fetch(Call::post("/bff/refresh")).await?.expect(200)?.json()?;
        let seconds = positive(&answer, "access_token_expires_in")?;
        let after = self.world.authorization_server.accepted(Endpoint::Token);
        ensure(after == before + 1, || {
            format!("{} token requests for one refresh", after - before)
        })?;
        self.browser.fetch(Call::get("/api/accounts")).await?.expect(200)?;
        Ok(format!(
            "POST /bff/refresh -> 200, a new access token for {seconds} s, which the API takes"
        ))
    }

    /// What operators look at.
    async fn operations(&mut self) -> Step {
        for probe in ["/healthz", "/readyz"] {
            self.admin(probe).await?;
        }
        let metrics = self.admin("/metrics").await?;
        let completed = metrics.lines().any(|line| {
            let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
            line.starts_with("fapi_bff_logins_total{")
                && line.contains("outcome=\"completed\"")
                && value.is_some_and(|value| value >= 1.0)
        });
        ensure(completed, || "the metrics count no completed login".to_owned())?;
        let audit = self.audit()?;
        ensure(!audit.contains("alice"), || "the audit log names alice".to_owned())?;
        let lines = audit.lines().count();
        ensure(lines >= 3, || format!("the audit log has {lines} lines only"))?;
        Ok(format!(
            "healthy, ready; the metrics count the login, the audit log has {lines} lines and no name"
        ))
    }

    async fn admin(&self, path: &str) -> Result<String, String> {
        let url = format!("http://{}{path}", self.world.bff.admin_addr());
        let uri: http::Uri = url.parse().map_err(|_| format!("{url} is no address"))?;
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let answer = client.get(uri).await.map_err(|error| format!("GET {url}: {error}"))?;
        let status = answer.status();
        let body =
            answer.into_body().collect().await.map_err(|error| format!("GET {url}: {error}"))?;
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        ensure(status == 200, || format!("GET {url} was answered with {status}: {body}"))?;
        Ok(body)
    }

    fn audit(&self) -> Result<String, String> {
        let path = self.world.audit_file().ok_or("the audit log is no file")?;
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    }

    async fn logout(&mut self) -> Step {
        self.before_logout = Some(self.browser.clone());
        let answer = self.browser.fetch(Call::post("/bff/logout")).await?.expect(200)?;
        hardened(&the_cookie(&answer, true, is_session)?, "Strict")?;
        hardened(&the_cookie(&answer, false, is_logout)?, "Lax")?;
        let body = answer.json()?;
        let url = text(&body, "logout_url");
        ensure(url == format!("{}/bff/logout/continue", self.origin), || format!("got {body}"))?;
        url.clone_into(&mut self.next);
        Ok("POST /bff/logout -> 200, session cookie deleted, logout_url is a bare address of the app".to_owned())
    }

    async fn logout_goes_on(&mut self) -> Step {
        let next = std::mem::take(&mut self.next);
        let answer = self.browser.navigate(From::SameOrigin, &next).await?.expect(303)?;
        let end_session = answer.location()?;
        let expected = self.world.authorization_server.url(Endpoint::EndSession);
        ensure(end_session.as_str().starts_with(&expected), || {
            format!("logout goes on to {}", end_session.path())
        })?;
        let answer =
            self.browser.navigate(From::CrossSite, end_session.as_str()).await?.expect(303)?;
        let callback = answer.location()?;
        ensure(callback.path() == "/bff/logout/callback", || format!("back to {callback}"))?;
        let answer =
            self.browser.navigate(From::CrossSite, callback.as_str()).await?.expect(303)?;
        // Relative or absolute, it leads home.
        let home = Url::parse(&self.origin)
            .and_then(|origin| origin.join(answer.header(header::LOCATION)))
            .map_err(|error| error.to_string())?;
        ensure(home.as_str() == format!("{}/", self.origin), || format!("home is {home}"))?;
        the_cookie(&answer, true, is_logout)?;
        self.browser.navigate(From::CrossSite, home.as_str()).await?.expect(200)?;
        let sessions = self.world.authorization_server.sessions();
        ensure(sessions.is_empty(), || "the authorization server still has a session".to_owned())?;
        Ok("GET /bff/logout/continue -> end-session endpoint -> /bff/logout/callback -> the app"
            .to_owned())
    }

    async fn logged_out_everywhere(&mut self) -> Step {
        let state = self.session().await?;
        ensure(is_logged_in(&state) == Some(false), || format!("the session is {state}"))?;
        let accounts = || Call::get("/api/accounts");
        self.browser.fetch(accounts()).await?.expect_refusal(401, "session_missing")?;
        let mut thief = self.before_logout.clone().unwrap_or_else(|| self.browser.clone());
        thief.fetch(accounts()).await?.expect_refusal(401, "session_missing")?;
        let revoked = self.world.authorization_server.accepted(Endpoint::Revocation);
        ensure(revoked > 0, || "no token was revoked".to_owned())?;
        let left = self.browser.cookies();
        ensure(left.is_empty(), || format!("the browser still has {} cookies", left.len()))?;
        Ok("GET /bff/session -> logged out; GET /api/accounts -> 401, also with the old cookie; \
            tokens revoked, no cookie left"
            .to_owned())
    }

    async fn navigation_login(&mut self) -> Step {
        let encoded: String = url::form_urlencoded::byte_serialize(RETURN_TO.as_bytes()).collect();
        let start = format!("/bff/login?return_to={encoded}");
        let answer = self.browser.navigate(From::SameOrigin, &start).await?.expect(303)?;
        // This answer comes back by a navigation from another site, which Strict would not survive.
        hardened(&the_cookie(&answer, false, is_transaction)?, "Lax")?;
        let url = answer.location()?;
        self.goes_to_authorization_server(&url)?;
        let answer = self.browser.navigate(From::CrossSite, url.as_str()).await?.expect(303)?;
        let back = answer.location()?;
        ensure(back.path() == "/bff/callback" && names(&back) == ["response"], || {
            format!("back to {} with {:?}", back.path(), names(&back))
        })?;
        self.next = back.into();
        Ok("GET /bff/login?return_to=… -> 303 -> authorization endpoint -> 303 to /bff/callback"
            .to_owned())
    }

    async fn navigation_login_ends(&mut self) -> Step {
        let next = std::mem::take(&mut self.next);
        let answer = self.browser.navigate(From::CrossSite, &next).await?.expect(303)?;
        hardened(&the_cookie(&answer, false, is_session)?, "Strict")?;
        hardened(&the_cookie(&answer, true, is_transaction)?, "Lax")?;
        let page = answer.location()?;
        ensure(page.as_str() == format!("{}{RETURN_TO}", self.origin), || {
            format!("returned to {page}")
        })?;
        self.browser.navigate(From::CrossSite, page.as_str()).await?.expect(200)?;
        let state = self.session().await?;
        ensure(is_logged_in(&state) == Some(true), || format!("the session is {state}"))?;
        Ok(format!("GET /bff/callback -> 303 to {RETURN_TO}, logged in"))
    }

    /// No token, code, verifier, assertion or request object in anything the browser saw, nor in audit
    /// and metrics, where cookies may not be either.
    async fn nothing_leaked(&mut self) -> Step {
        let secrets = self.world.authorization_server.issued_secrets();
        // Two logins and a refresh; fewer would mean that there is nothing to look for.
        ensure(secrets.len() >= 20, || format!("only {} secrets are known", secrets.len()))?;
        let copies = [&self.before_login, &self.before_logout];
        let seen = self.browser.seen();
        for sight in seen.iter().chain(copies.into_iter().flatten().flat_map(Browser::seen)) {
            if let Some(secret) = leaks::found(&sight.text, &secrets).first() {
                return Err(format!("{} holds the secret {}", sight.what, leaks::hint(secret)));
            }
        }
        let handed: usize = seen.iter().map(|sight| sight.passed.len()).sum();
        let known =
            seen.iter().flat_map(|sight| &sight.passed).all(|value| secrets.contains(value));
        ensure(handed == 5 && known, || {
            format!(
                "expected 2 request_uri, 2 responses and 1 id_token_hint in URLs, found {handed}"
            )
        })?;
        let cookies = [
            self.browser.cookies(),
            self.before_logout.as_ref().map(Browser::cookies).unwrap_or_default(),
        ];
        let cookies = cookies.concat().into_iter().map(|(_, value)| value.to_owned());
        let all: Vec<String> = secrets.iter().cloned().chain(cookies).collect();
        for (name, text) in
            [("audit log", self.audit()?), ("metrics", self.admin("/metrics").await?)]
        {
            if let Some(secret) = leaks::found(&text, &all).first() {
                return Err(format!("the {name} holds the secret {}", leaks::hint(secret)));
            }
        }
        Ok(format!(
            "none of {} secrets in {} answers, audit log or metrics; {handed} passed in URLs by design",
            secrets.len(),
            seen.len()
        ))
    }
}
