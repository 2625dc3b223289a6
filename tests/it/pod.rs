//! The data plane in a pod, as plain processes of this machine: what it serves, how it ends, and sessions that several of them
//! share in a real Redis.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fairlead_tests::limits::SETTLE;
use fairlead_tests::pod::{Backend, Dice, Pod, Redis, link};
use fairlead_tests::{Client, binary, eventually};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::scene::free_port;

async fn backend() -> Backend {
    Backend::start(free_port().await.unwrap()).await.unwrap()
}

fn config(backend: &Backend, more: &Value) -> Value {
    let mut config = json!({"server": {"tenant": "team", "name": "docs"}, "upstream": backend.upstream()});
    config.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    config
}

async fn filter(allowed: &Value) -> Value {
    let plugin = binary::plugin("tool-filter").unwrap();
    link(&json!({"name": "filter", "plugin": plugin, "config": {"allow": allowed}})).await.unwrap()
}

#[tokio::test]
async fn a_pod_serves_its_server_through_its_chain_and_says_how_it_is() {
    let backend = backend().await;
    let filter = filter(&json!(["echo", "process"])).await;
    let pod = Pod::start(&config(&backend, &json!({"chain": [filter]}))).await.unwrap();
    let client = Client::connect(&pod.url()).await.unwrap();
    assert_eq!(client.tools().await.unwrap(), ["echo", "process"]);
    assert!(client.call("echo", json!({"n": 1})).await.unwrap()["result"].is_object());
    assert!(client.call("big", json!({"bytes": 1})).await.unwrap()["error"].is_object());
    // By the address of a daemon as well, so that a document means the same everywhere.
    let named = Client::connect(&pod.url().replace("/mcp", "/t/team/s/docs/mcp")).await.unwrap();
    assert_eq!(named.tools().await.unwrap().len(), 2);
    assert_eq!(pod.probe("/health").await.unwrap(), (200, "ok\n".to_owned()));
    assert_eq!(pod.probe("/ready").await.unwrap(), (200, "ready\n".to_owned()));
    let (status, metrics) = pod.probe("/metrics").await.unwrap();
    assert!(status == 200 && metrics.contains("mcp_server_operation_duration"), "{metrics}");
    // Clients and probes do not meet at one door.
    let client = Client::new(&pod.url().replace("/mcp", "/metrics")).unwrap();
    assert_eq!(client.post("{}").await.unwrap().status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_plugin_that_is_not_what_its_digest_says_guards_nothing_and_nothing_is_served() {
    let backend = backend().await;
    let mut filter = filter(&json!([])).await;
    filter["digest"] = format!("sha256:{}", "0".repeat(64)).into();
    let error = Pod::start(&config(&backend, &json!({"chain": [filter]}))).await.unwrap_err().to_string();
    assert!(error.contains("is pinned to sha256:0000"), "{error}");
    let mut odd = config(&backend, &json!({}));
    odd["sessionStorage"] = json!({"provider": "redis", "address": "nowhere"});
    let error = Pod::start(&odd).await.unwrap_err().to_string();
    assert!(error.contains("`sessionStorage.address` is `nowhere`"), "{error}");
}

#[tokio::test]
async fn a_pod_that_is_told_to_end_serves_on_until_nobody_is_sent_to_it_and_finishes_what_it_began() {
    let backend = backend().await;
    let mut pod = Pod::start_with(&config(&backend, &json!({})), &["--leave-secs", "3"], &[]).await.unwrap();
    let client = Client::connect(&pod.url()).await.unwrap();
    let slow = json!({"name": "slow", "arguments": {"steps": 45, "step_ms": 100}, "_meta": {"progressToken": 1}});
    let under_way = client.request(&json!("slow"), "tools/call", slow).await.unwrap();
    pod.ask_to_end().unwrap();
    eventually("it says that it leaves", SETTLE, async || {
        let (status, _) = pod.probe("/ready").await?;
        anyhow::ensure!(status == 503, "{status}");
        Ok(())
    })
    .await
    .unwrap();
    let late = Client::connect(&pod.url()).await.unwrap();
    assert!(late.call("echo", json!({})).await.unwrap()["result"].is_object(), "it serves on");
    let answer = under_way.response().await.unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "done");
    assert!(pod.ended().await.unwrap().success());
    assert!(Client::connect(&pod.url()).await.is_err());
}

/// Replicas before one server, with a Redis; `None` where there is no Redis.
struct Replicas {
    redis: Redis,
    pods: Vec<Pod>,
    _backend: Backend,
}

impl Replicas {
    async fn start(count: usize) -> Option<Self> {
        let redis = Redis::start(free_port().await.unwrap()).await.unwrap()?;
        let backend = backend().await;
        let config = config(&backend, &json!({"sessionStorage": redis.storage()}));
        let mut pods = Vec::new();
        for _ in 0..count {
            pods.push(Pod::start_with(&config, &[], &redis.env()).await.unwrap());
        }
        Some(Self { redis, pods, _backend: backend })
    }

    fn urls(&self) -> Vec<String> {
        self.pods.iter().map(Pod::url).collect()
    }
}

/// A client of the same session at each replica.
fn at_each(urls: &[String], session: Option<String>) -> Vec<Client> {
    let client = |url: &String| {
        let client = Client::new(url).unwrap();
        client.set_session(session.clone());
        client
    };
    urls.iter().map(client).collect()
}

#[tokio::test]
async fn sessions_go_on_at_whichever_replica_and_outlive_the_one_that_opened_them() {
    let Some(mut replicas) = Replicas::start(2).await else { return };
    let (urls, dice) = (replicas.urls(), Arc::new(Dice::new(7)));
    // All of them begin at the replica that is killed.
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(Client::connect(&urls[0]).await.unwrap().session());
    }
    let half = Arc::new(tokio::sync::Barrier::new(sessions.len() + 1));
    let mut talks = JoinSet::new();
    for (number, session) in sessions.iter().cloned().enumerate() {
        let (urls, dice, half) = (urls.clone(), Arc::clone(&dice), Arc::clone(&half));
        talks.spawn(async move {
            let clients = at_each(&urls, session);
            for turn in 0..40 {
                let said = json!({"client": number, "turn": turn});
                let answer = clients[dice.throw(2)].call("echo", said.clone()).await.unwrap();
                assert_eq!(answer["result"]["structuredContent"], said, "{answer}");
            }
            half.wait().await;
            half.wait().await;
            for turn in 40..80 {
                let said = json!({"client": number, "turn": turn});
                let answer = clients[1].call("echo", said.clone()).await.unwrap();
                assert_eq!(answer["result"]["structuredContent"], said, "{answer}");
            }
            assert_eq!(clients[1].close().await.unwrap(), StatusCode::OK);
            let after = clients[1].post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await.unwrap();
            assert_eq!(after.status, StatusCode::NOT_FOUND);
        });
    }
    half.wait().await;
    replicas.pods[0].kill().await.unwrap();
    half.wait().await;
    while let Some(talk) = talks.join_next().await {
        talk.unwrap();
    }
    let unknown = at_each(&urls[1..], Some("guessed".to_owned()));
    let reply = unknown[0].post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await.unwrap();
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    // Whoever reads the database opens no session by that.
    let written = replicas.redis.written().unwrap();
    assert!(written.windows(5).any(|bytes| bytes == b"test:"), "nothing was written down");
    for session in sessions.iter().flatten() {
        assert!(!written.windows(session.len()).any(|bytes| bytes == session.as_bytes()));
    }
}

