//! A login from the first click to a session, and every way it must not end in one.

use crate::support::Bed;
use fapi_bff_conformance::as_double::Endpoint;

/// The golden flow: one PAR, one token request, a session with the claims the page may see.
#[tokio::test]
async fn a_login_ends_in_a_session_with_the_claims_a_page_may_see() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let session = bed.login(&mut browser).await;
    assert_eq!(session["is_logged_in"], true);
    assert_eq!(session["id_token_claims"]["sub"], "alice");
    assert!(session["id_token_claims"].get("nonce").is_none(), "not for pages");
    assert!(bed.is_logged_in(&mut browser).await);
    assert_eq!((bed.double.count(Endpoint::Par), bed.double.count(Endpoint::Token)), (1, 1));
    assert_eq!(bed.last_audit("login.end"), ("success".to_owned(), "none".to_owned()));
}
