//! A stream of an HTTP server that middleware wants to see: taken apart into events, of which those stay byte for byte that
//! nobody changes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fairlead_core::jsonrpc::{Envelope, Kind, is_batch, parse_batch, rejection_reply};
use fairlead_core::middleware::Rejection;
use http::Method;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::client::UpstreamBody;
use super::held;
use super::post::{Client, call, provenance};
use crate::Proxy;
use crate::body::{BodyError, Response, collect};
use crate::chain::{EventDecision, Exchange, Outcome, Returned};
use crate::limits::UPSTREAM_MESSAGE_BYTES_MAX;
use crate::reply;
use crate::route::Published;
use crate::sse::{self, Event, Parser};

type Frames = mpsc::Sender<Result<Bytes, BodyError>>;

/// One stream under way.
pub(super) struct Pump {
    pub(super) proxy: Arc<Proxy>,
    pub(super) route: Arc<Published>,
    pub(super) client: Client,
    /// The request that the stream belongs to, until its answer has come; none for a stream that a client opened with GET.
    pub(super) request: Option<Envelope>,
    pub(super) exchange: Exchange,
    pub(super) frames: Frames,
}

impl Pump {
    /// Runs until the server ends the stream or the client leaves; then the server is left as well.
    pub(super) async fn run(mut self, body: UpstreamBody) {
        let watched = self.request.is_some();
        if let Some(request) = self.request.as_ref().filter(|_| self.exchange.wants_answer()) {
            held::expect(&self.route, self.client.session(), request).await;
        }
        if let Err(error) = self.pass(body).await {
            let _ = self.frames.send(Err(error)).await;
        }
        if let Some(request) = self.request.take().filter(|_| watched && self.exchange.wants_answer()) {
            self.route.endpoint.missed.remember(self.client.session(), &request);
            self.exchange.broke_off("cancelled");
        }
    }

    async fn pass(&mut self, mut body: UpstreamBody) -> Result<(), BodyError> {
        let mut parser = Parser::new(UPSTREAM_MESSAGE_BYTES_MAX);
        let frames = self.frames.clone();
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = frames.closed() => return Ok(()),
            };
            let Some(frame) = frame else { return Ok(()) };
            if let Ok(data) = frame?.into_data() {
                parser.push(&data);
            }
            while let Some(event) = parser.next_event()? {
                if let Some(bytes) = self.show(event).await
                    && frames.send(Ok(bytes)).await.is_err()
                {
                    return Ok(());
                }
            }
        }
    }

    /// One event, as the client gets it; `None` when it does not.
    async fn show(&mut self, event: Event) -> Option<Bytes> {
        let Some(data) = event.data.clone().filter(|data| event.is_message() && !data.is_empty()) else {
            return Some(event.raw);
        };
        if is_batch(&data) {
            let mut shown = Vec::new();
            for message in parse_batch(&data).ok()? {
                let text = self.judge(&message).await;
                shown.extend(text.map(|text| text.unwrap_or_else(|| message.raw().clone())));
            }
            let joined = shown.join(&b","[..]);
            return (!shown.is_empty()).then(|| event.with_data(&[b"[", &joined[..], b"]"].concat()));
        }
        let Ok(message) = Envelope::parse(data) else {
            tracing::warn!("the server sent an event that is no message; it was dropped");
            return None;
        };
        match self.judge(&message).await? {
            None => Some(event.raw),
            Some(text) => Some(event.with_data(&text)),
        }
    }

    /// What becomes of a message: nothing of it (outer `None`), itself (inner `None`), or another text.
    async fn judge(&mut self, message: &Envelope) -> Option<Option<Bytes>> {
        match message.kind() {
            Kind::Response | Kind::Error => self.answer(message).await,
            Kind::Request | Kind::Notification => match self.exchange.event(message).await {
                EventDecision::Pass => Some(None),
                EventDecision::Change(params) => {
                    let params = std::str::from_utf8(&params).ok()?;
                    Some(Some(message.rewrite().params(params).finish()))
                }
                EventDecision::Drop(rejection) => {
                    self.refuse(message, &rejection).await;
                    None
                }
            },
        }
    }

    async fn answer(&mut self, message: &Envelope) -> Option<Option<Bytes>> {
        let returned = if self.request.as_ref().is_some_and(|request| request.id() == message.id()) {
            self.request = None;
            self.exchange.answer(message).await
        } else {
            // The answer to a request whose own stream broke off.
            let chain = self.route.chain();
            let session = self.client.session();
            let request = match self.route.endpoint.missed.take(session, message) {
                None if chain.wants_answers() => held::expected(&self.route, session, message).await,
                known => known,
            };
            match request {
                None if !chain.wants_answers() => return Some(None),
                None => {
                    tracing::warn!("the server answered a request that is not known here; the answer was dropped");
                    return None;
                }
                Some(request) => {
                    let origin = || provenance(&self.proxy, &self.client, Some(&request));
                    Exchange::begin(chain, &self.route.key, &request, origin).answer(message).await
                }
            }
        };
        let id = message.id().unwrap_or("null");
        Some(match returned {
            Returned::Untouched => None,
            Returned::Changed(Outcome::Result(result)) if message.kind() == Kind::Response => {
                Some(message.rewrite().result(std::str::from_utf8(&result).ok()?).finish())
            }
            Returned::Changed(outcome) => Some(reply::text_of(id, &outcome)),
        })
    }

    /// A question that middleware does not let through is answered with the rejection.
    async fn refuse(&self, question: &Envelope, rejection: &Rejection) {
        let Some(id) = question.id() else { return };
        let text = rejection_reply(Some(id), rejection);
        let mut client = self.client.clone();
        client.headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        client.headers.remove(reply::LAST_EVENT_ID);
        if let Err(error) = call(&self.proxy, &self.route, &client, Method::POST, text).await {
            tracing::debug!(%error, "the server was not told that its question was rejected");
        }
    }
}

/// Puts what a response of ours carries onto a stream that several share.
pub(super) async fn relay(response: Response, frames: &Frames, stall_max: Duration) {
    let is_stream =
        response.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event"));
    let mut body = response.into_body();
    if !is_stream {
        if let Ok(text) = collect(&mut body, UPSTREAM_MESSAGE_BYTES_MAX, stall_max).await {
            let _ = frames.send(Ok(sse::frame(None, &text))).await;
        }
        return;
    }
    // Whole events only: those of several streams must not be mixed within one.
    let mut parser = Parser::new(UPSTREAM_MESSAGE_BYTES_MAX);
    while let Ok(Some(Ok(frame))) = timeout(stall_max, body.frame()).await {
        if let Ok(data) = frame.into_data() {
            parser.push(&data);
        }
        loop {
            match parser.next_event() {
                Ok(None) => break,
                Ok(Some(event)) => {
                    if frames.send(Ok(event.raw)).await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }
}
