//! A stdio server with a process for each session: bytes as they are, and everything in its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fairlead_core::BoxFuture;
use fairlead_core::chain::Chain;
use fairlead_core::workload::{StdioConnection, Unavailable, Upstream};
use fairlead_proxy::{ProbeError, ProxyConfig};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::support::{FakeServer, PATIENCE, SESSION, SHARED, Scene, eventually, key};

#[tokio::test]
async fn bytes_pass_unchanged_both_ways() {
    let arguments = "{ \"n\":[9007199254740993,18446744073709551615,1e2,1.0,-0],\"s\":\"\\/\\u00e9é\u{200d}\u{2028}\u{feff}\",\"z\":1,\"a\":2,\"a\":3 }";
    for wire in [SESSION, SHARED] {
        let (scene, server) = Scene::server(wire).await;
        let client = scene.client().await;
        let body = format!(
            r#"{{"vendor":true,"jsonrpc":"2.0","id":"\u0041/|\"","method":"tools/call","params":{{"extra":[],"name":"echo","arguments":{arguments}}}}}"#
        );
        let text = client.post(body.clone()).await.text().await;
        assert!(text.contains(&format!("\"structuredContent\":{arguments}}}")), "{text}");
        assert!(text.contains(r#""id":"\u0041/|\"""#), "{text}");
        assert!(server.got("vendor")[0].contains(arguments));
        let plain = r#"{"jsonrpc":"2.0","id":1,"x":1e2,"method":"ping"}"#;
        client.post(plain).await;
        assert_eq!(server.got(plain).len(), usize::from(wire == SESSION));
    }
}

#[tokio::test]
async fn a_message_of_several_lines_reaches_the_server_on_one() {
    let (scene, server) = Scene::server(SESSION).await;
    let client = scene.client().await;
    let pretty = "{\n  \"jsonrpc\": \"2.0\",\r\n  \"id\": 1,\n  \"method\": \"ping\"\n}\n";
    assert_eq!(client.post(pretty).await.json().await["id"], 1);
    assert_eq!(server.got("ping").len(), 1);
}

#[tokio::test]
async fn ids_come_back_as_they_were_written() {
    for wire in [SESSION, SHARED] {
        let (scene, _server) = Scene::server(wire).await;
        let client = scene.client().await;
        for id in ["0", "-1", "5", "\"5\"", "\"\"", "\"a\\u00e9\"", "9007199254740993", "18446744073709551615", "-0"] {
            let text = client.post(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#)).await.text().await;
            assert!(text.contains(&format!("\"id\":{id}}}")), "{id}: {text}");
        }
    }
}

#[tokio::test]
async fn each_session_has_a_process_that_ends_with_it() {
    let (scene, server) = Scene::server(SESSION).await;
    let (one, two) = (scene.client().await, scene.client().await);
    assert_eq!(one.call(&json!(1), "number", json!({})).await["result"]["content"][0]["text"], "0");
    assert_eq!(two.call(&json!(1), "number", json!({})).await["result"]["content"][0]["text"], "1");
    assert_eq!(scene.proxy.sessions(&key("one")), Some(2));
    assert_eq!(one.close().await, 200);
    eventually("the process ends", async || server.closed.load(Ordering::SeqCst) == 1).await;
    assert_eq!(two.call(&json!(1), "echo", json!({})).await["id"], 1);
}

#[tokio::test]
async fn a_refused_initialize_leaves_nothing_behind() {
    let (scene, server) = Scene::server(SESSION).await;
    let reply = scene.stranger().try_initialize("0000-00-00").await;
    assert_eq!(reply.status, 200);
    assert!(!reply.headers.contains_key("mcp-session-id"));
    assert_eq!(reply.json().await["error"]["code"], -32602);
    eventually("the process ends", async || server.closed.load(Ordering::SeqCst) == 1).await;
    assert_eq!(scene.proxy.sessions(&key("one")), Some(0));
}

#[tokio::test]
async fn progress_comes_in_order_before_the_result_under_the_token_that_was_given() {
    for wire in [SESSION, SHARED] {
        let (scene, _server) = Scene::server(wire).await;
        let client = scene.client().await;
        for token in ["\"t\"", "7", "\"\\u00e9\"", "9007199254740993"] {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{{"name":"steps","arguments":{{"steps":40}},"_meta":{{"progressToken":{token}}}}}}}"#
            );
            let mut reply = client.post(body).await;
            assert!(reply.is_stream());
            assert_eq!(reply.headers["x-accel-buffering"], "no");
            let first = String::from_utf8(reply.event().await.unwrap().to_vec()).unwrap();
            assert!(first.ends_with("data: \n\n"), "an id to come back with, before any message: {first}");
            for step in 1..=40 {
                let event = String::from_utf8(reply.event().await.unwrap().to_vec()).unwrap();
                assert!(event.contains(&format!("\"progressToken\":{token},\"progress\":{step}}}")), "{event}");
            }
            let last = reply.message().await.unwrap();
            assert_eq!((&last["id"], &last["result"]["content"][0]["text"]), (&json!("a"), &json!("done")));
            assert!(reply.message().await.is_none(), "the stream ends with the answer");
        }
    }
}

