//! The cache on real traffic: who gets what again, and until when.

use fairlead_tests::{Daemon, binary};
use serde_json::{Value, json};

use crate::scene::{SERVER, create, server};

/// A daemon with the test server behind a cache.
async fn cached(config: &Value) -> Daemon {
    let daemon = Daemon::start().await.unwrap();
    let plugin = json!({
        "name": "cache", "plugin": binary::plugin("cache").unwrap(), "config": config, "grants": [{"name": "kv"}],
    });
    create(daemon.home(), &server(SERVER, &json!({"plugins": [plugin]}))).await.unwrap();
    daemon
}

#[tokio::test]
async fn an_answer_is_given_again_until_the_server_says_that_it_has_changed() {
    let daemon = cached(&json!({"tools": ["level"], "ttlSecs": 3600})).await;
    let client = daemon.client(SERVER).await.unwrap();
    let level = async |wanted: &str| client.ask("logging/setLevel", json!({"level": wanted})).await.unwrap();
    level("info").await;
    assert_eq!(client.text("level", json!({})).await.unwrap(), "info");
    level("debug").await;
    assert_eq!(client.text("level", json!({})).await.unwrap(), "info", "from memory");
    assert_eq!(client.text("level", json!({"other": 1})).await.unwrap(), "debug", "another call");

    let mut stream = client.listen().await.unwrap();
    let changed = "notifications/tools/list_changed";
    client.text("emit", json!({"method": changed, "params": {}})).await.unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap()["method"], changed);
    assert_eq!(client.text("level", json!({})).await.unwrap(), "debug", "asked again");
}

#[tokio::test]
async fn sessions_share_what_is_public_and_nothing_else() {
    for (scope, shared) in [("private", false), ("public", true)] {
        let daemon = cached(&json!({"tools": ["process"], "scope": scope})).await;
        let (one, two) = (daemon.client(SERVER).await.unwrap(), daemon.client(SERVER).await.unwrap());
        let first = one.text("process", json!({})).await.unwrap();
        let second = two.text("process", json!({})).await.unwrap();
        assert_eq!(first == second, shared, "{scope}");
        assert_eq!(one.tools().await.unwrap(), two.tools().await.unwrap());
    }
}
