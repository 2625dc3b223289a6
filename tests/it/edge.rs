//! The edge: what is no MCP message is refused there, with the status that the protocol gives it, and never reaches a
//! server.

use fairlead_tests::{Client, Reply};
use http::Method;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::scene::{SERVER, daemon_with_server};

/// Sends one request and gives status and body.
async fn outcome(reply: Reply) -> (u16, String) {
    let status = reply.status.as_u16();
    (status, String::from_utf8_lossy(&reply.bytes().await.unwrap()).into_owned())
}

/// The JSON-RPC code in a body; 0 when there is none.
fn code(body: &str) -> i64 {
    serde_json::from_str::<Value>(body).ok().and_then(|body| body["error"]["code"].as_i64()).unwrap_or_default()
}

#[tokio::test]
async fn a_body_that_is_no_message_is_refused_with_its_reason() {
    let daemon = daemon_with_server(&[]).await;
    let client = daemon.client(SERVER).await.unwrap();
    for (name, body, status, error) in [
        ("malformed", r#"{"jsonrpc":"2.0","id":1,"#, 400, -32700),
        ("empty", "", 400, -32700),
        ("no JSON at all", "hello", 400, -32700),
        ("two documents", r#"{"jsonrpc":"2.0","id":1,"method":"ping"} {}"#, 400, -32700),
        ("a scalar", "1", 400, -32600),
        ("no version", r#"{"id":1,"method":"ping"}"#, 400, -32600),
        ("another version", r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, 400, -32600),
        ("neither request nor response", r#"{"jsonrpc":"2.0","id":1}"#, 400, -32600),
        ("null as id", r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, 400, -32600),
        ("a fraction as id", r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, 400, -32600),
        ("an object as id", r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, 400, -32600),
        ("a batch", r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, 400, -32600),
        ("an empty batch", "[]", 400, -32600),
    ] {
        let (seen, body) = outcome(client.post(body).await.unwrap()).await;
        assert_eq!((seen, code(&body)), (status, error), "{name}: {body}");
        let message = serde_json::from_str::<Value>(&body).unwrap()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.len() > 10, "{name}: `{message}` tells nobody what is wrong");
    }
    assert_eq!(client.text("echo", json!({})).await.unwrap(), "echo", "the session is unharmed");
}

#[tokio::test]
async fn a_deeply_nested_body_is_refused_and_costs_nothing() {
    let daemon = daemon_with_server(&[]).await;
    let client = daemon.client(SERVER).await.unwrap();
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{deep}}}"#);
    let (status, body) = outcome(client.post(body).await.unwrap()).await;
    assert_eq!(status, 400, "{body}");
    assert_eq!(client.text("echo", json!({})).await.unwrap(), "echo");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let daemon = daemon_with_server(&[]).await;
    let client = daemon.client(SERVER).await.unwrap();
    // Announced only: the refusal must not wait for the bytes.
    let request = client
        .http(Method::POST)
        .header("content-type", "application/json")
        .body(Full::new(vec![b' '; 65 << 20].into()))
        .unwrap();
    let (status, body) = outcome(client.send(request).await.unwrap()).await;
    assert_eq!(status, 413, "{body}");
    assert_eq!(client.text("echo", json!({})).await.unwrap(), "echo");
}

#[tokio::test]
async fn a_session_that_is_unknown_is_404_and_one_that_is_missing_400() {
    let daemon = daemon_with_server(&[]).await;
    let client = daemon.client(SERVER).await.unwrap();
    let session = client.session().unwrap();
    assert!(session.len() >= 22, "a session id has at least 128 bits: {session}");
    assert!(session.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "visible ASCII: {session}");

    client.set_session(Some("no-such-session".into()));
    let (status, body) = outcome(client.request(&json!(1), "tools/list", json!({})).await.unwrap()).await;
    assert_eq!(status, 404, "{body}");
    assert_eq!(client.listen().await.unwrap().status, 404);
    assert_eq!(client.close().await.unwrap(), 404);

    client.set_session(None);
    let (status, body) = outcome(client.request(&json!(1), "tools/list", json!({})).await.unwrap()).await;
    assert_eq!(status, 400, "{body}");
    assert_eq!(client.listen().await.unwrap().status, 400);
    assert_eq!(client.close().await.unwrap(), 400);
}

#[tokio::test]
async fn a_session_of_one_server_is_none_of_another() {
    let daemon = daemon_with_server(&[]).await;
    crate::scene::run_test_server(&daemon.cli().unwrap(), "other", &[], &[]).await;
    let client = daemon.client(SERVER).await.unwrap();
    let stranger = Client::new(&daemon.url("other")).unwrap();
    stranger.set_session(client.session());
    let reply = stranger.request(&json!(1), "tools/list", json!({})).await.unwrap();
    assert_eq!(reply.status, 404);
}

#[tokio::test]
async fn headers_that_the_protocol_forbids_are_refused() {
    let daemon = daemon_with_server(&[]).await;
    let client = daemon.client(SERVER).await.unwrap();
    let session = client.session().unwrap();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let post = |accept: &str, content_type: &str, extra: (&str, &str)| {
        let mut request = http::Request::builder().method(Method::POST).uri(daemon.url(SERVER));
        request = request.header("mcp-session-id", &session);
        for (name, value) in [("accept", accept), ("content-type", content_type), extra] {
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        request.body(Full::from(ping)).unwrap()
    };
    let both = "application/json, text/event-stream";
    for (name, request, status) in [
        ("as it should be", post(both, "application/json", ("", "")), 200),
        ("a charset", post(both, "application/json; charset=utf-8", ("", "")), 200),
        ("JSON only", post("application/json", "application/json", ("", "")), 406),
        ("no text/plain", post(both, "text/plain", ("", "")), 415),
        ("no content type", post(both, "", ("", "")), 415),
        ("an unknown revision", post(both, "application/json", ("mcp-protocol-version", "1999-01-01")), 400),
        ("an origin of this machine", post(both, "application/json", ("origin", "http://localhost:3000")), 200),
        ("an evil origin", post(both, "application/json", ("origin", "https://evil.example")), 403),
        ("the origin null", post(both, "application/json", ("origin", "null")), 403),
    ] {
        let (seen, body) = outcome(client.send(request).await.unwrap()).await;
        assert_eq!(seen, status, "{name}: {body}");
    }
    let rebound = client.http(Method::POST).header("host", "evil.example").header("content-type", "application/json");
    let (status, body) = outcome(client.send(rebound.body(Full::from(ping)).unwrap()).await.unwrap()).await;
    assert!(status == 403 || status == 421, "a name that is rebound to this machine: {status} {body}");
}

#[tokio::test]
async fn another_method_is_refused_and_says_which_there_are() {
    let daemon = daemon_with_server(&[]).await;
    let client = daemon.client(SERVER).await.unwrap();
    let request = client.http(Method::PUT).body(Full::from("{}")).unwrap();
    let reply = client.send(request).await.unwrap();
    assert_eq!(reply.status, 405);
    for method in ["GET", "POST", "DELETE"] {
        assert!(reply.header("allow").contains(method), "allow: {}", reply.header("allow"));
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_404() {
    let daemon = daemon_with_server(&[]).await;
    for url in [daemon.url("nobody"), daemon.tenant_url("nobody", SERVER), format!("http://{}/", daemon.address())] {
        let reply = Client::new(&url).unwrap().request(&json!(1), "ping", json!({})).await.unwrap();
        assert_eq!(reply.status, 404, "{url}");
    }
}

#[tokio::test]
async fn notifications_and_answers_are_accepted_without_a_body() {
    let daemon = daemon_with_server(&[]).await;
    let client = daemon.client(SERVER).await.unwrap();
    client.notify("notifications/roots/list_changed", json!({})).await.unwrap();
    client.answer(&json!("nobody asked"), json!({})).await.unwrap();
    assert_eq!(client.text("echo", json!({})).await.unwrap(), "echo");
}
