//! One request of ours to an HTTP server, and its answer: for whoever needs to know something that no client has asked.

use bytes::Bytes;
use fairlead_core::jsonrpc::{Envelope, Kind};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;

use super::client::{Unreachable, UpstreamBody};
use crate::Proxy;
use crate::body::collect;
use crate::limits::UPSTREAM_MESSAGE_BYTES_MAX;
use crate::modern::headers::METHOD;
use crate::reply::PROTOCOL_VERSION;
use crate::route::Published;
use crate::sse::Parser;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error("the answer broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("status {0}, and no message")]
    Nonsense(StatusCode),
}

/// The headers of a message of ours; the revision and the method as well when it describes itself.
pub(crate) fn headers_of(message: &Envelope) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(version) = message.claimed_version().and_then(|version| HeaderValue::try_from(version.as_ref()).ok()) {
        headers.insert(PROTOCOL_VERSION, version);
        if let Ok(method) = HeaderValue::try_from(message.method()) {
            headers.insert(METHOD, method);
        }
    }
    headers
}

/// Sends it as it is.
pub(crate) async fn send(
    proxy: &Proxy,
    route: &Published,
    method: http::Method,
    headers: HeaderMap,
    text: Bytes,
) -> Result<http::Response<UpstreamBody>, Unreachable> {
    send_with(proxy, route, method, headers, &HeaderMap::new(), text).await
}

/// The same, with the headers that middleware has `added`.
pub(crate) async fn send_with(
    proxy: &Proxy,
    route: &Published,
    method: http::Method,
    headers: HeaderMap,
    added: &HeaderMap,
    text: Bytes,
) -> Result<http::Response<UpstreamBody>, Unreachable> {
    let place = route.endpoint.place(&route.upstream).await?;
    let mut request = http::Request::new(http_body_util::Full::new(text));
    (*request.method_mut(), *request.headers_mut()) = (method, headers);
    route.endpoint.send(&place, request, added, proxy.config.request_idle_max).await
}

/// Sends a request and reads its answer.
pub(crate) async fn ask(
    proxy: &Proxy,
    route: &Published,
    message: &Envelope,
    headers: HeaderMap,
) -> Result<(http::response::Parts, Envelope), Unanswered> {
    ask_with(proxy, route, message, headers, &HeaderMap::new()).await
}

/// The same, with the headers that middleware has `added`.
pub(crate) async fn ask_with(
    proxy: &Proxy,
    route: &Published,
    message: &Envelope,
    headers: HeaderMap,
    added: &HeaderMap,
) -> Result<(http::response::Parts, Envelope), Unanswered> {
    let response = send_with(proxy, route, http::Method::POST, headers, added, message.raw().clone()).await?;
    let (head, body) = response.into_parts();
    let answer = answer(proxy, &head, body, message.id()).await?;
    Ok((head, answer))
}

/// The answer in a response, whether it is JSON or a stream.
pub(crate) async fn answer(
    proxy: &Proxy,
    head: &http::response::Parts,
    mut body: UpstreamBody,
    id: Option<&str>,
) -> Result<Envelope, Unanswered> {
    let nonsense = || Unanswered::Nonsense(head.status);
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| Unanswered::Broken(error);
    if !head.headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream")) {
        let read = collect(&mut body, UPSTREAM_MESSAGE_BYTES_MAX, proxy.config.request_idle_max).await;
        return Envelope::parse(read.map_err(|error| broken(error.into()))?).map_err(|_| nonsense());
    }
    let mut parser = Parser::new(UPSTREAM_MESSAGE_BYTES_MAX);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(error.into()))?;
        parser.push(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(event) = parser.next_event().map_err(|error| broken(error.into()))? {
            let message = event.data.and_then(|data| Envelope::parse(data).ok());
            let is_answer =
                |message: &Envelope| matches!(message.kind(), Kind::Response | Kind::Error) && message.id() == id;
            if let Some(answer) = message.filter(is_answer) {
                return Ok(answer);
            }
        }
    }
    Err(nonsense())
}
