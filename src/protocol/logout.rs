//! Owns the URL of a logout that this client starts (OpenID Connect RP-Initiated Logout §2).
//! Must not know: sessions, or whether the server was reached.

use url::Url;

/// The end-session URL to navigate to (RPL-2/2.1). `client_id` is always sent, since the hint may
/// be absent; `state` is ours and is checked when the browser returns (RPL-2b). The result holds
/// the ID token: it goes into a redirect, never into a log.
pub fn end_session_url(
    endpoint: &Url,
    client_id: &str,
    id_token_hint: Option<&str>,
    post_logout_redirect_uri: &str,
    state: &str,
) -> Url {
    let mut url = endpoint.clone();
    let mut query = url.query_pairs_mut();
    if let Some(hint) = id_token_hint {
        query.append_pair("id_token_hint", hint);
    }
    query
        .append_pair("client_id", client_id)
        .append_pair("post_logout_redirect_uri", post_logout_redirect_uri)
        .append_pair("state", state);
    drop(query);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_end_session_url() {
        let endpoint = Url::parse("https://as.example/logout?tenant=1").unwrap();
        let url =
            end_session_url(&endpoint, "bff", Some("a.b.c"), "https://app.example/?x=1&y=2", "st");
        assert_eq!(
            url.as_str(),
            "https://as.example/logout?tenant=1&id_token_hint=a.b.c&client_id=bff\
             &post_logout_redirect_uri=https%3A%2F%2Fapp.example%2F%3Fx%3D1%26y%3D2&state=st"
        );
    }

    #[test]
    fn without_an_id_token_there_is_no_hint() {
        let endpoint = Url::parse("https://as.example/logout").unwrap();
        let url = end_session_url(&endpoint, "bff", None, "https://app.example/", "st");
        let names: Vec<_> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
        assert_eq!(names, ["client_id", "post_logout_redirect_uri", "state"]);
    }
}
