//! Many servers at once, and groups of them.

use insta::assert_snapshot;

use super::pair::Pair;

#[tokio::test]
async fn many_servers() {
    let pair = Pair::with_daemons().await;
    assert_snapshot!(pair.run("group create research").await, @r#"
    $ fairlead group create research
    research is created
    --- status 0
    $ fairlead group create research --format json
    {
      "name": "research",
      "tenant": "default",
      "servers": []
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("group create research").await, @r#"
    $ fairlead group create research
    --- stderr
    error: there is a group `research` already
    --- status 1
    $ fairlead group create research --format json
    --- stderr
    {"error":"there is a group `research` already","kind":"conflict"}
    --- status 1
    "#);
    for name in ["one", "two"] {
        pair.run(&format!("run --name {name} --group research -- {{server}}")).await;
    }
    assert_snapshot!(pair.run("group list").await, @r#"
    $ fairlead group list
    GROUP  SERVERS
    default
    research  one, two
    --- status 0
    $ fairlead group list --format json
    [
      {
        "name": "default",
        "tenant": "default",
        "servers": []
      },
      {
        "name": "research",
        "tenant": "default",
        "servers": [
          "one",
          "two"
        ]
      }
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.shape("stop --group research").await, @"
    $ fairlead stop --group research
    one is stopped
    --- status 0
    $ fairlead stop --group research --format json
    chain created desired group name profile restarts since source spec status tenant transport updates url
    --- status 0
    ");
    assert_snapshot!(pair.run("start three").await, @r#"
    $ fairlead start three
    --- stderr
    error: there is no server `three` in tenant `default`
    hint: `fairlead list --all` shows what there is
    --- status 1
    $ fairlead start three --format json
    []
    --- stderr
    {"error":"there is no server `three` in tenant `default`","kind":"not-found","hint":"`fairlead list --all` shows what there is"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("group rm research").await, @r#"
    $ fairlead group rm research
    research is removed
    --- status 0
    $ fairlead group rm research --format json
    {
      "name": "research",
      "removed": [],
      "tenant": "default"
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("group rm nothing").await, @r#"
    $ fairlead group rm nothing
    --- stderr
    error: there is no group `nothing`
    --- status 1
    $ fairlead group rm nothing --format json
    --- stderr
    {"error":"there is no group `nothing`","kind":"not-found"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("rm --all").await, @r#"
    $ fairlead rm --all
    one is removed
    two is removed
    --- status 0
    $ fairlead rm --all --format json
    [
      {
        "name": "one",
        "tenant": "default"
      },
      {
        "name": "two",
        "tenant": "default"
      }
    ]
    --- status 0
    "#);
}
