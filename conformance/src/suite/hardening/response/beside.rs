//! What stands beside the signed response, instead of it, or twice; and responses that are no JWT.

use super::super::{
    change::{Change, change, parameters},
    forge::{Draft, signed_anew},
    refusal::{Refusal, Wrong, mangled, refuse_response, response, taken, with_query},
};
use crate::{
    as_double::{Endpoint, Target},
    suite::{
        module::{Module, Step},
        stage::{LoginMode, Stage},
    },
};

const ONLY: &[&str] = &["JARM-2.3", "FAPI2-MS-5.4.2-2"];

/// A parameter beside the signed response, by the authorization server's own hand.
fn beside(name: &'static str, value: &'static str) -> Change {
    parameters(move |all| all.push((name.to_owned(), value.to_owned())))
}

/// The response replaced as a whole.
fn instead(make: fn(&str) -> String) -> Change {
    parameters(move |all| {
        for (name, value) in all {
            if name == "response" {
                *value = make(value);
            }
        }
    })
}

pub(super) fn modules() -> Vec<Module> {
    [besides(), downgrades(), malformed()].into_iter().flatten().collect()
}

fn besides() -> Vec<Module> {
    let extra = Refusal::rejected("jarm.extra_parameters");
    vec![
        response(
            &Wrong("jarm-beside-plain-code", "A plain code stands beside the response.", ONLY),
            extra,
            beside("code", "another-code"),
        ),
        response(
            &Wrong("jarm-beside-plain-state", "A plain state stands beside the response.", ONLY),
            extra,
            beside("state", "another-state"),
        ),
        response(
            &Wrong("jarm-beside-plain-error", "A plain error stands beside the response.", ONLY),
            extra,
            beside("error", "access_denied"),
        ),
        response(
            &Wrong("jarm-beside-plain-token", "A plain token stands beside the response.", ONLY),
            extra,
            beside("access_token", "from-the-front-channel"),
        ),
        response(
            &Wrong(
                "jarm-beside-another-issuer",
                "A plain iss beside the response is another issuer.",
                &["FAPI2-MS-5.4.1-N", "ISS-2.4-1", "ISS-2.4-4"],
            ),
            Refusal::rejected("jarm.issuer_mismatch"),
            beside("iss", "https://evil.example/"),
        ),
        mangled(
            &Wrong(
                "jarm-twice",
                "The same response stands twice in the address.",
                &["OA-3.1", "JARM-2.3"],
            ),
            Refusal::rejected("response.duplicate_parameter"),
            |response| format!("{0}&{0}", response.query),
        ),
        mangled(
            &Wrong(
                "jarm-beside-two-issuers",
                "A plain iss stands twice beside the response.",
                &["OA-3.1", "FAPI2-SP-5.3.3.2-5"],
            ),
            Refusal::rejected("response.duplicate_parameter"),
            |response| format!("{}&iss=a&iss=b", response.query),
        ),
        taken(
            &Wrong(
                "jarm-beside-what-is-harmless",
                "An unknown parameter stands beside the response.",
                &["FAPI2-MS-5.4.1-N"],
            ),
            beside("session_state", "anything"),
        ),
    ]
}

fn downgrades() -> Vec<Module> {
    const PLAIN: &[&str] = &["FAPI2-MS-5.4.2-2", "JARM-2.3", "OIDC-3.1.2.7"];
    let missing = Refusal::rejected("jarm.missing");
    vec![
        response(
            &Wrong(
                "jarm-downgraded-to-plain-code",
                "The authorization server answers with plain code, state and iss.",
                PLAIN,
            ),
            missing,
            parameters(|all| {
                let token = all.iter().find(|(name, _)| name == "response");
                let claims = token.and_then(|(_, token)| crate::jws::peek(token).ok());
                let claims = claims.map(|(_, claims)| claims).unwrap_or_default();
                *all = ["code", "state", "iss"]
                    .iter()
                    .filter_map(|name| {
                        let value = claims.get(*name).and_then(|value| value.as_str())?;
                        Some(((*name).to_owned(), value.to_owned()))
                    })
                    .collect();
            }),
        ),
        response(
            &Wrong(
                "jarm-unsigned-error",
                "The authorization server answers with an unsigned error, state and iss.",
                PLAIN,
            ),
            missing,
            change(|behaviour| behaviour.unsigned_error = Some("access_denied".to_owned())),
        ),
        response(
            &Wrong("jarm-absent", "The authorization server answers with nothing at all.", PLAIN),
            missing,
            parameters(Vec::clear),
        ),
    ]
}

