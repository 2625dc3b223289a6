//! A data plane that is one of several, before a server that is several as well: sessions are shared, and each goes to the
//! part of the server that opened it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fairlead_core::BoxFuture;
use fairlead_core::chain::{Chain, Level};
use fairlead_core::middleware::{Identity, Phase, Verdict};
use fairlead_core::plugin::FailureMode::Closed;
use fairlead_core::session::{SessionRecord, SessionStore, SessionStoreError};
use fairlead_proxy::{Lookup, Replicas, Route, Wire};
use http::Method;
use parking_lot::Mutex;
use serde_json::json;

use crate::support::{At, Client, HttpServer, Scene, Scripted, Seen, link, route};

/// By session and id of the request.
type Expected = HashMap<(Vec<u8>, String), Vec<u8>>;

/// A store in memory that can be away.
#[derive(Default)]
struct Store {
    sessions: Mutex<HashMap<Vec<u8>, Arc<SessionRecord>>>,
    expected: Mutex<Expected>,
    is_away: AtomicBool,
}

impl Store {
    fn there<T>(&self, value: impl FnOnce() -> T) -> Result<T, SessionStoreError> {
        if self.is_away.load(Ordering::Relaxed) { Err(SessionStoreError::Unavailable) } else { Ok(value()) }
    }
}

impl SessionStore for Store {
    fn keep<'a>(
        &'a self,
        session: &'a [u8],
        record: &'a SessionRecord,
    ) -> BoxFuture<'a, Result<(), SessionStoreError>> {
        let kept = self.there(|| drop(self.sessions.lock().insert(session.to_vec(), Arc::new(record.clone()))));
        Box::pin(async { kept })
    }

    fn find<'a>(&'a self, session: &'a [u8]) -> BoxFuture<'a, Result<Option<Arc<SessionRecord>>, SessionStoreError>> {
        let found = self.there(|| self.sessions.lock().get(session).cloned());
        Box::pin(async { found })
    }

    fn forget<'a>(&'a self, session: &'a [u8]) -> BoxFuture<'a, Result<(), SessionStoreError>> {
        let forgotten = self.there(|| drop(self.sessions.lock().remove(session)));
        Box::pin(async { forgotten })
    }

    fn expect<'a>(
        &'a self,
        session: &'a [u8],
        id: &'a str,
        about: &'a [u8],
    ) -> BoxFuture<'a, Result<(), SessionStoreError>> {
        let key = (session.to_vec(), id.to_owned());
        let kept = self.there(|| drop(self.expected.lock().insert(key, about.to_vec())));
        Box::pin(async { kept })
    }

    fn expected<'a>(
        &'a self,
        session: &'a [u8],
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, SessionStoreError>> {
        let found = self.there(|| self.expected.lock().get(&(session.to_vec(), id.to_owned())).cloned());
        Box::pin(async { found })
    }
}

/// What a name leads to.
struct Pods(Mutex<Vec<SocketAddr>>);

impl Lookup for Pods {
    fn addresses<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let pods = self.0.lock().clone();
        Box::pin(async { Ok(pods) })
    }
}

/// Knows the sessions that it opened, and tells its number.
async fn pod(number: usize) -> Arc<HttpServer> {
    let opened = AtomicUsize::new(0);
    HttpServer::new(move |seen: &Seen| {
        let session = format!("{number}-{}", opened.load(Ordering::Relaxed));
        if seen.body.contains("\"initialize\"") {
            opened.fetch_add(1, Ordering::Relaxed);
            let answer = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25"}}"#;
            let headers = [("content-type", "application/json"), ("mcp-session-id", session.as_str())];
            return HttpServer::reply(200, &headers, answer);
        }
        let asked = seen.headers.get("mcp-session-id").map_or("", |session| session.to_str().unwrap());
        if !asked.starts_with(&format!("{number}-")) {
            return HttpServer::reply(404, &[], "");
        }
        match seen.method {
            Method::DELETE => HttpServer::reply(200, &[], ""),
            _ if seen.body.contains("notifications/") => HttpServer::reply(202, &[], ""),
            _ => HttpServer::json(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"pod":{number}}}}}"#)),
        }
    })
    .await
}

