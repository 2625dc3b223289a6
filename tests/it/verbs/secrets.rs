//! Secrets: values go in by standard input and come out when they are asked for.

use insta::assert_snapshot;

use super::pair::Pair;

#[tokio::test]
async fn secrets() {
    let pair = Pair::with_daemons().await;
    assert_snapshot!(pair.run("secret list").await, @"
    $ fairlead secret list
    --- stderr
    no secrets; `fairlead secret set` stores one
    --- status 0
    $ fairlead secret list --format json
    []
    --- status 0
    ");
    assert_snapshot!(pair.run("secret set token hunter2").await, @r#"
    $ fairlead secret set token hunter2
    --- stderr
    error: the value of a secret is not typed on the command line
    hint: give it on standard input: `… < file`; others see arguments in the list of processes
    --- status 2
    $ fairlead secret set token hunter2 --format json
    --- stderr
    {"error":"the value of a secret is not typed on the command line","hint":"give it on standard input: `… < file`; others see arguments in the list of processes"}
    --- status 2
    "#);
    assert_snapshot!(pair.run_with("secret set token", "hunter2\n").await, @r#"
    $ fairlead secret set token
    secret://store/token is set
    --- status 0
    $ fairlead secret set token --format json
    {
      "name": "token",
      "reference": "secret://store/token",
      "updated": "[TIME]",
      "usedBy": []
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("secret list").await, @r#"
    $ fairlead secret list
    NAME  AGE  USED BY
    token  [DURATION]  -
    --- status 0
    $ fairlead secret list --format json
    [
      {
        "name": "token",
        "reference": "secret://store/token",
        "updated": "[TIME]",
        "usedBy": []
      }
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.run("secret get token").await, @r#"
    $ fairlead secret get token
    hunter2
    --- status 0
    $ fairlead secret get token --format json
    {
      "value": "hunter2"
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("secret get other").await, @r#"
    $ fairlead secret get other
    --- stderr
    error: there is no secret `secret://store/other`
    hint: store it with `fairlead secret set other`
    --- status 1
    $ fairlead secret get other --format json
    --- stderr
    {"error":"there is no secret `secret://store/other`","kind":"not-found","hint":"store it with `fairlead secret set other`"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("secret rotate").await, @r#"
    $ fairlead secret rotate
    the store has a new key, in its file
    --- status 0
    $ fairlead secret rotate --format json
    {
      "key": "file"
    }
    --- status 0
    "#);
    pair.run("run --name one --secret token,target=TOKEN -- {server}").await;
    assert_snapshot!(pair.run("secret rm token").await, @r#"
    $ fairlead secret rm token
    --- stderr
    error: server `one` uses the secret `token`
    hint: remove it first: `fairlead rm one`
    --- status 1
    $ fairlead secret rm token --format json
    --- stderr
    {"error":"server `one` uses the secret `token`","kind":"conflict","hint":"remove it first: `fairlead rm one`"}
    --- status 1
    "#);
    pair.run("rm one").await;
    assert_snapshot!(pair.run("secret rm token").await, @r#"
    $ fairlead secret rm token
    token is removed
    --- status 0
    $ fairlead secret rm token --format json
    [
      {
        "name": "token",
        "tenant": "default"
      }
    ]
    --- status 0
    "#);
}
