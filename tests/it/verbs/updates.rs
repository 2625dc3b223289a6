//! What is newest, what is done about it, and a word of one's own; on a server that is a component, which is as new as can be.

use anyhow::ensure;
use fairlead_tests::eventually;
use fairlead_tests::limits::SETTLE;
use insta::assert_snapshot;

use super::pair::Pair;

#[tokio::test]
async fn nothing_to_keep_fresh() {
    let pair = Pair::bare().await;
    assert_snapshot!(pair.run("update status").await, @"
    $ fairlead update status
    --- stderr
    no servers to keep fresh; `fairlead run` starts one
    --- status 0
    $ fairlead update status --format json
    []
    --- status 0
    ");
    assert_snapshot!(pair.run("update plan").await, @"
    $ fairlead update plan
    --- stderr
    no servers to keep fresh; `fairlead run` starts one
    --- status 0
    $ fairlead update plan --format json
    []
    --- status 0
    ");
}

#[tokio::test]
async fn updates() {
    let pair = Pair::with_daemons().await;
    pair.run("run {toolbox} --name fresh").await;
    eventually("it was looked at, at both", SETTLE, async || {
        let said = pair.run("update check fresh").await;
        ensure!(said.contains("\"up_to_date\""), "{said}");
        Ok(())
    })
    .await
    .unwrap();
    assert_snapshot!(pair.run("update check fresh").await, @r#"
    $ fairlead update check fresh
    status  up_to_date
    check  on
    auto reinstall  on
    running  sha256:[DIGEST]
    newest  sha256:[DIGEST]
    last success  [TIME]
    next check  [TIME]
    --- status 0
    $ fairlead update check fresh --format json
    {
      "tenant": "default",
      "server": "fresh",
      "status": "up_to_date",
      "check": true,
      "autoReinstall": true,
      "lastSuccess": "[TIME]",
      "lastFailure": null,
      "lastError": null,
      "lastReinstall": null,
      "nextCheck": "[TIME]",
      "running": [
        "sha256:[DIGEST]"
      ],
      "runningUnknown": 0,
      "newest": "sha256:[DIGEST]",
      "candidates": [
        {
          "sameTag": true,
          "pin": "sha256:[DIGEST]",
          "digests": [
            "sha256:[DIGEST]"
          ],
          "firstSeen": "[TIME]",
          "lastSeen": "[TIME]",
          "platform": "unknown",
          "signature": "unknown",
          "provenance": "unknown",
          "surface": "unknown",
          "failures": 0,
          "isLastGood": false
        }
      ],
      "history": [],
      "approvals": []
    }
    --- status 0
    "#);
    assert_snapshot!(pair.shape("update status fresh").await, @"
    $ fairlead update status fresh
    status  up_to_date
    --- status 0
    $ fairlead update status fresh --format json
    approvals autoReinstall candidates check history lastError lastFailure lastReinstall lastSuccess newest nextCheck running runningUnknown server status tenant
    --- status 0
    ");
    assert_snapshot!(pair.run("update status none").await, @r#"
    $ fairlead update status none
    --- stderr
    error: there is no server `none` in tenant `default`
    hint: `fairlead list --all` shows what there is
    --- status 1
    $ fairlead update status none --format json
    --- stderr
    {"error":"there is no server `none` in tenant `default`","kind":"not-found","hint":"`fairlead list --all` shows what there is"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("update plan fresh").await, @r#"
    $ fairlead update plan fresh
    NAME  RUNNING  NEWEST  DECISION  WHY
    fresh  sha256:[DIGEST]  sha256:[DIGEST]  nothing
    --- status 0
    $ fairlead update plan fresh --format json
    [
      {
        "tenant": "default",
        "server": "fresh",
        "at": "[TIME]",
        "status": "up_to_date",
        "running": [
          "sha256:[DIGEST]"
        ],
        "newest": "sha256:[DIGEST]",
        "effect": {
          "kind": "nothing"
        }
      }
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.run("update apply fresh").await, @r#"
    $ fairlead update apply fresh
    --- stderr
    error: there is nothing to update to
    hint: `fairlead update plan` tells more; `--digest` takes one whatever the policies say
    --- status 1
    $ fairlead update apply fresh --format json
    --- stderr
    {"error":"there is nothing to update to","kind":"conflict","hint":"`fairlead update plan` tells more; `--digest` takes one whatever the policies say"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("update approve fresh --by tester").await, @r#"
    $ fairlead update approve fresh --by tester
    --- stderr
    error: nothing newer is known of `fresh`
    hint: `fairlead update check fresh` looks
    --- status 1
    $ fairlead update approve fresh --by tester --format json
    --- stderr
    {"error":"nothing newer is known of `fresh`","kind":"conflict","hint":"`fairlead update check fresh` looks"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("update rollback fresh").await, @r#"
    $ fairlead update rollback fresh
    --- stderr
    error: there is no earlier revision that was well here
    hint: `fairlead update history` shows what was done; `fairlead update apply` takes any revision that is offered, with `--digest`
    --- status 1
    $ fairlead update rollback fresh --format json
    --- stderr
    {"error":"there is no earlier revision that was well here","kind":"conflict","hint":"`fairlead update history` shows what was done; `fairlead update apply` takes any revision that is offered, with `--digest`"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("update history fresh").await, @"
    $ fairlead update history fresh
    --- stderr
    no updates yet; `fairlead update plan fresh` tells what would be done
    --- status 0
    $ fairlead update history fresh --format json
    []
    --- status 0
    ");
}

#[tokio::test]
async fn holding_updates() {
    let pair = Pair::with_daemons().await;
    pair.run("run {toolbox} --name fresh").await;
    eventually("it was looked at, at both", SETTLE, async || {
        let said = pair.run("update check fresh").await;
        ensure!(said.contains("\"up_to_date\""), "{said}");
        Ok(())
    })
    .await
    .unwrap();
    assert_snapshot!(pair.run("update set fresh --check off --auto-reinstall off").await, @r#"
    $ fairlead update set fresh --check off --auto-reinstall off
    status  disabled
    why  check_off
    check  off
    auto reinstall  off
    running  sha256:[DIGEST]
    newest  sha256:[DIGEST]
    last success  [TIME]
    next check  [TIME]
    --- status 0
    $ fairlead update set fresh --check off --auto-reinstall off --format json
    {
      "tenant": "default",
      "server": "fresh",
      "status": "disabled",
      "ineligible": [
        "check_off"
      ],
      "check": false,
      "autoReinstall": false,
      "lastSuccess": "[TIME]",
      "lastFailure": null,
      "lastError": null,
      "lastReinstall": null,
      "nextCheck": "[TIME]",
      "running": [
        "sha256:[DIGEST]"
      ],
      "runningUnknown": 0,
      "newest": "sha256:[DIGEST]",
      "candidates": [
        {
          "sameTag": true,
          "pin": "sha256:[DIGEST]",
          "digests": [
            "sha256:[DIGEST]"
          ],
          "firstSeen": "[TIME]",
          "lastSeen": "[TIME]",
          "platform": "unknown",
          "signature": "unknown",
          "provenance": "unknown",
          "surface": "unknown",
          "failures": 0,
          "isLastGood": false
        }
      ],
      "history": [],
      "approvals": []
    }
    --- status 0
    "#);
    let held = pair.run("update hold fresh --reason release --for 3d --by tester").await;
    assert_eq!(held.matches("--- status 0").count(), 2, "{held}");
    assert_eq!(held.matches("release").count(), 4, "it is told with its reason: {held}");
    let resumed = pair.run("update resume fresh").await;
    assert_eq!(resumed.matches("--- status 0").count(), 2, "{resumed}");
    assert!(!resumed.contains("release"), "{resumed}");
}
