//! Stopping: from the outside in, and nothing under way is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fairlead_core::chain::Chain;
use fairlead_proxy::ProxyConfig;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{FakeServer, PATIENCE, SESSION, Scene, eventually, key};

#[tokio::test]
async fn requests_under_way_finish_and_processes_end() {
    let (mut scene, server) = Scene::server(SESSION).await;
    let client = Arc::new(scene.client().await);
    let mut stream = client.listen(&[]).await;
    let mut calls = JoinSet::new();
    let holding = Arc::clone(&client);
    calls.spawn(async move { holding.call(&json!(1), "hold", json!({})).await });
    eventually("it is under way", async || !server.got("hold").is_empty()).await;
    scene.stop.cancel();
    assert!(stream.message().await.is_none(), "a standing stream ends at once");
    eventually("no new connections", async || TcpStream::connect(scene.address).await.is_err()).await;
    server.release.notify_one();
    assert_eq!(calls.join_next().await.unwrap().unwrap()["result"]["content"][0]["text"], "released");
    let served = timeout(PATIENCE, scene.serving.join_next()).await.expect("it returns");
    assert!(served.unwrap().unwrap().is_ok());
    eventually("the process ends", async || server.closed.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_off() {
    let mut scene = Scene::with(ProxyConfig { drain_max: Duration::from_millis(50), ..ProxyConfig::default() }).await;
    let server = FakeServer::new();
    scene.publish("one", SESSION, server.clone(), Chain::default());
    let client = Arc::new(scene.client().await);
    let mut calls = JoinSet::new();
    let holding = Arc::clone(&client);
    calls.spawn(async move { holding.call(&json!(1), "hold", json!({})).await });
    eventually("it is under way", async || !server.got("hold").is_empty()).await;
    scene.stop.cancel();
    let served = timeout(PATIENCE, scene.serving.join_next()).await.expect("it returns");
    assert!(served.unwrap().unwrap().is_ok());
    eventually("the process ends", async || server.closed.load(Ordering::SeqCst) == 1).await;
    calls.abort_all();
}

#[tokio::test]
async fn a_server_that_is_withdrawn_is_gone_with_its_sessions() {
    let (scene, server) = Scene::server(SESSION).await;
    let client = scene.client().await;
    assert!(scene.proxy.withdraw(&key("one")));
    assert!(!scene.proxy.withdraw(&key("one")));
    assert_eq!(client.ask(&json!(1), "ping", json!({})).await.status, 404);
    eventually("the process ends", async || server.closed.load(Ordering::SeqCst) == 1).await;
}
