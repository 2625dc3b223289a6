//! Legacy sessions that requests of the newest era borrow, one request at a time, and requests that wait for their client.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use fairlead_core::json::{decode_string, find};
use fairlead_core::jsonrpc::{Envelope, Kind};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use crate::Proxy;
use crate::body::{ReplyBody, Response};
use crate::era::LEGACY;
use crate::limits::{
    ELDER_IDLE_MAX, ELDER_KEEP, ELDER_PARKED_MAX, INPUT_WAIT_MAX, OPEN_MAX, UPSTREAM_MESSAGE_BYTES_MAX,
};
use crate::reply::{LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID};
use crate::route::Published;
use crate::service::{self, Connection};
use crate::session::new_session_id;
use crate::sse::Parser;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// Headers of the client's request that say nothing about who it is, or that each request of a session has anew.
fn is_passing(name: &str) -> bool {
    name.starts_with("mcp-")
        || matches!(name, "traceparent" | "tracestate" | "content-length" | "content-type" | "accept")
}

/// A client of the newest era, as its request shows it.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) proxy: Arc<Proxy>,
    pub(super) route: Arc<Published>,
    connection: Connection,
    headers: HeaderMap,
    /// JSON texts of what the request says of its client.
    pub(super) capabilities: String,
    info: String,
    /// The same for all requests of one client.
    pub(super) likeness: u64,
}

/// Why there is no session, in words for the client: status and text of a message whose id is not its own.
pub(super) struct NoSession {
    pub(super) status: StatusCode,
    pub(super) said: Option<Envelope>,
}

/// A session, until it is dropped.
pub(super) struct Session {
    proxy: Weak<Proxy>,
    route: Weak<Published>,
    connection: Connection,
    /// Of whoever opened it, for its end.
    headers: HeaderMap,
    id: Option<HeaderValue>,
    version: HeaderValue,
    /// The result of `initialize`.
    pub(super) introduced: String,
    /// The log level that was set.
    pub(super) level: Option<String>,
    number: u64,
}

/// What comes back for one request.
pub(super) struct Answers {
    pub(super) status: StatusCode,
    body: ReplyBody,
    parser: Option<Parser>,
    /// What has come of an answer that is no stream.
    begun: BytesMut,
}

/// A request in whose middle the server has asked something.
pub(super) struct Parked {
    likeness: u64,
    /// What was asked for: the same request must come back.
    request: u64,
    pub(super) session: Session,
    pub(super) answers: Answers,
    /// Id of the request in the session.
    pub(super) wire_id: String,
    /// The question: its id, method and `params`.
    pub(super) question: (String, String, String),
    since: Instant,
}

/// Sessions of one route that nobody uses now, and requests that wait.
#[derive(Default)]
pub(crate) struct Sessions {
    idle: Mutex<Vec<(u64, Instant, Session)>>,
    parked: Mutex<HashMap<Arc<str>, Parked>>,
    seed: RandomState,
    /// No request begins here any more, so none needs a session that is kept.
    retired: AtomicBool,
}

// === impl Sessions ===

impl Sessions {
    /// Those of the revision after: it tells clients and requests apart alike, so that what waits here is found from there.
    pub(crate) fn after(before: &Self) -> Self {
        Self { seed: before.seed.clone(), ..Self::default() }
    }

    /// A session of a client like this one.
    pub(super) fn take(&self, likeness: u64) -> Option<Session> {
        let mut idle = self.idle.lock();
        let at = idle.iter().rposition(|(like, ..)| *like == likeness)?;
        Some(idle.remove(at).2)
    }

    /// Keeps a session for the next request of its client; the one that waited the longest makes room.
    pub(super) fn keep(&self, likeness: u64, session: Session) {
        let mut idle = self.idle.lock();
        if self.retired.load(Ordering::Acquire) {
            drop(idle);
            return drop(session);
        }
        let oldest = (idle.len() >= ELDER_IDLE_MAX).then(|| idle.remove(0));
        idle.push((likeness, Instant::now(), session));
        drop(idle);
        drop(oldest);
    }

