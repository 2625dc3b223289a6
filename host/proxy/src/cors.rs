//! Web pages as clients: what a browser has to be told before it lets a page read a response.
//!
//! Whether a page may use this listener at all was decided before ([`crate::edge::check_origin`]); here it is only told that
//! it may. Nothing is shared with every page (`*`), and cookies are never asked for: there are none.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::body::Response;
use crate::reply;

/// What a client of MCP sends. Named one by one: a `*` does not cover `Authorization`.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "accept, authorization, content-type, last-event-id, mcp-method, mcp-name, mcp-protocol-version, mcp-session-id, \
     traceparent, tracestate, x-api-key",
);

/// What it needs to read besides what every page may.
const EXPOSED_HEADERS: HeaderValue =
    HeaderValue::from_static("mcp-session-id, mcp-protocol-version, retry-after, www-authenticate");

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");

/// How long a browser remembers the answer, in seconds: as long as browsers allow.
const REMEMBERED: HeaderValue = HeaderValue::from_static("7200");

/// The page that asks, when a page asks.
pub(crate) fn page(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ORIGIN).cloned()
}

/// Whether a browser asks before it sends what a page wants to send.
pub(crate) fn is_preflight(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to that: it may.
pub(crate) fn preflight() -> Response {
    let mut response = reply::empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, REMEMBERED);
    response
}

/// Lets a page read a response. What a server said about that itself was about its own address, and gives way.
pub(crate) fn share(response: &mut Response, page: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, page);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    headers.append(VARY, HeaderValue::from_static("origin"));
}
