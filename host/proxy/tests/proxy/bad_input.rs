//! What is no MCP message is refused at the edge, with the status that the protocol gives it, and never reaches a server.

use std::sync::atomic::Ordering;

use fairlead_core::chain::Chain;
use fairlead_core::workload::Unavailable;
use fairlead_proxy::ProxyConfig;
use http::Method;
use serde_json::json;

use crate::support::{FakeServer, SESSION, Scene};

#[tokio::test]
async fn a_body_that_is_no_message_is_refused_with_its_reason() {
    let (scene, server) = Scene::server(SESSION).await;
    let client = scene.client().await;
    let before = server.lines.lock().len();
    for (body, code) in [
        (r#"{"jsonrpc":"2.0","id":1,"#, -32700),
        ("", -32700),
        ("\u{feff}{}", -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"} {}"#, -32700),
        ("1", -32600),
        (r#"{"id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, -32600),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600),
        ("[]", -32600),
    ] {
        let reply = client.post(body).await;
        assert_eq!(reply.status, 400, "{body}");
        let error = reply.json().await;
        assert_eq!(error["error"]["code"], code, "{body}: {error}");
        assert_eq!(error["jsonrpc"], "2.0");
    }
    let reply = client.post(&b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}"[..]).await;
    assert_eq!((reply.status.as_u16(), reply.json().await["error"]["code"].clone()), (400, json!(-32700)));
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}1{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(client.post(deep).await.status, 400);
    assert_eq!(server.lines.lock().len(), before, "nothing reached the server");
    assert_eq!(client.call(&json!(1), "echo", json!({})).await["id"], 1, "the session is unharmed");
}

#[tokio::test]
async fn headers_that_the_protocol_forbids_are_refused() {
    let (scene, server) = Scene::server(SESSION).await;
    let client = scene.client().await;
    let before = server.lines.lock().len();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for (headers, status) in [
        (&[("content-type", "application/json; charset=utf-8")][..], 200),
        (&[("content-type", "text/plain")], 415),
        (&[("content-type", "")], 415),
        (&[("accept", "application/json")], 406),
        (&[("accept", "")], 406),
        (&[("mcp-protocol-version", "2025-06-18")], 200),
        (&[("mcp-protocol-version", "1999-01-01")], 400),
        (&[("mcp-session-id", "")], 400),
        (&[("mcp-session-id", "unknown")], 404),
        (&[("origin", "http://localhost:3000")], 200),
        (&[("origin", "https://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("host", "evil.example")], 403),
    ] {
        let reply = client.send(client.request(Method::POST, headers, ping)).await;
        assert_eq!(reply.status, status, "{headers:?}");
        if status != 200 {
            assert!(reply.json().await["error"]["message"].is_string(), "{headers:?}");
        }
    }
    assert_eq!(server.lines.lock().len(), before + 3);
    for (method, headers) in [(Method::GET, &[("origin", "null")]), (Method::DELETE, &[("origin", "null")])] {
        assert_eq!(client.send(client.request(method, headers, "")).await.status, 403);
    }
}

#[tokio::test]
async fn another_method_and_another_path_are_refused() {
    let (scene, _server) = Scene::server(SESSION).await;
    let client = scene.client().await;
    for method in [Method::PUT, Method::PATCH, Method::OPTIONS] {
        let reply = client.send(client.request(method, &[], "{}")).await;
        assert_eq!(reply.status, 405);
        assert_eq!(reply.headers["allow"], "GET, POST, DELETE");
    }
    let stranger = crate::support::Client::new(&scene.url("nobody"));
    assert_eq!(stranger.try_initialize("2025-11-25").await.status, 404);
    let health = crate::support::Client::new(&format!("http://{}/health", scene.address));
    assert_eq!(health.listen(&[]).await.json().await, json!({"status": "ok"}));
}

#[tokio::test]
async fn sessions_are_checked_on_every_method() {
    let (scene, _server) = Scene::server(SESSION).await;
    let client = scene.client().await;
    let id = client.session().unwrap();
    assert!(id.len() >= 32 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(client.listen(&[("accept", "application/json")]).await.status, 406);
    for (session, status) in [(None, 400), (Some("unknown"), 404)] {
        client.set_session(session);
        assert_eq!(client.listen(&[]).await.status, status);
        assert_eq!(client.close().await, status);
    }
    scene.publish("two", SESSION, FakeServer::new(), Chain::default());
    let stranger = crate::support::Client::new(&scene.url("two"));
    stranger.set_session(Some(&id));
    assert_eq!(
        stranger.ask(&json!(1), "ping", json!({})).await.status,
        404,
        "an id of one server opens nothing elsewhere"
    );
    client.set_session(Some(&id));
    assert_eq!(client.try_initialize("2025-11-25").await.status, 400, "once is enough");
    assert_eq!(client.close().await, 200);
    assert_eq!(client.close().await, 404);
    assert_eq!(client.ask(&json!(1), "ping", json!({})).await.status, 404);
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused_and_the_client_reads_why() {
    let scene = Scene::with(ProxyConfig { body_bytes_max: 1_000, ..ProxyConfig::default() }).await;
    scene.publish("one", SESSION, FakeServer::new(), Chain::default());
    let client = scene.client().await;
    for size in [1_001, 32 << 20] {
        let reply = client.post(vec![b' '; size]).await;
        assert_eq!(reply.status, 413);
        assert_eq!(reply.json().await["error"]["code"], -32600);
    }
    assert_eq!(client.call(&json!(1), "echo", json!({})).await["id"], 1);
}

#[tokio::test]
async fn a_client_of_the_newest_era_is_told_to_initialize_and_the_server_is_asked_only_once() {
    let (scene, server) = Scene::server(SESSION).await;
    let stranger = scene.stranger();
    for id in ["d", "e"] {
        let discover = stranger.modern(&json!(id), "server/discover", json!({})).await;
        assert_eq!(discover.status, 400);
        let error = discover.json().await;
        assert_eq!((&error["id"], &error["error"]["code"]), (&json!(id), &json!(-32600)));
    }
    assert_eq!(stranger.modern(&json!(1), "tools/list", json!({})).await.status, 400);
    assert_eq!(server.opened.load(Ordering::SeqCst), 1);
    assert!(server.got("tools/list").is_empty());
    scene.client().await;
    assert_eq!(server.opened.load(Ordering::SeqCst), 2, "the process that was asked serves no session");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_says_when_to_come_back() {
    let (scene, server) = Scene::server(SESSION).await;
    let backing_off = Unavailable::BackingOff {
        reason: "exited with status 1".to_owned(),
        retry_after: std::time::Duration::from_millis(2_500),
    };
    *server.unavailable.lock() = Some(backing_off);
    let reply = scene.stranger().try_initialize("2025-11-25").await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.headers["retry-after"], "3");
    assert!(!reply.headers.contains_key("mcp-session-id"));
    let error = reply.json().await;
    assert_eq!(error["error"]["code"], -32603);
    assert_eq!(error["error"]["data"], json!({"kind": "unavailable", "retryAfterMs": 2_500}));
}

#[tokio::test]
async fn sessions_are_bounded() {
    let scene = Scene::with(ProxyConfig { sessions_max: 2, ..ProxyConfig::default() }).await;
    scene.publish("one", SESSION, FakeServer::new(), Chain::default());
    let first = scene.client().await;
    let _second = scene.client().await;
    let refused = scene.stranger().try_initialize("2025-11-25").await;
    assert_eq!(refused.status, 503);
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(first.close().await, 200);
    scene.client().await;
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_use_a_server_and_read_its_session() {
    let config = ProxyConfig { allowed_origins: vec!["https://app.example".to_owned()], ..ProxyConfig::default() };
    let scene = Scene::with(config).await;
    scene.publish("one", SESSION, FakeServer::new(), Chain::default());
    let client = scene.stranger();
    let page = ("origin", "https://app.example");
    let asks = [page, ("access-control-request-method", "POST"), ("access-control-request-headers", "mcp-session-id")];
    let reply = client.send(client.request(Method::OPTIONS, &asks, "")).await;
    assert_eq!(reply.status, 204);
    assert_eq!(reply.headers["access-control-allow-origin"], "https://app.example");
    assert!(reply.headers["access-control-allow-methods"].to_str().unwrap().contains("DELETE"));
    assert!(reply.headers["access-control-allow-headers"].to_str().unwrap().contains("mcp-session-id"));
    let reply = client.send(client.request(Method::POST, &[page], "{")).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.headers["access-control-allow-origin"], "https://app.example", "errors can be read as well");
    assert!(reply.headers["access-control-expose-headers"].to_str().unwrap().contains("mcp-session-id"));
    assert_eq!(reply.headers["vary"], "origin");

    let other = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
    let reply = client.send(client.request(Method::OPTIONS, &other, "")).await;
    assert_eq!(reply.status, 403);
    assert!(!reply.headers.contains_key("access-control-allow-origin"));
    let reply = client.send(client.request(Method::OPTIONS, &[], "")).await;
    assert_eq!((reply.status.as_u16(), reply.headers.contains_key("allow")), (405, true), "nobody asks for a page");
}
