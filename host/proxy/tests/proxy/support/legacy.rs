//! A client of 2024-11-05: one stream on which everything comes, and an address to which everything is posted.

use fairlead_core::BoxFuture;
use fairlead_core::workload::{StdioConnection, Unavailable, Upstream};
use http::StatusCode;
use serde_json::{Value, json};

use super::Client;
use super::client::Reply;

/// An HTTP server at a URL.
pub(crate) struct At(pub(crate) String);

impl Upstream for At {
    fn open_stdio(&self) -> BoxFuture<'_, Result<StdioConnection, Unavailable>> {
        Box::pin(async { Err(Unavailable::Failed("speaks HTTP".to_owned())) })
    }

    fn http_endpoint(&self) -> BoxFuture<'_, Result<String, Unavailable>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

pub(crate) struct LegacyClient {
    pub(crate) stream: Reply,
    pub(crate) messages: Client,
}

impl LegacyClient {
    /// Opens the stream and learns where to post.
    pub(crate) async fn open(url: &str) -> Self {
        let mut stream = Client::new(url).listen(&[("accept", "text/event-stream"), ("content-type", "")]).await;
        assert_eq!(stream.status, 200);
        let first = String::from_utf8(stream.event().await.unwrap().to_vec()).unwrap();
        let reference = first.strip_prefix("event: endpoint\ndata: ").expect("the endpoint comes first").trim_end();
        let host = url.split('/').take(3).collect::<Vec<_>>().join("/");
        Self { messages: Client::new(&format!("{host}{reference}")), stream }
    }

    pub(crate) async fn connect(url: &str) -> Self {
        let mut client = Self::open(url).await;
        let params =
            json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "old", "version": "1"}});
        let answer = client.ask(&json!(0), "initialize", params).await;
        assert_eq!(answer["result"]["protocolVersion"], "2024-11-05", "{answer}");
        assert_eq!(client.messages.notify("notifications/initialized", json!({})).await.status, 202);
        client
    }

    /// Posts a request; its answer is still to come.
    pub(crate) async fn begin(&self, id: &Value, method: &str, params: Value) {
        let reply = self.messages.ask(id, method, params).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED);
        assert_eq!(reply.text().await, "");
    }

    pub(crate) async fn next(&mut self) -> Value {
        self.stream.message().await.expect("a message")
    }

    /// Posts a request and waits for its answer, which must be the next message.
    pub(crate) async fn ask(&mut self, id: &Value, method: &str, params: Value) -> Value {
        self.begin(id, method, params).await;
        let answer = self.next().await;
        assert_eq!(answer["id"], *id, "{answer}");
        answer
    }

    pub(crate) async fn call(&mut self, id: &Value, tool: &str, arguments: Value) -> Value {
        self.ask(id, "tools/call", json!({"name": tool, "arguments": arguments})).await
    }
}
