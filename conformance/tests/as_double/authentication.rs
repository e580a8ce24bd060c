//! Who calls: each method of client authentication refuses what is missing, wrong or of another method.

use fapi_bff_conformance::{
    as_double::{AsConfig, ClientAuth, Conduct, Endpoint},
    jws::SigningKey,
    pki::Pki,
};
use serde_json::{Value, json};

use crate::{
    anybody::{Anybody, SECRET, basic},
    client::{CLIENT, Form, OTHER, World, form},
};

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// Why a request is refused, its parameters, its headers.
type Case<'a> = (&'a str, Pairs<'a>, Pairs<'a>);

fn by(client_auth: ClientAuth) -> Conduct {
    Conduct { client_auth, ..Conduct::security_profile() }
}

/// A revocation request with these parameters and headers, and why it was refused.
async fn refused(client: &Anybody, request: &[(&str, &str)], headers: &[(&str, &str)]) -> String {
    let mut request = form(request);
    request.push(("token".to_owned(), "x".to_owned()));
    let url = client.url(Endpoint::Revocation);
    let answer = client.world.post_with(&url, &request, &form(headers)).await;
    let reason = client.world.refused(Endpoint::Revocation);
    let expected = if reason == "accepted" { 200 } else { 401 };
    assert_eq!(answer.status, expected, "{reason}");
    reason
}

