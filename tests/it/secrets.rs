//! Secrets, from `secret set` to the process that gets them: nowhere on the way in the clear, and never half written.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_tests::limits::{COMMAND, SETTLE};
use fairlead_tests::{Cli, Daemon, Home, Output, api_ok, eventually};
use http::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::scene::{SERVER, create, run_test_server, server, try_test_server};

/// Nothing else in a home contains this.
const VALUE: &str = "hunter2-in-the-clear";

async fn with_input(cli: &Cli, args: &[&str], input: &str) -> Result<Output> {
    let mut command = cli.command();
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().context("stdin")?.write_all(input.as_bytes()).await?;
    let output = tokio::time::timeout(COMMAND, child.wait_with_output()).await.context("it does not end")??;
    Ok(Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

pub(crate) async fn set(cli: &Cli, name: &str, value: &str) {
    let output = with_input(cli, &["secret", "set", name], value).await.unwrap();
    assert_eq!(output.code, Some(0), "{output}");
    assert!(!output.stdout.contains(value) && !output.stderr.contains(value), "{output}");
}

async fn variable(daemon: &Daemon, name: &str) -> Value {
    let client = daemon.client(SERVER).await.unwrap();
    let text = client.text("environment", json!({"name": name})).await.unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["value"].clone()
}

/// Every file below a directory that contains a text.
fn files_with(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if std::fs::read(&path)
                .is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
            {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[tokio::test]
async fn a_value_reaches_its_server_and_no_file_no_answer_and_no_list_of_processes() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    set(&cli, "token", &format!("{VALUE}\n")).await;
    run_test_server(
        &cli,
        SERVER,
        &["--secret", "token,target=TOKEN", "-e", "AUTH=Bearer ${secret://store/token}"],
        &[],
    )
    .await;
    assert_eq!(variable(&daemon, "TOKEN").await, VALUE);
    assert_eq!(variable(&daemon, "AUTH").await, format!("Bearer {VALUE}"));

    let shown = cli.json(["status", SERVER]).await.unwrap();
    assert_eq!(shown["spec"]["env"]["TOKEN"], "secret://store/token", "{shown}");
    for command in [&["list", "--all"][..], &["status", SERVER], &["secret", "list"], &["logs", SERVER]] {
        let output = cli.ok(command).await.unwrap();
        assert!(!output.stdout.contains(VALUE), "{output}");
    }
    assert!(!daemon.stderr().contains(VALUE));
    assert_eq!(files_with(daemon.home().path(), VALUE), Vec::<String>::new());
    let listed = cli.json(["secret", "list"]).await.unwrap();
    assert_eq!(listed[0]["usedBy"], json!([SERVER]), "{listed}");
    assert_eq!(cli.ok(["secret", "get", "token"]).await.unwrap().stdout, format!("{VALUE}\n"));
    let used = cli.run(["secret", "rm", "token"]).await.unwrap();
    assert!(used.code == Some(1) && used.stderr.contains("uses the secret"), "{used}");
    cli.ok(["rm", SERVER]).await.unwrap();
    cli.ok(["secret", "rm", "token"]).await.unwrap();
    assert_eq!(cli.json(["secret", "list"]).await.unwrap(), json!([]));
}

#[tokio::test]
async fn a_plain_value_is_not_shown_again() {
    let daemon = Daemon::start().await.unwrap();
    let plain = json!({"env": {"TOKEN": VALUE}});
    create(daemon.home(), &server(SERVER, &plain)).await.unwrap();
    let shown = api_ok(daemon.home(), Method::GET, &format!("/workloads/{SERVER}"), None).await.unwrap();
    assert_eq!(shown["spec"]["env"]["TOKEN"], "<redacted>", "{shown}");
    let mut sent_back = server("other", &json!({}));
    sent_back["spec"] = shown["spec"].clone();
    let refused = create(daemon.home(), &sent_back).await.unwrap_err().to_string();
    assert!(refused.contains("stands for a value that is not shown"), "{refused}");
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_said_before_anything_starts() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    let refused = try_test_server(&cli, SERVER, &["--secret", "absent"], &[]).await;
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("secret://store/absent"), "{refused}");
    assert!(refused.stderr.contains("fairlead secret set absent"), "{refused}");
    assert_eq!(cli.json(["list", "--all"]).await.unwrap(), json!([]));
    let value = cli.run(["secret", "set", "name", VALUE]).await.unwrap();
    assert_eq!(value.code, Some(2), "a value is never an argument: {value}");
}

#[tokio::test]
async fn a_new_value_is_taken_at_the_next_start_and_a_new_key_changes_nothing() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    set(&cli, "token", "one").await;
    run_test_server(&cli, SERVER, &["--secret", "token"], &[]).await;
    set(&cli, "token", "two").await;
    cli.ok(["restart", SERVER]).await.unwrap();
    assert_eq!(variable(&daemon, "TOKEN").await, "two");
    let key = std::fs::read(daemon.home().path().join("config/secrets.key")).unwrap();
    cli.ok(["secret", "rotate"]).await.unwrap();
    assert_ne!(std::fs::read(daemon.home().path().join("config/secrets.key")).unwrap(), key);
    let daemon = Daemon::start_in(daemon.kill().unwrap()).await.unwrap();
    eventually("it serves again", SETTLE, async || daemon.client(SERVER).await).await.unwrap();
    assert_eq!(variable(&daemon, "TOKEN").await, "two");
}

#[tokio::test]
async fn a_daemon_without_the_key_says_so_and_overwrites_nothing() {
    let home = Home::new().unwrap();
    let cli = Cli::new(&home).unwrap().env("FAIRLEAD_SECRETS_KEY", "right");
    set(&cli, "token", VALUE).await;
    cli.ok(["shutdown"]).await.unwrap();
    let store = std::fs::read(home.path().join("state/secrets.json")).unwrap();
    let wrong = Cli::new(&home).unwrap().env("FAIRLEAD_SECRETS_KEY", "wrong");
    let refused = wrong.run(["secret", "get", "token"]).await.unwrap();
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("the key does not open it"), "{refused}");
    let refused = with_input(&wrong, &["secret", "set", "other"], "x").await.unwrap();
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("hint:"), "{refused}");
    assert_eq!(std::fs::read(home.path().join("state/secrets.json")).unwrap(), store);
}

