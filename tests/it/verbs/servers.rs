//! One server, from `run` to `rm`.

use insta::assert_snapshot;

use super::pair::Pair;

#[tokio::test]
async fn running_a_server() {
    let pair = Pair::with_daemons().await;
    assert_snapshot!(pair.run("list").await, @"
    $ fairlead list
    --- stderr
    no servers; `fairlead run` starts one
    --- status 0
    $ fairlead list --format json
    []
    --- status 0
    ");
    assert_snapshot!(pair.run("run --name one --label team=a -- {server}").await, @r#"
    $ fairlead run --name one --label team=a -- {server}
    http://[ADDRESS]/s/one/mcp
    --- stderr
    `one` runs: test-server 1.0.0
    --- status 0
    $ fairlead run --name one --label team=a --format json -- {server}
    {
      "name": "one",
      "tenant": "default",
      "url": "http://[ADDRESS]/s/one/mcp",
      "status": "running",
      "since": "[TIME]",
      "restarts": 0,
      "profile": {
        "protocolVersion": "2025-11-25",
        "name": "test-server",
        "version": "1.0.0",
        "capabilities": [
          "logging",
          "tools"
        ]
      },
      "desired": "running",
      "source": "[SERVER]",
      "updates": {
        "status": "not_eligible",
        "ineligible": [
          "not_an_artifact"
        ],
        "check": true,
        "autoReinstall": true,
        "lastSuccess": null,
        "lastFailure": null,
        "lastError": null,
        "lastReinstall": null,
        "nextCheck": null,
        "running": [],
        "runningUnknown": 0,
        "newest": null
      },
      "transport": "stdio",
      "chain": [],
      "group": "default",
      "labels": {
        "team": "a"
      },
      "created": "[TIME]",
      "spec": {
        "source": {
          "kind": "command",
          "program": "[SERVER]",
          "args": [],
          "directory": "[HOME]"
        },
        "transport": {
          "kind": "stdio"
        },
        "isolation": "session",
        "updates": {
          "check": true,
          "autoReinstall": true
        },
        "labels": {
          "team": "a"
        }
      }
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("run --name one -- {server}").await, @r#"
    $ fairlead run --name one -- {server}
    --- stderr
    error: there is a server `one` already
    hint: choose another name with `--name`, or remove it with `fairlead rm one`
    --- status 1
    $ fairlead run --name one --format json -- {server}
    --- stderr
    {"error":"there is a server `one` already","kind":"conflict","hint":"choose another name with `--name`, or remove it with `fairlead rm one`"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("run --name two --dry-run -- {server}").await, @r#"
    $ fairlead run --name two --dry-run -- {server}
    apiVersion: fairlead.dev/v1alpha1
    kind: MCPServer
    metadata:
      name: two
      namespace: default
    spec:
      isolation: session
      source:
        args: []
        directory: [HOME]
        kind: command
        program: [SERVER]
      transport:
        kind: stdio
    --- status 0
    $ fairlead run --name two --dry-run --format json -- {server}
    {
      "apiVersion": "fairlead.dev/v1alpha1",
      "kind": "MCPServer",
      "metadata": {
        "name": "two",
        "namespace": "default"
      },
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
        }
      }
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("run -- /nowhere/server").await, @r#"
    $ fairlead run -- /nowhere/server
    --- stderr
    error: `server` did not come up: `/nowhere/server` was not found: a path with `/` is taken from the working directory of the server
    hint: its log is `[HOME]/state/logs/default/server.log`
    --- status 1
    $ fairlead run --format json -- /nowhere/server
    --- stderr
    {"error":"`server` did not come up: `/nowhere/server` was not found: a path with `/` is taken from the working directory of the server","kind":"unavailable","hint":"its log is `[HOME]/state/logs/default/server.log`"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("run example/absent:1 --engine unix:///nowhere/engine.sock").await, @r#"
    $ fairlead run example/absent:1 --engine unix:///nowhere/engine.sock
    --- stderr
    error: connect: container engine `unix:///nowhere/engine.sock` is out of reach: Socket not found: /nowhere/engine.sock
    hint: see whether the engine runs and whether you may use its socket; the server is started again when it answers
    --- status 1
    $ fairlead run example/absent:1 --engine unix:///nowhere/engine.sock --format json
    --- stderr
    {"error":"connect: container engine `unix:///nowhere/engine.sock` is out of reach: Socket not found: /nowhere/engine.sock","kind":"unavailable","hint":"see whether the engine runs and whether you may use its socket; the server is started again when it answers"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("list").await, @r#"
    $ fairlead list
    NAME  STATUS  SOURCE  TRANSPORT  URL  AGE
    one  running  [SERVER]  stdio  http://[ADDRESS]/s/one/mcp  [DURATION]
    --- status 0
    $ fairlead list --format json
    [
      {
        "name": "one",
        "tenant": "default",
        "url": "http://[ADDRESS]/s/one/mcp",
        "status": "running",
        "since": "[TIME]",
        "restarts": 0,
        "profile": {
          "protocolVersion": "2025-11-25",
          "name": "test-server",
          "version": "1.0.0",
          "capabilities": [
            "logging",
            "tools"
          ]
        },
        "desired": "running",
        "source": "[SERVER]",
        "updates": {
          "status": "not_eligible",
          "ineligible": [
            "not_an_artifact"
          ],
          "check": true,
          "autoReinstall": true,
          "lastSuccess": null,
          "lastFailure": null,
          "lastError": null,
          "lastReinstall": null,
          "nextCheck": null,
          "running": [],
          "runningUnknown": 0,
          "newest": null
        },
        "transport": "stdio",
        "chain": [],
        "group": "default",
        "labels": {
          "team": "a"
        },
        "created": "[TIME]"
      }
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.run("status one").await, @r#"
    $ fairlead status one
    name  one
    status  running for [DURATION]
    url  http://[ADDRESS]/s/one/mcp
    source  [SERVER]
    transport  stdio
    server  test-server 1.0.0 (MCP 2025-11-25)
    offers  logging, tools
    labels  team=a
    created  [TIME] ([DURATION] ago)
    --- status 0
    $ fairlead status one --format json
    {
      "name": "one",
      "tenant": "default",
      "url": "http://[ADDRESS]/s/one/mcp",
      "status": "running",
      "since": "[TIME]",
      "restarts": 0,
      "profile": {
        "protocolVersion": "2025-11-25",
        "name": "test-server",
        "version": "1.0.0",
        "capabilities": [
          "logging",
          "tools"
        ]
      },
      "desired": "running",
      "source": "[SERVER]",
      "updates": {
        "status": "not_eligible",
        "ineligible": [
          "not_an_artifact"
        ],
        "check": true,
        "autoReinstall": true,
        "lastSuccess": null,
        "lastFailure": null,
        "lastError": null,
        "lastReinstall": null,
        "nextCheck": null,
        "running": [],
        "runningUnknown": 0,
        "newest": null
      },
      "transport": "stdio",
      "chain": [],
      "group": "default",
      "labels": {
        "team": "a"
      },
      "created": "[TIME]",
      "spec": {
        "source": {
          "kind": "command",
          "program": "[SERVER]",
          "args": [],
          "directory": "[HOME]"
        },
        "transport": {
          "kind": "stdio"
        },
        "isolation": "session",
        "updates": {
          "check": true,
          "autoReinstall": true
        },
        "labels": {
          "team": "a"
        }
      }
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("status none").await, @r#"
    $ fairlead status none
    --- stderr
    error: there is no server `none` in tenant `default`
    hint: `fairlead list --all` shows what there is
    --- status 1
    $ fairlead status none --format json
    --- stderr
    {"error":"there is no server `none` in tenant `default`","kind":"not-found","hint":"`fairlead list --all` shows what there is"}
    --- status 1
    "#);
    assert_snapshot!(pair.shape("inspect one").await, @"
    $ fairlead inspect one
    [
    --- status 0
    $ fairlead inspect one --format json
    chain created desired group labels name profile restarts since source spec status tenant transport updates url
    --- status 0
    ");
}

#[tokio::test]
async fn stopping_and_starting_a_server() {
    let pair = Pair::with_daemons().await;
    pair.run("run --name one -- {server}").await;
    assert_snapshot!(pair.run("stop one").await, @r#"
    $ fairlead stop one
    one is stopped
    --- status 0
    $ fairlead stop one --format json
    [
      {
        "chain": [],
        "created": "[TIME]",
        "desired": "stopped",
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
        "status": "stopped",
        "tenant": "default",
        "transport": "stdio",
        "updates": {
          "autoReinstall": true,
          "check": true,
          "ineligible": [
            "not_an_artifact",
            "stopped"
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
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.shape("list --all").await, @"
    $ fairlead list --all
    NAME  STATUS  SOURCE  TRANSPORT  URL  AGE
    --- status 0
    $ fairlead list --all --format json
    chain created desired group name profile restarts since source status tenant transport updates url
    --- status 0
    ");
    assert_snapshot!(pair.run("start one").await, @r#"
    $ fairlead start one
    one is running
    --- status 0
    $ fairlead start one --format json
    [
      {
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
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.run("restart one").await, @r#"
    $ fairlead restart one
    one is running
    --- status 0
    $ fairlead restart one --format json
    [
      {
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
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.run("rm one").await, @r#"
    $ fairlead rm one
    one is removed
    --- status 0
    $ fairlead rm one --format json
    [
      {
        "name": "one",
        "tenant": "default"
      }
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.run("rm one").await, @r#"
    $ fairlead rm one
    --- stderr
    error: there is no server `one` in tenant `default`
    hint: `fairlead list --all` shows what there is
    --- status 1
    $ fairlead rm one --format json
    []
    --- stderr
    {"error":"there is no server `one` in tenant `default`","kind":"not-found","hint":"`fairlead list --all` shows what there is"}
    --- status 1
    "#);
}
