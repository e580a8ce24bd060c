//! Owns one exchange with an upstream: send, wait for the head, classify what goes wrong.
//! Must not know: sessions, routes' access rules, retries.

use std::{pin::pin, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use tokio::time::{Instant, sleep_until};

use super::{
    body::{Cut, RequestBody, Upload},
    fault::Fault,
    ports::{Observer, Transport},
};

/// Sends `request` and waits for the response head.
///
/// `first_byte` bounds the time during which the upstream could answer but does not: while the client
/// still owes bytes of its body, the body's own idle time-out judges the client instead. Dropping the
/// future abandons the request.
pub async fn exchange<T: Transport>(
    transport: &T,
    request: Request<RequestBody>,
    upload: Option<&Arc<Upload>>,
    first_byte: Duration,
    route: &str,
    observer: &dyn Observer,
) -> Result<Response<T::Body>, Fault> {
    let start = Instant::now();
    let outcome = answer(transport, request, upload, first_byte, start, route).await;
    let class = match &outcome {
        Ok(response) => class(response.status()),
        Err(Fault::Unreachable | Fault::Broken) => "unreachable",
        Err(Fault::Timeout) => "timeout",
        Err(_) => "aborted",
    };
    observer.upstream(route, class, start.elapsed().as_secs_f64());
    outcome
}

async fn answer<T: Transport>(
    transport: &T,
    request: Request<RequestBody>,
    upload: Option<&Arc<Upload>>,
    first_byte: Duration,
    start: Instant,
    route: &str,
) -> Result<Response<T::Body>, Fault> {
    let mut head = pin!(transport.send(request));
    let mut timer = pin!(sleep_until(start + first_byte));
    loop {
        tokio::select! {
            biased;
            answer = &mut head => return match answer {
                Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => Err(Fault::Protocol),
                Ok(response) => Ok(response),
                Err(unsent) => {
                    let fault = match upload.and_then(|upload| upload.cut()) {
                        Some(Cut::TooLarge) => Fault::BodyTooLarge,
                        Some(Cut::Idle) => Fault::BodyStalled,
                        Some(Cut::Broken | Cut::SessionEnded | Cut::Superseded) => Fault::BodyBroken,
                        None if unsent.unconnected => Fault::Unreachable,
                        None => Fault::Broken,
                    };
                    tracing::warn!(route, reason = fault.reason(), cause = %unsent.cause, "no answer from upstream");
                    Err(fault)
                }
            },
            () = &mut timer => {
                let due = upload.map_or(start, |upload| upload.upstream_owes_since()) + first_byte;
                if due <= Instant::now() {
                    return Err(Fault::Timeout);
                }
                timer.as_mut().reset(due);
            }
        }
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}
