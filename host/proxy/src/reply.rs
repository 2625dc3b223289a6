//! Responses that we make ourselves.

use bytes::Bytes;
use fairlead_core::jsonrpc::{INTERNAL_ERROR, error_reply, rejection_reply, result_reply};
use fairlead_core::middleware::Rejection;
use fairlead_core::workload::Unavailable;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::body::{ReplyBody, Response};
use crate::chain::Outcome;
use crate::limits;
use crate::outbox::Reader;

/// The session that a message belongs to.
pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// The revision that a message speaks.
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The last event that a client has seen.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

fn response(status: StatusCode, body: ReplyBody) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// JSON text.
pub(crate) fn json(status: StatusCode, text: impl Into<Bytes>) -> Response {
    let mut response = response(status, ReplyBody::full(text));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// No body.
pub(crate) fn empty(status: StatusCode) -> Response {
    response(status, ReplyBody::Full(None))
}

/// A JSON-RPC error with a status of its own; `id` is JSON text.
pub(crate) fn error(status: StatusCode, id: Option<&str>, code: i64, message: &str) -> Response {
    json(status, error_reply(id, code, message, None))
}

/// The same, with when to come back.
pub(crate) fn busy(id: Option<&str>, message: &str) -> Response {
    let data = format!("{{\"kind\":\"unavailable\",\"retryAfterMs\":{}}}", limits::RETRY_AFTER.as_millis());
    let text = error_reply(id, INTERNAL_ERROR, message, Some(&data));
    let mut response = json(StatusCode::SERVICE_UNAVAILABLE, text);
    retry_after(&mut response, Some(u64::try_from(limits::RETRY_AFTER.as_millis()).unwrap_or(u64::MAX)));
    response
}

/// `405`.
pub(crate) fn wrong_method(allowed: &'static str) -> Response {
    let mut response = error(
        StatusCode::METHOD_NOT_ALLOWED,
        None,
        fairlead_core::jsonrpc::INVALID_REQUEST,
        &format!("this address takes {allowed}"),
    );
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// A stream of events.
pub(crate) fn events(reader: Reader) -> Response {
    let mut response = response(StatusCode::OK, ReplyBody::Events(reader));
    stream_headers(&mut response);
    response
}

/// Headers that keep everything on the way from collecting events.
pub(crate) fn stream_headers(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENT_STREAM);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
}

/// The text of an answer of ours; `id` is JSON text.
pub(crate) fn text_of(id: &str, outcome: &Outcome) -> Bytes {
    match outcome {
        Outcome::Result(result) => result_reply(id, std::str::from_utf8(result).unwrap_or("null")),
        Outcome::Error(rejection) => rejection_reply(Some(id), rejection),
    }
}

/// How long the client of a rejected request should wait.
pub(crate) fn wait_of(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Error(rejection) => rejection.retry_after_ms,
        Outcome::Result(_) => None,
    }
}

/// Adds `Retry-After`, in whole seconds, rounded up.
pub(crate) fn retry_after(response: &mut Response, wait_ms: Option<u64>) {
    if let Some(wait) = wait_ms {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.div_ceil(1_000)));
    }
}

/// The error for a call that got no answer.
pub(crate) fn lost(reason: &str) -> Rejection {
    Rejection {
        code: INTERNAL_ERROR,
        message: format!("no answer: {reason}"),
        data: Some("{\"kind\":\"upstream\"}".to_owned()),
        retry_after_ms: None,
    }
}

/// The error for a server that cannot be reached now.
pub(crate) fn unavailable(error: &Unavailable) -> Rejection {
    let wait = match error {
        Unavailable::BackingOff { retry_after, .. } | Unavailable::NotReady { retry_after, .. } => Some(*retry_after),
        Unavailable::SessionLimit(_) => Some(limits::RETRY_AFTER),
        Unavailable::Stopped | Unavailable::Failed(_) => None,
    };
    Rejection {
        code: INTERNAL_ERROR,
        message: error.to_string(),
        data: Some("{\"kind\":\"unavailable\"}".to_owned()),
        retry_after_ms: wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
    }
}