#[tokio::test]
async fn a_certificate_authenticates_whom_client_id_names_and_nothing_else_comes_along() {
    let client = Anybody::start(by(ClientAuth::TlsClientAuth)).await;
    let own = ("client_id", CLIENT);
    let assertion = client.world.assertion(CLIENT);
    let cases: [Case<'_>; 7] = [
        ("accepted", &[own], &[]),
        ("client_id_missing", &[], &[]),
        ("client_unknown", &[("client_id", "nobody")], &[]),
        ("other_method", &[own, ("client_assertion", &assertion)], &[]),
        ("other_method", &[own, ("client_assertion_type", "x")], &[]),
        ("other_method", &[own, ("client_secret", SECRET)], &[]),
        ("other_method", &[own], &[("authorization", &basic(SECRET))]),
    ];
    for (reason, request, headers) in cases {
        let found = refused(&client, request, headers).await;
        assert_eq!(found.trim_start_matches("client_auth."), reason);
    }
    let url = client.url(Endpoint::Revocation);
    let request = form(&[own, ("token", "x")]);
    let stranger = client.world.pki.issue_client(CLIENT).unwrap();
    for (identity, reason) in [
        (None, "client_auth.certificate_missing"),
        (Some(&stranger), "client_auth.certificate_unknown"),
    ] {
        let http = client.world.http_as(identity);
        assert_eq!(World::post_by(&http, &url, &request).await.status, 401);
        assert_eq!(client.world.refused(Endpoint::Revocation), reason);
    }
    // The host that sees no certificates does not do.
    for endpoint in [Endpoint::Par, Endpoint::Token, Endpoint::Revocation, Endpoint::Introspection]
    {
        client.world.post(&client.world.double.url(endpoint), &request).await;
        let reason = format!("{}.wrong_listener", endpoint.name());
        assert_eq!(client.world.refused(endpoint), reason);
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_taken_only_where_it_is_registered_itself() {
    let own = Pki::self_signed_client(CLIENT).unwrap();
    let register = |config: &mut AsConfig| {
        config.clients[0].certificate_thumbprints = vec![own.thumbprint().unwrap()];
    };
    let request = form(&[("client_id", CLIENT), ("token", "x")]);
    for (method, taken) in [(ClientAuth::SelfSignedTls, true), (ClientAuth::TlsClientAuth, false)] {
        let client = Anybody::start_with(by(method), register).await;
        let url = client.url(Endpoint::Revocation);
        let sent = client.world.http_as(Some(&own)).post(&url);
        let sent = sent.header("content-type", "application/x-www-form-urlencoded");
        let answer = sent.body("client_id=client-1&token=x").send().await;
        assert_eq!(answer.is_ok_and(|answer| answer.status() == 200), taken, "{method:?}");
        if taken {
            let other = Pki::self_signed_client(CLIENT).unwrap();
            let http = client.world.http_as(Some(&other));
            World::post_by(&http, &url, &request).await;
            let reason = client.world.refused(Endpoint::Revocation);
            assert_eq!(reason, "client_auth.certificate_unknown");
        }
    }
    // Tokens are bound to it, and the API takes it, too.
    let mut client = Anybody::start_with(by(ClientAuth::SelfSignedTls), register).await;
    client.world.http = client.world.http_as(Some(&own));
    let tokens = client.login().await;
    let access = tokens["access_token"].as_str().unwrap();
    for url in
        [client.world.double.accounts_url(), format!("{}accounts", client.world.api.base_url())]
    {
        assert_eq!(client.get(&url, access).await.status, 200);
        let http = client.world.http_as(None);
        assert_eq!(client.world.get_with(&http, &url, access).await.status, 401);
    }
}

#[tokio::test]
async fn a_secret_is_taken_from_the_header_form_encoded_and_from_nowhere_else() {
    let client = Anybody::start(by(ClientAuth::SecretBasic)).await;
    let header = |value: &str| vec![("authorization".to_owned(), value.to_owned())];
    let raw = "Basic Y2xpZW50LTE6YSBzZWNyZXQ6IHdpdGggKyBhbmQgJQ==";
    let cases: [(&str, Pairs<'_>, Form); 11] = [
        ("accepted", &[], header(&basic(SECRET))),
        ("accepted", &[("client_id", CLIENT)], header(&basic(SECRET))),
        ("client_id_mismatch", &[("client_id", OTHER)], header(&basic(SECRET))),
        ("secret_missing", &[("client_id", CLIENT)], Form::new()),
        ("secret", &[], header(&basic("another"))),
        ("basic", &[], header(&basic(""))),
        ("basic", &[], header(raw)),
        ("basic", &[], header("Bearer x")),
        ("client_unknown", &[], header("Basic bm9ib2R5Ong=")),
        ("other_method", &[("client_secret", SECRET)], header(&basic(SECRET))),
        ("other_method", &[("client_assertion", "x")], header(&basic(SECRET))),
    ];
    for (reason, request, headers) in cases {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let found = refused(&client, request, &headers).await;
        assert_eq!(found.trim_start_matches("client_auth."), reason, "{headers:?}");
    }
    // What was sent is a secret, in either form.
    let secrets = client.world.double.issued_secrets();
    for secret in [SECRET.to_owned(), basic(SECRET)] {
        assert!(secrets.contains(&secret));
    }
}

#[tokio::test]
async fn a_secret_is_taken_from_the_form_and_from_nowhere_else() {
    let client = Anybody::start(by(ClientAuth::SecretPost)).await;
    let (own, secret) = (("client_id", CLIENT), ("client_secret", SECRET));
    let cases: [Case<'_>; 6] = [
        ("accepted", &[own, secret], &[]),
        ("client_id_missing", &[secret], &[]),
        ("client_unknown", &[("client_id", "nobody"), secret], &[]),
        ("secret_missing", &[own], &[]),
        ("secret", &[own, ("client_secret", "another")], &[]),
        ("other_method", &[own, secret], &[("authorization", &basic(SECRET))]),
    ];
    for (reason, request, headers) in cases {
        let found = refused(&client, request, headers).await;
        assert_eq!(found.trim_start_matches("client_auth."), reason);
    }
    // A client without a secret has none that could be guessed.
    let nobody = |config: &mut AsConfig| config.clients[0].client_secret = None;
    let client = Anybody::start_with(by(ClientAuth::SecretPost), nobody).await;
    let found = refused(&client, &[own, ("client_secret", "")], &[]).await;
    assert_eq!(found, "client_auth.secret");
}

/// Before FAPI 2.0 an endpoint will do as the audience, and so will a list; the issuer is better.
#[tokio::test]
async fn an_assertion_for_an_endpoint_is_taken_by_fapi_1_and_noted() {
    let client = Anybody::start(Conduct::fapi1_advanced()).await;
    let (issuer, double) = (client.world.double.issuer().to_owned(), &client.world.double);
    let revocation = double.url(Endpoint::Revocation);
    let cases: [(&str, Value, bool); 6] = [
        ("accepted", json!(issuer), true),
        ("accepted", json!([issuer, "https://other"]), true),
        ("accepted", json!(double.mtls_url(Endpoint::Token)), false),
        ("accepted", json!([revocation]), false),
        ("client_auth.aud", json!(double.url(Endpoint::Par)), false),
        ("client_auth.aud", json!([]), false),
    ];
    for (reason, audience, names_issuer) in cases {
        let mut claims = client.world.assertion_claims(CLIENT);
        claims.insert("aud".into(), audience);
        let key: &SigningKey = &client.world.pki.client_assertion;
        let mut request = World::authentication(&World::sign(key, None, &claims));
        request.push(("token".to_owned(), "x".to_owned()));
        client.world.post(&revocation, &request).await;
        assert_eq!(client.world.refused(Endpoint::Revocation), reason, "{claims:?}");
        let event = double.last(Endpoint::Revocation).unwrap();
        let noted = event.check("client_auth.aud_issuer").map(|check| check.held);
        assert_eq!(noted, (reason == "accepted").then_some(names_issuer));
    }
}
