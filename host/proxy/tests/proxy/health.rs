//! Looking after servers that listen: in one session, however slowly they answer, and in the words of their era.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fairlead_core::chain::Chain;
use fairlead_core::era::{EraMemory as _, Eras, Forgetful};
use fairlead_proxy::{ProbeError, Route, Vigil, Wire};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::support::{FakeServer, HttpServer, PATIENCE, SESSION, Scene, Seen, eventually, key, route};

/// What a server does when it is asked.
#[derive(Default)]
struct Mood {
    /// It answers nothing.
    silent: AtomicBool,
    /// It has forgotten every session.
    forgetful: AtomicBool,
}

/// A server with sessions, and how it feels.
async fn server() -> (Arc<HttpServer>, Arc<Mood>) {
    let (mood, streams) = (Arc::new(Mood::default()), Mutex::new(Vec::new()));
    let feels = Arc::clone(&mood);
    let server = HttpServer::new(move |seen: &Seen| {
        let is_json = ("content-type", "application/json");
        let id = serde_json::from_str::<Value>(&seen.body).map(|message| message["id"].clone()).unwrap_or_default();
        let answer = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
        let introduced =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "h", "version": "1"}});
        if seen.body.contains("\"initialize\"") {
            feels.forgetful.store(false, Ordering::SeqCst);
            return HttpServer::reply(200, &[is_json, ("mcp-session-id", "theirs")], answer(introduced));
        }
        if feels.silent.load(Ordering::SeqCst) {
            let (stream, response) = HttpServer::stream();
            streams.lock().push(stream);
            return response;
        }
        if seen.headers.get("mcp-session-id").is_none_or(|id| id != "theirs") || feels.forgetful.load(Ordering::SeqCst)
        {
            return HttpServer::reply(404, &[], "");
        }
        match id {
            Value::Null => HttpServer::reply(202, &[], ""),
            _ => HttpServer::reply(200, &[is_json], answer(json!({}))),
        }
    })
    .await;
    (server, mood)
}

fn heard(server: &HttpServer, method: &str) -> usize {
    let quoted = format!("\"{method}\"");
    server.seen.lock().iter().filter(|seen| seen.body.contains(&quoted)).count()
}

async fn looked_after(wire: Wire) -> (Scene, Arc<HttpServer>, Arc<Mood>) {
    let (scene, (server, mood)) = (Scene::new().await, server().await);
    scene.publish("one", wire, server.clone(), Chain::default());
    (scene, server, mood)
}

#[tokio::test]
async fn a_server_that_is_slow_is_asked_in_the_session_that_it_has() {
    let (scene, server, mood) = looked_after(Wire::Http).await;
    let mut vigil = Vigil::default();
    for _ in 0..2 {
        vigil.ask(&scene.proxy, &key("one"), PATIENCE).await.unwrap();
    }
    mood.silent.store(true, Ordering::SeqCst);
    for misses in 1..=3 {
        let asked = vigil.ask(&scene.proxy, &key("one"), Duration::from_millis(100)).await;
        assert!(matches!(asked, Err(ProbeError::Deadline(_))), "{asked:?}");
        eventually("it has heard the question", async || heard(&server, "ping") == 1 + misses).await;
    }
    mood.silent.store(false, Ordering::SeqCst);
    vigil.ask(&scene.proxy, &key("one"), PATIENCE).await.unwrap();
    assert_eq!(heard(&server, "initialize"), 1, "one session, from the first question to the last");
}

#[tokio::test]
async fn a_server_that_has_forgotten_the_session_is_well() {
    let (scene, server, mood) = looked_after(Wire::Http).await;
    let mut vigil = Vigil::default();
    vigil.ask(&scene.proxy, &key("one"), PATIENCE).await.unwrap();
    mood.forgetful.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        vigil.ask(&scene.proxy, &key("one"), PATIENCE).await.unwrap();
    }
    assert_eq!((heard(&server, "initialize"), heard(&server, "ping")), (2, 2));
}

#[tokio::test]
async fn a_server_of_the_newest_era_is_asked_in_its_words() {
    let (scene, (server, _)) = (Scene::new().await, server().await);
    let eras = Arc::new(Forgetful::default());
    eras.remember(&Eras { modern: Some(true), legacy: None });
    scene.proxy.publish(Route { eras, ..route("one", Wire::Http, server.clone(), Chain::default()) });
    // It answers without a session that there is none: as little as it says, it is no answer to this question.
    assert!(Vigil::default().ask(&scene.proxy, &key("one"), PATIENCE).await.is_err());
    assert_eq!((heard(&server, "server/discover"), heard(&server, "initialize")), (1, 0));
}

#[tokio::test]
async fn whoever_would_have_to_be_started_is_not_asked_and_whoever_is_not_there_is_not_well() {
    let (scene, server) = (Scene::new().await, FakeServer::new());
    scene.publish("one", SESSION, server.clone(), Chain::default());
    Vigil::default().ask(&scene.proxy, &key("one"), PATIENCE).await.unwrap();
    assert_eq!(server.opened.load(Ordering::SeqCst), 0);
    let asked = Vigil::default().ask(&scene.proxy, &key("two"), PATIENCE).await;
    assert!(matches!(asked, Err(ProbeError::Unknown)), "{asked:?}");
}
