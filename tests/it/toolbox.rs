//! The path of the demonstration: the first-party toolbox, a Wasm component, behind the three first-party plugins.

use fairlead_tests::{Daemon, binary};
use serde_json::{Value, json};

/// A daemon with the toolbox; `flags` are those of `fairlead run`.
async fn toolbox(flags: &[&str]) -> Daemon {
    let daemon = Daemon::start().await.unwrap();
    let path = binary::plugin("toolbox").unwrap();
    let mut args = vec!["run", "--name", "toolbox"];
    args.extend(flags);
    args.push(path.to_str().unwrap());
    daemon.cli().unwrap().ok(args).await.unwrap();
    daemon
}

#[tokio::test]
async fn a_wasm_component_is_a_server_like_any_other() {
    let daemon = toolbox(&[]).await;
    let client = daemon.client("toolbox").await.unwrap();
    let tools = client.tools().await.unwrap();
    assert!(tools.len() >= 5, "{tools:?}");
    let second = daemon.client("toolbox").await.unwrap();
    assert_eq!(second.tools().await.unwrap(), tools);
    let unknown = client.call("no-such-tool", json!({})).await.unwrap();
    assert!(unknown["error"].is_object() || unknown["result"]["isError"] == true, "{unknown}");
    let status = daemon.cli().unwrap().json(["status", "toolbox"]).await.unwrap();
    assert_eq!(status["status"], "running", "{status}");
}

#[tokio::test]
async fn the_short_form_of_the_tool_filter_filters_lists_and_refuses_calls() {
    let all = toolbox(&[]).await.client("toolbox").await.unwrap().tools().await.unwrap();
    let daemon = toolbox(&["--tools", &all[0]]).await;
    let client = daemon.client("toolbox").await.unwrap();
    assert_eq!(client.tools().await.unwrap(), all[..1]);
    let denied: Value = client.call(&all[1], json!({})).await.unwrap();
    assert_eq!(denied["error"]["code"], 4030, "{denied}");
    assert!(denied["error"]["message"].as_str().unwrap().contains(&all[1]), "{denied}");
}
