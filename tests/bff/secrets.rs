//! No token, code, verifier, assertion or cookie value where it does not belong.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, OnceLock},
};

use fapi_bff::telemetry::{LogFormat, log_subscriber};
use fapi_bff_conformance::{
    as_double::{Endpoint, Fault, Gate, Outcome, Tamper, Target, edits},
    demo::{
        browser::{Browser, Call, From},
        leaks::found,
    },
};
use serde_json::json;

use crate::support::{Bed, Wish, soon, until};

/// What the product logs, at its most talkative, in this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn of_this_process() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            let writer = log.clone();
            let subscriber =
                log_subscriber("trace", LogFormat::Json, move || writer.clone()).unwrap();
            tracing::subscriber::set_global_default(subscriber).unwrap();
            log
        })
        .clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// Beginnings and ends of secrets: a text that is cut off, as paths in a log are, may hold only those.
/// The header of a JWT is public.
fn parts(secrets: &[String]) -> Vec<String> {
    const LONG: usize = 24;
    let mut parts = BTreeSet::new();
    for secret in secrets {
        let header = usize::from(secret.matches('.').count() == 2);
        for piece in secret.split('.').skip(header).filter(|piece| piece.len() >= 16) {
            if !piece.starts_with("urn:") {
                parts.insert(piece[..piece.len().min(LONG)].to_owned());
            }
            parts.insert(piece[piece.len().saturating_sub(LONG)..].to_owned());
        }
    }
    parts.into_iter().collect()
}

/// Everything that left the product other than to the AS and the API.
struct Corpus {
    bed: Bed,
    log: Log,
    browsers: Vec<Browser>,
    texts: Vec<(String, String)>,
}

impl Corpus {
    async fn new() -> Self {
        let log = Log::of_this_process();
        let edit = vec![("request_timeout = \"2s\"", "request_timeout = \"20s\"".to_owned())];
        let bed = Bed::with(Wish { edit, ..Wish::default() }).await;
        bed.double.behave(|as_| {
            as_.access_token_lifetime = 60;
            as_.rotate_refresh_tokens = true;
            as_.id_token_on_refresh = true;
        });
        Self { bed, log, browsers: Vec::new(), texts: Vec::new() }
    }

    /// What the product said, by place.
    fn gather(&mut self) {
        self.texts.push(("log".to_owned(), self.log.text()));
        self.texts.push(("audit".to_owned(), self.bed.audit.text()));
        self.texts.push(("metrics".to_owned(), self.bed.metrics()));
        for browser in &self.browsers {
            for sight in browser.seen().iter().filter(|sight| sight.what.contains(&self.bed.origin))
            {
                self.texts.push((sight.what.clone(), sight.text.clone()));
            }
        }
    }

    /// Values that only the AS and the product may know: tokens, codes, verifiers, assertions, and
    /// what stands in the latter.
    fn protocol_secrets(&self) -> Vec<String> {
        let mut secrets: BTreeSet<String> = self.bed.double.issued_secrets().into_iter().collect();
        for event in self.bed.double.events() {
            for (note, claims) in [
                ("assertion_claims", &["jti"][..]),
                ("request_object_claims", &["jti", "nonce", "state", "code_challenge"]),
            ] {
                for claim in claims {
                    let value = event.notes.get(note).and_then(|all| all.get(claim));
                    secrets.extend(value.and_then(|value| value.as_str()).map(str::to_owned));
                }
            }
        }
        let pki = &self.bed.pki;
        let keys = [
            pki.client_assertion.to_pem(),
            pki.request_object.to_pem(),
            pki.client_tls.key_pem.clone(),
            pki.bff.key_pem.clone(),
        ];
        let lines = keys.iter().flat_map(|pem| pem.lines()).filter(|line| !line.starts_with('-'));
        secrets.extend(lines.map(str::to_owned));
        // Short last lines of a PEM would be found anywhere.
        secrets.into_iter().filter(|secret| secret.len() >= 16).collect()
    }

    /// Every value a cookie was set to.
    fn cookies(&self) -> Vec<String> {
        let lines = self.texts.iter().flat_map(|(_, text)| text.lines());
        let set = lines.filter_map(|line| line.strip_prefix("set-cookie: "));
        let values = set.filter_map(|cookie| cookie.split(';').next()?.split_once('='));
        let values: BTreeSet<_> = values.map(|(_, value)| value.to_owned()).collect();
        values.into_iter().filter(|value| value.len() >= 16).collect()
    }

    /// Where which secret, or a telling part of one, was found in these of the texts.
    fn leaks(&self, places: &[usize]) -> BTreeSet<(String, String)> {
        let secrets = parts(&self.protocol_secrets());
        let cookies = parts(&self.cookies());
        let person: Vec<String> = ["Alice", "alice@"].map(str::to_owned).to_vec();
        let mut leaks = BTreeSet::new();
        for (place, text) in places.iter().map(|place| &self.texts[*place]) {
            let told: String = text
                .lines()
                .filter(|line| !line.starts_with("set-cookie: "))
                .flat_map(|line| [line, "\n"])
                .collect();
            leaks.extend(found(text, &secrets).into_iter().map(|s| (place.clone(), s.to_owned())));
            leaks.extend(found(&told, &cookies).into_iter().map(|s| (place.clone(), s.to_owned())));
            let shown = ["/bff/session", "/bff/userinfo", "/bff/login/end"];
            if !shown.iter().any(|path| place.contains(path)) {
                let claims = found(text, &person).into_iter();
                leaks.extend(claims.map(|claim| (place.clone(), claim.to_owned())));
            }
        }
        leaks
    }

