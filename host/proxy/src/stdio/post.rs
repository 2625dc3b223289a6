//! What a client sends to a stdio server, and what it gets for it.

use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::era::Eras;
use fairlead_core::jsonrpc::{Envelope, EnvelopeError, INVALID_REQUEST, Kind, is_batch, parse_batch};
use fairlead_core::middleware::{Rejection, moment};
use fairlead_core::server::Isolation;
use http::{HeaderMap, StatusCode};
use tokio::sync::oneshot;

use super::exchange::{BatchStream, Delivery, Final, answered, changed, converse, nonsense, run};
use super::open::open;
use super::shared::{NotInitialized, answer_for};
use crate::Proxy;
use crate::body::Response;
use crate::chain::{Decision, Exchange, Outcome, Provenance};
use crate::era;
use crate::limits::BATCH_MESSAGES_MAX;
use crate::modern;
use crate::moments::{self, BY_CLIENT};
use crate::outbox::{AttachError, Reader};
use crate::reply::{self, LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID};
use crate::route::{Published, Wire};
use crate::session::{Session, protocol_version};
use crate::watch::watch;

/// What a request gets, as soon as that is known.
pub(crate) enum Posted {
    /// The answer itself.
    Json { status: StatusCode, text: Bytes, wait_ms: Option<u64>, session: Option<Arc<str>> },
    /// A stream on which the answer will come.
    Stream { reader: Reader, session: Option<Arc<str>> },
    /// Nothing: it was cancelled.
    Nothing,
}

/// The only revision with batches.
const BATCH_REVISION: &str = "2025-03-26";

/// A message of a client.
pub(crate) async fn post(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    isolation: Isolation,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if is_batch(&body) {
        return post_batch(proxy, route, headers, &body).await;
    }
    let message = match Envelope::parse(body) {
        Ok(message) => message,
        Err(error) => return malformed(&error),
    };
    if era::speaks_modern(&headers, &message) {
        if matches!(route.wire(), Wire::Sse { .. }) {
            return era::refuse_modern(message.id());
        }
        return modern::post(proxy, route, headers, message).await;
    }
    if message.method() == "initialize" && message.kind() == Kind::Request {
        return initialize(proxy, route, isolation, headers, message).await;
    }
    let session = match session_of(route, &headers, message.id()) {
        Ok(session) => session,
        Err(refusal) => return *refusal,
    };
    match message.kind() {
        Kind::Request => {
            let (first, posted) = oneshot::channel();
            start(proxy, route, &session, headers, message.clone(), Delivery::single(first, false));
            respond(posted.await, message.id())
        }
        Kind::Notification => notify(route, &session, headers, message).await,
        Kind::Response | Kind::Error => answer(route, &session, &headers, &message).await,
    }
}

fn malformed(error: &EnvelopeError) -> Response {
    reply::error(StatusCode::BAD_REQUEST, error.id.as_deref(), error.code(), &error.to_string())
}

fn invalid(id: Option<&str>, message: &str) -> Response {
    reply::error(StatusCode::BAD_REQUEST, id, INVALID_REQUEST, message)
}

/// The session that the headers name, checked.
fn session_of(route: &Published, headers: &HeaderMap, id: Option<&str>) -> Result<Arc<Session>, Box<Response>> {
    let Some(name) = headers.get(SESSION_ID) else {
        return Err(Box::new(invalid(id, "`Mcp-Session-Id` is missing: send `initialize` first")));
    };
    let session = name
        .to_str()
        .ok()
        .and_then(|name| route.sessions.get(name))
        .ok_or_else(|| Box::new(moments::no_session(id)))?;
    if let Some(version) = headers.get(PROTOCOL_VERSION) {
        let negotiated = session.version.get().is_some_and(|known| known.as_bytes() == version.as_bytes());
        if !negotiated && !era::LEGACY.iter().any(|known| known.as_bytes() == version.as_bytes()) {
            let text = format!("unsupported `MCP-Protocol-Version`; supported: {}", era::LEGACY.join(", "));
            return Err(Box::new(invalid(id, &text)));
        }
    }
    Ok(session)
}

