//! Clients of other people read us unmodified: the makers' own types in Go, ToolHive, and a program that tries everything that the
//! description of the official API allows.
//!
//! The description comes with the makers' Go module and is not kept here. It knows no refusal of a bad query, so two runs are made
//! of it: with good data every check holds, and with bad data every check but the one that the status is described.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fairlead_tests::{Daemon, binary};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{entry, list, ok, serving};

/// The makers' module: their types and the description of their API.
const OFFICIAL: &str = "github.com/modelcontextprotocol/registry@v1.8.7";

/// What tries everything.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// Longest run of one program; the first one installs.
const RUN: Duration = Duration::from_secs(300);

async fn run(command: &mut Command) -> Result<String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(RUN, command.output()).await.context("an end in time")??;
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "{:?}: {}{}",
        command.as_std().get_program(),
        told(&output.stdout),
        told(&output.stderr)
    );
    Ok(told(&output.stdout))
}

/// Whether a program is here; in CI it has to be.
async fn has(program: &str, argument: &str) -> Result<bool> {
    match run(Command::new(program).arg(argument)).await {
        Ok(_) => Ok(true),
        Err(error) if std::env::var_os("CI").is_none() => {
            // Not `eprintln!`: libtest would keep it for failures, and a skipped test has to say so.
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("skipped: no {program}: {error}\n").as_bytes(),
            );
            Ok(false)
        }
        Err(error) => bail!(error),
    }
}

/// A module as the proxy of Go has it.
async fn official() -> Result<PathBuf> {
    let downloaded =
        run(Command::new("go").args(["mod", "download", "-json", OFFICIAL]).current_dir(binary::target())).await?;
    let downloaded: Value = serde_json::from_str(&downloaded)?;
    Ok(PathBuf::from(downloaded["Dir"].as_str().context("a directory")?))
}

/// A program of Python in an environment of its own.
async fn installed(package: &str, program: &str) -> Result<PathBuf> {
    let place = binary::target().join("test-tools").join(package);
    let program = place.join("bin").join(program);
    if !program.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&place)).await?;
        let pip = place.join("bin/pip");
        run(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check", package])).await?;
    }
    Ok(program)
}

/// A catalogue with something of everything that an answer can have.
async fn catalogue() -> Result<(Daemon, String)> {
    let (daemon, url) = serving().await;
    let mut entries: Vec<Value> = (0..40).map(|at| entry(&format!("a.b/c{at}"), "1.0.0")).collect();
    entries.push(entry("a.b/c0", "1.1.0+build.7"));
    entries.push(entry("a.b/c0", "2.0.0-rc.1"));
    let mut remote = entry("io.example/remote", "0.1.0");
    remote["title"] = json!("Remote");
    remote["websiteUrl"] = json!("https://example.test/");
    remote["repository"] = json!({"url": "https://example.test/x", "source": "github"});
    remote["remotes"] = json!([{"type": "streamable-http", "url": "https://example.test/mcp",
        "headers": [{"name": "Authorization", "isRequired": true, "isSecret": true, "description": "a token"}]}]);
    entries.push(remote);
    let file = daemon.home().path().join("servers.json");
    std::fs::write(&file, list(&entries))?;
    let _ = ok(&daemon.cli()?, &["registry", "add", "mine", file.to_str().context("a path")?]).await;
    Ok((daemon, url))
}

async fn schemathesis(program: &Path, description: &Path, url: &str, more: &[&str]) -> Result<()> {
    let place = tempfile::tempdir()?;
    let mut command = Command::new(program);
    command
        .arg("run")
        .arg(description)
        .args(["--url", url, "--max-failures", "20", "--seed", "7", "--no-color"])
        .args(more);
    // Slower than the bound of an address; and without walks from one answer to the next, for which the description has no links.
    command.args(["--rate-limit", "90/s", "--phases", "examples,coverage,fuzzing"]);
    // That nobody publishes here is 501, as the description says of registries like this one.
    let expected = "[checks.not_a_server_error]\nexpected-statuses = [\"2xx\", \"3xx\", \"4xx\", \"501\"]\n";
    std::fs::write(place.path().join("schemathesis.toml"), expected)?;
    // What it writes beside itself is of no use here.
    command.current_dir(place.path());
    let told = run(&mut command).await?;
    ensure!(told.contains("passed") || told.contains("No issues"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_description_of_the_official_api_allows_is_answered_as_it_says() -> Result<()> {
    if !has("go", "version").await? || !has("python3", "--version").await? {
        return Ok(());
    }
    let (_daemon, url) = catalogue().await?;
    let description = official().await?.join("docs/reference/api/openapi.yaml");
    let program = installed(SCHEMATHESIS, "schemathesis").await?;
    let examples = std::env::var("FAIRLEAD_SCHEMATHESIS").unwrap_or_else(|_| "10".to_owned());
    let often = ["--max-examples", examples.as_str()];
    schemathesis(&program, &description, &url, &[&["--mode", "positive"][..], &often].concat()).await?;
    let bad = ["--mode", "negative", "--exclude-checks", "status_code_conformance"];
    schemathesis(&program, &description, &url, &[&bad[..], &often].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_types_of_the_official_registry_read_us() -> Result<()> {
    if !has("go", "version").await? {
        return Ok(());
    }
    let (_daemon, url) = catalogue().await?;
    let place = binary::target().join("test-tools/go-registry");
    std::fs::create_dir_all(&place)?;
    std::fs::copy(binary::root().join("tests/packages/go-registry/main.go"), place.join("main.go"))?;
    let version = OFFICIAL.split_once('@').context("a version")?.1;
    let module = OFFICIAL.split_once('@').context("a version")?.0;
    std::fs::write(
        place.join("go.mod"),
        format!("module example.test/reads\n\ngo 1.24\n\nrequire {module} {version}\n"),
    )?;
    let mut command = Command::new("go");
    command.args(["run", "-mod=mod", ".", &url]).current_dir(&place);
    let report: Value = serde_json::from_str(&run(&mut command).await?)?;
    assert_eq!(report["names"].as_array().map(Vec::len), Some(43), "{report}");
    assert_eq!(report["latest"], 41, "{report}");
    Ok(())
}

/// ToolHive, where `FAIRLEAD_TEST_THV` names it: it is built for minutes, so CI does not (`cargo xtask bench --proxy --peers` does,
/// into `target/bench/peers/go/thv`).
#[tokio::test(flavor = "multi_thread")]
async fn toolhive_lists_and_shows_what_we_serve() -> Result<()> {
    let Some(program) = std::env::var_os("FAIRLEAD_TEST_THV").map(PathBuf::from) else { return Ok(()) };
    let (_daemon, url) = catalogue().await?;
    let home = tempfile::tempdir()?;
    let thv = async |args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(args).env("HOME", home.path()).env("XDG_CONFIG_HOME", home.path().join("config"));
        command.env("TOOLHIVE_SKIP_UPDATE_CHECK", "true");
        run(&mut command).await
    };
    thv(&["config", "set-registry", "--allow-private-ip", &url]).await?;
    let listed: Value = serde_json::from_str(&thv(&["registry", "list", "--format", "json"]).await?)?;
    let names: Vec<&str> =
        listed.as_array().into_iter().flatten().filter_map(|server| server["name"].as_str()).collect();
    assert!(names.contains(&"a.b/c7") && names.contains(&"io.example/remote"), "{names:?}");
    let shown = thv(&["registry", "info", "a.b/c7", "--format", "json"]).await?;
    assert!(shown.contains("example.test/a.b/c7:1.0.0"), "{shown}");
    Ok(())
}
