//! Plugins: the author's loop, on components that are built already, and a registry that is not there. What a registry does
//! that is there, and what building gives, is shown by `distribution` and `authoring`.

use insta::assert_snapshot;

use super::pair::Pair;

#[tokio::test]
async fn the_loop_of_an_author() {
    let pair = Pair::bare().await;
    assert_snapshot!(pair.run("plugin new greeter --lang js").await, @r#"
    $ fairlead plugin new greeter --lang js
    greeter/config.json
    greeter/tests/cases.json
    greeter/message.json
    greeter/package.json
    greeter/README.md
    greeter/.gitignore
    greeter/plugin.js
    greeter/tests/native.test.js
    greeter/.fairlead
    --- stderr
    next: cd greeter && fairlead plugin build && fairlead plugin test
    --- status 0
    $ fairlead plugin new greeter --lang js --format json
    {
      "files": [
        "config.json",
        "tests/cases.json",
        "message.json",
        "package.json",
        "README.md",
        ".gitignore",
        "plugin.js",
        "tests/native.test.js",
        ".fairlead"
      ],
      "name": "greeter",
      "sdk": ".fairlead/sdk/js"
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("plugin new greeter --lang js").await, @r#"
    $ fairlead plugin new greeter --lang js
    --- stderr
    error: `[HOME]/greeter` is there already
    hint: choose another name, or remove what is there
    --- status 1
    $ fairlead plugin new greeter --lang js --format json
    --- stderr
    {"error":"`[HOME]/greeter` is there already","hint":"choose another name, or remove what is there"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("plugin build {home}/user").await, @r#"
    $ fairlead plugin build {home}/user
    --- stderr
    error: find a plugin in `[HOME]/user`: entity not found
    hint: name the directory of a plugin, or begin one with `fairlead plugin new`
    --- status 1
    $ fairlead plugin build {home}/user --format json
    --- stderr
    {"error":"find a plugin in `[HOME]/user`: entity not found","hint":"name the directory of a plugin, or begin one with `fairlead plugin new`"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("plugin validate {tool-filter}={\"deny\":[\"danger*\"]}").await, @r#"
    $ fairlead plugin validate {tool-filter}={"deny":["danger*"]}
    tool-filter [VERSION] is valid for contract [VERSION], and so is the configuration
    --- status 0
    $ fairlead plugin validate {tool-filter}={"deny":["danger*"]} --format json
    {
      "configured": true,
      "digest": "sha256:[DIGEST]",
      "kind": "middleware",
      "name": "tool-filter",
      "path": "[PLUGINS]/tool-filter.wasm",
      "version": "[VERSION]",
      "warnings": [],
      "witVersion": "[VERSION]"
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("plugin validate {tool-filter}={\"dany\":[]}").await, @r#"
    $ fairlead plugin validate {tool-filter}={"dany":[]}
    --- stderr
    error: configuration of `tool-filter` is wrong at the top: Additional properties are not allowed ('dany' was unexpected)
    hint: `fairlead plugin inspect [PLUGINS]/tool-filter.wasm` shows the schema
    --- status 1
    $ fairlead plugin validate {tool-filter}={"dany":[]} --format json
    --- stderr
    {"error":"configuration of `tool-filter` is wrong at the top: Additional properties are not allowed ('dany' was unexpected)","hint":"`fairlead plugin inspect [PLUGINS]/tool-filter.wasm` shows the schema"}
    --- status 1
    "#);
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"danger-zone","arguments":{}}}"#;
    assert_snapshot!(pair.run_with("plugin run {tool-filter}={\"deny\":[\"danger*\"]}", call).await, @r#"
    $ fairlead plugin run {tool-filter}={"deny":["danger*"]}
    reject ([DURATION])
      4030: tool `danger-zone` is not available here
    {
      "tool": "danger-zone"
    }
    --- status 0
    $ fairlead plugin run {tool-filter}={"deny":["danger*"]} --format json
    {
      "micros": [DURATION],
      "outcome": {
        "code": 4030,
        "data": {
          "tool": "danger-zone"
        },
        "message": "tool `danger-zone` is not available here",
        "verdict": "reject"
      }
    }
    --- status 0
    "#);
    let cases = r#"{"cases":[{"name":"danger","config":{"deny":["danger*"]},"call":{"method":"tools/call","params":{"name":"danger","arguments":{}}},"expect":{"verdict":"reject"}}]}"#;
    pair.write("cases.json", cases);
    assert_snapshot!(pair.run("plugin test {tool-filter} --cases {home}/cases.json").await, @r#"
    $ fairlead plugin test {tool-filter} --cases {home}/cases.json
    ok  danger
    1 passed, 0 failed
    --- status 0
    $ fairlead plugin test {tool-filter} --cases {home}/cases.json --format json
    {
      "cases": [
        {
          "micros": [DURATION],
          "name": "danger",
          "wrong": []
        }
      ],
      "failed": 0,
      "passed": 1
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("plugin bench {home}/nothing.wasm").await, @r#"
    $ fairlead plugin bench {home}/nothing.wasm
    --- stderr
    error: there is no plugin file `[HOME]/nothing.wasm`
    --- status 1
    $ fairlead plugin bench {home}/nothing.wasm --format json
    --- stderr
    {"error":"there is no plugin file `[HOME]/nothing.wasm`","kind":"not-found"}
    --- status 1
    "#);
}

#[tokio::test]
async fn plugins_that_are_there_and_a_registry_that_is_not() {
    let pair = Pair::with_daemons().await;
    assert_snapshot!(pair.shape("plugin list").await, @"
    $ fairlead plugin list
    NAME  VERSION  KIND  DESCRIPTION
    --- status 0
    $ fairlead plugin list --format json
    attributes capabilities configSchema description digest imports interests kind name path sizeBytes version witVersion
    --- status 0
    ");
    assert_snapshot!(pair.shape("plugin inspect {redact}").await, @"
    $ fairlead plugin inspect {redact}
    redact [VERSION] (middleware)
    --- status 0
    $ fairlead plugin inspect {redact} --format json
    attributes capabilities configSchema description digest imports interests kind name path sizeBytes version witVersion
    --- status 0
    ");
    assert_snapshot!(pair.run("plugin push {redact} localhost:1/team/redact:1").await, @r#"
    $ fairlead plugin push {redact} localhost:1/team/redact:1
    --- stderr
    error: plugin `localhost:1/team/redact:1`: `localhost:1` cannot be reached: connect to http://localhost:1: Connection refused (os error 111)
    hint: look at the network and at the name of the registry; what is installed goes on working
    --- status 1
    $ fairlead plugin push {redact} localhost:1/team/redact:1 --format json
    --- stderr
    {"error":"plugin `localhost:1/team/redact:1`: `localhost:1` cannot be reached: connect to http://localhost:1: Connection refused (os error 111)","kind":"unavailable","hint":"look at the network and at the name of the registry; what is installed goes on working"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("plugin pull localhost:1/team/redact:1 --output {home}/redact.wasm").await, @r#"
    $ fairlead plugin pull localhost:1/team/redact:1 --output {home}/redact.wasm
    --- stderr
    error: plugin `localhost:1/team/redact:1`: `localhost:1` cannot be reached: connect to http://localhost:1: Connection refused (os error 111)
    hint: look at the network and at the name of the registry; what is installed goes on working
    --- status 1
    $ fairlead plugin pull localhost:1/team/redact:1 --output {home}/redact.wasm --format json
    --- stderr
    {"error":"plugin `localhost:1/team/redact:1`: `localhost:1` cannot be reached: connect to http://localhost:1: Connection refused (os error 111)","kind":"unavailable","hint":"look at the network and at the name of the registry; what is installed goes on working"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("plugin install localhost:1/team/redact:1").await, @r#"
    $ fairlead plugin install localhost:1/team/redact:1
    --- stderr
    error: plugin `localhost:1/team/redact:1`: `localhost:1` cannot be reached: connect to http://localhost:1: Connection refused (os error 111)
    hint: look at the network and at the name of the registry; what is installed goes on working
    --- status 1
    $ fairlead plugin install localhost:1/team/redact:1 --format json
    --- stderr
    {"error":"plugin `localhost:1/team/redact:1`: `localhost:1` cannot be reached: connect to http://localhost:1: Connection refused (os error 111)","kind":"unavailable","hint":"look at the network and at the name of the registry; what is installed goes on working"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("plugin rm redact").await, @r#"
    $ fairlead plugin rm redact
    --- stderr
    error: no plugin is installed as `redact`
    hint: `fairlead plugin list` shows what there is
    --- status 1
    $ fairlead plugin rm redact --format json
    --- stderr
    {"error":"no plugin is installed as `redact`","kind":"not-found","hint":"`fairlead plugin list` shows what there is"}
    --- status 1
    "#);
}
