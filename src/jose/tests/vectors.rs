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

/// The content of `token` under `key`, which serves its algorithm. The published examples say
/// nothing about what is inside, so only the layer below [`decrypt`] opens them.
fn opened(token: &str, key: &Value, alg: JweAlg, enc: JweEnc) -> Vec<u8> {
    let private = private_key::PrivateJwk::parse(key.to_string().as_bytes()).unwrap();
    let public =
        EncryptionJwk::from_members(private.as_map(), encryption_jwk::Half::Private).unwrap();
    let members = private.private(public.material()).unwrap();
    let unwrapper = key_management::Unwrapper::new(public.material(), &members, alg).unwrap();
    let parts: Vec<Vec<u8>> =
        token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    let [header, encrypted_key, iv, text, tag] = &parts[..] else { panic!("not five parts") };
    let header: Value = serde_json::from_slice(header).unwrap();
    assert_eq!((&header["alg"], &header["enc"]), (&json!(alg.name()), &json!(enc.name())));
    let agreement = alg
        .agrees()
        .then(|| key_management::Agreement::from_header(header.as_object().unwrap()).unwrap());
    let content_key = unwrapper.unwrap(enc, encrypted_key, agreement.as_ref()).unwrap();
    content_opened(token, enc, &content_key, iv, text, tag)
}

fn content_opened(
    token: &str,
    enc: JweEnc,
    key: &[u8],
    iv: &[u8],
    text: &[u8],
    tag: &[u8],
) -> Vec<u8> {
    let associated = token.split('.').next().unwrap().as_bytes();
    let mut text = zeroize::Zeroizing::new(text.to_vec());
    content::open(enc, key, associated, iv, tag, &mut text).unwrap();
    text.to_vec()
}

#[test]
fn rfc7516_a_1_rsa_oaep_and_a256gcm() {
    let key = json!({
        "kty": "RSA", "e": "AQAB",
        "n": "oahUIoWw0K0usKNuOR6H4wkf4oBUXHTxRvgb48E-BVvxkeDNjbC4he8rUWcJoZmds2h7M70imEVhRU5djINX\
              tqllXI4DFqcI1DgjT9LewND8MW2Krf3Spsk_ZkoFnilakGygTwpZ3uesH-PFABNIUYpOiN15dsQRkgr0vEhx\
              N92i2asbOenSZeyaxziK72UwxrrKoExv6kc5twXTq4h-QChLOln0_mtUZwfsRaMStPs6mS6XrgxnxbWhojf6\
              63tuEQueGC-FCMfra36C9knDFGzKsNa7LZK2djYgyD3JR_MB_4NUJW_TqOQtwHYbxevoJArm-L5StowjzGy-\
              _bq6Gw",
        "d": "kLdtIj6GbDks_ApCSTYQtelcNttlKiOyPzMrXHeI-yk1F7-kpDxY4-WY5NWV5KntaEeXS1j82E375xxhWMHX\
              yvjYecPT9fpwR_M9gV8n9Hrh2anTpTD93Dt62ypW3yDsJzBnTnrYu1iwWRgBKrEYY46qAZIrA2xAwnm2X7uG\
              R1hghkqDp0Vqj3kbSCz1XyfCs6_LehBwtxHIyh8Ripy40p24moOAbgxVw3rxT_vlt3UVe4WO3JkJOzlpUf-K\
              TVI2Ptgm-dARxTEtE-id-4OJr0h-K-VFs3VSndVTIznSxfyrj8ILL6MG_Uv8YAu7VILSB3lOW085-4qE3Dzg\
              rTjgyQ",
        "p": "1r52Xk46c-LsfB5P442p7atdPUrxQSy4mti_tZI3Mgf2EuFVbUoDBvaRQ-SWxkbkmoEzL7JXroSBjSrK3YIQ\
              gYdMgyAEPTPjXv_hI2_1eTSPVZfzL0lffNn03IXqWF5MDFuoUYE0hzb2vhrlN_rKrbfDIwUbTrjjgieRbwC6\
              Cl0",
        "q": "wLb35x7hmQWZsWJmB_vle87ihgZ19S8lBEROLIsZG4ayZVe9Hi9gDVCOBmUDdaDYVTSNx_8Fyw1YYa9XGrGn\
              Dew00J28cRUoeBB_jKI1oma0Orv1T9aXIWxKwd4gvxFImOWr3QRL9KEBRzk2RatUBnmDZJTIAfwTs0g68UZH\
              vtc",
        "dp": "ZK-YwE7diUh0qR1tR7w8WHtolDx3MZ_OTowiFvgfeQ3SiresXjm9gZ5KLhMXvo-uz-KUJWDxS5pFQ_M0evd\
               o1dKiRTjVw_x4NyqyXPM5nULPkcpU827rnpZzAJKpdhWAgqrXGKAECQH0Xt4taznjnd_zVpAmZZq60WPMBM\
               fKcuE",
        "dq": "Dq0gfgJ1DdFGXiLvQEZnuKEN0UUmsJBxkjydc3j4ZYdBiMRAy86x0vHCjywcMlYYg4yoC4YZa9hNVcsjqA3\
               FeiL19rk8g6Qn29Tt0cj8qqyFpz9vNDBUfCAiJVeESOjJDZPYHdHY8v1b-o-Z2X5tvLx-TCekf7oxyeKDUq\
               KWjis",
        "qi": "VIMpMYbPf47dT1w_zDUXfPimsSegnMOA1zTaX7aGk_8urY6R8-ZW1FxU7AlWAyLWybqq6t16VFd7hQd0y6f\
               lUK4SlOydB61gwanOsXGOAOv82cHq0E3eL4HrtZkUuKvnPrMnsUUFlfUdybVzxyjz9JF_XyaY14ardLSjf4\
               L_FNY",
    });
    let token = "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.OKOawDo13gRp2ojaHV7LFpZcgV7T6DVZKT\
        yKOMTYUmKoTCVJRgckCL9kiMT03JGeipsEdY3mx_etLbbWSrFr05kLzcSr4qKAq7YN7e9jwQRb23nfa6c9d-StnImG\
        yFDbSv04uVuxIp5Zms1gNxKKK2Da14B8S4rzVRltdYwam_lDp5XnZAYpQdb76FdIKLaVmqgfwX7XWRxv2322i-vDxR\
        fqNzo_tETKzpVLzfiwQyeyPGLBIO56YJ7eObdv0je81860ppamavo35UgoRdbYaBcoh9QcfylQr66oc6vFWXRcZ_ZT\
        2LawVCWTIy3brGPi6UklfCpIMfIjf7iGdXKHzg.48V1_ALb6US04U3b.5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvt\
        u6UG9oMo4vpzs9tX_EFShS8iB7j6jiSdiwkIr3ajwQzaBtQD_A.XFBoMYUZodetZdvTiFvSkQ";
    let content = opened(token, &key, JweAlg::RsaOaep, JweEnc::A256Gcm);
    assert_eq!(content, b"The true sign of intelligence is not knowledge but imagination.");
}