fn malformed() -> Vec<Module> {
    const STRICT: &[&str] = &["JWT-BIS-3.13/3.14", "JWT-PARSE"];
    let malformed = Refusal::rejected("jarm.malformed");
    let row = |id, does, make: fn(&str) -> String| {
        response(&Wrong(id, does, STRICT), malformed, instead(make))
    };
    vec![
        row("jarm-empty", "The response is empty.", |_| String::new()),
        row("jarm-in-two-parts", "The response lacks its signature and the dot.", |token| {
            token.rsplit_once('.').map(|(input, _)| input.to_owned()).unwrap_or_default()
        }),
        row("jarm-in-four-parts", "The response has a fourth part.", |token| format!("{token}.x")),
        row("jarm-padded", "The response's parts are padded base64url.", |token| {
            format!("{token}==")
        }),
        row("jarm-with-line-break", "The response ends with a line break.", |token| {
            format!("{token}\n")
        }),
        response(
            &Wrong(
                "jarm-in-other-alphabet",
                "The right signature is written in the alphabet of plain base64.",
                STRICT,
            ),
            malformed,
            signed_anew(Target::Jarm, in_other_alphabet),
        ),
        row("jarm-as-json", "The response is in the JSON serialisation.", |token| {
            let mut parts = token.split('.');
            let mut part = || parts.next().unwrap_or_default();
            let (protected, payload, signature) = (part(), part(), part());
            serde_json::json!({"protected": protected, "payload": payload, "signature": signature})
                .to_string()
        }),
        response(
            &Wrong(
                "jarm-in-five-parts",
                "The response has the five parts of an encrypted token.",
                &["JWT-3.3", "FAPI2-MS-6.1"],
            ),
            Refusal::rejected("jarm.encrypted"),
            instead(|_| "a.b.c.d.e".to_owned()),
        ),
        mangled(
            &Wrong("jarm-not-utf8", "The response is not UTF-8.", &["JWT-PARSE"]),
            Refusal::rejected("response.form_malformed"),
            |response| format!("{}%FF", response.query),
        ),
        Module::new(
            "jarm-oversized",
            "The response is larger than 16 KiB.",
            "stop: no token request, no session",
            &["JWT-PARSE"],
            |stage| Box::pin(oversized(stage)),
        )
        .reasons(&["jarm.too_large"]),
    ]
}

/// A rightly signed response whose signature is plain base64: the same bytes, and not base64url. Every
/// signature is another, so that one which differs between the alphabets soon comes.
fn in_other_alphabet(draft: &Draft<'_>) -> String {
    let sign = || draft.signed(&draft.header_text(), &draft.claims_text());
    let differs = |token: &String| {
        token.rsplit_once('.').is_some_and(|(_, signature)| signature.contains(['-', '_']))
    };
    let token = std::iter::repeat_with(sign).take(1000).find(differs).unwrap_or_default();
    let (input, signature) = token.rsplit_once('.').unwrap_or_default();
    format!("{input}.{}", signature.replace('-', "+").replace('_', "/"))
}

/// By script: an address of this size reaches no server at all.
async fn oversized(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Script;
    let response = stage.response().await?;
    let long = with_query(&response, format!("response=a.{}.c", "a".repeat(17_000)));
    refuse_response(stage, Refusal::rejected("jarm.too_large"), &long).await?;
    let redeemed = stage.world.double.count(Endpoint::Token);
    stage.check("nothing_redeemed", &[], redeemed == 0, format!("{redeemed} token requests"));
    Ok(())
}
