//! An HTTP server behind the proxy: everything is mirrored, and what middleware wants to see it sees.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fairlead_core::chain::{Chain, Level};
use fairlead_core::middleware::{PatchOperation, Phase, Rejection, Verdict};
use fairlead_core::plugin::FailureMode::Closed;
use fairlead_proxy::Wire;
use http::Method;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc;

use crate::support::{HttpServer, PATIENCE, Scene, Scripted, Seen, eventually, key, link, rejection};

const ANSWER: &str = r#"{"result":{"n":9007199254740993},"id":1,"jsonrpc":"2.0", "vendor":1e2}"#;
const CALL: &str = r#"{"jsonrpc":"2.0", "id":1,"method":"tools/call","params":{"name":"t","arguments":{"n":1e2}}}"#;

async fn scene(server: &Arc<HttpServer>, links: Vec<(&str, &Arc<Scripted>)>) -> Scene {
    let scene = Scene::new().await;
    let links = links.into_iter().map(|(name, middleware)| link(name, Level::Server, Closed, middleware)).collect();
    scene.publish("one", Wire::Http, server.clone(), Chain::new(links));
    scene
}

fn patch(pointer: &str, value: &str) -> Verdict {
    Verdict::Patch(vec![PatchOperation { pointer: pointer.to_owned(), value: Some(value.to_owned()) }])
}

#[tokio::test]
async fn status_headers_and_bytes_are_mirrored() {
    let server = HttpServer::new(|seen: &Seen| match seen.method {
        Method::GET => HttpServer::reply(405, &[("allow", "POST")], "no stream here"),
        Method::DELETE => HttpServer::reply(204, &[], ""),
        _ if seen.body.contains("unknown") => HttpServer::reply(
            404,
            &[("content-type", "application/json")],
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":""}}"#,
        ),
        _ if seen.body.contains("notifications/") => HttpServer::reply(202, &[], ""),
        _ => HttpServer::reply(
            200,
            &[
                ("content-type", "application/json"),
                ("mcp-session-id", "theirs"),
                ("connection", "x-hop"),
                ("x-hop", "1"),
            ],
            ANSWER,
        ),
    })
    .await;
    let scene = scene(&server, vec![]).await;
    let client = scene.stranger();
    client.set_session(Some("theirs"));
    let reply = client.post(CALL).await;
    assert_eq!(reply.headers["mcp-session-id"], "theirs");
    assert!(!reply.headers.contains_key("x-hop"));
    assert_eq!(reply.text().await, ANSWER);
    let seen = server.seen.lock()[0].clone();
    assert_eq!(seen.body, CALL);
    assert_eq!(seen.headers["mcp-session-id"], "theirs");
    assert_eq!(seen.headers["x-forwarded-host"], scene.address.to_string().as_str());
    assert_eq!(client.notify("notifications/x", json!({})).await.status, 202);
    assert_eq!(client.ask(&json!(1), "unknown", json!({})).await.status, 404);
    assert_eq!(client.listen(&[]).await.status, 405);
    assert_eq!(client.close().await, 204);
    let malformed = client.post("{").await;
    assert_eq!(malformed.status, 400);
    assert_eq!(server.seen.lock().len(), 5, "what is no message never arrives");
}

#[tokio::test]
async fn messages_of_the_newest_era_pass() {
    let server = HttpServer::new(|_: &Seen| HttpServer::json(ANSWER)).await;
    let scene = scene(&server, vec![]).await;
    let client = scene.stranger();
    let headers =
        [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "t"), ("mcp-param-x", "1")];
    assert_eq!(client.send(client.request(Method::POST, &headers, CALL)).await.status, 200);
    let seen = server.seen.lock()[0].clone();
    for (name, value) in headers {
        assert_eq!(seen.headers[name], value);
    }
}

#[tokio::test]
async fn streams_are_forwarded_event_by_event() {
    let feeds = Arc::new(Mutex::new(Vec::new()));
    let given = Arc::clone(&feeds);
    let server = HttpServer::new(move |_: &Seen| {
        let (feed, response) = HttpServer::stream();
        given.lock().push(feed);
        response
    })
    .await;
    let scene = scene(&server, vec![]).await;
    let client = scene.stranger();
    let mut reply = client.post(CALL).await;
    let feed: mpsc::Sender<&str> = feeds.lock().pop().unwrap();
    // Each arrives before the next is sent: nothing is held back.
    for event in ["id: a/1\nretry: 5\ndata: {\"x\":1e2}\n\n", "event: message\r\ndata: {}\r\n\r\n"] {
        feed.send(event).await.unwrap();
        assert_eq!(reply.event().await.unwrap(), event);
    }
    assert_eq!(reply.headers["x-accel-buffering"], "no");
    drop(reply);
    eventually("the server is left as well", async || feed.is_closed()).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_gives_one_clear_error() {
    let server = HttpServer::new(|_: &Seen| HttpServer::json(ANSWER)).await;
    let scene = Scene::new().await;
    struct Gone;
    #[cfg(test)]
    impl fairlead_core::workload::Upstream for Gone {
        fn open_stdio(
            &self,
        ) -> fairlead_core::BoxFuture<
            '_,
            Result<fairlead_core::workload::StdioConnection, fairlead_core::workload::Unavailable>,
        > {
            panic!("speaks HTTP")
        }
        fn http_endpoint(&self) -> fairlead_core::BoxFuture<'_, Result<String, fairlead_core::workload::Unavailable>> {
            // Port 1 of loopback: nobody listens there.
            Box::pin(async { Ok("http://127.0.0.1:1/mcp".to_owned()) })
        }
    }
    drop(server);
    scene.publish("one", Wire::Http, Arc::new(Gone), Chain::default());
    let client = scene.stranger();
    let reply = client.try_initialize("2025-11-25").await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json().await["error"]["data"]["kind"], "upstream");
    client.set_session(Some("s"));
    let reply = client.post(CALL).await;
    assert_eq!(reply.status, 200, "in band, so that the session is not given up");
    let error = reply.json().await;
    assert_eq!((&error["id"], &error["error"]["code"]), (&json!(1), &json!(-32603)));
}