    /// Keeps a request until its client comes back with this word; gives it back when too many wait.
    pub(super) fn park(&self, parked: Parked) -> Result<Arc<str>, Box<Parked>> {
        let Some(word) = new_session_id() else { return Err(Box::new(parked)) };
        let mut waiting = self.parked.lock();
        if waiting.len() >= ELDER_PARKED_MAX {
            return Err(Box::new(parked));
        }
        waiting.insert(Arc::clone(&word), parked);
        Ok(word)
    }

    /// The request that waits under this word, if it is the same one of the same client.
    pub(super) fn unpark(&self, word: &str, likeness: u64, request: u64) -> Option<Parked> {
        let mut waiting = self.parked.lock();
        let is_it = waiting.get(word).is_some_and(|parked| parked.likeness == likeness && parked.request == request);
        if is_it { waiting.remove(word) } else { None }
    }

    /// Ends what nobody came back for.
    pub(crate) fn expire(&self) {
        let idle: Vec<_> = self.idle.lock().extract_if(.., |(_, since, _)| since.elapsed() >= ELDER_KEEP).collect();
        let parked: Vec<_> =
            self.parked.lock().extract_if(|_, parked| parked.since.elapsed() >= INPUT_WAIT_MAX).collect();
        drop((idle, parked));
    }

    /// Ends those that are kept for another request; what waits for its client goes on.
    pub(crate) fn retire(&self) {
        let mut idle = self.idle.lock();
        self.retired.store(true, Ordering::Release);
        let kept = std::mem::take(&mut *idle);
        drop(idle);
        drop(kept);
    }

    /// Ends all of them.
    pub(crate) fn close(&self) {
        let (idle, parked) = (std::mem::take(&mut *self.idle.lock()), std::mem::take(&mut *self.parked.lock()));
        drop((idle, parked));
    }
}

impl Parked {
    pub(super) fn new(door: &Door, request: u64, session: Session, answers: Answers, wire_id: String) -> Self {
        let question = Default::default();
        Self { likeness: door.likeness, request, session, answers, wire_id, question, since: Instant::now() }
    }
}

// === impl Door ===

impl Door {
    pub(super) fn new(
        proxy: &Arc<Proxy>,
        route: &Arc<Published>,
        connection: Connection,
        mut headers: HeaderMap,
        (capabilities, info): (Option<&str>, Option<&str>),
    ) -> Self {
        let passing: Vec<_> = headers.keys().filter(|name| is_passing(name.as_str())).cloned().collect();
        for name in passing.iter().chain(&[TRANSFER_ENCODING, LAST_EVENT_ID, CONTENT_LENGTH]) {
            headers.remove(name);
        }
        let capabilities = capabilities.unwrap_or("{}").to_owned();
        let info = info.unwrap_or(r#"{"name":"fairlead","version":"0"}"#).to_owned();
        let seed = &route.elder.seed;
        // In whatever order they come.
        let said = headers
            .iter()
            .fold(0, |sum: u64, (name, value)| sum.wrapping_add(seed.hash_one((name.as_str(), value.as_bytes()))));
        let likeness = seed.hash_one((said, &capabilities, &info));
        Self { proxy: Arc::clone(proxy), route: Arc::clone(route), connection, headers, capabilities, info, likeness }
    }

    /// A number for a request, by what it asks for.
    pub(super) fn request(&self, method: &str, params: &str) -> u64 {
        let part = |pointer| find(params, pointer).ok().flatten();
        self.route.elder.seed.hash_one((method, part("/name"), part("/uri"), part("/arguments")))
    }

    /// Opens a session.
    pub(super) async fn open(&self) -> Result<Session, NoSession> {
        let [.., newest] = LEGACY;
        let params = format!(
            "{{\"protocolVersion\":\"{newest}\",\"capabilities\":{},\"clientInfo\":{}}}",
            self.capabilities, self.info
        );
        let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{params}}}");
        let mut session = Session {
            proxy: Arc::downgrade(&self.proxy),
            route: Arc::downgrade(&self.route),
            connection: self.connection,
            headers: self.headers.clone(),
            id: None,
            version: HeaderValue::from_static(newest),
            introduced: String::new(),
            level: None,
            number: 0,
        };
        let response = self.carry(&session, Method::POST, text.into()).await;
        // From here on it is ended with this, whatever comes of it.
        session.id = response.headers().get(SESSION_ID).cloned();
        let mut answers = Answers::of(response);
        let answer = timeout(OPEN_MAX, answers.last()).await.unwrap_or(None);
        let result = answer.as_ref().filter(|answer| answer.kind() == Kind::Response).and_then(Envelope::result);
        let Some(result) = result else { return Err(NoSession { status: answers.status, said: answer }) };
        session.introduced = String::from_utf8_lossy(&result).into_owned();
        let version = find(&session.introduced, "/protocolVersion").ok().flatten().and_then(decode_string);
        if let Some(Ok(version)) = version.map(|version| HeaderValue::from_str(&version)) {
            session.version = version;
        }
        self.carry(&session, Method::POST, Bytes::from_static(INITIALIZED)).await;
        Ok(session)
    }

    /// Sends a message of a session, or asks for its stream.
    pub(super) async fn carry(&self, session: &Session, method: Method, text: Bytes) -> Response {
        let mut request = Request::new(text);
        *request.headers_mut() = session.dressed(&self.headers, &method);
        *request.method_mut() = method;
        service::serve(&self.proxy, &self.route, self.connection, request).await
    }

    /// Sends a message that has no answer. Whether it was taken.
    pub(super) async fn tell(&self, session: &Session, text: Bytes) -> bool {
        self.carry(session, Method::POST, text).await.status().is_success()
    }
}