fn provenance(session: &Session, headers: HeaderMap, message: &Envelope) -> Provenance {
    Provenance { headers, request_id: message.id_bytes(), ..session.provenance() }
}

/// Asks the chain at a moment without a message, and whether the session is the caller's.
async fn at_moment(
    route: &Published,
    session: &Session,
    headers: &HeaderMap,
    method: &'static str,
    params: &'static [u8],
) -> Result<(), Box<Response>> {
    let provenance = || Provenance { headers: headers.clone(), ..session.provenance() };
    let asked = moments::ask(route, method, params, None, provenance).await;
    let asked = asked.map_err(|rejection| Box::new(moments::refused(rejection)))?;
    let is_owner = moments::is_owner(session.owner.as_ref(), asked.identity.as_ref());
    if is_owner { Ok(()) } else { Err(Box::new(moments::no_session(None))) }
}

/// Begins a request; the chain of now goes with it to its end.
fn start(
    proxy: &Arc<Proxy>,
    route: &Published,
    session: &Arc<Session>,
    headers: HeaderMap,
    message: Envelope,
    delivery: Delivery,
) {
    let watch = watch(proxy, route, &message, &headers, session.version.get().map(AsRef::as_ref));
    let exchange = Exchange::begin(route.chain(), &route.key, &message, || provenance(session, headers, &message));
    let exchange = exchange.watched(watch);
    proxy.tasks.spawn(run(Arc::clone(proxy), Arc::clone(session), exchange, message, delivery));
}

fn respond(posted: Result<Posted, oneshot::error::RecvError>, id: Option<&str>) -> Response {
    let (mut response, session) = match posted {
        Ok(Posted::Json { status, text, wait_ms, session }) => {
            let mut response = reply::json(status, text);
            reply::retry_after(&mut response, wait_ms);
            (response, session)
        }
        Ok(Posted::Stream { reader, session }) => (reply::events(reader), session),
        Ok(Posted::Nothing) => {
            // A stream that ends without an answer: what the protocol has for a request that was cancelled.
            let mut response = reply::empty(StatusCode::OK);
            reply::stream_headers(&mut response);
            (response, None)
        }
        Err(_) => {
            let rejection = reply::lost("the request was abandoned");
            (reply::json(StatusCode::OK, reply::text_of(id.unwrap_or("null"), &Outcome::Error(rejection))), None)
        }
    };
    if let Some(session) = session.and_then(|session| session.parse().ok()) {
        response.headers_mut().insert(SESSION_ID, session);
    }
    response
}

/// A notification passes the request phase as well. One that is rejected never reaches the server and is accepted all the
/// same: there is no id to answer to, and a client that gets an error status for a notification may give the session up.
async fn notify(route: &Published, session: &Session, headers: HeaderMap, message: Envelope) -> Response {
    let mut exchange = Exchange::begin(route.chain(), &route.key, &message, || provenance(session, headers, &message));
    let decision = exchange.request(&message).await;
    if !moments::is_owner(session.owner.as_ref(), exchange.identity()) {
        return moments::no_session(None);
    }
    let message = match decision {
        Decision::Forward(params) => changed(message, params.as_ref()),
        Decision::Answer(_) => {
            tracing::debug!(method = message.method(), "middleware rejected a notification");
            None
        }
    };
    let text = match &message {
        None => None,
        Some(message) => match (message.method(), &session.shared) {
            ("notifications/cancelled", _) => session.pipe.cancel(session.seat, message),
            ("notifications/initialized", Some(process)) if !process.first_initialized() => None,
            _ => Some(message.raw().clone()),
        },
    };
    accept(session, text).await
}

/// An answer of the client to a question of the server.
async fn answer(route: &Published, session: &Session, headers: &HeaderMap, message: &Envelope) -> Response {
    if let Err(refusal) = at_moment(route, session, headers, moment::ANSWER, b"").await {
        return *refusal;
    }
    let asked = session.pipe.take_answer(session.seat, message);
    accept(session, asked.then(|| message.raw().clone())).await
}

