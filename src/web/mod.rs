//! Owns the HTTP vocabulary that the faces share: error answers, cookies, guards, security headers.
//! Must not know: OAuth, what a session holds, or any route.

mod address;
mod chunks;
mod cookies;
mod errors;
mod guard;
mod headers;
mod request_id;

pub use address::ClientAddress;
pub use chunks::{
    CHUNKS_BUDGET, Chunked, MOST_CHUNKS, all_chunks, chunks, clear_chunks, parts as chunk_parts,
    room as chunk_room, set_chunks,
};
pub use cookies::{
    CookieNames, CookieValue, MAX_COOKIE_OCTETS, SameSite, clear_cookie, cookie, cookie_values,
    cookies_with_prefix, set_cookie,
};
pub use errors::{
    AuthorizationHint, ErrorAnswer, ErrorBody, ErrorCode, Refusal, StepUpHint, with_cookies,
};
pub use guard::{Guard, GuardRejection};
pub use headers::{Surface, framed_by, harden};
pub use request_id::RequestId;

/// The body type of every request and answer.
pub type Body = axum::body::Body;