#[tokio::test]
async fn middleware_sees_json_replies() {
    let server = HttpServer::new(|seen: &Seen| {
        if seen.body.contains("broken") { HttpServer::json("not JSON") } else { HttpServer::json(ANSWER) }
    })
    .await;
    let editor = Scripted::new("tools/call", &[Phase::Request, Phase::Response], |call, _| {
        Ok(match call.subject.phase() {
            Phase::Request => patch("/name", "\"né\""),
            _ => patch("/seen", "true"),
        })
    });
    let scene = scene(&server, vec![("editor", &editor)]).await;
    let client = scene.stranger();
    let request = client.request(Method::POST, &[("mcp-name", "t")], CALL);
    let text = client.send(request).await.text().await;
    assert_eq!(text, r#"{"result":{"n":9007199254740993,"seen":true},"id":1,"jsonrpc":"2.0", "vendor":1e2}"#);
    let seen = server.seen.lock()[0].clone();
    assert!(seen.body.contains(r#""name":"né","arguments":{"n":1e2}"#), "{}", seen.body);
    assert_eq!(seen.headers["mcp-name"], "=?base64?bsOp?=", "header and body agree");
    let hidden = client.post(CALL.replace("1e2", "\"broken\"")).await;
    assert_eq!(hidden.status, 502, "what cannot be shown does not pass");
    let untouched = client.ask(&json!(1), "prompts/list", json!({})).await;
    assert_eq!(untouched.text().await, ANSWER);
}

#[tokio::test]
async fn rejections_take_the_form_that_the_era_has_for_them() {
    let server = HttpServer::new(|_: &Seen| HttpServer::json(ANSWER)).await;
    let limiter = Scripted::new("*", &[Phase::Request], |_, _| {
        Ok(Verdict::Reject(Rejection { code: 4290, message: "later".into(), data: None, retry_after_ms: Some(10) }))
    });
    let scene = scene(&server, vec![("limiter", &limiter)]).await;
    let client = scene.stranger();
    let legacy = client.post(CALL).await;
    assert_eq!((legacy.status.as_u16(), legacy.headers["retry-after"].to_str().unwrap()), (200, "1"));
    let request = client.request(Method::POST, &[("mcp-protocol-version", "2026-07-28")], CALL);
    assert_eq!(client.send(request).await.status, 429);
    assert_eq!(client.notify("notifications/x", json!({})).await.status, 202);
    assert!(server.seen.lock().is_empty());
}

#[tokio::test]
async fn middleware_sees_what_comes_on_a_stream() {
    const QUESTION: &str = r#"{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage","params":{}}"#;
    let server = HttpServer::new(|seen: &Seen| {
        if seen.body.contains("\"q\"") {
            return HttpServer::reply(202, &[], "");
        }
        let stream = format!(
            "id: 1\ndata:\n\n: note\n\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{{\"a\":1}}}}\n\ndata: {QUESTION}\n\nid: 2\nevent: message\ndata: {ANSWER}\n\n"
        );
        HttpServer::reply(200, &[("content-type", "text/event-stream")], stream)
    })
    .await;
    let editor = Scripted::new("*", &[Phase::Response, Phase::Event], |call, _| {
        Ok(match (call.subject.phase(), &*call.head.method) {
            (Phase::Event, "sampling/createMessage") => Verdict::Reject(rejection(4031, "no sampling")),
            (Phase::Event, _) => Verdict::Next,
            _ => patch("/seen", "true"),
        })
    });
    let scene = scene(&server, vec![("editor", &editor)]).await;
    let client = scene.stranger();
    client.set_session(Some("s"));
    let text = client.post(CALL).await.text().await;
    let expected = "id: 1\ndata:\n\n: note\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"a\":1}}\n\nid: 2\nevent: message\ndata: {\"result\":{\"n\":9007199254740993,\"seen\":true},\"id\":1,\"jsonrpc\":\"2.0\", \"vendor\":1e2}\n\n";
    assert_eq!(text, expected);
    let told = server.seen.lock().iter().find(|seen| seen.body.contains("4031")).cloned().unwrap();
    assert_eq!(told.headers["mcp-session-id"], "s");
}

#[tokio::test]
async fn hanging_up_and_coming_back_is_no_way_around_a_guard() {
    let feeds = Arc::new(Mutex::new(Vec::new()));
    let given = Arc::clone(&feeds);
    let server = HttpServer::new(move |_: &Seen| {
        let (feed, response) = HttpServer::stream();
        given.lock().push(feed);
        response
    })
    .await;
    let guard =
        Scripted::for_target("tools/call", Some("t"), &[Phase::Response], |_, _| Ok(patch("/n", "\"redacted\"")));
    let scene = scene(&server, vec![("guard", &guard)]).await;
    let client = scene.stranger();
    client.set_session(Some("s"));
    let mut reply = client.post(CALL).await;
    let feed: mpsc::Sender<&str> = feeds.lock().pop().unwrap();
    feed.send("id: 1\ndata:\n\n").await.unwrap();
    reply.event().await.unwrap();
    drop(reply);
    eventually("the server is left", async || feed.is_closed()).await;
    let mut resumed = client.listen(&[("last-event-id", "1")]).await;
    let feed: mpsc::Sender<&str> = feeds.lock().pop().unwrap();
    // Nobody asked for this one; it does not pass.
    feed.send("data: {\"jsonrpc\":\"2.0\",\"id\":77,\"result\":{\"n\":\"secret\"}}\n\n").await.unwrap();
    feed.send("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"n\":\"secret\"}}\n\n").await.unwrap();
    let message = resumed.message().await.unwrap();
    assert_eq!(message, json!({"jsonrpc": "2.0", "id": 1, "result": {"n": "redacted"}}));
}

#[tokio::test]
async fn a_batch_passes_message_by_message() {
    let server = HttpServer::new(|seen: &Seen| match seen.body.as_str() {
        body if body.contains("notifications/") => HttpServer::reply(202, &[], ""),
        body if body.contains("\"id\":2") => HttpServer::reply(
            200,
            &[("content-type", "text/event-stream")],
            "data: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n\n",
        ),
        _ => HttpServer::json(ANSWER),
    })
    .await;
    let scene = scene(&server, vec![]).await;
    let client = scene.stranger();
    let batch =
        format!(r#"[{CALL},{{"jsonrpc":"2.0","method":"notifications/x"}},{}]"#, CALL.replace("\"id\":1", "\"id\":2"));
    let mut reply = client.post(batch.clone()).await;
    let mut ids = vec![reply.message().await.unwrap()["id"].clone(), reply.message().await.unwrap()["id"].clone()];
    assert!(reply.message().await.is_none());
    ids.sort_by_key(|id| id.as_u64());
    assert_eq!(ids, [1, 2]);
    let newer = client.send(client.request(Method::POST, &[("mcp-protocol-version", "2025-11-25")], batch)).await;
    assert_eq!(newer.status, 400);
}

#[tokio::test]
async fn a_probe_learns_who_a_server_is_and_leaves() {
    for stream in [false, true] {
        let server = HttpServer::new(move |seen: &Seen| {
            if !seen.body.contains("initialize\"") {
                return HttpServer::reply(202, &[], "");
            }
            let answer = r#"{"jsonrpc":"2.0","id":"fairlead-probe","result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"h","version":"2"}}}"#;
            let (kind, body) = match stream {
                true => ("text/event-stream", format!("data: {answer}\n\n")),
                false => ("application/json", answer.to_owned()),
            };
            HttpServer::reply(200, &[("content-type", kind), ("mcp-session-id", "p")], body)
        })
        .await;
        let scene = scene(&server, vec![]).await;
        let profile = scene.proxy.probe(&key("one"), PATIENCE).await.unwrap();
        assert_eq!((profile.name.as_str(), profile.version.as_str()), ("h", "2"));
        assert_eq!(profile.protocol_version, "2025-06-18");
        let last = server.seen.lock().last().cloned().unwrap();
        assert_eq!((last.method, last.headers["mcp-session-id"].to_str().unwrap()), (Method::DELETE, "p"));
    }
}

#[tokio::test]
async fn one_request_after_another_takes_one_connection() {
    let server = HttpServer::new(|_: &Seen| HttpServer::json(ANSWER)).await;
    let scene = scene(&server, vec![]).await;
    let client = scene.stranger();
    for _ in 0..20 {
        assert_eq!(client.post(CALL).await.text().await, ANSWER);
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_is_not_used_again() {
    let server = HttpServer::new(|_: &Seen| HttpServer::reply(200, &[("connection", "close")], ANSWER)).await;
    let scene = scene(&server, vec![]).await;
    let client = scene.stranger();
    for _ in 0..20 {
        assert_eq!(client.post(CALL).await.text().await, ANSWER);
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 20);
}
