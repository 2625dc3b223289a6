//! Coming to a server as a client does, before any client may: the trial of a candidate that is to replace what runs.
//!
//! It takes the way of every message (the same sessions, bridges and bounds), with an empty chain, so that what passes here
//! will pass there. The client is of the server's own era: nobody else's requests are to be translated for it.
//!
//! A server of which there is one process alone hears what the first client of its era says, once and in one connection: there is no
//! second process for what comes after the questions, and one that was asked oddly may have ended.

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
use tokio::time::timeout;

use crate::Proxy;
use crate::body::{ReadError, Response, collect};
use crate::era::is_modern;
use crate::http::headers_of;
use crate::limits::{DISCOVER_PATIENCE, EXAMINED_BYTES_MAX, EXAMINED_PAGES_MAX};
use crate::modern::{converse, describing, initialize, is_modern_answer};
use crate::probe::{INITIALIZED, ProbeError, probe, profile};
use crate::reply::{PROTOCOL_VERSION, SESSION_ID};
use crate::route::{Published, Route};
use crate::service::{Connection, serve};
use crate::sse::Parser;
use crate::stdio::{Pipe, Sharing, connect};

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
    if route.upstream.is_sole() {
        return examine_sole(proxy, &route).await;
    }
    let asked = async {
        let profile = probe(proxy, &route).await?;
        let tools = if has_tools(&profile) {
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

/// Comes to the one process that there is.
async fn examine_sole(proxy: &Proxy, route: &Published) -> Result<Examined, ProbeError> {
    let pipe = connect(route, Sharing::Requests, proxy).await?;
    let examined = converse_with(&pipe).await;
    pipe.close();
    examined
}

async fn converse_with(pipe: &Arc<Pipe>) -> Result<Examined, ProbeError> {
    let answer = converse(pipe, initialize()).await?;
    let is_legacy = answer.error().is_none();
    let answer = match is_legacy {
        true => {
            pipe.send(INITIALIZED.into()).await;
            answer
        }
        // One that knows no sessions refuses to begin one, and says who it is when it is asked in its own way.
        false => match timeout(DISCOVER_PATIENCE, converse(pipe, describing("server/discover", ""))).await {
            Ok(discovered) => Some(discovered?).filter(is_modern_answer).unwrap_or(answer),
            Err(_) => answer,
        },
    };
    let profile = profile(&answer)?;
    if !has_tools(&profile) {
        return Ok(Examined { profile, tools: Vec::new() });
    }
    let mut pages = Pages::new(!is_legacy);
    while let Some(request) = pages.request()? {
        let answer = converse(pipe, request).await?;
        pages.take(&answer)?;
    }
    Ok(Examined { profile, tools: pages.tools })
}

/// The pages of `tools/list`, one after the other.
struct Pages {
    is_modern: bool,
    tools: Vec<ToolShape>,
    read: usize,
    bytes: usize,
    /// Where the next one begins; `None`: there is none.
    cursor: Option<String>,
}

impl Pages {
    const fn new(is_modern: bool) -> Self {
        Self { is_modern, tools: Vec::new(), read: 0, bytes: 0, cursor: Some(String::new()) }
    }

    /// What asks for the next page; `None`: all were read.
    fn request(&self) -> Result<Option<Bytes>, ProbeError> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        if self.read >= EXAMINED_PAGES_MAX {
            return Err(nonsense("its list of tools has no end"));
        }
        let number = self.read;
        Ok(Some(match self.is_modern {
            true => {
                let after = if cursor.is_empty() { String::new() } else { format!("{cursor},") };
                describing("tools/list", &after)
            }
            false => {
                format!(r#"{{"jsonrpc":"2.0","id":"tools-{number}","method":"tools/list","params":{{{cursor}}}}}"#)
                    .into()
            }
        }))
    }

    fn take(&mut self, answer: &Envelope) -> Result<(), ProbeError> {
        let result = result_of(answer)?;
        self.bytes = self.bytes.saturating_add(result.len());
        if self.bytes > EXAMINED_BYTES_MAX {
            return Err(nonsense("its list of tools is too long"));
        }
        let page: Page = serde_json::from_slice(&result).map_err(|error| nonsense(&error.to_string()))?;
        self.tools.extend(page.tools.into_iter().map(|tool| ToolShape { name: tool.name, input: tool.input_schema }));
        self.read = self.read.saturating_add(1);
        self.cursor = page.next_cursor.map(|next| format!(r#""cursor":{}"#, encode_string(&next)));
        Ok(())
    }
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
        let mut pages = Pages::new(is_modern);
        while let Some(request) = pages.request()? {
            let (_, answer) = self.ask(&parsed(request)?).await?;
            pages.take(&answer)?;
        }
        Ok(pages.tools)
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
            let read = collect(&mut body, EXAMINED_BYTES_MAX, self.proxy.config.request_idle_max).await;
            let text = read.map_err(|error| match error {
                ReadError::TooLong(_) => too_long(),
                error => ProbeError::Broken(error.into()),
            })?;
            let answer = Envelope::parse(text).map_err(|_| match head.status.is_success() {
                true => nonsense("no message"),
                false => ProbeError::Status(head.status.as_u16()),
            })?;
            return Ok((head.headers, answer));
        }
        let mut parser = Parser::new(EXAMINED_BYTES_MAX);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(ProbeError::Broken)?;
            parser.push(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(event) = parser.next_event().map_err(|_| too_long())? {
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

fn has_tools(profile: &ServerProfile) -> bool {
    profile.capabilities.iter().any(|name| name == "tools")
}

fn parsed(text: Bytes) -> Result<Envelope, ProbeError> {
    Envelope::parse(text).map_err(|error| nonsense(&error.to_string()))
}

fn nonsense(text: &str) -> ProbeError {
    ProbeError::Nonsense(text.to_owned())
}

fn too_long() -> ProbeError {
    nonsense(&format!("its answer is longer than {EXAMINED_BYTES_MAX} bytes"))
}

fn result_of(answer: &Envelope) -> Result<Bytes, ProbeError> {
    if let Some(error) = answer.error() {
        let error = rejection_of(error).ok_or_else(|| nonsense("a malformed error"))?;
        return Err(ProbeError::Refused { code: error.code, message: error.message });
    }
    answer.result().ok_or_else(|| nonsense("no result"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use fairlead_core::BoxFuture;
    use fairlead_core::era::Forgetful;
    use fairlead_core::name::{ServerKey, ServerName, TenantName};
    use fairlead_core::server::Isolation;
    use fairlead_core::workload::{StdioConnection, Unavailable, Upstream};
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, duplex, split};
    use tokio::task::JoinSet;

    use super::*;
    use crate::ProxyConfig;
    use crate::route::{Replicas, Wire};

    /// The one process of a server, which is connected to once.
    struct Sole {
        is_modern: bool,
        was_opened: AtomicBool,
        heard: Arc<Mutex<Vec<String>>>,
    }

    impl Upstream for Sole {
        fn open_stdio(&self) -> BoxFuture<'_, Result<StdioConnection, Unavailable>> {
            Box::pin(async {
                assert!(!self.was_opened.swap(true, Ordering::Relaxed), "it is connected to again");
                let (near, far) = duplex(4096);
                let mut tasks = JoinSet::new();
                tasks.spawn(answer(self.is_modern, Arc::clone(&self.heard), far));
                let (stdout, stdin) = split(near);
                let lease = Box::new(Mutex::new(tasks));
                Ok(StdioConnection { stdin: Box::new(stdin), stdout: Box::new(stdout), lease })
            })
        }

        fn http_endpoint(&self) -> BoxFuture<'_, Result<String, Unavailable>> {
            Box::pin(async { Err(Unavailable::Failed("it speaks over stdio".to_owned())) })
        }

        fn is_sole(&self) -> bool {
            true
        }
    }

    /// Two tools on two pages, in sessions or without.
    async fn answer(is_modern: bool, heard: Arc<Mutex<Vec<String>>>, stream: tokio::io::DuplexStream) {
        let (read, mut write) = split(stream);
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let message: Value = serde_json::from_str(&line).unwrap();
            let method = message["method"].as_str().unwrap().to_owned();
            heard.lock().push(method.clone());
            if message.get("id").is_none() {
                continue;
            }
            let tool = |name: &str| json!([{"name": name, "inputSchema": {"type": "object"}}]);
            let said = match (method.as_str(), is_modern, message["params"].get("cursor")) {
                ("initialize", false, _) => {
                    json!({"result": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}})
                }
                ("server/discover", true, _) => {
                    json!({"result": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}})
                }
                ("tools/list", _, None) => json!({"result": {"tools": tool("a"), "nextCursor": "x"}}),
                ("tools/list", _, Some(_)) => json!({"result": {"tools": tool("b")}}),
                // An older server ends when it is asked what it does not know.
                (_, false, _) => return,
                (_, true, _) => json!({"error": {"code": -32601, "message": "no such method"}}),
            };
            let mut said = said;
            said["jsonrpc"] = "2.0".into();
            said["id"] = message["id"].clone();
            write.write_all(format!("{said}\n").as_bytes()).await.unwrap();
        }
    }

    async fn examined(is_modern: bool) -> (Vec<String>, Vec<String>) {
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let upstream = Sole { is_modern, was_opened: AtomicBool::new(false), heard: Arc::clone(&heard) };
        let key = ServerKey { tenant: TenantName::new("team").unwrap(), name: ServerName::new("one").unwrap() };
        let route = Route {
            key,
            wire: Wire::Stdio { isolation: Isolation::Shared },
            upstream: Arc::new(upstream),
            chain: Arc::new(Chain::new(Vec::new())),
            eras: Arc::new(Forgetful::default()),
            remote: None,
            bridge: false,
            replicas: Replicas::default(),
        };
        let proxy = Proxy::new(ProxyConfig::default());
        let examined = proxy.examine(route, Duration::from_secs(10)).await.unwrap();
        let tools = examined.tools.into_iter().map(|tool| tool.name).collect();
        let heard = heard.lock().clone();
        (tools, heard)
    }

    #[tokio::test]
    async fn the_only_process_of_a_server_hears_what_the_first_client_of_its_era_says_and_nothing_twice() {
        let (tools, heard) = examined(false).await;
        assert_eq!(tools, ["a", "b"]);
        assert_eq!(heard, ["initialize", "notifications/initialized", "tools/list", "tools/list"]);
        let (tools, heard) = examined(true).await;
        assert_eq!(tools, ["a", "b"]);
        assert_eq!(heard, ["initialize", "server/discover", "tools/list", "tools/list"]);
    }
}
