//! What came back to one HTTP request: a status, headers, and JSON or a stream of events.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use crate::limits::EXCHANGE;
use crate::mcp::sse::{Event, Parser};

/// A reply whose body is still coming.
#[derive(Debug)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    body: Incoming,
    parser: Parser,
}

impl Reply {
    pub(super) fn new(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        Self { status: head.status, headers: head.headers, body, parser: Parser::default() }
    }

    /// A header as text; empty when absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether it is a stream of events.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.header(CONTENT_TYPE.as_str()).starts_with("text/event-stream")
    }

    /// The next event of a stream; `None` at its end.
    ///
    /// # Errors
    /// It is no stream, it breaks off, or nothing comes in time.
    pub async fn event(&mut self) -> Result<Option<Event>> {
        ensure!(self.is_stream(), "status {} with `{}`: no stream", self.status, self.header("content-type"));
        // One deadline for all: comments that keep the connection alive are no events.
        tokio::time::timeout(EXCHANGE, self.next_event()).await.context("the stream has no event")?
    }

    async fn next_event(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.parser.next_event() {
                return Ok(Some(event));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            if let Some(bytes) = frame.context("read the stream")?.data_ref() {
                self.parser.push(bytes);
            }
        }
    }

    /// The next JSON-RPC message of a stream; events without data (they prime a reconnection) are passed over.
    ///
    /// # Errors
    /// As [`Self::event`], or the data is no JSON.
    pub async fn message(&mut self) -> Result<Option<Value>> {
        while let Some(event) = self.event().await? {
            if !event.data.is_empty() {
                return Ok(Some(serde_json::from_str(&event.data).with_context(|| event.data.clone())?));
            }
        }
        Ok(None)
    }

    /// The whole body.
    ///
    /// # Errors
    /// It breaks off, or does not end in time.
    pub async fn bytes(self) -> Result<Bytes> {
        let collected = tokio::time::timeout(EXCHANGE, self.body.collect()).await.context("the body does not end")?;
        Ok(collected.context("read the body")?.to_bytes())
    }

    /// The text of the response: the body, or the first event that is no request or notification of the server.
    ///
    /// # Errors
    /// The reply ends without one.
    pub async fn text(mut self) -> Result<String> {
        if !self.is_stream() {
            return String::from_utf8(self.bytes().await?.to_vec()).context("the body is no text");
        }
        while let Some(event) = self.event().await? {
            if !event.data.is_empty() {
                let message: Value = serde_json::from_str(&event.data).with_context(|| event.data.clone())?;
                if message.get("method").is_none() {
                    return Ok(event.data);
                }
            }
        }
        bail!("the stream ended without a response")
    }

    /// The response as JSON.
    ///
    /// # Errors
    /// As [`Self::text`], or it is no JSON.
    pub async fn response(self) -> Result<Value> {
        let status = self.status;
        let text = self.text().await?;
        serde_json::from_str(&text).with_context(|| format!("status {status}, no JSON: `{text}`"))
    }
}
