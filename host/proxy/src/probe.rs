//! Asking a server who it is.

use std::time::Duration;

use bytes::Bytes;
use fairlead_core::jsonrpc::{Envelope, Kind, rejection_of, result_reply};
use fairlead_core::status::ServerProfile;
use fairlead_core::workload::{StdioConnection, Unavailable};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::Proxy;
use crate::body::collect;
use crate::era::LEGACY;
use crate::http::{Unreachable, UpstreamBody};
use crate::limits::{PROBE_GOODBYE_MAX, UPSTREAM_MESSAGE_BYTES_MAX};
use crate::reply::{PROTOCOL_VERSION, SESSION_ID};
use crate::route::{Published, Wire};
use crate::sse::Parser;
use crate::stdio::{Line, Lines};

/// Why a server did not say who it is.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No such server is published.
    #[error("there is no such server")]
    Unknown,
    /// It cannot be reached.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It did not answer in time.
    #[error("no answer to `initialize` within {0:?}")]
    Deadline(Duration),
    /// It ended or hung up.
    #[error("the server ended before it answered `initialize`")]
    Ended,
    /// It answered with an error.
    #[error("the server refused `initialize`: {message} ({code})")]
    Refused {
        /// JSON-RPC code.
        code: i64,
        /// Its words.
        message: String,
    },
    /// What it answered is no answer to `initialize`.
    #[error("the answer to `initialize` is not understood: {0}")]
    Nonsense(String),
    /// The connection broke.
    #[error("the connection to the server broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

const ID: &str = "\"fairlead-probe\"";
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

fn initialize() -> String {
    let [.., newest] = LEGACY;
    format!(
        r#"{{"jsonrpc":"2.0","id":{ID},"method":"initialize","params":{{"protocolVersion":"{newest}","capabilities":{{}},"clientInfo":{{"name":"fairlead","version":"{}"}}}}}}"#,
        env!("CARGO_PKG_VERSION")
    )
}

/// What matters in an answer to `initialize`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialized {
    protocol_version: String,
    #[serde(default)]
    capabilities: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    server_info: ServerInfo,
}

#[derive(Default, Deserialize)]
struct ServerInfo {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
}

fn profile(answer: &Envelope) -> Result<ServerProfile, ProbeError> {
    if let Some(error) = answer.error() {
        let Some(error) = rejection_of(error) else { return Err(ProbeError::Nonsense("a malformed error".to_owned())) };
        return Err(ProbeError::Refused { code: error.code, message: error.message });
    }
    let result = answer.result().unwrap_or_default();
    let said: Initialized = serde_json::from_slice(&result).map_err(|error| ProbeError::Nonsense(error.to_string()))?;
    Ok(ServerProfile {
        protocol_version: said.protocol_version,
        name: said.server_info.name,
        version: said.server_info.version,
        capabilities: said.capabilities.into_iter().map(|(name, _)| name).collect(),
    })
}

fn is_answer(message: &Envelope) -> bool {
    matches!(message.kind(), Kind::Response | Kind::Error) && message.id() == Some(ID)
}

pub(crate) async fn probe(proxy: &Proxy, route: &Published) -> Result<ServerProfile, ProbeError> {
    match route.wire {
        Wire::Stdio { .. } => over_stdio(proxy, route.upstream.open_stdio().await?).await,
        Wire::Http => over_http(proxy, route).await,
    }
}

async fn over_stdio(proxy: &Proxy, connection: StdioConnection) -> Result<ServerProfile, ProbeError> {
    let StdioConnection { mut stdin, stdout, lease: _lease } = connection;
    let broken = |error: std::io::Error| ProbeError::Broken(error.into());
    stdin.write_all(format!("{}\n", initialize()).as_bytes()).await.map_err(broken)?;
    stdin.flush().await.map_err(broken)?;
    let mut lines = Lines::new(stdout, proxy.config.line_bytes_max);
    while let Some(line) = lines.next().await.map_err(broken)? {
        let Line::Text(text) = line else { continue };
        let Ok(message) = Envelope::parse(text) else { continue };
        if is_answer(&message) {
            let profile = profile(&message)?;
            stdin.write_all(format!("{INITIALIZED}\n").as_bytes()).await.map_err(broken)?;
            stdin.flush().await.map_err(broken)?;
            return Ok(profile);
        }
        if message.kind() == Kind::Request && message.method() == "ping" {
            let pong = result_reply(message.id().unwrap_or_default(), "{}");
            stdin.write_all(&[&pong[..], b"\n"].concat()).await.map_err(broken)?;
            stdin.flush().await.map_err(broken)?;
        }
    }
    Err(ProbeError::Ended)
}

async fn over_http(proxy: &Proxy, route: &Published) -> Result<ServerProfile, ProbeError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let response = send(proxy, route, Method::POST, &headers, initialize()).await?;
    let (head, body) = response.into_parts();
    let stream = head.headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    let answer = if stream { first_answer(body).await? } else { whole_answer(proxy, body, head.status).await? };
    let profile = profile(&answer)?;
    if let Some(session) = head.headers.get(SESSION_ID) {
        headers.insert(SESSION_ID, session.clone());
    }
    if let Ok(version) = HeaderValue::try_from(&profile.protocol_version) {
        headers.insert(PROTOCOL_VERSION, version);
    }
    // The server has said who it is; that the goodbye arrives matters little.
    let goodbye = async {
        let _ = send(proxy, route, Method::POST, &headers, INITIALIZED.to_owned()).await;
        if headers.contains_key(SESSION_ID) {
            let _ = send(proxy, route, Method::DELETE, &headers, String::new()).await;
        }
    };
    let _ = timeout(PROBE_GOODBYE_MAX, goodbye).await;
    Ok(profile)
}

async fn send(
    proxy: &Proxy,
    route: &Published,
    method: Method,
    headers: &HeaderMap,
    text: String,
) -> Result<http::Response<UpstreamBody>, ProbeError> {
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| ProbeError::Broken(error);
    let place = match route.endpoint.place(&route.upstream).await {
        Ok(place) => place,
        Err(Unreachable::Unavailable(error)) => return Err(error.into()),
        Err(error) => return Err(broken(error.into())),
    };
    let mut request = http::Request::new(http_body_util::Full::new(Bytes::from(text)));
    (*request.method_mut(), *request.headers_mut()) = (method, headers.clone());
    let sent = route.endpoint.send(&place, request, proxy.config.request_idle_max).await;
    sent.map_err(|error| broken(error.into()))
}

async fn whole_answer(proxy: &Proxy, mut body: UpstreamBody, status: http::StatusCode) -> Result<Envelope, ProbeError> {
    let read = collect(&mut body, UPSTREAM_MESSAGE_BYTES_MAX, proxy.config.request_idle_max).await;
    let text = read.map_err(|error| ProbeError::Broken(error.into()))?;
    Envelope::parse(text).map_err(|error| ProbeError::Nonsense(format!("status {status}, {error}")))
}

async fn first_answer(mut body: UpstreamBody) -> Result<Envelope, ProbeError> {
    let mut parser = Parser::new(UPSTREAM_MESSAGE_BYTES_MAX);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ProbeError::Broken(error.into()))?;
        parser.push(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(event) = parser.next_event().map_err(|error| ProbeError::Broken(error.into()))? {
            let message = event.data.and_then(|data| Envelope::parse(data).ok());
            if let Some(answer) = message.filter(is_answer) {
                return Ok(answer);
            }
        }
    }
    Err(ProbeError::Ended)
}
