//! The modern server behind, over a pipe or over HTTP.

use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::BoxFuture;
use fairlead_core::jsonrpc::{Envelope, Kind};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;

use crate::Proxy;
use crate::body::collect;
use crate::http::{UpstreamBody, ask_with, headers_of, send_with};
use crate::limits::{DISCOVER_PATIENCE, UPSTREAM_MESSAGE_BYTES_MAX};
use crate::modern::headers::restate;
use crate::modern::{describing, restored};
use crate::route::{Published, Wire};
use crate::sse::Parser;
use crate::stdio::{Inbound, Ticket};

/// Why a server could not be asked; a client reads it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotAsked(String);

/// A server of the modern era.
pub(super) trait ModernServer: Send + Sync {
    /// What it says of itself.
    fn discover(&self, added: HeaderMap) -> BoxFuture<'_, Result<Envelope, NotAsked>>;
    /// Sends a self-describing request, with headers that middleware has `added`; over a pipe there are none.
    fn call(&self, message: Envelope, added: HeaderMap) -> BoxFuture<'_, Result<Box<dyn ModernCall>, NotAsked>>;
}

/// A request under way. Dropping it before its answer has come cancels it.
pub(super) trait ModernCall: Send {
    /// The next message of it; `None` when no more comes.
    fn next(&mut self) -> BoxFuture<'_, Option<Envelope>>;
}

/// The server of a route.
pub(super) fn behind(proxy: &Arc<Proxy>, route: &Arc<Published>) -> Arc<dyn ModernServer> {
    let (proxy, route) = (Arc::clone(proxy), Arc::clone(route));
    match route.wire() {
        Wire::Stdio { .. } | Wire::Sse { .. } => Arc::new(Piped { proxy, route }),
        Wire::Http | Wire::Detect { .. } => Arc::new(Remote { proxy, route }),
    }
}

fn not_asked(error: impl std::fmt::Display) -> NotAsked {
    NotAsked(error.to_string())
}

// === impl Piped ===

struct Piped {
    proxy: Arc<Proxy>,
    route: Arc<Published>,
}

impl ModernServer for Piped {
    fn discover(&self, _: HeaderMap) -> BoxFuture<'_, Result<Envelope, NotAsked>> {
        Box::pin(async { Ok(self.route.modern.get(&self.proxy, &self.route).await.map_err(not_asked)?.1) })
    }

    fn call(&self, message: Envelope, _: HeaderMap) -> BoxFuture<'_, Result<Box<dyn ModernCall>, NotAsked>> {
        Box::pin(async move {
            let (pipe, _) = self.route.modern.get(&self.proxy, &self.route).await.map_err(not_asked)?;
            let ticket = pipe.enlist_request(&message).map_err(not_asked)?;
            if !pipe.send(ticket.text.clone()).await {
                return Err(not_asked("the server has ended"));
            }
            Ok(Box::new(PipedCall { ticket, message, answered: false }) as Box<dyn ModernCall>)
        })
    }
}

struct PipedCall {
    ticket: Ticket,
    message: Envelope,
    answered: bool,
}

impl ModernCall for PipedCall {
    fn next(&mut self) -> BoxFuture<'_, Option<Envelope>> {
        Box::pin(async {
            loop {
                match self.ticket.inlet.recv().await {
                    Some(Inbound::Reply(answer)) => {
                        self.answered = true;
                        return Some(answer);
                    }
                    Some(Inbound::Event(event)) if event.method() == "notifications/cancelled" => return None,
                    Some(Inbound::Event(event)) => match restored(&self.message, &event) {
                        Some(event) => return Some(event),
                        None => continue,
                    },
                    Some(Inbound::Cancelled | Inbound::Lost(_)) | None => {
                        self.answered = true;
                        return None;
                    }
                }
            }
        })
    }
}

impl Drop for PipedCall {
    fn drop(&mut self) {
        if !self.answered {
            self.ticket.abandon_soon();
        }
    }
}

// === impl Remote ===

struct Remote {
    proxy: Arc<Proxy>,
    route: Arc<Published>,
}

impl ModernServer for Remote {
    fn discover(&self, added: HeaderMap) -> BoxFuture<'_, Result<Envelope, NotAsked>> {
        Box::pin(async move {
            let message = Envelope::parse(describing("server/discover", "")).map_err(not_asked)?;
            let asked = ask_with(&self.proxy, &self.route, &message, headers_of(&message), &added);
            let answered = tokio::time::timeout(DISCOVER_PATIENCE, asked).await.map_err(not_asked)?;
            Ok(answered.map_err(not_asked)?.1)
        })
    }

    fn call(&self, message: Envelope, added: HeaderMap) -> BoxFuture<'_, Result<Box<dyn ModernCall>, NotAsked>> {
        Box::pin(async move {
            let mut headers = headers_of(&message);
            let mut mirrors = Vec::new();
            if let Some(tool) = message.target().filter(|_| message.method() == "tools/call") {
                let (proxy, route, added) = (Arc::clone(&self.proxy), Arc::clone(&self.route), added.clone());
                let list = move |request: Bytes| -> BoxFuture<'static, Option<Envelope>> {
                    let (proxy, route, added) = (Arc::clone(&proxy), Arc::clone(&route), added.clone());
                    Box::pin(async move {
                        let message = Envelope::parse(request).ok()?;
                        Some(ask_with(&proxy, &route, &message, headers_of(&message), &added).await.ok()?.1)
                    })
                };
                mirrors = self.route.modern.mirrors.of(&tool, &list).await;
            }
            restate(&mut headers, &message, &mirrors);
            let sent =
                send_with(&self.proxy, &self.route, http::Method::POST, headers, &added, message.raw().clone()).await;
            let (head, mut body) = sent.map_err(not_asked)?.into_parts();
            let events =
                head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
            let call = if events {
                RemoteCall { answer: None, stream: Some((body, Parser::new(UPSTREAM_MESSAGE_BYTES_MAX))) }
            } else {
                let wait = self.proxy.config.request_idle_max;
                let text = collect(&mut body, UPSTREAM_MESSAGE_BYTES_MAX, wait).await.map_err(not_asked)?;
                let answer = Envelope::parse(text);
                let answer =
                    answer.map_err(|_| NotAsked(format!("the server answered with status {}", head.status)))?;
                RemoteCall { answer: Some(answer), stream: None }
            };
            Ok(Box::new(call) as Box<dyn ModernCall>)
        })
    }
}

struct RemoteCall {
    answer: Option<Envelope>,
    stream: Option<(UpstreamBody, Parser)>,
}

impl ModernCall for RemoteCall {
    fn next(&mut self) -> BoxFuture<'_, Option<Envelope>> {
        Box::pin(async {
            if let Some(answer) = self.answer.take() {
                return Some(answer);
            }
            let (body, parser) = self.stream.as_mut()?;
            loop {
                while let Some(event) = parser.next_event().ok()? {
                    let is_message = event.is_message();
                    let data = event.data.filter(|data| is_message && !data.is_empty());
                    if let Some(message) = data.and_then(|data| Envelope::parse(data).ok()) {
                        if matches!(message.kind(), Kind::Response | Kind::Error) {
                            self.stream = None;
                        }
                        return Some(message);
                    }
                }
                let frame = body.frame().await?.ok()?;
                parser.push(frame.data_ref().map_or(&[][..], |data| data));
            }
        })
    }
}
