//! One revision after another: a session ends where it began, and what was asked is answered, over a pipe and over HTTP.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fairlead_core::chain::Chain;
use fairlead_proxy::{Retiring, Wire};
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{FakeServer, HttpServer, SESSION, SHARED, Scene, Seen, eventually, key, route};

/// So long a revision may be used still where a test does not want it to be over.
const LONG: Duration = Duration::from_secs(60);

/// And where it does.
const SOON: Duration = Duration::from_millis(20);

/// A revision that owes nothing ends in less than answers are waited for.
const PROMPT: Duration = Duration::from_secs(6);

fn succeed(scene: &Scene, wire: Wire, next: &Arc<FakeServer>) -> Retiring {
    scene.proxy.succeed(&key("one"), route("one", wire, next.clone(), Chain::default())).unwrap()
}

/// Waits for the end of a revision, in a task; then it is ended.
fn retire(retiring: Retiring, within: Duration) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { retiring.drained(within).await });
    tasks
}

/// Soon: sessions that nobody uses are not waited for.
async fn is_over(mut retired: JoinSet<()>) {
    timeout(PROMPT, retired.join_next()).await.expect("the revision ends").unwrap().unwrap();
}

#[tokio::test]
async fn there_is_no_revision_after_one_that_is_not_there() {
    let scene = Scene::new().await;
    let next = route("one", SESSION, FakeServer::new(), Chain::default());
    assert!(scene.proxy.succeed(&key("one"), next).is_none());
    assert_eq!(scene.proxy.sessions(&key("one")), None);
}

#[tokio::test]
async fn a_session_stays_with_its_revision_and_the_next_one_begins_with_the_newer() {
    for wire in [SESSION, SHARED] {
        let (scene, old) = Scene::server(wire).await;
        let (early, new) = (scene.client().await, FakeServer::new());
        let retired = retire(succeed(&scene, wire, &new), LONG);
        let late = scene.client().await;
        early.call(&json!(1), "echo", json!({"who": "early"})).await;
        late.call(&json!(1), "echo", json!({"who": "late"})).await;
        assert_eq!((old.got("early").len(), old.got("late").len()), (1, 0));
        assert_eq!((new.got("early").len(), new.got("late").len()), (0, 1));
        assert_eq!(scene.proxy.sessions(&key("one")), Some(2));
        assert!(!retired.is_empty() && old.closed.load(Ordering::SeqCst) == 0, "it is used");
        assert_eq!(early.close().await, 200);
        is_over(retired).await;
        eventually("the old process ends", async || old.closed.load(Ordering::SeqCst) == 1).await;
        assert_eq!(late.call(&json!(2), "echo", json!({})).await["id"], 2);
    }
}

#[tokio::test]
async fn what_a_replaced_revision_was_asked_is_answered_and_nothing_new_gets_to_it() {
    for wire in [SESSION, SHARED] {
        let (scene, old) = Scene::server(wire).await;
        let (client, new) = (Arc::new(scene.client().await), FakeServer::new());
        let mut calls = JoinSet::new();
        let holding = Arc::clone(&client);
        calls.spawn(async move { holding.call(&json!(1), "hold", json!({})).await });
        eventually("it is under way", async || !old.got("hold").is_empty()).await;
        let mut retired = retire(succeed(&scene, wire, &new), SOON);
        eventually("nobody gets to it", async || client.ask(&json!(2), "ping", json!({})).await.status == 404).await;
        for _ in 0..10 {
            assert_eq!(client.ask(&json!(3), "ping", json!({"who": "too late"})).await.status, 404);
            assert!(retired.try_join_next().is_none(), "an answer is owed");
        }
        assert!(old.got("too late").is_empty());
        old.release.notify_one();
        let answer = calls.join_next().await.unwrap().unwrap();
        assert_eq!(answer["result"]["content"][0]["text"], "released");
        is_over(retired).await;
        eventually("the old process ends", async || old.closed.load(Ordering::SeqCst) == 1).await;
    }
}

#[tokio::test]
async fn a_revision_that_is_dropped_ends_at_once() {
    let (scene, old) = Scene::server(SESSION).await;
    let (client, new) = (scene.client().await, FakeServer::new());
    drop(succeed(&scene, SESSION, &new));
    eventually("the old process ends", async || old.closed.load(Ordering::SeqCst) == 1).await;
    assert_eq!(client.ask(&json!(1), "ping", json!({})).await.status, 404);
    assert_eq!(scene.proxy.sessions(&key("one")), Some(0));
}