#[tokio::test]
async fn a_question_of_the_server_goes_to_the_request_it_serves_and_its_answer_back() {
    let (scene, _server) = Scene::server(SESSION).await;
    let (one, two) = (scene.client().await, scene.client().await);
    for method in ["sampling/createMessage", "elicitation/create", "roots/list", "ping"] {
        let mut first = one.begin(&json!(1), "ask", json!({"method": method})).await;
        let mut second = two.begin(&json!(1), "ask", json!({"method": method})).await;
        let (for_one, for_two) = (first.message().await.unwrap(), second.message().await.unwrap());
        assert_eq!((&for_one["method"], &for_two["method"]), (&json!(method), &json!(method)));
        assert_eq!(two.answer(&for_two["id"], json!({"from": "two"})).await.status, 202);
        assert_eq!(one.answer(&for_one["id"], json!({"from": "one"})).await.status, 202);
        for (reply, name) in [(first, "one"), (second, "two")] {
            let answer = reply.last().await["result"]["content"][0]["text"].to_string();
            assert!(answer.contains(name), "{method}: {answer}");
        }
    }
}

#[tokio::test]
async fn what_a_server_asks_between_requests_waits_for_the_standing_stream() {
    let (scene, server) = Scene::server(SESSION).await;
    let client = scene.client().await;
    client.call(&json!(1), "ask later", json!({"method": "roots/list"})).await;
    let mut stream = client.listen(&[]).await;
    let question = stream.message().await.unwrap();
    assert_eq!(question["method"], "roots/list");
    client.answer(&question["id"], json!({"roots": []})).await;
    assert_eq!(stream.message().await.unwrap()["method"], "notifications/heard");
    assert_eq!(client.listen(&[]).await.status, 409, "a session has one stream");
    drop(stream);
    eventually("the place is free", async || client.listen(&[]).await.status == 200).await;
    // Nobody listens and nothing is under way: the proxy itself shows that the client lives.
    client.call(&json!(2), "ask later", json!({"method": "ping"})).await;
    eventually("a pong", async || !server.got(r#""id":1,"result":{}"#).is_empty()).await;
}

#[tokio::test]
async fn list_changes_go_to_the_standing_stream_of_their_session_alone() {
    let (scene, _server) = Scene::server(SESSION).await;
    let (one, two) = (scene.client().await, scene.client().await);
    let changed = |who: &str| json!({"line": {"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"who": who}}});
    let said = one.begin(&json!(1), "say", changed("one")).await;
    assert!(!said.is_stream(), "it belongs to no request");
    two.call(&json!(1), "say", changed("two")).await;
    for (client, who) in [(&one, "one"), (&two, "two")] {
        let mut stream = client.listen(&[]).await;
        assert_eq!(stream.message().await.unwrap()["params"]["who"], who);
    }
}

#[tokio::test]
async fn a_cancellation_reaches_the_server_and_ends_the_request() {
    for wire in [SESSION, SHARED] {
        let (scene, server) = Scene::server(wire).await;
        let client = Arc::new(scene.client().await);
        let mut calls = JoinSet::new();
        let waiting = Arc::clone(&client);
        calls.spawn(async move { waiting.begin(&json!("x"), "hold", json!({})).await.text().await });
        eventually("the call arrives", async || !server.got("hold").is_empty()).await;
        let unknown = client.notify("notifications/cancelled", json!({"requestId": 77})).await;
        assert_eq!(unknown.status, 202);
        assert_eq!(client.notify("notifications/cancelled", json!({"requestId": "x"})).await.status, 202);
        let on_wire: Value = serde_json::from_str(&server.got("hold")[0]).unwrap();
        let seen = client.call(&json!(2), "cancelled", json!({})).await;
        assert_eq!(seen["result"]["content"][0]["text"], on_wire["id"].to_string());
        let text = calls.join_next().await.unwrap().unwrap();
        assert!(!text.contains("jsonrpc"), "a stream without an answer");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_has_cancelled_nothing_and_may_come_back_for_the_rest() {
    let (scene, server) = Scene::server(SESSION).await;
    let client = scene.client().await;
    let params = json!({"name": "steps", "arguments": {"steps": 3, "hold": true}, "_meta": {"progressToken": 1}});
    let mut reply = client.ask(&json!(1), "tools/call", params).await;
    let event = String::from_utf8(reply.event().await.unwrap().to_vec()).unwrap();
    let id = event.strip_prefix("id: ").unwrap().lines().next().unwrap().to_owned();
    drop(reply);
    server.release.notify_one();
    let mut resumed = client.listen(&[("last-event-id", &id)]).await;
    assert_eq!(resumed.status, 200);
    for step in [1, 2, 3] {
        assert_eq!(resumed.message().await.unwrap()["params"]["progress"], step);
    }
    assert_eq!(resumed.message().await.unwrap()["result"]["content"][0]["text"], "done");
    assert!(resumed.message().await.is_none());
    assert!(server.got("notifications/cancelled").is_empty());
    for bad in ["", "x", "99-0", "1-99", "0-0"] {
        if !bad.is_empty() {
            assert_eq!(client.listen(&[("last-event-id", bad)]).await.status, 400, "{bad}");
        }
    }
}

#[tokio::test]
async fn a_crash_gives_each_call_under_way_one_error_and_ends_the_session() {
    let (scene, server) = Scene::server(SESSION).await;
    let client = Arc::new(scene.client().await);
    let bystander = scene.client().await;
    let mut calls = JoinSet::new();
    for call in 0..8 {
        let client = Arc::clone(&client);
        calls.spawn(async move { (call, client.call(&json!(call), "hold", json!({})).await) });
    }
    eventually("all arrive", async || server.got("hold").len() == 8).await;
    let crash = client.call(&json!("c"), "crash", json!({})).await;
    assert_eq!((&crash["id"], &crash["error"]["code"]), (&json!("c"), &json!(-32603)));
    while let Some(call) = calls.join_next().await {
        let (id, answer) = call.unwrap();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(id), &json!(-32603)));
        assert_eq!(answer["error"]["data"]["kind"], "upstream");
    }
    assert_eq!(client.ask(&json!(1), "ping", json!({})).await.status, 404);
    assert_eq!(bystander.call(&json!(1), "echo", json!({})).await["id"], 1);
}

#[tokio::test]
async fn ten_megabytes_pass_both_ways() {
    let (scene, _server) = Scene::server(SESSION).await;
    let client = scene.client().await;
    let big = "é".repeat(5 << 20);
    let answer = client.call(&json!(1), "echo", json!({"big": big})).await;
    assert!(answer["result"]["structuredContent"]["big"] == big.as_str());
    let answer = client.call(&json!(2), "big", json!({"bytes": 10 << 20})).await;
    assert_eq!(answer["result"]["content"][0]["text"].as_str().unwrap().len(), 10 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_calls_at_once_never_wedge_the_pipe() {
    let (scene, _server) = Scene::server(SESSION).await;
    let client = Arc::new(scene.client().await);
    let mut calls = JoinSet::new();
    for id in 0..32 {
        let client = Arc::clone(&client);
        calls.spawn(async move {
            let text = id.to_string().repeat(100_000);
            let answer = client.call(&json!(id), "echo", json!({"text": text})).await;
            assert_eq!(answer["id"], id);
            assert!(answer["result"]["structuredContent"]["text"] == text.as_str());
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
}

#[tokio::test]
async fn an_answer_beyond_the_bound_is_one_error_and_the_process_lives_on() {
    let scene = Scene::with(ProxyConfig { line_bytes_max: 10_000, ..ProxyConfig::default() }).await;
    scene.publish("one", SESSION, FakeServer::new(), Chain::default());
    let client = scene.client().await;
    let answer = client.call(&json!("b"), "big", json!({"bytes": 100_000})).await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("b"), &json!(-32603)));
    assert_eq!(client.call(&json!(2), "number", json!({})).await["result"]["content"][0]["text"], "0");
}

#[tokio::test]
async fn a_reader_that_is_slow_gets_everything_at_its_pace() {
    let (scene, _server) = Scene::server(SESSION).await;
    let (slow, other) = (scene.client().await, scene.client().await);
    let params = json!({"name": "steps", "arguments": {"steps": 5_000}, "_meta": {"progressToken": "p".repeat(200)}});
    let mut reply = slow.ask(&json!(1), "tools/call", params).await;
    assert_eq!(reply.message().await.unwrap()["params"]["progress"], 1);
    // The server is held up by now; another session is not.
    for id in 0..50 {
        other.call(&json!(id), "echo", json!({})).await;
    }
    for step in 2..=5_000 {
        assert_eq!(reply.message().await.unwrap()["params"]["progress"], step);
    }
    assert_eq!(reply.message().await.unwrap()["id"], 1);
}

#[tokio::test]
async fn a_batch_is_answered_in_the_one_revision_that_has_batches() {
    let (scene, server) = Scene::server(SESSION).await;
    let client = scene.stranger();
    client.initialize("2025-03-26").await;
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"n": 1}}},
        {"jsonrpc": "2.0", "method": "notifications/x"},
        {"jsonrpc": "2.0", "id": "1", "method": "tools/call", "params": {"name": "echo", "arguments": {"n": 2}}},
    ]);
    let mut reply = client.post(batch.to_string()).await;
    let mut answers = Vec::new();
    while let Some(message) = reply.message().await {
        answers.push((message["id"].clone(), message["result"]["structuredContent"]["n"].clone()));
    }
    answers.sort_by_key(|(_, n)| n.as_u64());
    assert_eq!(answers, [(json!(1), json!(1)), (json!("1"), json!(2))]);
    assert_eq!(server.got("notifications/x").len(), 1);
    let notifications = json!([{"jsonrpc": "2.0", "method": "notifications/y"}]);
    let accepted = client.post(notifications.to_string()).await;
    assert_eq!((accepted.status.as_u16(), accepted.body.collect().await.unwrap().to_bytes()), (202, Bytes::new()));
}

#[tokio::test]
async fn an_id_is_used_by_one_request_at_a_time() {
    let (scene, server) = Scene::server(SESSION).await;
    let client = Arc::new(scene.client().await);
    let mut calls = JoinSet::new();
    let holding = Arc::clone(&client);
    calls.spawn(async move { holding.call(&json!(7), "hold", json!({})).await });
    eventually("the call arrives", async || !server.got("hold").is_empty()).await;
    assert_eq!(client.call(&json!(7), "echo", json!({})).await["error"]["code"], -32600);
    assert_eq!(client.call(&json!("7"), "echo", json!({})).await["id"], "7");
    server.release.notify_one();
    assert_eq!(calls.join_next().await.unwrap().unwrap()["result"]["content"][0]["text"], "released");
}

#[tokio::test]
async fn a_request_without_any_sign_ends_with_an_error_and_is_cancelled() {
    let idle = Duration::from_millis(50);
    let scene = Scene::with(ProxyConfig { request_idle_max: idle, ..ProxyConfig::default() }).await;
    let server = FakeServer::new();
    scene.publish("one", SESSION, server.clone(), Chain::default());
    let client = scene.client().await;
    assert_eq!(client.call(&json!(1), "hold", json!({})).await["error"]["code"], -32603);
    eventually("the server hears of it", async || !server.got("notifications/cancelled").is_empty()).await;
}

#[tokio::test]
async fn a_probe_learns_who_a_server_is_and_leaves() {
    let (scene, server) = Scene::server(SESSION).await;
    let profile = scene.proxy.probe(&key("one"), PATIENCE).await.unwrap();
    assert_eq!((profile.name.as_str(), profile.protocol_version.as_str()), ("fake", "2025-11-25"));
    assert_eq!(profile.capabilities, ["logging", "tools"]);
    eventually("the process ends", async || server.closed.load(Ordering::SeqCst) == 1).await;
    eventually("it was told", async || server.got("notifications/initialized").len() == 1).await;
    assert!(matches!(scene.proxy.probe(&key("two"), PATIENCE).await, Err(ProbeError::Unknown)));
}

#[tokio::test]
async fn the_next_session_finds_a_process_that_has_been_started_for_it() {
    let (scene, server) = Scene::server(SESSION).await;
    let _one = scene.client().await;
    assert_eq!(server.opened.load(Ordering::SeqCst), 1, "a single client costs a single process");
    let two = scene.client().await;
    eventually("one more is started for the third", async || server.opened.load(Ordering::SeqCst) == 3).await;
    assert_eq!(two.call(&json!(1), "number", json!({})).await["result"]["content"][0]["text"], "1");
    let three = scene.client().await;
    assert_eq!(three.call(&json!(1), "number", json!({})).await["result"]["content"][0]["text"], "2");
    eventually("and one for the fourth", async || server.opened.load(Ordering::SeqCst) == 4).await;
    assert_eq!(scene.proxy.sessions(&key("one")), Some(3), "it is nobody's session");
    assert!(scene.proxy.withdraw(&key("one")));
    eventually("it ends with its server", async || server.closed.load(Ordering::SeqCst) == 4).await;
}

#[tokio::test]
async fn where_nothing_is_started_ahead_each_session_starts_its_own() {
    let scene = Scene::with(ProxyConfig { spare_keep: Duration::ZERO, ..ProxyConfig::default() }).await;
    let server = FakeServer::new();
    scene.publish("one", SESSION, server.clone(), Chain::default());
    let clients = [scene.client().await, scene.client().await, scene.client().await];
    for client in &clients {
        assert_eq!(client.call(&json!(1), "echo", json!({})).await["id"], 1);
    }
    assert_eq!(server.opened.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_process_that_ended_while_it_waited_is_nobodys() {
    let (scene, server) = Scene::server(SESSION).await;
    let _before = (scene.client().await, scene.client().await);
    eventually("one waits", async || server.opened.load(Ordering::SeqCst) == 3).await;
    server.end_process(2);
    eventually("it has ended", async || server.closed.load(Ordering::SeqCst) == 1).await;
    let next = scene.client().await;
    assert_eq!(next.call(&json!(1), "number", json!({})).await["result"]["content"][0]["text"], "3");
}

/// Has three places; who takes the third waits for its turn.
struct ThreePlaces {
    server: Arc<FakeServer>,
    asked: AtomicUsize,
    turn: Notify,
}

impl Upstream for ThreePlaces {
    fn open_stdio(&self) -> BoxFuture<'_, Result<StdioConnection, Unavailable>> {
        Box::pin(async {
            match self.asked.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => {}
                2 => self.turn.notified().await,
                _ => return Err(Unavailable::SessionLimit(3)),
            }
            self.server.open_stdio().await
        })
    }

    fn http_endpoint(&self) -> BoxFuture<'_, Result<String, Unavailable>> {
        self.server.http_endpoint()
    }
}

#[tokio::test]
async fn the_last_place_is_for_a_session_though_the_process_of_the_next_one_has_it() {
    let scene = Scene::new().await;
    let places = Arc::new(ThreePlaces { server: FakeServer::new(), asked: AtomicUsize::new(0), turn: Notify::new() });
    scene.publish("one", SESSION, places.clone(), Chain::default());
    let _before = (scene.client().await, scene.client().await);
    eventually("one more is being started", async || places.asked.load(Ordering::SeqCst) == 3).await;
    let (third, ()) = tokio::join!(scene.client(), async {
        eventually("the third finds no place", async || places.asked.load(Ordering::SeqCst) == 4).await;
        places.turn.notify_one();
    });
    assert_eq!(third.call(&json!(1), "number", json!({})).await["result"]["content"][0]["text"], "2");
}
