//! Looks for secrets where none may be: everything the browser saw, less the few places where the
//! design hands it one in a URL between the authorization server and the app. It must not know which
//! step an answer belongs to.

use url::{Url, form_urlencoded};

/// One answer as the browser saw it.
#[derive(Clone, Debug)]
pub struct Sight {
    /// Method, address without query, status.
    pub what: String,
    /// Every header and the body, without the values in `passed`.
    pub text: String,
    /// What was handed to the browser by design.
    pub passed: Vec<String>,
}

/// Takes out of a URL what may travel in it: `response` towards the app; `request_uri` and
/// `id_token_hint` towards the authorization server. Answers the rest of the URL and what was taken.
pub fn by_design(url: &str, app_host: &str) -> (String, Vec<String>) {
    let Ok(parsed) = Url::parse(url) else {
        return (url.to_owned(), Vec::new());
    };
    let allowed: &[&str] = if parsed.host_str() == Some(app_host) {
        &["response"]
    } else {
        &["request_uri", "id_token_hint"]
    };
    let (taken, kept): (Vec<_>, Vec<_>) =
        parsed.query_pairs().into_owned().partition(|(name, _)| allowed.contains(&name.as_str()));
    let mut rest = parsed;
    rest.query_pairs_mut().clear().extend_pairs(kept);
    (rest.into(), taken.into_iter().map(|(_, value)| value).collect())
}

/// The secrets found in `text`, as they are or form-encoded.
pub fn found<'a>(text: &str, secrets: &'a [String]) -> Vec<&'a str> {
    let encoded =
        |secret: &str| form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>();
    let present =
        |secret: &&String| text.contains(secret.as_str()) || text.contains(&encoded(secret));
    secrets.iter().filter(present).map(String::as_str).collect()
}

/// What a secret looks like in a report: enough to find it, not enough to use it.
pub fn hint(secret: &str) -> String {
    format!("{}… ({} characters)", secret.chars().take(6).collect::<String>(), secret.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_designed_parameters_pass_and_only_in_their_direction() {
        let (rest, passed) = by_design("https://app/?response=JARM&code=c", "app");
        assert_eq!((rest.as_str(), passed), ("https://app/?code=c", vec!["JARM".to_owned()]));
        let (rest, passed) = by_design("https://app/?id_token_hint=T", "app");
        assert_eq!((rest.as_str(), passed.len()), ("https://app/?id_token_hint=T", 0));
        let (rest, passed) =
            by_design("https://as/a?client_id=x&request_uri=urn%3Ar&response=J", "app");
        assert_eq!(rest, "https://as/a?client_id=x&response=J");
        assert_eq!(passed, ["urn:r"]);
    }

    #[test]
    fn a_secret_is_found_plain_and_encoded() {
        let secrets = ["urn:x:1".to_owned(), "abc".to_owned()];
        assert_eq!(found("location: ?u=urn%3Ax%3A1", &secrets), ["urn:x:1"]);
        assert_eq!(found("xabcx urn:x:1", &secrets), ["urn:x:1", "abc"]);
        assert_eq!(found("nothing", &secrets), [""; 0]);
    }
}