// === impl Session ===

impl Session {
    fn dressed(&self, client: &HeaderMap, method: &Method) -> HeaderMap {
        let mut headers = client.clone();
        headers.insert(ACCEPT, if *method == Method::GET { EVENTS } else { BOTH });
        if *method == Method::POST {
            headers.insert(CONTENT_TYPE, JSON);
        }
        if let Some(id) = &self.id {
            headers.insert(SESSION_ID, id.clone());
        }
        if !self.introduced.is_empty() {
            headers.insert(PROTOCOL_VERSION, self.version.clone());
        }
        headers
    }

    /// An id for the next request.
    pub(super) fn number(&mut self) -> String {
        self.number += 1;
        self.number.to_string()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (Some(proxy), Some(route), Some(_)) = (self.proxy.upgrade(), self.route.upgrade(), &self.id) else {
            return;
        };
        let mut request = Request::new(Bytes::new());
        *request.headers_mut() = self.dressed(&self.headers, &Method::DELETE);
        *request.method_mut() = Method::DELETE;
        let (connection, tracker) = (self.connection, proxy.tasks.clone());
        let goodbye = async move { drop(service::serve(&proxy, &route, connection, request).await) };
        if let Ok(runtime) = Handle::try_current() {
            tracker.spawn_on(goodbye, &runtime);
        }
    }
}

// === impl Answers ===

impl Answers {
    pub(super) fn of(response: Response) -> Self {
        let (head, body) = response.into_parts();
        let kind = head.headers.get(CONTENT_TYPE);
        let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let parser = is_stream.then(|| Parser::new(UPSTREAM_MESSAGE_BYTES_MAX));
        Self { status: head.status, body, parser, begun: BytesMut::new() }
    }

    pub(super) fn is_stream(&self) -> bool {
        self.parser.is_some()
    }