/// `202` once the server has it.
async fn accept(session: &Session, text: Option<Bytes>) -> Response {
    let taken = match text {
        Some(text) => session.pipe.send(text).await,
        None => true,
    };
    if taken {
        return reply::empty(StatusCode::ACCEPTED);
    }
    reply::error(StatusCode::NOT_FOUND, None, INVALID_REQUEST, "this session has ended: send `initialize` again")
}

async fn post_batch(proxy: &Arc<Proxy>, route: &Arc<Published>, headers: HeaderMap, body: &Bytes) -> Response {
    let messages = match parse_batch(body) {
        Ok(messages) => messages,
        Err(error) => return malformed(&error),
    };
    let session = match session_of(route, &headers, None) {
        Ok(session) => session,
        Err(refusal) => return *refusal,
    };
    if session.version.get().map(AsRef::as_ref) != Some(BATCH_REVISION) {
        return invalid(None, "batches exist only in revision 2025-03-26 of MCP");
    }
    if messages.len() > BATCH_MESSAGES_MAX {
        return invalid(None, &format!("a batch has at most {BATCH_MESSAGES_MAX} messages"));
    }
    if messages.iter().any(|message| message.method() == "initialize") {
        return invalid(None, "`initialize` must not be part of a batch");
    }
    let mut stream = None;
    for message in messages {
        match message.kind() {
            Kind::Request => {
                let batch = stream.get_or_insert_with(|| Arc::new(BatchStream(session.open_stream())));
                let delivery = Delivery::Batch(Arc::clone(batch));
                start(proxy, route, &session, headers.clone(), message, delivery);
            }
            Kind::Notification => drop(notify(route, &session, headers.clone(), message).await),
            Kind::Response | Kind::Error => drop(answer(route, &session, &headers, &message).await),
        }
    }
    match stream.map(|stream| stream.0.attach(None)) {
        Some(Ok(reader)) => reply::events(reader),
        _ => reply::empty(StatusCode::ACCEPTED),
    }
}

async fn initialize(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    isolation: Isolation,
    headers: HeaderMap,
    message: Envelope,
) -> Response {
    if headers.contains_key(SESSION_ID) {
        return invalid(message.id(), "this session is already initialised");
    }
    if proxy.draining.is_cancelled() {
        return reply::busy(message.id(), "this proxy is being stopped");
    }
    let id = message.id_bytes().unwrap_or_default();
    let (first, posted) = oneshot::channel();
    let watch = watch(proxy, route, &message, &headers, None);
    let provenance = || Provenance {
        headers,
        request_id: message.id_bytes(),
        protocol_version: message.params().and_then(|params| protocol_version(&params)),
        session: None,
    };
    let exchange = Exchange::begin(route.chain(), &route.key, &message, provenance).watched(watch);
    let opening = Opening { proxy: Arc::clone(proxy), route: Arc::clone(route), isolation, exchange };
    proxy.tasks.spawn(opening.run(message, Delivery::single(first, true)));
    respond(posted.await, std::str::from_utf8(&id).ok())
}

/// An `initialize` under way.
struct Opening {
    proxy: Arc<Proxy>,
    route: Arc<Published>,
    isolation: Isolation,
    exchange: Exchange,
}

