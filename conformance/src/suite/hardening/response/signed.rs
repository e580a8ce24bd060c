//! Responses with something wrong about their header or signature. Where the client must parse
//! strictly, the signature is right: only strictness can refuse them.

use serde_json::json;

use super::{
    super::{
        change::{Change, header, signature, tamper},
        forge::{der_signature, duplicate_claim, duplicate_header, signed_anew},
        refusal::{Refusal, Wrong, response},
    },
    J,
};
use crate::{
    as_double::{Endpoint, Tamper},
    jws::random_token,
    suite::{
        module::{Module, Step},
        stage::Stage,
    },
};

pub(super) fn modules() -> Vec<Module> {
    let flood = Module::new(
        "jarm-flood-of-unknown-keys",
        "Thirty responses name thirty keys that nobody knows.",
        "refuse all; ask for the key set once more at the most",
        &["JWK-ROT", "JWT-3.10"],
        |stage| Box::pin(flood_of_keys(stage)),
    )
    .reasons(&["jarm.key_unknown"])
    .timed();
    let mut all = vec![flood];
    all.extend(headers());
    all.extend(algorithms());
    all.extend(signatures());
    all.extend(structures());
    all
}

fn headers() -> Vec<Module> {
    const OWN_KEY: &[&str] = &["JWT-3.10", "FAPI2-SP-5.4.2"];
    let forbidden = Refusal::rejected("jarm.header_not_allowed");
    let row = |id, does, clauses, members: serde_json::Value| {
        response(&Wrong(id, does, clauses), forbidden, header(J, &members))
    };
    let typ = |id, does, typ: &str| {
        let refusal = Refusal::rejected("jarm.typ_not_allowed");
        response(&Wrong(id, does, &["JWT-3.11"]), refusal, header(J, &json!({"typ": typ})))
    };
    vec![
        row(
            "jarm-with-jku",
            "The signed response's header names a key set of its own (jku).",
            OWN_KEY,
            json!({"jku": "https://127.0.0.1:1/jwks"}),
        ),
        row(
            "jarm-with-x5u",
            "The header names a certificate of its own (x5u).",
            OWN_KEY,
            json!({"x5u": "https://127.0.0.1:1/certificate"}),
        ),
        response(
            &Wrong(
                "jarm-with-own-key",
                "The response is signed by the very key its header brings along (jwk).",
                OWN_KEY,
            ),
            forbidden,
            signed_anew(J, |draft| {
                let mut header = draft.header.clone();
                header.insert("jwk".to_owned(), draft.public_jwk());
                draft.signed(&serde_json::Value::Object(header).to_string(), &draft.claims_text())
            }),
        ),
        row(
            "jarm-crit-empty",
            "The header's crit is an empty array.",
            &["JWT-PARSE"],
            json!({"crit": []}),
        ),
        row(
            "jarm-crit-unknown",
            "The header has a critical member that nobody knows.",
            &["JWT-PARSE"],
            json!({"crit": ["exp"], "exp": 0}),
        ),
        row(
            "jarm-unencoded",
            "The header says that the payload is not encoded (b64).",
            &["JWT-PARSE"],
            json!({"b64": false, "crit": ["b64"]}),
        ),
        row(
            "jarm-compressed",
            "The header says that the payload is compressed (zip).",
            &["JWT-3.6"],
            json!({"zip": "DEF"}),
        ),
        typ("jarm-typed-as-access-token", "The response's typ is at+jwt.", "at+jwt"),
        typ("jarm-typed-as-logout-token", "The response's typ is logout+jwt.", "logout+jwt"),
        typ(
            "jarm-typed-as-request-object",
            "The response's typ is oauth-authz-req+jwt.",
            "application/oauth-authz-req+jwt",
        ),
        response(
            &Wrong(
                "jarm-kid-as-path",
                "The response's kid is a path and a query for whoever looks keys up carelessly.",
                &["JWT-3.10"],
            ),
            Refusal::rejected("jarm.key_unknown"),
            header(J, &json!({"kid": "../../../../etc/passwd' OR '1'='1"})),
        ),
        response(
            &Wrong("jarm-kid-huge", "The response's kid has 8000 characters.", &["JWT-3.10"]),
            Refusal::rejected("jarm.malformed"),
            header(J, &json!({"kid": "k".repeat(8_000)})),
        ),
        response(
            &Wrong("jarm-kid-as-number", "The response's kid is a number.", &["JWT-3.10"]),
            Refusal::rejected("jarm.malformed"),
            header(J, &json!({"kid": 7})),
        ),
    ]
}

