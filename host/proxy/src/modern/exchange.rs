//! One self-describing message, from its headers to the last byte of its answer.

use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::BoxFuture;
use fairlead_core::json::{decode_string, each, encode_string, find};
use fairlead_core::jsonrpc::{
    Envelope, HEADER_MISMATCH, INVALID_REQUEST, Kind, METHOD_NOT_FOUND, MISSING_CAPABILITY, UNSUPPORTED_VERSION,
    rejection_of, result_reply,
};
use fairlead_core::middleware::Rejection;
use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, timeout};

use super::access::NotReached;
use super::delivery::Delivery;
use super::headers::{Refusal, check, check_mirrors};
use super::learn;
use crate::Proxy;
use crate::body::Response;
use crate::chain::{Decision, EventDecision, Exchange, Outcome, Provenance, Returned};
use crate::era;
use crate::limits::{KEEP_ALIVE, OPEN_MAX};
use crate::reply::{self, lost};
use crate::route::Published;
use crate::stdio::{Inbound, NotEnlisted, Pipe, Ticket, changed, nonsense};
use crate::watch::watch;

const LISTEN: &str = "subscriptions/listen";

/// A message of a client.
pub(crate) async fn post(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    headers: HeaderMap,
    message: Envelope,
) -> Response {
    // Before anything else: an error of the newest revision would tell the client that the server speaks it.
    if route.eras.recall().modern == Some(false) {
        return era::refuse_modern(message.id());
    }
    if let Err(refusal) = check(&headers, &message) {
        return refusal.response(message.id());
    }
    let provenance = || Provenance {
        headers: headers.clone(),
        request_id: message.id_bytes(),
        session: None,
        protocol_version: message.claimed_version().map(|version| version.as_ref().into()),
    };
    let watch = watch(proxy, route, &message, &headers, None);
    let exchange = Exchange::begin(route.chain(), &route.key, &message, provenance).watched(watch);
    let job = Job { proxy: Arc::clone(proxy), route: Arc::clone(route), headers, exchange };
    if message.kind() != Kind::Request {
        return job.tell(message).await;
    }
    let id = message.id_bytes().unwrap_or_default();
    let (delivery, response) = Delivery::new();
    proxy.tasks.spawn(job.ask(message, delivery));
    response.await.unwrap_or_else(|_| {
        let outcome = Outcome::Error(lost("the request was abandoned"));
        reply::json(StatusCode::OK, reply::text_of(std::str::from_utf8(&id).unwrap_or("null"), &outcome))
    })
}

/// What is said at the end of a request.
struct End {
    status: StatusCode,
    text: Bytes,
    wait_ms: Option<u64>,
}

impl End {
    fn of(id: &str, outcome: &Outcome) -> Self {
        let wait_ms = reply::wait_of(outcome);
        let status = match outcome {
            Outcome::Result(_) => StatusCode::OK,
            Outcome::Error(rejection) => status_of(rejection.code, wait_ms.is_some()),
        };
        Self { status, text: reply::text_of(id, outcome), wait_ms }
    }

    async fn deliver(self, delivery: Delivery) {
        delivery.finish(self.status, self.text, self.wait_ms).await;
    }
}

/// The status that an error has in the newest revision. All others are told in band.
pub(crate) fn status_of(code: i64, wait: bool) -> StatusCode {
    match code {
        METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION => StatusCode::BAD_REQUEST,
        _ if wait => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::OK,
    }
}

/// One message under way.
struct Job {
    proxy: Arc<Proxy>,
    route: Arc<Published>,
    headers: HeaderMap,
    exchange: Exchange,
}

impl Job {
    /// A notification: no revision of this era has one that a client sends over HTTP. What is new passes; a cancellation
    /// does not, for it could only name somebody else's request.
    async fn tell(mut self, message: Envelope) -> Response {
        let Decision::Forward(params) = self.exchange.request(&message).await else {
            return reply::empty(StatusCode::ACCEPTED);
        };
        let Some(message) = changed(message, params.as_ref()) else { return reply::empty(StatusCode::ACCEPTED) };
        if message.method() != "notifications/cancelled"
            && let Ok((pipe, _)) = self.route.modern.get(&self.proxy, &self.route).await
        {
            pipe.send(message.raw().clone()).await;
        }
        reply::empty(StatusCode::ACCEPTED)
    }

