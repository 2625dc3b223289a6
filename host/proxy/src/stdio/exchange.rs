//! One request to a stdio server, from the chain to the last byte of its answer.
//!
//! It runs in a task of its own: in these revisions of MCP a client that hangs up has cancelled nothing, so the request goes
//! on, its hooks run to the end, and what it yields waits on its stream for a client that comes back.
//!
//! The reply is JSON when the answer is the first thing to come, and a stream of events when something else comes first.
//! Nothing is sent before that is known.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fairlead_core::fault;
use fairlead_core::jsonrpc::{Envelope, INVALID_REQUEST, Kind, error_reply};
use fairlead_core::middleware::Rejection;
use http::StatusCode;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::open::refuse;
use super::pipe::{Inbound, Ticket};
use super::post::Posted;
use super::table::NotEnlisted;
use crate::Proxy;
use crate::chain::{Decision, EventDecision, Exchange, Outcome, Returned};
use crate::limits::{CANCEL_GRACE, STREAM_AFTER};
use crate::moments::{NO_SESSION, is_owner};
use crate::outbox::Outbox;
use crate::reply::{self, lost};
use crate::session::Session;

/// What goes back at the end.
pub(super) struct Final {
    pub(super) text: Bytes,
    pub(super) wait_ms: Option<u64>,
}

impl Final {
    pub(super) fn of(id: &str, outcome: &Outcome) -> Self {
        Self { text: reply::text_of(id, outcome), wait_ms: reply::wait_of(outcome) }
    }
}

/// The stream of a batch; it ends when the last of its requests is done.
pub(super) struct BatchStream(pub(super) Arc<Outbox>);

impl Drop for BatchStream {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// How answers reach the client.
pub(super) enum Delivery {
    /// Of a request on its own.
    Single {
        /// Taken once it is known what the response will be.
        first: Option<oneshot::Sender<Posted>>,
        stream: Option<Arc<Outbox>>,
        /// Whether the client must still learn the id of its session.
        announce: bool,
    },
    /// Of a request in a batch.
    Batch(Arc<BatchStream>),
}

impl Delivery {
    pub(super) fn single(first: oneshot::Sender<Posted>, announce: bool) -> Self {
        Self::Single { first: Some(first), stream: None, announce }
    }

    /// Whether nothing has been sent, of a request that a stream would do good.
    fn could_stream(&self, session: &Session) -> bool {
        matches!(self, Self::Single { first: Some(_), announce: false, .. }) && session.primes_streams()
    }

    /// A message before the answer: makes the reply a stream if it is not one yet.
    async fn event(&mut self, session: &Session, text: &[u8], question: Option<Bytes>) {
        for question in self.stream(session).push(text, question).await {
            session.pipe.refuse(&question, "the client does not fetch its messages").await;
        }
    }

    /// The stream of the reply, which is one from now on.
    fn stream(&mut self, session: &Session) -> Arc<Outbox> {
        match self {
            Self::Batch(batch) => Arc::clone(&batch.0),
            Self::Single { stream: Some(stream), .. } => Arc::clone(stream),
            Self::Single { first, stream, announce } => {
                let opened = session.open_stream();
                *stream = Some(Arc::clone(&opened));
                if let (Some(first), Ok(reader)) = (first.take(), opened.attach(None)) {
                    let id = announce.then(|| Arc::clone(&session.id));
                    // A client that has gone may come back for the stream.
                    let _ = first.send(Posted::Stream { reader, session: id });
                }
                opened
            }
        }
    }

