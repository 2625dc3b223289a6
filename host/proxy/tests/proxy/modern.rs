//! The modern era in front of a stdio server: one process, no sessions, a connection for each request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fairlead_core::chain::{Chain, Level};
use fairlead_core::middleware::{Phase, Verdict};
use fairlead_core::plugin::FailureMode::Closed;
use fairlead_core::secret::SecretValue;
use fairlead_proxy::Wire;
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Client, FakeServer, HttpServer, PATIENCE, SESSION, Scene, Scripted, Seen, eventually, key, link};

async fn scene() -> (Scene, Arc<FakeServer>) {
    let (scene, server) = Scene::server(SESSION).await;
    server.modern.store(true, Ordering::SeqCst);
    (scene, server)
}

fn call(tool: &str, arguments: Value) -> Value {
    json!({"name": tool, "arguments": arguments})
}

#[tokio::test]
async fn all_requests_share_the_process_that_was_asked_first_and_ids_keep_their_type() {
    let (scene, server) = scene().await;
    let ids = [json!(1), json!("1"), json!(1), json!("\u{e9}/\""), json!(-7)];
    let (address, mut asked) = (scene.url("one"), JoinSet::new());
    for (at, id) in ids.into_iter().enumerate() {
        let client = Client::new(&address);
        asked.spawn(async move {
            let answer = client.modern(&id, "tools/call", call("echo", json!({"at": at}))).await.last().await;
            assert_eq!((&answer["id"], &answer["result"]["structuredContent"]["at"]), (&id, &json!(at)));
        });
    }
    asked.join_all().await;
    assert_eq!(server.opened.load(Ordering::SeqCst), 1);
    assert_eq!(server.got("server/discover").len(), 1, "asked once");
}

#[tokio::test]
async fn values_and_metadata_pass_byte_for_byte() {
    let (scene, server) = scene().await;
    let client = scene.stranger();
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"vendor":1e2}"#;
    let arguments = r#"{"n":9007199254740993,"e":1e2,"s":"\/\u00e9‍ ","z":1,"a":2}"#;
    let body = format!(
        r#"{{"vendor":true,"jsonrpc":"2.0","id":"\u0041","method":"tools/call","params":{{"name":"echo","arguments":{arguments},{meta}}}}}"#
    );
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "echo")];
    let text = client.send(client.request(Method::POST, &headers, body)).await.text().await;
    assert!(text.contains(&format!(r#""structuredContent":{arguments}"#)), "{text}");
    assert!(text.contains(r#""id":"\u0041""#), "{text}");
    assert_eq!(server.got(meta).len(), 1);
}

#[tokio::test]
async fn a_client_that_hangs_up_has_cancelled() {
    let (scene, server) = scene().await;
    let client = scene.stranger();
    let held = client
        .modern(
            &json!(1),
            "tools/call",
            json!({"name": "steps", "arguments": {"steps": 1, "hold": true}, "_meta": {"progressToken": "p"}}),
        )
        .await;
    assert!(held.is_stream());
    assert!(server.got("notifications/cancelled").is_empty());
    drop(held);
    eventually("the server is told", async || server.got("notifications/cancelled").len() == 1).await;
    let on_wire = server.got("steps").pop().unwrap();
    let id = serde_json::from_str::<Value>(&on_wire).unwrap()["id"].clone();
    assert!(server.got("notifications/cancelled")[0].contains(&format!("\"requestId\":{id}")));
}

#[tokio::test]
async fn what_headers_and_body_disagree_about_never_reaches_the_server() {
    let (scene, server) = scene().await;
    let client = scene.stranger();
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let body = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "echo", "_meta": meta}})
        .to_string();
    let good = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "echo")];
    for at in 0..good.len() {
        for wrong in ["", "other"] {
            let mut headers = good;
            headers[at].1 = wrong;
            let reply = client.send(client.request(Method::POST, &headers, body.clone())).await;
            assert_eq!(reply.status, 400);
            let error = reply.json().await;
            assert_eq!((&error["id"], &error["error"]["code"]), (&json!(5), &json!(-32020)), "{headers:?}");
        }
    }
    assert_eq!(server.opened.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn subscriptions_are_told_apart_and_end_when_the_server_does() {
    let (scene, server) = scene().await;
    let client = scene.stranger();
    let listen = json!({"notifications": {"toolsListChanged": true}});
    let mut streams = Vec::new();
    for id in [json!(7), json!("7")] {
        let mut stream = client.modern(&id, "subscriptions/listen", listen.clone()).await;
        let first = stream.message().await.unwrap();
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], id, "with its type");
        streams.push((id, stream));
    }
    client.modern(&json!(8), "tools/call", call("changed", json!({}))).await.last().await;
    for (id, stream) in &mut streams {
        let told = stream.message().await.unwrap();
        assert_eq!(told["method"], "notifications/tools/list_changed");
        assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], *id);
    }
    let crash = client.modern(&json!(9), "tools/call", call("crash", json!({}))).await;
    assert_eq!(crash.last().await["error"]["code"], -32603, "one error for the call under way");
    for (_, stream) in &mut streams {
        assert_eq!(stream.message().await, None, "no answer: the client opens another one");
    }
    let again = client.modern(&json!(10), "tools/call", call("echo", json!({"a": 1}))).await.last().await;
    assert_eq!(again["result"]["structuredContent"]["a"], 1, "by another process");
    assert_eq!(server.opened.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn errors_of_the_server_have_the_status_of_their_revision() {
    let (scene, _server) = scene().await;
    let client = scene.stranger();
    let unknown = client.modern(&json!(1), "no/such", json!({})).await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json().await["error"]["code"], -32601);
}