/// From the content encryption key on, which is wrapped in a way we do not speak.
#[test]
fn rfc7516_a_3_a128cbc_hs256() {
    let key = [
        4, 211, 31, 197, 84, 157, 252, 254, 11, 100, 157, 250, 63, 170, 106, 206, 107, 124, 212,
        45, 111, 107, 9, 219, 200, 177, 0, 240, 143, 156, 44, 207,
    ];
    let decode = |part| URL_SAFE_NO_PAD.decode(part).unwrap();
    let content = content_opened(
        "eyJhbGciOiJBMTI4S1ciLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0",
        JweEnc::A128CbcHs256,
        &key,
        &decode("AxY8DCtDaGlsbGljb3RoZQ"),
        &decode("KDlTtXchhZTGufMYmOYGS4HffxPSUrfmqCHXaI9wOGY"),
        &decode("U0m_YmjN04DJvceFICbCVQ"),
    );
    assert_eq!(content, b"Live long and prosper.");
}

#[test]
fn rfc7518_b_1_a128cbc_hs256() {
    let hex = |text: &str| -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|pair| byte(pair).unwrap()).collect()
    };
    let key: Vec<u8> = (0..32).collect();
    let ciphertext = hex("c80edfa32ddf39d5ef00c0b468834279a2e46a1b8049f792f76bfe54b903a9c9
         a94ac9b47ad2655c5f10f9aef71427e2fc6f9b3f399a221489f16362c7032336
         09d45ac69864e3321cf82935ac4096c86e133314c54019e8ca7980dfa4b9cf1b
         384c486f3a54c51078158ee5d79de59fbd34d848b3d69550a67646344427ade5
         4b8851ffb598f7f80074b9473c82e2db");
    let content = content_opened(
        "The second principle of Auguste Kerckhoffs",
        JweEnc::A128CbcHs256,
        &key,
        &hex("1af38c2dc2b96ffdd86694092341bc04"),
        &ciphertext,
        &hex("652c3fa36b0a7c5b3219fab3a30bc1c4"),
    );
    assert_eq!(
        String::from_utf8(content).unwrap(),
        "A cipher system must not be required to be secret, and it must be able to fall into the \
         hands of the enemy without inconvenience"
    );
}

