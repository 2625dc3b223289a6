//! Asking a server who it is, and with that which era of MCP it speaks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fairlead_core::era::Eras;
use fairlead_core::jsonrpc::{Envelope, rejection_of};
use fairlead_core::status::ServerProfile;
use fairlead_core::workload::Unavailable;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::{Instant, timeout};

use crate::Proxy;
use crate::http::{Unanswered, Unreachable, ask, headers_of, send};
use crate::limits::{DISCOVER_PATIENCE, OPEN_MAX, PROBE_GOODBYE_MAX};
use crate::modern::{
    NotReached, describing, initialize, is_modern_answer, learn_legacy, pipe_ask, wants_to_be_asked_again,
};
use crate::reply::{PROTOCOL_VERSION, SESSION_ID};
use crate::route::{Published, Wire};
use crate::stdio::{Sharing, connect_sse};

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
    /// It answered with an HTTP status and no message.
    #[error("{}", refusal(*.0))]
    Status(u16),
    /// What it answered is no answer to `initialize`.
    #[error("the answer to `initialize` is not understood: {0}")]
    Nonsense(String),
    /// The connection broke.
    #[error("the connection to the server broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a status means to whoever runs the server.
fn refusal(status: u16) -> String {
    let remedy = match status {
        401 | 403 => ": it wants to know who calls; give it a header with `--header` or `--header-secret`",
        404 | 405 => ": is the path of its endpoint right?",
        _ => "",
    };
    format!("the server refused `initialize` with HTTP status {status}{remedy}")
}

impl From<NotReached> for ProbeError {
    fn from(error: NotReached) -> Self {
        match error {
            NotReached::Unavailable(error) => Self::Unavailable(error),
            NotReached::Legacy(_) | NotReached::Ended(_) => Self::Ended,
            NotReached::Silent => Self::Deadline(OPEN_MAX),
        }
    }
}

impl From<Unanswered> for ProbeError {
    fn from(error: Unanswered) -> Self {
        match error {
            Unanswered::Unreachable(Unreachable::Unavailable(error)) => Self::Unavailable(error),
            Unanswered::Nonsense(status) if !status.is_success() => Self::Status(status.as_u16()),
            Unanswered::Nonsense(_) | Unanswered::TooLong(_) => Self::Nonsense(error.to_string()),
            error => Self::Broken(error.into()),
        }
    }
}

pub(crate) const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// What matters in an answer to `initialize` or `server/discover`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Introduced {
    #[serde(default)]
    protocol_version: Option<String>,
    #[serde(default)]
    supported_versions: Vec<String>,
    #[serde(default)]
    capabilities: BTreeMap<String, IgnoredAny>,
    #[serde(default)]
    server_info: ServerInfo,
    #[serde(default, rename = "_meta")]
    meta: Meta,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default, rename = "io.modelcontextprotocol/serverInfo")]
    server_info: Option<ServerInfo>,
}

#[derive(Default, Deserialize)]
struct ServerInfo {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
}

pub(crate) fn profile(answer: &Envelope) -> Result<ServerProfile, ProbeError> {
    if let Some(error) = answer.error() {
        let Some(error) = rejection_of(error) else { return Err(ProbeError::Nonsense("a malformed error".to_owned())) };
        return Err(ProbeError::Refused { code: error.code, message: error.message });
    }
    let result = answer.result().unwrap_or_default();
    let said: Introduced = serde_json::from_slice(&result).map_err(|error| ProbeError::Nonsense(error.to_string()))?;
    let newest = said.supported_versions.into_iter().max();
    let server = said.meta.server_info.unwrap_or(said.server_info);
    Ok(ServerProfile {
        protocol_version: said
            .protocol_version
            .or(newest)
            .ok_or_else(|| ProbeError::Nonsense("no revision is named".to_owned()))?,
        name: server.name,
        version: server.version,
        capabilities: said.capabilities.into_keys().collect(),
    })
}

pub(crate) async fn probe(proxy: &Arc<Proxy>, route: &Arc<Published>) -> Result<ServerProfile, ProbeError> {
    match route.wire() {
        _ if route.is_detected() => detect(proxy, route).await,
        Wire::Stdio { .. } => over_stdio(proxy, route).await,
        Wire::Sse { .. } => over_sse(proxy, route).await,
        Wire::Http | Wire::Detect { .. } => over_http(proxy, route, &mut None).await,
    }
}

