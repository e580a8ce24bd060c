//! Takes secrets out of a transcript and leaves what an auditor wants to see: that a value was there,
//! how long it was, whether it is the same as another one, and what a token says that is no secret. It
//! must not know who sent what.

use std::collections::BTreeSet;

use serde_json::Value;
use url::{Url, form_urlencoded};

use crate::jws::{Object, peek, sha256_b64};

/// Parameters, JSON members and claims whose values nobody may read.
const SECRET: [&str; 25] = [
    "access_token",
    "at_hash",
    "c_hash",
    "client_assertion",
    "client_secret",
    "code",
    "code_challenge",
    "code_verifier",
    "csrf",
    "email",
    "id_token",
    "id_token_hint",
    "jti",
    "logout_token",
    "name",
    "nonce",
    "password",
    "refresh_token",
    "request",
    "request_uri",
    "response",
    "s_hash",
    "sid",
    "state",
    "token",
];

/// Headers of which only the shape may be seen.
const SECRET_HEADERS: [&str; 6] =
    ["authorization", "cookie", "dpop", "dpop-nonce", "proxy-authorization", "set-cookie"];

/// Redacts one module's transcript.
#[derive(Debug)]
pub struct Redactor {
    /// Every secret that is known as such, longest first.
    known: Vec<String>,
}

impl Redactor {
    /// With the secrets that are known beforehand: they are taken out wherever they stand.
    pub fn new(known: impl IntoIterator<Item = String>) -> Self {
        let unique: BTreeSet<String> = known.into_iter().filter(|s| s.len() >= 16).collect();
        let mut known: Vec<String> = unique.into_iter().collect();
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { known }
    }

    /// Any text: known secrets go, as they are or form-encoded.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.known {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), &shape(secret));
            }
            let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            if encoded != *secret && text.contains(&encoded) {
                text = text.replace(&encoded, &shape(secret));
            }
        }
        text
    }

    /// An address: secret parameters of its query and fragment go.
    pub fn url(&self, url: &str) -> String {
        let (rest, fragment) = match url.split_once('#') {
            Some((rest, fragment)) => (rest, Some(fragment)),
            None => (url, None),
        };
        let mut shown = match rest.split_once('?') {
            Some((path, query)) => format!("{path}?{}", self.form(query)),
            None => rest.to_owned(),
        };
        if let Some(fragment) = fragment {
            shown.push('#');
            shown.push_str(&self.form(fragment));
        }
        self.text(&shown)
    }

    /// A form or query: secret parameters go, tokens are taken apart.
    pub fn form(&self, form: &str) -> String {
        let pairs = form_urlencoded::parse(form.as_bytes());
        let shown: Vec<String> = pairs
            .map(|(name, value)| match value.as_ref() {
                "" if form.is_empty() => String::new(),
                value => format!("{name}={}", self.value(&name, value)),
            })
            .collect();
        self.text(&shown.join("&"))
    }

    /// Headers: of secret ones the shape, of addresses the redacted form.
    pub fn headers(&self, headers: &[(String, String)]) -> Vec<(String, String)> {
        let shown = |(name, value): &(String, String)| {
            let value = match name.as_str() {
                "cookie" => value.split("; ").map(cookie).collect::<Vec<_>>().join("; "),
                "set-cookie" => match value.split_once(';') {
                    Some((pair, attributes)) => format!("{};{attributes}", cookie(pair)),
                    None => cookie(value),
                },
                "authorization" | "proxy-authorization" => match value.split_once(' ') {
                    Some((scheme, token)) => format!("{scheme} {}", shape(token)),
                    None => shape(value),
                },
                "location" | "referer" => self.url(value),
                other if SECRET_HEADERS.contains(&other) => shape(value),
                _ => value.clone(),
            };
            (name.clone(), self.text(&value))
        };
        headers.iter().map(shown).collect()
    }

    /// A body, by the `content-type` among these headers.
    pub fn body(&self, headers: &[(String, String)], body: &str) -> String {
        let kind = headers.iter().find(|(name, _)| name == "content-type");
        let kind = kind.map_or("", |(_, value)| value.as_str());
        if kind.starts_with("application/x-www-form-urlencoded") {
            return self.form(body);
        }
        match serde_json::from_str::<Value>(body) {
            Ok(mut json) => {
                self.json("", &mut json);
                self.text(&json.to_string())
            }
            Err(_) => self.text(body),
        }
    }

    fn json(&self, name: &str, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.value(name, text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.json(name, item)),
            Value::Object(members) => {
                members.iter_mut().for_each(|(name, member)| self.json(name, member));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn value(&self, name: &str, value: &str) -> String {
        if let Some(token) = self.token(value) {
            return token;
        }
        if SECRET.contains(&name) {
            return shape(value);
        }
        if name == "authorization_url" || name == "logout_url" {
            return self.url(value);
        }
        value.to_owned()
    }

    /// A JWS, taken apart: its header and what its claims say that is no secret.
    fn token(&self, value: &str) -> Option<String> {
        if value.len() < 20 || value.matches('.').count() != 2 {
            return None;
        }
        let (header, mut claims) = peek(value).ok()?;
        for (name, claim) in &mut claims {
            self.json(name, claim);
        }
        let text = |object: Object| Value::Object(object).to_string();
        Some(format!("⟨JWS {} {} {}⟩", text(header), text(claims), mark(value)))
    }
}

fn cookie(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, "")) => format!("{name}="),
        Some((name, value)) => format!("{name}={}", shape(value)),
        None => shape(pair),
    }
}