/// What became of one attempt at a whole session.
#[derive(Debug, PartialEq, Eq)]
enum Talk {
    /// All of it was answered, rightly.
    Whole,
    /// It was refused, with a reason and when to come back.
    Refused,
}

/// Opens a session at one replica, uses it at another, and ends it.
async fn talk(urls: &[String], dice: &Dice, number: usize) -> Talk {
    let first = dice.throw(2);
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let opened = Client::new(&urls[first]).unwrap().post(initialize.to_string()).await.unwrap();
    let session = opened.header("mcp-session-id").to_owned();
    if opened.status != StatusCode::OK {
        return refused(opened).await;
    }
    let clients = at_each(urls, Some(session));
    let said = json!({"number": number});
    let call =
        json!({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "echo", "arguments": said}});
    let answered = clients[1 - first].post(call.to_string()).await.unwrap();
    if answered.status != StatusCode::OK {
        return refused(answered).await;
    }
    let answer = answered.response().await.unwrap();
    assert_eq!((&answer["id"], &answer["result"]["structuredContent"]), (&json!(number), &said));
    Talk::Whole
}

async fn refused(reply: fairlead_tests::Reply) -> Talk {
    let (status, wait) = (reply.status, reply.header("retry-after").to_owned());
    let error = reply.response().await.unwrap();
    assert_eq!((status, wait.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "5"), "{error}");
    assert_eq!(error["error"]["message"], "sessions cannot be looked up now");
    Talk::Refused
}

#[tokio::test]
async fn a_redis_that_is_killed_under_load_is_told_and_nobody_gets_what_is_not_theirs() {
    let Some(mut replicas) = Replicas::start(2).await else { return };
    let (urls, dice) = (replicas.urls(), Arc::new(Dice::new(11)));
    let kept = Client::connect(&urls[0]).await.unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let (whole, refusals) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut load = JoinSet::new();
    for _ in 0..4 {
        let (urls, dice, count) = (urls.clone(), Arc::clone(&dice), Arc::clone(&count));
        let (whole, refusals) = (Arc::clone(&whole), Arc::clone(&refusals));
        load.spawn(async move {
            loop {
                let number = usize::try_from(count.fetch_add(1, Ordering::Relaxed)).unwrap();
                match talk(&urls, &dice, number).await {
                    Talk::Whole => whole.fetch_add(1, Ordering::Relaxed),
                    Talk::Refused => refusals.fetch_add(1, Ordering::Relaxed),
                };
            }
        });
    }
    let more = async |counter: &AtomicU64, what: &str| {
        let before = counter.load(Ordering::Relaxed);
        eventually(what, SETTLE, async || {
            let now = counter.load(Ordering::Relaxed);
            anyhow::ensure!(now >= before + 20, "{before} to {now}");
            Ok(())
        })
        .await
        .unwrap();
    };
    more(&whole, "sessions are whole").await;
    for _ in 0..2 {
        replicas.redis.kill().await.unwrap();
        more(&refusals, "sessions are refused while Redis is away").await;
        replicas.redis.start_again().await.unwrap();
        more(&whole, "sessions are whole again").await;
    }
    load.abort_all();
    while let Some(ended) = load.join_next().await {
        // What was asserted in it counts; that it was cut off does not.
        assert!(ended.is_err_and(|error| error.is_cancelled()), "a wrong answer");
    }
    // A session of before goes on, at the replica that never saw it.
    let other = at_each(&urls[1..], kept.session());
    assert!(other[0].call("echo", json!({})).await.unwrap()["result"].is_object());
    assert!(replicas.pods.iter().all(|pod| pod.stderr().contains("Redis answers again")));
}

