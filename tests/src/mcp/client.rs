//! The client: one endpoint, at most one session.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::limits::EXCHANGE;
use crate::mcp::reply::Reply;

/// The revision that the client asks for: the newest with a handshake.
pub(super) const REVISION: &str = "2025-11-25";

/// A client. Requests may run at the same time; each gets a connection of its own from a pool.
#[derive(Debug)]
pub struct Client {
    http: HttpClient<HttpConnector, Full<Bytes>>,
    url: Uri,
    session: Mutex<Option<String>>,
    next_id: AtomicU64,
}

impl Client {
    /// A client without a session.
    ///
    /// # Errors
    /// The URL is none.
    pub fn new(url: &str) -> Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(EXCHANGE));
        Ok(Self {
            http: HttpClient::builder(TokioExecutor::new()).build(connector),
            url: url.parse().with_context(|| format!("`{url}` is no URL"))?,
            session: Mutex::new(None),
            next_id: AtomicU64::new(1),
        })
    }

    /// A client with a session, which can be asked for sampling and elicitation.
    ///
    /// # Errors
    /// The server does not answer `initialize`.
    pub async fn connect(url: &str) -> Result<Self> {
        let client = Self::new(url)?;
        client.initialize(json!({"sampling": {}, "elicitation": {}, "roots": {}})).await?;
        Ok(client)
    }

    /// Opens a session and returns the result of `initialize`.
    ///
    /// # Errors
    /// The server does not answer with a result.
    pub async fn initialize(&self, capabilities: Value) -> Result<Value> {
        let params = json!({
            "protocolVersion": REVISION,
            "capabilities": capabilities,
            "clientInfo": {"name": "fairlead-tests", "version": "1"},
        });
        let reply = self.request(&json!(0), "initialize", params).await?;
        let session = reply.header("mcp-session-id").to_owned();
        let response = reply.response().await?;
        let result = response.get("result").with_context(|| format!("initialize: {response}"))?.clone();
        if !session.is_empty() {
            self.set_session(Some(session));
        }
        self.notify("notifications/initialized", json!({})).await?;
        Ok(result)
    }

    /// The session id, if there is one.
    #[must_use]
    pub fn session(&self) -> Option<String> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes on with another session id, or none.
    pub fn set_session(&self, session: Option<String>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    /// An id that this client has not used.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// A request with the headers that every request has.
    #[must_use]
    pub fn http(&self, method: Method) -> http::request::Builder {
        let mut request = Request::builder()
            .method(method)
            .uri(self.url.clone())
            .header("accept", "application/json, text/event-stream");
        if let Some(session) = self.session() {
            request = request.header("mcp-session-id", session).header("mcp-protocol-version", REVISION);
        }
        request
    }

    /// Sends any HTTP request.
    ///
    /// # Errors
    /// No headers come back in time.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply> {
        let response = tokio::time::timeout(EXCHANGE, self.http.request(request)).await.context("no answer in time")?;
        Ok(Reply::new(response.context("send the request")?))
    }

    /// Posts any bytes as JSON.
    ///
    /// # Errors
    /// No headers come back in time.
    pub async fn post(&self, body: impl Into<Bytes>) -> Result<Reply> {
        let request = self.http(Method::POST).header("content-type", "application/json");
        self.send(request.body(Full::new(body.into()))?).await
    }

    /// Sends a request with an id of the caller's choice.
    ///
    /// # Errors
    /// No headers come back in time.
    pub async fn request(&self, id: &Value, method: &str, params: Value) -> Result<Reply> {
        self.post(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()).await
    }

    /// Sends a request and returns its response, which has a `result` or an `error`.
    ///
    /// # Errors
    /// No response comes, or one with another id.
    pub async fn ask(&self, method: &str, params: Value) -> Result<Value> {
        let id = json!(self.id());
        let response = self.request(&id, method, params).await?.response().await?;
        ensure!(response.get("id") == Some(&id), "asked with id {id}, answered with {response}");
        Ok(response)
    }

    /// Calls a tool and returns the response.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<Value> {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await
    }

    /// Calls a tool that must work, and returns the text that it gave.
    ///
    /// # Errors
    /// It does not work.
    pub async fn text(&self, tool: &str, arguments: Value) -> Result<String> {
        let response = self.call(tool, arguments).await?;
        let text = response.pointer("/result/content/0/text").and_then(Value::as_str);
        Ok(text.with_context(|| format!("{tool}: {response}"))?.to_owned())
    }

    /// Names of the tools that the server lists.
    ///
    /// # Errors
    /// It lists none.
    pub async fn tools(&self) -> Result<Vec<String>> {
        let response = self.ask("tools/list", json!({})).await?;
        let tools = response.pointer("/result/tools").and_then(Value::as_array);
        let tools = tools.with_context(|| format!("tools/list: {response}"))?;
        Ok(tools.iter().filter_map(|tool| Some(tool.get("name")?.as_str()?.to_owned())).collect())
    }

    /// Sends a notification; it must be accepted.
    ///
    /// # Errors
    /// It is not.
    pub async fn notify(&self, method: &str, params: Value) -> Result<()> {
        self.accepted(json!({"jsonrpc": "2.0", "method": method, "params": params})).await
    }

    /// Answers a request of the server; the answer must be accepted.
    ///
    /// # Errors
    /// It is not.
    pub async fn answer(&self, id: &Value, result: Value) -> Result<()> {
        self.accepted(json!({"jsonrpc": "2.0", "id": id, "result": result})).await
    }

    async fn accepted(&self, message: Value) -> Result<()> {
        let reply = self.post(message.to_string()).await?;
        let (status, body) = (reply.status, reply.bytes().await?);
        ensure!(status == StatusCode::ACCEPTED, "{message}: status {status}, {}", String::from_utf8_lossy(&body));
        ensure!(body.is_empty(), "{message}: 202 has a body");
        Ok(())
    }

    /// Opens the stream of the session.
    ///
    /// # Errors
    /// No headers come back in time.
    pub async fn listen(&self) -> Result<Reply> {
        self.send(self.http(Method::GET).body(Full::default())?).await
    }

    /// Ends the session.
    ///
    /// # Errors
    /// No headers come back in time.
    pub async fn close(&self) -> Result<StatusCode> {
        Ok(self.send(self.http(Method::DELETE).body(Full::default())?).await?.status)
    }
}