impl Opening {
    async fn run(mut self, message: Envelope, mut delivery: Delivery) {
        let id = message.id().unwrap_or_default().to_owned();
        let message = match self.exchange.request(&message).await {
            Decision::Answer(outcome) => {
                delivery.finish(Some(Final::of(&id, &outcome)), StatusCode::OK, None).await;
                return;
            }
            Decision::Forward(params) => match changed(message, params.as_ref()) {
                Some(message) => message,
                None => return self.give_up(nonsense(), &id, delivery, StatusCode::OK).await,
            },
        };
        let session = match open(&self.proxy, &self.route, self.isolation, &message, &self.exchange).await {
            Ok(session) => session,
            Err(error) => {
                let rejection = reply::unavailable(&error);
                return self.give_up(rejection, &id, delivery, StatusCode::SERVICE_UNAVAILABLE).await;
            }
        };
        let end = match &session.shared {
            None => converse(&self.proxy, &session, &mut self.exchange, &message, &mut delivery).await,
            Some(process) => match process.initialize(&message).await {
                Ok(answer) | Err(NotInitialized::Refused(answer)) => match answer_for(&answer, &id) {
                    Some(answer) => Some(answered(&mut self.exchange, &id, &answer).await),
                    None => None,
                },
                Err(NotInitialized::Lost(reason)) => {
                    Some(Final::of(&id, &self.exchange.failure(reply::lost(&reason)).await))
                }
            },
        };
        let answer = end.as_ref().and_then(|end| Envelope::parse(end.text.clone()).ok());
        let initialised = answer.filter(|answer| answer.kind() == Kind::Response);
        match initialised {
            Some(answer) => {
                if let Some(version) = answer.result().and_then(|result| protocol_version(&result)) {
                    let _ = session.version.set(version);
                }
                session.touch();
                if self.route.upstream.is_sole() {
                    // A process speaks one era, and there is no other to be asked.
                    self.route.eras.remember(&Eras { modern: Some(false), legacy: Some(true) });
                }
                if let Err(rejection) = self.announce(&session).await {
                    self.route.sessions.remove(&session.id);
                    session.close().await;
                    let outcome = Outcome::Error(rejection);
                    delivery.finish(Some(Final::of(&id, &outcome)), StatusCode::OK, None).await;
                    return;
                }
                if !delivery.finish(end, StatusCode::OK, Some(&session)).await {
                    // Nobody has learnt its id.
                    self.route.sessions.remove(&session.id);
                    session.close().await;
                }
            }
            None => {
                self.route.sessions.remove(&session.id);
                session.close().await;
                delivery.finish(end, StatusCode::OK, None).await;
            }
        }
    }

    /// Tells the chain that the session is open, which may still refuse it.
    async fn announce(&self, session: &Session) -> Result<(), Rejection> {
        let (known, provenance) = (session.owner.as_ref(), || session.provenance());
        moments::ask(&self.route, moment::SESSION_OPEN, b"", known, provenance).await?;
        session.announce();
        Ok(())
    }

    async fn give_up(mut self, rejection: Rejection, id: &str, delivery: Delivery, status: StatusCode) {
        let outcome = self.exchange.failure(rejection).await;
        delivery.finish(Some(Final::of(id, &outcome)), status, None).await;
    }
}

/// A client wants to hear what the server says unasked, or to take up a stream that was cut.
pub(crate) async fn get(route: &Published, headers: &HeaderMap) -> Response {
    let session = match session_of(route, headers, None) {
        Ok(session) => session,
        Err(refusal) => return *refusal,
    };
    if let Err(refusal) = at_moment(route, &session, headers, moment::LISTEN, b"").await {
        return *refusal;
    }
    let attached = match headers.get(LAST_EVENT_ID) {
        None => session.standing.attach(None),
        Some(event) => match event.to_str().ok().and_then(|event| session.stream_of(event)) {
            Some((stream, sequence)) => stream.attach(Some(sequence)),
            None => Err(AttachError::UnknownEvent),
        },
    };
    match attached {
        Ok(reader) => reply::events(reader),
        Err(AttachError::Busy) => {
            let text = "this session has a stream already";
            reply::error(StatusCode::CONFLICT, None, INVALID_REQUEST, text)
        }
        Err(AttachError::UnknownEvent) => invalid(None, "`Last-Event-ID` is no event of this session"),
    }
}

/// A client ends its session.
pub(crate) async fn delete(route: &Published, headers: &HeaderMap) -> Response {
    let session = match session_of(route, headers, None) {
        Ok(session) => session,
        Err(refusal) => return *refusal,
    };
    if let Err(refusal) = at_moment(route, &session, headers, moment::SESSION_CLOSE, BY_CLIENT).await {
        return *refusal;
    }
    // The chain knows, and is not told again.
    session.is_announced();
    route.sessions.remove(&session.id);
    session.close().await;
    reply::empty(StatusCode::OK)
}
