//! What servers say, what is done with them, and a client that speaks stdio.

use anyhow::ensure;
use fairlead_tests::eventually;
use fairlead_tests::limits::SETTLE;
use insta::assert_snapshot;

use super::pair::Pair;

#[tokio::test]
async fn logs() {
    let pair = Pair::with_daemons().await;
    assert_snapshot!(pair.run("logs one").await, @r#"
    $ fairlead logs one
    --- stderr
    error: there is no server `one` in tenant `default`
    hint: `fairlead list --all` shows what there is
    --- status 1
    $ fairlead logs one --format json
    --- stderr
    {"error":"there is no server `one` in tenant `default`","kind":"not-found","hint":"`fairlead list --all` shows what there is"}
    --- status 1
    "#);
    pair.run("run --name one --isolation shared -- {server}").await;
    eventually("the probe is over at both", SETTLE, async || {
        let said = pair.run("logs one").await;
        ensure!(said.matches("exited").count() == 2 && said.matches("ready").count() == 2, "{said}");
        Ok(())
    })
    .await
    .unwrap();
    assert_snapshot!(pair.run("logs one --tail 1").await, @r#"
    $ fairlead logs one --tail 1
    [TIME] fairlead/1 exited with status 0 after [DURATION]
    --- status 0
    $ fairlead logs one --tail 1 --format json
    {"time":"[TIME]","source":"fairlead","workload":1,"text":"exited with status 0 after [DURATION]"}
    --- status 0
    "#);
}

#[tokio::test]
async fn stdio_in_front_of_a_server() {
    let pair = Pair::with_daemons().await;
    pair.run("run --name one -- {server}").await;
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"a","version":"1"}}}"#;
    assert_snapshot!(pair.run_with("proxy stdio one", &format!("{initialize}\n")).await, @r#"
    $ fairlead proxy stdio one
    {"jsonrpc":"2.0","id":1,"result":{"capabilities":{"logging":{},"tools":{"listChanged":true}},"protocolVersion":"2025-11-25","serverInfo":{"name":"test-server","version":"1.0.0"}}}
    --- status 0
    $ fairlead proxy stdio one --format json
    {"jsonrpc":"2.0","id":1,"result":{"capabilities":{"logging":{},"tools":{"listChanged":true}},"protocolVersion":"2025-11-25","serverInfo":{"name":"test-server","version":"1.0.0"}}}
    --- status 0
    "#);
    assert_snapshot!(pair.run("proxy stdio none").await, @r#"
    $ fairlead proxy stdio none
    --- stderr
    error: there is no server `none` in tenant `default`
    hint: `fairlead list --all` shows what there is
    --- status 1
    $ fairlead proxy stdio none --format json
    --- stderr
    {"error":"there is no server `none` in tenant `default`","kind":"not-found","hint":"`fairlead list --all` shows what there is"}
    --- status 1
    "#);
}

#[tokio::test]
async fn operations() {
    let pair = Pair::with_daemons().await;
    pair.run("run --name one -- {server}").await;
    assert_snapshot!(pair.run("operation list").await, @r#"
    $ fairlead operation list
    ID  KIND  SERVER  STATE  AGE
    op-[OPERATION]  create  one  succeeded  [DURATION]
    --- status 0
    $ fairlead operation list --format json
    [
      {
        "id": "op-[OPERATION]",
        "kind": "create",
        "tenant": "default",
        "server": "one",
        "state": "succeeded",
        "stage": "waiting until it answers",
        "began": "[TIME]",
        "ended": "[TIME]",
        "result": {
          "chain": [],
          "created": "[TIME]",
          "desired": "running",
          "group": "default",
          "name": "one",
          "profile": {
            "capabilities": [
              "logging",
              "tools"
            ],
            "name": "test-server",
            "protocolVersion": "2025-11-25",
            "version": "1.0.0"
          },
          "restarts": 0,
          "since": "[TIME]",
          "source": "[SERVER]",
          "spec": {
            "isolation": "session",
            "source": {
              "args": [],
              "directory": "[HOME]",
              "kind": "command",
              "program": "[SERVER]"
            },
            "transport": {
              "kind": "stdio"
            },
            "updates": {
              "autoReinstall": true,
              "check": true
            }
          },
          "status": "running",
          "tenant": "default",
          "transport": "stdio",
          "updates": {
            "autoReinstall": true,
            "check": true,
            "ineligible": [
              "not_an_artifact"
            ],
            "lastError": null,
            "lastFailure": null,
            "lastReinstall": null,
            "lastSuccess": null,
            "newest": null,
            "nextCheck": null,
            "running": [],
            "runningUnknown": 0,
            "status": "not_eligible"
          },
          "url": "http://[ADDRESS]/s/one/mcp"
        }
      }
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.run("operation show nothing").await, @r#"
    $ fairlead operation show nothing
    --- stderr
    error: there is no operation `nothing`
    hint: `fairlead operation list` shows those under way and the last that ended
    --- status 1
    $ fairlead operation show nothing --format json
    --- stderr
    {"error":"there is no operation `nothing`","kind":"not-found","hint":"`fairlead operation list` shows those under way and the last that ended"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("operation cancel nothing").await, @r#"
    $ fairlead operation cancel nothing
    --- stderr
    error: there is no operation `nothing`
    hint: `fairlead operation list` shows those under way and the last that ended
    --- status 1
    $ fairlead operation cancel nothing --format json
    --- stderr
    {"error":"there is no operation `nothing`","kind":"not-found","hint":"`fairlead operation list` shows those under way and the last that ended"}
    --- status 1
    "#);
}

/// What is used differs each time; who uses it does not.
#[tokio::test]
async fn what_servers_use() {
    let pair = Pair::with_daemons().await;
    pair.run("run --name one -- {server}").await;
    let used = pair.run("top").await;
    assert_eq!(used.matches("--- status 0").count(), 2, "{used}");
    assert!(used.contains("one") && used.contains("\"name\": \"one\""), "{used}");
}
