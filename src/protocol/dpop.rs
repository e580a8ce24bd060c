//! Owns `DPoP` (RFC 9449): the claims of a proof, who demands a nonce, and which nonce belongs to
//! whom. Must not know: where keys come from, how requests are sent or repeated.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use url::Url;

use super::{
    answer::{Answer, AsAnswer},
    challenge::Challenge,
    reason::rejection,
};
use crate::{
    clock::UnixTime,
    jose::{SignFailed, Signer, sign_embedding_key},
};

/// The `typ` of a proof (DPOP-4.1/4.2-h).
pub const DPOP_TYP: &str = "dpop+jwt";

/// Longest nonce taken, in bytes.
const MAX_NONCE_BYTES: usize = 512;

/// Nonces kept at once. Origins come from the configuration and the AS's metadata, so there are a
/// few; the bound is for the day somebody lets a stranger choose one.
const MOST_NONCES: usize = 256;

/// The claims of a proof for one request (DPOP-4.2-c).
///
/// `url` is the request's; its query and fragment stay out, and the rest goes in byte for byte.
/// `jti` must be new for every proof (DPOP-7.3) and hold at least 96 unpredictable bits;
/// `access_token` is the one sent along, if any; `nonce` the last one of this server, if any.
pub fn proof_claims(
    method: &str,
    url: &str,
    now: UnixTime,
    jti: &str,
    access_token: Option<&str>,
    nonce: Option<&str>,
) -> Map<String, Value> {
    let htu = url.split(['?', '#']).next().unwrap_or_default();
    let mut claims = Map::new();
    claims.insert("jti".into(), jti.into());
    claims.insert("htm".into(), method.into());
    claims.insert("htu".into(), htu.into());
    claims.insert("iat".into(), now.as_i64().into());
    if let Some(token) = access_token {
        let hash = digest::digest(&digest::SHA256, token.as_bytes());
        claims.insert("ath".into(), URL_SAFE_NO_PAD.encode(hash).into());
    }
    if let Some(nonce) = nonce {
        claims.insert("nonce".into(), nonce.into());
    }
    claims
}

/// A well-formed nonce: 1 to 512 NQCHAR (RFC 9449 §8.1). Never an OpenID Connect `nonce` (DPOP-9).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nonce(String);

rejection! {
    /// Why a server's nonce cannot be used.
    pub enum NonceRejected {
        Missing => "dpop.nonce_missing", "a nonce is demanded and none is given (DPOP-8)";
        Duplicate => "dpop.nonce_duplicate", "`DPoP-Nonce` occurs twice (RFC 9449 §8.1)";
        Malformed => "dpop.nonce_malformed", "the nonce is not 1 to 512 NQCHAR (RFC 9449 §8.1)";
    }
}

impl Nonce {
    /// The nonce in the values of an answer's `DPoP-Nonce` header; `None` if there is no header.
    pub fn offered<'h>(
        values: impl IntoIterator<Item = &'h [u8]>,
    ) -> Result<Option<Self>, NonceRejected> {
        let mut values = values.into_iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(NonceRejected::Duplicate);
        }
        let nqchar = |byte: &u8| byte.is_ascii_graphic() && *byte != b'"' && *byte != b'\\';
        if !(1..=MAX_NONCE_BYTES).contains(&value.len()) || !value.iter().all(nqchar) {
            return Err(NonceRejected::Malformed);
        }
        let text = String::from_utf8(value.to_vec()).map_err(|_| NonceRejected::Malformed)?;
        Ok(Some(Self(text)))
    }

    /// The nonce that an authorization server demands: its answer is 400 `use_dpop_nonce` (DPOP-8).
    /// `None` if it demands none.
    pub fn demanded_by_as<'h>(
        answer: &AsAnswer,
        offered: impl IntoIterator<Item = &'h [u8]>,
    ) -> Result<Option<Self>, NonceRejected> {
        let bad_request = matches!(answer, AsAnswer::Rejected { status: 400, .. });
        Self::demanded(bad_request && answer.is("use_dpop_nonce"), offered)
    }

    /// The same, from the answer as it came.
    pub fn demanded_in<'h>(
        answer: &Answer<'_>,
        offered: impl IntoIterator<Item = &'h [u8]>,
    ) -> Result<Option<Self>, NonceRejected> {
        match answer.object(200) {
            Ok(_) => Ok(None),
            Err(refusal) => Self::demanded_by_as(&refusal, offered),
        }
    }

    /// The nonce that a resource server demands: its answer is 401 with a `DPoP` challenge that says
    /// `use_dpop_nonce`, whatever its body (DPOP-9). `None` if it demands none.
    pub fn demanded_by_resource<'h>(
        status: u16,
        challenges: &[Challenge],
        offered: impl IntoIterator<Item = &'h [u8]>,
    ) -> Result<Option<Self>, NonceRejected> {
        let demands = |c: &Challenge| c.is("DPoP") && c.says("use_dpop_nonce");
        Self::demanded(status == 401 && challenges.iter().any(demands), offered)
    }

    fn demanded<'h>(
        demanded: bool,
        offered: impl IntoIterator<Item = &'h [u8]>,
    ) -> Result<Option<Self>, NonceRejected> {
        if !demanded {
            return Ok(None);
        }
        Self::offered(offered)?.ok_or(NonceRejected::Missing).map(Some)
    }

    /// The nonce, for a proof's `nonce`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a server is to us. One origin may be both, and its nonces are still two (DPOP-9).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// An authorization server's endpoint.
    AuthorizationServer,
    /// A resource server, userinfo included.
    Resource,
}

