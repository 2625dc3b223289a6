//! MCP as a stdio server speaks it, in the revisions with a handshake (2024-11-05 to 2025-11-25).
//!
//! Ids and progress tokens are never interpreted: they go back as the JSON text that came in.

use std::borrow::Cow;

use serde::Deserialize;
use serde::Serialize;
use serde_json::json;
use serde_json::value::{RawValue, Value};

use crate::tools::{self, Progress, Tool};

/// Revisions that this server speaks, oldest first; a client that asks for another gets the newest.
const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;

/// The server: its tools, and nothing that changes.
pub(crate) struct Server {
    tools: Vec<Tool>,
}

#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Outgoing<'a> {
    jsonrpc: &'static str,
    id: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

#[derive(Serialize)]
struct Failure {
    code: i32,
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialize<'a> {
    #[serde(borrow)]
    protocol_version: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default)]
    arguments: Option<Value>,
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    #[serde(borrow, default)]
    progress_token: Option<&'a RawValue>,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self { tools: tools::all() }
    }

    /// Answers one line. A request gets exactly one reply, perhaps after progress; anything else gets none, except that
    /// what is no JSON-RPC at all is answered with an error.
    pub(crate) fn answer(&self, line: &[u8], send: &mut dyn FnMut(String)) {
        if line.is_empty() {
            return;
        }
        let null = RawValue::NULL;
        // A derived struct would also take an array, element by field.
        let object = line.first() == Some(&b'{');
        let Some(message) = object.then(|| serde_json::from_slice::<Incoming<'_>>(line).ok()).flatten() else {
            let readable = serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
            let (code, text) = match readable {
                true => (INVALID_REQUEST, "not a JSON-RPC message"),
                false => (PARSE_ERROR, "not JSON"),
            };
            return reply(null, Err(Failure { code, message: text.to_owned() }), send);
        };
        let (Some(id), Some(method)) = (message.id, message.method) else {
            // A notification asks for nothing; a response answers a question that this server never asks.
            return;
        };
        let params = message.params.map_or("{}", RawValue::get);
        let result = match method.as_ref() {
            "initialize" => initialize(params),
            "ping" => Ok(json!({})),
            "tools/list" => Ok(json!({ "tools": self.tools.iter().map(Tool::describe).collect::<Vec<_>>() })),
            "tools/call" => self.call(params, send),
            other => Err(Failure { code: METHOD_NOT_FOUND, message: format!("no method `{other}`") }),
        };
        reply(id, result, send);
    }

    fn call(&self, params: &str, send: &mut dyn FnMut(String)) -> Result<Value, Failure> {
        let invalid = |message: String| Failure { code: INVALID_PARAMS, message };
        let call: Call<'_> = serde_json::from_str(params).map_err(|error| invalid(format!("params: {error}")))?;
        let Some(tool) = self.tools.iter().find(|tool| tool.name == call.name) else {
            return Err(invalid(format!("no tool `{}`", call.name)));
        };
        let token = call.meta.and_then(|meta| meta.progress_token);
        let mut progress = Progress::new(token, send);
        let arguments = call.arguments.unwrap_or_else(|| json!({}));
        // What a tool cannot do is a result with `isError`, so that the model reads it and may correct itself.
        Ok(match (tool.call)(arguments, &mut progress) {
            Ok(structured) => {
                let text = serde_json::to_string_pretty(&structured).unwrap_or_default();
                json!({ "content": [{ "type": "text", "text": text }], "structuredContent": structured })
            }
            Err(message) => json!({ "content": [{ "type": "text", "text": message }], "isError": true }),
        })
    }
}

fn initialize(params: &str) -> Result<Value, Failure> {
    let asked: Initialize<'_> = serde_json::from_str(params)
        .map_err(|error| Failure { code: INVALID_PARAMS, message: format!("params: {error}") })?;
    let newest = REVISIONS.last().copied().unwrap_or_default();
    let revision = REVISIONS.into_iter().find(|known| *known == asked.protocol_version).unwrap_or(newest);
    Ok(json!({
        "protocolVersion": revision,
        "capabilities": { "tools": {} },
        "serverInfo": { "name": "toolbox", "title": "Toolbox", "version": env!("CARGO_PKG_VERSION") },
        "instructions": "Small tools that need no network: time zones, text, JSON, hashes.",
    }))
}

