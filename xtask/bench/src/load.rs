//! A closed loop: each worker has one keep-alive connection, one session and one request in flight, and checks every reply.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::message::{self, Reply};

/// Longest wait for one reply: a proxy that stalls must fail the run, not hang it.
const REPLY_MAX: Duration = Duration::from_secs(30);

/// Failures that are kept in words; all are counted.
const FAILURES_TOLD: usize = 3;

/// What to ask, and how hard.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    /// Path of the endpoint.
    pub(crate) path: String,
    pub(crate) workers: usize,
    pub(crate) payload_bytes: usize,
}

/// What the workers share: they run on one thread, so nothing needs a lock.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    is_over: Cell<bool>,
    is_measured: Cell<bool>,
    requests: Cell<u64>,
    failures: Cell<u64>,
    told: RefCell<Vec<String>>,
    nanoseconds: RefCell<Vec<u64>>,
}

impl Tally {
    /// Good replies so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Bad replies so far.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.get()
    }

    /// The first failures in words.
    pub(crate) fn told(&self) -> Vec<String> {
        self.told.borrow().clone()
    }

    /// Latencies are kept from now on.
    pub(crate) fn measure(&self) {
        self.is_measured.set(true);
    }

    /// Every worker ends after the request that it is in.
    pub(crate) fn end(&self) {
        self.is_measured.set(false);
        self.is_over.set(true);
    }

    /// Latencies in ascending order, in nanoseconds.
    pub(crate) fn latencies(&self) -> Vec<u64> {
        let mut latencies = self.nanoseconds.borrow().clone();
        latencies.sort_unstable();
        latencies
    }

    fn fail(&self, why: String) {
        self.failures.set(self.failures.get() + 1);
        let mut told = self.told.borrow_mut();
        if told.len() < FAILURES_TOLD {
            told.push(why);
        }
    }

    fn succeed(&self, took: Duration) {
        self.requests.set(self.requests.get() + 1);
        if self.is_measured.get() {
            self.nanoseconds.borrow_mut().push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

/// Further examination of a good reply.
pub(crate) type Examine = fn(&Reply<'_>) -> Result<(), String>;

/// The workers of one load. They are local to the thread that begins them.
pub(crate) struct Workers(JoinSet<anyhow::Result<()>>);

impl Workers {
    /// Opens all sessions, then begins. Must be called inside a `LocalSet`.
    pub(crate) async fn begin(load: &Load, tally: &Rc<Tally>, examine: Examine) -> anyhow::Result<Self> {
        let mut workers = JoinSet::new();
        let mut sessions = Vec::with_capacity(load.workers);
        for _ in 0..load.workers {
            sessions.push(Session::open(load).await?);
        }
        for (number, session) in sessions.into_iter().enumerate() {
            workers.spawn_local(work(session, number, load.payload_bytes, Rc::clone(tally), examine));
        }
        Ok(Self(workers))
    }

    /// Waits until all have ended, and ends their sessions.
    pub(crate) async fn join(mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.0.join_next().await {
            ended.context("a worker")??;
        }
        Ok(())
    }
}

async fn work(
    mut session: Session,
    number: usize,
    payload_bytes: usize,
    tally: Rc<Tally>,
    examine: Examine,
) -> anyhow::Result<()> {
    let mut id = 0;
    while !tally.is_over.get() {
        id += 1;
        let payload = message::payload(number, id, payload_bytes);
        let call = message::call(id, &payload);
        let begin = Instant::now();
        let reply = session.post(call).await;
        let took = begin.elapsed();
        let good = reply.map_err(|error| format!("{error:#}")).and_then(|(_, body)| {
            let reply = Reply::check(&body, id, &payload)?;
            examine(&reply)
        });
        match good {
            Ok(()) => tally.succeed(took),
            Err(why) => {
                tally.fail(why);
                // A broken connection would fail for ever; a new session shows whether the server lives.
                session = Session::open(&session.load).await?;
            }
        }
    }
    session.close().await
}

/// One connection with one MCP session.
struct Session {
    load: Load,
    sender: SendRequest<Full<Bytes>>,
    id: Option<String>,
    _connection: JoinSet<hyper::Result<()>>,
}

impl Session {
    async fn open(load: &Load) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(&load.address).await.with_context(|| format!("connect to {}", load.address))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut connections = JoinSet::new();
        connections.spawn(connection);
        let mut session = Self { load: load.clone(), sender, id: None, _connection: connections };
        let (response, body) = session.post(message::initialize()).await.context("initialize")?;
        let answer: serde_json::Value = serde_json::from_slice(&body).context("initialize")?;
        ensure!(answer.get("result").is_some(), "initialize: {answer}");
        session.id = response.headers().get("mcp-session-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        session.post(message::INITIALIZED.to_owned()).await.context("notifications/initialized")?;
        Ok(session)
    }

    async fn close(mut self) -> anyhow::Result<()> {
        if self.id.is_some() {
            self.send(Method::DELETE, String::new()).await.context("end the session")?;
        }
        Ok(())
    }

    /// Sends a message; gives the message that came back, which is empty for a notification.
    async fn post(&mut self, message: String) -> anyhow::Result<(Response<()>, Bytes)> {
        let (response, body) = self.send(Method::POST, message).await?;
        let is_stream = response
            .headers()
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if !response.status().is_success() {
            let text = String::from_utf8_lossy(body.get(..200).unwrap_or(&body)).into_owned();
            bail!("HTTP {}: {text}", response.status());
        }
        let body = if is_stream { last_event(&body).context("an event stream without data")? } else { body };
        Ok((response, body))
    }

    async fn send(&mut self, method: Method, body: String) -> anyhow::Result<(Response<()>, Bytes)> {
        let mut request = Request::builder()
            .method(method)
            .uri(&self.load.path)
            .header("host", &self.load.address)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        if let Some(id) = &self.id {
            request = request.header("mcp-session-id", id).header("mcp-protocol-version", message::REVISION);
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let exchange = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            Ok::<_, hyper::Error>((Response::from_parts(head, ()), body.collect().await?.to_bytes()))
        };
        Ok(tokio::time::timeout(REPLY_MAX, exchange).await.context("no reply in time")??)
    }
}

/// Data of the last server-sent event: the reply comes last, and in these loads alone.
fn last_event(stream: &Bytes) -> Option<Bytes> {
    const FIELD: &[u8] = b"data:";
    let line = stream.split(|byte| *byte == b'\n').rev().find(|line| line.starts_with(FIELD))?;
    Some(stream.slice_ref(line.get(FIELD.len()..)?.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::last_event;

    #[test]
    fn the_reply_is_the_last_event_of_a_stream() {
        let stream = Bytes::from_static(b"event: message\ndata: {\"a\":1}\n\nevent: message\ndata: {\"b\":2}\r\n\n");
        assert_eq!(last_event(&stream).as_deref(), Some(&b"{\"b\":2}"[..]));
        assert_eq!(last_event(&Bytes::from_static(b": ping\n\n")), None);
    }
}
