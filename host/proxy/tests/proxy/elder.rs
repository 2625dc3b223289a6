//! Clients of the newest era in front of servers of the legacy era, where somebody asked for that bridge.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fairlead_core::chain::{Chain, Level};
use fairlead_core::middleware::{Phase, Verdict};
use fairlead_core::plugin::FailureMode::Closed;
use fairlead_proxy::{Route, Wire};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{
    Client, FakeServer, HttpServer, PATIENCE, Reply, SESSION, SHARED, Scene, Scripted, Seen, eventually, key, link,
    rejection, route,
};

const META: &str = "io.modelcontextprotocol";

async fn scene(wire: Wire, chain: Chain) -> (Scene, Arc<FakeServer>) {
    let (scene, server) = (Scene::new().await, FakeServer::new());
    scene.proxy.publish(Route { bridge: true, ..route("one", wire, server.clone(), chain) });
    (scene, server)
}

fn call(tool: &str, arguments: Value) -> Value {
    json!({"name": tool, "arguments": arguments})
}

/// The same as [`Client::modern`], from somebody.
async fn from(who: &str, client: &Client, id: u64, mut params: Value) -> Reply {
    params["_meta"][format!("{META}/protocolVersion")] = json!("2026-07-28");
    params["_meta"][format!("{META}/clientCapabilities")] = json!({"elicitation": {}});
    let name = params["name"].as_str().unwrap().to_owned();
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", &name),
        ("authorization", who),
    ];
    let message = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
    client.send(client.request(Method::POST, &headers, message.to_string())).await
}

#[tokio::test]
async fn a_server_introduces_itself_and_what_is_gone_is_gone() {
    let (scene, _server) = scene(SESSION, Chain::default()).await;
    let client = scene.stranger();
    let found = client.modern(&json!("d"), "server/discover", json!({})).await;
    assert_eq!(found.status, 200);
    let found = found.json().await;
    assert_eq!(found["id"], "d");
    assert_eq!(found["result"]["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(found["result"]["_meta"][format!("{META}/serverInfo")]["name"], "fake");
    for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"] {
        let gone = client.modern(&json!(1), method, json!({})).await;
        assert_eq!(gone.status, 404, "{method}");
        assert_eq!(gone.json().await["error"]["code"], -32601, "{method}");
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {
        format!("{META}/protocolVersion"): "2099-01-01", format!("{META}/clientCapabilities"): {}}}});
    let headers = [("mcp-protocol-version", "2099-01-01"), ("mcp-method", "tools/list")];
    let newer = client.send(client.request(Method::POST, &headers, body.to_string())).await;
    assert_eq!(newer.status, 400);
    let newer = newer.json().await;
    assert_eq!(
        (&newer["error"]["code"], &newer["error"]["data"]["supported"][0]),
        (&json!(-32022), &json!("2026-07-28"))
    );
}

#[tokio::test]
async fn without_the_bridge_a_client_is_told_that_the_server_is_older() {
    let (scene, _server) = Scene::server(SESSION).await;
    let reply = scene.stranger().modern(&json!(1), "server/discover", json!({})).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json().await["error"]["code"], -32600);
}