/// Streams that a server has open, to be written to.
type Feeds = Arc<Mutex<Vec<mpsc::Sender<&'static str>>>>;

/// A server over HTTP whose sessions have one id; calls of tools are answered on streams that the test writes, listening
/// clients get one as well.
async fn over_http(session: &'static str) -> (Arc<HttpServer>, Feeds) {
    let feeds = Feeds::default();
    let given = Arc::clone(&feeds);
    let server = HttpServer::new(move |seen: &Seen| {
        let named = seen.headers.get("mcp-session-id").and_then(|id| id.to_str().ok());
        let is_json = ("content-type", "application/json");
        if seen.body.contains("\"initialize\"") {
            let answer = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"h","version":"1"}}}"#;
            return HttpServer::reply(200, &[is_json, ("mcp-session-id", session)], answer);
        }
        if named != Some(session) {
            return HttpServer::reply(404, &[], "");
        }
        if seen.method == Method::GET || seen.body.contains("tools/call") {
            let (feed, response) = HttpServer::stream();
            given.lock().push(feed);
            return response;
        }
        let status = if seen.body.contains("notifications/") { 202 } else { 200 };
        HttpServer::reply(status, &[is_json], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)
    })
    .await;
    (server, feeds)
}

fn asked(server: &HttpServer, method: &str) -> usize {
    server.seen.lock().iter().filter(|seen| seen.body.contains(method)).count()
}

#[tokio::test]
async fn over_http_too_a_session_stays_with_its_revision_until_its_time_is_over() {
    let ((old, _), (new, _)) = (over_http("old").await, over_http("new").await);
    for wire in [Wire::Http, Wire::Detect { isolation: fairlead_core::server::Isolation::Session }] {
        let scene = Scene::new().await;
        scene.publish("one", wire, old.clone(), Chain::default());
        let early = scene.client().await;
        let before = (asked(&old, "early"), asked(&new, "late"));
        let next = route("one", wire, new.clone(), Chain::default());
        let mut retired = retire(scene.proxy.succeed(&key("one"), next).unwrap(), LONG);
        let late = scene.client().await;
        assert_eq!(early.ask(&json!(1), "ping", json!({"who": "early"})).await.status, 200);
        assert_eq!(late.ask(&json!(1), "ping", json!({"who": "late"})).await.status, 200);
        assert_eq!((asked(&old, "early"), asked(&new, "late")), (before.0 + 1, before.1 + 1));
        assert!(retired.try_join_next().is_none(), "nobody knows whether its sessions are used");
        retired.abort_all();
        eventually("a client of a revision that is gone is told so", async || {
            early.ask(&json!(2), "ping", json!({})).await.status == 404
        })
        .await;
        assert_eq!(late.ask(&json!(2), "ping", json!({})).await.status, 200);
    }
}

#[tokio::test]
async fn over_http_too_what_was_asked_is_answered_before_the_revision_ends() {
    const ANSWER: &str = "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"late\":true}}\n\n";
    let ((old, feeds), (new, _)) = (over_http("old").await, over_http("new").await);
    let scene = Scene::new().await;
    scene.publish("one", Wire::Http, old.clone(), Chain::default());
    let client = scene.client().await;
    // Whoever only listens is owed nothing, and holds nothing up.
    let listening = client.listen(&[]).await;
    assert_eq!(listening.status, 200);
    let reply = client.begin(&json!(7), "any", json!({})).await;
    assert!(reply.is_stream());
    let next = route("one", Wire::Http, new.clone(), Chain::default());
    let mut retired = retire(scene.proxy.succeed(&key("one"), next).unwrap(), SOON);
    eventually("nobody gets to it", async || client.ask(&json!(8), "ping", json!({})).await.status == 404).await;
    for _ in 0..10 {
        assert_eq!(client.ask(&json!(8), "ping", json!({})).await.status, 404);
        assert!(retired.try_join_next().is_none(), "an answer is owed");
    }
    let feed = feeds.lock().pop().unwrap();
    feed.send(ANSWER).await.unwrap();
    drop(feed);
    let answer: Value = reply.last().await;
    assert_eq!(answer["result"]["late"], true);
    is_over(retired).await;
    drop(listening);
}
