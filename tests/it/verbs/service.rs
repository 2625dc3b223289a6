//! The daemon as a service of the user; the manager of services is a script that says yes.

#![cfg(target_os = "linux")]

use insta::assert_snapshot;

use super::pair::Pair;

#[tokio::test]
async fn service() {
    let pair = Pair::bare().await;
    assert_snapshot!(pair.run("service status").await, @r#"
    $ fairlead service status
    not installed; `fairlead service install` does that (systemd, [HOME]/user/.config/systemd/user/fairlead.service)
    --- status 0
    $ fairlead service status --format json
    {
      "manager": "systemd",
      "installed": false,
      "active": false,
      "startsAtBoot": null,
      "file": "[HOME]/user/.config/systemd/user/fairlead.service"
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("service install").await, @r#"
    $ fairlead service install
    the service is installed: [HOME]/user/.config/systemd/user/fairlead.service
    --- status 0
    $ fairlead service install --format json
    {
      "manager": "systemd",
      "installed": true,
      "active": true,
      "startsAtBoot": true,
      "file": "[HOME]/user/.config/systemd/user/fairlead.service"
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("service status").await, @r#"
    $ fairlead service status
    installed, and runs (systemd, [HOME]/user/.config/systemd/user/fairlead.service)
    --- status 0
    $ fairlead service status --format json
    {
      "manager": "systemd",
      "installed": true,
      "active": true,
      "startsAtBoot": true,
      "file": "[HOME]/user/.config/systemd/user/fairlead.service"
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("service uninstall").await, @r#"
    $ fairlead service uninstall
    the service is removed
    --- status 0
    $ fairlead service uninstall --format json
    {
      "manager": "systemd",
      "installed": false,
      "active": false,
      "startsAtBoot": null,
      "file": "[HOME]/user/.config/systemd/user/fairlead.service"
    }
    --- status 0
    "#);
}
