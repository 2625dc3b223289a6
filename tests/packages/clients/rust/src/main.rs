//! The official Rust SDK (`rmcp`) against server-everything. Usage: `official-rust-client URL [MARKER]` or, over stdio:
//! `official-rust-client stdio MARKER COMMAND [ARGS...]`.
//!
//! The same steps as exercise.mjs, and the same report. It asks for the newest revision first and falls back to the
//! handshake, as the other clients that know both eras do. There is no HTTP+SSE in this SDK.
#![allow(deprecated, reason = "sampling and roots are what servers of the older era ask for")]

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
    ElicitRequestParams, ElicitResult, ListRootsResult, ProgressNotificationParam, ProtocolVersion,
};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, NotificationContext, RequestContext, RunningService};
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientHandler, ErrorData, RoleClient};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

type Failure = Box<dyn Error>;

/// What the server has asked of this client, and the progress that it was told.
#[derive(Default)]
struct Seen {
    sampling: AtomicU32,
    elicitation: AtomicU32,
    roots: AtomicU32,
    progress: Mutex<Vec<f64>>,
}

/// Answers what the server asks; the marker is in every answer.
struct Answers {
    marker: String,
    seen: Arc<Seen>,
}

fn answer<T: DeserializeOwned>(counter: &AtomicU32, answer: Value) -> Result<T, ErrorData> {
    counter.fetch_add(1, Ordering::Relaxed);
    serde_json::from_value(answer).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

impl ClientHandler for Answers {
    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let content = json!({"type": "text", "text": self.marker});
        let result = json!({"model": "none", "role": "assistant", "stopReason": "endTurn", "content": content});
        answer(&self.seen.sampling, result)
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        answer(&self.seen.elicitation, json!({"action": "accept", "content": {"name": self.marker, "check": true}}))
    }

    async fn list_roots(&self, _: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        let root = json!({"uri": format!("file:///{}", self.marker), "name": self.marker});
        answer(&self.seen.roots, json!({"roots": [root]}))
    }

    async fn on_progress(&self, step: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.seen.progress.lock().expect("nobody panics").push(step.progress);
    }

    fn get_info(&self) -> ClientConfig {
        let capabilities = json!({"sampling": {}, "elicitation": {}, "roots": {"listChanged": true}});
        let info = json!({"name": "rust-sdk", "version": "1"});
        let config = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": info});
        serde_json::from_value(config).expect("the configuration of a client")
    }
}

type Client = RunningService<RoleClient, Answers>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let endpoint = args.next().ok_or("no URL")?;
    let marker = args.next().unwrap_or_else(|| "marker".to_owned());
    let seen = Arc::new(Seen::default());
    let answers = Answers { marker: marker.clone(), seen: Arc::clone(&seen) };
    let mode = ClientLifecycleMode::Auto { preferred_versions: vec![ProtocolVersion::LATEST], legacy_version: None };
    let client = if endpoint == "stdio" {
        let mut command = tokio::process::Command::new(args.next().ok_or("no command")?);
        command.args(args);
        answers.serve_with_lifecycle(TokioChildProcess::new(command)?, mode).await?
    } else {
        answers.serve_with_lifecycle(StreamableHttpClientTransport::from_uri(endpoint), mode).await?
    };
    let report = exercise(&client, &marker, &seen).await?;
    client.cancel().await?;
    println!("{report}");
    Ok(())
}

async fn exercise(client: &Client, marker: &str, seen: &Seen) -> Result<Value, Failure> {
    let server = client.peer_info().ok_or("no information about the server")?;
    let server = serde_json::to_value(&*server)?;
    let mut tools: Vec<_> = client.list_all_tools().await?.into_iter().map(|tool| tool.name).collect();
    tools.sort();
    let resources = client.list_all_resources().await?;
    let templates = client.list_all_resource_templates().await?.len();
    let mut prompts: Vec<_> = client.list_all_prompts().await?.into_iter().map(|prompt| prompt.name).collect();
    prompts.sort();
    let first = serde_json::to_value(&resources)?[0]["uri"].clone();
    let resource = client.read_resource(serde_json::from_value(json!({"uri": first}))?).await?;
    let prompt = json!({"name": "args-prompt", "arguments": {"city": marker}});
    let prompt = serde_json::to_value(client.get_prompt(serde_json::from_value(prompt)?).await?)?;
    let echo = call(client, "echo", json!({"message": marker})).await?;
    let sum = call(client, "get-sum", json!({"a": 2, "b": 40})).await?;
    let long = call(client, "trigger-long-running-operation", json!({"duration": 1, "steps": 4})).await?;
    let sampling = call(client, "trigger-sampling-request", json!({"prompt": "hello"})).await?;
    let elicitation = call(client, "trigger-elicitation-request", json!({})).await?;
    let unknown = call(client, "no-such-tool", json!({})).await;
    let is_refused = unknown.map_or(true, |result| result.is_error == Some(true));
    let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
    Ok(json!({
        "server": server["serverInfo"]["name"],
        "session": server["protocolVersion"].as_str() < Some("2026"),
        "tools": tools,
        "resources": resources.len(),
        "templates": templates,
        "prompts": prompts,
        "resource": resource.contents.len(),
        "prompt": prompt["messages"][0]["content"]["text"],
        "echo": texts(&echo)?,
        "sum": texts(&sum)?,
        "progress": *seen.progress.lock().map_err(|_| "a thread panicked")?,
        "long": texts(&long)?,
        "sampling": texts(&sampling)?.contains(marker),
        "elicitation": texts(&elicitation)?.contains(marker),
        "unknown": if is_refused { "refused" } else { "accepted" },
        "asked": {"sampling": count(&seen.sampling), "elicitation": count(&seen.elicitation), "roots": count(&seen.roots)},
    }))
}

async fn call(client: &Client, tool: &str, arguments: Value) -> Result<CallToolResult, Failure> {
    let params: CallToolRequestParams = serde_json::from_value(json!({"name": tool, "arguments": arguments}))?;
    Ok(client.call_tool(params).await?)
}

fn texts(result: &CallToolResult) -> Result<String, Failure> {
    let result = serde_json::to_value(result)?;
    let parts = result["content"].as_array().ok_or("a result without content")?;
    let texts = parts.iter().filter(|part| part["type"] == "text").filter_map(|part| part["text"].as_str());
    Ok(texts.collect::<Vec<_>>().join("\n"))
}
