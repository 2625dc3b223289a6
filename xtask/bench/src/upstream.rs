//! The servers behind the proxy: they echo, and do as little else as MCP allows, so that what is measured is the proxy.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::message::REVISION;
use crate::{ready, served};

/// Longest request of the HTTP server that is read.
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long `hold` waits: long enough for a cancellation to overtake it, most of the time.
const HOLD: Duration = Duration::from_millis(10);

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    name: Option<&'a str>,
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    text: &'a RawValue,
}

/// How the HTTP server replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replies {
    Json,
    /// As a stream with one event.
    Events,
}

/// Speaks streamable HTTP until it is ended, and prints the port first.
pub(crate) async fn serve_http(port: u16, replies: Replies) -> anyhow::Result<()> {
    served::serve(port, move |request| answer_http(request, replies)).await
}

async fn answer_http(request: Request<Incoming>, replies: Replies) -> anyhow::Result<Response<Full<Bytes>>> {
    let empty = |status| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        response
    };
    match *request.method() {
        Method::POST => {}
        Method::DELETE => return Ok(empty(StatusCode::OK)),
        _ => return Ok(empty(StatusCode::METHOD_NOT_ALLOWED)),
    }
    let body = http_body_util::Limited::new(request.into_body(), REQUEST_BYTES_MAX);
    let body = body.collect().await.map_err(|error| anyhow::anyhow!("read the request: {error}"))?.to_bytes();
    let Some(Answer { text, begins_session, conduct }) = answer(&body)? else { return Ok(empty(StatusCode::ACCEPTED)) };
    conduct.show().await;
    let (body, kind) = match replies {
        Replies::Json => (text, "application/json"),
        Replies::Events => (format!("event: message\ndata: {text}\n\n"), "text/event-stream"),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
    if begins_session {
        let session = format!("{:016x}", fastrand::u64(..));
        response.headers_mut().insert("mcp-session-id", HeaderValue::from_str(&session)?);
    }
    Ok(response)
}

/// Speaks MCP over stdin and stdout until stdin ends.
pub(crate) async fn serve_stdio() -> anyhow::Result<()> {
    ready::announce();
    let mut lines = BufReader::new(tokio::io::stdin());
    let mut stdout = tokio::io::stdout();
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        if let Some(Answer { mut text, conduct, .. }) = answer(&line)? {
            conduct.show().await;
            text.push('\n');
            stdout.write_all(text.as_bytes()).await?;
            stdout.flush().await?;
        }
    }
}

/// The answer to a message.
struct Answer {
    text: String,
    begins_session: bool,
    conduct: Conduct,
}

/// What happens before the answer is given.
#[derive(Debug, Clone, Copy)]
enum Conduct {
    Good,
    /// The tool `hold`: somebody may hang up meanwhile.
    Hold,
    /// The tool `die`: the process ends.
    Die,
}

impl Conduct {
    async fn show(self) {
        match self {
            Self::Good => {}
            Self::Hold => tokio::time::sleep(HOLD).await,
            Self::Die => std::process::abort(),
        }
    }
}

/// The answer to a message; none for a notification.
fn answer(bytes: &[u8]) -> anyhow::Result<Option<Answer>> {
    let message: Message<'_> = serde_json::from_slice(bytes).context("a message is no JSON-RPC")?;
    let Some(id) = message.id.map(RawValue::get) else { return Ok(None) };
    let result = match message.method {
        Some("initialize") => format!(
            r#"{{"protocolVersion":"{REVISION}","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"echo","version":"1.0.0"}}}}"#
        ),
        Some("tools/call") => echo(message.params.as_ref()).context("a call without text")?,
        Some("tools/list") => {
            r#"{"tools":[{"name":"echo","description":"Echoes.","inputSchema":{"type":"object"}}]}"#.to_owned()
        }
        _ => "{}".to_owned(),
    };
    let begins_session = message.method == Some("initialize");
    let conduct = match message.params.and_then(|params| params.name) {
        Some("hold") => Conduct::Hold,
        Some("die") => Conduct::Die,
        _ => Conduct::Good,
    };
    Ok(Some(Answer { text: format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#), begins_session, conduct }))
}

/// Text of the call as it came; what a plugin put into `_meta` is told as `seen`.
fn echo(params: Option<&Params<'_>>) -> Option<String> {
    let params = params?;
    let text = params.arguments.as_ref()?.text.get();
    let meta = params.meta.map_or(String::new(), |meta| format!(r#","_meta":{{"seen":{}}}"#, meta.get()));
    Some(format!(r#"{{"content":[{{"type":"text","text":{text}}}]{meta}}}"#))
}

#[cfg(test)]
mod tests {
    use super::answer;
    use crate::message::{INITIALIZED, Reply, call, initialize};

    #[test]
    fn the_server_answers_what_the_load_asks() {
        let asked = call("echo", 7, "text");
        let reply = answer(asked.as_bytes()).unwrap().unwrap().text;
        assert!(Reply::check(reply.as_bytes(), 7, "text").is_ok(), "{reply}");
        assert!(answer(initialize().as_bytes()).unwrap().unwrap().begins_session);
        assert!(answer(INITIALIZED.as_bytes()).unwrap().is_none());
    }

    #[test]
    fn what_a_plugin_stamped_is_told_back() {
        let asked = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"},"_meta":{"a":"1"}}}"#;
        let reply = answer(asked.as_bytes()).unwrap().unwrap().text;
        let meta = Reply::check(reply.as_bytes(), 1, "x").unwrap().meta().unwrap();
        assert_eq!(meta, serde_json::json!({ "seen": { "a": "1" } }));
    }
}
