//! One self-describing request, from its session to the last byte of its answer.

use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::json::{decode_string, encode_string, find};
use fairlead_core::jsonrpc::{
    CAPABILITIES_KEY, Envelope, INVALID_PARAMS, Kind, LOG_LEVEL_KEY, METHOD_NOT_FOUND, error_reply, rejection_of,
    result_reply,
};
use http::{HeaderMap, Method, StatusCode};
use tokio::time::{Instant, timeout};

use super::listen;
use super::session::{Answers, Door, NoSession, Parked, Session};
use super::words::{self, CLIENT_KEY};
use crate::Proxy;
use crate::limits::{CANCEL_GRACE, KEEP_ALIVE};
use crate::modern::{Delivery, status_of};
use crate::reply::lost;
use crate::route::Published;
use crate::service::Connection;

/// The key of the one question that is asked at a time.
const QUESTION: &str = "question";

/// Requests in which a server may ask.
const ASKING: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];

/// See the module.
pub(super) struct Call {
    pub(super) door: Door,
    pub(super) message: Envelope,
}

impl Call {
    pub(super) fn new(
        proxy: &Arc<Proxy>,
        route: &Arc<Published>,
        connection: Connection,
        headers: HeaderMap,
        message: Envelope,
    ) -> Self {
        let said = (message.meta(CAPABILITIES_KEY), message.meta(CLIENT_KEY));
        Self { door: Door::new(proxy, route, connection, headers, said), message }
    }

    pub(super) async fn run(self, delivery: Delivery) {
        match self.message.method() {
            "server/discover" => self.discover(delivery).await,
            "subscriptions/listen" => listen::run(self, delivery).await,
            _ => self.converse(delivery).await,
        }
    }

    pub(super) fn id(&self) -> &str {
        self.message.id().unwrap_or("null")
    }

    /// A session of this client: one that is free, or another.
    pub(super) async fn session(&self) -> Result<Session, NoSession> {
        match self.door.route.elder.take(self.door.likeness) {
            Some(session) => Ok(session),
            None => self.door.open().await,
        }
    }

    async fn discover(self, mut delivery: Delivery) {
        match while_there(&mut delivery, self.session()).await {
            None => {}
            Some(Err(none)) => self.refuse(none, delivery).await,
            Some(Ok(session)) => {
                let text = result_reply(self.id(), &words::discovered(&session.introduced));
                self.door.route.elder.keep(self.door.likeness, session);
                delivery.finish(StatusCode::OK, text, None).await;
            }
        }
    }

    /// There is no session: what the server or the chain said about that, under the id of the request.
    pub(super) async fn refuse(&self, none: NoSession, delivery: Delivery) {
        match none.said.as_ref().and_then(Envelope::error) {
            Some(error) => self.fail(error, delivery).await,
            None => {
                let text = format!("the server answered `initialize` with status {}", none.status);
                let error = lost(&text);
                let text = error_reply(Some(self.id()), error.code, &error.message, error.data.as_deref());
                delivery.finish(StatusCode::SERVICE_UNAVAILABLE, text, None).await;
            }
        }
    }

