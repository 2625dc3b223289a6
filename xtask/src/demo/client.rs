//! The smallest MCP client that can tell a story: streamable HTTP, one request at a time, every wait bounded.
//!
//! Not an SDK's client, because what is shown here is the wire: the status, the `Retry-After` header, the JSON-RPC error.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// Revision of MCP that the demonstration speaks: the last one with a handshake, which every client of today knows.
pub(crate) const REVISION: &str = "2025-11-25";

/// Longest wait for one answer. The first call compiles nothing, so seconds are ample even on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A client with at most one session.
pub(crate) struct Client {
    agent: ureq::Agent,
    endpoint: String,
    session: Option<String>,
    last_id: u64,
}

/// An answer as it came.
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The header.
    pub(crate) retry_after: Option<String>,
    /// The JSON-RPC message; `null` when there was none.
    pub(crate) message: Value,
}

impl Reply {
    /// The result, or the error in words.
    pub(crate) fn result(&self) -> Result<&Value, String> {
        self.message.get("result").ok_or_else(|| format!("HTTP {}, {}", self.status, self.message))
    }

    /// Code and message of a JSON-RPC error.
    pub(crate) fn error(&self) -> Option<(i64, &str)> {
        let error = self.message.get("error")?;
        Some((error.get("code")?.as_i64()?, error.get("message")?.as_str()?))
    }

    /// The text of a tool's answer.
    pub(crate) fn text(&self) -> Result<&str, String> {
        let result = self.result()?;
        let text = result.pointer("/content/0/text").and_then(Value::as_str);
        text.ok_or_else(|| format!("a result without text: {result}"))
    }
}

impl Client {
    /// A client of this endpoint; nothing is sent yet.
    pub(crate) fn new(endpoint: &str) -> Self {
        // No proxy from the environment: the endpoint is on this machine.
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(ANSWER_MAX))
            .build();
        Self { agent: config.new_agent(), endpoint: endpoint.to_owned(), session: None, last_id: 0 }
    }

    /// The handshake.
    pub(crate) fn initialize(&mut self) -> anyhow::Result<Reply> {
        let params = json!({
            "protocolVersion": REVISION,
            "capabilities": {},
            "clientInfo": { "name": "fairlead-demo", "version": env!("CARGO_PKG_VERSION") },
        });
        let reply = self.request("initialize", &params)?;
        if reply.message.get("result").is_some() {
            self.post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        }
        Ok(reply)
    }

    /// Calls a tool.
    pub(crate) fn call(&mut self, tool: &str, arguments: &Value) -> anyhow::Result<Reply> {
        self.request("tools/call", &json!({ "name": tool, "arguments": arguments }))
    }

    /// One request and its answer.
    pub(crate) fn request(&mut self, method: &str, params: &Value) -> anyhow::Result<Reply> {
        self.last_id += 1;
        self.post(&json!({ "jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params }))
    }

    /// Ends the session, as a polite client does.
    pub(crate) fn close(&mut self) -> anyhow::Result<()> {
        if let Some(session) = self.session.take() {
            self.agent.delete(&self.endpoint).header("mcp-session-id", session).call().context("end the session")?;
        }
        Ok(())
    }

    fn post(&mut self, message: &Value) -> anyhow::Result<Reply> {
        let mut request = self
            .agent
            .post(&self.endpoint)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session).header("mcp-protocol-version", REVISION);
        }
        let response = request.send(message.to_string()).with_context(|| format!("send to {}", self.endpoint))?;
        let (parts, body) = response.into_parts();
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if let Some(session) = header("mcp-session-id") {
            self.session = Some(session);
        }
        let is_stream = header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        let reader = body.into_reader().take(ANSWER_BYTES_MAX);
        let message = if is_stream { from_stream(reader, message.get("id"))? } else { from_body(reader)? };
        Ok(Reply { status: parts.status.as_u16(), retry_after: header("retry-after"), message })
    }
}

fn from_body(mut reader: impl Read) -> anyhow::Result<Value> {
    let mut text = String::new();
    reader.read_to_string(&mut text).context("read the answer")?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).with_context(|| format!("the answer is no JSON: {text}"))
}

/// Reads server-sent events until the one that answers `id`.
fn from_stream(reader: impl Read, id: Option<&Value>) -> anyhow::Result<Value> {
    let mut data = String::new();
    for line in BufReader::new(reader).lines() {
        let line = line.context("read the event stream")?;
        if let Some(part) = line.strip_prefix("data:") {
            data.push_str(part.trim_start());
        } else if line.is_empty() && !data.is_empty() {
            let message: Value = serde_json::from_str(&data).with_context(|| format!("an event is no JSON: {data}"))?;
            data.clear();
            if message.get("id") == id {
                return Ok(message);
            }
        }
    }
    bail!("the event stream ended without an answer")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{from_body, from_stream};

    #[test]
    fn the_answer_is_found_behind_other_events() {
        let stream = "event: message\ndata: {\"method\":\"notifications/progress\"}\n\n: keep-alive\n\ndata: {\"id\":7,\ndata: \"result\":1}\n\n";
        let answer = from_stream(stream.as_bytes(), Some(&json!(7))).unwrap();
        assert_eq!(answer, json!({ "id": 7, "result": 1 }));
        assert!(from_stream(stream.as_bytes(), Some(&json!(8))).is_err());
    }

    #[test]
    fn an_empty_body_is_no_message() {
        assert_eq!(from_body(&b""[..]).unwrap(), json!(null));
        assert!(from_body(&b"<html>"[..]).is_err());
    }
}
