//! One revision after another: a session ends where it began, and what was asked is answered, over a pipe and over HTTP.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use fairlead_core::chain::{Chain, Level};
use fairlead_core::middleware::{Phase, Verdict};
use fairlead_core::plugin::FailureMode::Closed;
use fairlead_proxy::{Proxy, ProxyConfig, Retiring, Wire};
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{FakeServer, HttpServer, SESSION, SHARED, Scene, Scripted, Seen, eventually, key, link, route};

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

#[tokio::test]
async fn whoever_listens_at_a_replaced_revision_is_let_go_when_the_proxy_stops() {
    let scene = Scene::with(ProxyConfig { drain_max: LONG, ..ProxyConfig::default() }).await;
    scene.publish("one", SESSION, FakeServer::new(), Chain::default());
    let early = scene.client().await;
    let mut stream = early.listen(&[]).await;
    let _retiring = succeed(&scene, SESSION, &FakeServer::new());
    scene.stop.cancel();
    assert!(timeout(PROMPT, stream.message()).await.expect("it ends at once").is_none());
}

/// A chain of so many links that to put it in place takes a while.
fn long_chain() -> Arc<Chain> {
    let guard = Scripted::new("*", &[Phase::Request], |_, _| Ok(Verdict::Next));
    Arc::new(Chain::new((0..64).map(|at| link(&format!("guard-{at}"), Level::Server, Closed, &guard)).collect()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_is_changed_while_a_revision_follows_another_guards_both() {
    let (proxy, chain) = (Proxy::new(ProxyConfig::default()), long_chain());
    let server = FakeServer::new();
    for _ in 0..500 {
        proxy.publish(route("one", SESSION, server.clone(), Chain::default()));
        let both = Barrier::new(2);
        let retiring = std::thread::scope(|threads| {
            threads.spawn(|| {
                both.wait();
                proxy.swap_chain(&key("one"), Arc::clone(&chain))
            });
            both.wait();
            proxy.succeed(&key("one"), route("one", SESSION, server.clone(), Chain::default()))
        });
        assert_eq!(proxy.health(&key("one")).unwrap().len(), 64);
        drop(retiring);
    }
}

#[tokio::test]
async fn two_switches_soon_after_one_another_cut_nobody_off() {
    let (scene, first) = Scene::server(SESSION).await;
    let (early, second, third) = (scene.client().await, FakeServer::new(), FakeServer::new());
    let one = retire(succeed(&scene, SESSION, &second), LONG);
    let mut two = retire(succeed(&scene, SESSION, &third), LONG);
    for id in 0..20 {
        assert_eq!(early.call(&json!(id), "echo", json!({})).await["id"], id);
        assert!(two.try_join_next().is_none(), "it is the way to the first");
    }
    assert_eq!(early.close().await, 200);
    is_over(one).await;
    is_over(two).await;
    eventually("the first process ends", async || first.closed.load(Ordering::SeqCst) == 1).await;
    let late = scene.client().await;
    assert_eq!(late.call(&json!(1), "echo", json!({"who": "late"})).await["id"], 1);
    assert_eq!((second.got("late").len(), third.got("late").len()), (0, 1));
}
