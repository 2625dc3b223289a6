//! The legacy server that a client sees.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fairlead_core::json::{decode_string, find, patch};
use fairlead_core::jsonrpc::{
    CAPABILITIES_KEY, Envelope, INTERNAL_ERROR, INVALID_PARAMS, IdKey, Kind, LOG_LEVEL_KEY, VERSION_KEY, error_reply,
    result_reply,
};
use fairlead_core::workload::StdioConnection;
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Injected;
use super::listening::{Filter, listen};
use super::questions::{Wanted, put};
use super::server::ModernServer;
use crate::Proxy;
use crate::era::{LEGACY, MODERN};
use crate::limits::{
    INPUT_ROUNDS_MAX, INPUT_WAIT_MAX, LINE_BYTES_MAX, LISTEN_ACK_MAX, OUTGOING_MESSAGES_MAX, READ_CHUNK_BYTES,
    SUBSCRIPTIONS_MAX,
};
use crate::stdio::framing::{Line, Lines};

const INFO_KEY: &str = "/io.modelcontextprotocol~1clientInfo";

/// What the client has said of itself; JSON texts.
#[derive(Clone, Default)]
struct Facts {
    capabilities: String,
    info: Option<String>,
    log_level: Option<String>,
}

/// See the module.
pub(super) struct Face {
    pub(super) server: Arc<dyn ModernServer>,
    injected: Arc<Injected>,
    lines: mpsc::Sender<Bytes>,
    facts: Mutex<Facts>,
    /// Questions that the client has not answered yet.
    questions: Mutex<HashMap<IdKey, oneshot::Sender<Envelope>>>,
    /// Requests of the client under way.
    calls: Mutex<HashMap<IdKey, CancellationToken>>,
    numbers: AtomicU64,
    filter: watch::Sender<Filter>,
    heard: watch::Receiver<Filter>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// Opens one.
pub(super) fn open(proxy: &Proxy, server: Arc<dyn ModernServer>, injected: Arc<Injected>) -> StdioConnection {
    let (stdin, ours_in) = duplex(READ_CHUNK_BYTES);
    let (stdout, ours_out) = duplex(READ_CHUNK_BYTES);
    let (lines, written) = mpsc::channel(OUTGOING_MESSAGES_MAX);
    let closing = CancellationToken::new();
    let (heard_sender, heard) = watch::channel(Filter::default());
    let face = Arc::new(Face {
        server,
        injected,
        lines,
        facts: Mutex::default(),
        questions: Mutex::default(),
        calls: Mutex::default(),
        numbers: AtomicU64::new(1),
        filter: watch::Sender::new(Filter::default()),
        heard,
        tasks: proxy.tasks.clone(),
        closing: closing.clone(),
    });
    proxy.tasks.spawn(write(written, ours_out));
    proxy.tasks.spawn(face.run(ours_in, heard_sender));
    StdioConnection { stdin: Box::new(stdin), stdout: Box::new(stdout), lease: Box::new(closing.drop_guard()) }
}

async fn write(mut lines: mpsc::Receiver<Bytes>, mut out: DuplexStream) {
    while let Some(line) = lines.recv().await {
        let line = crate::stdio::on_one_line(line);
        if out.write_all(&line).await.is_err() || out.write_all(b"\n").await.is_err() {
            return;
        }
    }
}

impl Face {
    async fn run(self: Arc<Self>, stdin: DuplexStream, heard: watch::Sender<Filter>) {
        let mut lines = Lines::new(stdin, LINE_BYTES_MAX);
        let mut heard = Some(heard);
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                () = self.closing.cancelled() => break,
            };
            let Ok(Some(Line::Text(text))) = line else { break };
            let Ok(message) = Envelope::parse(text) else { continue };
            match message.kind() {
                Kind::Response | Kind::Error => self.answered(message),
                Kind::Notification => self.told(&message, &mut heard),
                Kind::Request => self.asked(message).await,
            }
        }
        self.closing.cancel();
    }

    /// The headers of what no request of the client brings.
    pub(super) fn headers(&self) -> HeaderMap {
        self.injected.of_session.clone()
    }

    pub(super) async fn say(&self, line: Bytes) {
        tokio::select! {
            _ = self.lines.send(line) => {}
            () = self.closing.cancelled() => {}
        }
    }

    fn answered(&self, answer: Envelope) {
        let question = answer.id().and_then(IdKey::of).and_then(|id| self.questions.lock().remove(&id));
        if let Some(question) = question {
            let _ = question.send(answer);
        }
    }

    fn told(self: &Arc<Self>, message: &Envelope, heard: &mut Option<watch::Sender<Filter>>) {
        match message.method() {
            "notifications/initialized" => {
                if let Some(heard) = heard.take() {
                    let (face, closing) = (Arc::clone(self), self.closing.clone());
                    let listening = listen(face, self.filter.subscribe(), heard);
                    self.tasks.spawn(async move { closing.run_until_cancelled(listening).await });
                }
            }
            "notifications/cancelled" => {
                let call = message.cancelled().and_then(IdKey::of).and_then(|id| self.calls.lock().remove(&id));
                call.inspect(CancellationToken::cancel);
            }
            _ => {}
        }
    }

    async fn asked(self: &Arc<Self>, message: Envelope) {
        let id = message.id().unwrap_or("null");
        let added = self.injected.take(id);
        match message.method() {
            "initialize" => {
                let answer = self.initialize(&message, added).await;
                self.say(answer).await;
            }
            "ping" => self.say(result_reply(id, "{}")).await,
            "logging/setLevel" => {
                self.facts.lock().log_level = param(&message, "/level");
                self.say(result_reply(id, "{}")).await;
            }
            "resources/subscribe" | "resources/unsubscribe" => {
                let face = Arc::clone(self);
                self.tasks.spawn(async move { face.subscribe(&message).await });
            }
            _ => {
                let stop = self.closing.child_token();
                if let Some(id) = IdKey::of(id) {
                    self.calls.lock().insert(id, stop.clone());
                }
                let face = Arc::clone(self);
                self.tasks.spawn(async move {
                    let end = stop.run_until_cancelled(face.rounds(&message, &added)).await;
                    message.id().and_then(IdKey::of).and_then(|id| face.calls.lock().remove(&id));
                    if let Some(end) = end {
                        face.say(end).await;
                    }
                });
            }
        }
    }

    async fn initialize(&self, message: &Envelope, added: HeaderMap) -> Bytes {
        let id = message.id().unwrap_or("null");
        *self.facts.lock() = Facts {
            capabilities: param(message, "/capabilities").unwrap_or_else(|| "{}".to_owned()),
            info: param(message, "/clientInfo"),
            log_level: None,
        };
        let discovered = match self.server.discover(added).await {
            Ok(discovered) => discovered,
            Err(error) => return error_reply(Some(id), INTERNAL_ERROR, &error.to_string(), None),
        };
        let Some(result) = discovered.result() else { return discovered.rewrite().id(id).finish() };
        let result = std::str::from_utf8(&result).unwrap_or("{}");
        let part = |pointer: &str| find(result, pointer).ok().flatten();
        let wanted =
            param(message, "/protocolVersion").and_then(|raw| decode_string(&raw).map(|text| text.into_owned()));
        let [.., newest] = LEGACY;
        let version = LEGACY.into_iter().find(|known| wanted.as_deref() == Some(*known)).unwrap_or(newest);
        let capabilities = part("/capabilities").unwrap_or("{}");
        self.filter.send_replace(Filter::of(capabilities));
        let server = part("/_meta/io.modelcontextprotocol~1serverInfo").unwrap_or(r#"{"name":"","version":""}"#);
        let instructions = part("/instructions").map(|text| format!(",\"instructions\":{text}")).unwrap_or_default();
        let answer = format!(
            "{{\"protocolVersion\":\"{version}\",\"capabilities\":{capabilities},\"serverInfo\":{server}{instructions}}}"
        );
        result_reply(id, &answer)
    }

    /// Answered once the server tells changes of the resource, or has been given the time to say that it does.
    async fn subscribe(&self, message: &Envelope) {
        let id = message.id().unwrap_or("null");
        let Some(uri) = message.target() else {
            return self.say(error_reply(Some(id), INVALID_PARAMS, "no `uri`", None)).await;
        };
        let mut has_room = true;
        self.filter.send_modify(|filter| {
            if message.method() != "resources/subscribe" {
                filter.resources.remove(uri.as_ref());
            } else {
                has_room = filter.add(&uri);
            }
        });
        if !has_room {
            let text = format!("a session subscribes to {SUBSCRIPTIONS_MAX} resources at most");
            return self.say(error_reply(Some(id), INVALID_PARAMS, &text, None)).await;
        }
        let wanted = self.filter.borrow().clone();
        let mut heard = self.heard.clone();
        let _ = timeout(LISTEN_ACK_MAX, heard.wait_for(|heard| *heard == wanted)).await;
        self.say(result_reply(id, "{}")).await;
    }

    /// A self-describing request of the client: JSON texts of method and `params`.
    pub(super) fn request(&self, method: &str, params: &str) -> Option<Envelope> {
        let facts = self.facts.lock().clone();
        let mut operations = Vec::new();
        if find(params, "/_meta").ok().flatten().is_none() {
            operations.push(put("/_meta", "{}".to_owned()));
        }
        operations.push(put(&format!("/_meta{VERSION_KEY}"), format!("\"{MODERN}\"")));
        operations.push(put(&format!("/_meta{CAPABILITIES_KEY}"), facts.capabilities));
        operations.extend(facts.info.map(|info| put(&format!("/_meta{INFO_KEY}"), info)));
        operations.extend(facts.log_level.map(|level| put(&format!("/_meta{LOG_LEVEL_KEY}"), level)));
        let params = patch(params, &operations).ok()?;
        let id = self.numbers.fetch_add(1, Ordering::Relaxed);
        let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":\"fairlead:{id}\",\"method\":{method},\"params\":{params}}}");
        Envelope::parse(text.into()).ok()
    }

    /// A request to its answer, however often the server wants to know more first.
    async fn rounds(&self, message: &Envelope, added: &HeaderMap) -> Bytes {
        let id = message.id().unwrap_or("null");
        let failed = |why: &str| error_reply(Some(id), INTERNAL_ERROR, why, None);
        let method = fairlead_core::json::encode_string(message.method());
        let given = message.params().unwrap_or_else(|| Bytes::from_static(b"{}"));
        let Ok(given) = std::str::from_utf8(&given) else { return failed("the request is not UTF-8 text") };
        let mut params = given.to_owned();
        for _ in 0..INPUT_ROUNDS_MAX {
            let Some(request) = self.request(&method, &params) else { return failed("the request has no parameters") };
            let mut call = match self.server.call(request, added.clone()).await {
                Ok(call) => call,
                Err(error) => return failed(&error.to_string()),
            };
            let answer = loop {
                match call.next().await {
                    Some(event) if event.kind() == Kind::Notification => self.say(event.raw().clone()).await,
                    Some(answer) if matches!(answer.kind(), Kind::Response | Kind::Error) => break answer,
                    Some(_) => {}
                    None => return failed("no answer: the server has ended"),
                }
            };
            drop(call);
            let Some(wanted) = Wanted::of(&answer) else { return answer.rewrite().id(id).finish() };
            let answers = match self.ask(&wanted).await {
                Ok(answers) => answers,
                Err(Refused::Error(error)) => {
                    return format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}").into();
                }
                Err(Refused::Silence) => return failed("the client did not answer what the server wanted to know"),
            };
            match wanted.answered(given, &answers) {
                Some(next) => params = next,
                None => return failed("the answers of the client make no request"),
            }
        }
        failed("the server wants to know more and more")
    }

    /// Asks the client all that the server wants to know, at once.
    async fn ask(&self, wanted: &Wanted) -> Result<Vec<String>, Refused> {
        let mut waiting = Vec::new();
        let mut open = Open { face: self, keys: Vec::new() };
        for (_, method, params) in &wanted.questions {
            let id = format!("\"fairlead-question:{}\"", self.numbers.fetch_add(1, Ordering::Relaxed));
            let (sender, answer) = oneshot::channel();
            if let Some(key) = IdKey::of(&id) {
                self.questions.lock().insert(key.clone(), sender);
                open.keys.push(key);
            }
            let question = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{method},\"params\":{params}}}");
            self.say(question.into()).await;
            waiting.push(answer);
        }
        let mut answers = Vec::new();
        for answer in waiting {
            let answer = timeout(INPUT_WAIT_MAX, answer).await.map_err(|_| Refused::Silence)?;
            let answer = answer.map_err(|_| Refused::Silence)?;
            if let Some(error) = answer.error() {
                return Err(Refused::Error(error.to_owned()));
            }
            let result = answer.result().unwrap_or_default();
            answers.push(String::from_utf8(result.to_vec()).map_err(|_| Refused::Silence)?);
        }
        Ok(answers)
    }
}

/// Questions that somebody waits for; nobody does when this is dropped.
struct Open<'a> {
    face: &'a Face,
    keys: Vec<IdKey>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut questions = self.face.questions.lock();
        for key in &self.keys {
            questions.remove(key);
        }
    }
}

/// Why a question got no answer.
enum Refused {
    /// The client answered with this error (JSON text).
    Error(String),
    /// It did not answer.
    Silence,
}

/// JSON text of a part of `params`.
fn param(message: &Envelope, pointer: &str) -> Option<String> {
    let params = message.params()?;
    find(std::str::from_utf8(&params).ok()?, pointer).ok().flatten().map(ToOwned::to_owned)
}
