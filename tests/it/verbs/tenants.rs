//! Tenants and what they own: tokens and chains.

use insta::assert_snapshot;

use super::pair::Pair;

#[tokio::test]
async fn tenants() {
    let pair = Pair::with_daemons().await;
    assert_snapshot!(pair.run("tenant list").await, @"
    $ fairlead tenant list
    --- stderr
    no tenants; `fairlead tenant create` declares one
    --- status 0
    $ fairlead tenant list --format json
    []
    --- status 0
    ");
    assert_snapshot!(pair.run("tenant create acme --description Acme --label plan=gold").await, @r#"
    $ fairlead tenant create acme --description Acme --label plan=gold
    acme is created
    --- status 0
    $ fairlead tenant create acme --description Acme --label plan=gold --format json
    {
      "name": "acme",
      "description": "Acme",
      "hostAccess": false,
      "labels": {
        "plan": "gold"
      },
      "servers": 0,
      "attachments": 0,
      "created": "[TIME]"
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("tenant create acme").await, @r#"
    $ fairlead tenant create acme
    --- stderr
    error: there is a tenant `acme` already
    hint: `fairlead tenant list` shows what there is; `fairlead apply` changes one
    --- status 1
    $ fairlead tenant create acme --format json
    --- stderr
    {"error":"there is a tenant `acme` already","kind":"conflict","hint":"`fairlead tenant list` shows what there is; `fairlead apply` changes one"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("tenant list").await, @r#"
    $ fairlead tenant list
    NAME  SERVERS  ATTACHMENTS  AGE  DESCRIPTION
    acme  0  0  [DURATION]  Acme
    --- status 0
    $ fairlead tenant list --format json
    [
      {
        "name": "acme",
        "description": "Acme",
        "hostAccess": false,
        "labels": {
          "plan": "gold"
        },
        "servers": 0,
        "attachments": 0,
        "created": "[TIME]"
      }
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.run("tenant show acme").await, @r#"
    $ fairlead tenant show acme
    name  acme
    description  Acme
    servers  0
    attachments  0
    host access  no
    label  plan=gold
    created  [TIME] ([DURATION] ago)
    --- status 0
    $ fairlead tenant show acme --format json
    {
      "name": "acme",
      "description": "Acme",
      "hostAccess": false,
      "labels": {
        "plan": "gold"
      },
      "servers": 0,
      "attachments": 0,
      "created": "[TIME]"
    }
    --- status 0
    "#);
    pair.run("run --name one --tenant acme -- {server}").await;
    assert_snapshot!(pair.run("tenant rm acme").await, @r#"
    $ fairlead tenant rm acme
    --- stderr
    error: tenant `acme` has 1 servers
    hint: remove them first; `fairlead list --all --tenant acme` shows them
    --- status 1
    $ fairlead tenant rm acme --format json
    --- stderr
    {"error":"tenant `acme` has 1 servers","kind":"conflict","hint":"remove them first; `fairlead list --all --tenant acme` shows them"}
    --- status 1
    "#);
    pair.run("rm one --tenant acme").await;
    assert_snapshot!(pair.run("tenant rm acme").await, @r#"
    $ fairlead tenant rm acme
    acme is removed
    --- status 0
    $ fairlead tenant rm acme --format json
    {
      "name": "acme"
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("tenant rm acme").await, @r#"
    $ fairlead tenant rm acme
    --- stderr
    error: there is no tenant `acme`
    hint: `fairlead tenant list` shows what there is
    --- status 1
    $ fairlead tenant rm acme --format json
    --- stderr
    {"error":"there is no tenant `acme`","kind":"not-found","hint":"`fairlead tenant list` shows what there is"}
    --- status 1
    "#);
}

#[tokio::test]
async fn tokens() {
    let pair = Pair::with_daemons().await;
    assert_snapshot!(pair.run("token list").await, @"
    $ fairlead token list
    --- stderr
    no tokens; `fairlead token create` makes one
    --- status 0
    $ fairlead token list --format json
    []
    --- status 0
    ");
    assert_snapshot!(pair.shape("token create --role viewer --description reader").await, @"
    $ fairlead token create --role viewer --description reader
    [TOKEN]
    --- status 0
    $ fairlead token create --role viewer --description reader --format json
    info token
    --- status 0
    ");
    assert_snapshot!(pair.shape("token list").await, @"
    $ fairlead token list
    ID  TENANT  ROLE  AGE  EXPIRES  DESCRIPTION
    --- status 0
    $ fairlead token list --format json
    created description id role
    --- status 0
    ");
    assert_snapshot!(pair.run("token create --role king").await, @r#"
    $ fairlead token create --role king
    --- stderr
    error: invalid value 'king' for '--role <ROLE>': expected `viewer`, `operator` or `admin`

    For more information, try '--help'.
    --- status 2
    $ fairlead token create --role king --format json
    --- stderr
    {"error":"invalid value 'king' for '--role <ROLE>': expected `viewer`, `operator` or `admin`","hint":"try `--help`"}
    --- status 2
    "#);
    assert_snapshot!(pair.run("token rm nothing").await, @r#"
    $ fairlead token rm nothing
    --- stderr
    error: there is no token `nothing`
    hint: `fairlead token list` shows what there is
    --- status 1
    $ fairlead token rm nothing --format json
    --- stderr
    {"error":"there is no token `nothing`","kind":"not-found","hint":"`fairlead token list` shows what there is"}
    --- status 1
    "#);
}

#[tokio::test]
async fn chains() {
    let pair = Pair::with_daemons().await;
    pair.run("run --name one -- {server}").await;
    assert_snapshot!(pair.run("chain show --server one").await, @r#"
    $ fairlead chain show --server one
    --- stderr
    no plugins; `fairlead chain add` puts one in
    --- status 0
    $ fairlead chain show --server one --format json
    {
      "level": "server",
      "tenant": "default",
      "server": "one",
      "links": []
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("chain add {rate-limit} --server one").await, @r#"
    $ fairlead chain add {rate-limit} --server one
    --- stderr
    error: plugin `rate-limit` asks for kv: keeps the buckets, so that all instances share them
    hint: grant it with `--grant kv`, or leave the plugin out
    --- status 1
    $ fairlead chain add {rate-limit} --server one --format json
    --- stderr
    {"error":"plugin `rate-limit` asks for kv: keeps the buckets, so that all instances share them","hint":"grant it with `--grant kv`, or leave the plugin out"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("chain add {redact} --server one").await, @r#"
    $ fairlead chain add {redact} --server one
    LEVEL  NAME  PLUGIN  REACHES  WHEN BROKEN  GRANTED
    server  redact  [PLUGINS]/redact.wasm  all  closed  nothing
    --- status 0
    $ fairlead chain add {redact} --server one --format json
    {
      "level": "server",
      "tenant": "default",
      "server": "one",
      "links": [
        {
          "level": "server",
          "name": "redact",
          "kind": "middleware",
          "plugin": "[PLUGINS]/redact.wasm",
          "failureMode": "closed",
          "config": {}
        }
      ]
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("chain add {tool-filter}={\"deny\":[\"danger*\"]} --server one --first").await, @r#"
    $ fairlead chain add {tool-filter}={"deny":["danger*"]} --server one --first
    LEVEL  NAME  PLUGIN  REACHES  WHEN BROKEN  GRANTED
    server  tool-filter  [PLUGINS]/tool-filter.wasm  all  closed  nothing
    server  redact  [PLUGINS]/redact.wasm  all  closed  nothing
    --- status 0
    $ fairlead chain add {tool-filter}={"deny":["danger*"]} --server one --first --format json
    {
      "level": "server",
      "tenant": "default",
      "server": "one",
      "links": [
        {
          "level": "server",
          "name": "tool-filter",
          "kind": "middleware",
          "plugin": "[PLUGINS]/tool-filter.wasm",
          "failureMode": "closed",
          "config": {
            "deny": [
              "danger*"
            ]
          }
        },
        {
          "level": "server",
          "name": "redact",
          "kind": "middleware",
          "plugin": "[PLUGINS]/redact.wasm",
          "failureMode": "closed",
          "config": {}
        }
      ]
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("chain move tool-filter --server one --last").await, @r#"
    $ fairlead chain move tool-filter --server one --last
    LEVEL  NAME  PLUGIN  REACHES  WHEN BROKEN  GRANTED
    server  redact  [PLUGINS]/redact.wasm  all  closed  nothing
    server  tool-filter  [PLUGINS]/tool-filter.wasm  all  closed  nothing
    --- status 0
    $ fairlead chain move tool-filter --server one --last --format json
    {
      "level": "server",
      "tenant": "default",
      "server": "one",
      "links": [
        {
          "level": "server",
          "name": "redact",
          "kind": "middleware",
          "plugin": "[PLUGINS]/redact.wasm",
          "failureMode": "closed",
          "config": {}
        },
        {
          "level": "server",
          "name": "tool-filter",
          "kind": "middleware",
          "plugin": "[PLUGINS]/tool-filter.wasm",
          "failureMode": "closed",
          "config": {
            "deny": [
              "danger*"
            ]
          }
        }
      ]
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("chain show --server one").await, @r#"
    $ fairlead chain show --server one
    LEVEL  NAME  PLUGIN  REACHES  WHEN BROKEN  GRANTED
    server  redact  [PLUGINS]/redact.wasm  all  closed  nothing
    server  tool-filter  [PLUGINS]/tool-filter.wasm  all  closed  nothing
    --- status 0
    $ fairlead chain show --server one --format json
    {
      "level": "server",
      "tenant": "default",
      "server": "one",
      "links": [
        {
          "level": "server",
          "name": "redact",
          "kind": "middleware",
          "plugin": "[PLUGINS]/redact.wasm",
          "failureMode": "closed",
          "config": {}
        },
        {
          "level": "server",
          "name": "tool-filter",
          "kind": "middleware",
          "plugin": "[PLUGINS]/tool-filter.wasm",
          "failureMode": "closed",
          "config": {
            "deny": [
              "danger*"
            ]
          }
        }
      ]
    }
    --- status 0
    "#);
    pair.write(
        "call.json",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"danger","arguments":{}}}"#,
    );
    assert_snapshot!(pair.run("chain explain one {home}/call.json").await, @r#"
    $ fairlead chain explain one {home}/call.json
    tools/call of `danger`
      server  redact (redact [VERSION] sha256:[DIGEST])
                request  next  [DURATION]
                error  next  [DURATION]
      server  tool-filter (tool-filter [VERSION] sha256:[DIGEST])
                request  reject  [DURATION]  {"code":4030,"data":{"tool":"danger"},"message":"tool `danger` is not available here"}
    the server would not see it
    the client would get
      {"error":{"code":4030,"data":{"tool":"danger"},"message":"tool `danger` is not available here"}}
    --- status 0
    $ fairlead chain explain one {home}/call.json --format json
    {
      "links": [
        {
          "level": "server",
          "name": "redact",
          "revision": "redact [VERSION] sha256:[DIGEST]",
          "wants": [
            "request",
            "response",
            "error"
          ],
          "asked": [
            {
              "phase": "request",
              "verdict": "next",
              "micros": [DURATION]
            },
            {
              "phase": "error",
              "verdict": "next",
              "micros": [DURATION]
            }
          ]
        },
        {
          "level": "server",
          "name": "tool-filter",
          "revision": "tool-filter [VERSION] sha256:[DIGEST]",
          "wants": [
            "request"
          ],
          "asked": [
            {
              "phase": "request",
              "verdict": "reject",
              "detail": {
                "code": 4030,
                "data": {
                  "tool": "danger"
                },
                "message": "tool `danger` is not available here"
              },
              "micros": [DURATION]
            }
          ]
        }
      ],
      "method": "tools/call",
      "target": "danger",
      "reachesServer": false,
      "answer": {
        "error": {
          "code": 4030,
          "data": {
            "tool": "danger"
          },
          "message": "tool `danger` is not available here"
        }
      }
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("chain remove redact --server one").await, @r#"
    $ fairlead chain remove redact --server one
    LEVEL  NAME  PLUGIN  REACHES  WHEN BROKEN  GRANTED
    server  tool-filter  [PLUGINS]/tool-filter.wasm  all  closed  nothing
    --- status 0
    $ fairlead chain remove redact --server one --format json
    {
      "level": "server",
      "tenant": "default",
      "server": "one",
      "links": [
        {
          "level": "server",
          "name": "tool-filter",
          "kind": "middleware",
          "plugin": "[PLUGINS]/tool-filter.wasm",
          "failureMode": "closed",
          "config": {
            "deny": [
              "danger*"
            ]
          }
        }
      ]
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("chain remove redact --server one").await, @r#"
    $ fairlead chain remove redact --server one
    --- stderr
    error: there is no plugin `redact` in this chain
    hint: `fairlead chain show` shows what is; what stands at another level is changed there, by those whose it is
    --- status 1
    $ fairlead chain remove redact --server one --format json
    --- stderr
    {"error":"there is no plugin `redact` in this chain","kind":"not-found","hint":"`fairlead chain show` shows what is; what stands at another level is changed there, by those whose it is"}
    --- status 1
    "#);
    pair.write("chain.yaml", "[]\n");
    assert_snapshot!(pair.run("chain set {home}/chain.yaml --server one").await, @r#"
    $ fairlead chain set {home}/chain.yaml --server one
    --- stderr
    no plugins; `fairlead chain add` puts one in
    --- status 0
    $ fairlead chain set {home}/chain.yaml --server one --format json
    {
      "level": "server",
      "tenant": "default",
      "server": "one",
      "links": []
    }
    --- status 0
    "#);
}