    async fn everyday_life(&mut self) {
        let bed = &self.bed;
        let mut browser = bed.logged_in().await;
        for call in [
            Call::get("/bff/session"),
            Call::get("/bff/userinfo"),
            Call::get("/bff/jwks"),
            Call::get("/api/accounts"),
            Call::get("/api/echo-headers"),
            Call::get("/api/mischief"),
            Call::get("/api/redirect"),
            Call::get("/api/challenge"),
            Call::get("/api/status/500"),
            Call::get("/nowhere"),
            Call::get("/api/../x"),
            Call::get("/api/accounts").without_custom_header(),
            Call::post("/api/payments").json(&json!({"amount": 1})),
            Call::post("/bff/refresh"),
            Call::post("/bff/login/start").form("login_hint=alice"),
            Call::post("/bff/login/start").form("redirect_uri=https%3A%2F%2Fevil.example"),
        ] {
            browser.fetch(call).await.unwrap();
        }
        bed.api.fault("/accounts", Fault::invalid_token().times(2));
        browser.fetch(Call::get("/api/accounts")).await.unwrap().expect(502).unwrap();
        bed.clock.advance(60);
        browser.fetch(Call::get("/api/accounts")).await.unwrap().expect(200).unwrap();
        // The way out through the AS and back.
        let left = browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
        let url = left.json().unwrap()["logout_url"].as_str().unwrap().to_owned();
        let on = browser.navigate(From::SameOrigin, &url).await.unwrap().expect(303).unwrap();
        assert!(on.header("location").contains("id_token_hint="), "the hint goes to the AS");
        let answer = browser.navigate(From::SameOrigin, on.header("location")).await.unwrap();
        if answer.status == 303 {
            browser.navigate(From::CrossSite, answer.header("location")).await.unwrap();
        }
        self.browsers.push(browser);
    }

    async fn navigation(&mut self) {
        let mut browser = self.bed.browser();
        let on = browser.navigate(From::SameOrigin, "/bff/login?return_to=/page").await.unwrap();
        let on = on.expect(303).unwrap();
        let back = browser.navigate(From::SameOrigin, on.header("location")).await.unwrap();
        let back = back.expect(303).unwrap();
        let home = browser.navigate(From::CrossSite, back.header("location")).await.unwrap();
        let home = home.expect(303).unwrap();
        assert_eq!(home.header("location"), format!("{}/page", self.bed.origin));
        assert!(self.bed.is_logged_in(&mut browser).await);
        // The same answer once more, as the back button would bring it.
        let again = browser.navigate(From::CrossSite, back.header("location")).await.unwrap();
        again.expect(400).unwrap();
        self.browsers.push(browser);
    }

    async fn refused_logins(&mut self) {
        let bed = &self.bed;
        for number in 0..12 {
            bed.double.behave(|as_| match number {
                0 => as_.tamper_once(Target::Jarm, Tamper::Flip),
                1 => as_.tamper_once(Target::Jarm, Tamper::AlgNone),
                2 => as_.edit_once(Target::Jarm, edits::wrong("iss")),
                3 => as_.edit_once(Target::Jarm, edits::set("exp", json!(1))),
                4 => as_.edit_once(Target::Jarm, edits::remove("code")),
                5 => as_.tamper_once(Target::IdToken, Tamper::WrongKey),
                6 => as_.edit_once(Target::IdToken, edits::wrong("nonce")),
                7 => as_.edit_once(Target::IdToken, edits::wrong("sub")),
                8 => as_.edit_once(Target::TokenResponse, edits::remove("id_token")),
                9 => as_.edit_once(Target::TokenResponse, edits::set("token_type", json!("mac"))),
                10 => as_.fault(Endpoint::Token, Fault::oauth_error(400, "invalid_grant").once()),
                _ => as_.deny = Some("access_denied".to_owned()),
            });
            let mut browser = bed.browser();
            let query = bed.response(&mut browser).await;
            let answer = bed.end(&mut browser, &query).await;
            // A changed `sub` is consistent in itself at login.
            assert!(answer.status >= 400 || number == 7, "{number}: {}", answer.status);
            bed.end(&mut browser, &query).await;
            self.browsers.push(browser);
        }
        bed.double.behave(|as_| as_.deny = None);
    }

