//! Cookies, attribute by attribute; and every cookie that must not count as a session's.

use crate::{
    demo::{
        browser::{Answer, Call, From as Coming},
        cookies::SetCookie,
        wire,
    },
    suite::{
        hardening::acts::{at_once, leaves_cookies_alone, session_cookie},
        module::{Module, Step},
        stage::{LoginMode, SESSION_COOKIE, Stage},
    },
};

/// Every cookie an answer sets: prefix, attributes each once, none twice, small and plain.
fn lint(stage: &Stage, answer: &Answer) {
    let cookies = answer.cookies();
    let mut names: Vec<_> = cookies.iter().map(|cookie| cookie.name.as_str()).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    let message = format!("{}: no cookie is set twice", answer.request);
    stage.check("set_once", &["CK-4.1.1"], names.len() == count, message);
    for cookie in &cookies {
        let SetCookie { name, value, attributes } = cookie;
        let mut found: Vec<_> = attributes.iter().map(|(name, _)| name.as_str()).collect();
        found.sort_unstable();
        let same_site = cookie.attribute("samesite").unwrap_or_default();
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        for (check, clause, held) in [
            ("prefix", "BFF-6.1.3.2-6", name.starts_with("__Host-Http-")),
            (
                "attributes_each_once",
                "BFF-6.1.3.2-4/5",
                found == ["httponly", "max-age", "path", "samesite", "secure"],
            ),
            ("path", "CK-4.1.3.2", cookie.attribute("path") == Some("/")),
            ("same_site", "CK-SS-4", ["Strict", "Lax"].contains(&same_site)),
            ("size", "CK-5.6", name.len() + value.len() <= 4096),
            ("plain", "CK-4.1.1", value.bytes().all(plain) && !value.contains("alice")),
        ] {
            let message = format!("{}: {name}: {attributes:?}", answer.request);
            stage.check(check, &[clause], held, message);
        }
    }
}

/// A cookie of this answer must live this long under this rule.
fn lives(stage: &Stage, answer: &Answer, name: &str, same_site: &str, seconds: i64) {
    let cookies = answer.cookies();
    let found = cookies.iter().find(|cookie| cookie.name.starts_with(name));
    let held = found.is_some_and(|cookie| {
        cookie.attribute("samesite") == Some(same_site)
            && cookie.max_age() == Some(seconds)
            && (seconds > 0 || cookie.value.is_empty())
    });
    let message = format!("{}: {name} is {same_site} for {seconds} seconds", answer.request);
    stage.check("as_meant", &["BFF-6.1.3.2-3", "CK-SS-2", "CK-CLR"], held, message);
}

async fn attributes(stage: &mut Stage) -> Step {
    for (mode, same_site) in [(LoginMode::Script, "Strict"), (LoginMode::Navigation, "Lax")] {
        stage.mode = mode;
        stage.another_browser();
        let started = stage.try_start_login().await?;
        lint(stage, &started);
        lives(stage, &started, "__Host-Http-web.tx-", same_site, 600);
        let url = match mode {
            LoginMode::Script => {
                let body = started.json()?;
                crate::demo::browser::text(&body, "authorization_url").to_owned()
            }
            LoginMode::Navigation => started.location()?.into(),
        };
        let response = stage.authorize(&url).await?;
        let ended = stage.deliver(&response).await?;
        lint(stage, &ended);
        lives(stage, &ended, "__Host-Http-web.tx-", same_site, 0);
        lives(stage, &ended, SESSION_COOKIE, "Strict", 28_800);
        let handle = stage.session_cookie()?;
        let message = "the handle has 256 bits";
        stage.check("handle", &["SES-7.2.1-3"], handle.len() >= 43, message);
        let left = stage.log_out().await?;
        lint(stage, &left);
        lives(stage, &left, SESSION_COOKIE, "Strict", 0);
        lives(stage, &left, "__Host-Http-web.logout", "Lax", 300);
    }
    Ok(())
}

/// These cookies let nobody in, and the API hears nothing; the real one, alone, still does.
async fn nobody(stage: &mut Stage, cookies: Vec<Vec<String>>) -> Step {
    let before = stage.heard();
    for lines in cookies {
        let session = stage.call("GET", "/bff/session", &lines, "").await?;
        stage.expect("session", &session, 200)?;
        let logged_in = crate::suite::stage::is_logged_in(&session.json()?);
        stage.check("not_logged_in", &["CK-DUP"], !logged_in, "the BFF says: not logged in");
        for path in ["/lab/accounts", "/bff/userinfo"] {
            let answer = stage.call("GET", path, &lines, "").await?;
            stage.expect_refusal("let_nobody_in", &answer, 401, "session_missing");
        }
    }
    stage.expect_unheard(before);
    stage.reach_api().await
}