#[tokio::test]
async fn headers_are_held_against_the_body_before_anything_is_opened() {
    let (scene, server) = scene(SESSION, Chain::default()).await;
    let client = scene.stranger();
    client.modern(&json!(0), "server/discover", json!({})).await;
    let before = server.opened.load(Ordering::SeqCst);
    let body = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "echo", "_meta": {
        format!("{META}/protocolVersion"): "2026-07-28", format!("{META}/clientCapabilities"): {}}}});
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "other")];
    let reply = client.send(client.request(Method::POST, &headers, body.to_string())).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json().await["error"]["code"], -32020);
    assert_eq!(server.opened.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn values_pass_byte_for_byte_and_the_session_hears_nothing_that_it_would_not_know() {
    for wire in [SESSION, SHARED] {
        let (scene, server) = scene(wire, Chain::default()).await;
        let client = scene.stranger();
        let arguments = r#"{"n":9007199254740993,"e":1e2,"s":"\/\u00e9","z":1,"a":2}"#;
        let meta = format!(
            r#""_meta":{{"{META}/protocolVersion":"2026-07-28","{META}/clientCapabilities":{{}},"{META}/clientInfo":{{"name":"new","version":"1"}},"vendor":1e2}}"#
        );
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":"\u0041","method":"tools/call","params":{{"name":"echo","arguments":{arguments},{meta}}}}}"#
        );
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "echo")];
        let reply = client.send(client.request(Method::POST, &headers, body)).await;
        assert!(!reply.headers.contains_key("mcp-session-id"), "nothing of the session gets out");
        let text = reply.text().await;
        assert!(text.contains(&format!(r#""structuredContent":{arguments}"#)), "{text}");
        assert!(text.contains(r#""id":"\u0041""#) && text.contains(r#""resultType":"complete""#), "{text}");
        let heard = server.got("9007199254740993").pop().unwrap();
        assert!(heard.contains(r#""_meta":{"vendor":1e2}"#), "{heard}");
        assert!(server.got("\"initialize\"").iter().any(|line| line.contains(r#""name":"new""#)));
    }
}

#[tokio::test]
async fn a_client_keeps_its_session_and_shares_it_with_nobody() {
    let (scene, server) = scene(SESSION, Chain::default()).await;
    let client = scene.stranger();
    let mut seen = Vec::new();
    for (who, id) in [("alice", 1), ("alice", 2), ("bob", 3), ("alice", 4)] {
        let reply = from(who, &client, id, call("number", json!({}))).await.last().await;
        seen.push(reply["result"]["content"][0]["text"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], seen[2]);
    assert_eq!(seen[0], seen[3]);
    let (holding, address) = (Arc::new(scene.stranger()), Arc::new(scene.stranger()));
    let mut held = JoinSet::new();
    for id in 10..12 {
        let client = Arc::clone(&holding);
        held.spawn(async move { from("alice", &client, id, call("hold", json!({}))).await.last().await });
    }
    eventually("both are under way, each in a session of its own", async || server.got("hold").len() == 2).await;
    let apart = from("alice", &address, 1, call("number", json!({}))).await.last().await;
    assert_ne!(apart["result"]["content"][0]["text"], seen[0]);
    server.release.notify_waiters();
    eventually("they are answered", async || {
        server.release.notify_waiters();
        held.try_join_next().is_some() || held.is_empty()
    })
    .await;
}

/// Asks, and gives what the server wants back: the key, and the word to come back with.
async fn asked(reply: Reply, method: &str) -> (String, Value) {
    let wanted = reply.last().await;
    let result = &wanted["result"];
    assert_eq!(result["resultType"], "input_required", "{wanted}");
    let (name, question) = result["inputRequests"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(question["method"], method);
    (name.clone(), result["requestState"].clone())
}

#[tokio::test]
async fn what_a_server_asks_in_the_middle_of_a_call_is_answered_by_the_same_call_of_the_same_client() {
    let (scene, server) = scene(SESSION, Chain::default()).await;
    let client = scene.stranger();
    let ask = call("ask", json!({"method": "elicitation/create"}));
    let (name, state) = asked(from("alice", &client, 1, ask.clone()).await, "elicitation/create").await;
    let mut answered = ask.clone();
    answered["requestState"] = state.clone();
    let mut other = answered.clone();
    other["arguments"]["more"] = json!(1);
    other["inputResponses"] = json!({ &*name: {"action": "accept"} });
    for (who, params) in [("bob", answered.clone()), ("alice", other)] {
        let refused = from(who, &client, 2, params).await.last().await;
        assert_eq!(refused["error"]["code"], -32602, "{who}: {refused}");
    }
    // Who brings no answer is asked again, under another word.
    let (_, again) = asked(from("alice", &client, 3, answered.clone()).await, "elicitation/create").await;
    assert_ne!(again, state);
    answered["requestState"] = again;
    answered["inputResponses"] = json!({ &*name: {"action": "accept", "content": {"name": "Ada"}} });
    let done = from("alice", &client, 4, answered.clone()).await.last().await;
    assert_eq!(done["id"], 4);
    assert!(done["result"]["content"][0]["text"].as_str().unwrap().contains("Ada"), "{done}");
    let stale = from("alice", &client, 5, answered).await.last().await;
    assert_eq!(stale["error"]["code"], -32602, "a word is good once");
    assert_eq!(server.got("\"ask\"").len(), 1, "the server was called once");
}

#[tokio::test]
async fn a_server_may_not_ask_a_client_what_that_cannot_answer() {
    let (scene, _server) = scene(SESSION, Chain::default()).await;
    let client = scene.stranger();
    for (method, told) in [("sampling/createMessage", "-32601"), ("ping", "\"result\":{}")] {
        let reply = from("alice", &client, 1, call("ask", json!({"method": method}))).await.last().await;
        assert!(reply["result"]["content"][0]["text"].as_str().unwrap().contains(told), "{method}: {reply}");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_has_cancelled() {
    let (scene, server) = scene(SESSION, Chain::default()).await;
    let client = scene.stranger();
    let arguments = json!({"steps": 1, "hold": true});
    let mut held =
        from("alice", &client, 1, json!({"name": "steps", "arguments": arguments, "_meta": {"progressToken": "p"}}))
            .await;
    let told = held.message().await.unwrap();
    assert_eq!((&told["method"], &told["params"]["progressToken"]), (&json!("notifications/progress"), &json!("p")));
    assert!(server.got("notifications/cancelled").is_empty());
    drop(held);
    eventually("the server is told", async || server.got("notifications/cancelled").len() == 1).await;
    eventually("the session is not used again", async || server.closed.load(Ordering::SeqCst) > 0).await;
}

#[tokio::test]
async fn a_subscription_hears_what_it_wants_under_its_own_name() {
    let (scene, _server) = scene(SHARED, Chain::default()).await;
    let client = scene.stranger();
    let listen = json!({"notifications": {"toolsListChanged": true, "promptsListChanged": true}});
    let mut stream = client.modern(&json!("7"), "subscriptions/listen", listen).await;
    let first = stream.message().await.unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(first["params"]["notifications"], json!({"toolsListChanged": true}), "what the server tells");
    let line = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    client.modern(&json!(8), "tools/call", call("say", json!({"line": line}))).await.last().await;
    let told = stream.message().await.unwrap();
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert_eq!(told["params"]["_meta"][format!("{META}/subscriptionId")], "7");
    scene.stop.cancel();
    let end = stream.message().await.unwrap();
    assert_eq!((&end["id"], &end["result"]["resultType"]), (&json!("7"), &json!("complete")));
}

#[tokio::test]
async fn a_session_that_has_ended_is_replaced_without_the_client_knowing() {
    let (scene, server) = scene(SESSION, Chain::default()).await;
    let client = scene.stranger();
    let crash = from("alice", &client, 1, call("crash", json!({}))).await.last().await;
    assert_eq!(crash["error"]["code"], -32603);
    let good = from("alice", &client, 2, call("echo", json!({"a": 1}))).await.last().await;
    assert_eq!(good["result"]["structuredContent"]["a"], 1);
    assert!(server.got("crash").len() == 1, "what may have had an effect is not sent again");
}

#[tokio::test]
async fn middleware_sees_each_message_once_and_its_rejections_have_their_status() {
    let guard = Scripted::new("tools/call", &[Phase::Request], |call, _| {
        Ok(match call.head.target.as_deref() {
            Some("number") => Verdict::Reject(rejection(4030, "no")),
            _ => Verdict::Next,
        })
    });
    let chain = Chain::new(vec![link("guard", Level::Server, Closed, &guard)]);
    let (scene, server) = scene(SESSION, chain).await;
    let client = scene.stranger();
    from("alice", &client, 1, call("echo", json!({}))).await.last().await;
    let refused = from("alice", &client, 2, call("number", json!({}))).await;
    assert_eq!(refused.status, 200);
    assert_eq!(refused.json().await["error"]["code"], 4030);
    assert_eq!(guard.seen.lock().len(), 2);
    assert!(server.got("\"number\"").is_empty());
}

#[tokio::test]
async fn an_http_server_of_the_legacy_era_is_reached_as_well() {
    let server = HttpServer::new(|seen: &Seen| {
        let json = ("content-type", "application/json");
        let session = seen.headers.get("mcp-session-id").is_some_and(|id| id == "theirs");
        if seen.body.contains("\"initialize\"") {
            let answer = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"h","version":"1"}}}"#;
            let answer = answer.replace("\"id\":0", if seen.body.contains("\"id\":0") { "\"id\":0" } else { "\"id\":\"fairlead-probe\"" });
            return HttpServer::reply(200, &[json, ("mcp-session-id", "theirs")], answer);
        }
        match (session, seen.body.as_str()) {
            (true, body) if body.contains("notifications/") => HttpServer::reply(202, &[], ""),
            (true, body) if body.contains("tools/call") => {
                assert_eq!(seen.headers["mcp-protocol-version"], "2025-06-18");
                assert!(!seen.headers.contains_key("mcp-name"));
                HttpServer::json(r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#)
            }
            _ => HttpServer::reply(400, &[json], r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}"#),
        }
    })
    .await;
    let scene = Scene::new().await;
    scene.proxy.publish(Route { bridge: true, ..route("one", Wire::Http, server.clone(), Chain::default()) });
    scene.proxy.probe(&key("one"), PATIENCE).await.unwrap();
    let answer = from("alice", &scene.stranger(), 9, call("t", json!({}))).await.last().await;
    assert_eq!((&answer["id"], &answer["result"]["resultType"]), (&json!(9), &json!("complete")));
}

#[tokio::test]
async fn a_call_that_waits_for_its_client_is_finished_by_the_revision_that_began_it() {
    let (scene, old) = scene(SESSION, Chain::default()).await;
    let client = scene.stranger();
    let ask = call("ask", json!({"method": "elicitation/create"}));
    let (name, state) = asked(from("alice", &client, 1, ask.clone()).await, "elicitation/create").await;
    let new = FakeServer::new();
    let next = Route { bridge: true, ..route("one", SESSION, new.clone(), Chain::default()) };
    let _retiring = scene.proxy.succeed(&key("one"), next).unwrap();
    let mut answered = ask;
    answered["requestState"] = state;
    answered["inputResponses"] = json!({ &*name: {"content": {"name": "Ada"}} });
    let done = from("alice", &client, 2, answered).await.last().await;
    assert!(done["result"]["content"][0]["text"].as_str().unwrap().contains("Ada"), "{done}");
    from("alice", &client, 3, call("echo", json!({"who": "late"}))).await.last().await;
    assert_eq!((old.got("late").len(), new.got("late").len()), (0, 1));
}

#[tokio::test]
async fn a_client_that_hangs_up_before_it_has_heard_anything_has_cancelled_as_well() {
    // A server of this revision is answered with JSON, so nothing goes to the client before the answer.
    for wire in [SESSION, SHARED] {
        let (scene, server) = scene(wire, Chain::default()).await;
        *server.speaks.lock() = Some("2025-06-18");
        let (client, mut held) = (scene.stranger(), JoinSet::new());
        held.spawn(async move { from("alice", &client, 1, call("hold", json!({}))).await.last().await });
        eventually("it is under way", async || server.got("hold").len() == 1).await;
        held.abort_all();
        eventually("the server is told", async || !server.got("notifications/cancelled").is_empty()).await;
        eventually("the session is not used again", async || scene.proxy.sessions(&key("one")) == Some(0)).await;
    }
}

#[tokio::test]
async fn sessions_that_are_kept_for_the_next_request_hold_up_no_revision() {
    let (scene, old) = scene(SESSION, Chain::default()).await;
    let client = scene.stranger();
    from("alice", &client, 1, call("echo", json!({}))).await.last().await;
    assert_eq!(scene.proxy.sessions(&key("one")), Some(1), "it is kept");
    let new = FakeServer::new();
    let next = Route { bridge: true, ..route("one", SESSION, new.clone(), Chain::default()) };
    let retiring = scene.proxy.succeed(&key("one"), next).unwrap();
    timeout(PATIENCE, retiring.drained(PATIENCE * 10)).await.expect("nobody uses it");
    eventually("its processes end", async || old.closed.load(Ordering::SeqCst) == old.opened.load(Ordering::SeqCst))
        .await;
    from("alice", &client, 2, call("echo", json!({"who": "late"}))).await.last().await;
    assert_eq!((old.got("late").len(), new.got("late").len()), (0, 1));
}
