//! What a client sends to an HTTP server, and what comes back.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::jsonrpc::{Envelope, INVALID_REQUEST, Kind, is_batch, parse_batch};
use fairlead_core::middleware::moment;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use tokio::sync::mpsc;

use super::client::{Unreachable, UpstreamBody};
use super::headers::{inbound, outbound};
use super::held;
use super::pump::{Pump, relay};
use super::restate::restate;
use crate::Proxy;
use crate::body::{ReplyBody, Response, collect};
use crate::chain::{Decision, Exchange, Outcome, Provenance, Returned};
use crate::edge::check_accept;
use crate::era;
use crate::limits::{BATCH_MESSAGES_MAX, PUMP_EVENTS_MAX, UPSTREAM_MESSAGE_BYTES_MAX};
use crate::moments::{self, BY_CLIENT};
use crate::reply::{self, PROTOCOL_VERSION, SESSION_ID};
use crate::route::Published;
use crate::stdio;
use crate::translate::needs_face;
use crate::watch::{carry_in_headers, watch};
use fairlead_core::server::Isolation;

/// Who sends.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) headers: HeaderMap,
    pub(crate) peer: IpAddr,
    /// What middleware adds to the request to the server.
    pub(crate) added: HeaderMap,
}

impl Client {
    /// The session that it names; empty when it names none.
    pub(super) fn session(&self) -> &[u8] {
        self.headers.get(SESSION_ID).map_or(b"", |session| session.as_bytes())
    }
}

/// Makes opaque keys of session ids that are not ours.
#[derive(Default)]
pub(crate) struct SessionKeys(RandomState, RandomState);

impl SessionKeys {
    fn key(&self, session: &[u8]) -> Arc<str> {
        format!("{:016x}{:016x}", self.0.hash_one(session), self.1.hash_one(session)).into()
    }
}

pub(super) fn provenance(proxy: &Proxy, client: &Client, message: Option<&Envelope>) -> Provenance {
    let claimed = message.and_then(|message| message.claimed_version().map(|version| Arc::from(version.as_ref())));
    let header = client.headers.get(PROTOCOL_VERSION).and_then(|version| version.to_str().ok()).map(Arc::from);
    Provenance {
        headers: client.headers.clone(),
        request_id: message.and_then(Envelope::id_bytes),
        session: client.headers.get(SESSION_ID).map(|session| proxy.session_keys.key(session.as_bytes())),
        protocol_version: claimed.or(header),
    }
}

/// A message of a client.
pub(crate) async fn post(proxy: &Arc<Proxy>, route: &Arc<Published>, client: Client, body: Bytes) -> Response {
    if is_batch(&body) {
        return post_batch(proxy, route, client, &body).await;
    }
    match Envelope::parse(body) {
        Ok(message) if goes_to_face(proxy, route, &client, &message).await => {
            let refusal = check_accept(&client.headers, &["application/json", "text/event-stream"]);
            match refusal {
                Some(refusal) => refusal,
                None => stdio::post(proxy, route, Isolation::Session, client.headers, message.raw().clone()).await,
            }
        }
        Ok(message) => post_one(proxy, route, client, message).await,
        Err(error) => reply::error(StatusCode::BAD_REQUEST, error.id.as_deref(), error.code(), &error.to_string()),
    }
}

/// Whether a message belongs to a session of ours, or begins one, because the server behind knows none.
async fn goes_to_face(proxy: &Proxy, route: &Published, client: &Client, message: &Envelope) -> bool {
    if route.eras.recall().modern != Some(true) || era::speaks_modern(&client.headers, message) {
        return false;
    }
    has_face(route) || (message.method() == "initialize" && needs_face(proxy, route).await)
}

/// Whether all sessions of a server are ours, because it knows none.
pub(crate) fn has_face(route: &Published) -> bool {
    route.eras.recall().legacy == Some(false)
}