    async fn ask(mut self, message: Envelope, delivery: Delivery) {
        let id = message.id().unwrap_or_default().to_owned();
        let params = match self.exchange.request(&message).await {
            Decision::Answer(outcome) => return End::of(&id, &outcome).deliver(delivery).await,
            Decision::Forward(params) => params,
        };
        let before = message.clone();
        let Some(message) = changed(message, params.as_ref()) else {
            let outcome = self.exchange.failure(nonsense()).await;
            return End::of(&id, &outcome).deliver(delivery).await;
        };
        if message.method() == "initialize" {
            let outcome = self.exchange.failure(no_handshake()).await;
            return End::of(&id, &outcome).deliver(delivery).await;
        }
        match self.reach(&before, &message).await {
            Ok((pipe, ticket)) => self.converse(&pipe, &ticket, &message, delivery).await,
            Err(end) => end.deliver(delivery).await,
        }
    }

    /// Gets at the process and gives it the request; one that has just ended is replaced once.
    async fn reach(&mut self, before: &Envelope, message: &Envelope) -> Result<(Arc<Pipe>, Ticket), End> {
        let id = message.id().unwrap_or_default();
        for _ in 0..2 {
            let (pipe, discovered) = match self.route.modern.get(&self.proxy, &self.route).await {
                Ok(reached) => reached,
                Err(error) => return Err(self.not_reached(id, error).await),
            };
            if let Some(rejection) = unsupported(message, &discovered) {
                return Err(End::of(id, &self.exchange.failure(rejection).await));
            }
            self.compare(&pipe, before, message).await?;
            match pipe.enlist_request(message) {
                Ok(ticket) if pipe.send(ticket.text.clone()).await => return Ok((pipe, ticket)),
                Ok(_) | Err(NotEnlisted::Ended) => {}
                Err(error) => return Err(self.failed(id, &error.to_string()).await),
            }
        }
        Err(self.failed(id, "the server has ended").await)
    }

    /// The server reads no headers, so the arguments that are repeated there are compared here: as the client sent them,
    /// with the tool that is called in the end.
    async fn compare(&self, pipe: &Arc<Pipe>, before: &Envelope, message: &Envelope) -> Result<(), End> {
        let Some(tool) = message.target().filter(|_| message.method() == "tools/call") else { return Ok(()) };
        let asked = Arc::clone(pipe);
        let list = move |request| -> BoxFuture<'static, _> {
            let pipe = Arc::clone(&asked);
            Box::pin(async move { learn::ask(&pipe, request, OPEN_MAX).await })
        };
        let mirrors = self.route.modern.mirrors.of(&tool, &list).await;
        let params = before.params().unwrap_or_default();
        let agree = check_mirrors(&self.headers, std::str::from_utf8(&params).unwrap_or_default(), &mirrors);
        agree.map_err(|refusal| {
            // The tool may have changed since: who asks again is compared with what it is then.
            self.route.modern.mirrors.forget();
            self.refused(message, &refusal)
        })
    }

    fn refused(&self, message: &Envelope, refusal: &Refusal) -> End {
        End { status: StatusCode::BAD_REQUEST, text: refusal.text(message.id()), wait_ms: None }
    }

    async fn not_reached(&mut self, id: &str, error: NotReached) -> End {
        let rejection = match error {
            NotReached::Legacy(_) => {
                let text = era::legacy_only();
                let rejection = Rejection { code: INVALID_REQUEST, message: text, ..lost("") };
                let outcome = self.exchange.failure(rejection).await;
                return End { status: StatusCode::BAD_REQUEST, ..End::of(id, &outcome) };
            }
            NotReached::Unavailable(error) => reply::unavailable(&error),
            error => lost(&error.to_string()),
        };
        let outcome = self.exchange.failure(rejection).await;
        End { status: StatusCode::SERVICE_UNAVAILABLE, ..End::of(id, &outcome) }
    }

    async fn failed(&mut self, id: &str, reason: &str) -> End {
        End::of(id, &self.exchange.failure(lost(reason)).await)
    }

    /// Passes on what comes, until the answer or until the client has gone.
    async fn converse(mut self, pipe: &Arc<Pipe>, ticket: &Ticket, message: &Envelope, mut delivery: Delivery) {
        let id = message.id().unwrap_or_default();
        let listens = message.method() == LISTEN;
        let mut heard = Instant::now();
        loop {
            let inbound = tokio::select! {
                biased;
                inbound = timeout(KEEP_ALIVE, ticket.inlet.recv()) => inbound,
                () = delivery.gone() => return self.cancelled(ticket).await,
                () = self.proxy.draining.cancelled(), if listens => {
                    ticket.abandon().await;
                    return delivery.finish(StatusCode::OK, subscription_ended(id), None).await;
                }
            };
            match inbound {
                Ok(Some(Inbound::Reply(answer))) => {
                    let end = self.answered(id, &answer).await;
                    return end.deliver(delivery).await;
                }
                // A subscription that the server gives up ends without an answer.
                Ok(Some(Inbound::Event(event))) if event.method() == "notifications/cancelled" => return,
                Ok(Some(Inbound::Event(event))) => {
                    heard = Instant::now();
                    if let Some(text) = self.event(message, &event).await
                        && !delivery.event(&text).await
                    {
                        return self.cancelled(ticket).await;
                    }
                }
                Ok(Some(Inbound::Lost(reason))) if listens => {
                    // The client opens another one when it sees the stream end without an answer.
                    tracing::debug!(server = %self.route.key, reason = &*reason, "a subscription was cut off");
                    return;
                }
                Ok(Some(Inbound::Lost(reason))) => return self.failed(id, &reason).await.deliver(delivery).await,
                Ok(Some(Inbound::Cancelled) | None) => return,
                Err(_) if !listens && heard.elapsed() >= self.proxy.config.request_idle_max => {
                    ticket.abandon().await;
                    return self.failed(id, "the server gave no sign for too long").await.deliver(delivery).await;
                }
                Err(_) => {
                    if !delivery.keep_alive().await || pipe.has_ended() {
                        return self.cancelled(ticket).await;
                    }
                }
            }
        }
    }

    /// The client has gone, which in this era is how it cancels.
    async fn cancelled(&mut self, ticket: &Ticket) {
        ticket.abandon().await;
        self.exchange.failure(lost("the client has gone")).await;
    }

    /// The answer as the client sees it: under its own id, after the chain.
    async fn answered(&mut self, id: &str, answer: &Envelope) -> End {
        let status = |error: Option<&str>| {
            let code = error.and_then(rejection_of).map(|error| error.code);
            code.map_or(StatusCode::OK, |code| status_of(code, false))
        };
        match self.exchange.answer(answer).await {
            Returned::Untouched => {
                let text = answer.rewrite().id(id).subscription(id).finish();
                End { status: status(answer.error()), text, wait_ms: None }
            }
            Returned::Changed(Outcome::Result(result)) if answer.kind() == Kind::Response => {
                let result = std::str::from_utf8(&result).unwrap_or("null");
                End { status: StatusCode::OK, text: answer.rewrite().id(id).result(result).finish(), wait_ms: None }
            }
            Returned::Changed(outcome) => End::of(id, &outcome),
        }
    }

    /// A message that belongs to the request, under the client's own names, after the chain.
    async fn event(&mut self, message: &Envelope, event: &Envelope) -> Option<Bytes> {
        if event.method().ends_with("/tools/list_changed") {
            self.route.modern.mirrors.forget();
        }
        let event = restored(message, event)?;
        match self.exchange.event(&event).await {
            EventDecision::Pass => Some(event.raw().clone()),
            EventDecision::Change(params) => Some(event.rewrite().params(std::str::from_utf8(&params).ok()?).finish()),
            EventDecision::Drop(_) => None,
        }
    }
}

