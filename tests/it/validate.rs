//! The validator on real traffic: the toolbox is held to the schemas that it lists itself.

use fairlead_tests::{Daemon, binary};
use serde_json::json;

#[tokio::test]
async fn a_call_that_misses_its_schema_never_reaches_the_server_and_the_right_one_does() {
    let daemon = Daemon::start().await.unwrap();
    let (toolbox, plugin) = (binary::plugin("toolbox").unwrap(), binary::plugin("validate").unwrap());
    let (toolbox, plugin) = (toolbox.to_str().unwrap(), plugin.to_str().unwrap());
    let args = ["run", "--name", "toolbox", "--plugin", plugin, "--grant", "kv", toolbox];
    daemon.cli().unwrap().ok(args).await.unwrap();
    let client = daemon.client("toolbox").await.unwrap();

    let unlisted = client.call("text_stats", json!({"text": 7})).await.unwrap();
    assert_eq!(unlisted["result"]["isError"], true, "nothing is known, so the server judges: {unlisted}");

    assert!(client.tools().await.unwrap().contains(&"text_stats".to_owned()));
    for (arguments, pointer) in [
        (json!({"text": 7}), "/arguments/text"),
        (json!({}), "/arguments/text"),
        (json!({"text": "a", "more": 1}), "/arguments/more"),
    ] {
        let refused = client.call("text_stats", arguments).await.unwrap();
        assert_eq!(refused["error"]["code"], 4220, "{refused}");
        assert_eq!(refused["error"]["data"]["pointer"], pointer, "{refused}");
    }

    // What is right passes, and so does what the server answers: it keeps its own promises.
    let fine = client.call("text_stats", json!({"text": "a b"})).await.unwrap();
    assert_eq!(fine["result"]["structuredContent"]["words"], 2, "{fine}");
    let fine = client.call("text_case", json!({"text": "a b", "to": "upper"})).await.unwrap();
    assert_eq!(fine["result"]["structuredContent"]["text"], "A B", "{fine}");
    let refused = client.call("text_case", json!({"text": "a b", "to": "sideways"})).await.unwrap();
    assert_eq!(refused["error"]["data"]["pointer"], "/arguments/to", "{refused}");
}
