//! What is newest, what is done about it, and a word of one's own; on a server that is a component, which is as new as can be.

use anyhow::ensure;
use fairlead_tests::eventually;
use fairlead_tests::limits::SETTLE;
use insta::assert_snapshot;

use super::pair::Pair;

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
    assert_snapshot!(pair.run("update check fresh").await, @"");
    assert_snapshot!(pair.shape("update status fresh").await, @"");
    assert_snapshot!(pair.run("update status none").await, @"");
    assert_snapshot!(pair.run("update plan fresh").await, @"");
    assert_snapshot!(pair.run("update apply fresh").await, @"");
    assert_snapshot!(pair.run("update approve fresh --by tester").await, @"");
    assert_snapshot!(pair.run("update rollback fresh").await, @"");
    assert_snapshot!(pair.run("update history fresh").await, @"");
}

#[tokio::test]
async fn holding_updates() {
    let pair = Pair::with_daemons().await;
    pair.run("run {toolbox} --name fresh").await;
    assert_snapshot!(pair.run("update set fresh --check off --auto-reinstall off").await, @"");
    assert_snapshot!(pair.shape("update hold fresh --reason release --for 3d --by tester").await, @"");
    assert_snapshot!(pair.shape("update resume fresh").await, @"");
}
