//! The daemon itself.

use insta::assert_snapshot;

use super::pair::Pair;

#[tokio::test]
async fn the_daemon() {
    let pair = Pair::with_daemons().await;
    assert_snapshot!(pair.run("version").await, @r#"
    $ fairlead version
    fairlead [VERSION]
    daemon  [VERSION] (process [PID], [ADDRESS])
    --- status 0
    $ fairlead version --format json
    {
      "daemon": {
        "address": "[ADDRESS]",
        "pid": [PID],
        "socket": "[HOME]/run/fairlead.sock",
        "version": "[VERSION]"
      },
      "version": "[VERSION]"
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("serve").await, @r#"
    $ fairlead serve
    --- stderr
    error: a daemon already runs here (process [PID])
    hint: stop it with `fairlead shutdown`, or use another `FAIRLEAD_HOME`
    --- status 3
    $ fairlead serve --format json
    --- stderr
    {"error":"a daemon already runs here (process [PID])","hint":"stop it with `fairlead shutdown`, or use another `FAIRLEAD_HOME`"}
    --- status 3
    "#);
    assert_snapshot!(pair.run("shutdown").await, @r#"
    $ fairlead shutdown
    --- stderr
    the daemon has stopped
    --- status 0
    $ fairlead shutdown --format json
    --- stderr
    {"note":"the daemon has stopped"}
    --- status 0
    "#);
    assert_snapshot!(pair.run("shutdown").await, @r#"
    $ fairlead shutdown
    --- stderr
    no daemon runs
    --- status 0
    $ fairlead shutdown --format json
    --- stderr
    {"note":"no daemon runs"}
    --- status 0
    "#);
    assert_snapshot!(pair.run("version").await, @r#"
    $ fairlead version
    fairlead [VERSION]
    daemon  does not run
    --- status 0
    $ fairlead version --format json
    {
      "daemon": null,
      "version": "[VERSION]"
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("list").await, @"
    $ fairlead list
    --- stderr
    no servers; `fairlead run` starts one
    --- status 0
    $ fairlead list --format json
    []
    --- status 0
    ");
}

/// What it finds is another thing on each machine; what it looks at is not.
#[tokio::test]
async fn a_doctor_looks_at_the_same_things_everywhere() {
    let pair = Pair::bare().await;
    let said = pair.run("doctor").await;
    let (text, json) = said.split_once("$ fairlead doctor --format json\n").unwrap();
    let report: serde_json::Value = serde_json::from_str(json.split("---").next().unwrap()).unwrap();
    let names: Vec<&str> =
        report["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_snapshot!(names.join(" "), @"daemon state disk clock secrets clients plugins container engine orphans");
    for name in names {
        assert!(text.contains(name), "{name} is told to people, too:\n{text}");
    }
    assert!(said.matches("--- status 0").count() == 2 || said.matches("--- status 1").count() == 2, "{said}");
}
