//! Owns what an issuer identifier may look like and where its metadata stands.
//! Must not know: the metadata itself.

use serde::{Deserialize, Serialize};
use url::Url;

use super::reason::rejection;

/// Longest issuer identifier accepted, in characters.
const MAX_CHARS: usize = 512;

/// Which specification says where the metadata stands; chosen per issuer, never both (META-3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Discovery {
    /// OpenID Connect Discovery: the well-known path is appended to the issuer's.
    #[default]
    OpenId,
    /// RFC 8414: the well-known path stands between host and the issuer's path.
    OAuth,
}

rejection! {
    /// Why a text is not an issuer identifier (META-2).
    pub enum IssuerRejected {
        TooLong => "issuer.too_long", "the issuer is longer than 512 characters";
        NotHttps => "issuer.not_https", "the issuer does not begin with https://";
        Malformed => "issuer.malformed", "the issuer is not a URL in printable ASCII";
        QueryOrFragment => "issuer.query_or_fragment", "the issuer has a query or fragment";
        Userinfo => "issuer.userinfo", "the issuer holds a user name or password";
    }
}

/// Whether `issuer` is an https URL without query, fragment or user information. The text itself
/// stays what is compared, byte for byte (FAPI2-SP-5.3.3.1-11); no normal form of it exists here.
pub fn check_issuer(issuer: &str) -> Result<(), IssuerRejected> {
    parse(issuer).map(drop)
}

fn parse(issuer: &str) -> Result<Url, IssuerRejected> {
    if issuer.len() > MAX_CHARS {
        return Err(IssuerRejected::TooLong);
    }
    if !issuer.starts_with("https://") {
        return Err(IssuerRejected::NotHttps);
    }
    if issuer.contains(['?', '#']) {
        return Err(IssuerRejected::QueryOrFragment);
    }
    if !issuer.bytes().all(|c| c.is_ascii_graphic() && c != b'\\') {
        return Err(IssuerRejected::Malformed);
    }
    let url = Url::parse(issuer).map_err(|_| IssuerRejected::Malformed)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(IssuerRejected::Userinfo);
    }
    Ok(url)
}

/// Where the metadata of `issuer` stands. One trailing slash of the issuer is dropped first, for
/// this URL only (META-3.1).
pub fn well_known_url(issuer: &str, discovery: Discovery) -> Result<Url, IssuerRejected> {
    let mut url = parse(issuer)?;
    let path = url.path().strip_suffix('/').unwrap_or(url.path());
    let path = match discovery {
        Discovery::OpenId => format!("{path}/.well-known/openid-configuration"),
        Discovery::OAuth => format!("/.well-known/oauth-authorization-server{path}"),
    };
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// META-3.1.
    #[test]
    fn both_well_known_forms() {
        for (issuer, openid, oauth) in [
            (
                "https://h",
                "https://h/.well-known/openid-configuration",
                "https://h/.well-known/oauth-authorization-server",
            ),
            (
                "https://h/",
                "https://h/.well-known/openid-configuration",
                "https://h/.well-known/oauth-authorization-server",
            ),
            (
                "https://h:8443/test/a/alias/",
                "https://h:8443/test/a/alias/.well-known/openid-configuration",
                "https://h:8443/.well-known/oauth-authorization-server/test/a/alias",
            ),
            (
                "https://h/t1",
                "https://h/t1/.well-known/openid-configuration",
                "https://h/.well-known/oauth-authorization-server/t1",
            ),
            (
                "https://h/t1//",
                "https://h/t1//.well-known/openid-configuration",
                "https://h/.well-known/oauth-authorization-server/t1/",
            ),
        ] {
            assert_eq!(well_known_url(issuer, Discovery::OpenId).unwrap().as_str(), openid);
            assert_eq!(well_known_url(issuer, Discovery::OAuth).unwrap().as_str(), oauth);
        }
    }

    /// META-2, FAPI2-SP-5.2.1-1/2.
    #[test]
    fn what_is_not_an_issuer() {
        let long = format!("https://h/{}", "a".repeat(503));
        for (issuer, rejected) in [
            ("", IssuerRejected::NotHttps),
            ("http://h", IssuerRejected::NotHttps),
            ("HTTPS://h", IssuerRejected::NotHttps),
            (" https://h", IssuerRejected::NotHttps),
            ("https:h", IssuerRejected::NotHttps),
            ("https://h?", IssuerRejected::QueryOrFragment),
            ("https://h/?a=b", IssuerRejected::QueryOrFragment),
            ("https://h/#", IssuerRejected::QueryOrFragment),
            ("https://u@h/", IssuerRejected::Userinfo),
            ("https://u:p@h/", IssuerRejected::Userinfo),
            ("https://", IssuerRejected::Malformed),
            ("https://h /", IssuerRejected::Malformed),
            ("https://h\n", IssuerRejected::Malformed),
            ("https://h\\x", IssuerRejected::Malformed),
            ("https://münchen.example", IssuerRejected::Malformed),
            ("https://h:99999/", IssuerRejected::Malformed),
            (long.as_str(), IssuerRejected::TooLong),
        ] {
            assert_eq!(check_issuer(issuer), Err(rejected), "{issuer}");
        }
        assert_eq!(check_issuer(&format!("https://h/{}", "a".repeat(502))), Ok(()));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(issuer: String, rest in "https://\\PC{0,40}") {
            for text in [issuer, rest] {
                let _ = check_issuer(&text);
                let _ = well_known_url(&text, Discovery::OAuth);
            }
        }
    }
}