/// That there was something, how long, and which: equal secrets have equal shapes.
fn shape(secret: &str) -> String {
    if secret.is_empty() {
        return String::new();
    }
    format!("⟨{} characters {}⟩", secret.chars().count(), mark(secret))
}

fn mark(secret: &str) -> String {
    let sum = sha256_b64(secret.as_bytes());
    format!("#{}", sum.get(..6).unwrap_or_default())
}

/// Who lives at an address, as the transcript calls it.
pub(super) fn host(url: &str) -> String {
    let url = Url::parse(url).ok();
    match url.as_ref().and_then(Url::host_str) {
        Some(crate::pki::AS_HOST) => "authorization server",
        Some(crate::pki::AS_MTLS_HOST) => "authorization server (mTLS)",
        _ => "bff",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CODE: &str = "SplxlOBeZQQYbYS6WxSbIA-and-more-of-it";

    fn redactor() -> Redactor {
        Redactor::new([CODE.to_owned()])
    }

    #[test]
    fn secrets_go_by_name_and_wherever_they_are_known() {
        let r = redactor();
        let shown = r.form(&format!("grant_type=authorization_code&code={CODE}&other={CODE}"));
        assert!(shown.starts_with("grant_type=authorization_code&code=⟨37 characters #"));
        assert!(!shown.contains(CODE));
        let unknown = r.form("code_verifier=aaaa&client_id=c");
        assert!(unknown.contains("client_id=c") && !unknown.contains("aaaa"), "{unknown}");
        let url = r.url(&format!("https://app/?x=1&code={CODE}#state=zzzz"));
        assert!(!url.contains(CODE) && !url.contains("zzzz") && url.contains("x=1"), "{url}");
        let body = format!(r#"{{"access_token":"{CODE}","expires_in":9,"deep":{{"nonce":"n"}}}}"#);
        let json = r.body(&[], &body);
        assert!(json.contains("\"expires_in\":9") && !json.contains(CODE), "{json}");
        assert!(!json.contains(r#""nonce":"n""#), "{json}");
        assert_eq!(r.text(&format!("<p>{CODE}</p>")).matches(CODE).count(), 0);
    }

    #[test]
    fn an_encoded_secret_goes_too() {
        let secret = "urn:example:with:colons:0123456789";
        let r = Redactor::new([secret.to_owned()]);
        let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        assert!(!r.text(&format!("x{encoded}y")).contains(&encoded));
    }

    #[test]
    fn headers_keep_names_schemes_and_attributes() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
        };
        let shown = redactor().headers(&pairs(&[
            ("authorization", "Bearer secret-token-value"),
            ("cookie", "a=secret-one; b=secret-two"),
            ("set-cookie", "a=secret-one; Path=/; Secure"),
            ("set-cookie", "a=; Max-Age=0"),
            ("location", "https://app/?response=aaa.bbb.ccc&x=1"),
            ("dpop", "secret-proof"),
            ("accept", "*/*"),
        ]));
        let all = format!("{shown:?}");
        assert!(!all.contains("secret") && !all.contains("aaa.bbb.ccc"), "{all}");
        assert!(shown[0].1.starts_with("Bearer ⟨18 characters #"), "{all}");
        assert!(shown[2].1.ends_with("; Path=/; Secure") && shown[3].1 == "a=; Max-Age=0");
        assert_eq!(shown[6].1, "*/*");
        assert_eq!(shown[1].1.split("; ").next().unwrap(), shown[2].1.split(';').next().unwrap());
    }

    #[test]
    fn a_token_shows_what_it_says_and_not_what_it_is() {
        let key = crate::jws::SigningKey::generate(crate::jws::Alg::Es256).unwrap();
        let claims = json!({"iss": "https://as/", "exp": 7, "nonce": "nnnn", "jti": "jjjj"});
        let Value::Object(claims) = claims else { unreachable!() };
        let token = key.sign_jws(&key.header(Some("JWT")), &claims).unwrap();
        let shown = redactor().form(&format!("client_assertion={token}"));
        assert!(shown.contains("ES256") && shown.contains("https://as/"), "{shown}");
        assert!(shown.contains("\"exp\":7"), "{shown}");
        assert!(!shown.contains("nnnn") && !shown.contains("jjjj") && !shown.contains(&token));
    }
}
