//! Owns what one access token is for: a resource server (RFC 8707) and part of the scope.
//! Must not know: which routes lead there, or where tokens are kept.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use super::reason::rejection;

/// What an access token of a session's grant is narrowed to (BCP-2.2-2.3).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Target {
    /// The resource server, as the authorization server knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Space-separated part of the scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

rejection! {
    /// Why a resource indicator, or a token for it, is not used.
    pub enum ResourceRejected {
        NotAbsolute => "resource.not_absolute", "the resource is not an absolute URI (RES-2)";
        Fragment => "resource.fragment", "the resource has a fragment (RES-2)";
        NotPrintable => "resource.not_printable", "the resource is not printable ASCII";
        AudienceTooBroad => "resource.audience_too_broad", "the token is for another of the app's APIs, too (RES-2.1/2.2)";
    }
}

/// Whether a resource indicator is an absolute URI without fragment (RES-2).
pub fn check_resource(resource: &str) -> Result<(), ResourceRejected> {
    if !resource.bytes().all(|c| c.is_ascii_graphic() && !matches!(c, b'"' | b'\\' | b'<' | b'>')) {
        return Err(ResourceRejected::NotPrintable);
    }
    let uri = Url::parse(resource).map_err(|_| ResourceRejected::NotAbsolute)?;
    // `Url` also takes what lacks its slashes or its path: `https:x`, `urn:`.
    let rest = resource.split_once(':').map_or("", |(_, rest)| rest);
    let whole = if uri.has_authority() { rest.starts_with("//") } else { !rest.is_empty() };
    if !whole || (uri.is_special() && !uri.has_host()) {
        return Err(ResourceRejected::NotAbsolute);
    }
    if uri.fragment().is_some() { Err(ResourceRejected::Fragment) } else { Ok(()) }
}

/// Whether an access token is for `resource` alone of all the app's `resources`, as far as we can see:
/// a JWT says so in `aud`, an opaque one only to its resource servers. The JWT is read, not verified:
/// this finds mistakes of the server's, it does not let anybody in.
pub fn check_audience(
    access_token: &str,
    resource: &str,
    resources: &[String],
) -> Result<(), ResourceRejected> {
    let mut parts = access_token.split('.');
    let (Some(_), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Ok(());
    };
    let claims = URL_SAFE_NO_PAD.decode(payload).ok();
    let claims = claims.and_then(|json| serde_json::from_slice::<Map<String, Value>>(&json).ok());
    let Some(claims) = claims else { return Ok(()) };
    let foreign = |audience: &Value| {
        audience.as_str().is_some_and(|audience| {
            audience != resource && resources.iter().any(|other| other == audience)
        })
    };
    let too_broad = match claims.get("aud") {
        Some(Value::Array(audiences)) => audiences.iter().any(foreign),
        Some(audience) => foreign(audience),
        None => false,
    };
    if too_broad { Err(ResourceRejected::AudienceTooBroad) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RES-2.
    #[test]
    fn a_resource_is_an_absolute_uri_without_fragment() {
        use ResourceRejected::{Fragment, NotAbsolute, NotPrintable};
        for good in [
            "https://api.example",
            "https://api.example/",
            "https://api.example:8443/v1?x=1",
            "urn:example:accounts",
            "api://accounts",
        ] {
            assert_eq!(check_resource(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", NotAbsolute),
            ("/accounts", NotAbsolute),
            ("accounts", NotAbsolute),
            ("//api.example/", NotAbsolute),
            ("api.example/accounts", NotAbsolute),
            ("https:", NotAbsolute),
            ("https://", NotAbsolute),
            ("https:api.example", NotAbsolute),
            ("https:/api.example", NotAbsolute),
            ("urn:", NotAbsolute),
            ("https://api.example/#x", Fragment),
            ("https://api.example/#", Fragment),
            ("urn:example#x", Fragment),
            ("https://api.example/a b", NotPrintable),
            ("https://api.example/é", NotPrintable),
            ("https://api.example/\n", NotPrintable),
        ] {
            assert_eq!(check_resource(bad), Err(why), "{bad}");
        }
    }

    fn jwt(claims: &Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    /// RES-2.1/2.2: a token with two audiences is for no route.
    #[test]
    fn a_token_for_another_api_of_the_app_is_refused() {
        let all = ["https://a.example/", "https://b.example/"].map(str::to_owned);
        let judge = |token: &str| check_audience(token, "https://a.example/", &all);
        for good in [
            json!({"aud": "https://a.example/"}),
            json!({"aud": ["https://a.example/", "https://as.example/userinfo"]}),
            json!({"aud": "accounts-api"}),
            json!({"aud": 7}),
            json!({}),
        ] {
            assert_eq!(judge(&jwt(&good)), Ok(()), "{good}");
        }
        for bad in [
            json!({"aud": "https://b.example/"}),
            json!({"aud": ["https://a.example/", "https://b.example/"]}),
        ] {
            assert_eq!(judge(&jwt(&bad)), Err(ResourceRejected::AudienceTooBroad), "{bad}");
        }
        for opaque in ["", "opaque", "a.b", "a.b.c", "a.b.c.d", "e30.W10.c2ln"] {
            assert_eq!(judge(opaque), Ok(()), "{opaque}");
        }
    }
}
