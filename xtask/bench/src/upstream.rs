//! The servers behind the proxy: they echo, and do as little else as MCP allows, so that what is measured is the proxy.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::message::REVISION;

/// Longest request of the HTTP server that is read.
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;

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

/// Speaks streamable HTTP until it is ended, and prints the port first.
pub(crate) async fn serve_http(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.context("bind")?;
    let mut stdout = tokio::io::stdout();
    stdout.write_all(format!("{}\n", listener.local_addr()?.port()).as_bytes()).await?;
    stdout.flush().await?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        stream.set_nodelay(true)?;
        connections.spawn(async move {
            let service = service_fn(async |request| answer_http(request).await);
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer_http(request: Request<Incoming>) -> anyhow::Result<Response<Full<Bytes>>> {
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
    let Some((answer, begins_session)) = answer(&body)? else { return Ok(empty(StatusCode::ACCEPTED)) };
    let mut response = Response::new(Full::new(Bytes::from(answer)));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    if begins_session {
        let session = format!("{:016x}", fastrand::u64(..));
        response.headers_mut().insert("mcp-session-id", HeaderValue::from_str(&session)?);
    }
    Ok(response)
}

/// Speaks MCP over stdin and stdout until stdin ends.
pub(crate) async fn serve_stdio() -> anyhow::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin());
    let mut stdout = tokio::io::stdout();
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        if let Some((mut answer, _)) = answer(&line)? {
            answer.push('\n');
            stdout.write_all(answer.as_bytes()).await?;
            stdout.flush().await?;
        }
    }
}

/// The answer to a message, and whether it begins a session; none for a notification.
fn answer(bytes: &[u8]) -> anyhow::Result<Option<(String, bool)>> {
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
    Ok(Some((format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#), begins_session)))
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
        let asked = call(7, "text");
        let (reply, _) = answer(asked.as_bytes()).unwrap().unwrap();
        assert!(Reply::check(reply.as_bytes(), 7, "text").is_ok(), "{reply}");
        assert!(answer(initialize().as_bytes()).unwrap().unwrap().1);
        assert!(answer(INITIALIZED.as_bytes()).unwrap().is_none());
    }

    #[test]
    fn what_a_plugin_stamped_is_told_back() {
        let asked = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"},"_meta":{"a":"1"}}}"#;
        let (reply, _) = answer(asked.as_bytes()).unwrap().unwrap();
        let meta = Reply::check(reply.as_bytes(), 1, "x").unwrap().meta().unwrap();
        assert_eq!(meta, serde_json::json!({ "seen": { "a": "1" } }));
    }
}
