//! Documents in and out, and recipes of images.

use insta::assert_snapshot;
use serde_json::json;

use super::pair::Pair;

#[tokio::test]
async fn export() {
    let pair = Pair::with_daemons().await;
    pair.run("run --name one --label team=a -- {server}").await;
    assert_snapshot!(pair.run("export one").await, @r#"
    $ fairlead export one
    apiVersion: fairlead.dev/v1alpha1
    kind: MCPServer
    metadata:
      labels:
        team: a
      name: one
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
      updates:
        autoReinstall: true
        check: true
    --- status 0
    $ fairlead export one --format json
    {
      "text": "apiVersion: fairlead.dev/v1alpha1\nkind: MCPServer\nmetadata:\n  labels:\n  team: a\n  name: one\n  namespace: default\nspec:\n  isolation: session\n  source:\n  args: []\n  directory: [HOME]\n  kind: command\n  program: [SERVER]\n  transport:\n  kind: stdio\n  updates:\n  autoReinstall: true\n  check: true\n",
      "notes": []
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("export one --as runconfig").await, @r#"
    $ fairlead export one --as runconfig
    --- stderr
    error: ToolHive has nothing like a command of this machine; `--as yaml` exports it
    --- status 1
    $ fairlead export one --as runconfig --format json
    --- stderr
    {"error":"ToolHive has nothing like a command of this machine; `--as yaml` exports it","kind":"invalid"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("export one --as k8s").await, @r#"
    $ fairlead export one --as k8s
    --- stderr
    error: a cluster has no command and no file of this machine
    --- status 1
    $ fairlead export one --as k8s --format json
    --- stderr
    {"error":"a cluster has no command and no file of this machine","kind":"invalid"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("export one {home}/one.yaml").await, @"
    $ fairlead export one {home}/one.yaml
    --- status 0
    $ fairlead export one {home}/one.yaml --format json
    --- status 0
    ");
    assert_snapshot!(pair.run("run --from-config {home}/one.yaml --dry-run").await, @r#"
    $ fairlead run --from-config {home}/one.yaml --dry-run
    apiVersion: fairlead.dev/v1alpha1
    kind: MCPServer
    metadata:
      labels:
        team: a
      name: one
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
      updates:
        autoReinstall: true
        check: true
    --- status 0
    $ fairlead run --from-config {home}/one.yaml --dry-run --format json
    {
      "apiVersion": "fairlead.dev/v1alpha1",
      "kind": "MCPServer",
      "metadata": {
        "labels": {
          "team": "a"
        },
        "name": "one",
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
        },
        "updates": {
          "autoReinstall": true,
          "check": true
        }
      }
    }
    --- status 0
    "#);
}

#[tokio::test]
async fn import() {
    let pair = Pair::with_daemons().await;
    assert_snapshot!(pair.run("import toolhive --from {home}/user").await, @r#"
    $ fairlead import toolhive --from {home}/user
    --- stderr
    error: `[HOME]/user` has no ToolHive in it
    hint: name the home directory of its user with `--from`
    --- status 1
    $ fairlead import toolhive --from {home}/user --format json
    --- stderr
    {"error":"`[HOME]/user` has no ToolHive in it","hint":"name the home directory of its user with `--from`"}
    --- status 1
    "#);
    let config = json!({"schema_version": "v0.1.0", "name": "fetch", "image": "example/fetch:1", "transport": "stdio", "surprise": 1});
    pair.write("user/.local/state/toolhive/runconfigs/fetch.json", &config.to_string());
    pair.write("user/.local/state/toolhive/groups/work.json", r#"{"name":"work","registered_clients":["cursor"]}"#);
    assert_snapshot!(pair.run("import toolhive --from {home}/user --dry-run").await, @r#"
    $ fairlead import toolhive --from {home}/user --dry-run
    group work would be created
    server fetch would be created
      /surprise (unknown): RunConfig v[VERSION] has no such field
    client cursor would be registered, if it is installed
    --- status 0
    $ fairlead import toolhive --from {home}/user --dry-run --format json
    [
      {
        "error": null,
        "name": "work",
        "notes": [],
        "outcome": "would be created",
        "what": "group"
      },
      {
        "error": null,
        "name": "fetch",
        "notes": [
          {
            "fate": "unknown",
            "pointer": "/surprise",
            "reason": "RunConfig v[VERSION] has no such field"
          }
        ],
        "outcome": "would be created",
        "what": "server"
      },
      {
        "error": null,
        "name": "cursor",
        "notes": [],
        "outcome": "would be registered, if it is installed",
        "what": "client"
      }
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.run("import toolhive --from {home}/user").await, @r#"
    $ fairlead import toolhive --from {home}/user
    group work is created
    server fetch is there, and stopped
      /surprise (unknown): RunConfig v[VERSION] has no such field
    client cursor is not installed
    --- status 0
    $ fairlead import toolhive --from {home}/user --format json
    [
      {
        "error": null,
        "name": "work",
        "notes": [],
        "outcome": "is created",
        "what": "group"
      },
      {
        "error": null,
        "name": "fetch",
        "notes": [
          {
            "fate": "unknown",
            "pointer": "/surprise",
            "reason": "RunConfig v[VERSION] has no such field"
          }
        ],
        "outcome": "is there, and stopped",
        "what": "server"
      },
      {
        "error": null,
        "name": "cursor",
        "notes": [],
        "outcome": "is not installed",
        "what": "client"
      }
    ]
    --- status 0
    "#);
}

#[tokio::test]
async fn build() {
    let pair = Pair::with_daemons().await;
    assert_snapshot!(pair.run("build npx://@example/server@1.2.3 --base-image example/node:22 --output -").await, @r#"
    $ fairlead build npx://@example/server@1.2.3 --base-image example/node:22 --output -
    FROM example/node:22 AS build
    USER 0
    RUN mkdir -p /opt/server && chown 65532:65532 /opt/server
    COPY files /opt/fairlead
    USER 65532:65532
    WORKDIR /opt/server
    ENV HOME=/tmp
    RUN NPM_CONFIG_USERCONFIG=/opt/fairlead/npmrc npm install --omit=dev --no-audit --no-fund --loglevel=http --no-update-notifier @example/server@1.2.3
    RUN node /opt/fairlead/entry.mjs @example/server
    FROM example/node:22
    COPY --from=build /opt/server /opt/server
    ENV HOME=/tmp
    WORKDIR /tmp
    USER 65532:65532
    ENTRYPOINT ["/opt/server/entry"]
    LABEL fairlead.dev/package=npx://@example/server@1.2.3 fairlead.dev/recipe=[OPERATION]
    --- status 0
    $ fairlead build npx://@example/server@1.2.3 --base-image example/node:22 --output - --format json
    FROM example/node:22 AS build
    USER 0
    RUN mkdir -p /opt/server && chown 65532:65532 /opt/server
    COPY files /opt/fairlead
    USER 65532:65532
    WORKDIR /opt/server
    ENV HOME=/tmp
    RUN NPM_CONFIG_USERCONFIG=/opt/fairlead/npmrc npm install --omit=dev --no-audit --no-fund --loglevel=http --no-update-notifier @example/server@1.2.3
    RUN node /opt/fairlead/entry.mjs @example/server
    FROM example/node:22
    COPY --from=build /opt/server /opt/server
    ENV HOME=/tmp
    WORKDIR /tmp
    USER 65532:65532
    ENTRYPOINT ["/opt/server/entry"]
    LABEL fairlead.dev/package=npx://@example/server@1.2.3 fairlead.dev/recipe=[OPERATION]
    --- status 0
    "#);
    assert_snapshot!(pair.run("build gem://server").await, @r#"
    $ fairlead build gem://server
    --- stderr
    error: invalid value 'gem://server' for '<PACKAGE>': `gem://server` is no package: write `npx://name`, `uvx://name` or `go://module`

    For more information, try '--help'.
    --- status 2
    $ fairlead build gem://server --format json
    --- stderr
    {"error":"invalid value 'gem://server' for '<PACKAGE>': `gem://server` is no package: write `npx://name`, `uvx://name` or `go://module`","hint":"try `--help`"}
    --- status 2
    "#);
}

const ACME: &str =
    "apiVersion: fairlead.dev/v1alpha1\nkind: Tenant\nmetadata:\n  name: acme\nspec:\n  description: Acme\n";

#[tokio::test]
async fn nothing_is_there() {
    let pair = Pair::bare().await;
    assert_snapshot!(pair.run("get").await, @"
    $ fairlead get
    --- stderr
    no documents; `fairlead run` starts a server, `fairlead apply` makes what documents say
    --- status 0
    $ fairlead get --format json
    []
    --- status 0
    ");
    assert_snapshot!(pair.run("top").await, @"
    $ fairlead top
    --- stderr
    no servers; `fairlead run` starts one
    --- status 0
    $ fairlead top --format json
    []
    --- status 0
    ");
}

#[tokio::test]
async fn apply() {
    let pair = Pair::with_daemons().await;
    pair.write("acme.yaml", ACME);
    assert_snapshot!(pair.run("diff --filename {home}/acme.yaml").await, @r#"
    $ fairlead diff --filename {home}/acme.yaml
    Tenant `acme` would be created
    + apiVersion: fairlead.dev/v1alpha1
    + kind: Tenant
    + metadata:
    +  name: acme
    + spec:
    +  description: Acme
    --- status 0
    $ fairlead diff --filename {home}/acme.yaml --format json
    {
      "steps": [
        {
          "id": {
            "kind": "Tenant",
            "name": "acme"
          },
          "action": "create",
          "differences": [
            {
              "pointer": "",
              "after": {
                "apiVersion": "fairlead.dev/v1alpha1",
                "kind": "Tenant",
                "metadata": {
                  "name": "acme"
                },
                "spec": {
                  "description": "Acme"
                }
              }
            }
          ]
        }
      ]
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("apply --filename {home}/acme.yaml").await, @r#"
    $ fairlead apply --filename {home}/acme.yaml
    Tenant `acme` created
    --- status 0
    $ fairlead apply --filename {home}/acme.yaml --format json
    {
      "steps": [
        {
          "id": {
            "kind": "Tenant",
            "name": "acme"
          },
          "action": "create",
          "differences": [
            {
              "pointer": "",
              "after": {
                "apiVersion": "fairlead.dev/v1alpha1",
                "kind": "Tenant",
                "metadata": {
                  "name": "acme"
                },
                "spec": {
                  "description": "Acme"
                }
              }
            }
          ]
        }
      ]
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("apply --filename {home}/acme.yaml").await, @r#"
    $ fairlead apply --filename {home}/acme.yaml
    Tenant `acme` unchanged
    --- status 0
    $ fairlead apply --filename {home}/acme.yaml --format json
    {
      "steps": [
        {
          "id": {
            "kind": "Tenant",
            "name": "acme"
          },
          "action": "keep"
        }
      ]
    }
    --- status 0
    "#);
    pair.write("acme.yaml", &ACME.replace("description", "descripton"));
    assert_snapshot!(pair.run("apply --filename {home}/acme.yaml").await, @r#"
    $ fairlead apply --filename {home}/acme.yaml
    --- stderr
    error: `[HOME]/acme.yaml`, document 1: Tenant `acme`: `/spec/descripton`: unknown field `descripton`
    hint: did you mean `description`?
    --- status 1
    $ fairlead apply --filename {home}/acme.yaml --format json
    --- stderr
    {"error":"`[HOME]/acme.yaml`, document 1: Tenant `acme`: `/spec/descripton`: unknown field `descripton`","hint":"did you mean `description`?"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("get tenants acme").await, @r#"
    $ fairlead get tenants acme
    apiVersion: fairlead.dev/v1alpha1
    kind: Tenant
    metadata:
      name: acme
    spec:
      description: Acme
    status:
      attachments: 0
      servers: 0
    --- status 0
    $ fairlead get tenants acme --format json
    [
      {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "Tenant",
        "metadata": {
          "name": "acme"
        },
        "spec": {
          "description": "Acme"
        },
        "status": {
          "attachments": 0,
          "servers": 0
        }
      }
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.run("get pigeons").await, @r#"
    $ fairlead get pigeons
    --- stderr
    error: invalid value 'pigeons' for '[KIND]': there is no kind `pigeons`

    For more information, try '--help'.
    --- status 2
    $ fairlead get pigeons --format json
    --- stderr
    {"error":"invalid value 'pigeons' for '[KIND]': there is no kind `pigeons`","hint":"try `--help`"}
    --- status 2
    "#);
}
