//! Published test vectors.

use super::*;

/// RFC 8037 appendix A.1.
pub(super) const RFC8037_D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
/// RFC 8037 appendix A.2.
pub(super) const RFC8037_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

#[test]
fn rfc7638_3_1_thumbprint_of_an_rsa_key() {
    let key = PublicJwk::from_json(&json!({
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSo\
              c_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQ\
              R0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFT\
              WhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }))
    .unwrap();
    assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    assert_eq!((key.kid(), key.alg()), (Some("2011-04-29"), Some(JwsAlg::Rs256)));
}

#[test]
fn rfc8037_a_3_thumbprint_of_an_ed25519_key() {
    let key = PublicJwk::from_json(&json!({ "kty": "OKP", "crv": "Ed25519", "x": RFC8037_X }));
    assert_eq!(key.unwrap().thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn rfc8037_a_4_ed25519_signature() {
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": RFC8037_X, "d": RFC8037_D });
    let signer = SoftwareSigner::from_jwk(jwk.to_string().as_bytes()).unwrap();
    let input = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    assert_eq!(
        encode(signer.sign(input).unwrap()),
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
}

#[test]
fn rfc8410_10_3_ed25519_keys_of_both_pkcs8_versions() {
    let first = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    let second = "-----BEGIN PRIVATE KEY-----\n\
        MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\n\
        Z9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PRIVATE KEY-----\n";
    for pem in [first, second, &first.replace('\n', "\r\n")] {
        let signer = SoftwareSigner::from_pem(pem.as_bytes(), None).unwrap();
        assert_eq!(signer.alg(), JwsAlg::EdDsa);
        let x = &signer.public_jwk().to_json()["x"];
        assert_eq!(x, "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE");
    }
}

#[test]
fn rfc7515_a_3_es256_token() {
    let key = json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9l\
        eGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5dj\
        xLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let verified = verify(token, &published(&[key]), &POLICY).unwrap();
    assert_eq!(verified.claims().string("iss"), Ok("joe"));
    assert_eq!(verified.claims().time("exp").unwrap().as_i64(), 1_300_819_380);
}

#[test]
fn rfc7515_a_2_rs256_token_where_the_policy_allows_rs256() {
    let key = json!({
        "kty": "RSA", "e": "AQAB",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP\
              1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpa\
              SHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4L\
              T6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    });
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9l\
        eGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XO\
        iZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZL\
        grnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkH\
        WEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igc\
        N_IoypGlUPQGe77Rw";
    let keys = published(&[key]);
    let oidc = JwsPolicy { algs: &[JwsAlg::Rs256], ..POLICY };
    assert_eq!(verify(token, &keys, &oidc).unwrap().claims().string("iss"), Ok("joe"));
    assert_eq!(verify(token, &keys, &POLICY).unwrap_err(), JwsRejected::AlgNotAllowed);
}

/// OpenID Connect Core appendices A.3 and A.4 for SHA-256; the SHA-512 values were made with
/// another library.
#[test]
fn half_hashes_of_access_tokens_and_codes() {
    let access_token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
    let code = "Qcb0Orv1zh30vL1MPRsbm-diHiMwcLyZvn1arpZv-Jxf_11jnpEX3Tgfvk";
    for alg in [JwsAlg::Rs256, JwsAlg::Ps256, JwsAlg::Es256] {
        assert_eq!(alg.half_hash(access_token), "77QmUPtjPfzWtF2AnpK9RQ");
        assert_eq!(alg.half_hash(code), "LDktKdoQak3Pk0cnXxCltA");
    }
    for alg in [JwsAlg::EdDsa, JwsAlg::Ed25519] {
        assert_eq!(alg.half_hash(access_token), "q7nS86GgvvFaZkzALLWqJYaJIKw2wCDAVfCAsm5CrBM");
        assert_eq!(alg.half_hash(code), "E9z1C-c0Az4eTEzE0Nm3OQ3BS2BhMgxuP7x5JAQj1_4");
    }
}
