//! The way back from the authorization server by navigation: top level only, once, leaving no trace.

use url::Url;

use crate::{
    as_double::Endpoint,
    demo::browser::From as Coming,
    suite::{
        hardening::acts::leaves_cookies_alone,
        module::{Module, Step},
        stage::{LoginMode, Raw, Response, Stage},
    },
};

/// A navigation under way: its answer, the path it comes to, and the cookie that opens it.
async fn under_way(stage: &mut Stage) -> Step<(Response, String, String)> {
    stage.mode = LoginMode::Navigation;
    let response = stage.response().await?;
    let path = format!("/bff/callback?{}", response.query);
    let (name, value) = stage.transaction()?;
    Ok((response, path, format!("{name}={value}")))
}

async fn in_a_frame(stage: &mut Stage) -> Step {
    let (response, path, cookie) = under_way(stage).await?;
    for (site, mode, dest) in [
        ("cross-site", "navigate", "iframe"),
        ("same-origin", "navigate", "iframe"),
        ("cross-site", "navigate", "object"),
        ("cross-site", "navigate", "embed"),
        ("cross-site", "no-cors", "image"),
        ("same-origin", "cors", "empty"),
        ("cross-site", "no-cors", "script"),
    ] {
        let headers = vec![
            ("sec-fetch-site", site.to_owned()),
            ("sec-fetch-mode", mode.to_owned()),
            ("sec-fetch-dest", dest.to_owned()),
            ("cookie", cookie.clone()),
        ];
        let raw = Raw { method: "GET", path: &path, headers, body: String::new() };
        let answer = stage.send(raw).await?;
        stage.expect_page(&answer, 403);
        let message = format!("{site} {mode} {dest} uses nothing up");
        stage.check("cookies", &["FM-3"], leaves_cookies_alone(&answer), message);
        stage.expect_record("guard.reject", "rejected", "guard.not_a_navigation");
    }
    stage.expect_asked(Endpoint::Token, 0);
    let answer = stage.deliver(&response).await?;
    stage.expect("still_good", &answer, 303)?;
    stage.expect_asked(Endpoint::Token, 1);
    Ok(())
}

async fn other_methods(stage: &mut Stage) -> Step {
    let (response, path, cookie) = under_way(stage).await?;
    for method in ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
        let headers = vec![
            ("sec-fetch-site", "cross-site".to_owned()),
            ("sec-fetch-mode", "navigate".to_owned()),
            ("sec-fetch-dest", "document".to_owned()),
            ("cookie", cookie.clone()),
        ];
        let raw = Raw { method, path: &path, headers, body: String::new() };
        let answer = stage.send(raw).await?;
        stage.expect("no_such_method", &answer, 405)?;
        let held = leaves_cookies_alone(&answer) && answer.header("location").is_empty();
        stage.check("nothing_done", &["CORS-4"], held, format!("{method} does nothing"));
    }
    stage.expect_asked(Endpoint::Token, 0);
    let answer = stage.deliver(&response).await?;
    stage.expect("still_good", &answer, 303)
}

async fn without_a_trace(stage: &mut Stage) -> Step {
    let (response, ..) = under_way(stage).await?;
    let token = response.token()?;
    let answer = stage.deliver(&response).await?;
    stage.expect("see_other", &answer, 303)?;
    let location: Url = answer.location()?;
    let message = format!("the browser goes on to {location}");
    let clean = location.query().is_none() && location.fragment().is_none();
    stage.check("address_is_clean", &["BFF-6.1.2.1-cb/out", "FAPI2-SP-6.5"], clean, message);
    let told = format!("{:?}{}", answer.headers, String::from_utf8_lossy(&answer.body));
    let secrets = stage.world.secrets();
    let silent = !told.contains(&token) && secrets.iter().all(|secret| !told.contains(secret));
    let message = "neither answer nor code is repeated";
    stage.check("repeats_nothing", &["FAPI2-SP-6.5"], silent, message);
    for (name, value) in [("cache-control", "no-store"), ("referrer-policy", "no-referrer")] {
        let found = answer.header(name);
        let message = format!("{name} is {found:?}; {value:?} expected");
        stage.check("headers", &["FAPI2-SP-6.5", "BCP-4.2.4"], found == value, message);
    }
    stage.check("no_content", &[], answer.body.is_empty(), "there is nothing to render");
    // The same answer once more, as the back button would bring it.
    let again = stage.deliver(&response).await?;
    stage.expect_page(&again, 400);
    stage.expect_record("login.end", "rejected", "transaction.missing");
    stage.expect_asked(Endpoint::Token, 1);
    stage.expect_session("a replay ends no session").await
}

