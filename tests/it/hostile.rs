//! Broken middleware: the request that meets it gets a clear error, or passes where that was asked for; nobody else
//! notices, the daemon stays up, and its memory comes back.

use std::time::{Duration, Instant};

use fairlead_tests::limits::SETTLE;
use fairlead_tests::process::own_bytes;
use fairlead_tests::{Client, Daemon, eventually};
use serde_json::{Value, json};

use crate::scene::{create, fixture, server};

/// JSON-RPC's code for a fault that is not the client's.
const INTERNAL_ERROR: i64 = -32603;

/// A call that needs no broken plugin takes a few milliseconds; beside one that loops on a shared core, some deadlines
/// of a hook more.
const UNHARMED_MAX: Duration = Duration::from_secs(2);

/// Growth that is no leak: allocator slack, caches of compiled code, buffers of connections.
const MEMORY_SLACK_BYTES: u64 = 48 << 20;

/// Fixture, its configuration, the arguments that set it off, and the kind of fault that the client is told.
fn broken() -> Vec<(&'static str, Value, Value, &'static str)> {
    let nonsense = |kind: &str| ("nonsense", json!({"kind": kind}), json!({}), "nonsense");
    vec![
        ("looping", json!({"always": false}), json!({"loop": true}), "deadline"),
        ("allocating", json!({"always": false}), json!({"allocate": true}), "memory"),
        ("trapping", json!({"on": ["request"], "always": false}), json!({"trap": true}), "trap"),
        nonsense("invalid-replace"),
        nonsense("invalid-patch-value"),
        nonsense("bad-pointer"),
        nonsense("malformed-pointer"),
        nonsense("invalid-respond"),
        nonsense("invalid-data"),
        ("nonsense", json!({"kind": "failure"}), json!({}), "failure"),
    ]
}

#[tokio::test]
async fn a_closed_guard_that_breaks_refuses_the_request_and_says_which_plugin_and_how() {
    let daemon = Daemon::start().await.unwrap();
    for (number, (plugin, config, arguments, kind)) in broken().into_iter().enumerate() {
        let name = format!("closed-{number}");
        let mut attachment = fixture(plugin, &config);
        if kind == "memory" {
            // So little that it is reached before the deadline, in a build without optimisation, too.
            attachment["limits"] = json!({"memoryBytesMax": 4 << 20});
        }
        create(daemon.home(), &server(&name, &json!({"plugins": [attachment]}))).await.unwrap();
        let client = daemon.client(&name).await.unwrap();
        let response = client.call("echo", arguments).await.unwrap();
        assert_eq!(response["error"]["code"], INTERNAL_ERROR, "{plugin} {config}: {response}");
        assert_eq!(response["error"]["data"]["kind"], kind, "{plugin} {config}: {response}");
        assert_eq!(response["error"]["data"]["plugin"], plugin, "{plugin} {config}: {response}");
        let message = response["error"]["message"].as_str().unwrap();
        assert!(message.contains(plugin), "{plugin} {config}: `{message}` names no plugin");
        assert!(
            !message.contains("wasm") && message.len() < 300,
            "what the operator reads is not for clients: {message}"
        );
    }
}

#[tokio::test]
async fn an_open_guard_that_breaks_lets_the_request_pass() {
    let daemon = Daemon::start().await.unwrap();
    for (number, (plugin, config, arguments, _)) in broken().into_iter().enumerate() {
        let name = format!("open-{number}");
        let mut attachment = fixture(plugin, &config);
        attachment["failureMode"] = json!("open");
        create(daemon.home(), &server(&name, &json!({"plugins": [attachment]}))).await.unwrap();
        let client = daemon.client(&name).await.unwrap();
        let response = client.call("echo", arguments.clone()).await.unwrap();
        assert_eq!(response["result"]["structuredContent"], arguments, "{plugin} {config}: {response}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_servers_and_tenants_are_unharmed_while_a_plugin_breaks_again_and_again() {
    let daemon = Daemon::start().await.unwrap();
    for (plugin, config, arguments, _) in broken().into_iter().take(3) {
        let attached = json!({"plugins": [fixture(plugin, &config)]});
        let broken = format!("broken-{plugin}");
        let beside = format!("beside-{plugin}");
        create(daemon.home(), &server(&broken, &attached)).await.unwrap();
        create(daemon.home(), &server(&beside, &json!({}))).await.unwrap();
        let mut theirs = server(&broken, &attached);
        theirs["tenant"] = json!("other");
        create(daemon.home(), &theirs).await.unwrap();

        let victims = [
            daemon.client(&beside).await.unwrap(),
            Client::connect(&daemon.tenant_url("other", &broken)).await.unwrap(),
        ];
        let culprit = daemon.client(&broken).await.unwrap();
        for _ in 0..10 {
            let (response, ..) = tokio::join!(
                culprit.call("echo", arguments.clone()),
                unharmed(&victims[0], plugin),
                unharmed(&victims[1], plugin),
            );
            let response = response.unwrap();
            assert_eq!(response["error"]["code"], INTERNAL_ERROR, "{plugin}: {response}");
        }
        eventually("the plugin serves again", SETTLE, async || {
            let response = culprit.call("echo", json!({"harmless": true})).await?;
            anyhow::ensure!(response["result"]["structuredContent"]["harmless"] == true, "{response}");
            Ok(())
        })
        .await
        .unwrap();
    }
}

/// A call that has nothing to do with the broken plugin is answered, and soon.
async fn unharmed(client: &Client, plugin: &str) {
    for _ in 0..5 {
        let start = Instant::now();
        let response = client.call("echo", json!({"beside": plugin})).await.unwrap();
        assert_eq!(response["result"]["structuredContent"]["beside"], plugin, "{response}");
        assert!(start.elapsed() < UNHARMED_MAX, "beside {plugin}: {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn memory_comes_back_after_plugins_that_wanted_all_of_it() {
    let daemon = Daemon::start().await.unwrap();
    let (plugin, config, arguments, _) = broken().remove(1);
    let attached = json!({"plugins": [fixture(plugin, &config)]});
    create(daemon.home(), &server("greedy", &attached)).await.unwrap();
    let client = daemon.client("greedy").await.unwrap();
    client.text("echo", json!({})).await.unwrap();
    let before = own_bytes(daemon.pid()).unwrap();
    for _ in 0..20 {
        let response = client.call("echo", arguments.clone()).await.unwrap();
        assert_eq!(response["error"]["code"], INTERNAL_ERROR, "{response}");
    }
    eventually("memory comes back", SETTLE, async || {
        let now = own_bytes(daemon.pid())?;
        anyhow::ensure!(now < before + MEMORY_SLACK_BYTES, "{before} bytes before, {now} now");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_plugin_that_breaks_while_it_is_put_in_leaves_everything_as_it_was() {
    let mut daemon = Daemon::start().await.unwrap();
    for (plugin, config) in [
        ("trapping", json!({"on": ["validate"]})),
        ("trapping", json!({"on": ["configure"]})),
        ("looping", json!({"configure": true})),
    ] {
        let attempt = server("never", &json!({"plugins": [fixture(plugin, &config)]}));
        let error = create(daemon.home(), &attempt).await.unwrap_err().to_string();
        assert!(error.contains(plugin), "{error}");
        let absent = fairlead_tests::api(daemon.home(), http::Method::GET, "/workloads/never", None).await.unwrap();
        assert_eq!(absent.status, 404, "{absent:?}");
        assert!(daemon.is_running());
    }
}
