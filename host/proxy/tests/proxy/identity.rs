//! Moments without a message, and whose a session is: the same for servers of every kind.

use std::sync::Arc;

use fairlead_core::chain::{Chain, Level};
use fairlead_core::middleware::{Identity, Phase, Verdict, moment};
use fairlead_core::plugin::FailureMode::Closed;
use fairlead_core::secret::SecretValue;
use fairlead_core::workload::Upstream;
use fairlead_proxy::Wire;
use http::Method;
use serde_json::json;

use crate::support::{At, Client, FakeServer, HttpServer, SESSION, Scene, Scripted, Seen, eventually, link, rejection};

/// Believes the header `x-test`: it stands for a token here.
fn believer(method: &str) -> Arc<Scripted> {
    Scripted::new(method, &[Phase::Request], |call, notes| {
        let who = call.origin.headers.get("x-test");
        notes.identity = who.map(|who| Identity { subject: who.to_owned(), claims: Vec::new() });
        Ok(Verdict::Next)
    })
}

fn chain(links: &[(&str, &Arc<Scripted>)]) -> Chain {
    Chain::new(links.iter().map(|(name, middleware)| link(name, Level::Server, Closed, middleware)).collect())
}

/// Both kinds: sessions of ours, and sessions that an HTTP server keeps itself.
async fn both() -> [(Scene, Scene); 2] {
    let mut scenes = Vec::new();
    for wire in [SESSION, Wire::Http] {
        let (far, server) = Scene::server(SESSION).await;
        let near = Scene::new().await;
        let upstream: Arc<dyn Upstream> = match wire {
            Wire::Http => Arc::new(At(far.url("one"))),
            _ => server,
        };
        near.publish("one", wire, upstream, chain(&[("who", &believer("*")), ("when", &believer("fairlead/*"))]));
        scenes.push((near, far));
    }
    scenes.try_into().unwrap_or_else(|_| panic!("two"))
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;

async fn open_as(client: &Client, who: &str) {
    let text = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let reply = client.send(client.request(Method::POST, &[("x-test", who)], text.to_string())).await;
    assert_eq!(reply.status, 200);
    client.set_session(Some(reply.headers["mcp-session-id"].to_str().unwrap()));
    reply.text().await;
}

#[tokio::test]
async fn a_session_is_found_by_whoever_opened_it_and_by_nobody_else() {
    for (scene, _far) in both().await {
        let client = scene.stranger();
        open_as(&client, "alice").await;
        for (who, post, listen) in [("bob", 404, 404), ("", 404, 404), ("alice", 200, 200)] {
            let sent = client.send(client.request(Method::POST, &[("x-test", who)], LIST)).await;
            assert_eq!(sent.status, post, "POST by `{who}`");
            let answer = client.send(client.request(
                Method::POST,
                &[("x-test", who)],
                r#"{"jsonrpc":"2.0","id":9,"result":{}}"#,
            ));
            assert_eq!(answer.await.status, if who == "alice" { 202 } else { 404 }, "an answer by `{who}`");
            let note = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
            let note = client.send(client.request(Method::POST, &[("x-test", who)], note)).await;
            assert_eq!(note.status, if who == "alice" { 202 } else { 404 }, "a notification by `{who}`");
            let heard = client.listen(&[("x-test", who), ("accept", "text/event-stream")]).await;
            assert_eq!(heard.status, listen, "GET by `{who}`");
        }
        let theirs = client.send(client.request(Method::DELETE, &[("x-test", "bob")], "")).await;
        assert_eq!(theirs.status, 404);
        let ours = client.send(client.request(Method::DELETE, &[("x-test", "alice")], "")).await;
        assert_eq!(ours.status, 200);
        let after = client.send(client.request(Method::POST, &[("x-test", "alice")], LIST)).await;
        assert_eq!(after.status, 404);
    }
}

#[tokio::test]
async fn a_session_that_nobody_in_particular_opened_is_held_by_its_id() {
    for (scene, _far) in both().await {
        let client = scene.client().await;
        assert_eq!(client.post(LIST).await.status, 200);
        let named = client.send(client.request(Method::POST, &[("x-test", "bob")], LIST)).await;
        assert_eq!(named.status, 200);
    }
}

fn methods(seen: &Scripted) -> Vec<String> {
    seen.seen.lock().iter().map(|(_, method, ..)| method.clone()).collect()
}

#[tokio::test]
async fn middleware_is_asked_at_every_moment_of_a_session() {
    for wire in [SESSION, Wire::Http] {
        let (far, server) = Scene::server(SESSION).await;
        let scene = Scene::new().await;
        let upstream: Arc<dyn Upstream> = if wire == SESSION { server } else { Arc::new(At(far.url("one"))) };
        let moments = Scripted::new("fairlead/*", &[Phase::Request], |_, _| Ok(Verdict::Next));
        let messages = Scripted::new("*", &[Phase::Request], |_, _| Ok(Verdict::Next));
        scene.publish("one", wire, upstream, chain(&[("moments", &moments), ("messages", &messages)]));
        let client = scene.client().await;
        drop(client.listen(&[("accept", "text/event-stream")]).await);
        assert_eq!(client.answer(&json!(77), json!({})).await.status, 202);
        assert_eq!(client.close().await, 200);
        let expected = [moment::SESSION_OPEN, moment::LISTEN, moment::ANSWER, moment::SESSION_CLOSE];
        assert_eq!(methods(&moments), expected, "{wire:?}");
        let asked = moments.seen.lock().last().cloned().unwrap();
        assert_eq!(asked.3, r#"{"by":"client"}"#);
        assert!(!methods(&messages).iter().any(|method| method.starts_with("fairlead/")), "`*` is what MCP sends");
        let sessions: Vec<_> = moments.calls.lock().iter().map(|(session, _)| session.clone()).collect();
        assert!(sessions.iter().all(|session| session.is_some() && *session == sessions[0]), "{sessions:?}");
    }
}

#[tokio::test]
async fn middleware_hears_of_a_session_that_ended_by_itself_once() {
    let moments = Scripted::new(moment::SESSION_CLOSE, &[Phase::Request], |_, _| Ok(Verdict::Next));
    let scene = Scene::new().await;
    scene.publish("one", SESSION, FakeServer::new(), chain(&[("moments", &moments)]));
    let client = scene.client().await;
    client.call(&json!(1), "crash", json!({})).await;
    eventually("it is told", async || !moments.seen.lock().is_empty()).await;
    assert_eq!(client.post(LIST).await.status, 404);
    assert_eq!(moments.seen.lock().iter().map(|asked| asked.3.as_str()).collect::<Vec<_>>(), [r#"{"by":"host"}"#]);
}

#[tokio::test]
async fn a_session_that_middleware_refuses_is_never_known() {
    for wire in [SESSION, Wire::Http] {
        let (far, server) = Scene::server(SESSION).await;
        let scene = Scene::new().await;
        let upstream: Arc<dyn Upstream> = if wire == SESSION { server.clone() } else { Arc::new(At(far.url("one"))) };
        let full = Scripted::new(moment::SESSION_OPEN, &[Phase::Request], |_, _| {
            Ok(Verdict::Reject(rejection(4031, "no more sessions")))
        });
        scene.publish("one", wire, upstream, chain(&[("full", &full)]));
        let reply = scene.stranger().try_initialize("2025-11-25").await;
        assert!(!reply.headers.contains_key("mcp-session-id"), "{wire:?}");
        assert_eq!(reply.json().await["error"]["code"], 4031, "{wire:?}");
        eventually("the session is given back", async || server.closed.load(std::sync::atomic::Ordering::SeqCst) == 1)
            .await;
    }
}

#[tokio::test]
async fn middleware_puts_headers_on_every_request_to_an_http_server() {
    let server = HttpServer::new(|seen: &Seen| match seen.method {
        Method::GET => HttpServer::reply(405, &[], ""),
        _ if seen.body.contains("\"method\"") => HttpServer::json(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
        _ => HttpServer::reply(202, &[], ""),
    })
    .await;
    let add = |_: &_, notes: &mut fairlead_core::middleware::Notes| {
        let secret = SecretValue::new(b"Bearer hunter2");
        notes.upstream_headers.push(("authorization".to_owned(), secret));
        notes.upstream_headers.push(("x-test".to_owned(), SecretValue::new(b"ours")));
        Ok(Verdict::Next)
    };
    let (messages, moments) =
        (Scripted::new("*", &[Phase::Request], add), Scripted::new("fairlead/*", &[Phase::Request], add));
    let scene = Scene::new().await;
    scene.publish("one", Wire::Http, server.clone(), chain(&[("a", &messages), ("b", &moments)]));
    let client = scene.stranger();
    let theirs = [("x-test", "theirs"), ("authorization", "Bearer of the client")];
    client.send(client.request(Method::POST, &theirs, LIST)).await.text().await;
    client.send(client.request(Method::POST, &theirs, r#"{"jsonrpc":"2.0","id":5,"result":{}}"#)).await;
    client.send(client.request(Method::GET, &theirs, "")).await;
    client.send(client.request(Method::DELETE, &theirs, "")).await;
    let seen = server.seen.lock();
    let methods: Vec<_> = seen.iter().map(|seen| seen.method.as_str()).collect();
    assert_eq!(methods, ["POST", "POST", "GET", "DELETE"]);
    for seen in &*seen {
        assert_eq!(seen.headers["authorization"], "Bearer hunter2", "{}", seen.method);
        assert_eq!(seen.headers.get_all("x-test").iter().collect::<Vec<_>>(), ["ours"], "{}", seen.method);
    }
}