async fn out_of_nowhere(stage: &mut Stage) -> Step {
    stage.settled(1).await?;
    for query in [
        "",
        "?response=zebra",
        "?response=zebra&response=zebra",
        "?response=a.b.c&zebra=%3Cscript%3Ezebra%3C/script%3E",
        "?error=zebra&error_description=%3Cimg%20src=zebra%3E&state=zebra",
        "?code=zebra&state=zebra&iss=zebra",
        "?response=%22%3E%3Csvg/onload=zebra%3E",
        "?response=%ff%fe",
    ] {
        stage.another_browser();
        let answer = stage.go(Coming::CrossSite, &format!("/bff/callback{query}")).await?;
        stage.expect_page(&answer, 400);
        let told = format!("{:?}{}", answer.headers, String::from_utf8_lossy(&answer.body));
        let silent = ["zebra", "<script", "<img", "<svg"].iter().all(|part| !told.contains(part));
        let message = format!("{query:?} is not repeated");
        stage.check("repeats_nothing", &["OA-5.2"], silent, message);
        let held = leaves_cookies_alone(&answer);
        stage.check("no_cookie", &[], held, "nothing is set");
    }
    stage.expect_asked(Endpoint::Token, 0);
    Ok(())
}

async fn page_without_the_answer(stage: &mut Stage) -> Step {
    stage.settled(1).await?;
    for (address, expected) in [("/?response=a.b.c", "[]"), ("/?view=all", "[[\"view\",\"all\"]]")]
    {
        let answer = stage.go(Coming::CrossSite, address).await?;
        stage.expect("page", &answer, 200)?;
        let found = answer.json()?.get("query").map(ToString::to_string).unwrap_or_default();
        let message = format!("{address} reaches whoever serves the page as {found}");
        stage.check("page_is_told_nothing", &["FAPI2-SP-6.5"], found == expected, message);
        let kept_back = answer.header("referrer-policy") == "no-referrer";
        let is_answer = expected == "[]";
        let message = "an address with an answer in it is no referrer";
        stage.check("no_referrer", &["FAPI2-SP-6.5"], kept_back || !is_answer, message);
        let held = answer.header("cache-control") == "no-store" || !is_answer;
        stage.check("no_store", &["FAPI2-SP-6.5"], held, "and is kept by nobody");
    }
    Ok(())
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        Module::new(
            "login-callback-in-a-frame",
            "The response comes back in a frame, as an image or by script.",
            "refuse it there, use nothing up, and take it from a top-level navigation",
            &["FM-3", "BCP-4.16"],
            |stage| Box::pin(in_a_frame(stage)),
        )
        .reasons(&["guard.not_a_navigation"]),
        Module::new(
            "login-callback-by-other-methods",
            "The response comes back by HEAD, POST, PUT, DELETE and OPTIONS.",
            "do nothing, use nothing up, and take it by GET",
            &["FM-3", "CORS-4"],
            |stage| Box::pin(other_methods(stage)),
        )
        .reasons(&[]),
        Module::new(
            "login-callback-leaves-no-trace",
            "The response comes back by navigation, and once more by the back button.",
            "answer 303 to a clean address, with nothing kept, referred to or repeated",
            &["FAPI2-SP-6.5", "BCP-4.12", "BCP-4.2.4", "BFF-6.1.2.1-cb/out"],
            |stage| Box::pin(without_a_trace(stage)),
        )
        .reasons(&["transaction.missing"]),
        Module::new(
            "login-callback-out-of-nowhere",
            "Browsers that started no login come back with markup in every parameter.",
            "show a locked page that repeats nothing",
            &["OA-5.2", "HDR-3/4", "BCP-4.16"],
            |stage| Box::pin(out_of_nowhere(stage)),
        )
        .reasons(&["transaction.missing", "response.parameter_missing"]),
        Module::new(
            "login-page-is-told-no-answer",
            "The page that a login by script returns to is served by somebody else.",
            "fetch it without the response in its address",
            &["FAPI2-SP-6.5", "BCP-4.2.4"],
            |stage| Box::pin(page_without_the_answer(stage)),
        )
        .configured(
            "# An API that shows",
            "[[apps.web.routes]]\npath = \"/\"\naccess = \"public\"\n\
             upstream = \"{lab}/echo-headers\"\ntrust_roots = [\"ca.pem\"]\n\
             networks = [\"loopback\"]\n\n# An API that shows",
        )
        .reasons(&[]),
    ]
}