/// The last nonce of each server, by role and origin (DPOP-9). Shared by all sessions: a nonce is
/// the server's clock, not the user's.
#[derive(Default)]
pub struct Nonces(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    nonces: HashMap<(Role, String), (u64, Nonce)>,
    /// Grows with every nonce learnt, so the least is the oldest.
    count: u64,
}

impl Nonces {
    /// Keeps the newest nonce of the server at `url` in place of any other (DPOP-8).
    pub fn learn(&self, role: Role, url: &str, nonce: Nonce) {
        let Some(origin) = origin(url) else { return };
        let mut kept = self.lock();
        kept.count += 1;
        let (count, key) = (kept.count, (role, origin));
        if kept.nonces.len() >= MOST_NONCES && !kept.nonces.contains_key(&key) {
            let oldest = kept.nonces.iter().min_by_key(|(_, (at, _))| *at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                kept.nonces.remove(&oldest);
            }
        }
        kept.nonces.insert(key, (count, nonce));
    }

    /// The nonce for the next request to the server at `url`.
    pub fn get(&self, role: Role, url: &str) -> Option<Nonce> {
        let origin = origin(url)?;
        self.lock().nonces.get(&(role, origin)).map(|(_, nonce)| nonce.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces").field("kept", &self.lock().nonces.len()).finish()
    }
}

/// Scheme, host and port of an http(s) URL.
fn origin(url: &str) -> Option<String> {
    let origin = Url::parse(url).ok()?.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

/// One key and what is known of the servers it is used at: makes the proof for each request.
#[derive(Clone, Debug)]
pub struct Prover {
    signer: Arc<dyn Signer>,
    nonces: Arc<Nonces>,
}

impl Prover {
    /// A prover with the key that tokens are, or are to be, bound to.
    pub fn new(signer: Arc<dyn Signer>, nonces: Arc<Nonces>) -> Self {
        Self { signer, nonces }
    }

    /// Thumbprint of the key, as in `dpop_jkt` and `cnf.jkt` (RFC 9449 §6.1, §10).
    pub fn jkt(&self) -> String {
        self.signer.public_jwk().thumbprint()
    }

    /// The `DPoP` header for one request, with the server's last nonce if one is known. As in
    /// [`proof_claims`], `jti` must be new.
    pub fn proof(
        &self,
        role: Role,
        method: &str,
        url: &str,
        access_token: Option<&str>,
        now: UnixTime,
        jti: &str,
    ) -> Result<String, SignFailed> {
        let nonce = self.nonces.get(role, url);
        let nonce = nonce.as_ref().map(Nonce::as_str);
        let claims = proof_claims(method, url, now, jti, access_token, nonce);
        sign_embedding_key(&*self.signer, DPOP_TYP, &claims)
    }

    /// Takes note of the nonce that the server at `url` demands.
    pub fn learned(&self, role: Role, url: &str, nonce: Nonce) {
        self.nonces.learn(role, url, nonce);
    }

    /// Takes note of the nonce in any answer of the server at `url`, successes included (DPOP-8);
    /// one that cannot be used is left out.
    pub fn learn<'h>(&self, role: Role, url: &str, offered: impl IntoIterator<Item = &'h [u8]>) {
        if let Ok(Some(nonce)) = Nonce::offered(offered) {
            self.nonces.learn(role, url, nonce);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        jose::{JwsAlg, SoftwareSigner, generate},
        protocol::{OAuthError, challenge::challenges},
    };

    const NOW: UnixTime = UnixTime::new(1_700_000_000);
    const URL: &str = "https://api.example:8443/v1/a%20b?x=1#y";

    fn nonce(text: &str) -> Nonce {
        Nonce::offered([text.as_bytes()]).unwrap().unwrap()
    }

    /// DPOP-4.2-c: nothing is in a proof that does not belong there.
    #[test]
    fn claims_are_those_of_the_request_and_no_others() {
        let claims = proof_claims("POST", URL, NOW, "id", None, None);
        let bare = json!({"jti": "id", "htm": "POST", "htu": "https://api.example:8443/v1/a%20b",
            "iat": 1_700_000_000});
        assert_eq!(Value::Object(claims), bare);
        // RFC 9449 §7.1, figure 13.
        let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
        let claims = proof_claims("GET", "https://r.example/x", NOW, "id", Some(token), Some("n"));
        assert_eq!(claims["ath"], "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
        assert_eq!(claims["nonce"], "n");
        assert_eq!(claims.len(), 6);
    }

    #[test]
    fn htu_is_the_url_byte_for_byte_without_query_and_fragment() {
        for (url, htu) in [
            ("https://A.example:443/x", "https://A.example:443/x"),
            ("https://a.example/", "https://a.example/"),
            ("https://a.example/?", "https://a.example/"),
            ("https://a.example/x#y?z", "https://a.example/x"),
            ("https://a.example/x?y#z", "https://a.example/x"),
            ("https://[::1]:8443/%2e/x;y", "https://[::1]:8443/%2e/x;y"),
        ] {
            assert_eq!(proof_claims("GET", url, NOW, "id", None, None)["htu"], htu);
        }
    }

    #[test]
    fn a_nonce_is_1_to_512_nqchar_once() {
        let longest = "n".repeat(512);
        for good in ["n", "eyJ7S_zG.eyJH0-Z.HX4w-7v", "!#$%&'()*+,-./:;<=>?@[]^_`{|}~", &longest] {
            assert_eq!(nonce(good).as_str(), good);
        }
        for bad in ["", " ", "a b", "a\"b", "a\\b", "a\tb", "a\u{7f}", "é", &"n".repeat(513)] {
            assert_eq!(Nonce::offered([bad.as_bytes()]), Err(NonceRejected::Malformed), "{bad}");
        }
        assert_eq!(Nonce::offered([&[0xff][..]]), Err(NonceRejected::Malformed));
        assert_eq!(Nonce::offered([&b"a"[..], b"a"]), Err(NonceRejected::Duplicate));
        assert_eq!(Nonce::offered([]), Ok(None));
    }

    /// DPOP-8.
    #[test]
    fn an_as_demands_a_nonce_by_400_use_dpop_nonce_and_nothing_else() {
        let answer =
            |status, code: &str| AsAnswer::Rejected { status, error: OAuthError::from_code(code) };
        let demand = answer(400, "use_dpop_nonce");
        assert_eq!(Nonce::demanded_by_as(&demand, [&b"n"[..]]), Ok(Some(nonce("n"))));
        assert_eq!(Nonce::demanded_by_as(&demand, []), Err(NonceRejected::Missing));
        assert_eq!(Nonce::demanded_by_as(&demand, [&b""[..]]), Err(NonceRejected::Malformed));
        let twice = Nonce::demanded_by_as(&demand, [&b"n"[..], b"m"]);
        assert_eq!(twice, Err(NonceRejected::Duplicate));
        for other in [
            answer(401, "use_dpop_nonce"),
            answer(400, "invalid_dpop_proof"),
            answer(400, "USE_DPOP_NONCE"),
            AsAnswer::Unavailable { status: 503, retry_after: None },
        ] {
            assert_eq!(Nonce::demanded_by_as(&other, [&b"n"[..]]), Ok(None), "{other:?}");
        }
    }

    /// DPOP-9, DPOP-7.1.
    #[test]
    fn a_resource_demands_a_nonce_by_a_401_with_a_dpop_challenge() {
        let judge = |status, line: &str, offered: &[&str]| {
            let offered = offered.iter().map(|value| value.as_bytes());
            Nonce::demanded_by_resource(status, &challenges(line), offered)
        };
        for line in [
            r#"DPoP error="use_dpop_nonce", error_description="x""#,
            "dpop error=use_dpop_nonce",
            r#"Bearer, dPoP algs="ES256", error="use_dpop_nonce""#,
        ] {
            assert_eq!(judge(401, line, &["n"]), Ok(Some(nonce("n"))), "{line}");
            assert_eq!(judge(401, line, &[]), Err(NonceRejected::Missing));
            assert_eq!(judge(401, line, &["a b"]), Err(NonceRejected::Malformed));
            assert_eq!(judge(401, line, &["n", "n"]), Err(NonceRejected::Duplicate));
            assert_eq!(judge(400, line, &["n"]), Ok(None));
        }
        for line in [
            r#"Bearer error="use_dpop_nonce""#,
            r#"DPoP error="invalid_token""#,
            r#"DPoP realm="x", Bearer error="use_dpop_nonce""#,
            "DPoP",
            "",
        ] {
            assert_eq!(judge(401, line, &["n"]), Ok(None), "{line}");
        }
    }

    /// DPOP-9: never shared between roles or origins. DPOP-8: the newest wins.
    #[test]
    fn a_nonce_is_its_servers_alone_and_the_newest_wins() {
        let nonces = Nonces::default();
        let get = |role, url| nonces.get(role, url).map(|nonce| nonce.as_str().to_owned());
        nonces.learn(Role::Resource, "https://api.example/a?b", nonce("r"));
        nonces.learn(Role::AuthorizationServer, "https://api.example/token", nonce("a"));
        for same in [
            "https://api.example/",
            "https://API.example:443/other",
            "https://api.example/v1/x?y#z",
        ] {
            assert_eq!(get(Role::Resource, same).as_deref(), Some("r"), "{same}");
            assert_eq!(get(Role::AuthorizationServer, same).as_deref(), Some("a"), "{same}");
        }
        for other in [
            "https://api.example:8443/a",
            "http://api.example/a",
            "https://api.example.evil/a",
            "https://evil.example/a",
            "data:x",
            "",
        ] {
            assert_eq!(get(Role::Resource, other), None, "{other}");
        }
        nonces.learn(Role::Resource, "https://api.example/z", nonce("new"));
        assert_eq!(get(Role::Resource, "https://api.example/").as_deref(), Some("new"));
        assert_eq!(get(Role::AuthorizationServer, "https://api.example/").as_deref(), Some("a"));
    }

    #[test]
    fn the_store_is_bounded_and_forgets_the_oldest() {
        let nonces = Nonces::default();
        let url = |n: usize| format!("https://h{n}.example/");
        for n in 0..MOST_NONCES {
            nonces.learn(Role::Resource, &url(n), nonce("n"));
        }
        nonces.learn(Role::Resource, &url(0), nonce("again"));
        nonces.learn(Role::Resource, &url(MOST_NONCES), nonce("n"));
        assert_eq!(nonces.get(Role::Resource, &url(1)), None, "the oldest by use");
        assert_eq!(nonces.get(Role::Resource, &url(0)), Some(nonce("again")));
        assert_eq!(nonces.lock().nonces.len(), MOST_NONCES);
    }

    /// DPOP-4.1/4.2-h: the header holds `typ`, the public key and an asymmetric algorithm, and the
    /// key is the prover's.
    #[test]
    fn a_proof_carries_its_public_key_and_the_servers_last_nonce() {
        let generated = generate(JwsAlg::Es256).unwrap();
        let signer =
            Arc::new(SoftwareSigner::from_pem(generated.pkcs8_pem.as_bytes(), None).unwrap());
        let nonces = Arc::new(Nonces::default());
        let prover = Prover::new(signer, nonces);
        let proof =
            |jti| prover.proof(Role::Resource, "GET", URL, Some("token"), NOW, jti).unwrap();
        let parts = |proof: String| {
            let part = |n| {
                let text = URL_SAFE_NO_PAD.decode(proof.split('.').nth(n).unwrap()).unwrap();
                serde_json::from_slice::<Value>(&text).unwrap()
            };
            (part(0), part(1))
        };
        let (header, claims) = parts(proof("one"));
        let mut public = generated.public_jwk.to_json();
        public.as_object_mut().unwrap().retain(|name, _| name != "kid" && name != "alg");
        assert_eq!(header, json!({"alg": "ES256", "typ": "dpop+jwt", "jwk": public}));
        assert!(public.get("d").is_none());
        assert!(claims.get("nonce").is_none());
        assert_eq!(claims["jti"], "one");

        prover.learn(Role::AuthorizationServer, URL, [&b"other"[..]]);
        prover.learn(Role::Resource, URL, [&b"not good"[..]]);
        assert!(parts(proof("two")).1.get("nonce").is_none());
        prover.learn(Role::Resource, URL, [&b"good"[..]]);
        prover.learn(Role::Resource, URL, []);
        assert_eq!(parts(proof("three")).1["nonce"], "good");
    }
}
