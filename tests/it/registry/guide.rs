//! A source that a user writes in Python: the guide is followed to the letter, and its entries stand beside the others.

use anyhow::Result;
use fairlead_tests::Daemon;
use serde_json::json;

use super::{names, ok};
use crate::authoring::{Guide, follow};

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_leads_to_a_source_in_python_whose_entries_merge_with_the_rest() -> Result<()> {
    let there = std::process::Command::new("python3").arg("--version").output().is_ok_and(|it| it.status.success());
    assert!(there || std::env::var_os("CI").is_none(), "CI needs `python3`");
    if !there {
        return Ok(());
    }
    let place = tempfile::tempdir()?;
    let daemon = Daemon::start().await?;
    let said = follow(place.path(), daemon.home().path(), &Guide::read("registry-source-python.md").script).await;
    assert!(said.contains("FORECASTS"), "the hook changed it: {said}");
    let cli = daemon.cli()?;
    let all = ["corp.example/clock", "corp.example/maps", "io.github.stacklok/weather"];
    assert_eq!(names(&cli, &[]).await, all);
    assert_eq!(names(&cli, &["time"]).await, ["corp.example/clock"]);
    let clock = ok(&cli, &["registry", "entry", "clock"]).await;
    assert_eq!((&clock["registry"], &clock["labels"]["team"]), (&json!("table"), &json!("platform")));
    Ok(())
}
