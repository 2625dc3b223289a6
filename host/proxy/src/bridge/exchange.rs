//! One client's dealings with one endpoint: the session, requests with their answers, and the stream of the server.

use std::collections::HashMap;

use bytes::Bytes;
use fairlead_core::json::find;
use fairlead_core::jsonrpc::{Envelope, INTERNAL_ERROR, IdKey, Kind, error_reply};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::carrier::{Carrier, Lost};
use super::sent::Sent;
use crate::limits::{BRIDGE_DRAIN_MAX, REQUEST_IDLE_MAX, UPSTREAM_MESSAGE_BYTES_MAX};
use crate::modern::Mirrors;
use crate::sse::Parser;

const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// What came of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It ended; another may be opened.
    Ended,
    /// There is no such stream.
    None,
}

/// What is known once `initialize` has been answered.
#[derive(Clone, Default)]
struct Session {
    id: Option<HeaderValue>,
    version: Option<HeaderValue>,
    /// What the client said, to say it again to a daemon that has forgotten.
    opening: Bytes,
}

/// One client at one endpoint.
pub(crate) struct Exchange<C> {
    pub(super) carrier: C,
    session: Mutex<Session>,
    /// Held while the session is opened anew, so that many lost requests open one.
    opening: tokio::sync::Mutex<()>,
    output: mpsc::Sender<Bytes>,
    /// Requests of the newest era that are under way.
    pub(super) calls: Mutex<HashMap<IdKey, CancellationToken>>,
    /// Which arguments of tools those repeat in headers.
    pub(super) mirrors: Mirrors,
}

impl<C: Carrier> Exchange<C> {
    pub(crate) fn new(carrier: C, output: mpsc::Sender<Bytes>) -> Self {
        Self {
            carrier,
            session: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            output,
            calls: Mutex::default(),
            mirrors: Mirrors::default(),
        }
    }

    /// Whether `initialize` has been answered.
    pub(crate) fn is_open(&self) -> bool {
        self.session.lock().version.is_some()
    }

    /// Opens the session. True when there is one.
    pub(crate) async fn initialize(&self, message: Envelope, client: Option<&HeaderMap>) -> bool {
        let id = message.id().map(ToOwned::to_owned);
        *self.session.lock() = Session { opening: message.raw().clone(), ..Session::default() };
        match self.open(message.raw().clone(), client).await {
            Ok((reply, is_open)) => {
                self.emit(reply).await;
                is_open
            }
            Err(lost) => {
                self.emit(error_reply(id.as_deref(), INTERNAL_ERROR, &lost.to_string(), None)).await;
                false
            }
        }
    }

    /// Sends `initialize`, and keeps the session that comes of it; true when one did. Where none did, what was there before
    /// stays: an id that is known no more is what tells the next request to try again.
    async fn open(&self, opening: Bytes, client: Option<&HeaderMap>) -> Result<(Bytes, bool), Lost> {
        let response = self.send_in(Session::default(), Method::POST, opening, client, None).await?;
        let id = response.headers().get(SESSION).cloned();
        let reply = self.only_reply(response).await?;
        let version = std::str::from_utf8(&reply)
            .ok()
            .and_then(|text| find(text, "/result/protocolVersion").ok().flatten())
            .and_then(|text| HeaderValue::from_str(text.trim_matches('"')).ok());
        let is_open = version.is_some();
        if is_open {
            let mut session = self.session.lock();
            (session.id, session.version) = (id, version);
        }
        Ok((reply, is_open))
    }

    /// Opens the session again, unless another request has just done so.
    async fn reopen(&self, lost: Option<&HeaderValue>, client: Option<&HeaderMap>) -> Result<(), Lost> {
        let _guard = self.opening.lock().await;
        let opening = {
            let session = self.session.lock();
            if session.id.as_ref() != lost {
                return Ok(());
            }
            session.opening.clone()
        };
        if !self.open(opening, client).await?.1 {
            return Err(Lost::Forgotten);
        }
        self.send(Method::POST, Bytes::from_static(INITIALIZED.as_bytes()), client, None).await.map(drop)
    }

    /// Sends a notification, or the answer to a question of the server.
    pub(crate) async fn tell(&self, message: Envelope, client: Option<&HeaderMap>) {
        let response = self.send(Method::POST, message.raw().clone(), client, None).await;
        match response {
            Ok(response) if response.status().is_success() => {}
            Ok(response) => tracing::debug!(status = response.status().as_u16(), "a notification was not accepted"),
            Err(lost) => tracing::debug!(error = %lost, "a notification was not accepted"),
        }
    }

    /// Sends a request and writes whatever comes back, the answer last. There is always one.
    pub(crate) async fn ask(&self, message: Envelope, client: Option<&HeaderMap>, sent: Option<Sent>) {
        let session = self.session.lock().id.clone();
        let mut outcome = self.try_ask(&message, client, sent).await;
        if matches!(outcome, Err(Lost::Forgotten)) && self.reopen(session.as_ref(), client).await.is_ok() {
            outcome = self.try_ask(&message, client, None).await;
        }
        if let Err(lost) = outcome {
            self.emit(error_reply(message.id(), INTERNAL_ERROR, &lost.to_string(), None)).await;
        }
    }

    async fn try_ask(&self, message: &Envelope, client: Option<&HeaderMap>, sent: Option<Sent>) -> Result<(), Lost> {
        let response = self.send(Method::POST, message.raw().clone(), client, sent).await?;
        let had_session = self.session.lock().id.is_some();
        if response.status() == StatusCode::NOT_FOUND && had_session {
            return Err(Lost::Forgotten);
        }
        if is_stream(&response) {
            return if self.pump(response.into_body(), message.id()).await { Ok(()) } else { Err(Lost::Broken) };
        }
        let reply = self.only_reply(response).await?;
        self.emit(with_id(reply, message.id())).await;
        Ok(())
    }

