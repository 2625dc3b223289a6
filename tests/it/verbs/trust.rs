//! Who trusts what: layers, and reviews of single entries.

use insta::assert_snapshot;

use super::registries::knowing;

#[tokio::test]
async fn layers() {
    let pair = knowing().await;
    assert_snapshot!(pair.run("registry layers").await, @r#"
    $ fairlead registry layers
    LAYER  MAY RUN
    trusted  yes
    reviewed  yes
    community  yes
    --- stderr
    what comes from no registry may run as well
    --- status 0
    $ fairlead registry layers --format json
    {
      "layers": [
        "trusted",
        "reviewed",
        "community"
      ]
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("registry layers --run trusted").await, @r#"
    $ fairlead registry layers --run trusted
    LAYER  MAY RUN
    trusted  yes
    reviewed  no
    community  no
    --- status 0
    $ fairlead registry layers --run trusted --format json
    {
      "layers": [
        "trusted",
        "reviewed",
        "community"
      ],
      "run": [
        "trusted"
      ]
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("run registry://weather").await, @r#"
    $ fairlead run registry://weather
    --- stderr
    error: `a.b/weather@1.0.0` is in layer `community` (registry `ours`), and only entries of `trusted` may run
    hint: ask for it with `fairlead registry submit a.b/weather@1.0.0 --reason …`; an admin of the tenant decides
    --- status 1
    $ fairlead run registry://weather --format json
    --- stderr
    {"error":"`a.b/weather@1.0.0` is in layer `community` (registry `ours`), and only entries of `trusted` may run","kind":"forbidden","hint":"ask for it with `fairlead registry submit a.b/weather@1.0.0 --reason …`; an admin of the tenant decides"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("registry layers --run nobody").await, @r#"
    $ fairlead registry layers --run nobody
    --- stderr
    error: `nobody` may run and is no layer
    hint: `fairlead registry layers` shows what there is; `--order` adds one
    --- status 1
    $ fairlead registry layers --run nobody --format json
    --- stderr
    {"error":"`nobody` may run and is no layer","kind":"invalid","hint":"`fairlead registry layers` shows what there is; `--order` adds one"}
    --- status 1
    "#);
}

#[tokio::test]
async fn reviews() {
    let pair = knowing().await;
    assert_snapshot!(pair.run("registry review").await, @"
    $ fairlead registry review
    --- stderr
    nothing was requested; `fairlead registry submit` asks for an entry to be trusted
    --- status 0
    $ fairlead registry review --format json
    []
    --- status 0
    ");
    assert_snapshot!(pair.run("registry submit weather --reason wanted").await, @r#"
    $ fairlead registry submit weather --reason wanted
    review 1: a.b/weather@1.0.0 is requested
    --- status 0
    $ fairlead registry submit weather --reason wanted --format json
    {
      "id": 1,
      "name": "a.b/weather",
      "version": "1.0.0",
      "registry": "ours",
      "layer": "community",
      "standing": "requested",
      "steps": [
        {
          "to": "requested",
          "by": "owner",
          "reason": "wanted",
          "at": "[TIME]"
        }
      ],
      "differences": [
        {
          "pointer": "/description",
          "after": "Forecasts"
        },
        {
          "pointer": "/name",
          "after": "a.b/weather"
        },
        {
          "pointer": "/remotes",
          "after": [
            {
              "type": "streamable-http",
              "url": "https://weather.example.test/mcp"
            }
          ]
        },
        {
          "pointer": "/version",
          "after": "1.0.0"
        }
      ]
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("registry submit weather --reason wanted").await, @r#"
    $ fairlead registry submit weather --reason wanted
    --- stderr
    error: the same content was requested before: review 1
    hint: `fairlead registry review` shows what was requested and decided
    --- status 1
    $ fairlead registry submit weather --reason wanted --format json
    --- stderr
    {"error":"the same content was requested before: review 1","kind":"conflict","hint":"`fairlead registry review` shows what was requested and decided"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("registry review 1").await, @r#"
    $ fairlead registry review 1
    a.b/weather@1.0.0 of ours, held against nothing approved before
      /description: - -> "Forecasts"
      /name: - -> "a.b/weather"
      /remotes: - -> [{"type":"streamable-http","url":"https://weather.example.test/mcp"}]
      /version: - -> "1.0.0"
    [TIME] requested by owner: wanted
    --- status 0
    $ fairlead registry review 1 --format json
    {
      "id": 1,
      "name": "a.b/weather",
      "version": "1.0.0",
      "registry": "ours",
      "layer": "community",
      "standing": "requested",
      "steps": [
        {
          "to": "requested",
          "by": "owner",
          "reason": "wanted",
          "at": "[TIME]"
        }
      ],
      "differences": [
        {
          "pointer": "/description",
          "after": "Forecasts"
        },
        {
          "pointer": "/name",
          "after": "a.b/weather"
        },
        {
          "pointer": "/remotes",
          "after": [
            {
              "type": "streamable-http",
              "url": "https://weather.example.test/mcp"
            }
          ]
        },
        {
          "pointer": "/version",
          "after": "1.0.0"
        }
      ]
    }
    --- status 0
    "#);
    assert_snapshot!(pair.shape("registry deny 1 --reason unknown").await, @"
    $ fairlead registry deny 1 --reason unknown
    review 1: a.b/weather@1.0.0 is denied
    --- status 0
    $ fairlead registry deny 1 --reason unknown --format json
    differences id layer name registry standing steps version
    --- status 0
    ");
    pair.run("registry submit weather --reason please").await;
    assert_snapshot!(pair.shape("registry approve 2 --reason seen").await, @"
    $ fairlead registry approve 2 --reason seen
    review 2: a.b/weather@1.0.0 is approved
    --- status 0
    $ fairlead registry approve 2 --reason seen --format json
    differences id layer name registry standing steps version
    --- status 0
    ");
    assert_snapshot!(pair.shape("registry revoke 2 --reason broken").await, @"
    $ fairlead registry revoke 2 --reason broken
    review 2: a.b/weather@1.0.0 is revoked
    --- status 0
    $ fairlead registry revoke 2 --reason broken --format json
    differences id layer name registry standing steps version
    --- status 0
    ");
    assert_snapshot!(pair.run("registry approve 2").await, @r#"
    $ fairlead registry approve 2
    --- stderr
    error: review 2 is revoked already, by owner
    hint: `fairlead registry review` shows what was requested and decided
    --- status 1
    $ fairlead registry approve 2 --format json
    --- stderr
    {"error":"review 2 is revoked already, by owner","kind":"conflict","hint":"`fairlead registry review` shows what was requested and decided"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("registry review").await, @r#"
    $ fairlead registry review
    ID  NAME  VERSION  STANDING  BY  AGE  REASON
    2  a.b/weather  1.0.0  revoked  owner  [DURATION]  please
    1  a.b/weather  1.0.0  denied  owner  [DURATION]  wanted
    --- status 0
    $ fairlead registry review --format json
    [
      {
        "id": 2,
        "name": "a.b/weather",
        "version": "1.0.0",
        "registry": "ours",
        "layer": "community",
        "standing": "revoked",
        "steps": [
          {
            "to": "requested",
            "by": "owner",
            "reason": "please",
            "at": "[TIME]"
          },
          {
            "to": "approved",
            "by": "owner",
            "reason": "seen",
            "at": "[TIME]"
          },
          {
            "to": "revoked",
            "by": "owner",
            "reason": "broken",
            "at": "[TIME]"
          }
        ]
      },
      {
        "id": 1,
        "name": "a.b/weather",
        "version": "1.0.0",
        "registry": "ours",
        "layer": "community",
        "standing": "denied",
        "steps": [
          {
            "to": "requested",
            "by": "owner",
            "reason": "wanted",
            "at": "[TIME]"
          },
          {
            "to": "denied",
            "by": "owner",
            "reason": "unknown",
            "at": "[TIME]"
          }
        ]
      }
    ]
    --- status 0
    "#);
}

#[tokio::test]
async fn what_was_done_and_what_was_declared() {
    let pair = knowing().await;
    pair.run("registry submit weather --reason wanted").await;
    pair.run("registry deny 1 --reason unknown").await;
    assert_snapshot!(pair.run("registry audit").await, @r#"
    $ fairlead registry audit
    AT  ID  ENTRY  STANDING  BY  REASON
    [TIME]  1  a.b/weather@1.0.0  requested  owner  wanted
    [TIME]  1  a.b/weather@1.0.0  denied  owner  unknown
    --- status 0
    $ fairlead registry audit --format json
    [
      {
        "at": "[TIME]",
        "review": 1,
        "name": "a.b/weather",
        "version": "1.0.0",
        "registry": "ours",
        "to": "requested",
        "by": "owner",
        "reason": "wanted"
      },
      {
        "at": "[TIME]",
        "review": 1,
        "name": "a.b/weather",
        "version": "1.0.0",
        "registry": "ours",
        "to": "denied",
        "by": "owner",
        "reason": "unknown"
      }
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.run("registry export").await, @r#"
    $ fairlead registry export
    {
      "registries": {
        "ours": {
          "source": {
            "kind": "file",
            "path": "[HOME]/servers.json"
          },
          "layer": "community",
          "intervalSecs": 3600
        }
      }
    }
    --- status 0
    $ fairlead registry export --format json
    {
      "registries": {
        "ours": {
          "source": {
            "kind": "file",
            "path": "[HOME]/servers.json"
          },
          "layer": "community",
          "intervalSecs": 3600
        }
      }
    }
    --- status 0
    "#);
    pair.run("registry export backup.json").await;
    pair.run("registry remove ours").await;
    assert_snapshot!(pair.run("registry import backup.json").await, @r#"
    $ fairlead registry import backup.json
    ours: 1 entries
    --- status 0
    $ fairlead registry import backup.json --format json
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
          "layer": "community",
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
    assert_snapshot!(pair.run("registry serve --address 127.0.0.1:0").await, @r#"
    $ fairlead registry serve --address 127.0.0.1:0
    --- stderr
    error: a daemon already runs here (process [PID])
    hint: stop it with `fairlead shutdown`, or use another `FAIRLEAD_HOME`
    --- status 3
    $ fairlead registry serve --address 127.0.0.1:0 --format json
    --- stderr
    {"error":"a daemon already runs here (process [PID])","hint":"stop it with `fairlead shutdown`, or use another `FAIRLEAD_HOME`"}
    --- status 3
    "#);
}