async fn post_one(proxy: &Arc<Proxy>, route: &Arc<Published>, mut client: Client, message: Envelope) -> Response {
    if proxy.draining.is_cancelled() && message.method() == "initialize" {
        return reply::busy(message.id(), "this proxy is being stopped");
    }
    let mut exchange =
        Exchange::begin(route.chain(), &route.key, &message, || provenance(proxy, &client, Some(&message)));
    let version = client.headers.get(PROTOCOL_VERSION).and_then(|version| version.to_str().ok());
    exchange = exchange.watched(watch(proxy, route, &message, &client.headers, version));
    let mut text = message.raw().clone();
    if matches!(message.kind(), Kind::Request | Kind::Notification) {
        match exchange.request(&message).await {
            Decision::Forward(None) => {}
            Decision::Forward(Some(params)) => {
                text = message.rewrite().params(std::str::from_utf8(&params).unwrap_or_default()).finish();
                if let Ok(after) = Envelope::parse(text.clone())
                    && let Err(refusal) = restate(proxy, route, &mut client, &message, &after).await
                {
                    return refusal.response(message.id());
                }
            }
            Decision::Answer(outcome @ Outcome::Error(_)) => return decided(&client.headers, &message, &outcome),
            Decision::Answer(outcome) => {
                return match held::admit(route, &client, exchange.identity(), message.id()).await {
                    Ok(()) => decided(&client.headers, &message, &outcome),
                    Err(refusal) => *refusal,
                };
            }
        }
        client.added = exchange.upstream_headers();
        if let Err(refusal) = held::admit(route, &client, exchange.identity(), message.id()).await {
            return *refusal;
        }
    } else if let Err(refusal) = at_moment(proxy, route, &mut client, moment::ANSWER, b"").await {
        return *refusal;
    }
    if let Some(context) = exchange.trace_context() {
        carry_in_headers(&mut client.headers, &context);
    }
    match call(proxy, route, &client, Method::POST, text).await {
        Ok(response) => {
            if let Some(refusal) = held::opened(proxy, route, &client, &message, &exchange, &response).await {
                return refusal;
            }
            mirror(proxy, route, client, message, exchange, response).await
        }
        Err(error) => unreachable(&client.headers, &message, &mut exchange, &error).await,
    }
}

/// Asks the chain at a moment without a message, and whether the session is the caller's.
async fn at_moment(
    proxy: &Proxy,
    route: &Published,
    client: &mut Client,
    method: &'static str,
    params: &'static [u8],
) -> Result<(), Box<Response>> {
    let asked = moments::ask(route, method, params, None, || provenance(proxy, client, None)).await;
    let asked = asked.map_err(|rejection| Box::new(moments::refused(rejection)))?;
    held::admit(route, client, asked.identity.as_ref(), None).await?;
    client.added = asked.headers;
    Ok(())
}

/// Sends a request to the server.
pub(super) async fn call(
    proxy: &Proxy,
    route: &Published,
    client: &Client,
    method: Method,
    text: Bytes,
) -> Result<http::Response<UpstreamBody>, Unreachable> {
    let place = route.endpoint.place(&route.upstream).await?;
    let mut request = Request::new(Full::new(text));
    *request.method_mut() = method;
    *request.headers_mut() = outbound(&client.headers, client.peer, route.endpoint.is_remote());
    route.endpoint.send(&place, request, &client.added, proxy.config.request_idle_max).await
}

/// The chain has answered itself. A notification that it rejects is dropped and accepted all the same: there is no id to
/// answer to.
pub(super) fn decided(headers: &HeaderMap, message: &Envelope, outcome: &Outcome) -> Response {
    let Some(id) = message.id() else { return reply::empty(StatusCode::ACCEPTED) };
    let wait = reply::wait_of(outcome);
    let status = if wait.is_some() && era::speaks_modern(headers, message) {
        StatusCode::TOO_MANY_REQUESTS
    } else {
        StatusCode::OK
    };
    let mut response = reply::json(status, reply::text_of(id, outcome));
    reply::retry_after(&mut response, wait);
    response
}