    /// Opens the stream of the server and writes what it says until it ends.
    pub(super) async fn listen(&self) -> Heard {
        match self.send(Method::GET, Bytes::new(), None, None).await {
            Ok(response) if is_stream(&response) => {
                self.pump(response.into_body(), None).await;
                Heard::Ended
            }
            // Forgotten, for now: the next request opens the session again.
            Ok(response) if response.status() == StatusCode::NOT_FOUND => Heard::Ended,
            Ok(_) => Heard::None,
            Err(_) => Heard::Ended,
        }
    }

    /// Ends the session: the server need not keep it until it is idle for too long.
    pub(crate) async fn say_goodbye(&self) {
        if self.session.lock().id.is_some() {
            let _ = timeout(BRIDGE_DRAIN_MAX, self.send(Method::DELETE, Bytes::new(), None, None)).await;
        }
    }

    async fn send(
        &self,
        method: Method,
        body: Bytes,
        client: Option<&HeaderMap>,
        sent: Option<Sent>,
    ) -> Result<Response<C::Body>, Lost> {
        let session = self.session.lock().clone();
        self.send_in(session, method, body, client, sent).await
    }

    async fn send_in(
        &self,
        Session { id, version, .. }: Session,
        method: Method,
        body: Bytes,
        client: Option<&HeaderMap>,
        sent: Option<Sent>,
    ) -> Result<Response<C::Body>, Lost> {
        let accept = if method == Method::GET { "text/event-stream" } else { "application/json, text/event-stream" };
        let mut request = Request::new(body);
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if method == Method::POST {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in [(SESSION, id), (VERSION, version)] {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        *request.method_mut() = method;
        self.carrier.carry(request, client, sent).await
    }

    /// The answer in a response that has nothing else, or has it at the end of a short stream.
    pub(super) async fn only_reply(&self, response: Response<C::Body>) -> Result<Bytes, Lost> {
        let (status, stream) = (response.status(), is_stream(&response));
        let body = Limited::new(response.into_body(), UPSTREAM_MESSAGE_BYTES_MAX).collect();
        let body = timeout(REQUEST_IDLE_MAX, body).await.map_err(|_| Lost::Broken)?.map_err(|_| Lost::TooLarge)?;
        let mut text = body.to_bytes();
        if stream {
            let mut parser = Parser::new(UPSTREAM_MESSAGE_BYTES_MAX);
            parser.push(&text);
            text = Bytes::new();
            while let Ok(Some(event)) = parser.next_event() {
                text = event.data.filter(|data| !data.is_empty()).unwrap_or(text);
            }
        }
        match Envelope::parse(text) {
            Ok(reply) => Ok(reply.raw().clone()),
            Err(_) => Err(Lost::Status(status.as_u16())),
        }
    }

    /// Writes the messages of a stream until it ends. True when the answer to `id` was among them.
    pub(super) async fn pump(&self, mut body: C::Body, id: Option<&str>) -> bool {
        let mut parser = Parser::new(UPSTREAM_MESSAGE_BYTES_MAX);
        let mut answered = false;
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            parser.push(&data);
            loop {
                let event = match parser.next_event() {
                    Ok(Some(event)) => event,
                    Ok(None) => break,
                    // Beyond the bound: what comes behind it belongs to the same event, and is not kept either.
                    Err(error) => {
                        tracing::warn!(%error, "a stream was given up");
                        return answered;
                    }
                };
                let is_message = event.is_message();
                let Some(message) = event.data.filter(|data| is_message && !data.is_empty()) else { continue };
                let Ok(message) = Envelope::parse(message) else { continue };
                let reply = matches!(message.kind(), Kind::Response | Kind::Error);
                answered |= reply && id.is_some() && message.id() == id;
                self.emit(message.raw().clone()).await;
            }
        }
        answered
    }

    pub(super) async fn emit(&self, message: Bytes) {
        // Nobody reads any more: the bridge is about to end.
        let _ = self.output.send(message).await;
    }
}

pub(super) fn is_stream<B>(response: &Response<B>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    response.status().is_success() && kind.is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"))
}

/// An error that was answered at the edge does not always know the request: the client does.
pub(super) fn with_id(reply: Bytes, id: Option<&str>) -> Bytes {
    let (Ok(envelope), Some(id)) = (Envelope::parse(reply.clone()), id) else { return reply };
    match envelope.error() {
        Some(error) if envelope.id() != Some(id) => format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#).into(),
        _ => reply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::ReplyBody;

    /// Leads nowhere.
    struct Nowhere;

    impl Carrier for Nowhere {
        type Body = ReplyBody;

        async fn carry(
            &self,
            _: Request<Bytes>,
            _: Option<&HeaderMap>,
            _: Option<Sent>,
        ) -> Result<Response<ReplyBody>, Lost> {
            Err(Lost::Connection)
        }
    }

    #[tokio::test]
    async fn an_event_without_end_is_given_up() {
        let (pieces, receiver) = mpsc::channel(1);
        let exchange = Exchange::new(Nowhere, mpsc::channel(1).0);
        let piece = Bytes::from(vec![b'x'; 1 << 20]);
        let feeding = async {
            let mut fed = 0;
            while pieces.send(Ok(piece.clone())).await.is_ok() {
                fed += piece.len();
                assert!(fed < UPSTREAM_MESSAGE_BYTES_MAX * 2, "it is kept without end");
            }
        };
        let (answered, ()) = tokio::join!(exchange.pump(ReplyBody::Pump(receiver), Some("1")), feeding);
        assert!(!answered);
    }
}
