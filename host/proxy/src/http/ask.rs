//! One request of ours to an HTTP server, and its answer: for whoever needs to know something that no client has asked.

use bytes::Bytes;
use fairlead_core::jsonrpc::{Envelope, Kind};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;

use super::client::{Unreachable, UpstreamBody};
use crate::Proxy;
use crate::body::{ReadError, collect};
use crate::limits::{EXAMINED_BYTES_MAX, UPSTREAM_MESSAGE_BYTES_MAX};
use crate::modern::headers::METHOD;
use crate::reply::PROTOCOL_VERSION;
use crate::route::Published;
use crate::sse::{EventTooLong, Parser};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error("the answer broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
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

/// Asks a server who it is, or whether it is there, and reads its answer. That is short where all is well, and who asks may know
/// nothing of the server yet.
pub(crate) async fn ask(
    proxy: &Proxy,
    route: &Published,
    message: &Envelope,
    headers: HeaderMap,
) -> Result<(http::response::Parts, Envelope), Unanswered> {
    let response = send(proxy, route, http::Method::POST, headers, message.raw().clone()).await?;
    let (head, body) = response.into_parts();
    let answer = answer(proxy, &head, body, message.id(), EXAMINED_BYTES_MAX).await?;
    Ok((head, answer))
}

/// Sends a request, with the headers that middleware has `added`, and reads its answer.
pub(crate) async fn ask_with(
    proxy: &Proxy,
    route: &Published,
    message: &Envelope,
    headers: HeaderMap,
    added: &HeaderMap,
) -> Result<(http::response::Parts, Envelope), Unanswered> {
    let response = send_with(proxy, route, http::Method::POST, headers, added, message.raw().clone()).await?;
    let (head, body) = response.into_parts();
    let answer = answer(proxy, &head, body, message.id(), UPSTREAM_MESSAGE_BYTES_MAX).await?;
    Ok((head, answer))
}

/// The answer in a response, whether it is JSON or a stream; no message in it may be longer than `bytes_max`.
pub(crate) async fn answer(
    proxy: &Proxy,
    head: &http::response::Parts,
    mut body: UpstreamBody,
    id: Option<&str>,
    bytes_max: usize,
) -> Result<Envelope, Unanswered> {
    let nonsense = || Unanswered::Nonsense(head.status);
    if !head.headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream")) {
        let read = collect(&mut body, bytes_max, proxy.config.request_idle_max).await;
        let text = read.map_err(|error| match error {
            ReadError::TooLong(bytes) => Unanswered::TooLong(bytes),
            error => Unanswered::Broken(error.into()),
        })?;
        return Envelope::parse(text).map_err(|_| nonsense());
    }
    let mut parser = Parser::new(bytes_max);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Unanswered::Broken(error.into()))?;
        parser.push(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(event) = parser.next_event().map_err(|EventTooLong(bytes)| Unanswered::TooLong(bytes))? {
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