#[test]
fn rfc7518_c_ecdh_es_key_agreement() {
    let bob = json!({
        "kty": "EC", "crv": "P-256",
        "x": "weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ",
        "y": "e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck",
        "d": "VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw",
    });
    let header = json!({
        "apu": "QWxpY2U", "apv": "Qm9i",
        "epk": {
            "kty": "EC", "crv": "P-256",
            "x": "gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0",
            "y": "SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps",
        },
    });
    let private = private_key::PrivateJwk::parse(bob.to_string().as_bytes()).unwrap();
    let public =
        EncryptionJwk::from_members(private.as_map(), encryption_jwk::Half::Private).unwrap();
    let members = private.private(public.material()).unwrap();
    let unwrapper =
        key_management::Unwrapper::new(public.material(), &members, JweAlg::EcdhEs).unwrap();
    let agreement = key_management::Agreement::from_header(&object(header)).unwrap();
    let key = unwrapper.unwrap(JweEnc::A128Gcm, &[], Some(&agreement)).unwrap();
    assert_eq!(encode(&*key), "VqqN6vgjbSBcIijNcacQGg");
}

#[test]
fn rfc7520_5_5_ecdh_es_and_a128cbc_hs256() {
    let key = json!({
        "kty": "EC", "kid": "meriadoc.brandybuck@buckland.example", "use": "enc", "crv": "P-256",
        "x": "Ze2loSV3wrroKUN_4zhwGhCqo3Xhu1td4QjeQ5wIVR0",
        "y": "HlLtdXARY_f55A3fnzQbPcm6hgr34Mp8p-nuzQCE0Zw",
        "d": "r_kHyZ-a06rmxM3yESK84r1otSg-aQcVStkRhA-iCM8",
    });
    let token = "eyJhbGciOiJFQ0RILUVTIiwia2lkIjoibWVyaWFkb2MuYnJhbmR5YnVja0BidWNrbGFuZC5leGFtcGxl\
        IiwiZXBrIjp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoibVBVS1RfYkFXR0hJaGcwVHBqanFWc1AxclhXUX\
        VfdndWT0hIdE5rZFlvQSIsInkiOiI4QlFBc0ltR2VBUzQ2ZnlXdzVNaFlmR1RUMElqQnBGdzJTUzM0RHY0SXJzIn0s\
        ImVuYyI6IkExMjhDQkMtSFMyNTYifQ..yc9N8v5sYyv3iGQT926IUg.BoDlwPnTypYq-ivjmQvAYJLb5Q6l-F3LIgQ\
        omlz87yW4OPKbWE1zSTEFjDfhU9IPIOSA9Bml4m7iDFwA-1ZXvHteLDtw4R1XRGMEsDIqAYtskTTmzmzNa-_q4F_ev\
        APUmwlO-ZG45Mnq4uhM1fm_D9rBtWolqZSF3xGNNkpOMQKF1Cl8i8wjzRli7-IXgyirlKQsbhhqRzkv8IcY6aHl24j\
        03C-AR2le1r7URUhArM79BY8soZU0lzwI-sD5PZ3l4NDCCei9XkoIAfsXJWmySPoeRb2Ni5UZL4mYpvKDiwmyzGd65\
        KqVw7MsFfI_K767G9C9Azp73gKZD0DyUn1mn0WW5LmyX_yJ-3AROq8p1WZBfG-ZyJ6195_JGG2m9Csg.WCCkNa-x4B\
        eB9hIDIfFuhg";
    let content = opened(token, &key, JweAlg::EcdhEs, JweEnc::A128CbcHs256);
    assert!(content.starts_with(b"You can trust us to stick with you through thick and thin"));
    // As a token it promises no JWT.
    let policy = JwePolicy { alg: JweAlg::EcdhEs, enc: JweEnc::A128CbcHs256 };
    let key = DecryptionKey::from_jwk(key.to_string().as_bytes(), None).unwrap();
    let keys = DecryptionKeys::new(vec![key]).unwrap();
    assert_eq!(decrypt(token, &keys, policy).unwrap_err(), JweRejected::NotNested);
}
