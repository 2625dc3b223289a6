//! A client over HTTP+SSE: one stream on which everything comes, one address to which everything is posted.

use anyhow::{Context, Result, ensure};
use http::StatusCode;
use serde_json::{Value, json};

use crate::mcp::client::Client;
use crate::mcp::reply::Reply;

/// The revision of that transport.
const REVISION: &str = "2024-11-05";

/// A client with an open stream. It asks one thing at a time, so the next message must be the answer.
#[derive(Debug)]
pub struct LegacyClient {
    poster: Client,
    stream: Reply,
}

impl LegacyClient {
    /// Opens the stream at `url`, which ends in `/sse`, and shakes hands.
    ///
    /// # Errors
    /// The stream does not name an address, or the server does not answer `initialize`.
    pub async fn connect(url: &str) -> Result<Self> {
        let mut stream = Client::new(url)?.listen().await?;
        let first = stream.event().await?.context("the stream has no event")?;
        ensure!(first.name == "endpoint", "the first event is `{}`", first.name);
        let origin = url.split('/').take(3).collect::<Vec<_>>().join("/");
        let mut client = Self { poster: Client::new(&format!("{origin}{}", first.data))?, stream };
        let info = json!({"name": "fairlead-tests", "version": "1"});
        let params = json!({"protocolVersion": REVISION, "capabilities": {}, "clientInfo": info});
        let answer = client.request(json!(0), "initialize", params).await?;
        ensure!(answer.get("result").is_some(), "initialize: {answer}");
        client.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await?;
        Ok(client)
    }

    /// Sends a request and returns the next message of the stream that is no notification.
    ///
    /// # Errors
    /// It is not accepted, or nothing comes in time.
    pub async fn request(&mut self, id: Value, method: &str, params: Value) -> Result<Value> {
        self.post(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await?;
        loop {
            let message = self.stream.message().await?.context("the stream has ended")?;
            if message.get("method").is_none() {
                return Ok(message);
            }
        }
    }

    async fn post(&self, message: &Value) -> Result<()> {
        let reply = self.poster.post(message.to_string()).await?;
        ensure!(reply.status == StatusCode::ACCEPTED, "{message}: status {}", reply.status);
        Ok(())
    }
}
