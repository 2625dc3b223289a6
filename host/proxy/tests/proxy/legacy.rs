//! HTTP+SSE of 2024-11-05, on both sides: to whoever the server is and however it speaks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fairlead_core::chain::{Chain, Level};
use fairlead_core::middleware::{Phase, Verdict};
use fairlead_core::plugin::FailureMode::Closed;
use fairlead_core::server::Isolation;
use fairlead_proxy::Wire;
use http::Method;
use serde_json::{Value, json};

use crate::support::{
    At, Client, FakeServer, LegacyClient, SESSION, SHARED, Scene, Scripted, eventually, link, rejection,
};

const SSE: Wire = Wire::Sse { isolation: Isolation::Session };

/// A server, and a proxy before a proxy before it: the wires between them are those that are tested.
struct Relay {
    near: Scene,
    _far: Scene,
    server: Arc<FakeServer>,
}

impl Relay {
    async fn new(wire: Wire, door: &str) -> Self {
        let (far, server) = Scene::server(SESSION).await;
        let near = Scene::new().await;
        near.publish("one", wire, Arc::new(At(format!("http://{}/s/one/{door}", far.address))), Chain::default());
        Self { near, _far: far, server }
    }
}

fn sse(scene: &Scene) -> String {
    format!("http://{}/s/one/sse", scene.address)
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

/// What every transport has to carry: bytes, progress, a question to the client and its answer, an end.
async fn exercise(scene: &Scene, server: &FakeServer, isolated: bool) {
    let mut client = LegacyClient::connect(&sse(scene)).await;
    let call = r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"echo","arguments":{"n":9007199254740993,"e":1e2}}}"#;
    assert_eq!(client.messages.post(call).await.status, 202);
    let answer = String::from_utf8(client.stream.event().await.unwrap().to_vec()).unwrap();
    assert!(answer.contains(r#""structuredContent":{"n":9007199254740993,"e":1e2}"#), "{answer}");

    let steps = json!({"name": "steps", "arguments": {"steps": 3}, "_meta": {"progressToken": "p"}});
    client.begin(&json!(2), "tools/call", steps).await;
    for step in 1..=3 {
        let event = client.next().await;
        assert_eq!((&event["params"]["progress"], &event["params"]["progressToken"]), (&json!(step), &json!("p")));
    }
    assert_eq!(text(&client.next().await), "done");

    client.begin(&json!(3), "tools/call", json!({"name": "ask", "arguments": {"method": "roots/list"}})).await;
    let question = client.next().await;
    assert_eq!(question["method"], "roots/list", "{question}");
    assert_eq!(client.messages.answer(&question["id"], json!({"roots": []})).await.status, 202);
    assert!(text(&client.next().await).contains("roots"));

    let unknown = client.call(&json!(4), "nothing", json!({})).await;
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    let before = server.closed.load(Ordering::SeqCst);
    drop(client);
    if isolated {
        eventually("the session ends with the stream", async || server.closed.load(Ordering::SeqCst) > before).await;
    }
}

#[tokio::test]
async fn an_old_client_works_with_a_stdio_server() {
    for wire in [SESSION, SHARED] {
        let (scene, server) = Scene::server(wire).await;
        exercise(&scene, &server, wire == SESSION).await;
    }
}

#[tokio::test]
async fn an_old_client_works_with_a_streamable_server() {
    let relay = Relay::new(Wire::Http, "mcp").await;
    exercise(&relay.near, &relay.server, true).await;
}

#[tokio::test]
async fn an_old_client_works_with_an_old_server() {
    let relay = Relay::new(SSE, "sse").await;
    exercise(&relay.near, &relay.server, true).await;
}

#[tokio::test]
async fn a_streamable_client_works_with_an_old_server() {
    let relay = Relay::new(SSE, "sse").await;
    let client = relay.near.client().await;
    let answer = client.begin(&json!(1), "echo", json!({"n": 1})).await.text().await;
    assert!(answer.contains(r#""structuredContent":{"n":1}"#), "{answer}");
    let mut asked = client.begin(&json!(2), "ask", json!({"method": "sampling/createMessage"})).await;
    let question = asked.message().await.unwrap();
    assert_eq!(client.answer(&question["id"], json!({"from": "me"})).await.status, 202);
    assert!(text(&asked.last().await).contains("me"));
    assert_eq!(client.close().await, 200);
    eventually("the session ends", async || relay.server.closed.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn how_a_remote_server_speaks_is_found_out() {
    for (door, version) in [("mcp", "2025-11-25"), ("sse", "2025-11-25")] {
        let relay = Relay::new(Wire::Detect { isolation: Isolation::Session }, door).await;
        let profile = relay.near.proxy.probe(&crate::support::key("one"), crate::support::PATIENCE).await.unwrap();
        assert_eq!((profile.name.as_str(), profile.protocol_version.as_str()), ("fake", version), "{door}");
        let client = relay.near.client().await;
        assert_eq!(text(&client.call(&json!(1), "cancelled", json!({})).await), "", "{door}");
    }
    let scene = Scene::new().await;
    let nowhere = Arc::new(At(format!("http://{}/s/nobody/mcp", scene.address)));
    scene.publish("one", Wire::Detect { isolation: Isolation::Session }, nowhere, Chain::default());
    let error = scene.proxy.probe(&crate::support::key("one"), crate::support::PATIENCE).await.unwrap_err();
    assert!(error.to_string().contains("refused `initialize`"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_client_asks_another_never_hears() {
    const CALLS: u64 = 200;
    let (scene, _server) = Scene::server(SHARED).await;
    let mut clients = tokio::task::JoinSet::new();
    for name in ["a", "b", "c"] {
        let url = sse(&scene);
        clients.spawn(async move {
            let mut client = LegacyClient::connect(&url).await;
            for id in 1..=CALLS {
                // Numbers and texts that look alike are two ids; all clients use the same ones.
                let id = if id % 2 == 0 { json!(id) } else { json!(id.to_string()) };
                let arguments = json!({"from": name, "id": id});
                let answer = client.call(&id, "echo", arguments.clone()).await;
                assert_eq!(answer["result"]["structuredContent"], arguments);
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

#[tokio::test]
async fn an_address_opens_nothing_but_its_own_stream() {
    let (scene, _server) = Scene::server(SESSION).await;
    scene.publish("two", SESSION, FakeServer::new(), Chain::default());
    let client = LegacyClient::connect(&sse(&scene)).await;
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let guess = format!("http://{}/s/one/messages", scene.address);
    for address in [guess.clone(), format!("{guess}?sessionId="), format!("{guess}?sessionId=0000")] {
        assert_eq!(Client::new(&address).post(list).await.status, 404, "{address}");
    }
    let theirs = client.messages.request(Method::POST, &[], "").uri().to_string().replace("/s/one/", "/s/two/");
    assert_eq!(Client::new(&theirs).post(list).await.status, 404);
    // What is no message is refused at once, and does not reach the stream.
    assert_eq!(client.messages.post("{").await.status, 400);
    assert_eq!(client.messages.post(format!("[{list}]")).await.status, 400);
    let plain = client.messages.request(Method::POST, &[("content-type", "text/plain")], list);
    assert_eq!(client.messages.send(plain).await.status, 415);
    let put = client.messages.request(Method::PUT, &[], list);
    assert_eq!(client.messages.send(put).await.status, 405);
    let gone = client.messages.request(Method::POST, &[], list).uri().to_string();
    drop(client);
    eventually("the address is forgotten", async || Client::new(&gone).post(list).await.status == 404).await;
}

#[tokio::test]
async fn a_server_that_came_back_is_initialised_again_behind_the_clients_back() {
    let (scene, server) = Scene::server(SESSION).await;
    let mut client = LegacyClient::connect(&sse(&scene)).await;
    let lost = client.call(&json!(1), "crash", json!({})).await;
    assert_eq!(lost["error"]["code"], -32603, "{lost}");
    let number = client.call(&json!(2), "number", json!({})).await;
    assert_eq!(text(&number), "1", "another process");
    assert_eq!(server.got("\"initialize\"").len(), 2);
}

#[tokio::test]
async fn an_old_server_that_ends_its_stream_ends_the_session() {
    let relay = Relay::new(SSE, "sse").await;
    let client = relay.near.client().await;
    let held = client.begin(&json!(1), "crash", json!({})).await;
    assert!(held.json().await["error"]["code"].is_i64());
}

#[tokio::test]
async fn middleware_sees_and_refuses_what_an_old_client_sends() {
    let guard = Scripted::new("tools/call", &[Phase::Request], |call, _| {
        Ok(if call.head.target.as_deref() == Some("echo") {
            Verdict::Reject(rejection(4030, "not here"))
        } else {
            Verdict::Next
        })
    });
    let scene = Scene::new().await;
    let chain = Chain::new(vec![link("guard", Level::Server, Closed, &guard)]);
    scene.publish("one", SESSION, FakeServer::new(), chain);
    let mut client = LegacyClient::connect(&sse(&scene)).await;
    let refused = client.call(&json!("r"), "echo", json!({})).await;
    assert_eq!((&refused["error"]["code"], &refused["id"]), (&json!(4030), &json!("r")));
    assert_eq!(text(&client.call(&json!(2), "number", json!({})).await), "0");
}
