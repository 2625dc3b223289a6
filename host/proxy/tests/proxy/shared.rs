//! A stdio server that sessions share: nothing of one reaches another.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{SHARED, Scene, eventually, key};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn colliding_ids_find_their_way() {
    let (scene, server) = Scene::server(SHARED).await;
    let mut clients = JoinSet::new();
    for name in 0..4 {
        let client = Arc::new(scene.client().await);
        for lane in 0..8 {
            let client = Arc::clone(&client);
            clients.spawn(async move {
                for call in (lane..400).step_by(8) {
                    let id = if call % 2 == 0 { json!(call / 2) } else { json!((call / 2).to_string()) };
                    let payload = json!({"client": name, "call": call});
                    let answer = client.call(&id, "echo", payload.clone()).await;
                    assert_eq!(answer["id"], id);
                    assert_eq!(answer["result"]["structuredContent"], payload);
                }
            });
        }
    }
    while let Some(lane) = clients.join_next().await {
        lane.unwrap();
    }
    assert_eq!(server.opened.load(Ordering::SeqCst), 1);
    assert_eq!(server.got("\"initialize\"").len(), 1, "the others got the first answer");
    assert_eq!(server.got("notifications/initialized").len(), 1);
}

#[tokio::test]
async fn clients_that_initialise_otherwise_get_another_process() {
    let (scene, server) = Scene::server(SHARED).await;
    let (one, two) = (scene.stranger(), scene.stranger());
    assert_eq!(one.initialize("2025-11-25").await["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(two.initialize("2025-06-18").await["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(server.opened.load(Ordering::SeqCst), 2);
    one.close().await;
    two.close().await;
    eventually("both end with their last session", async || server.closed.load(Ordering::SeqCst) == 2).await;
}

#[tokio::test]
async fn the_only_process_is_everybodys_and_kept_until_it_ends() {
    let (scene, server) = Scene::server(SHARED).await;
    server.sole.store(true, Ordering::SeqCst);
    let (one, two) = (scene.stranger(), scene.stranger());
    one.initialize("2025-11-25").await;
    let said = two.initialize("2025-06-18").await;
    assert_eq!(said["result"]["protocolVersion"], "2025-11-25", "what the process speaks");
    one.close().await;
    two.close().await;
    // Whoever comes with the newest revision is told at once that it speaks another.
    assert_eq!(scene.stranger().modern(&json!(1), "tools/list", json!({})).await.status, 400);
    let three = scene.client().await;
    assert_eq!(three.call(&json!(1), "echo", json!({})).await["id"], 1);
    assert_eq!(server.opened.load(Ordering::SeqCst), 1);
    assert_eq!(server.got("\"initialize\"").len(), 1, "it was initialised once");
    server.end_process(0);
    eventually("its sessions are over", async || scene.proxy.sessions(&key("one")) == Some(0)).await;
    let four = scene.client().await;
    assert_eq!(four.call(&json!(1), "echo", json!({})).await["id"], 1);
    assert_eq!(server.opened.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_process_lives_as_long_as_one_session() {
    let (scene, server) = Scene::server(SHARED).await;
    let (one, two) = (scene.client().await, scene.client().await);
    one.close().await;
    assert_eq!(two.call(&json!(1), "echo", json!({})).await["id"], 1);
    assert_eq!(server.closed.load(Ordering::SeqCst), 0);
    assert_eq!(scene.proxy.sessions(&key("one")), Some(1));
}

#[tokio::test]
async fn progress_with_colliding_tokens_stays_with_its_request() {
    let (scene, server) = Scene::server(SHARED).await;
    let (one, two) = (scene.client().await, scene.client().await);
    let params = |steps: u32| json!({"name": "steps", "arguments": {"steps": steps, "hold": true}, "_meta": {"progressToken": "same"}});
    let mut first = one.ask(&json!(1), "tools/call", params(2)).await;
    let mut second = two.ask(&json!(1), "tools/call", params(3)).await;
    for (reply, steps) in [(&mut first, 2), (&mut second, 3)] {
        for step in 1..=steps {
            let message = reply.message().await.unwrap();
            assert_eq!(message["params"], json!({"progressToken": "same", "progress": step}));
        }
    }
    server.release.notify_waiters();
    for reply in [first, second] {
        assert_eq!(reply.last().await["result"]["content"][0]["text"], "done");
    }
}

#[tokio::test]
async fn list_changes_go_to_all_and_log_messages_only_where_they_must_belong() {
    let (scene, _server) = Scene::server(SHARED).await;
    let (one, two) = (scene.client().await, scene.client().await);
    let mut streams = [one.listen(&[]).await, two.listen(&[]).await];
    let notice = |method: &str| json!({"line": {"jsonrpc": "2.0", "method": method}});
    let mut logged = one.begin(&json!(1), "say", notice("notifications/message")).await;
    assert_eq!(logged.message().await.unwrap()["method"], "notifications/message", "the only request under way");
    one.call(&json!(2), "say", notice("notifications/tools/list_changed")).await;
    for stream in &mut streams {
        assert_eq!(stream.message().await.unwrap()["method"], "notifications/tools/list_changed");
    }
}

#[tokio::test]
async fn a_resource_is_left_only_by_its_last_subscriber() {
    let (scene, server) = Scene::server(SHARED).await;
    let (one, two) = (scene.client().await, scene.client().await);
    let uri = json!({"uri": "file:///x"});
    for client in [&one, &two] {
        client.ask(&json!(1), "resources/subscribe", uri.clone()).await;
    }
    let mut streams = [one.listen(&[]).await, two.listen(&[]).await];
    assert_eq!(one.ask(&json!(2), "resources/unsubscribe", uri.clone()).await.json().await["result"], json!({}));
    assert!(server.got("unsubscribe").is_empty());
    let updated = |uri: &str| json!({"line": {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}}});
    one.call(&json!(3), "say", updated("file:///x")).await;
    one.call(&json!(4), "say", json!({"line": {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}})).await;
    assert_eq!(streams[0].message().await.unwrap()["method"], "notifications/tools/list_changed", "not subscribed");
    assert_eq!(streams[1].message().await.unwrap()["params"], uri);
    two.ask(&json!(5), "resources/unsubscribe", uri).await;
    assert_eq!(server.got("unsubscribe").len(), 1);
}

#[tokio::test]
async fn a_question_reaches_the_only_client_it_can_belong_to_or_is_refused() {
    let (scene, server) = Scene::server(SHARED).await;
    let (one, two) = (scene.client().await, scene.client().await);
    let mut asking = one.begin(&json!(1), "ask", json!({"method": "roots/list"})).await;
    let question = asking.message().await.unwrap();
    // Another client cannot answer what it was not asked.
    two.answer(&question["id"], json!({"from": "two"})).await;
    one.answer(&question["id"], json!({"from": "one"})).await;
    let answer = asking.last().await["result"]["content"][0]["text"].to_string();
    assert!(answer.contains("one") && !answer.contains("two"), "{answer}");

    let two = Arc::new(two);
    let holding = Arc::clone(&two);
    let mut calls = JoinSet::new();
    calls.spawn(async move { holding.call(&json!(1), "hold", json!({})).await });
    eventually("it is under way", async || !server.got("hold").is_empty()).await;
    let refused = one.call(&json!(2), "ask", json!({"method": "roots/list"})).await;
    let text: Value = serde_json::from_str(refused["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text["error"]["code"], -32603, "{text}");
    server.release.notify_waiters();
    calls.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_session_that_leaves_cancels_its_calls_and_no_others() {
    let (scene, server) = Scene::server(SHARED).await;
    let (one, two) = (Arc::new(scene.client().await), scene.client().await);
    let mut calls = JoinSet::new();
    let holding = Arc::clone(&one);
    calls.spawn(async move { holding.call(&json!(1), "hold", json!({})).await });
    eventually("it is under way", async || !server.got("hold").is_empty()).await;
    assert_eq!(one.close().await, 200);
    assert_eq!(calls.join_next().await.unwrap().unwrap()["error"]["code"], -32603);
    eventually("the server hears", async || server.got("notifications/cancelled").len() == 1).await;
    assert_eq!(two.call(&json!(1), "echo", json!({})).await["id"], 1);
}

#[tokio::test]
async fn a_reader_that_is_slow_holds_up_nobody_else() {
    let (scene, _server) = Scene::server(SHARED).await;
    let (slow, other) = (scene.client().await, scene.client().await);
    let params =
        json!({"name": "steps", "arguments": {"steps": 20_000}, "_meta": {"progressToken": "p".repeat(1_000)}});
    let reply = slow.ask(&json!(1), "tools/call", params).await;
    for id in 0..20 {
        other.call(&json!(id), "echo", json!({})).await;
    }
    assert_eq!(reply.last().await["result"]["content"][0]["text"], "done", "the answer is never lost");
}

#[tokio::test]
async fn a_crash_gives_each_call_of_each_session_one_error() {
    let (scene, server) = Scene::server(SHARED).await;
    let clients = [Arc::new(scene.client().await), Arc::new(scene.client().await)];
    let mut calls = JoinSet::new();
    for client in &clients {
        for id in 0..4 {
            let client = Arc::clone(client);
            calls.spawn(async move { (id, client.call(&json!(id), "hold", json!({})).await) });
        }
    }
    eventually("all arrive", async || server.got("hold").len() == 8).await;
    clients[0].call(&json!("c"), "crash", json!({})).await;
    while let Some(call) = calls.join_next().await {
        let (id, answer) = call.unwrap();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(id), &json!(-32603)));
    }
    for client in clients {
        assert_eq!(client.ask(&json!(1), "ping", json!({})).await.status, 404);
    }
    scene.client().await;
    assert_eq!(server.opened.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn clients_whose_process_is_there_do_not_wait_for_one_that_starts() {
    let (scene, server) = Scene::server(SHARED).await;
    let _first = scene.client().await;
    server.stuck.store(true, Ordering::SeqCst);
    let (other, mut starting) = (scene.stranger(), JoinSet::new());
    starting.spawn(async move { other.try_initialize("2025-06-18").await.status });
    eventually("another one starts", async || server.coming.load(Ordering::SeqCst) == 1).await;
    let alike = scene.client().await;
    assert_eq!(alike.call(&json!(1), "echo", json!({})).await["id"], 1);
    assert!(starting.try_join_next().is_none(), "it has not started yet");
    server.release.notify_waiters();
    assert_eq!(starting.join_next().await.unwrap().unwrap(), 200);
}
