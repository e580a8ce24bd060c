//! What only the pushed authorization request endpoint can get wrong.

use serde_json::{Value, json};
use url::Url;

use super::super::{
    change::{Change, edit, fault},
    refusal::{Refusal, Wrong, start},
};
use crate::{
    as_double::{Endpoint, Fault, Target, edits},
    suite::{
        module::{Halt, Module, Step},
        stage::Stage,
        world::CLIENT_ID,
    },
};

const P: Target = Target::ParResponse;
const CLAUSES: &[&str] = &["PAR-2.2", "FAPI2-SP-5.3.3.2-2"];

pub(super) fn modules() -> Vec<Module> {
    [statuses(), lifetimes(), references(), taken_references()].into_iter().flatten().collect()
}

fn row(id: &str, does: &str, reason: &'static str, change: Change) -> Module {
    start(&Wrong(id, does, CLAUSES), Refusal::wrong(reason), change)
}

fn statuses() -> Vec<Module> {
    let good = json!({"request_uri": "urn:ietf:params:oauth:request_uri:x", "expires_in": 60});
    let no = json!({"error": "invalid_request", "error_description": "<b>at line 7 of par.rs</b>"});
    vec![
        row(
            "par-answers-200",
            "The answer to the pushed request is right but for its status, 200.",
            "as_answer.status_unexpected",
            fault(Endpoint::Par, Fault::json(200, &good)),
        ),
        row(
            "par-says-no-at-length",
            "The pushed request is refused with a description full of detail and markup.",
            "as.rejected",
            fault(Endpoint::Par, Fault::json(400, &no)),
        ),
        row(
            "par-does-not-know-the-client",
            "The pushed request is refused with invalid_client.",
            "as.rejected",
            fault(Endpoint::Par, Fault::oauth_error(401, "invalid_client")),
        ),
        row(
            "par-too-large-for-a-proxy",
            "A proxy in front of the endpoint answers 413 with a page of its own.",
            "as.rejected",
            fault(Endpoint::Par, super::answer(413, "text/html", "<h1>Too large</h1>")),
        ),
        row(
            "par-member-twice",
            "The answer to the pushed request has request_uri twice.",
            "as_answer.duplicate_member",
            fault(
                Endpoint::Par,
                super::answer(
                    201,
                    "application/json",
                    r#"{"request_uri":"urn:a:b","request_uri":"urn:c:d","expires_in":60}"#,
                ),
            ),
        ),
    ]
}

fn lifetimes() -> Vec<Module> {
    let set = |id, does, value: Value, reason| {
        row(id, does, reason, edit(P, edits::set("expires_in", value)))
    };
    vec![
        row(
            "par-expires-never",
            "The pushed request's answer has no expires_in.",
            "as_answer.member_missing",
            edit(P, edits::remove("expires_in")),
        ),
        set(
            "par-expires-at-once",
            "The pushed request's expires_in is 0.",
            json!(0),
            "as_answer.member_value",
        ),
        set(
            "par-expires-before",
            "The pushed request's expires_in is negative.",
            json!(-60),
            "as_answer.member_value",
        ),
        set(
            "par-expires-in-words",
            "The pushed request's expires_in is a string.",
            json!("60"),
            "as_answer.member_type",
        ),
    ]
}

fn references() -> Vec<Module> {
    let set = |id, does, value: Value, reason| {
        row(id, does, reason, edit(P, edits::set("request_uri", value)))
    };
    let value = "as_answer.member_value";
    vec![
        row(
            "par-without-request-uri",
            "The pushed request's answer has no request_uri.",
            "as_answer.member_missing",
            edit(P, edits::remove("request_uri")),
        ),
        set("par-request-uri-empty", "The request_uri is empty.", json!(""), value),
        set(
            "par-request-uri-in-an-array",
            "The request_uri stands in an array.",
            json!(["urn:a:b"]),
            "as_answer.member_type",
        ),
        set(
            "par-request-uri-as-script",
            "The request_uri is a javascript: address.",
            json!("javascript:alert(1)"),
            value,
        ),
        set(
            "par-request-uri-over-http",
            "The request_uri is an address without TLS.",
            json!("http://as.localhost/request"),
            value,
        ),
        set(
            "par-request-uri-with-line-break",
            "The request_uri holds a line break and a header.",
            json!("urn:a:b\r\nset-cookie: a=b"),
            value,
        ),
        set(
            "par-request-uri-too-long",
            "The request_uri has more than 512 characters.",
            json!(format!("urn:{}", "a".repeat(600))),
            value,
        ),
    ]
}

/// Whatever the reference is, it is one parameter of the server's own address and nothing more.
fn taken_references() -> Vec<Module> {
    let row = |id, does, reference: &'static str| {
        let must = "send the browser to the authorization endpoint, the reference encoded";
        let clauses = &["FAPI2-SP-5.3.3.2-6", "PAR-4"];
        let script =
            Module::new(id, does, must, clauses, move |stage| Box::pin(referred(stage, reference)));
        edit(P, edits::set("request_uri", json!(reference))).throughout(script.reasons(&[]))
    };
    vec![
        row(
            "par-request-uri-elsewhere",
            "The request_uri is an https address on another host.",
            "https://evil.example/request",
        ),
        row(
            "par-request-uri-with-parameters",
            "The request_uri looks like more parameters and a fragment.",
            "urn:a:b&client_id=another&scope=admin#fragment",
        ),
    ]
}

async fn referred(stage: &mut Stage, reference: &str) -> Step {
    let there = stage.start_login().await?;
    let url = Url::parse(&there).map_err(|_| Halt::Trouble("no address".to_owned()))?;
    let own = stage.world.double.url(Endpoint::Authorize);
    let base = there.split('?').next().unwrap_or_default();
    stage.check("authorization_endpoint", &[], base == own, "the address is the server's own");
    let found: Vec<_> = url.query_pairs().into_owned().collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = vec![pair("client_id", CLIENT_ID), pair("request_uri", reference)];
    let held = found == expected && url.fragment().is_none();
    let message = "client_id and request_uri, nothing else";
    stage.check("authorization_url", &["FAPI2-SP-5.3.3.2-6"], held, message);
    Ok(())
}