/// A message that belongs to a request, under the names that the request gave: a pipe knows them by others.
pub(crate) fn restored(request: &Envelope, event: &Envelope) -> Option<Envelope> {
    let mut rewrite = event.rewrite().subscription(request.id().unwrap_or_default());
    if let Some(token) = request.progress_token().filter(|_| event.method() == "notifications/progress") {
        rewrite = rewrite.progress_of(token);
    }
    Envelope::parse(rewrite.finish()).ok()
}

/// Servers of one revision do not look at what a request on a pipe claims, so what they said to `server/discover` is held
/// against it here.
fn unsupported(message: &Envelope, discovered: &Envelope) -> Option<Rejection> {
    let result = discovered.result()?;
    let versions = find(std::str::from_utf8(&result).ok()?, "/supportedVersions").ok()??;
    let claimed = message.claimed_version()?;
    if each(versions).any(|(_, version)| decode_string(version).as_ref() == Some(&claimed)) {
        return None;
    }
    let requested = encode_string(&claimed);
    Some(Rejection {
        code: UNSUPPORTED_VERSION,
        message: format!("this server does not speak revision {claimed} of MCP"),
        data: Some(format!("{{\"supported\":{versions},\"requested\":{requested}}}")),
        retry_after_ms: None,
    })
}

/// This era has no handshake. On a pipe that all requests share it might begin the other one, for everybody.
fn no_handshake() -> Rejection {
    Rejection {
        code: METHOD_NOT_FOUND,
        message: "`initialize` is no method of the revision that this request claims".to_owned(),
        data: None,
        retry_after_ms: None,
    }
}

/// The answer to a subscription that we end ourselves.
pub(crate) fn subscription_ended(id: &str) -> Bytes {
    let meta = format!("{{\"io.modelcontextprotocol/subscriptionId\":{id}}}");
    result_reply(id, &format!("{{\"resultType\":\"complete\",\"_meta\":{meta}}}"))
}
