//! A look at a server that nobody has let in yet: it ends with a word why, and holds little of what that says.

use std::sync::Arc;

use fairlead_core::chain::Chain;
use fairlead_proxy::limits::{EXAMINED_BYTES_MAX, EXAMINED_PAGES_MAX};
use fairlead_proxy::{ProbeError, Wire};
use serde_json::{Value, json};

use crate::support::{HttpServer, PATIENCE, Scene, Seen, route};

/// What a server says of itself that has tools, and more.
fn introduced(instructions: &str) -> Value {
    json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "instructions": instructions,
           "serverInfo": {"name": "h", "version": "1"}})
}

/// Why a look told nothing of a server that says the same whenever it is asked the same.
async fn refused(introduced: Value, tools: Value) -> (ProbeError, Arc<HttpServer>) {
    let server = HttpServer::new(move |seen: &Seen| {
        let message = serde_json::from_str::<Value>(&seen.body).unwrap_or_default();
        let result = match message["method"].as_str() {
            Some("initialize") => &introduced,
            Some("tools/list") => &tools,
            _ if message["id"].is_null() => return HttpServer::reply(202, &[], ""),
            _ => return HttpServer::reply(404, &[], ""),
        };
        HttpServer::json(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string())
    })
    .await;
    let scene = Scene::new().await;
    let looked = scene.proxy.examine(route("one", Wire::Http, server.clone(), Chain::default()), PATIENCE).await;
    (looked.unwrap_err(), server)
}

#[tokio::test]
async fn a_list_of_tools_that_has_no_end_is_not_read_for_ever() {
    let (error, server) = refused(introduced(""), json!({"tools": [], "nextCursor": "again"})).await;
    assert!(matches!(&error, ProbeError::Nonsense(why) if why.contains("has no end")), "{error}");
    let asked = server.seen.lock().iter().filter(|seen| seen.body.contains("tools/list")).count();
    assert_eq!(asked, EXAMINED_PAGES_MAX);
}

#[tokio::test]
async fn what_is_too_long_is_not_read_to_its_end_and_is_told_from_a_connection_that_broke() {
    let long = "x".repeat(EXAMINED_BYTES_MAX);
    let page = json!({"tools": [{"name": long, "inputSchema": {}}]});
    for (introduced, tools) in [(introduced(""), page), (introduced(&long), json!({"tools": []}))] {
        let (error, _server) = refused(introduced, tools).await;
        assert!(matches!(&error, ProbeError::Nonsense(why) if why.contains("is longer than")), "{error}");
    }
}
