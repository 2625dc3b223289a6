//! The story: what a client application sees of the guards. Each step is checked against what it should see, so the
//! demonstration is a test as well.

use std::io::Write;

use serde_json::{Value, json};

use super::client::Client;
use super::daemon::Daemon;
use super::setup::{BURST, DENIED_TOOL, SERVER};
use crate::terminal::{BAD, FAINT, GOOD, HEADING};

/// What was seen, in words; or what should have been seen, and what was.
type Seen = Result<String, Missed>;

struct Missed {
    expected: String,
    got: String,
}

impl From<anyhow::Error> for Missed {
    fn from(error: anyhow::Error) -> Self {
        Self { expected: "an answer".to_owned(), got: format!("{error:#}") }
    }
}

fn missed<T>(expected: impl Into<String>, got: impl Into<String>) -> Result<T, Missed> {
    Err(Missed { expected: expected.into(), got: got.into() })
}

/// Tells the story and gives the number of steps that did not hold.
pub(crate) fn tell(endpoint: &str, daemon: &mut Daemon) -> anyhow::Result<usize> {
    /// What the step shows, who shows it, how.
    type Step = (&'static str, &'static str, fn(&mut Client) -> Seen);
    let steps: [Step; 7] = [
        ("initialize", "the server answers through the chain", initialize),
        ("tools/list", "tool-filter leaves out what may not be called", list),
        ("a call", "passes untouched", allowed),
        ("a denied call", "tool-filter refuses it; the server never sees it", denied),
        ("a secret", "redact takes it out of the result", redacted),
        ("a burst", "rate-limit cuts it and says when to come back", burst),
        ("another tool", "has a budget of its own", other_budget),
    ];
    let mut client = Client::new(endpoint);
    let mut broken = 0;
    for (title, about, step) in steps {
        daemon.check()?;
        anstream::println!("  {HEADING}{title:14}{HEADING:#} {FAINT}{about}{FAINT:#}");
        match step(&mut client) {
            Ok(seen) => anstream::println!("  {GOOD}{:>14}{GOOD:#} {seen}\n", "held"),
            Err(Missed { expected, got }) => {
                broken += 1;
                anstream::println!("  {BAD}{:>14}{BAD:#} expected {expected}", "DID NOT HOLD");
                anstream::println!("  {:>14} got {got}\n", "");
            }
        }
        std::io::stdout().flush()?;
    }
    client.close()?;
    Ok(broken)
}

fn initialize(client: &mut Client) -> Seen {
    let reply = client.initialize()?;
    let result = reply.result().or_else(|got| missed("a result", got))?;
    let revision = result.get("protocolVersion").and_then(Value::as_str).unwrap_or("none");
    match result.pointer("/serverInfo/name").and_then(Value::as_str) {
        Some(SERVER) => Ok(format!("{SERVER} {}, MCP {revision}", version(result))),
        _ => missed(format!("a server named {SERVER}"), result.to_string()),
    }
}

fn version(result: &Value) -> &str {
    result.pointer("/serverInfo/version").and_then(Value::as_str).unwrap_or_default()
}

fn list(client: &mut Client) -> Seen {
    let reply = client.request("tools/list", &json!({}))?;
    let result = reply.result().or_else(|got| missed("a result", got))?;
    let tools = result.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = tools.iter().filter_map(|tool| tool.get("name")?.as_str()).collect();
    if names.contains(&DENIED_TOOL) {
        return missed(format!("no {DENIED_TOOL} in the list"), names.join(", "));
    }
    if !names.contains(&"hash") {
        return missed("hash in the list", names.join(", "));
    }
    Ok(format!("{} tools: {}; hidden: {DENIED_TOOL}", names.len(), names.join(", ")))
}

fn allowed(client: &mut Client) -> Seen {
    const DIGEST: &str = "f9efaafb2151204e7fdd3de76f3e77d81355399e3634964332d7ac6bed055bc3";
    let reply = client.call("hash", &json!({ "text": "fairlead" }))?;
    match reply.text() {
        Ok(text) if text.contains(DIGEST) => Ok(format!("hash(\"fairlead\") = {DIGEST}")),
        Ok(text) => missed(format!("the digest {DIGEST}"), text),
        Err(got) => missed("a result", got),
    }
}

fn denied(client: &mut Client) -> Seen {
    let reply = client.call(DENIED_TOOL, &json!({}))?;
    match reply.error() {
        // What JSON-RPC and MCP reserve would be a fault, not a decision.
        Some((code, message)) if !(-32_768..=-32_000).contains(&code) => Ok(format!("error {code}: {message}")),
        _ => missed("a refusal by the filter", format!("HTTP {}, {}", reply.status, reply.message)),
    }
}

fn redacted(client: &mut Client) -> Seen {
    let reply = client.call("example_config", &json!({}))?;
    let result = reply.result().or_else(|got| missed("a result", got))?.to_string();
    let leaked: Vec<&str> = ["AKIA", "ghp_"].into_iter().filter(|secret| result.contains(secret)).collect();
    if !leaked.is_empty() {
        return missed("no credentials in the result", format!("{} in {result}", leaked.join(" and ")));
    }
    if !result.contains("eu-central-1") {
        return missed("everything but the credentials in the result", result);
    }
    let text = reply.text().or_else(|got| missed("a text", got))?;
    let file: Value = serde_json::from_str(text).unwrap_or_default();
    let file = file.get("file").and_then(Value::as_str).unwrap_or(text);
    Ok(file.lines().filter(|line| !line.is_empty()).map(str::trim).collect::<Vec<_>>().join(" | "))
}

fn burst(client: &mut Client) -> Seen {
    for number in 1..=BURST {
        let reply = client.call("text_stats", &json!({ "text": "one" }))?;
        if let Err(got) = reply.result() {
            return missed(format!("{BURST} calls to pass"), format!("call {number} was refused: {got}"));
        }
    }
    let reply = client.call("text_stats", &json!({ "text": "one too many" }))?;
    let Some((code, message)) = reply.error() else {
        return missed(format!("call {} to be refused", BURST + 1), reply.message.to_string());
    };
    match reply.retry_after.as_deref().map(str::parse::<u64>) {
        Some(Ok(seconds)) => Ok(format!("{BURST} calls pass; then error {code}: {message}; Retry-After: {seconds}")),
        _ => missed("a Retry-After header in seconds", format!("{:?}, {}", reply.retry_after, reply.message)),
    }
}

fn other_budget(client: &mut Client) -> Seen {
    let reply = client.call("text_case", &json!({ "text": "still here", "to": "upper" }))?;
    match reply.text() {
        Ok(text) if text.contains("STILL HERE") => Ok("text_case(\"still here\") = STILL HERE".to_owned()),
        Ok(text) => missed("STILL HERE", text),
        Err(got) => missed("a result", got),
    }
}