/// Waits until a pod has said all of this.
async fn told(pod: &Pod, said: &[&str]) {
    let look = async || {
        let log = pod.stderr();
        anyhow::ensure!(said.iter().all(|said| log.contains(said)), "{said:?}: {log}");
        Ok(())
    };
    eventually("the log tells it", SETTLE, look).await.unwrap();
}

/// A pod whose sessions are where `storage` says, known by the authority in a file.
async fn known_by(backend: &Backend, storage: &Value, redis: &Redis, authority: Option<&Path>) -> Pod {
    let config = config(backend, &json!({"sessionStorage": storage}));
    let file = authority.map(|file| file.to_str().unwrap());
    let args: Vec<&str> = file.into_iter().flat_map(|file| ["--session-storage-ca", file]).collect();
    Pod::start_with(&config, &args, &redis.env()).await.unwrap()
}

#[tokio::test]
async fn sessions_are_shared_over_tls_with_a_redis_that_is_vouched_for_and_with_no_other() {
    let [here, elsewhere] = ["IP:127.0.0.1", "DNS:elsewhere.test"];
    let Some(redis) = Redis::start_encrypted(free_port().await.unwrap(), here).await.unwrap() else { return };
    let other = Redis::start_encrypted(free_port().await.unwrap(), elsewhere).await.unwrap().unwrap();
    let backend = backend().await;
    let encrypted = |redis: &Redis| {
        let mut storage = redis.storage();
        storage["tls"] = json!({"ca": {"kind": "config-map", "name": "ca", "key": "ca.crt"}});
        storage
    };
    let (mine, others) = (redis.authority(), other.authority());
    let (one, two) = (
        known_by(&backend, &encrypted(&redis), &redis, Some(&mine)).await,
        known_by(&backend, &encrypted(&redis), &redis, Some(&mine)).await,
    );
    let client = Client::connect(&one.url()).await.unwrap();
    for client in at_each(&[two.url(), one.url()], client.session()) {
        assert!(client.call("echo", json!({"n": 1})).await.unwrap()["result"].is_object());
    }
    assert!(!String::from_utf8_lossy(&redis.written().unwrap()).is_empty());
    // Signed by somebody else; signed for another name; by nobody that this machine knows.
    let mut unsaid = redis.storage();
    unsaid["tls"] = json!({});
    for (storage, redis, authority, said) in [
        (encrypted(&redis), &redis, Some(&others), "UnknownIssuer"),
        (encrypted(&other), &other, Some(&others), "not valid for name"),
        (unsaid, &redis, None, "UnknownIssuer"),
    ] {
        let pod = known_by(&backend, &storage, redis, authority.map(PathBuf::as_path)).await;
        let opened = Client::new(&pod.url()).unwrap();
        let hello =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let reply = opened.request(&json!(1), "initialize", hello).await.unwrap();
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        told(&pod, &[said, "sessionStorage.tls.ca"]).await;
    }
    // Whoever speaks plainly to it is not understood, and not waited for.
    let plain = known_by(&backend, &redis.storage(), &redis, None).await;
    assert!(Client::connect(&plain.url()).await.is_err());
    // A pod that should know an authority and does not have it trusts nobody instead.
    let config = config(&backend, &json!({"sessionStorage": encrypted(&redis)}));
    let error = Pod::start_with(&config, &[], &redis.env()).await.unwrap_err().to_string();
    assert!(error.contains("certificate authority of `sessionStorage.tls`"), "{error}");
}

#[tokio::test]
async fn a_value_that_is_longer_than_any_of_ours_is_not_taken_from_redis() {
    let Some(replicas) = Replicas::start(2).await else { return };
    let client = Client::connect(&replicas.pods[0].url()).await.unwrap();
    replicas.redis.lengthen(1 << 20).await.unwrap();
    let [elsewhere] = &at_each(&[replicas.pods[1].url()], client.session())[..] else { panic!("one client") };
    let reply = elsewhere.request(&json!(1), "tools/list", json!({})).await.unwrap();
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    told(&replicas.pods[1], &["longer than any of ours"]).await;
}
