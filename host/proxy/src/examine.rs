//! Coming to a server as a client does, before any client may: the trial of a candidate that is to replace what runs.
//!
//! It takes the way of every message (the same sessions, bridges and bounds), with an empty chain, so that what passes here
//! will pass there. The client is of the server's own era: nobody else's requests are to be translated for it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::chain::Chain;
use fairlead_core::freshness::ToolShape;
use fairlead_core::json::encode_string;
use fairlead_core::jsonrpc::{Envelope, Kind, rejection_of};
use fairlead_core::status::ServerProfile;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::BodyExt as _;
use serde::Deserialize;

use crate::Proxy;
use crate::body::{Response, collect};
use crate::era::is_modern;
use crate::http::headers_of;
use crate::limits::{EXAMINED_PAGES_MAX, UPSTREAM_MESSAGE_BYTES_MAX};
use crate::modern::{describing, initialize};
use crate::probe::{INITIALIZED, ProbeError, probe};
use crate::reply::{PROTOCOL_VERSION, SESSION_ID};
use crate::route::{Published, Route};
use crate::service::{Connection, serve};
use crate::sse::Parser;

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
        let tools = if profile.capabilities.iter().any(|name| name == "tools") {
            let mut visit = Visit { proxy, route: &route, session: HeaderMap::new() };
            let is_modern = is_modern(&profile.protocol_version);
            if !is_modern {
                visit.open().await?;
            }
            let tools = visit.tools(is_modern).await;
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
    /// What a client of the older era says with each request after its first. Without it, requests describe themselves.
    session: HeaderMap,
}

impl Visit<'_> {
    async fn open(&mut self) -> Result<(), ProbeError> {
        let request = parsed(initialize())?;
        let (head, answer) = self.ask(&request).await?;
        let result = result_of(&answer)?;
        if let Some(session) = head.get(SESSION_ID) {
            self.session.insert(SESSION_ID, session.clone());
        }
        let version = crate::session::protocol_version(&result);
        let version = version.and_then(|version| HeaderValue::try_from(version.as_ref()).ok());
        self.session.insert(PROTOCOL_VERSION, version.ok_or_else(|| nonsense("no revision is named"))?);
        let initialized = parsed(INITIALIZED.into())?;
        self.send(Method::POST, headers_of(&initialized), initialized.raw().clone()).await;
        Ok(())
    }

    async fn tools(&self, is_modern: bool) -> Result<Vec<ToolShape>, ProbeError> {
        let mut tools = Vec::new();
        let mut cursor = String::new();
        for number in 0..EXAMINED_PAGES_MAX {
            let request = if is_modern {
                let after = if cursor.is_empty() { String::new() } else { format!("{cursor},") };
                describing("tools/list", &after)
            } else {
                format!(r#"{{"jsonrpc":"2.0","id":"tools-{number}","method":"tools/list","params":{{{cursor}}}}}"#)
                    .into()
            };
            let (_, answer) = self.ask(&parsed(request)?).await?;
            let page: Page =
                serde_json::from_slice(&result_of(&answer)?).map_err(|error| nonsense(&error.to_string()))?;
            tools.extend(page.tools.into_iter().map(|tool| ToolShape { name: tool.name, input: tool.input_schema }));
            let Some(next) = page.next_cursor else { return Ok(tools) };
            cursor = format!(r#""cursor":{}"#, encode_string(&next));
        }
        Err(nonsense("its list of tools has no end"))
    }

    /// That the goodbye arrives matters little: what was opened is ended whatever it says.
    async fn leave(&self) {
        if self.session.contains_key(SESSION_ID) {
            drop(self.send(Method::DELETE, HeaderMap::new(), Bytes::new()).await);
        }
    }

    async fn send(&self, method: Method, mut headers: HeaderMap, text: Bytes) -> Response {
        headers.extend(self.session.clone());
        let mut request = Request::new(text);
        (*request.method_mut(), *request.headers_mut()) = (method, headers);
        let connection = Connection { peer: IpAddr::V4(Ipv4Addr::LOCALHOST), loopback: true };
        serve(self.proxy, self.route, connection, request).await
    }

    async fn ask(&self, message: &Envelope) -> Result<(HeaderMap, Envelope), ProbeError> {
        let asked = self.send(Method::POST, headers_of(message), message.raw().clone());
        let (head, mut body) = asked.await.into_parts();
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
