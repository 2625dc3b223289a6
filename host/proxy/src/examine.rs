//! Coming to a server as a client does, before any client may: the trial of a candidate that is to replace what runs.
//!
//! It takes the way of every message (the same sessions, bridges and bounds), with an empty chain, so that what passes here
//! will pass there. A client of the older era is played, because every server can be reached by one.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::chain::Chain;
use fairlead_core::freshness::ToolShape;
use fairlead_core::json::encode_string;
use fairlead_core::jsonrpc::{Envelope, Kind, rejection_of};
use fairlead_core::status::ServerProfile;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::BodyExt as _;
use serde::Deserialize;

use crate::Proxy;
use crate::body::{Response, collect};
use crate::limits::{EXAMINED_PAGES_MAX, UPSTREAM_MESSAGE_BYTES_MAX};
use crate::modern::headers::METHOD;
use crate::modern::initialize;
use crate::probe::{ProbeError, probe};
use crate::reply::{PROTOCOL_VERSION, SESSION_ID};
use crate::route::{Published, Route};
use crate::service::{Connection, serve};
use crate::sse::Parser;

const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// What a server said to somebody who came to look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Examined {
    /// Who it is.
    pub profile: ServerProfile,
    /// Its tools, as far as calls depend on them. Empty when it says that it has none.
    pub tools: Vec<ToolShape>,
}

/// A page of `tools/list`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    tools: Vec<Tool>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool {
    name: String,
    #[serde(default)]
    input_schema: serde_json::Value,
}

pub(crate) async fn examine(proxy: &Arc<Proxy>, route: Route) -> Result<Examined, ProbeError> {
    let route = Arc::new(Published::new(Route { chain: Arc::new(Chain::new(Vec::new())), ..route }));
    let asked = async {
        let profile = probe(proxy, &route).await?;
        let mut visit = Visit { proxy, route: &route, headers: headers() };
        let tools = if profile.capabilities.iter().any(|name| name == "tools") {
            visit.open().await?;
            let tools = visit.tools().await;
            visit.leave().await;
            tools?
        } else {
            Vec::new()
        };
        Ok(Examined { profile, tools })
    };
    let examined = asked.await;
    proxy.end_sessions(&route);
    examined
}

/// A client of ours at a server.
struct Visit<'a> {
    proxy: &'a Arc<Proxy>,
    route: &'a Arc<Published>,
    headers: HeaderMap,
}

impl Visit<'_> {
    async fn open(&mut self) -> Result<(), ProbeError> {
        let request = parsed(initialize())?;
        // A server of the newest era wants it of everybody (SEP-2243), and an older one does not read it.
        self.headers.insert(METHOD, HeaderValue::from_static("initialize"));
        let (head, answer) = self.ask(&request).await?;
        let result = result_of(&answer)?;
        if let Some(session) = head.get(SESSION_ID) {
            self.headers.insert(SESSION_ID, session.clone());
        }
        let version = crate::session::protocol_version(&result);
        let version = version.and_then(|version| HeaderValue::try_from(version.as_ref()).ok());
        self.headers.insert(PROTOCOL_VERSION, version.ok_or_else(|| nonsense("no revision is named"))?);
        self.headers.insert(METHOD, HeaderValue::from_static("notifications/initialized"));
        self.send(Method::POST, INITIALIZED.into()).await;
        Ok(())
    }

    async fn tools(&mut self) -> Result<Vec<ToolShape>, ProbeError> {
        let mut tools = Vec::new();
        let mut cursor: Option<String> = None;
        for number in 0..EXAMINED_PAGES_MAX {
            let params = cursor.map_or_else(|| "{}".to_owned(), |at| format!(r#"{{"cursor":{}}}"#, encode_string(&at)));
            let text = format!(r#"{{"jsonrpc":"2.0","id":"tools-{number}","method":"tools/list","params":{params}}}"#);
            self.headers.insert(METHOD, HeaderValue::from_static("tools/list"));
            let (_, answer) = self.ask(&parsed(text.into())?).await?;
            let page: Page =
                serde_json::from_slice(&result_of(&answer)?).map_err(|error| nonsense(&error.to_string()))?;
            tools.extend(page.tools.into_iter().map(|tool| ToolShape { name: tool.name, input: tool.input_schema }));
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(tools);
            }
        }
        Err(nonsense("its list of tools has no end"))
    }

    /// That the goodbye arrives matters little: what was opened is ended whatever it says.
    async fn leave(&self) {
        if self.headers.contains_key(SESSION_ID) {
            drop(self.send(Method::DELETE, Bytes::new()).await);
        }
    }

    async fn send(&self, method: Method, text: Bytes) -> Response {
        let mut request = Request::new(text);
        (*request.method_mut(), *request.headers_mut()) = (method, self.headers.clone());
        if request.method() != Method::POST {
            request.headers_mut().remove(METHOD);
        }
        let connection = Connection { peer: IpAddr::V4(Ipv4Addr::LOCALHOST), loopback: true };
        serve(self.proxy, self.route, connection, request).await
    }

    async fn ask(&self, message: &Envelope) -> Result<(HeaderMap, Envelope), ProbeError> {
        let (head, mut body) = self.send(Method::POST, message.raw().clone()).await.into_parts();
        let is_stream =
            head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if !is_stream {
            let read = collect(&mut body, UPSTREAM_MESSAGE_BYTES_MAX, self.proxy.config.request_idle_max).await;
            let text = read.map_err(|error| ProbeError::Broken(error.into()))?;
            let answer = Envelope::parse(text).map_err(|_| match head.status.is_success() {
                true => nonsense("no message"),
                false => ProbeError::Status(head.status.as_u16()),
            })?;
            return Ok((head.headers, answer));
        }
        let mut parser = Parser::new(UPSTREAM_MESSAGE_BYTES_MAX);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(ProbeError::Broken)?;
            parser.push(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(event) = parser.next_event().map_err(|error| ProbeError::Broken(error.into()))? {
                let said = event.data.and_then(|data| Envelope::parse(data).ok());
                let is_answer =
                    |said: &Envelope| matches!(said.kind(), Kind::Response | Kind::Error) && said.id() == message.id();
                if let Some(answer) = said.filter(is_answer) {
                    return Ok((head.headers, answer));
                }
            }
        }
        Err(ProbeError::Ended)
    }
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

fn parsed(text: Bytes) -> Result<Envelope, ProbeError> {
    Envelope::parse(text).map_err(|error| nonsense(&error.to_string()))
}

fn nonsense(text: &str) -> ProbeError {
    ProbeError::Nonsense(text.to_owned())
}

fn result_of(answer: &Envelope) -> Result<Bytes, ProbeError> {
    if let Some(error) = answer.error() {
        let error = rejection_of(error).ok_or_else(|| nonsense("a malformed error"))?;
        return Err(ProbeError::Refused { code: error.code, message: error.message });
    }
    answer.result().ok_or_else(|| nonsense("no result"))
}
