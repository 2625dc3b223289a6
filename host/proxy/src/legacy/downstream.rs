//! A client that speaks HTTP+SSE.
//!
//! `GET …/sse` opens a stream, which says first where messages are to be posted: an address with a random word that only
//! this client learns. The word is the session; what is posted there is answered on that stream. The stream ends with the
//! client's connection, and the session behind it ends with the stream.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::jsonrpc::{Envelope, INVALID_REQUEST, Kind, is_batch};
use http::header::{ACCEPT, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response as HttpResponse, StatusCode};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::Proxy;
use crate::body::{BodyError, ReplyBody, Response};
use crate::bridge::carrier::{Carrier, Lost};
use crate::bridge::exchange::Exchange;
use crate::bridge::listen;
use crate::bridge::sent::Sent;
use crate::edge::Address;
use crate::limits::{KEEP_ALIVE, LEGACY_IN_FLIGHT_MAX, LEGACY_OPENING_MAX, OUTGOING_MESSAGES_MAX, PUMP_EVENTS_MAX};
use crate::moments;
use crate::reply::{self, LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID};
use crate::route::Published;
use crate::service::{self, Connection};
use crate::session::new_session_id;
use crate::sse;

/// The parameter of the address that messages are posted to.
const PARAMETER: &str = "sessionId";

/// The streams of one route that are open now.
#[derive(Default)]
pub(crate) struct Listeners {
    by_id: Mutex<HashMap<Arc<str>, Arc<Listener>>>,
}

impl Listeners {
    pub(crate) fn len(&self) -> usize {
        self.by_id.lock().len()
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.by_id.lock().contains_key(id)
    }

    /// Ends all of them.
    pub(crate) fn close(&self) {
        for listener in self.by_id.lock().values() {
            listener.over.cancel();
        }
    }
}

/// One client.
struct Listener {
    exchange: Arc<Exchange<InProcess>>,
    /// Room for requests under way.
    room: Arc<Semaphore>,
    over: CancellationToken,
}

/// Carries requests to the streamable endpoint of the same route, without leaving the process.
pub(crate) struct InProcess {
    proxy: Arc<Proxy>,
    route: Arc<Published>,
    connection: Connection,
    /// Headers of the request that opened the stream: they go with what no message of the client brings.
    opened_with: HeaderMap,
}

impl Carrier for InProcess {
    type Body = ReplyBody;

    async fn carry(
        &self,
        mut request: Request<Bytes>,
        client: Option<&HeaderMap>,
        _: Option<Sent>,
    ) -> Result<HttpResponse<ReplyBody>, Lost> {
        let mut headers = client.unwrap_or(&self.opened_with).clone();
        for name in [ACCEPT, CONTENT_LENGTH, TRANSFER_ENCODING, SESSION_ID, PROTOCOL_VERSION, LAST_EVENT_ID] {
            headers.remove(name);
        }
        headers.extend(std::mem::take(request.headers_mut()));
        *request.headers_mut() = headers;
        Ok(service::serve(&self.proxy, &self.route, self.connection, request).await)
    }
}

/// A client opens a stream.
pub(crate) fn open(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    connection: Connection,
    address: Address<'_>,
    headers: HeaderMap,
) -> Response {
    if proxy.draining.is_cancelled() {
        return reply::busy(None, "this proxy is being stopped");
    }
    if route.listeners.len() >= proxy.config.sessions_max {
        return reply::busy(None, "this server has as many streams as it may have");
    }
    let Some(id) = new_session_id() else { return reply::busy(None, "no random numbers") };
    let (lines, written) = mpsc::channel(OUTGOING_MESSAGES_MAX);
    let (frames, body) = mpsc::channel(PUMP_EVENTS_MAX);
    let endpoint = format!("event: endpoint\ndata: {}?{PARAMETER}={id}\n\n", address.messages());
    // There is room: nothing was sent yet.
    let _ = frames.try_send(Ok(endpoint.into()));
    let carrier = InProcess { proxy: Arc::clone(proxy), route: Arc::clone(route), connection, opened_with: headers };
    let listener = Arc::new(Listener {
        exchange: Arc::new(Exchange::new(carrier, lines)),
        room: Arc::new(Semaphore::new(LEGACY_IN_FLIGHT_MAX)),
        over: CancellationToken::new(),
    });
    route.listeners.by_id.lock().insert(Arc::clone(&id), Arc::clone(&listener));
    proxy.tasks.spawn(live(Arc::clone(proxy), Arc::clone(route), id, listener, written, frames));
    let mut response = HttpResponse::new(ReplyBody::Pump(body));
    reply::stream_headers(&mut response);
    response
}