/// Streamable HTTP first; where that is refused as servers of 2024-11-05 refuse it, HTTP+SSE.
async fn detect(proxy: &Arc<Proxy>, route: &Arc<Published>) -> Result<ServerProfile, ProbeError> {
    let mut status = None;
    let answered = over_http(proxy, route, &mut status).await;
    let is_refusal = status
        .is_some_and(|status: StatusCode| status.is_client_error() && !matches!(status.as_u16(), 401 | 403 | 429));
    if answered.is_err()
        && is_refusal
        && let Ok(profile) = over_sse(proxy, route).await
    {
        route.found(true);
        return Ok(profile);
    }
    route.found(false);
    answered
}

/// A server of 2024-11-05 has nothing but sessions, so one is opened and ended.
pub(crate) async fn over_sse(proxy: &Arc<Proxy>, route: &Arc<Published>) -> Result<ServerProfile, ProbeError> {
    let pipe = connect_sse(proxy, route, Sharing::Requests, HeaderMap::new()).await?;
    let answer = pipe_ask(&pipe, initialize(), OPEN_MAX).await;
    if answer.as_ref().is_some_and(|answer| answer.error().is_none()) {
        pipe.send(INITIALIZED.into()).await;
    }
    pipe.close();
    route.eras.remember(&Eras { modern: Some(false), legacy: Some(true) });
    profile(&answer.ok_or(ProbeError::Ended)?)
}

/// The process of a modern server is kept for its requests. Servers that end when they are asked something before
/// `initialize` get another chance.
async fn over_stdio(proxy: &Proxy, route: &Published) -> Result<ServerProfile, ProbeError> {
    let answer = match route.modern.get(proxy, route).await {
        Ok((_, discovered)) => discovered,
        Err(NotReached::Legacy(Some(answer))) => answer,
        Err(NotReached::Legacy(None) | NotReached::Ended(_)) => {
            let answer = learn_legacy(proxy, route, Instant::now() + OPEN_MAX).await?;
            // What was remembered, or feared, may be wrong: then this answer says so, and the next start asks again.
            let modern = is_modern_answer(&answer);
            route.eras.remember(&Eras { modern: Some(modern), legacy: Some(answer.error().is_none()) });
            if modern {
                route.modern.dare();
            }
            answer
        }
        Err(error) => return Err(error.into()),
    };
    profile(&answer)
}

/// `status` is that of the answer to `initialize`.
async fn over_http(
    proxy: &Proxy,
    route: &Published,
    status: &mut Option<StatusCode>,
) -> Result<ServerProfile, ProbeError> {
    let message = |text| Envelope::parse(text).map_err(|error| ProbeError::Nonsense(error.to_string()));
    let discover = message(describing("server/discover", ""))?;
    let ask_once = || timeout(DISCOVER_PATIENCE, ask(proxy, route, &discover, headers_of(&discover)));
    let mut discovered = ask_once().await;
    if matches!(&discovered, Ok(Ok((_, answer))) if wants_to_be_asked_again(answer)) {
        discovered = ask_once().await;
    }
    // Whatever a server of the legacy era says to this, it is not that it knows a revision of the modern one.
    if let Ok(Ok((_, answer))) = discovered
        && is_modern_answer(&answer)
    {
        route.eras.remember(&Eras { modern: Some(true), legacy: None });
        return profile(&answer);
    }
    let initialize = message(initialize())?;
    let mut headers = headers_of(&initialize);
    let answered = ask(proxy, route, &initialize, headers.clone()).await;
    *status = match &answered {
        Ok((head, _)) => Some(head.status),
        Err(Unanswered::Nonsense(status)) => Some(*status),
        Err(_) => None,
    };
    let (head, answer) = answered?;
    let profile = profile(&answer)?;
    route.eras.remember(&Eras { modern: Some(false), legacy: Some(true) });
    if let Some(session) = head.headers.get(SESSION_ID) {
        headers.insert(SESSION_ID, session.clone());
    }
    if let Ok(version) = HeaderValue::try_from(&profile.protocol_version) {
        headers.insert(PROTOCOL_VERSION, version);
    }
    // The server has said who it is; that the goodbye arrives matters little.
    let goodbye = async {
        let _ = send(proxy, route, Method::POST, headers.clone(), INITIALIZED.into()).await;
        if headers.contains_key(SESSION_ID) {
            let _ = send(proxy, route, Method::DELETE, headers, bytes::Bytes::new()).await;
        }
    };
    let _ = timeout(PROBE_GOODBYE_MAX, goodbye).await;
    Ok(profile)
}