    /// The answer, or the end without one. False when the client had gone before it got anything.
    pub(super) async fn finish(self, end: Option<Final>, status: StatusCode, session: Option<&Session>) -> bool {
        match self {
            Self::Batch(batch) => {
                if let Some(end) = end {
                    batch.0.push(&end.text, None).await;
                }
            }
            Self::Single { stream: Some(stream), .. } => {
                if let Some(end) = end {
                    stream.push(&end.text, None).await;
                }
                stream.end();
            }
            Self::Single { first: Some(first), announce, .. } => {
                let id = session.filter(|_| announce).map(|session| Arc::clone(&session.id));
                let posted = match end {
                    Some(Final { text, wait_ms }) => Posted::Json { status, text, wait_ms, session: id },
                    None => Posted::Nothing,
                };
                return first.send(posted).is_ok();
            }
            Self::Single { .. } => {}
        }
        true
    }
}

/// A request within a session.
pub(super) async fn run(
    proxy: Arc<Proxy>,
    session: Arc<Session>,
    mut exchange: Exchange,
    message: Envelope,
    mut delivery: Delivery,
) {
    let id = message.id().unwrap_or_default().to_owned();
    fault::point("exchange");
    let decision = exchange.request(&message).await;
    if !matches!(decision, Decision::Answer(Outcome::Error(_)))
        && !is_owner(session.owner.as_ref(), exchange.identity())
    {
        let gone = error_reply(Some(&id), INVALID_REQUEST, NO_SESSION, None);
        delivery.finish(Some(Final { text: gone, wait_ms: None }), StatusCode::NOT_FOUND, None).await;
        return;
    }
    let end = match decision {
        Decision::Answer(outcome) => Some(Final::of(&id, &outcome)),
        Decision::Forward(params) => match changed(message, params.as_ref()) {
            Some(message) => converse(&proxy, &session, &mut exchange, &message, &mut delivery).await,
            None => Some(Final::of(&id, &exchange.failure(nonsense()).await)),
        },
    };
    session.touch();
    delivery.finish(end, StatusCode::OK, Some(&session)).await;
}

/// The message with other `params`, if the chain changed them.
pub(crate) fn changed(message: Envelope, params: Option<&Bytes>) -> Option<Envelope> {
    match params {
        None => Some(message),
        Some(params) => Envelope::parse(message.rewrite().params(std::str::from_utf8(params).ok()?).finish()).ok(),
    }
}

/// The error for a change that leaves no message.
pub(crate) fn nonsense() -> Rejection {
    Rejection { message: "the request could not be changed".to_owned(), ..lost("") }
}

/// Sends the request and handles what comes back, up to the answer; `None` when there is none to give.
pub(super) async fn converse(
    proxy: &Proxy,
    session: &Session,
    exchange: &mut Exchange,
    message: &Envelope,
    delivery: &mut Delivery,
) -> Option<Final> {
    let id = message.id().unwrap_or_default();
    if session.shared.is_some()
        && let Some(end) = subscription(session, message, id)
    {
        return Some(end);
    }
    let ticket = match session.pipe.enlist(session.seat, message) {
        Ok(ticket) => ticket,
        Err(NotEnlisted::Ended) => return Some(failed(exchange, id, "the server has ended").await),
        Err(error) => {
            let rejection =
                Rejection { code: INVALID_REQUEST, message: error.to_string(), data: None, retry_after_ms: None };
            return Some(Final::of(id, &exchange.failure(rejection).await));
        }
    };
    if let Some(injected) = session.injected.get() {
        injected.put(ticket.wire_id(), exchange.upstream_headers());
    }
    if !session.pipe.send(ticket.text.clone()).await {
        return Some(failed(exchange, id, "the server has ended").await);
    }
    listen(proxy.config.request_idle_max, session, exchange, message, &ticket, delivery).await
}

async fn failed(exchange: &mut Exchange, id: &str, reason: &str) -> Final {
    Final::of(id, &exchange.failure(lost(reason)).await)
}

async fn listen(
    idle_max: Duration,
    session: &Session,
    exchange: &mut Exchange,
    message: &Envelope,
    ticket: &Ticket,
    delivery: &mut Delivery,
) -> Option<Final> {
    let id = message.id().unwrap_or_default();
    let (mut wait, mut cancelled) = (idle_max, false);
    loop {
        let streams_soon = !cancelled && delivery.could_stream(session);
        match timeout(if streams_soon { STREAM_AFTER } else { wait }, ticket.inlet.recv()).await {
            Err(_) if streams_soon => drop(delivery.stream(session)),
            Ok(Some(Inbound::Reply(answer))) => return Some(answered(exchange, id, &answer).await),
            Ok(Some(Inbound::Event(event))) => tell(session, exchange, message, event, delivery).await,
            Ok(Some(Inbound::Cancelled)) => (wait, cancelled) = (CANCEL_GRACE, true),
            Ok(Some(Inbound::Lost(reason))) => return Some(failed(exchange, id, &reason).await),
            Err(_) if !cancelled => {
                ticket.abandon().await;
                return Some(failed(exchange, id, "the server gave no sign for too long").await);
            }
            // Cancelled, and the server keeps silent, as it should.
            Err(_) | Ok(None) => {
                exchange.broke_off("cancelled");
                return None;
            }
        }
    }
}

/// The answer as the client sees it: under its own id, after the chain.
pub(super) async fn answered(exchange: &mut Exchange, id: &str, answer: &Envelope) -> Final {
    match exchange.answer(answer).await {
        Returned::Untouched if answer.id() == Some(id) => Final { text: answer.raw().clone(), wait_ms: None },
        Returned::Untouched => Final { text: answer.rewrite().id(id).finish(), wait_ms: None },
        Returned::Changed(Outcome::Result(result)) if answer.kind() == Kind::Response => {
            let result = std::str::from_utf8(&result).unwrap_or("null");
            Final { text: answer.rewrite().id(id).result(result).finish(), wait_ms: None }
        }
        Returned::Changed(outcome) => Final::of(id, &outcome),
    }
}

/// A message that belongs to the request: under the client's own token, after the chain.
async fn tell(
    session: &Session,
    exchange: &mut Exchange,
    message: &Envelope,
    event: Envelope,
    delivery: &mut Delivery,
) {
    let event = match (event.progress_of(), message.progress_token()) {
        (Some(on_wire), Some(token)) if on_wire != token && event.method() == "notifications/progress" => {
            let Ok(event) = Envelope::parse(event.rewrite().progress_of(token).finish()) else { return };
            event
        }
        _ => event,
    };
    let text = match exchange.event(&event).await {
        EventDecision::Pass => event.raw().clone(),
        EventDecision::Change(params) => {
            event.rewrite().params(std::str::from_utf8(&params).unwrap_or_default()).finish()
        }
        EventDecision::Drop(rejection) => return refuse(session, &event, &rejection).await,
    };
    let question = event.id_bytes().filter(|_| event.kind() == Kind::Request);
    delivery.event(session, &text, question).await;
}

/// In a shared process a resource is unsubscribed only when the last subscriber leaves it; the others are answered here.
fn subscription(session: &Session, message: &Envelope, id: &str) -> Option<Final> {
    let wanted = match message.method() {
        "resources/subscribe" => true,
        "resources/unsubscribe" => false,
        _ => return None,
    };
    let uri = message.target()?;
    let forward = session.pipe.subscription(session.seat, &uri, wanted);
    (!forward).then(|| Final::of(id, &Outcome::Result(Bytes::from_static(b"{}"))))
}
