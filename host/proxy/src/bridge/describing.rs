//! Requests of the newest era over stdio: each takes a connection of its own, because that is its life. To cancel it is a
//! notification here and the end of the connection there; a subscription that was cut off is one there and a notification here.

use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::BoxFuture;
use fairlead_core::jsonrpc::{Envelope, INTERNAL_ERROR, IdKey, Kind, VERSION_KEY, error_reply};
use http::{HeaderMap, Method};
use tokio_util::sync::CancellationToken;

use super::carrier::{Carrier, Lost};
use super::exchange::{Exchange, is_stream, with_id};
use super::sent::Sent;
use crate::http::headers_of;
use crate::modern::headers::restate;

/// Whether a message belongs to no session.
pub(super) fn describes_itself(message: &Envelope) -> bool {
    let describes = message.meta(VERSION_KEY).is_some() || message.method() == "server/discover";
    describes && message.kind() == Kind::Request
}

impl<C: Carrier> Exchange<C> {
    /// Takes note of a request, so that it can be cancelled from now on.
    pub(super) fn begin(&self, message: &Envelope) -> CancellationToken {
        let over = CancellationToken::new();
        if let Some(id) = message.id().and_then(IdKey::of) {
            self.calls.lock().insert(id, over.clone());
        }
        over
    }

    /// Cancels a request that describes itself. False: there is none that this message means.
    pub(super) fn cancel(&self, message: &Envelope) -> bool {
        let call = message.cancelled().and_then(IdKey::of).and_then(|id| self.calls.lock().remove(&id));
        call.inspect(CancellationToken::cancel).is_some()
    }

    /// Sends such a request and writes whatever comes back, the answer last, unless it is cancelled.
    pub(super) async fn ask_describing(self: Arc<Self>, message: Envelope, over: CancellationToken, sent: Sent) {
        let asked = over.run_until_cancelled(self.try_describing(&message, sent)).await;
        if let Some(id) = message.id().and_then(IdKey::of) {
            self.calls.lock().remove(&id);
        }
        match asked {
            // Cancelled: the connection is gone, and nothing more is said of it.
            None | Some(Ok(true)) => {}
            Some(Ok(false)) if message.method() == "subscriptions/listen" => {
                let id = message.id().unwrap_or("null");
                let text = format!(
                    "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{id},\
                     \"reason\":\"the connection to the server has ended\"}}}}"
                );
                self.emit(text.into()).await;
            }
            Some(Ok(false)) => self.lose(&message, &Lost::Broken).await,
            Some(Err(lost)) => self.lose(&message, &lost).await,
        }
    }

    async fn lose(&self, message: &Envelope, lost: &Lost) {
        self.emit(error_reply(message.id(), INTERNAL_ERROR, &lost.to_string(), None)).await;
    }

    /// Whether an answer came.
    async fn try_describing(self: &Arc<Self>, message: &Envelope, sent: Sent) -> Result<bool, Lost> {
        let mut headers = headers_of(message);
        let mut mirrors = Vec::new();
        if let Some(tool) = message.target().filter(|_| message.method() == "tools/call") {
            let exchange = Arc::clone(self);
            let list = move |request: Bytes| -> BoxFuture<'static, Option<Envelope>> {
                let exchange = Arc::clone(&exchange);
                Box::pin(async move { exchange.ask_for(request).await })
            };
            mirrors = self.mirrors.of(&tool, &list).await;
        }
        restate(&mut headers, message, &mirrors);
        let response = self.carry_describing(headers, message.raw().clone(), Some(sent)).await?;
        if !is_stream(&response) {
            let reply = self.only_reply(response).await?;
            self.emit(with_id(reply, message.id())).await;
            return Ok(true);
        }
        Ok(self.pump(response.into_body(), message.id()).await)
    }

    /// One request of ours, for what calls of a tool repeat in headers.
    async fn ask_for(&self, request: Bytes) -> Option<Envelope> {
        let message = Envelope::parse(request).ok()?;
        let response = self.carry_describing(headers_of(&message), message.raw().clone(), None).await.ok()?;
        Envelope::parse(self.only_reply(response).await.ok()?).ok()
    }

    async fn carry_describing(
        &self,
        headers: HeaderMap,
        text: Bytes,
        sent: Option<Sent>,
    ) -> Result<http::Response<C::Body>, Lost> {
        let mut request = http::Request::new(text);
        (*request.method_mut(), *request.headers_mut()) = (Method::POST, headers);
        self.carrier.carry(request, None, sent).await
    }
}
