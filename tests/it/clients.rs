//! Client applications, as their users set them up: their files follow the servers, and nothing else in them changes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use fairlead_tests::limits::SETTLE;
use fairlead_tests::{Cli, Daemon, Home, Setup, api, eventually};
use http::Method;
use serde_json::{Value, json};

use crate::scene::{SERVER, create, run_test_server, server};

const BEFORE: &str =
    "{\n\t// by hand\n\t\"servers\": {\n\t\t\"mine\": { \"url\": \"http://example.test/\" },\n\t},\n}\n";

struct User {
    home: Home,
    cli: Cli,
}

impl User {
    /// Somebody whose files are not those of whoever runs the tests.
    fn new() -> Self {
        let home = Home::new().unwrap();
        let of_user = home.path().join("user");
        std::fs::create_dir(&of_user).unwrap();
        let config = of_user.join(".config");
        let cli = Cli::new(&home).unwrap().env("HOME", of_user.to_str().unwrap());
        let cli = cli.env("XDG_CONFIG_HOME", config.to_str().unwrap());
        Self { home, cli }
    }

    fn vscode(&self) -> PathBuf {
        self.home.path().join("user/.config/Code/User/mcp.json")
    }
}

fn make(file: &Path, text: &str) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

#[tokio::test]
async fn run_and_rm_change_one_entry_and_stop_and_start_not_a_byte() {
    let user = User::new();
    let cli = &user.cli;
    make(&user.vscode(), BEFORE);
    let read = || std::fs::read_to_string(user.vscode()).unwrap();
    run_test_server(cli, "one", &[], &[]).await;
    let registered = cli.json(["client", "register", "vscode"]).await.unwrap();
    assert_eq!(registered[0]["entries"], json!(["one"]), "{registered}");
    let with_one = read();
    assert!(with_one.contains("/s/one/mcp") && with_one.contains("// by hand"), "{with_one}");

    run_test_server(cli, SERVER, &[], &[]).await;
    let with_both = read();
    assert!(with_both.contains(&format!("/s/{SERVER}/mcp")), "{with_both}");
    for verb in ["stop", "start", "restart"] {
        cli.ok([verb, SERVER]).await.unwrap();
        assert_eq!(read(), with_both, "{verb}");
    }
    cli.ok(["rm", SERVER]).await.unwrap();
    assert_eq!(read(), with_one);
    cli.ok(["client", "remove", "vscode"]).await.unwrap();
    assert_eq!(read(), BEFORE);
    cli.ok(["shutdown"]).await.unwrap();
}

#[tokio::test]
async fn setup_finds_what_is_installed_and_asks_before_it_changes_anything() {
    let user = User::new();
    let cli = &user.cli;
    make(&user.vscode(), BEFORE);
    make(&user.home.path().join("user/.codex/config.toml"), "model = \"x\"\n");
    run_test_server(cli, SERVER, &[], &[]).await;
    let unasked = cli.run(["client", "setup"]).await.unwrap();
    assert!(unasked.code == Some(2) && unasked.stderr.contains("`--yes`"), "{unasked}");
    assert_eq!(std::fs::read_to_string(user.vscode()).unwrap(), BEFORE);
    let done = cli.json(["client", "setup", "--yes"]).await.unwrap();
    let ids: Vec<&Value> = done.as_array().unwrap().iter().map(|client| &client["id"]).collect();
    assert_eq!(ids, ["codex", "vscode"], "{done}");
    let status = cli.json(["client", "status"]).await.unwrap();
    assert!(status.as_array().unwrap().iter().all(|client| client["registered"] == true), "{status}");
    assert_eq!(cli.json(["client", "status", "--all"]).await.unwrap().as_array().unwrap().len(), 25);
    cli.ok(["client", "undo", "codex"]).await.unwrap();
    let codex = std::fs::read_to_string(user.home.path().join("user/.codex/config.toml")).unwrap();
    assert_eq!(codex, "model = \"x\"\n");
    let unknown = cli.run(["client", "register", "emacs"]).await.unwrap();
    assert!(unknown.code == Some(1) && unknown.stderr.contains("no client application `emacs`"), "{unknown}");
    cli.ok(["shutdown"]).await.unwrap();
}