/// A request of a session gets its error in band, for a status could make a client give the session up; all else learns
/// from the status that nobody is there.
async fn unreachable(
    headers: &HeaderMap,
    message: &Envelope,
    exchange: &mut Exchange,
    error: &Unreachable,
) -> Response {
    tracing::debug!(error = %chain_of(error), "server not reached");
    if matches!(error, Unreachable::Gone) {
        exchange.broke_off("404");
        return moments::no_session(message.id());
    }
    let rejection = match error {
        Unreachable::Unavailable(error) => reply::unavailable(error),
        error => reply::lost(&error.to_string()),
    };
    let outcome = exchange.failure(rejection).await;
    let in_band = headers.contains_key(SESSION_ID) && message.kind() == Kind::Request;
    let status = if in_band { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = reply::json(status, reply::text_of(message.id().unwrap_or("null"), &outcome));
    reply::retry_after(&mut response, reply::wait_of(&outcome));
    response
}

pub(crate) fn chain_of(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

/// What a response carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carries {
    Json,
    Events,
    Other,
}

fn carries(headers: &HeaderMap) -> Carries {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        Carries::Json
    } else if media_type.eq_ignore_ascii_case("text/event-stream") {
        Carries::Events
    } else {
        Carries::Other
    }
}

/// Gives the server's response to the client; what middleware wants to see, after it has seen it.
async fn mirror(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    client: Client,
    message: Envelope,
    mut exchange: Exchange,
    response: http::Response<UpstreamBody>,
) -> Response {
    let (mut head, body) = response.into_parts();
    inbound(&mut head.headers);
    let carries = carries(&head.headers);
    let is_request = message.kind() == Kind::Request;
    let body = if is_request { body.owed_by(route) } else { body };
    if head.status.is_client_error() || head.status.is_server_error() {
        exchange.broke_off(head.status.as_str());
    }
    if carries == Carries::Events {
        let watched = is_request && exchange.wants_stream();
        let body = if watched { body } else { body.watched(exchange.take_watch()) };
        return stream(proxy, route, client, watched.then_some((Some(message), exchange)), head, body);
    }
    if !(is_request && exchange.wants_answer()) || (carries == Carries::Other && !head.status.is_success()) {
        return Response::from_parts(head, ReplyBody::Upstream(body.watched(exchange.take_watch())));
    }
    answer(proxy, &message, exchange, head, body, carries).await
}

/// A JSON reply that middleware wants to see.
async fn answer(
    proxy: &Proxy,
    message: &Envelope,
    mut exchange: Exchange,
    mut head: http::response::Parts,
    mut body: UpstreamBody,
    carries: Carries,
) -> Response {
    let id = message.id().unwrap_or("null");
    let readable = carries == Carries::Json && !head.headers.contains_key(CONTENT_ENCODING);
    let read = match readable {
        true => collect(&mut body, UPSTREAM_MESSAGE_BYTES_MAX, proxy.config.request_idle_max).await.ok(),
        false => None,
    };
    let Some(answer) = read.and_then(|text| Envelope::parse(text).ok()) else {
        // What cannot be shown to a guard does not pass it.
        let outcome = exchange.failure(reply::lost("the reply of the server is no message")).await;
        return reply::json(StatusCode::BAD_GATEWAY, reply::text_of(id, &outcome));
    };
    let (text, wait) = match exchange.answer(&answer).await {
        Returned::Untouched => return Response::from_parts(head, ReplyBody::full(answer.raw().clone())),
        Returned::Changed(Outcome::Result(result)) if answer.kind() == Kind::Response => {
            (answer.rewrite().result(std::str::from_utf8(&result).unwrap_or("null")).finish(), None)
        }
        Returned::Changed(outcome) => {
            if matches!(outcome, Outcome::Result(_)) {
                head.status = StatusCode::OK;
            }
            (reply::text_of(id, &outcome), reply::wait_of(&outcome))
        }
    };
    head.headers.remove(CONTENT_LENGTH);
    let mut response = Response::from_parts(head, ReplyBody::full(text));
    reply::retry_after(&mut response, wait);
    response
}

