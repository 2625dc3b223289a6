//! One MCP session over one keep-alive connection, as a client of streamable HTTP has it.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::load::Load;
use crate::message;

/// Longest wait for one reply: a proxy that stalls must fail the run, not hang it.
const REPLY_MAX: Duration = Duration::from_secs(30);

/// One connection with one MCP session.
pub(crate) struct Session {
    load: Load,
    sender: SendRequest<Full<Bytes>>,
    id: Option<String>,
    _connection: JoinSet<hyper::Result<()>>,
}

impl Session {
    /// A connection, and a session on it.
    pub(crate) async fn open(load: &Load) -> anyhow::Result<Self> {
        let mut session = Self::connect(load, None).await?;
        session.begin().await?;
        Ok(session)
    }

    /// A connection for a session that exists, or will.
    pub(crate) async fn connect(load: &Load, id: Option<String>) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(&load.address).await.with_context(|| format!("connect to {}", load.address))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut connections = JoinSet::new();
        connections.spawn(connection);
        Ok(Self { load: load.clone(), sender, id, _connection: connections })
    }

    /// Shakes hands; the session that it had before is somebody else's now.
    pub(crate) async fn begin(&mut self) -> anyhow::Result<()> {
        self.id = None;
        let (response, body) = self.post(message::initialize()).await.context("initialize")?;
        let answer: serde_json::Value = serde_json::from_slice(&body).context("initialize")?;
        ensure!(answer.get("result").is_some(), "initialize: {answer}");
        self.id = response.headers().get("mcp-session-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        self.post(message::INITIALIZED.to_owned()).await.context("notifications/initialized")?;
        Ok(())
    }

    /// Another one like it.
    pub(crate) async fn again(&self) -> anyhow::Result<Self> {
        Self::open(&self.load).await
    }

    /// The same session on another connection.
    pub(crate) async fn reconnect(&self) -> anyhow::Result<Self> {
        Self::connect(&self.load, self.id.clone()).await
    }

    /// Its id, if the server gave one.
    pub(crate) fn id(&self) -> Option<String> {
        self.id.clone()
    }

    /// The tool that echoes here.
    pub(crate) fn tool(&self) -> &'static str {
        self.load.tool
    }

    /// Ends a session, whoever's it is.
    pub(crate) async fn end(&mut self, id: Option<String>) -> anyhow::Result<()> {
        self.id = id;
        let (response, _) = self.send(Method::DELETE, String::new()).await.context("end the session")?;
        ensure!(response.status().is_success(), "end the session: HTTP {}", response.status());
        Ok(())
    }

    /// Ends the session.
    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        if self.id.is_some() {
            self.send(Method::DELETE, String::new()).await.context("end the session")?;
        }
        Ok(())
    }

    /// Sends a message; gives the message that came back, which is empty for a notification.
    pub(crate) async fn post(&mut self, message: String) -> anyhow::Result<(Response<()>, Bytes)> {
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

    /// Sends a request that may be cancelled: a stream that ends without an answer is none.
    pub(crate) async fn post_or_nothing(&mut self, message: String) -> anyhow::Result<Option<Bytes>> {
        let (response, body) = self.send(Method::POST, message).await?;
        ensure!(response.status().is_success(), "HTTP {}", response.status());
        let is_json = response.headers().get("content-type").is_some_and(|kind| kind == "application/json");
        Ok(if is_json { Some(body).filter(|body| !body.is_empty()) } else { last_event(&body) })
    }

    async fn send(&mut self, method: Method, body: String) -> anyhow::Result<(Response<()>, Bytes)> {
        let exchange = async {
            let (head, body) = self.ask(method, body).await?.into_parts();
            anyhow::Ok((Response::from_parts(head, ()), body.collect().await?.to_bytes()))
        };
        tokio::time::timeout(REPLY_MAX, exchange).await.context("no reply in time")?
    }

    /// Sends a request; the body of the answer is the caller's to read.
    pub(crate) async fn ask(&mut self, method: Method, body: String) -> anyhow::Result<Response<Incoming>> {
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
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }
}

/// Data of the last server-sent event: the reply comes last, and in these loads alone.
pub(crate) fn last_event(stream: &Bytes) -> Option<Bytes> {
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
