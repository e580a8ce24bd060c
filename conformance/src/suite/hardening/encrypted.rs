//! ID tokens that must come encrypted: what is wrong with the encryption, and what comes without it.
//! What is inside is judged as everywhere (`id_token`).

use serde_json::{Value, json};

use super::{
    change::change,
    refusal::{Refusal, Wrong, expect_given_up, token_given_up},
};
use crate::{
    as_double::{Encryption, Endpoint, Target, edits},
    demo::browser::From as Coming,
    jwe::{self, Alg, Enc, Flaw},
    jws::Object,
    suite::{
        client::Client,
        module::{Halt, Module, Step},
        stage::{Stage, is_logged_in},
        world::CLIENT_ID,
    },
};

const ALG: Alg = Alg::RsaOaep256;
const ENC: Enc = Enc::A256Gcm;

fn client(enc: Enc) -> Client {
    let encryption = Encryption { alg: ALG.name().to_owned(), enc: enc.name().to_owned() };
    Client { id_token_encryption: Some(encryption), ..Client::default() }
}

/// The key that the BFF publishes for encryption.
async fn published_key(stage: &Stage) -> Step<Value> {
    let answer = stage.world.browser().navigate(Coming::Typed, "/bff/jwks").await?;
    let body = answer.json()?;
    let mut keys = body.get("keys").and_then(Value::as_array).into_iter().flatten();
    let found = keys.find(|key| key.get("use") == Some(&json!("enc"))).cloned();
    found.ok_or_else(|| Halt::Trouble("the BFF publishes no key for encryption".to_owned()))
}

/// A right ID token for the login under way, as it is before it is encrypted.
fn signed(stage: &Stage) -> Step<String> {
    let pushed = stage.world.double.last(Endpoint::Par);
    let nonce =
        pushed.and_then(|event| event.notes.get("request_object_claims")?.get("nonce").cloned());
    let now = stage.world.now();
    let claims = json!({
        "iss": stage.world.double.issuer(), "aud": CLIENT_ID, "sub": "alice", "iat": now,
        "exp": now + 300, "nonce": nonce,
    });
    let claims: Object = claims.as_object().cloned().unwrap_or_default();
    Ok(stage.world.double.sign_as_server(Some("JWT"), &claims, None)?)
}

/// What an ID token is turned into on its way.
#[derive(Clone, Copy)]
enum Wrapping {
    None,
    Jwe(Alg, Enc),
}

/// Begins a login and ends it with an ID token that is right but for its wrapping; gives the answer.
async fn login_with(stage: &mut Stage, wrapping: Wrapping) -> Step<(u16, String)> {
    stage.browser = stage.world.browser();
    let response = stage.response().await?;
    let token = signed(stage)?;
    let token = match wrapping {
        Wrapping::None => token,
        Wrapping::Jwe(alg, enc) => {
            let sealed = jwe::encrypt(&published_key(stage).await?, alg, enc, &token, None);
            sealed.map_err(|fault| Halt::Trouble(fault.to_string()))?
        }
    };
    let replaced = edits::set("id_token", json!(token));
    stage.world.double.behave(|behaviour| behaviour.edit_once(Target::TokenResponse, replaced));
    let answer = stage.deliver(&response).await?;
    let reason = stage.audit().last().map(|(.., reason)| reason.clone()).unwrap_or_default();
    Ok((answer.status, reason))
}

async fn otherwise(stage: &mut Stage) -> Step {
    let cases = [
        (Wrapping::None, "id_token.bare"),
        (Wrapping::Jwe(Alg::RsaOaep, ENC), "id_token.jwe_alg_not_allowed"),
        (Wrapping::Jwe(ALG, Enc::A128Gcm), "id_token.jwe_enc_not_allowed"),
        (Wrapping::Jwe(ALG, Enc::A128CbcHs256), "id_token.jwe_enc_not_allowed"),
    ];
    for (place, (wrapping, reason)) in cases.into_iter().enumerate() {
        let (status, _) = login_with(stage, wrapping).await?;
        stage.check(
            "login_refused",
            &["OIDC-3.1.3.7-1"],
            status == 502,
            format!("{reason}: {status}"),
        );
        stage.expect_audit("login.end", reason);
        expect_given_up(stage, 2 * (place + 1)).await?;
        stage.expect_no_session().await?;
    }
    // The same token in the wrapping that was agreed on.
    login_with(stage, Wrapping::Jwe(ALG, ENC)).await?;
    let session = stage.session().await?;
    stage.check("logged_in", &[], is_logged_in(&session), "as registered it is taken");
    Ok(())
}

pub(super) fn modules() -> Vec<Module> {
    const ALGORITHM: &[&str] = &["OIDC-3.1.3.7-1", "FAPI1-ADV-5.2.3.1-5", "ALG-MAT"];
    const NESTED: &[&str] = &["OIDC-3.1.3.7-1", "FAPI1-ADV-5.2.3.1-5"];
    let row = |id, does, clauses, reason, flaw| {
        let flawed = change(move |behaviour| behaviour.flaw = Some(flaw));
        token_given_up(&Wrong(id, does, clauses), Refusal::wrong(reason), flawed)
    };
    let all = vec![
        row(
            "encrypted-id-token-with-rsa1-5",
            "The ID token is encrypted with RSA1_5.",
            ALGORITHM,
            "id_token.jwe_alg_not_allowed",
            Flaw::Rsa15,
        ),
        row(
            "encrypted-id-token-zip-bomb",
            "The ID token is compressed and unfolds into megabytes.",
            NESTED,
            "id_token.jwe_header_not_allowed",
            Flaw::Zip,
        ),
        row(
            "encrypted-id-token-with-half-a-tag",
            "The authentication tag of the encrypted ID token is cut in half.",
            NESTED,
            "id_token.jwe_malformed",
            Flaw::HalfTag,
        ),
        row(
            "encrypted-id-token-without-a-signature",
            "What is encrypted is plain JSON.",
            NESTED,
            "id_token.jwe_not_nested",
            Flaw::PlainJson,
        ),
        Module::new(
            "encrypted-id-token-otherwise",
            "The ID token comes bare, under another algorithm, or with other content encryption.",
            "take it as registered and no other way",
            ALGORITHM,
            |stage| Box::pin(otherwise(stage)),
        ),
    ];
    let by_mac = row(
        "encrypted-id-token-with-half-a-mac",
        "Half of the code that authenticates the encrypted ID token is cut off (AES-CBC).",
        NESTED,
        "id_token.jwe_malformed",
        Flaw::HalfTag,
    );
    let all = all.into_iter().map(|module| module.with_client(client(ENC)));
    all.chain([by_mac.with_client(client(Enc::A128CbcHs256))]).collect()
}