    /// The next message; `None` when no more comes. Nothing is lost when it is not waited for to the end.
    pub(super) async fn next(&mut self) -> Option<Envelope> {
        let Some(parser) = &mut self.parser else {
            while let Some(frame) = self.body.frame().await {
                let Ok(data) = frame.ok()?.into_data() else { continue };
                if self.begun.is_empty() && self.body.is_end_stream() {
                    return Envelope::parse(data).ok();
                }
                if self.begun.len() + data.len() > UPSTREAM_MESSAGE_BYTES_MAX {
                    return None;
                }
                self.begun.extend_from_slice(&data);
            }
            return Envelope::parse(self.begun.split().freeze()).ok();
        };
        loop {
            while let Some(event) = parser.next_event().ok()? {
                let is_message = event.is_message();
                let data = event.data.filter(|data| is_message && !data.is_empty());
                if let Some(message) = data.and_then(|data| Envelope::parse(data).ok()) {
                    return Some(message);
                }
            }
            let frame = self.body.frame().await?.ok()?;
            parser.push(frame.data_ref().map_or(&[][..], |data| data));
        }
    }

    /// The answer, where nothing else matters.
    async fn last(&mut self) -> Option<Envelope> {
        while let Some(message) = self.next().await {
            if matches!(message.kind(), Kind::Response | Kind::Error) {
                return Some(message);
            }
        }
        None
    }

    /// The same, for whoever is not interested in what it says.
    pub(super) async fn drain(mut self) {
        self.last().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    fn session() -> Session {
        Session {
            proxy: Weak::new(),
            route: Weak::new(),
            connection: Connection { peer: std::net::IpAddr::from([127, 0, 0, 1]), loopback: true },
            headers: HeaderMap::new(),
            id: None,
            version: HeaderValue::from_static("2025-11-25"),
            introduced: String::new(),
            level: None,
            number: 0,
        }
    }

    fn parked(likeness: u64, request: u64) -> Parked {
        let (wire_id, question) = Default::default();
        let answers = Answers::of(Response::new(ReplyBody::Full(None)));
        Parked { likeness, request, session: session(), answers, wire_id, question, since: Instant::now() }
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_are_kept_for_their_client_for_a_while_and_the_oldest_makes_room() {
        let sessions = Sessions::default();
        for likeness in 0..=ELDER_IDLE_MAX as u64 {
            sessions.keep(likeness, session());
        }
        assert!(sessions.take(0).is_none(), "it made room");
        assert!(sessions.take(1).is_some() && sessions.take(1).is_none());
        tokio::time::advance(ELDER_KEEP - Duration::from_secs(1)).await;
        sessions.expire();
        assert!(sessions.take(2).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        sessions.expire();
        assert!(sessions.take(3).is_none());
        sessions.retire();
        sessions.keep(4, session());
        assert!(sessions.take(4).is_none(), "nobody comes for it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_its_own_client_and_for_so_long_and_beside_so_many() {
        let sessions = Sessions::default();
        let word = sessions.park(parked(1, 2)).ok().unwrap();
        for (likeness, request) in [(1, 3), (3, 2)] {
            assert!(sessions.unpark(&word, likeness, request).is_none());
        }
        assert!(sessions.unpark("another word", 1, 2).is_none());
        assert!(sessions.unpark(&word, 1, 2).is_some() && sessions.unpark(&word, 1, 2).is_none());
        let mut words = Vec::new();
        for _ in 0..ELDER_PARKED_MAX {
            words.push(sessions.park(parked(1, 2)).ok().unwrap());
        }
        assert!(sessions.park(parked(1, 2)).is_err());
        tokio::time::advance(INPUT_WAIT_MAX).await;
        sessions.expire();
        assert!(words.iter().all(|word| sessions.unpark(word, 1, 2).is_none()));
        assert!(sessions.park(parked(1, 2)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_slowly_is_not_lost_to_who_looks_away() {
        let (pieces, receiver) = mpsc::channel(4);
        let mut answers = Answers::of(Response::new(ReplyBody::Pump(receiver)));
        for piece in [r#"{"jsonrpc":"2.0","#, r#""id":1,"#, r#""result":{}}"#] {
            pieces.send(Ok(Bytes::from_static(piece.as_bytes()))).await.unwrap();
            assert!(timeout(Duration::from_secs(1), answers.next()).await.is_err(), "more is to come");
        }
        drop(pieces);
        assert_eq!(answers.next().await.unwrap().id(), Some("1"));
        assert!(answers.next().await.is_none());
    }
}