async fn other_names(stage: &mut Stage) -> Step {
    stage.login().await?;
    let mine = stage.session_cookie()?;
    let name = SESSION_COOKIE;
    let cookies = [
        format!("__Host-web={mine}"),
        format!("__Secure-web={mine}"),
        format!("web={mine}"),
        format!("__host-http-web={mine}"),
        format!("__HOST-HTTP-WEB={mine}"),
        format!("{name}2={mine}"),
        format!("{name}.tx-AAAAAAAAAAAAAAAAAAAAAA={mine}"),
        format!("{name}.logout={mine}"),
        format!("={name}={mine}"),
    ];
    nobody(stage, cookies.map(|line| vec![line]).to_vec()).await
}

async fn mangled(stage: &mut Stage) -> Step {
    stage.login().await?;
    let mine = stage.session_cookie()?;
    let name = SESSION_COOKIE;
    let shorter = mine.get(1..).unwrap_or_default();
    let cookies = [
        format!("{name}="),
        name.to_owned(),
        format!("{name}={mine}x"),
        format!("{name}={shorter}"),
        format!("{name}=\"{mine}\""),
        format!("{name}={mine}="),
        format!("{name}={}", mine.to_lowercase()),
        format!("{name}={}", "A".repeat(mine.len())),
        format!("{name}={}", "A".repeat(4_000)),
        format!("{name}=%00{mine}"),
        format!("{name}=\u{e9}{mine}"),
        format!("{name}=' OR '1'='1"),
    ];
    nobody(stage, cookies.map(|line| vec![line]).to_vec()).await
}

async fn twice(stage: &mut Stage) -> Step {
    stage.login().await?;
    let theirs = stage.session_cookie()?;
    stage.another_browser();
    stage.login().await?;
    let mine = stage.session_cookie()?;
    let name = SESSION_COOKIE;
    let tossed = format!("{name}={mine}; {name}={}", "A".repeat(mine.len()));
    let answer = stage.call("GET", "/lab/accounts", std::slice::from_ref(&tossed), "").await?;
    let held = leaves_cookies_alone(&answer);
    stage.check("deletes_nothing", &["CK-DUP"], held, "the real one may be good");
    let cookies = vec![
        vec![format!("{name}={mine}; {name}={mine}")],
        vec![format!("{name}={mine}; {name}={theirs}")],
        vec![format!("{name}={mine}"), format!("{name}={theirs}")],
        vec![format!("{name}=; {name}={mine}")],
        vec![tossed],
    ];
    nobody(stage, cookies).await
}

async fn tossed_beside(stage: &mut Stage) -> Step {
    stage.login().await?;
    let theirs = stage.session_cookie()?;
    stage.another_browser();
    stage.login().await?;
    let mine = stage.session_cookie()?;
    for beside in [
        format!("__Host-web={theirs}; {SESSION_COOKIE}={mine}; web={theirs}; junk"),
        format!("x=\u{e9}; {SESSION_COOKIE}={mine}; y=\u{1f600}"),
        format!("=; ;; {SESSION_COOKIE}={mine}; =x"),
    ] {
        let answer = stage.call("GET", "/lab/accounts", &[beside], "").await?;
        stage.expect("the_right_one_counts", &answer, 200)?;
    }
    let beside = format!("x=\u{e9}; {SESSION_COOKIE}={mine}; y=\u{1f600}");
    let answer = stage.call("POST", "/bff/logout", &[beside], "").await?;
    stage.expect("logged_out", &answer, 200)?;
    stage.given_up(2).await?;
    let alone = [format!("{SESSION_COOKIE}={mine}")];
    let answer = stage.call("GET", "/lab/accounts", &alone, "").await?;
    stage.expect_refusal("ended", &answer, 401, "session_missing");
    Ok(())
}

async fn of_another_app(stage: &mut Stage) -> Step {
    stage.login().await?;
    let mine = stage.session_cookie()?;
    let nobody = stage.world.browser();
    let before = stage.heard();
    for name in ["__Host-Http-other", SESSION_COOKIE] {
        let cookie = format!("Cookie: {name}={mine}");
        let lines = [cookie.as_str(), "Connection: close"];
        let request =
            wire::head("https://other.localhost", &nobody, "GET", "/lab/accounts", &lines);
        let line = stage.world.line().await?;
        let answer = line.exchange(&request).await?;
        let held = answer.starts_with("HTTP/1.1 401") && answer.contains("session_missing");
        let message =
            format!("{name} at the other app -> {}", answer.get(..12).unwrap_or("nothing"));
        stage.check("no_session_there", &["SES-7.2.1-3", "CK-4.1.3.2"], held, message);
    }
    stage.expect_unheard(before);
    stage.reach_api().await
}