type Frames = mpsc::Sender<Result<Bytes, BodyError>>;

/// One stream from its first event to its last; then the session behind it ends.
async fn live(
    proxy: Arc<Proxy>,
    route: Arc<Published>,
    id: Arc<str>,
    listener: Arc<Listener>,
    mut written: mpsc::Receiver<Bytes>,
    frames: Frames,
) {
    tokio::select! {
        () = forward(&mut written, &frames) => {}
        () = frames.closed() => {}
        () = listener.over.cancelled() => {}
        () = drained(&proxy, &listener) => {}
        () = never_opened(&listener) => tracing::debug!("a stream on which nobody initialised was ended"),
    }
    route.listeners.by_id.lock().remove(&id);
    listener.over.cancel();
    // Nobody reads any more: what is still being answered must not wait for room.
    drop(written);
    listener.exchange.say_goodbye().await;
}

async fn forward(written: &mut mpsc::Receiver<Bytes>, frames: &Frames) {
    loop {
        let frame = match timeout(KEEP_ALIVE, written.recv()).await {
            Ok(Some(message)) => sse::frame(None, &message),
            Ok(None) => return,
            Err(_) => Bytes::from_static(sse::KEEP_ALIVE_FRAME),
        };
        if frames.send(Ok(frame)).await.is_err() {
            return;
        }
    }
}

/// Ready when the proxy is being stopped and nothing is under way any more.
async fn drained(proxy: &Proxy, listener: &Listener) {
    proxy.draining.cancelled().await;
    let all = u32::try_from(LEGACY_IN_FLIGHT_MAX).unwrap_or(u32::MAX);
    let _ = listener.room.acquire_many(all).await;
}

/// Ready when a client has had the time to initialise and has not.
async fn never_opened(listener: &Listener) {
    sleep(LEGACY_OPENING_MAX).await;
    if listener.exchange.is_open() {
        std::future::pending::<()>().await;
    }
}

/// A client posts a message. The answer goes onto its stream; this response says only that the message was taken.
pub(crate) async fn post(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    query: Option<&str>,
    headers: HeaderMap,
    text: Bytes,
) -> Response {
    let id = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix(PARAMETER)?.strip_prefix('=')));
    let listener = id.and_then(|id| route.listened_at(id).listeners.by_id.lock().get(id).cloned());
    let Some(listener) = listener else { return moments::no_session(None) };
    if is_batch(&text) {
        let text = "batches exist only in revision 2025-03-26 of MCP, and not on this transport";
        return reply::error(StatusCode::BAD_REQUEST, None, INVALID_REQUEST, text);
    }
    let message = match Envelope::parse(text) {
        Ok(message) => message,
        Err(error) => {
            return reply::error(StatusCode::BAD_REQUEST, error.id.as_deref(), error.code(), &error.to_string());
        }
    };
    if message.kind() != Kind::Request {
        listener.exchange.tell(message, Some(&headers)).await;
        return reply::empty(StatusCode::ACCEPTED);
    }
    let Ok(room) = Arc::clone(&listener.room).try_acquire_owned() else {
        return reply::busy(message.id(), "this stream has as many requests under way as it may have");
    };
    let tracker = proxy.tasks.clone();
    proxy.tasks.spawn(async move {
        let _room = room;
        let asking = async {
            if message.method() != "initialize" {
                listener.exchange.ask(message, Some(&headers), None).await;
            } else if listener.exchange.initialize(message, Some(&headers)).await {
                let (exchange, over) = (Arc::clone(&listener.exchange), listener.over.clone());
                tracker.spawn(async move {
                    tokio::select! {
                        () = listen(&exchange) => {}
                        () = over.cancelled() => {}
                    }
                });
            }
            Ok::<(), Infallible>(())
        };
        tokio::select! {
            _ = asking => {}
            () = listener.over.cancelled() => {}
        }
    });
    reply::empty(StatusCode::ACCEPTED)
}