fn reply(id: &RawValue, result: Result<Value, Failure>, send: &mut dyn FnMut(String)) {
    let (result, error) = match result {
        Ok(result) => (Some(result), None),
        Err(error) => (None, Some(error)),
    };
    if let Ok(text) = serde_json::to_string(&Outgoing { jsonrpc: "2.0", id, result, error }) {
        send(text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answers(line: &str) -> Vec<Value> {
        let mut all = Vec::new();
        Server::new().answer(line.as_bytes(), &mut |text| all.push(serde_json::from_str(&text).unwrap()));
        all
    }

    fn call(name: &str, arguments: Value) -> Value {
        let line = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name, "arguments": arguments } });
        answers(&line.to_string()).pop().unwrap()["result"].clone()
    }

    #[test]
    fn an_id_comes_back_as_the_text_that_it_was() {
        for id in ["9007199254740993", "\"\\u00e9\"", "1e2", "null"] {
            let mut replies = Vec::new();
            let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            Server::new().answer(line.as_bytes(), &mut |text| replies.push(text));
            assert_eq!(replies.concat().contains(&format!("\"id\":{id},")), id != "null", "{id}: {replies:?}");
        }
    }

    #[test]
    fn a_known_revision_is_kept_and_an_unknown_one_becomes_the_newest() {
        for (asked, given) in [("2024-11-05", "2024-11-05"), ("2025-11-25", "2025-11-25"), ("2099-01-01", "2025-11-25")]
        {
            let line =
                json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": { "protocolVersion": asked } });
            assert_eq!(answers(&line.to_string())[0]["result"]["protocolVersion"], given);
        }
    }

    #[test]
    fn what_is_unknown_is_refused_with_its_own_code() {
        for (line, code) in [
            ("{", PARSE_ERROR),
            ("[1]", INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"nonsense"}"#, METHOD_NOT_FOUND),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nonsense"}}"#, INVALID_PARAMS),
        ] {
            assert_eq!(answers(line)[0]["error"]["code"], code, "{line}");
        }
    }

    #[test]
    fn every_tool_declares_an_object_as_input_and_output() {
        for tool in &Server::new().tools {
            let described = tool.describe();
            assert_eq!(described["inputSchema"]["type"], "object", "{}", tool.name);
            assert_eq!(described["outputSchema"]["type"], "object", "{}", tool.name);
        }
    }

    #[test]
    fn a_tool_that_cannot_answer_says_so_in_its_result() {
        let result = call("time_now", json!({ "zone": "Middle/Earth" }));
        assert_eq!(result["isError"], true);
        assert!(result["content"][0]["text"].as_str().unwrap().contains("Middle/Earth"));
    }

    #[test]
    fn progress_carries_the_token_as_it_was_and_comes_before_the_result() {
        let line = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"countdown","arguments":{"steps":2,"pause_ms":0},"_meta":{"progressToken":9007199254740993}}}"#;
        let mut texts = Vec::new();
        Server::new().answer(line.as_bytes(), &mut |text| texts.push(text));
        assert_eq!(texts.len(), 3);
        assert!(texts[0].contains(r#""progressToken":9007199254740993"#), "{}", texts[0]);
        assert!(texts[2].contains(r#""id":1"#));
    }

    proptest! {
        #[test]
        fn a_request_gets_one_reply_and_nothing_makes_it_panic(line in ".{0,200}", id in any::<u64>(), method in "[a-z/]{0,12}") {
            prop_assert!(answers(&line).len() <= 1);
            let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": { "name": line } });
            prop_assert_eq!(answers(&request.to_string()).len(), 1);
        }
    }
}