#[tokio::test]
async fn a_program_of_the_configuration_is_asked_for_a_secret() {
    let home = Home::new().unwrap();
    std::fs::create_dir(home.path().join("config")).unwrap();
    let script = "command = ['sh', '-c', 'printf \"%s of %s\\n\" value \"$1\"', 'sh', '{name}']";
    std::fs::write(home.path().join("config/config.toml"), format!("[secrets.providers.vault]\n{script}\n")).unwrap();
    let daemon = Daemon::start_in(home).await.unwrap();
    let cli = daemon.cli().unwrap();
    run_test_server(&cli, SERVER, &["--secret", "secret://vault/team/key,target=KEY"], &[]).await;
    assert_eq!(variable(&daemon, "KEY").await, "value of team/key");
    let other = cli.run(["secret", "get", "--tenant", "other", "secret://vault/team/key"]).await.unwrap();
    assert!(other.stderr.contains("no provider of secrets `vault`"), "another tenant has none: {other}");
}

#[tokio::test]
async fn a_daemon_that_is_killed_in_the_middle_of_writing_leaves_what_was_acknowledged() {
    let mut home = Home::new().unwrap();
    let mut acknowledged = 0_u64;
    for round in 0..8_u64 {
        let daemon = Daemon::start_in(home).await.unwrap();
        let writes = async {
            loop {
                let body = json!({"value": (acknowledged + 1).to_string()});
                api_ok(daemon.home(), Method::PUT, "/secrets/count", Some(&body)).await?;
                acknowledged += 1;
                // Every third change moves everything under a new key.
                if acknowledged.is_multiple_of(3) {
                    api_ok(daemon.home(), Method::POST, "/secrets-rotation", Some(&json!({}))).await?;
                }
            }
        };
        let outcome: Result<Result<()>, _> =
            tokio::time::timeout(Duration::from_millis(120 + 37 * round), writes).await;
        if let Ok(failed) = outcome {
            failed.unwrap();
        }
        home = daemon.kill().unwrap();
    }
    let daemon = Daemon::start_in(home).await.unwrap();
    let found = api_ok(daemon.home(), Method::GET, "/secret-value?name=count", None).await.unwrap();
    let found: u64 = found["value"].as_str().unwrap().parse().unwrap();
    assert!(acknowledged > 1, "there was something to lose: {acknowledged}");
    // The last one was perhaps written and not acknowledged.
    assert!([acknowledged, acknowledged + 1].contains(&found), "{found}, {acknowledged}");
}

/// In a session of its own: a bus, a keyring that is unlocked, and the commands. Prints what `secret get` said, each time.
const IN_A_SESSION: &str = r#"
printf 'password\n' | gnome-keyring-daemon --unlock --components=secrets --daemonize >/dev/null
printf 'the-value' | "$FAIRLEAD" secret set token >/dev/null
"$FAIRLEAD" secret rotate --key keyring >/dev/null
test ! -e "$FAIRLEAD_HOME/config/secrets.key"
"$FAIRLEAD" secret get token; echo
"$FAIRLEAD" shutdown 2>/dev/null
"$FAIRLEAD" secret get token; echo
"$FAIRLEAD" secret rotate >/dev/null
"$FAIRLEAD" shutdown 2>/dev/null
"$FAIRLEAD" secret get token; echo
"$FAIRLEAD" secret rotate --key file >/dev/null
test -e "$FAIRLEAD_HOME/config/secrets.key"
"$FAIRLEAD" secret get token; echo
if secret-tool lookup service fairlead account "$FAIRLEAD_HOME/config/secrets.key"; then echo 'still in the keyring'; fi
"$FAIRLEAD" shutdown 2>/dev/null
"#;

#[tokio::test]
async fn a_real_keyring_keeps_the_key_over_restarts_and_rotations() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: the keyring of this test is GNOME's");
        return;
    }
    for program in ["dbus-run-session", "gnome-keyring-daemon", "secret-tool"] {
        if std::process::Command::new(program).arg("--help").output().is_err() {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must have `{program}`");
            eprintln!("skipped: `{program}` is not installed");
            return;
        }
    }
    let home = Home::new().unwrap();
    let cli = Cli::new(&home).unwrap();
    let like = cli.command();
    let mut command = tokio::process::Command::new("dbus-run-session");
    command.args(["--", "sh", "-eu", "-c", IN_A_SESSION]).env("FAIRLEAD", like.as_std().get_program());
    for (name, value) in like.as_std().get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // The keyring has files of its own, which must not be those of whoever runs the test.
    let desktop = tempfile::tempdir().unwrap();
    command.env("HOME", desktop.path()).env("XDG_RUNTIME_DIR", desktop.path()).env("XDG_DATA_HOME", desktop.path());
    let output = tokio::time::timeout(2 * COMMAND, command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let values: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(values, ["the-value"; 4], "{said}");
}
