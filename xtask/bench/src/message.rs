//! The messages of the load: every request carries an id and a payload that no other has, and every reply is checked for
//! both. A proxy that is fast because it answers the wrong caller must not look good.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Revision of MCP that the load speaks.
pub(crate) const REVISION: &str = "2025-11-25";

/// Begins a session.
pub(crate) fn initialize() -> String {
    serde_json::json!({
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {
            "protocolVersion": REVISION,
            "capabilities": {},
            "clientInfo": { "name": "fairlead-bench", "version": env!("CARGO_PKG_VERSION") },
        },
    })
    .to_string()
}

/// Ends the handshake.
pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// A payload of this length that begins with what nobody else sends.
pub(crate) fn payload(worker: usize, id: u64, bytes: usize) -> String {
    const FILLER: &str = "the quick brown fox jumps over the lazy dog; ";
    let mut payload = format!("{worker}:{id}:");
    while payload.len() < bytes {
        payload.push_str(FILLER);
    }
    payload.truncate(bytes.max(payload.find(FILLER).unwrap_or(payload.len())));
    payload
}

/// A call of a tool that echoes.
pub(crate) fn call(tool: &str, id: u64, payload: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{"text":"{payload}"}}}}}}"#
    )
}

/// Takes a call back.
pub(crate) fn cancelled(id: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#)
}

/// A reply, as far as it is checked.
#[derive(Deserialize)]
pub(crate) struct Reply<'a> {
    id: u64,
    #[serde(borrow)]
    result: Option<CallResult<'a>>,
}

#[derive(Deserialize)]
struct CallResult<'a> {
    #[serde(borrow)]
    content: Vec<Content<'a>>,
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

impl<'a> Reply<'a> {
    /// Reads a reply and compares it with what was asked.
    pub(crate) fn check(bytes: &'a [u8], id: u64, payload: &str) -> Result<Self, String> {
        let shown = || String::from_utf8_lossy(bytes.get(..200).unwrap_or(bytes)).into_owned();
        let reply: Self = serde_json::from_slice(bytes).map_err(|error| format!("{error}: {}", shown()))?;
        if reply.id != id {
            return Err(format!("asked {id}, got the answer of {}", reply.id));
        }
        let result = reply.result.as_ref().ok_or_else(|| format!("no result: {}", shown()))?;
        match result.content.first() {
            Some(content) if content.text == payload => Ok(reply),
            _ => Err(format!("the payload of {id} came back changed: {}", shown())),
        }
    }

    /// The id of a reply that is an error; none for everything else.
    pub(crate) fn refused(bytes: &[u8]) -> Option<u64> {
        let reply: Value = serde_json::from_slice(bytes).ok()?;
        reply.get("error")?;
        reply.get("id")?.as_u64()
    }

    /// `_meta` of the result.
    pub(crate) fn meta(&self) -> Option<Value> {
        serde_json::from_str(self.result.as_ref()?.meta?.get()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{Reply, call, payload};

    #[test]
    fn a_payload_has_the_wanted_length_and_is_unique() {
        for bytes in [0, 10, 100, 1024] {
            let one = payload(3, 7, bytes);
            assert_eq!(one.len(), bytes.max("3:7:".len()));
            assert_ne!(one, payload(3, 8, bytes));
        }
    }

    #[test]
    fn only_the_right_answer_passes() {
        let right = br#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"x"}]}}"#;
        assert!(Reply::check(right, 7, "x").is_ok());
        assert!(Reply::check(right, 8, "x").is_err());
        assert!(Reply::check(right, 7, "y").is_err());
        assert!(Reply::check(br#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no"}}"#, 7, "x").is_err());
        assert_eq!(Reply::refused(br#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no"}}"#), Some(7));
        assert_eq!(Reply::refused(right), None);
        assert!(serde_json::from_str::<serde_json::Value>(&call("echo", 1, &payload(1, 1, 64))).is_ok());
    }
}