fn algorithms() -> Vec<Module> {
    const ALG: &[&str] = &["FAPI2-SP-5.4.1-1.2", "JWT-3.1"];
    let row = |id, does, change: Change| {
        response(&Wrong(id, does, ALG), Refusal::rejected("jarm.alg_not_allowed"), change)
    };
    vec![
        row(
            "jarm-hs256-keyed-with-jwk",
            "The response has a right MAC, keyed with the text of the server's public key.",
            signed_anew(J, |draft| draft.maced(draft.public_jwk().to_string().as_bytes())),
        ),
        row(
            "jarm-hs256-keyed-with-pem",
            "The response has a right MAC, keyed with the server's public key as PEM.",
            signed_anew(J, |draft| draft.maced(draft.public_pem().as_bytes())),
        ),
        row(
            "jarm-alg-in-lower-case",
            "The response's alg is es256, its signature right.",
            header(J, &json!({"alg": "es256"})),
        ),
        row(
            "jarm-alg-none-in-mixed-case",
            "The response's alg is nOnE and its signature empty.",
            signed_anew(J, |draft| {
                let token = draft.signed(r#"{"alg":"nOnE","typ":"JWT"}"#, &draft.claims_text());
                token.rsplit_once('.').map(|(input, _)| format!("{input}.")).unwrap_or_default()
            }),
        ),
        row(
            "jarm-alg-of-another-curve",
            "The response's alg is ES256K over a key on P-256.",
            header(J, &json!({"alg": "ES256K"})),
        ),
    ]
}

fn signatures() -> Vec<Module> {
    const SIGNATURE: &[&str] = &["JARM-2.4-5", "JWT-3.4"];
    let row = |id, does, change: Change| {
        response(&Wrong(id, does, SIGNATURE), Refusal::rejected("jarm.signature_invalid"), change)
    };
    vec![
        row(
            "jarm-signed-by-another-key",
            "The response names the right key and is signed by another.",
            tamper(J, Tamper::WrongKey),
        ),
        row(
            "jarm-signature-as-der",
            "The right signature comes as DER, as most libraries make it.",
            signature(J, der_signature),
        ),
        row(
            "jarm-signature-of-zeros",
            "The signature is 64 zeros, which a careless curve takes for any message.",
            signature(J, |right| vec![0; right.len()]),
        ),
        row(
            "jarm-signature-cut-short",
            "The signature lacks its last byte.",
            signature(J, |right| right.split_last().map(|(_, r)| r.to_vec()).unwrap_or_default()),
        ),
        row(
            "jarm-signature-with-more",
            "The right signature is followed by a zero.",
            signature(J, |right| [right, &[0]].concat()),
        ),
        row("jarm-signature-absent", "The signature is empty.", signature(J, |_| Vec::new())),
    ]
}

fn structures() -> Vec<Module> {
    const STRICT: &[&str] = &["JWT-PARSE", "JWT-BIS-3.13/3.14"];
    let row = |id, does, reason, change: Change| {
        response(&Wrong(id, does, STRICT), Refusal::rejected(reason), change)
    };
    vec![
        row(
            "jarm-claim-twice",
            "The rightly signed response has iss twice, first another's, then its own.",
            "jarm.duplicate_member",
            duplicate_claim(J, "iss"),
        ),
        row(
            "jarm-header-member-twice",
            "The rightly signed response's header has typ twice.",
            "jarm.duplicate_member",
            duplicate_header(J, "typ"),
        ),
        row(
            "jarm-claims-in-an-array",
            "The rightly signed response's claims stand in an array.",
            "jarm.claims_malformed",
            signed_anew(J, |draft| {
                draft.signed(&draft.header_text(), &format!("[{}]", draft.claims_text()))
            }),
        ),
        row(
            "jarm-claims-and-more",
            "The rightly signed response's claims are followed by another object.",
            "jarm.claims_malformed",
            signed_anew(J, |draft| {
                draft.signed(&draft.header_text(), &format!("{}{{}}", draft.claims_text()))
            }),
        ),
        row(
            "jarm-claims-nested-deeply",
            "A claim of the rightly signed response is nested a thousand levels deep.",
            "jarm.claims_malformed",
            signed_anew(J, |draft| {
                let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
                let rest = draft.claims_text();
                let rest = rest.strip_prefix('{').unwrap_or_default();
                draft.signed(&draft.header_text(), &format!("{{\"deep\":{deep},{rest}"))
            }),
        ),
    ]
}

async fn flood_of_keys(stage: &mut Stage) -> Step {
    stage.login().await?;
    let before = stage.world.double.count(Endpoint::Jwks);
    for _ in 0..30 {
        let kid = random_token();
        stage.world.double.behave(|behaviour| {
            let members = json!({"kid": kid}).as_object().cloned().unwrap_or_default();
            behaviour.tamper_once(J, Tamper::Header(members));
        });
        let response = stage.response().await?;
        let answer = stage.deliver(&response).await?;
        stage.expect_refusal("login_refused", &answer, 400, "login_rejected");
    }
    let asked = stage.world.double.count(Endpoint::Jwks) - before;
    let message =
        format!("the key set was asked for {asked} times more, once at the most expected");
    stage.check("no_flood", &["JWK-ROT"], asked <= 1, message);
    let tokens = stage.world.double.count(Endpoint::Token);
    stage.check("nothing_redeemed", &[], tokens == 1, "only the login that held was redeemed");
    // Who comes with a key that is known is not punished for it.
    stage.browser = stage.world.browser();
    stage.login().await
}