/// A stream: passed through as it is, or taken apart for middleware.
fn stream(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    client: Client,
    watched: Option<(Option<Envelope>, Exchange)>,
    mut head: http::response::Parts,
    body: UpstreamBody,
) -> Response {
    let body = match watched {
        None => ReplyBody::Upstream(body),
        Some((request, exchange)) => {
            head.headers.remove(CONTENT_LENGTH);
            let (frames, receiver) = mpsc::channel(PUMP_EVENTS_MAX);
            let (proxy, route) = (Arc::clone(proxy), Arc::clone(route));
            let tracker = proxy.tasks.clone();
            tracker.spawn(Pump { proxy, route, client, request, exchange, frames }.run(body));
            ReplyBody::Pump(receiver)
        }
    };
    let mut response = Response::from_parts(head, body);
    reply::stream_headers(&mut response);
    response
}

async fn post_batch(proxy: &Arc<Proxy>, route: &Arc<Published>, client: Client, body: &Bytes) -> Response {
    let invalid = |text: &str| reply::error(StatusCode::BAD_REQUEST, None, INVALID_REQUEST, text);
    let messages = match parse_batch(body) {
        Ok(messages) => messages,
        Err(error) => {
            return reply::error(StatusCode::BAD_REQUEST, error.id.as_deref(), error.code(), &error.to_string());
        }
    };
    if client.headers.get(PROTOCOL_VERSION).is_some_and(|version| version != "2025-03-26") {
        return invalid("batches exist only in revision 2025-03-26 of MCP");
    }
    if messages.len() > BATCH_MESSAGES_MAX {
        return invalid(&format!("a batch has at most {BATCH_MESSAGES_MAX} messages"));
    }
    // One by one, so that middleware sees each; the answers come on one stream.
    let asks = messages.iter().any(|message| message.kind() == Kind::Request);
    let (frames, receiver) = mpsc::channel(PUMP_EVENTS_MAX);
    for message in messages {
        let is_request = message.kind() == Kind::Request;
        let (proxy_, route, client, frames) = (Arc::clone(proxy), Arc::clone(route), client.clone(), frames.clone());
        let one = async move {
            let response = post_one(&proxy_, &route, client, message).await;
            if is_request {
                relay(response, &frames, proxy_.config.request_idle_max).await;
            }
        };
        if is_request {
            proxy.tasks.spawn(one);
        } else {
            one.await;
        }
    }
    if !asks {
        return reply::empty(StatusCode::ACCEPTED);
    }
    let mut response = Response::new(ReplyBody::Pump(receiver));
    reply::stream_headers(&mut response);
    response
}

/// A client wants to hear what the server says unasked.
pub(crate) async fn get(proxy: &Arc<Proxy>, route: &Arc<Published>, mut client: Client) -> Response {
    if let Err(refusal) = at_moment(proxy, route, &mut client, moment::LISTEN, b"").await {
        return *refusal;
    }
    let response = match call(proxy, route, &client, Method::GET, Bytes::new()).await {
        Ok(response) => response,
        Err(error) => return unreached(&error),
    };
    let (mut head, body) = response.into_parts();
    inbound(&mut head.headers);
    if carries(&head.headers) != Carries::Events {
        return Response::from_parts(head, ReplyBody::Upstream(body));
    }
    let chain = route.chain();
    let watched = (chain.wants_events() || chain.wants_answers()).then(|| {
        let provenance = provenance(proxy, &client, None);
        (None, Exchange::ambient(chain, &route.key, "", provenance))
    });
    stream(proxy, route, client, watched, head, body)
}

/// A client ends its session.
pub(crate) async fn delete(proxy: &Arc<Proxy>, route: &Arc<Published>, mut client: Client) -> Response {
    if let Err(refusal) = at_moment(proxy, route, &mut client, moment::SESSION_CLOSE, BY_CLIENT).await {
        return *refusal;
    }
    held::ended(route, client.session()).await;
    match call(proxy, route, &client, Method::DELETE, Bytes::new()).await {
        Ok(response) => {
            let (mut head, body) = response.into_parts();
            inbound(&mut head.headers);
            Response::from_parts(head, ReplyBody::Upstream(body))
        }
        Err(error) => unreached(&error),
    }
}

fn unreached(error: &Unreachable) -> Response {
    tracing::debug!(error = %chain_of(error), "server not reached");
    if matches!(error, Unreachable::Gone) {
        return moments::no_session(None);
    }
    reply::busy(None, &format!("no answer: {error}"))
}
