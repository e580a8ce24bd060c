//! Owns the machine-readable description of the SPA contract, generated from the handlers.
//! Must not know: anything the handlers do not say themselves.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use http::{HeaderValue, header::CONTENT_TYPE};
use utoipa::{OpenApi, openapi::Server};

use super::{Spa, answers};
use crate::web::{
    AuthorizationHint, Body, ErrorAnswer, ErrorBody, ErrorCode, RequestId, StepUpHint, Surface,
    harden,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "fapi-bff, SPA contract",
        description = "What a single-page app calls. Every call by script is same-origin and carries the header `x-bff-csrf: 1`, on GET too. An API call that is refused with 401 `step_up_required` carries `step_up`: hand its members to `login/start` as parameters (`acr_values` joined by spaces), log in, and repeat the call. One that is refused with 401 `authorization_required` carries `authorization`: hand its member of that name to `login/start`, with the `intent` to be authorized, log in, and repeat the call."
    ),
    paths(
        super::login::login_start,
        super::login::login_end,
        super::session::session,
        super::session::userinfo,
        super::session::refresh,
        super::logout::logout,
        super::own::sessions,
        super::own::end_session,
        super::login::navigate_to_login,
        super::login::callback,
        super::login::posted_callback,
        super::login::initiate,
        super::logout::logout_continue,
        super::logout::logout_callback,
        super::session::jwks,
        super::logout_channels::backchannel,
        super::logout_channels::frontchannel
    ),
    components(schemas(
        answers::LoginStarted,
        answers::SessionState,
        answers::Refreshed,
        answers::LoggedOut,
        answers::OwnSessions,
        answers::OwnSession,
        answers::SessionsEnded,
        super::logout_channels::LogoutError,
        ErrorBody,
        ErrorCode,
        AuthorizationHint,
        StepUpHint
    ))
)]
struct Contract;

pub(super) async fn document(
    State(spa): State<Arc<Spa>>,
    Extension(id): Extension<RequestId>,
) -> Response<Body> {
    let mut contract = Contract::openapi();
    contract.servers = Some(vec![Server::new(&spa.prefix)]);
    let mut response = match contract.to_json() {
        Ok(json) => {
            let mut response = Response::new(Body::from(json));
            let value = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, value);
            response
        }
        Err(_) => ErrorAnswer::new(ErrorCode::ServerError).into_response(&id),
    };
    harden(response.headers_mut(), Surface::Api);
    response
}

#[cfg(test)]
mod tests {
    use super::{
        super::{CALLS, callback_methods},
        *,
    };
    use crate::profile::ResponseMode;

    /// A call that is not in the document, or the reverse, fails here.
    #[test]
    fn the_document_describes_exactly_the_calls_there_are() {
        let contract = serde_json::to_value(Contract::openapi()).unwrap();
        let mut described: Vec<(String, String)> = contract["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                item.as_object().unwrap().keys().map(|m| (path.clone(), m.to_uppercase()))
            })
            .collect();
        let callback = callback_methods(ResponseMode::Fragment);
        let every = CALLS.iter().map(|(path, methods, _, _)| (*path, *methods));
        let mut real: Vec<(String, String)> = every
            .chain([("/callback", callback)])
            .flat_map(|(path, methods)| {
                methods.iter().map(move |method| (path.to_owned(), method.to_string()))
            })
            .collect();
        described.sort();
        real.sort();
        assert_eq!(described, real);
    }
}
