//! The same tools over streamable HTTP and over HTTP+SSE, for tests that need such a server to be fast and to crash.
//!
//! Over streamable HTTP a session is an id that this process has given and knows no more after a restart; every second reply
//! comes as a stream. There is no stream for the server's own messages.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

use crate::tools;
use crate::wire::{Message, Wire, lock};

/// Which of the two.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Transport {
    StreamableHttp,
    Sse,
}

/// What this process knows of its clients.
#[derive(Default)]
struct State {
    sessions: Mutex<HashSet<String>>,
    streams: Mutex<HashMap<String, Arc<Wire>>>,
    replies: AtomicU64,
}

type Reply = Response<Either<Full<Bytes>, Events>>;

/// Messages as server-sent events, until a response has been sent (`ends`) or for ever.
struct Events {
    first: Option<String>,
    messages: UnboundedReceiver<String>,
    ends: bool,
    is_over: bool,
}

/// Serves on a port until the process is ended.
pub(crate) fn serve(transport: Transport, port: u16) -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    match runtime.block_on(accept(transport, port)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("test-server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn accept(transport: Transport, port: u16) -> std::io::Result<()> {
    // In a pod everybody comes from outside.
    let host = std::env::var("TEST_SERVER_HOST").ok().and_then(|host| host.parse().ok());
    let listener = TcpListener::bind(SocketAddr::new(host.unwrap_or(Ipv4Addr::LOCALHOST.into()), port)).await?;
    eprintln!("test-server: ready on port {port}, process {}", std::process::id());
    let state = Arc::new(State::default());
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = service_fn(|request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(answer(transport, &state, request).await) }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(transport: Transport, state: &State, request: Request<Incoming>) -> Reply {
    let answered = match (transport, request.method()) {
        (Transport::StreamableHttp, &Method::POST) => post(state, request).await,
        (Transport::StreamableHttp, &Method::DELETE) => {
            lock(&state.sessions).remove(session(&request));
            Some(status(StatusCode::OK))
        }
        (Transport::Sse, &Method::GET) => Some(open(state)),
        (Transport::Sse, &Method::POST) => take(state, request).await,
        _ => Some(status(StatusCode::METHOD_NOT_ALLOWED)),
    };
    answered.unwrap_or_else(|| status(StatusCode::BAD_REQUEST))
}

/// A message over streamable HTTP: each request has a way out of its own.
async fn post(state: &State, request: Request<Incoming>) -> Option<Reply> {
    let session = session(&request).to_owned();
    let body = request.into_body().collect().await.ok()?.to_bytes();
    let message = serde_json::from_slice::<Message<'_>>(&body).ok()?;
    let begins = message.method.as_deref() == Some("initialize");
    if !begins && !lock(&state.sessions).contains(&session) {
        return Some(status(StatusCode::NOT_FOUND));
    }
    let (out, mut messages) = unbounded_channel();
    tools::handle(&Arc::new(Wire::to(out)), &message);
    if message.id.is_none() || message.method.is_none() {
        return Some(status(StatusCode::ACCEPTED));
    }
    let first = messages.recv().await?;
    let is_stream = !is_response(&first) || state.replies.fetch_add(1, Ordering::Relaxed) % 2 == 1;
    let mut reply = if is_stream { stream(first, messages, true) } else { json(first) };
    if begins {
        let id = format!("{:016x}", RandomState::new().hash_one(0));
        reply.headers_mut().insert("mcp-session-id", HeaderValue::from_str(&id).ok()?);
        lock(&state.sessions).insert(id);
    }
    Some(reply)
}

/// A stream over HTTP+SSE, which begins with the address of its messages.
fn open(state: &State) -> Reply {
    let id = format!("{:016x}", RandomState::new().hash_one(0));
    let (out, messages) = unbounded_channel();
    lock(&state.streams).insert(id.clone(), Arc::new(Wire::to(out)));
    let first = Some(format!("event: endpoint\ndata: /message?session={id}\n\n"));
    event_stream(Events { first, messages, ends: false, is_over: false })
}

/// A message over HTTP+SSE.
async fn take(state: &State, request: Request<Incoming>) -> Option<Reply> {
    let id = request.uri().query()?.strip_prefix("session=")?.to_owned();
    let Some(wire) = lock(&state.streams).get(&id).map(Arc::clone) else {
        return Some(status(StatusCode::NOT_FOUND));
    };
    let body = request.into_body().collect().await.ok()?.to_bytes();
    tools::handle(&wire, &serde_json::from_slice::<Message<'_>>(&body).ok()?);
    Some(status(StatusCode::ACCEPTED))
}

fn session(request: &Request<Incoming>) -> &str {
    request.headers().get("mcp-session-id").and_then(|id| id.to_str().ok()).unwrap_or_default()
}

fn is_response(message: &str) -> bool {
    serde_json::from_str::<Message<'_>>(message).is_ok_and(|message| message.method.is_none())
}

fn status(status: StatusCode) -> Reply {
    let mut reply = Response::new(Either::Left(Full::default()));
    *reply.status_mut() = status;
    reply
}

fn json(message: String) -> Reply {
    let mut reply = Response::new(Either::Left(Full::from(message)));
    reply.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    reply
}

fn stream(first: String, messages: UnboundedReceiver<String>, ends: bool) -> Reply {
    let is_over = ends && is_response(&first);
    event_stream(Events { first: Some(event(&first)), messages, ends, is_over })
}

fn event_stream(events: Events) -> Reply {
    let mut reply = Response::new(Either::Right(events));
    reply.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
    reply
}

fn event(message: &str) -> String {
    format!("event: message\ndata: {message}\n\n")
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(first)))));
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        self.messages.poll_recv(context).map(|message| {
            let message = message?;
            self.is_over = self.ends && is_response(&message);
            Some(Ok(Frame::data(Bytes::from(event(&message)))))
        })
    }
}
