//! The three first-party plugins in one chain: what each promises, on real traffic, and nothing else changed.

use fairlead_tests::Daemon;
use serde_json::{Value, json};

use crate::scene::{SERVER, create, guards, server};

/// Looks like a credential, and is the one that documentation uses.
const SECRET: &str = "AKIAIOSFODNN7EXAMPLE";

/// Calls of one tool in one session that pass at once.
const BURST: u64 = 5;

/// A daemon with the test server behind the chain.
async fn guarded(filter: &Value, requests: u64) -> Daemon {
    let daemon = Daemon::start().await.unwrap();
    create(daemon.home(), &server(SERVER, &json!({"plugins": guards(filter, requests)}))).await.unwrap();
    daemon
}

#[tokio::test]
async fn a_denied_tool_is_in_no_list_and_its_call_never_reaches_the_server() {
    let daemon = guarded(&json!({"deny": ["crash"]}), 1000).await;
    let client = daemon.client(SERVER).await.unwrap();
    let tools = client.tools().await.unwrap();
    assert!(!tools.contains(&"crash".to_owned()) && tools.contains(&"echo".to_owned()), "{tools:?}");
    let process = client.text("process", json!({})).await.unwrap();
    let denied = client.call("crash", json!({"code": 1})).await.unwrap();
    assert_eq!(denied["error"]["code"], 4030, "{denied}");
    assert_eq!(client.text("process", json!({})).await.unwrap(), process, "it has not crashed");
}

#[tokio::test]
async fn a_secret_is_taken_out_of_arguments_results_and_events() {
    let daemon = guarded(&json!({}), 1000).await;
    let client = daemon.client(SERVER).await.unwrap();
    let echoed = client.call("echo", json!({"key": SECRET, "beside": "kept"})).await.unwrap();
    assert!(!echoed.to_string().contains(SECRET), "{echoed}");
    assert_eq!(echoed["result"]["structuredContent"]["beside"], "kept", "{echoed}");

    // What a call causes comes on its own stream, everything else on that of the session.
    let mut stream = client.listen().await.unwrap();
    let message = json!({"level": "info", "data": {"found": SECRET, "beside": "kept"}});
    let updated = json!({"uri": format!("file:///{SECRET}"), "beside": "kept"});
    for (method, params) in [("notifications/message", message), ("notifications/resources/updated", updated)] {
        let call = json!({"name": "emit", "arguments": {"method": method, "params": params}});
        let mut reply = client.request(&json!(method), "tools/call", call).await.unwrap();
        let event = match method {
            "notifications/message" => reply.message().await.unwrap().unwrap(),
            _ => stream.message().await.unwrap().unwrap(),
        };
        assert_eq!(event["method"], method, "{event}");
        assert!(!event.to_string().contains(SECRET), "{event}");
        assert!(event.to_string().contains("kept"), "{event}");
    }
}

#[tokio::test]
async fn a_burst_is_cut_with_the_time_to_come_back_and_each_session_and_tool_has_its_own() {
    let daemon = guarded(&json!({}), BURST).await;
    let client = daemon.client(SERVER).await.unwrap();
    for _ in 0..BURST {
        client.text("echo", json!({})).await.unwrap();
    }
    let call = json!({"name": "echo", "arguments": {}});
    let cut = client.request(&json!(1), "tools/call", call).await.unwrap();
    // A client of the legacy era takes a status of 400 and more for the end of its session.
    assert_eq!(cut.status, 200);
    let seconds: u64 = cut.header("retry-after").parse().expect("Retry-After in seconds");
    assert!(seconds >= 1);
    let cut = cut.response().await.unwrap();
    assert_eq!(cut["error"]["code"], 4290, "{cut}");
    assert!(cut["error"]["data"]["retryAfterMs"].as_u64().is_some_and(|wait| wait > 0), "{cut}");
    client.text("process", json!({})).await.unwrap();
    daemon.client(SERVER).await.unwrap().text("echo", json!({})).await.unwrap();
}

#[tokio::test]
async fn plugins_survive_a_restart_of_the_daemon() {
    let daemon = guarded(&json!({"allow": ["echo"]}), 1000).await;
    let home = daemon.kill().unwrap();
    let daemon = Daemon::start_in(home).await.unwrap();
    let client =
        fairlead_tests::eventually("it serves", fairlead_tests::limits::SETTLE, async || daemon.client(SERVER).await);
    let client = client.await.unwrap();
    assert_eq!(client.tools().await.unwrap(), ["echo"]);
    let denied = client.call("process", json!({})).await.unwrap();
    assert_eq!(denied["error"]["code"], 4030, "{denied}");
}
