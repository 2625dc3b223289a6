//! The words of one era in those of the other. All texts are JSON; what has the same words in both stays byte for byte.

use fairlead_core::json::{each, find, patch};
use fairlead_core::jsonrpc::{CAPABILITIES_KEY, LOG_LEVEL_KEY, VERSION_KEY};
use fairlead_core::middleware::PatchOperation;

use crate::era::MODERN;

/// Who a client is, in `_meta`.
pub(super) const CLIENT_KEY: &str = "/io.modelcontextprotocol~1clientInfo";

/// What describes a request and is said once for a session.
const DESCRIBES: [&str; 4] = [VERSION_KEY, CAPABILITIES_KEY, LOG_LEVEL_KEY, CLIENT_KEY];

/// Results that say for how long they hold.
const CACHED: [&str; 5] =
    ["tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"];

fn at<'a>(text: &'a str, pointer: &str) -> Option<&'a str> {
    find(text, pointer).ok().flatten()
}

fn put(pointer: &str, value: impl Into<String>) -> PatchOperation {
    PatchOperation { pointer: pointer.to_owned(), value: Some(value.into()) }
}

fn remove(pointer: String) -> PatchOperation {
    PatchOperation { pointer, value: None }
}

/// `params` of a request as a session hears them.
pub(super) fn plain(params: &str) -> Option<String> {
    let described = DESCRIBES.map(|key| format!("/_meta{key}"));
    let mut operations: Vec<_> = described.into_iter().filter(|key| at(params, key).is_some()).map(remove).collect();
    if at(params, "/_meta").is_some_and(|meta| each(meta).count() == operations.len()) {
        operations = vec![remove("/_meta".to_owned())];
    }
    patch(params, &operations).ok()
}

/// The answer to `initialize` as that to `server/discover`.
pub(super) fn discovered(introduced: &str) -> String {
    let capabilities = at(introduced, "/capabilities").unwrap_or("{}");
    // Tasks of the older revision are others than those of the newest.
    let capabilities = match at(capabilities, "/tasks") {
        Some(_) => patch(capabilities, &[remove("/tasks".to_owned())]).unwrap_or_else(|_| "{}".to_owned()),
        None => capabilities.to_owned(),
    };
    let server = at(introduced, "/serverInfo").unwrap_or(r#"{"name":"","version":""}"#);
    let instructions = at(introduced, "/instructions").map(|text| format!(",\"instructions\":{text}"));
    format!(
        "{{\"resultType\":\"complete\",\"supportedVersions\":[\"{MODERN}\"],\"capabilities\":{capabilities}{},\"ttlMs\":0,\
         \"cacheScope\":\"private\",\"_meta\":{{\"io.modelcontextprotocol/serverInfo\":{server}}}}}",
        instructions.unwrap_or_default()
    )
}

/// A result, with what the newest revision wants to be in it: it is one, and nobody may keep it.
pub(super) fn complete(method: &str, result: &str) -> Option<String> {
    let mut wanted = vec![("/resultType", "\"complete\"")];
    if CACHED.contains(&method) {
        wanted.extend([("/ttlMs", "0"), ("/cacheScope", "\"private\"")]);
    }
    wanted.retain(|(pointer, _)| at(result, pointer).is_none());
    let operations: Vec<_> = wanted.into_iter().map(|(pointer, value)| put(pointer, value)).collect();
    patch(result, &operations).ok()
}

/// An error: what is not there has another code now.
pub(super) fn error(error: &str) -> String {
    const NOT_FOUND: &str = "-32002";
    match at(error, "/code") {
        Some(NOT_FOUND) => patch(error, &[put("/code", "-32602")]).unwrap_or_else(|_| error.to_owned()),
        _ => error.to_owned(),
    }
}

/// The result that asks for input: method and `params` of the question, and what the client is to bring back.
pub(super) fn wanted(key: &str, method: &str, params: &str, state: &str) -> String {
    let method = fairlead_core::json::encode_string(method);
    format!(
        "{{\"resultType\":\"input_required\",\"inputRequests\":{{\"{key}\":{{\"method\":{method},\"params\":{params}}}}},\
         \"requestState\":\"{state}\"}}"
    )
}

/// `params` of a notification on the stream of a subscription.
pub(super) fn on_subscription(params: &str, id: &str) -> Option<String> {
    let params = if params.is_empty() { "{}" } else { params };
    let mut operations = Vec::new();
    if at(params, "/_meta").is_none() {
        operations.push(put("/_meta", "{}"));
    }
    operations.push(put("/_meta/io.modelcontextprotocol~1subscriptionId", id));
    patch(params, &operations).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_describes_a_request_goes_and_everything_else_stays_byte_for_byte() {
        let described = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}}"#;
        assert_eq!(plain(&format!(r#"{{"name":"t","_meta":{{{described}}}}}"#)).unwrap(), r#"{"name":"t"}"#);
        assert_eq!(
            plain(&format!(r#"{{"n": 1e2,"_meta":{{{described},"progressToken":7}}}}"#)).unwrap(),
            r#"{"n": 1e2,"_meta":{"progressToken":7}}"#
        );
        assert_eq!(plain(r#"{"n":1.0}"#).unwrap(), r#"{"n":1.0}"#);
    }

    #[test]
    fn a_result_says_that_it_is_one_and_that_nobody_may_keep_it() {
        assert_eq!(complete("tools/call", r#"{"content":[]}"#).unwrap(), r#"{"content":[],"resultType":"complete"}"#);
        assert_eq!(
            complete("tools/list", r#"{"tools":[],"ttlMs":5}"#).unwrap(),
            r#"{"tools":[],"ttlMs":5,"resultType":"complete","cacheScope":"private"}"#
        );
    }

    #[test]
    fn a_server_introduces_itself_in_the_words_of_the_newest_revision() {
        let introduced = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"tasks":{}},"serverInfo":{"name":"s"},"instructions":"i"}"#;
        assert_eq!(
            discovered(introduced),
            r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"instructions":"i","ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}}}"#
        );
    }

    #[test]
    fn what_is_not_there_has_another_code() {
        assert_eq!(error(r#"{"code":-32002,"message":"gone"}"#), r#"{"code":-32602,"message":"gone"}"#);
        assert_eq!(error(r#"{"code":-32603,"message":"x"}"#), r#"{"code":-32603,"message":"x"}"#);
    }
}
