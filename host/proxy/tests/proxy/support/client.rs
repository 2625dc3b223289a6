//! An HTTP client that speaks MCP and shows everything that it gets.

use std::collections::VecDeque;

use bytes::Bytes;
use fairlead_proxy::sse::Parser;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::PATIENCE;

type Http = hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>;

pub(crate) struct Client {
    http: Http,
    url: String,
    session: Mutex<Option<String>>,
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
        Self { http, url: url.to_owned(), session: Mutex::new(None) }
    }

    pub(crate) fn session(&self) -> Option<String> {
        self.session.lock().clone()
    }

    pub(crate) fn set_session(&self, session: Option<&str>) {
        *self.session.lock() = session.map(ToOwned::to_owned);
    }

    /// A request with the usual headers; those given replace them, and an empty one removes.
    pub(crate) fn request(
        &self,
        method: Method,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(&self.url)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json");
        if let Some(session) = self.session() {
            request = request.header("mcp-session-id", session);
        }
        let mut request = request.body(Full::new(body.into())).unwrap();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().remove(&name);
            if !value.is_empty() {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        request
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        let response = timeout(PATIENCE, self.http.request(request)).await.expect("a response in time").unwrap();
        let (head, body) = response.into_parts();
        Reply {
            status: head.status,
            headers: head.headers,
            body,
            parser: Parser::new(1 << 30),
            events: VecDeque::new(),
        }
    }

    pub(crate) async fn post(&self, body: impl Into<Bytes>) -> Reply {
        self.send(self.request(Method::POST, &[], body)).await
    }

    pub(crate) async fn ask(&self, id: &Value, method: &str, params: Value) -> Reply {
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.post(message.to_string()).await
    }

    /// A self-describing request of the newest revision, with the headers that belong to it.
    pub(crate) async fn modern(&self, id: &Value, method: &str, mut params: Value) -> Reply {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({"elicitation": {}});
        let name = params["name"].as_str().or(params["uri"].as_str()).unwrap_or_default().to_owned();
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", method), ("mcp-name", &name)];
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.send(self.request(Method::POST, &headers, message.to_string())).await
    }

    pub(crate) async fn notify(&self, method: &str, params: Value) -> Reply {
        self.post(json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string()).await
    }

    pub(crate) async fn answer(&self, id: &Value, result: Value) -> Reply {
        self.post(json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()).await
    }

    /// A tool call that is still under way.
    pub(crate) async fn begin(&self, id: &Value, tool: &str, arguments: Value) -> Reply {
        self.ask(id, "tools/call", json!({"name": tool, "arguments": arguments})).await
    }

    /// A tool call, to its end.
    pub(crate) async fn call(&self, id: &Value, tool: &str, arguments: Value) -> Value {
        self.begin(id, tool, arguments).await.last().await
    }

    pub(crate) async fn listen(&self, headers: &[(&str, &str)]) -> Reply {
        self.send(self.request(Method::GET, headers, Bytes::new())).await
    }

    pub(crate) async fn close(&self) -> StatusCode {
        self.send(self.request(Method::DELETE, &[], Bytes::new())).await.status
    }

    pub(crate) async fn initialize(&self, version: &str) -> Value {
        let reply = self.try_initialize(version).await;
        assert_eq!(reply.status, 200);
        *self.session.lock() = reply.headers.get("mcp-session-id").map(|id| id.to_str().unwrap().to_owned());
        let answer = reply.last().await;
        assert!(answer["result"].is_object(), "{answer}");
        assert_eq!(self.notify("notifications/initialized", json!({})).await.status, 202);
        answer
    }

    pub(crate) async fn try_initialize(&self, version: &str) -> Reply {
        let params =
            json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
        self.ask(&json!(0), "initialize", params).await
    }
}

/// A response, read bit by bit.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    parser: Parser,
    events: VecDeque<Bytes>,
}

impl Reply {
    pub(crate) fn is_stream(&self) -> bool {
        self.headers.get("content-type").is_some_and(|value| value == "text/event-stream")
    }

    /// The whole body.
    pub(crate) async fn text(self) -> String {
        let body = timeout(PATIENCE, self.body.collect()).await.expect("a body in time").unwrap();
        String::from_utf8(body.to_bytes().to_vec()).unwrap()
    }

    pub(crate) async fn json(self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The next event of a stream, as it came; `None` at the end.
    pub(crate) async fn event(&mut self) -> Option<Bytes> {
        loop {
            while let Some(event) = self.parser.next_event().unwrap() {
                if event.data.is_some() {
                    self.events.push_back(event.raw);
                }
            }
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("an event in time")?.ok()?;
            self.parser.push(frame.data_ref().unwrap());
        }
    }

    /// The next message of a stream.
    pub(crate) async fn message(&mut self) -> Option<Value> {
        let raw = self.event().await?;
        let mut parser = Parser::new(1 << 30);
        parser.push(&raw);
        let data = parser.next_event().unwrap().unwrap().data.unwrap();
        // An event without a message only tells where to come back.
        if data.is_empty() {
            return Box::pin(self.message()).await;
        }
        Some(serde_json::from_slice(&data).unwrap())
    }

    /// The answer: the body, or the last message of the stream.
    pub(crate) async fn last(mut self) -> Value {
        if !self.is_stream() {
            return self.json().await;
        }
        let mut last = Value::Null;
        while let Some(message) = self.message().await {
            last = message;
        }
        last
    }
}