    async fn outages(&mut self) {
        let bed = &self.bed;
        for endpoint in [Endpoint::Par, Endpoint::Token] {
            for after in [false, true] {
                let mut rule = Fault::Drop.once();
                if after {
                    rule = rule.after_handling();
                }
                bed.double.behave(|as_| as_.fault(endpoint, rule));
                let mut browser = bed.browser();
                if endpoint == Endpoint::Par {
                    let start = Call::post("/bff/login/start");
                    browser.fetch(start).await.unwrap().expect(503).unwrap();
                } else {
                    let query = bed.response(&mut browser).await;
                    bed.end(&mut browser, &query).await.expect(503).unwrap();
                }
                self.browsers.push(browser);
            }
        }
        let mut browser = bed.logged_in().await;
        for fault in
            [Fault::status(500), Fault::Truncate(20), Fault::ContentType("text/html".to_owned())]
        {
            bed.double.behave(|as_| as_.fault(Endpoint::Userinfo, fault.once()));
            let answer = browser.fetch(Call::get("/bff/userinfo")).await.unwrap();
            assert!(answer.status >= 500);
        }
        bed.api.fault("/accounts", Fault::Drop.once());
        browser.fetch(Call::get("/api/accounts")).await.unwrap().expect(502).unwrap();
        self.browsers.push(browser);
    }

    async fn refreshes(&mut self) {
        let bed = &self.bed;
        // About somebody else.
        let mut browser = bed.logged_in().await;
        bed.double.behave(|as_| as_.edit_once(Target::IdToken, edits::wrong("sub")));
        bed.clock.advance(60);
        browser.fetch(Call::get("/api/accounts")).await.unwrap().expect(503).unwrap();
        // Too late.
        let mut browser = bed.logged_in().await;
        let gate = Gate::new();
        bed.double.behave(|as_| as_.fault(Endpoint::Token, Fault::Gate(gate.clone()).once()));
        let mut tab = browser.clone();
        let held = tokio::spawn(async move {
            tab.fetch(Call::post("/bff/refresh")).await.unwrap();
            tab
        });
        soon("the token request", gate.reached(1)).await;
        browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
        gate.open();
        self.browsers.push(soon("the held call", held).await.unwrap());
        self.browsers.push(browser);
        // Dead.
        let mut browser = bed.logged_in().await;
        bed.double.revoke_all();
        bed.clock.advance(60);
        browser.fetch(Call::get("/api/accounts")).await.unwrap().expect(401).unwrap();
        self.browsers.push(browser);
    }
}

/// FAPI2-SP-6.5, FAPI2-AM-7.5/7.7, FAPI2-SP-5.3.3.1-3, PKCE-4.5, BRR-5.3, BFF-6.1-tok: one
/// life of the product in every mode, and not one secret in what it said.
#[tokio::test]
async fn no_secret_is_in_an_answer_a_log_a_metric_or_an_audit_record() {
    let mut corpus = Corpus::new().await;
    corpus.everyday_life().await;
    corpus.navigation().await;
    corpus.refused_logins().await;
    corpus.outages().await;
    corpus.refreshes().await;
    let alive = corpus.bed.logged_in().await;
    corpus.browsers.push(alive);
    let given_up = || corpus.bed.double.accepted(Endpoint::Revocation);
    until("revocations", || given_up() >= 4).await;
    corpus.gather();

    // It is a corpus worth searching.
    assert!(corpus.protocol_secrets().len() > 100);
    assert!(corpus.cookies().len() > 20);
    let log = &corpus.texts[0].1;
    assert!(log.contains("\"fapi_bff") && log.contains("jarm.") && log.contains("as.broken"));
    assert!(corpus.bed.double.events().iter().any(|event| event.outcome == Outcome::Faulted));

    let everywhere: Vec<usize> = (0..corpus.texts.len()).collect();
    assert_eq!(corpus.leaks(&everywhere), BTreeSet::new());

    // And each kind of secret would be found in each kind of place.
    let half = |secret: String| secret[..secret.len() - secret.len() / 4].to_owned();
    let planted = [
        half(corpus.protocol_secrets().remove(0)),
        half(corpus.bed.double.issued_secrets().pop().unwrap()),
        half(corpus.cookies().remove(0)),
        "alice@".to_owned(),
    ];
    for secret in planted {
        for place in 0..4 {
            let before = corpus.texts[place].1.clone();
            corpus.texts[place].1 = format!("{before}{{\"x\":\"{secret}\"}}");
            let leaks = corpus.leaks(&[place]);
            assert!(!leaks.is_empty(), "{secret} in {}", corpus.texts[place].0);
            corpus.texts[place].1 = before;
        }
    }

    // SES-7.2.1-3: the file holds sessions, and nothing that could be used or read.
    let Corpus { bed, .. } = &mut corpus;
    bed.stop().await;
    let file = std::fs::read(bed.dir.path().join("sessions.redb")).unwrap();
    let file = String::from_utf8_lossy(&file).into_owned();
    assert!(file.contains("web"), "a live session's app is readable, for counting");
    let mut secrets = parts(&corpus.protocol_secrets());
    secrets.extend(parts(&corpus.cookies()));
    secrets
        .extend(["alice", "Alice", "access_token", corpus.bed.double.issuer()].map(str::to_owned));
    secrets.extend(corpus.bed.double.sessions().into_iter().map(|(sid, _)| sid));
    assert_eq!(found(&file, &secrets), [""; 0]);
}