#[tokio::test]
async fn a_client_of_the_user_is_a_file_and_no_new_program() {
    let user = User::new();
    let table = "[[client]]\nid = \"mine\"\nname = \"Mine\"\npath = \"{home}/mine.json\"\nformat = \"json\"\n\
                 at = [\"tools\", \"mcp\"]\nentry = [[\"address\", \"{url}\"]]\n";
    make(&user.home.path().join("config/clients/mine.toml"), table);
    run_test_server(&user.cli, SERVER, &[], &[]).await;
    user.cli.ok(["client", "register", "mine"]).await.unwrap();
    let written = std::fs::read_to_string(user.home.path().join("user/mine.json")).unwrap();
    let written: Value = serde_json::from_str(&written).unwrap();
    let address = written["tools"]["mcp"][SERVER]["address"].as_str().unwrap();
    assert!(address.ends_with(&format!("/s/{SERVER}/mcp")), "{written}");
    user.cli.ok(["shutdown"]).await.unwrap();
}

/// Nothing of it is missing, whatever of ours is in it.
fn is_whole(text: &str) -> bool {
    let (beginning, end) = BEFORE.split_at(BEFORE.find("\t},").unwrap());
    let count = |bracket| text.matches(bracket).count();
    text.starts_with(beginning.trim_end()) && text.ends_with(end.trim_start()) && count('{') == count('}')
}

#[tokio::test]
async fn a_daemon_that_is_killed_while_it_writes_leaves_the_old_file_or_the_new_one() {
    let user = User::new();
    make(&user.vscode(), BEFORE);
    assert!(is_whole(BEFORE) && !is_whole(&BEFORE.replace("\t},\n", "")));
    let file = user.vscode();
    let of_user = user.home.path().join("user");
    let (of_user, config) =
        (of_user.to_str().unwrap().to_owned(), of_user.join(".config").to_str().unwrap().to_owned());
    let env = [("HOME", of_user.as_str()), ("XDG_CONFIG_HOME", config.as_str())];
    let setup = Setup { env: &env, ..Setup::default() };
    let cli = user.cli;
    let mut home = user.home;
    let mut versions = std::collections::BTreeSet::new();
    for round in 0_u64..16 {
        let daemon = Daemon::start_set_up(home, &setup).await.unwrap();
        if round == 0 {
            cli.ok(["client", "register", "vscode"]).await.unwrap();
        }
        let changes = async {
            for number in (round..).map(|number| number % 3) {
                let name = format!("server-{number}");
                // One or the other does nothing, as the round before has left it.
                let _ = create(daemon.home(), &server(&name, &json!({}))).await;
                let _ = api(daemon.home(), Method::DELETE, &format!("/workloads/{name}"), None).await;
            }
        };
        let look = async {
            // Whoever reads meanwhile sees a whole file as well. How long that is, is the point of the test.
            let end = tokio::time::Instant::now() + Duration::from_millis(20 + 7 * round);
            while tokio::time::Instant::now() < end {
                let text = std::fs::read_to_string(&file).unwrap();
                assert!(is_whole(&text), "{text}");
                versions.insert(text);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = changes => {}
            () = look => {}
        }
        home = daemon.kill().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(is_whole(&text), "after kill {round}: {text}");
    }
    assert!(versions.len() > 2, "it was written while we looked: {versions:?}");
    let daemon = Daemon::start_set_up(home, &setup).await.unwrap();
    eventually("the file says what there is", SETTLE, async || {
        let listed = daemon.cli()?.json(["list", "--all"]).await?;
        let text = std::fs::read_to_string(&file)?;
        for number in 0..3 {
            let name = format!("server-{number}");
            let is_there = listed.as_array().is_some_and(|all| all.iter().any(|one| one["name"] == name.as_str()));
            ensure!(text.contains(&format!("/s/{name}/mcp")) == is_there, "{name}: {listed}\n{text}");
        }
        Ok(())
    })
    .await
    .unwrap();
    daemon.cli().unwrap().ok(["rm", "--all"]).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), BEFORE);
}
