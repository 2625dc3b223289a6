//! Reviews end to end: asked for, decided once, enforced, written down; and what rules decide without a person.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fairlead_tests::{Daemon, api, eventually};
use http::Method;
use serde_json::{Value, json};

use super::faulty::{Fault, Faulty};
use super::{entry, list, ok};
use crate::scene::{SERVER, fixture, run_test_server};

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_requested_approved_and_revoked_and_two_reviewers_have_one_winner() {
    let elsewhere = Daemon::start().await.unwrap();
    run_test_server(&elsewhere.cli().unwrap(), SERVER, &[], &[]).await;
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    let remote = json!({"name": "a.b/tool", "version": "1.0.0", "description": "d",
        "remotes": [{"type": "streamable-http", "url": elsewhere.url(SERVER)}]});
    let plugin = format!("source-static={}", json!({"servers": [remote]}));
    let _ = ok(&cli, &["registry", "add", "mine", "--plugin", &plugin]).await;
    let _ = ok(&cli, &["registry", "layers", "--run", "trusted"]).await;
    let refused = cli.run(["run", "registry://tool"]).await.unwrap();
    assert!(refused.code == Some(1) && refused.stderr.contains("registry submit a.b/tool@1.0.0"), "{refused}");

    let asked = ok(&cli, &["registry", "submit", "tool", "--reason", "we need it"]).await;
    assert_eq!((&asked["id"], &asked["standing"]), (&json!(1), &json!("requested")));
    let again = cli.run(["registry", "submit", "tool", "--reason", "we need it"]).await.unwrap();
    assert!(again.code == Some(1) && again.stderr.contains("review 1"), "{again}");
    let decide = |to: &str| json!({"to": to, "reason": "r"});
    let (approve, deny) = (decide("approved"), decide("denied"));
    let (one, other) = tokio::join!(
        api(daemon.home(), Method::POST, "/registry/reviews/1", Some(&approve)),
        api(daemon.home(), Method::POST, "/registry/reviews/1", Some(&deny)),
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{one:?} {other:?}");

    if one.status == 409 {
        // It was denied: asked for again, and approved.
        let _ = ok(&cli, &["registry", "submit", "tool", "--reason", "please"]).await;
        let _ = ok(&cli, &["registry", "approve", "2"]).await;
    }
    let id = if one.status == 409 { "2" } else { "1" };
    // A kill right after the answer loses nothing.
    let daemon = Daemon::start_in(daemon.kill().unwrap()).await.unwrap();
    let cli = daemon.cli().unwrap();
    let run = ok(&cli, &["run", "registry://tool", "--name", "tool"]).await;
    assert_eq!(run["name"], "tool");
    let revoked = ok(&cli, &["registry", "revoke", id, "--reason", "not any more"]).await;
    let walked: Vec<_> = revoked["steps"].as_array().unwrap().iter().map(|step| step["to"].clone()).collect();
    assert_eq!(walked, [json!("requested"), json!("approved"), json!("revoked")]);
    let refused = cli.run(["run", "registry://tool", "--name", "again"]).await.unwrap();
    assert_eq!(refused.code, Some(1), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_reviewers_one_decides_and_every_step_is_written_down() -> Result<()> {
    let daemon = Daemon::start().await?;
    let cli = daemon.cli()?;
    let file = daemon.home().path().join("servers.json");
    let mut offered = entry("a.b/tool", "1.0.0");
    offered.as_object_mut().context("an object")?.remove("packages");
    offered["remotes"] = json!([{"type": "streamable-http", "url": "https://example.test/mcp"}]);
    std::fs::write(&file, list(&[offered]))?;
    let _ = ok(&cli, &["registry", "add", "mine", file.to_str().context("a path")?]).await;
    let _ = ok(&cli, &["registry", "submit", "tool", "--reason", "please"]).await;
    let mut deciding = tokio::task::JoinSet::new();
    for reviewer in 0..10 {
        let cli = daemon.cli()?;
        deciding.spawn(async move {
            let to = if reviewer % 2 == 0 { "approve" } else { "deny" };
            let reason = format!("reviewer {reviewer}");
            let output = cli.run(["registry", to, "1", "--reason", reason.as_str()]).await.unwrap();
            (output.code == Some(0), output.stderr)
        });
    }
    let body = json!({"to": "denied", "reason": "by the API"});
    let by_api = api(daemon.home(), Method::POST, "/registry/reviews/1", Some(&body)).await?;
    let decided = deciding.join_all().await;
    let winners = decided.iter().filter(|(won, _)| *won).count() + usize::from(by_api.status == 200);
    assert_eq!(winners, 1, "{decided:?} {by_api:?}");
    for (_, told) in decided.iter().filter(|(won, _)| !won) {
        assert!(told.contains("already, by owner"), "{told}");
    }
    let audit = ok(&cli, &["registry", "audit"]).await;
    let steps = audit.as_array().context("steps")?;
    assert_eq!(
        (steps.len(), &steps[0]["to"], &steps[0]["reason"]),
        (2, &json!("requested"), &json!("please")),
        "{audit}"
    );
    assert!(steps[1]["by"] == "owner" && steps[1]["at"].is_string() && steps[1]["name"] == "a.b/tool", "{audit}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_approves_a_new_version_in_which_nothing_changed_that_somebody_would_look_at() -> Result<()> {
    let daemon = Daemon::start().await?;
    let cli = daemon.cli()?;
    let file = daemon.home().path().join("servers.json");
    let of = |version: &str, secret: bool| {
        json!({"name": "a.b/tool", "version": version, "description": "d",
            "packages": [{"registryType": "npm", "identifier": "tool", "version": version, "transport": {"type": "stdio"},
                "environmentVariables": [{"name": "KEY", "isSecret": secret}]}]})
    };
    let write = |entries: &[Value]| std::fs::write(&file, list(entries));
    write(&[of("1.0.0", false)])?;
    let _ = ok(&cli, &["registry", "add", "mine", file.to_str().context("a path")?]).await;
    let _ = ok(&cli, &["registry", "submit", "tool", "--reason", "please"]).await;
    let _ = ok(&cli, &["registry", "approve", "1"]).await;
    let rules = daemon.home().path().join("rules.json");
    std::fs::write(&rules, json!([{"name": "same shape", "when": {"names": ["a.b/*"]}}]).to_string())?;
    let policy = ok(&cli, &["registry", "layers", "--approvals", rules.to_str().context("a path")?]).await;
    assert_eq!(policy["approvals"][0]["name"], "same shape");

    write(&[of("1.0.0", false), of("1.1.0", false)])?;
    let _ = ok(&cli, &["registry", "refresh", "mine"]).await;
    let approved = ok(&cli, &["registry", "review", "2"]).await;
    assert_eq!((&approved["standing"], &approved["version"]), (&json!("approved"), &json!("1.1.0")), "{approved}");
    assert_eq!(approved["steps"][1]["by"], "rule `same shape`");

    // It asks for a secret now: nobody approves that but a person.
    write(&[of("1.1.0", false), of("1.2.0", true)])?;
    let _ = ok(&cli, &["registry", "refresh", "mine"]).await;
    assert_eq!(ok(&cli, &["registry", "review"]).await.as_array().map(Vec::len), Some(2));
    let asked = ok(&cli, &["registry", "submit", "tool@1.2.0", "--reason", "needed"]).await;
    assert_eq!(asked["standing"], "requested", "{asked}");
    let shown = ok(&cli, &["registry", "review", "3"]).await;
    assert!(shown["differences"].to_string().contains("isSecret"), "{shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_has_the_last_word_of_a_rule_and_one_that_fails_approves_nothing() -> Result<()> {
    let daemon = Daemon::start().await?;
    let cli = daemon.cli()?;
    let file = daemon.home().path().join("servers.json");
    let of = |version: &str| {
        json!({"name": "a.b/tool", "version": version, "description": "d",
            "packages": [{"registryType": "npm", "identifier": "tool", "version": version, "transport": {"type": "stdio"}}]})
    };
    std::fs::write(&file, list(&[of("1.0.0")]))?;
    let _ = ok(&cli, &["registry", "add", "mine", file.to_str().context("a path")?]).await;
    let _ = ok(&cli, &["registry", "submit", "tool", "--reason", "please"]).await;
    let _ = ok(&cli, &["registry", "approve", "1"]).await;
    let decides = json!({"1.1.0": "drop", "1.2.0": "change", "1.3.0": "fail", "1.4.0": "trap"});
    let mut guard = fixture("registry-source", &json!({"names": [], "decides": decides}));
    guard.as_object_mut().context("an object")?.remove("name");
    let rules = daemon.home().path().join("rules.json");
    std::fs::write(&rules, json!([{"name": "guarded", "plugin": guard}]).to_string())?;
    let _ = ok(&cli, &["registry", "layers", "--approvals", rules.to_str().context("a path")?]).await;
    for version in ["1.1.0", "1.2.0", "1.3.0", "1.4.0"] {
        std::fs::write(&file, list(&[of("1.0.0"), of(version)]))?;
        let _ = ok(&cli, &["registry", "refresh", "mine"]).await;
        let reviews = ok(&cli, &["registry", "review"]).await;
        assert_eq!(reviews.as_array().map(Vec::len), Some(1), "{version}: {reviews}");
    }
    std::fs::write(&file, list(&[of("1.0.0"), of("1.5.0")]))?;
    let _ = ok(&cli, &["registry", "refresh", "mine"]).await;
    let approved = ok(&cli, &["registry", "review", "2"]).await;
    assert_eq!((&approved["standing"], &approved["version"]), (&json!("approved"), &json!("1.5.0")), "{approved}");
    assert_eq!(approved["steps"][1]["by"], "rule `guarded`");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_changed_keeps_what_was_read_of_its_source_and_of_no_other() -> Result<()> {
    let daemon = Daemon::start().await?;
    let cli = daemon.cli()?;
    let file = daemon.home().path().join("servers.json");
    std::fs::write(&file, list(&[entry("a.b/one", "1.0.0")]))?;
    let path = file.to_str().context("a path")?;
    let _ = ok(&cli, &["registry", "add", "mine", path]).await;
    std::fs::remove_file(&file)?;
    let backup = daemon.home().path().join("backup.json");
    let import = async |source: Value, more: Value| {
        let mut spec = json!({"source": source});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        std::fs::write(&backup, json!({"registries": {"mine": spec}}).to_string()).unwrap();
        cli.run(["registry", "import", backup.to_str().unwrap()]).await.unwrap()
    };
    // Its source is away; what was read of it stands in another layer now.
    let same = json!({"kind": "file", "path": path});
    let changed = import(same.clone(), json!({"layer": "reviewed", "intervalSecs": 600})).await;
    assert_eq!(changed.code, Some(0), "{changed}");
    let known = ok(&cli, &["registry", "list"]).await;
    assert_eq!((&known[0]["entries"], &known[0]["spec"]["layer"]), (&json!(1), &json!("reviewed")), "{known}");
    // What cannot be used changes nothing.
    let refused = import(json!({"kind": "plugin", "plugin": "there-is-none"}), json!({})).await;
    assert_eq!(refused.code, Some(1), "{refused}");
    let known = ok(&cli, &["registry", "list"]).await;
    assert_eq!((&known[0]["entries"], &known[0]["spec"]["layer"]), (&json!(1), &json!("reviewed")), "{known}");
    // Entries of one source do not become those of another.
    let other = json!({"kind": "file", "path": format!("{path}.other")});
    let changed = import(other, json!({"layer": "trusted"})).await;
    assert_eq!(changed.code, Some(0), "{changed}");
    let known = ok(&cli, &["registry", "list"]).await;
    assert_eq!((&known[0]["entries"], &known[0]["spec"]["layer"]), (&json!(0), &json!("trusted")), "{known}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_being_read_is_removed_at_once_and_keeps_nobody_else_waiting() -> Result<()> {
    let daemon = Daemon::start().await?;
    let slow = Faulty::before("127.0.0.1:9").await?;
    slow.set(Fault::Slow);
    let (adding, url) = (daemon.cli()?, format!("http://{}/r.json", slow.address()));
    let mut added = tokio::task::JoinSet::new();
    added.spawn(async move { adding.run(["registry", "add", "slow", url.as_str()]).await });
    let cli = daemon.cli()?;
    eventually("it is being read", Duration::from_secs(10), async || {
        let known = ok(&cli, &["registry", "list"]).await;
        ensure!(known[0]["name"] == "slow", "{known}");
        Ok(())
    })
    .await?;
    let begun = Instant::now();
    let _ = ok(&cli, &["registry", "remove", "slow"]).await;
    let _ = ok(&cli, &["registry", "layers", "--run", "trusted"]).await;
    // Its source has thirty seconds for a page.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // Whoever added it has an answer too; whether it is still there by then is a matter of moments.
    let _ = added.join_next().await.context("a task")???;
    assert_eq!(ok(&cli, &["registry", "list"]).await, json!([]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_declared_is_exported_and_imported_elsewhere() -> Result<()> {
    let (one, two) = (Daemon::start().await?, Daemon::start().await?);
    let file = one.home().path().join("servers.json");
    std::fs::write(&file, list(&[entry("a.b/one", "1.0.0")]))?;
    let path = file.to_str().context("a path")?;
    let _ = ok(&one.cli()?, &["registry", "add", "mine", path, "--layer", "reviewed", "--interval", "600"]).await;
    let _ = ok(&one.cli()?, &["registry", "layers", "--run", "trusted,reviewed"]).await;
    let backup = one.home().path().join("backup.json");
    let backup = backup.to_str().context("a path")?;
    let _ = ok(&one.cli()?, &["registry", "export", backup]).await;
    let read = ok(&two.cli()?, &["registry", "import", backup]).await;
    assert_eq!(read[0]["entries"], 1, "{read}");
    assert_eq!(ok(&two.cli()?, &["registry", "import", backup]).await, json!([]), "again, nothing is left to do");
    let layers = ok(&two.cli()?, &["registry", "layers"]).await;
    assert_eq!(layers["run"], json!(["trusted", "reviewed"]));
    let entries = ok(&two.cli()?, &["registry", "export", "--entries", "upstream"]).await;
    assert_eq!(entries["data"]["servers"][0]["name"], "a.b/one");
    Ok(())
}