async fn fixation(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Script;
    // The attacker's own live session, and a handle that was never given out.
    stage.login().await?;
    let live = stage.session_cookie()?;
    let mut attacker = stage.another_browser();
    for planted in [live, "A".repeat(48)] {
        let cookie = format!("{SESSION_COOKIE}={planted}");
        let started =
            stage.call("POST", "/bff/login/start", std::slice::from_ref(&cookie), "").await?;
        stage.expect("login_started", &started, 200)?;
        let transactions = started.cookies();
        let under_way: Vec<_> =
            transactions.iter().map(|c| format!("{}={}", c.name, c.value)).collect();
        let url = crate::demo::browser::text(&started.json()?, "authorization_url").to_owned();
        let response = stage.authorize(&url).await?;
        let cookies = [format!("{cookie}; {}", under_way.join("; "))];
        let ended = stage.call("POST", "/bff/login/end", &cookies, &response.query).await?;
        stage.expect("login_ended", &ended, 200)?;
        let given = ended.cookies().into_iter().find(|c| c.name == SESSION_COOKIE);
        let fresh = given.is_some_and(|given| given.value != planted && given.value.len() >= 43);
        stage.check("new_handle", &["SES-7.2.4"], fresh, "the login gives a handle of its own");
        let answer = stage.call("GET", "/lab/accounts", &[cookie], "").await?;
        stage.expect_refusal("planted_is_useless", &answer, 401, "session_missing");
    }
    stage.given_up(2).await?;
    let answer = attacker.fetch(Call::get("/lab/accounts")).await?;
    stage.expect_refusal("attacker_is_out", &answer, 401, "session_missing");
    stage.expect_api_asked("/accounts", 0);
    Ok(())
}

async fn many_calls(stage: &mut Stage) -> Step {
    stage.login().await?;
    let handle = session_cookie(&stage.browser);
    let answers = at_once(&stage.browser, &Call::get("/lab/accounts"), 50).await?;
    for answer in &answers {
        stage.expect("api", answer, 200)?;
        let held = leaves_cookies_alone(answer);
        stage.check("sets_no_cookie", &["CK-RACE"], held, "a call changes no cookie");
    }
    // Nor does the page load that comes from another site.
    let answer = stage.go(Coming::CrossSite, "/none").await?;
    stage.check("page_sets_none", &["CK-SS-1"], leaves_cookies_alone(&answer), "nor a page load");
    let same = session_cookie(&stage.browser) == handle;
    stage.check("same_handle", &["CK-RACE"], same, "the handle changes only at a login");
    Ok(())
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        Module::new(
            "session-cookie-attributes",
            "A browser keeps every cookie of two logins and logouts and looks at each attribute.",
            "set each once, for this host, Secure, HttpOnly, with SameSite; delete likewise",
            &["BFF-6.1.3.2-1/2", "BFF-6.1.3.2-3", "BFF-6.1.3.2-4/5", "BFF-6.1.3.2-6", "CK-CLR"],
            |stage| Box::pin(attributes(stage)),
        )
        .reasons(&[]),
        Module::new(
            "session-cookie-under-another-name",
            "The right handle comes under names that are nearly the cookie's.",
            "let nobody in by it",
            &["BFF-6.1.3.2-6"],
            |stage| Box::pin(other_names(stage)),
        )
        .reasons(&[]),
        Module::new(
            "session-cookie-mangled",
            "The session's cookie comes cut, longer, quoted, in other letters, or as an injection.",
            "let nobody in, without an error of one's own",
            &["SES-7.2.1-3", "CK-6.1"],
            |stage| Box::pin(mangled(stage)),
        )
        .reasons(&[]),
        Module::new(
            "session-cookie-twice",
            "The session's cookie comes twice, as a sibling domain could toss it.",
            "let nobody in, and delete neither",
            &["CK-DUP"],
            |stage| Box::pin(twice(stage)),
        )
        .reasons(&[]),
        Module::new(
            "session-cookie-with-junk-beside",
            "A sibling domain puts other cookies, in other scripts, beside the session's.",
            "see the session all the same, and end it when asked",
            &["SES-7.4", "CK-6.1"],
            |stage| Box::pin(tossed_beside(stage)),
        )
        .reasons(&[]),
        Module::new(
            "session-of-another-app",
            "A handle of one app is sent to another app of the same BFF.",
            "know no session there",
            &["SES-7.2.1-3", "BFF-9/5"],
            |stage| Box::pin(of_another_app(stage)),
        )
        .configured(
            "# An API that shows",
            "[apps.other]\norigin = \"https://other.localhost\"\n\n[[apps.other.routes]]\n\
             path = \"/lab\"\nupstream = \"{lab}\"\ntrust_roots = [\"ca.pem\"]\n\
             networks = [\"loopback\"]\n\n# An API that shows",
        )
        .reasons(&[]),
        Module::new(
            "session-fixation",
            "A handle is planted before a login: the attacker's own, and one never given out.",
            "give the login a handle of its own, and make the planted one useless",
            &["SES-7.2.4", "DRAFT-9700U-2"],
            |stage| Box::pin(fixation(stage)),
        )
        .reasons(&[]),
        Module::new(
            "session-handle-does-not-change-on-calls",
            "Fifty calls come in parallel.",
            "answer all of them and set no cookie",
            &["CK-RACE"],
            |stage| Box::pin(many_calls(stage)),
        )
        .reasons(&[]),
    ]
}
