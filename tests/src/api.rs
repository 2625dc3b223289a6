//! The REST API over the daemon's socket, for what the command line does not show: statuses, problem documents, races.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::home::Home;
use crate::limits::COMMAND;

/// Where the API begins.
const BASE: &str = "/api/v1beta";

/// What the API answered.
#[derive(Debug, Clone)]
pub struct ApiReply {
    /// HTTP status.
    pub status: u16,
    /// Its `content-type`.
    pub content_type: String,
    /// Body; null when there is none or it is no JSON.
    pub body: Value,
}

/// Sends one request; `path` follows `/api/v1beta`.
///
/// # Errors
/// No daemon answers in time.
pub async fn api(home: &Home, method: Method, path: &str, body: Option<&Value>) -> Result<ApiReply> {
    tokio::time::timeout(COMMAND, exchange(home, method, path, body)).await.context("the API does not answer")?
}

/// Sends one request that must succeed, and gives the body.
///
/// # Errors
/// It fails.
pub async fn api_ok(home: &Home, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
    let reply = api(home, method.clone(), path, body).await?;
    ensure!((200..300).contains(&reply.status), "{method} {path}: {reply:?}");
    Ok(reply.body)
}

/// Sends one request over TCP with a token; `path` is the whole path.
///
/// # Errors
/// Nobody answers in time.
pub async fn api_by_token(
    address: &str,
    token: Option<&str>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<ApiReply> {
    let exchange = async {
        let stream = TcpStream::connect(address).await.context("connect to the API")?;
        converse(stream, token, method, path, body).await
    };
    tokio::time::timeout(COMMAND, exchange).await.context("the API does not answer")?
}

async fn exchange(home: &Home, method: Method, path: &str, body: Option<&Value>) -> Result<ApiReply> {
    let socket = home.sockets().into_iter().next().context("there is no socket")?;
    let stream = UnixStream::connect(&socket).await.context("connect to the daemon")?;
    converse(stream, None, method, &format!("{BASE}{path}"), body).await
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    token: Option<&str>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<ApiReply> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "fairlead")
        .header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let bytes = body.map(Value::to_string).unwrap_or_default();
    let response = sender.send_request(request.body(Full::new(Bytes::from(bytes)))?).await.context("ask the daemon")?;
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.context("read the answer")?.to_bytes();
    let content_type = head.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(ApiReply {
        status: head.status.as_u16(),
        content_type: content_type.to_owned(),
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    })
}
