//! Registries: where entries come from, and what is found in them.

use insta::assert_snapshot;
use serde_json::json;

use super::pair::Pair;

/// Two machines that know one server from a file.
pub(super) async fn knowing() -> Pair {
    let pair = Pair::with_daemons().await;
    write(&pair);
    pair.run("registry add ours servers.json").await;
    pair
}

fn write(pair: &Pair) {
    let weather = json!({"name": "a.b/weather", "version": "1.0.0", "description": "Forecasts",
        "remotes": [{"type": "streamable-http", "url": "https://weather.example.test/mcp"}]});
    pair.write("servers.json", &json!({"servers": [{"server": weather, "_meta": {}}]}).to_string());
}

#[tokio::test]
async fn a_registry_that_nobody_serves_is_told_in_words() {
    let pair = Pair::with_daemons().await;
    let said = pair.run("registry add away http://127.0.0.1:1").await;
    let words = "what it reads cannot be reached: the connection was refused";
    assert_eq!(said.matches(words).count(), 2, "to people and to programs: {said}");
}

#[tokio::test]
async fn registries() {
    let pair = Pair::with_daemons().await;
    write(&pair);
    assert_snapshot!(pair.run("registry list").await, @"
    $ fairlead registry list
    --- stderr
    no registries; `fairlead registry add official` adds the official one
    --- status 0
    $ fairlead registry list --format json
    []
    --- status 0
    ");
    assert_snapshot!(pair.run("registry add ours servers.json --layer trusted").await, @r#"
    $ fairlead registry add ours servers.json --layer trusted
    ours: 1 entries
    --- status 0
    $ fairlead registry add ours servers.json --layer trusted --format json
    {
      "name": "ours",
      "tenant": "default",
      "source": "[HOME]/servers.json",
      "spec": {
        "source": {
          "kind": "file",
          "path": "[HOME]/servers.json"
        },
        "layer": "trusted",
        "intervalSecs": 3600
      },
      "entries": 1,
      "synced": "[TIME]",
      "checked": "[TIME]",
      "failures": 0,
      "refusedCount": 0,
      "created": "[TIME]"
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("registry add ours servers.json").await, @r#"
    $ fairlead registry add ours servers.json
    --- stderr
    error: there is a registry `ours` already
    hint: choose another name, or remove it with `fairlead registry remove ours`
    --- status 1
    $ fairlead registry add ours servers.json --format json
    --- stderr
    {"error":"there is a registry `ours` already","kind":"conflict","hint":"choose another name, or remove it with `fairlead registry remove ours`"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("registry add other").await, @r#"
    $ fairlead registry add other
    --- stderr
    error: there is nothing to read
    hint: give a file, a URL, or a source with `--plugin`; `fairlead registry add official` needs none
    --- status 2
    $ fairlead registry add other --format json
    --- stderr
    {"error":"there is nothing to read","hint":"give a file, a URL, or a source with `--plugin`; `fairlead registry add official` needs none"}
    --- status 2
    "#);
    assert_snapshot!(pair.run("registry list").await, @r#"
    $ fairlead registry list
    NAME  LAYER  ENTRIES  READ  STATE  SOURCE
    ours  trusted  1  [DURATION]  ok  [HOME]/servers.json
    --- status 0
    $ fairlead registry list --format json
    [
      {
        "name": "ours",
        "tenant": "default",
        "source": "[HOME]/servers.json",
        "spec": {
          "source": {
            "kind": "file",
            "path": "[HOME]/servers.json"
          },
          "layer": "trusted",
          "intervalSecs": 3600
        },
        "entries": 1,
        "synced": "[TIME]",
        "checked": "[TIME]",
        "failures": 0,
        "refusedCount": 0,
        "created": "[TIME]"
      }
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.shape("registry info ours").await, @"
    $ fairlead registry info ours
    {
    --- status 0
    $ fairlead registry info ours --format json
    checked created entries failures name refusedCount source spec synced tenant
    --- status 0
    ");
    assert_snapshot!(pair.shape("registry refresh ours --whole").await, @"
    $ fairlead registry refresh ours --whole
    ours: 1 entries
    --- status 0
    $ fairlead registry refresh ours --whole --format json
    checked created entries failures name refusedCount source spec synced tenant
    --- status 0
    ");
    assert_snapshot!(pair.run("registry refresh other").await, @r#"
    $ fairlead registry refresh other
    --- stderr
    error: there is no registry `other` in tenant `default`
    hint: `fairlead registry list` shows what there is
    --- status 1
    $ fairlead registry refresh other --format json
    []
    --- stderr
    {"error":"there is no registry `other` in tenant `default`","kind":"not-found","hint":"`fairlead registry list` shows what there is"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("registry remove ours").await, @r#"
    $ fairlead registry remove ours
    ours is removed
    --- status 0
    $ fairlead registry remove ours --format json
    [
      "ours"
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.run("registry remove ours").await, @r#"
    $ fairlead registry remove ours
    --- stderr
    error: there is no registry `ours` in tenant `default`
    hint: `fairlead registry list` shows what there is
    --- status 1
    $ fairlead registry remove ours --format json
    --- stderr
    {"error":"there is no registry `ours` in tenant `default`","kind":"not-found","hint":"`fairlead registry list` shows what there is"}
    --- status 1
    "#);
}

#[tokio::test]
async fn entries() {
    let pair = Pair::with_daemons().await;
    assert_snapshot!(pair.run("search weather").await, @"
    $ fairlead search weather
    --- stderr
    the catalogue is empty; `fairlead registry add official` adds the official registry
    --- status 0
    $ fairlead search weather --format json
    []
    --- status 0
    ");
    write(&pair);
    pair.run("registry add ours servers.json").await;
    assert_snapshot!(pair.run("search --type remote").await, @r#"
    $ fairlead search --type remote
    NAME  VERSION  LAYER  TYPE  DESCRIPTION
    a.b/weather  1.0.0  community  remote  Forecasts
    --- stderr
    as of [DURATION] ago
    --- status 0
    $ fairlead search --type remote --format json
    [
      {
        "name": "a.b/weather",
        "version": "1.0.0",
        "description": "Forecasts",
        "status": "active",
        "isLatest": true,
        "registry": "ours",
        "layer": "community",
        "mayRun": true,
        "transports": [
          "streamable-http"
        ],
        "packageTypes": [
          "remote"
        ]
      }
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.run("search nothing-like-it").await, @"
    $ fairlead search nothing-like-it
    --- stderr
    nothing fits among 1 entries
    --- status 0
    $ fairlead search nothing-like-it --format json
    []
    --- status 0
    ");
    assert_snapshot!(pair.run("registry entry weather").await, @r#"
    $ fairlead registry entry weather
    {
      "name": "a.b/weather",
      "version": "1.0.0",
      "description": "Forecasts",
      "status": "active",
      "isLatest": true,
      "registry": "ours",
      "layer": "community",
      "mayRun": true,
      "transports": [
        "streamable-http"
      ],
      "packageTypes": [
        "remote"
      ],
      "server": {
        "description": "Forecasts",
        "name": "a.b/weather",
        "remotes": [
          {
            "type": "streamable-http",
            "url": "https://weather.example.test/mcp"
          }
        ],
        "version": "1.0.0"
      },
      "versions": [
        "1.0.0"
      ]
    }
    --- status 0
    $ fairlead registry entry weather --format json
    {
      "name": "a.b/weather",
      "version": "1.0.0",
      "description": "Forecasts",
      "status": "active",
      "isLatest": true,
      "registry": "ours",
      "layer": "community",
      "mayRun": true,
      "transports": [
        "streamable-http"
      ],
      "packageTypes": [
        "remote"
      ],
      "server": {
        "description": "Forecasts",
        "name": "a.b/weather",
        "remotes": [
          {
            "type": "streamable-http",
            "url": "https://weather.example.test/mcp"
          }
        ],
        "version": "1.0.0"
      },
      "versions": [
        "1.0.0"
      ]
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("registry entry other").await, @r#"
    $ fairlead registry entry other
    --- stderr
    error: there is no entry `other` in the catalogue
    hint: `fairlead search` looks for one, `fairlead registry list` shows what is read
    --- status 1
    $ fairlead registry entry other --format json
    --- stderr
    {"error":"there is no entry `other` in the catalogue","kind":"not-found","hint":"`fairlead search` looks for one, `fairlead registry list` shows what is read"}
    --- status 1
    "#);
}

#[tokio::test]
async fn files() {
    let pair = Pair::bare().await;
    write(&pair);
    assert_snapshot!(pair.run("registry validate servers.json").await, @r#"
    $ fairlead registry validate servers.json
    warning: a.b/weather@1.0.0/$schema: is missing
    servers.json (official): 1 entries, 0 errors, 1 warnings
    --- status 0
    $ fairlead registry validate servers.json --format json
    {
      "entries": 1,
      "errors": 0,
      "findings": [
        {
          "entry": "a.b/weather@1.0.0",
          "pointer": "/$schema",
          "reason": "is missing",
          "severity": "warning"
        }
      ],
      "format": "official",
      "warnings": 1
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("registry convert servers.json --to toolhive").await, @r#"
    $ fairlead registry convert servers.json --to toolhive
    {
      "remote_servers": {
        "a.b/weather": {
          "description": "Forecasts",
          "transport": "streamable-http",
          "url": "https://weather.example.test/mcp"
        }
      },
      "servers": {},
      "version": "1.0.0"
    }
    --- status 0
    $ fairlead registry convert servers.json --to toolhive --format json
    {
      "remote_servers": {
        "a.b/weather": {
          "description": "Forecasts",
          "transport": "streamable-http",
          "url": "https://weather.example.test/mcp"
        }
      },
      "servers": {},
      "version": "1.0.0"
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("registry convert servers.json --to official --lossless").await, @r#"
    $ fairlead registry convert servers.json --to official --lossless
    {
      "servers": [
        {
          "server": {"description":"Forecasts","name":"a.b/weather","remotes":[{"type":"streamable-http","url":"https://weather.example.test/mcp"}],"version":"1.0.0"},
          "_meta": {}
        }
      ],
      "metadata": {
        "count": 1
      }
    }
    --- status 0
    $ fairlead registry convert servers.json --to official --lossless --format json
    {
      "servers": [
        {
          "server": {"description":"Forecasts","name":"a.b/weather","remotes":[{"type":"streamable-http","url":"https://weather.example.test/mcp"}],"version":"1.0.0"},
          "_meta": {}
        }
      ],
      "metadata": {
        "count": 1
      }
    }
    --- status 0
    "#);
    pair.write("servers.json", r#"{"servers": [{"server": {"name": "x"}}]}"#);
    assert_snapshot!(pair.run("registry validate servers.json").await, @r#"
    $ fairlead registry validate servers.json
    error: x@/name: `x` is not `namespace/name`
    error: x@/version: is missing
    warning: x@/description: is missing
    warning: x@/$schema: is missing
    warning: x@: it has neither packages nor remotes, so nothing can be run
    servers.json (official): 1 entries, 2 errors, 3 warnings
    --- stderr
    error: `servers.json` is not right
    --- status 1
    $ fairlead registry validate servers.json --format json
    {
      "entries": 1,
      "errors": 2,
      "findings": [
        {
          "entry": "x@",
          "pointer": "/name",
          "reason": "`x` is not `namespace/name`",
          "severity": "error"
        },
        {
          "entry": "x@",
          "pointer": "/version",
          "reason": "is missing",
          "severity": "error"
        },
        {
          "entry": "x@",
          "pointer": "/description",
          "reason": "is missing",
          "severity": "warning"
        },
        {
          "entry": "x@",
          "pointer": "/$schema",
          "reason": "is missing",
          "severity": "warning"
        },
        {
          "entry": "x@",
          "pointer": "",
          "reason": "it has neither packages nor remotes, so nothing can be run",
          "severity": "warning"
        }
      ],
      "format": "official",
      "warnings": 3
    }
    --- stderr
    {"error":"`servers.json` is not right"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("registry validate none.json").await, @r#"
    $ fairlead registry validate none.json
    --- stderr
    error: read `none.json`: No such file or directory (os error 2)
    --- status 1
    $ fairlead registry validate none.json --format json
    --- stderr
    {"error":"read `none.json`: No such file or directory (os error 2)"}
    --- status 1
    "#);
}