fn socket(server: &HttpServer) -> SocketAddr {
    server.url.trim_start_matches("http://").trim_end_matches("/mcp").parse().unwrap()
}

/// A data plane of the server at `url`.
async fn plane(url: &str, replicas: &Replicas, chain: Chain) -> Scene {
    let scene = Scene::new().await;
    let upstream = Arc::new(At(url.to_owned()));
    scene.proxy.publish(Route { replicas: replicas.clone(), ..route("one", Wire::Http, upstream, chain) });
    scene
}

fn shared(store: &Arc<Store>) -> Replicas {
    Replicas { sessions: Some(Arc::clone(store) as _), members: None }
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;

#[tokio::test]
async fn a_session_that_was_opened_at_one_replica_goes_on_at_another_and_at_its_pod() {
    let pods = [pod(0).await, pod(1).await];
    let names = Arc::new(Pods(Mutex::new(pods.iter().map(|pod| socket(pod)).collect())));
    let store = Arc::<Store>::default();
    let replicas = Replicas { members: Some(names.clone()), ..shared(&store) };
    let url = "http://docs.team.svc:1/mcp";
    let planes = [plane(url, &replicas, Chain::default()).await, plane(url, &replicas, Chain::default()).await];
    for round in 0..6 {
        let opened_at = planes[round % 2].client().await;
        let session = opened_at.session().unwrap();
        let pod: u64 = session.split('-').next().unwrap().parse().unwrap();
        let other = planes[(round + 1) % 2].stranger();
        other.set_session(Some(&session));
        for client in [&other, &opened_at, &other] {
            let reply = client.post(LIST).await;
            assert_eq!(reply.status, 200);
            assert_eq!(reply.json().await["result"]["pod"], pod);
        }
        assert_eq!(other.close().await, 200);
        assert_eq!(opened_at.post(LIST).await.status, 404, "it was ended at the other replica");
    }
    // A pod that is gone takes its sessions with it, even where another server has its address now.
    let client = planes[0].client().await;
    let pod: usize = client.session().unwrap().split('-').next().unwrap().parse().unwrap();
    *names.0.lock() = vec![socket(&pods[1 - pod])];
    let newest = plane(url, &replicas, Chain::default()).await;
    let other = newest.stranger();
    other.set_session(client.session().as_deref());
    assert_eq!(other.post(LIST).await.status, 404);
}

#[tokio::test]
async fn a_session_that_nobody_has_written_down_is_none() {
    let server = pod(0).await;
    let store = Arc::<Store>::default();
    let scene = plane(&server.url, &shared(&store), Chain::default()).await;
    let client = scene.stranger();
    client.set_session(Some("0-guessed"));
    for method in [Method::POST, Method::GET, Method::DELETE] {
        let body = if method == Method::POST { LIST } else { "" };
        assert_eq!(client.send(client.request(method, &[], body)).await.status, 404);
    }
    assert!(server.seen.lock().is_empty(), "the server was not asked");
}

#[tokio::test]
async fn a_session_belongs_to_whoever_opened_it_at_every_replica() {
    let believer = Scripted::new("*", &[Phase::Request], |call, notes| {
        let who = call.origin.headers.get("x-test").filter(|who| !who.is_empty());
        notes.identity = who.map(|who| {
            let (subject, issuer) = who.split_once('@').unwrap_or((who, "a.test"));
            let claims = vec![("iat".to_owned(), "1".to_owned()), ("iss".to_owned(), format!("\"{issuer}\""))];
            Identity { subject: subject.to_owned(), claims }
        });
        Ok(Verdict::Next)
    });
    let chain = || Chain::new(vec![link("who", Level::Server, Closed, &believer)]);
    let server = pod(0).await;
    let store = Arc::<Store>::default();
    let (near, far) =
        (plane(&server.url, &shared(&store), chain()).await, plane(&server.url, &shared(&store), chain()).await);
    let client = near.stranger();
    let text = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let reply = client.send(client.request(Method::POST, &[("x-test", "alice")], text.to_string())).await;
    let session = reply.headers["mcp-session-id"].to_str().unwrap().to_owned();
    for scene in [&near, &far] {
        let client = scene.stranger();
        client.set_session(Some(&session));
        for (who, status) in [("alice", 200), ("alice@b.test", 404), ("bob", 404), ("", 404)] {
            let reply = client.send(client.request(Method::POST, &[("x-test", who)], LIST)).await;
            assert_eq!(reply.status, status, "{who}");
        }
    }
}

#[tokio::test]
async fn where_sessions_cannot_be_looked_up_nothing_reaches_the_server_and_it_passes() {
    let server = pod(0).await;
    let store = Arc::<Store>::default();
    let scene = plane(&server.url, &shared(&store), Chain::default()).await;
    let client = scene.client().await;
    let before = server.seen.lock().len();
    store.is_away.store(true, Ordering::Relaxed);
    let reply = client.post(LIST).await;
    assert_eq!((reply.status.as_u16(), reply.headers["retry-after"].to_str().unwrap()), (503, "5"));
    let error = reply.json().await;
    assert_eq!((&error["id"], &error["error"]["message"]), (&json!(1), &json!("sessions cannot be looked up now")));
    assert_eq!(server.seen.lock().len(), before);
    // One that cannot be written down is not begun: the server is told at once.
    let stranger = scene.stranger();
    let refused = stranger.try_initialize("2025-11-25").await;
    assert_eq!(refused.status, 503);
    assert_eq!(server.seen.lock().last().unwrap().method, Method::DELETE);
    store.is_away.store(false, Ordering::Relaxed);
    assert_eq!(client.post(LIST).await.status, 200);
}

/// A server whose answer comes on a stream that breaks off, and again on the one that the client takes up.
async fn resuming() -> Arc<HttpServer> {
    HttpServer::new(|seen: &Seen| {
        if seen.body.contains("\"initialize\"") {
            let headers = [("content-type", "application/json"), ("mcp-session-id", "0-0")];
            return HttpServer::reply(200, &headers, r#"{"jsonrpc":"2.0","id":0,"result":{}}"#);
        }
        if seen.body.contains("notifications/") {
            return HttpServer::reply(202, &[], "");
        }
        let text = match seen.method {
            Method::GET => "id: 2\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"secret\":1}}\n\n",
            _ => "id: 1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n",
        };
        HttpServer::reply(200, &[("content-type", "text/event-stream")], text)
    })
    .await
}

#[tokio::test]
async fn an_answer_that_is_taken_up_at_another_replica_passes_its_guards() {
    let guard = Scripted::for_target("tools/call", Some("vault"), &[Phase::Response], |_, _| {
        Ok(Verdict::Replace(r#"{"hidden":true}"#.to_owned()))
    });
    let chain = || Chain::new(vec![link("guard", Level::Server, Closed, &guard)]);
    let server = resuming().await;
    let store = Arc::<Store>::default();
    let (near, far) =
        (plane(&server.url, &shared(&store), chain()).await, plane(&server.url, &shared(&store), chain()).await);
    let client = near.client().await;
    let mut broken = client.begin(&json!(7), "vault", json!({})).await;
    assert_eq!(broken.message().await.unwrap()["method"], "notifications/message");
    assert_eq!(broken.message().await, None, "the stream broke off");
    let other = far.stranger();
    other.set_session(client.session().as_deref());
    let mut taken_up = other.listen(&[("last-event-id", "1"), ("accept", "text/event-stream")]).await;
    assert_eq!(taken_up.message().await.unwrap()["result"], json!({"hidden": true}));
    // What was asked by nobody does not pass, at whichever replica.
    store.expected.lock().clear();
    let mut unknown = other.listen(&[("last-event-id", "1"), ("accept", "text/event-stream")]).await;
    assert_eq!(unknown.message().await, None);
}

#[tokio::test]
async fn the_only_server_is_found_without_its_name() {
    let server = pod(0).await;
    let config = fairlead_proxy::ProxyConfig { sole: Some(crate::support::key("one")), ..Default::default() };
    let scene = Scene::with(config).await;
    scene.proxy.publish(route("one", Wire::Http, server, Chain::default()));
    let client = Client::new(&format!("http://{}/mcp", scene.address));
    client.initialize("2025-11-25").await;
    assert_eq!(client.post(LIST).await.status, 200);
    let other = Scene::new().await;
    let nobody = Client::new(&format!("http://{}/mcp", other.address));
    assert_eq!(nobody.post(LIST).await.status, 404);
}