#[tokio::test]
async fn a_legacy_client_reaches_a_server_of_the_newest_era_and_is_asked_what_the_server_wants_to_know() {
    let (scene, server) = scene().await;
    server.only_modern.store(true, Ordering::SeqCst);
    scene.proxy.probe(&key("one"), PATIENCE).await.unwrap();
    let client = scene.client().await;
    let mut call = client.begin(&json!(3), "wants", json!({"n": 1})).await;
    let question = call.message().await.unwrap();
    assert_eq!((&question["method"], &question["params"]["message"]), (&json!("elicitation/create"), &json!("who?")));
    client.answer(&question["id"], json!({"action": "accept", "content": {"name": "Ada"}})).await;
    let answer = call.last().await;
    assert_eq!((&answer["id"], &answer["result"]["content"][0]["text"]), (&json!(3), &json!("Ada, with the state")));
    let first = server.got("\"wants\"").remove(0);
    let first: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(first["params"]["_meta"]["io.modelcontextprotocol/clientInfo"]["name"], "test");
    let mut standing = client.listen(&[]).await;
    client.call(&json!(4), "changed", json!({})).await;
    assert_eq!(standing.message().await.unwrap()["method"], "notifications/tools/list_changed");
    assert_eq!(client.close().await, 200);
}

#[tokio::test]
async fn headers_that_middleware_sets_for_a_legacy_client_reach_a_server_of_the_newest_era_with_their_request() {
    let server = HttpServer::new(|seen: &Seen| {
        let message = serde_json::from_str::<Value>(&seen.body).unwrap_or_default();
        let answer = match message["method"].as_str() {
            Some("server/discover") => {
                json!({"result": {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {}}})
            }
            Some("initialize") => {
                json!({"error": {"code": -32022, "message": "not this era", "data": {"supported": ["2026-07-28"]}}})
            }
            _ => json!({"result": {"resultType": "complete", "content": []}}),
        };
        let mut answer = answer;
        (answer["jsonrpc"], answer["id"]) = (json!("2.0"), message["id"].clone());
        let status = if answer["error"].is_null() { 200 } else { 400 };
        HttpServer::reply(status, &[("content-type", "application/json")], answer.to_string())
    })
    .await;
    let injector = Scripted::new("*", &[Phase::Request], |call, notes| {
        let target = call.head.target.as_deref().map(|target| format!(" {target}")).unwrap_or_default();
        let value = format!("{}{target}", call.head.method);
        notes.upstream_headers.push(("x-injected".to_owned(), SecretValue::new(value.as_bytes())));
        Ok(Verdict::Next)
    });
    let scene = Scene::new().await;
    let chain = Chain::new(vec![link("injector", Level::Server, Closed, &injector)]);
    scene.publish("one", Wire::Http, server.clone(), chain);
    scene.proxy.probe(&key("one"), PATIENCE).await.unwrap();
    server.seen.lock().clear();
    let client = scene.client().await;
    client.call(&json!(1), "first", json!({})).await;
    client.call(&json!(2), "second", json!({})).await;
    let seen: Vec<_> = server
        .seen
        .lock()
        .iter()
        .map(|seen| {
            let method = serde_json::from_str::<Value>(&seen.body).unwrap()["method"].as_str().unwrap().to_owned();
            let header = seen.headers.get("x-injected").map(|value| value.to_str().unwrap().to_owned());
            (method, header.unwrap_or_default())
        })
        .collect();
    for (method, header) in
        [("server/discover", "initialize"), ("tools/call", "tools/call first"), ("tools/call", "tools/call second")]
    {
        assert!(seen.contains(&(method.to_owned(), header.to_owned())), "{method}, {header}: {seen:?}");
    }
}