    /// An error (JSON text) as the answer.
    async fn fail(&self, error: &str, delivery: Delivery) {
        let error = words::error(error);
        let known = rejection_of(&error);
        let wait = known.as_ref().and_then(|error| error.retry_after_ms);
        let status = known.map_or(StatusCode::OK, |error| status_of(error.code, wait.is_some()));
        let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{error}}}", self.id());
        delivery.finish(status, text.into(), wait).await;
    }

    async fn fail_with(&self, code: i64, text: &str, delivery: Delivery) {
        delivery.finish(status_of(code, false), error_reply(Some(self.id()), code, text, None), None).await;
    }

    async fn converse(mut self, mut delivery: Delivery) {
        let params = self.message.params().unwrap_or_else(|| Bytes::from_static(b"{}"));
        let Ok(params) = std::str::from_utf8(&params) else {
            return self.fail_with(INVALID_PARAMS, "`params` is not UTF-8 text", delivery).await;
        };
        let request = self.door.request(self.message.method(), params);
        let begun = match find(params, "/requestState").ok().flatten() {
            Some(word) => self.resume(word, params, request).await,
            None => self.begin(params, request, &mut delivery).await,
        };
        match begun {
            Ok(parked) => self.follow(parked, request, delivery).await,
            Err(Stop::Gone) => {}
            Err(Stop::NoSession(none)) => self.refuse(none, delivery).await,
            Err(Stop::Asked(text)) => delivery.finish(StatusCode::OK, text, None).await,
            Err(Stop::Unknown) => {
                let text = "`requestState` is not of this request, or its time is over: send the request without it";
                self.fail_with(INVALID_PARAMS, text, delivery).await;
            }
        }
    }

    /// Sends the request in a session. One that has ended meanwhile is replaced once. A client that goes while nothing has been
    /// heard of the answer has cancelled as well: servers that answer with JSON say nothing before.
    async fn begin(&self, params: &str, request: u64, delivery: &mut Delivery) -> Result<Parked, Stop> {
        let plain = words::plain(params).unwrap_or_else(|| params.to_owned());
        let opened = while_there(delivery, self.session()).await.ok_or(Stop::Gone)?;
        let mut session = opened.map_err(Stop::NoSession)?;
        for is_last in [false, true] {
            while_there(delivery, self.set_level(&mut session)).await.ok_or(Stop::Gone)?;
            let id = session.number();
            let method = encode_string(self.message.method());
            let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{method},\"params\":{plain}}}");
            let Some(response) = while_there(delivery, self.door.carry(&session, Method::POST, text.into())).await
            else {
                self.cancel(&session, &id).await;
                return Err(Stop::Gone);
            };
            if is_last || response.status() != StatusCode::NOT_FOUND {
                return Ok(Parked::new(&self.door, request, session, Answers::of(response), id));
            }
            let opened = while_there(delivery, self.door.open()).await.ok_or(Stop::Gone)?;
            session = opened.map_err(Stop::NoSession)?;
        }
        Err(Stop::Unknown)
    }

    /// The level of logs that the request wants, where the session has another.
    async fn set_level(&self, session: &mut Session) {
        let Some(level) = self.message.meta(LOG_LEVEL_KEY) else { return };
        if session.level.as_deref() == Some(level) {
            return;
        }
        let id = session.number();
        let text = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"logging/setLevel\",\"params\":{{\"level\":{level}}}}}"
        );
        Answers::of(self.door.carry(session, Method::POST, text.into()).await).drain().await;
        session.level = Some(level.to_owned());
    }

    /// Brings a request that waits what its server wanted to know.
    async fn resume(&mut self, word: &str, params: &str, request: u64) -> Result<Parked, Stop> {
        let word = decode_string(word).ok_or(Stop::Unknown)?;
        let parked = self.parked(&word, request).ok_or(Stop::Unknown)?;
        let Some(answer) = find(params, &format!("/inputResponses/{QUESTION}")).ok().flatten() else {
            return Err(self.ask(parked));
        };
        let (id, ..) = &parked.question;
        self.door.tell(&parked.session, result_reply(id, answer)).await;
        Ok(parked)
    }

    /// What waits under a word: at this revision of the server, or at one before it, where the request then stays.
    fn parked(&mut self, word: &str, request: u64) -> Option<Parked> {
        let mut revision = Some(Arc::clone(&self.door.route));
        while let Some(route) = revision {
            if let Some(parked) = route.elder.unpark(word, self.door.likeness, request) {
                self.door.route = route;
                return Some(parked);
            }
            revision = route.before.load_full();
        }
        None
    }

    /// Asks the client: the request waits until it comes back.
    fn ask(&self, parked: Parked) -> Stop {
        let (_, method, params) = parked.question.clone();
        match self.door.route.elder.park(parked) {
            Ok(word) => Stop::Asked(result_reply(self.id(), &words::wanted(QUESTION, &method, &params, &word))),
            Err(_) => {
                let error = lost("too many requests wait for their clients");
                Stop::Asked(error_reply(Some(self.id()), error.code, &error.message, error.data.as_deref()))
            }
        }
    }

    /// Passes on what comes, until the answer, a question, or until the client has gone.
    async fn follow(self, mut parked: Parked, request: u64, mut delivery: Delivery) {
        let mut heard = Instant::now();
        loop {
            let next = tokio::select! {
                biased;
                next = timeout(KEEP_ALIVE, parked.answers.next()) => next,
                () = delivery.gone() => return self.cancel(&parked.session, &parked.wire_id).await,
            };
            match next {
                Ok(Some(message)) => {
                    heard = Instant::now();
                    match message.kind() {
                        Kind::Response | Kind::Error if message.id() == Some(&parked.wire_id) => {
                            self.door.route.elder.keep(self.door.likeness, parked.session);
                            return self.answer(&message, delivery).await;
                        }
                        // An error of the edge does not always know the request.
                        Kind::Error => return self.fail(message.error().unwrap_or("{}"), delivery).await,
                        Kind::Response => {}
                        Kind::Notification => {
                            if let Some(text) = self.event(&message)
                                && !delivery.event(&text).await
                            {
                                return self.cancel(&parked.session, &parked.wire_id).await;
                            }
                        }
                        Kind::Request => match self.question(&message, &parked.session).await {
                            None => {}
                            Some(question) => {
                                let (session, wire_id) = (parked.session, parked.wire_id);
                                let mut parked = Parked::new(&self.door, request, session, parked.answers, wire_id);
                                parked.question = question;
                                if let Stop::Asked(text) = self.ask(parked) {
                                    delivery.finish(StatusCode::OK, text, None).await;
                                }
                                return;
                            }
                        },
                    }
                }
                Ok(None) => {
                    let error = lost("the server has ended");
                    let text = error_reply(Some(self.id()), error.code, &error.message, error.data.as_deref());
                    return delivery.finish(StatusCode::OK, text, None).await;
                }
                Err(_) if heard.elapsed() >= self.door.proxy.config.request_idle_max => {
                    let error = lost("the server gave no sign for too long");
                    let text = error_reply(Some(self.id()), error.code, &error.message, error.data.as_deref());
                    delivery.finish(StatusCode::OK, text, None).await;
                    return self.cancel(&parked.session, &parked.wire_id).await;
                }
                Err(_) => {
                    if !delivery.keep_alive().await {
                        return self.cancel(&parked.session, &parked.wire_id).await;
                    }
                }
            }
        }
    }

    async fn answer(&self, answer: &Envelope, delivery: Delivery) {
        if let Some(error) = answer.error() {
            return self.fail(error, delivery).await;
        }
        let result = answer.result().unwrap_or_default();
        let result = std::str::from_utf8(&result).unwrap_or("{}");
        let result = words::complete(self.message.method(), result).unwrap_or_else(|| result.to_owned());
        let text = answer.rewrite().id(self.id()).result(&result).finish();
        delivery.finish(StatusCode::OK, text, None).await;
    }

    /// A message on the way to the answer, as this client may hear it.
    fn event(&self, event: &Envelope) -> Option<Bytes> {
        match (event.method(), self.message.progress_token()) {
            ("notifications/progress", Some(token)) => Some(event.rewrite().progress_of(token).finish()),
            ("notifications/message", _) if self.message.meta(LOG_LEVEL_KEY).is_none() => None,
            _ => Some(event.raw().clone()),
        }
    }

    /// What a server asks in the middle of a request: for the client, if it can and may be asked; else it is answered here.
    async fn question(&self, question: &Envelope, session: &Session) -> Option<(String, String, String)> {
        let id = question.id().unwrap_or("null");
        let needs = match question.method() {
            "elicitation/create" => "/elicitation",
            "sampling/createMessage" => "/sampling",
            "roots/list" => "/roots",
            "ping" => {
                self.door.tell(session, result_reply(id, "{}")).await;
                return None;
            }
            _ => "/",
        };
        let can = find(&self.door.capabilities, needs).ok().flatten().is_some();
        if can && ASKING.contains(&self.message.method()) {
            let params = question.params().unwrap_or_else(|| Bytes::from_static(b"{}"));
            let params = String::from_utf8_lossy(&params).into_owned();
            return Some((id.to_owned(), question.method().to_owned(), params));
        }
        let text = error_reply(Some(id), METHOD_NOT_FOUND, "the client of this request cannot be asked that", None);
        self.door.tell(session, text).await;
        None
    }

    /// The client has gone, which in its era is how it cancels; the session hears it in its own words, and is not used again:
    /// an answer that comes all the same must not meet another request.
    async fn cancel(&self, session: &Session, id: &str) {
        let text =
            format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{id}}}}}");
        let _ = timeout(CANCEL_GRACE, self.door.tell(session, text.into())).await;
    }
}

/// What comes of something that is done for a client, as long as that waits for it; `None`: it has gone.
pub(super) async fn while_there<T>(delivery: &mut Delivery, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = delivery.gone() => None,
    }
}

/// Why a request is not followed.
enum Stop {
    /// Nobody waits for it any more.
    Gone,
    NoSession(NoSession),
    /// The client is asked: the whole answer.
    Asked(Bytes),
    /// What it wants to go on with is not there.
    Unknown,
}
