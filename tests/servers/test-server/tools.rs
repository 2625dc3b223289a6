//! What the server offers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::end;
use crate::wire::{Message, Wire, lock};

/// Longest that a call waits for anything: far above every deadline of the tests, so that nothing lives for ever.
const PATIENCE: Duration = Duration::from_secs(300);

/// Calls of `echo`, of all clients.
static ECHOED: AtomicU64 = AtomicU64::new(0);

/// Name and purpose of each tool.
const TOOLS: [(&str, &str); 13] = [
    ("echo", "gives its arguments back, byte for byte, as structured content"),
    ("slow", "takes `steps` × `step_ms`, with progress"),
    ("ask", "sends `method` with `params` to the client and gives the answer back"),
    ("hang", "answers nothing until it is cancelled"),
    ("cancelled", "lists the ids whose cancellation arrived"),
    ("crash", "ends the process with status `code`"),
    ("big", "gives a text of `bytes` bytes"),
    ("process", "gives the process id"),
    ("environment", "gives the names of all environment variables, and the value of `name`"),
    ("say", "writes `text` to standard error"),
    ("emit", "sends a notification `method` with `params` before it answers"),
    ("echoed", "gives the number of calls of `echo` that this process has seen"),
    ("level", "gives the log level of this session"),
];

/// Handles one message.
pub(crate) fn handle(wire: &Arc<Wire>, message: &Message<'_>) {
    let params = message.params.map_or("{}", RawValue::get);
    match (message.method.as_deref(), message.id) {
        (Some(method), Some(id)) => request(wire, id.get(), method, params),
        (Some("notifications/cancelled"), None) => {
            if let Ok(cancel) = serde_json::from_str::<Cancel<'_>>(params) {
                wire.cancel(cancel.request_id.get());
            }
        }
        (Some(_), None) => {}
        (None, Some(id)) => {
            let answer = message.result.or(message.error).map_or("null", RawValue::get);
            wire.answered(id.get(), answer);
        }
        (None, None) => eprintln!("test-server: a message with neither method nor id"),
    }
}

#[derive(Deserialize)]
struct Cancel<'a> {
    #[serde(borrow, rename = "requestId")]
    request_id: &'a RawValue,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Level {
    level: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Initialize {
    protocol_version: String,
}

/// Arguments of all tools together; what is not given is zero or empty.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Arguments {
    bytes: usize,
    code: i32,
    method: String,
    name: String,
    params: Value,
    step_ms: u64,
    steps: u64,
    text: String,
}

#[derive(Deserialize)]
struct CallParams<'a> {
    name: String,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "progressToken")]
    progress_token: Option<&'a RawValue>,
}

fn request(wire: &Arc<Wire>, id: &str, method: &str, params: &str) {
    match method {
        "initialize" => wire.result(id, &initialize(params)),
        "ping" => wire.result(id, "{}"),
        "tools/list" => {
            let tool = |(name, description): &(&str, &str)| json!({"name": name, "description": description, "inputSchema": {"type": "object"}});
            let without = std::env::var("TEST_SERVER_WITHOUT").unwrap_or_default();
            let tools = TOOLS.iter().filter(|(name, _)| *name != without);
            wire.result(id, &json!({"tools": tools.map(tool).collect::<Vec<_>>()}).to_string());
        }
        "logging/setLevel" => {
            *lock(&wire.level) = serde_json::from_str::<Level>(params).unwrap_or_default().level;
            wire.result(id, "{}");
        }
        "tools/call" => match serde_json::from_str::<CallParams<'_>>(params) {
            Ok(call) => tool(wire, id, &call),
            Err(error) => wire.error(id, -32602, &error.to_string()),
        },
        _ => wire.error(id, -32601, &format!("no method {method}")),
    }
}

fn initialize(params: &str) -> String {
    let asked = serde_json::from_str::<Initialize>(params).unwrap_or_default();
    json!({
        "protocolVersion": asked.protocol_version,
        "capabilities": {"tools": {"listChanged": true}, "logging": {}},
        "serverInfo": {"name": "test-server", "version": "1.0.0"},
    })
    .to_string()
}

fn tool(wire: &Arc<Wire>, id: &str, call: &CallParams<'_>) {
    let raw = call.arguments.map_or("{}", RawValue::get);
    let arguments = serde_json::from_str::<Arguments>(raw).unwrap_or_default();
    let say = |text: &str| wire.result(id, &json!({"content": [{"type": "text", "text": text}]}).to_string());
    match call.name.as_str() {
        "echo" => {
            ECHOED.fetch_add(1, Ordering::Relaxed);
            wire.result(id, &format!(r#"{{"content":[{{"type":"text","text":"echo"}}],"structuredContent":{raw}}}"#));
        }
        "slow" => {
            let token = call.meta.as_ref().and_then(|meta| meta.progress_token).map(|token| token.get().to_owned());
            slow(wire, id, token, arguments.steps, arguments.step_ms);
        }
        "ask" => ask(wire, id, &arguments.method, &arguments.params),
        "hang" => {
            drop(wire.start(id));
        }
        "cancelled" => say(&lock(&wire.cancelled).join(" ")),
        "crash" => end(arguments.code),
        "big" => say(&"x".repeat(arguments.bytes)),
        "process" => say(&std::process::id().to_string()),
        "environment" => {
            let names = std::env::vars().map(|(name, _)| name).collect::<Vec<_>>();
            say(&json!({"names": names, "value": std::env::var(arguments.name).ok()}).to_string());
        }
        "say" => {
            eprintln!("{}", arguments.text);
            say("said");
        }
        "emit" => {
            let method = Value::from(arguments.method);
            wire.send(&format!(r#"{{"jsonrpc":"2.0","method":{method},"params":{}}}"#, arguments.params));
            say("emitted");
        }
        "echoed" => say(&ECHOED.load(Ordering::Relaxed).to_string()),
        "level" => say(&lock(&wire.level)),
        _ => wire.error(id, -32602, &format!("no tool {}", call.name)),
    }
}

fn slow(wire: &Arc<Wire>, id: &str, token: Option<String>, steps: u64, step_ms: u64) {
    let (wire, id) = (Arc::clone(wire), id.to_owned());
    let cancelled = wire.start(&id);
    thread::spawn(move || {
        for step in 1..=steps {
            if cancelled.recv_timeout(Duration::from_millis(step_ms)).is_ok() {
                return;
            }
            if let Some(token) = &token {
                wire.send(&format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{step},"total":{steps}}}}}"#
                ));
            }
        }
        if wire.finish(&id) {
            wire.result(&id, r#"{"content":[{"type":"text","text":"done"}]}"#);
        }
    });
}

fn ask(wire: &Arc<Wire>, id: &str, method: &str, params: &Value) {
    let answer = wire.ask(method, &params.to_string());
    let (wire, id) = (Arc::clone(wire), id.to_owned());
    thread::spawn(move || match answer.recv_timeout(PATIENCE) {
        Ok(answer) => {
            let text = Value::from(answer);
            wire.result(&id, &format!(r#"{{"content":[{{"type":"text","text":{text}}}]}}"#));
        }
        Err(_) => wire.error(&id, -32603, "the client did not answer"),
    });
}
