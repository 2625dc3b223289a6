//! The official clients work with the official example server as if nothing stood between.

use fairlead_tests::packages::{OfficialClient, Packages};
use fairlead_tests::{Cli, Daemon, Home, binary};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// What the README says.
const NPX: [&str; 7] = ["run", "--name", "everything", "--", "npx", "-y", "@modelcontextprotocol/server-everything"];

pub(crate) fn progress(report: &Value) -> Vec<f64> {
    report["progress"].as_array().unwrap().iter().filter_map(Value::as_f64).collect()
}

pub(crate) fn check(client: OfficialClient, marker: &str, report: &Value) {
    assert_eq!(report["server"], "mcp-servers/everything", "{client:?}: {report}");
    for tool in ["echo", "trigger-sampling-request", "trigger-elicitation-request", "get-roots-list"] {
        assert!(report["tools"].as_array().unwrap().contains(&json!(tool)), "{client:?}: {tool} in {report}");
    }
    assert_eq!(report["resources"], 7, "{client:?}: {report}");
    assert_eq!(report["templates"], 2, "{client:?}: {report}");
    assert_eq!(report["prompts"], json!(["args-prompt", "completable-prompt", "resource-prompt", "simple-prompt"]));
    assert_eq!(report["resource"], 1, "{client:?}: {report}");
    assert_eq!(report["prompt"], format!("What's weather in {marker}?"), "{client:?}: {report}");
    assert_eq!(report["echo"], format!("Echo: {marker}"), "{client:?}: {report}");
    assert_eq!(report["sum"], "The sum of 2 and 40 is 42.", "{client:?}: {report}");
    assert!(report["long"].as_str().unwrap().starts_with("Long running operation completed"), "{client:?}: {report}");
    assert_eq!(report["sampling"], true, "{client:?}: {report}");
    assert_eq!(report["elicitation"], true, "{client:?}: {report}");
    assert_eq!(report["unknown"], "refused", "{client:?}: {report}");
    assert_eq!(report["asked"], json!({"sampling": 1, "elicitation": 1, "roots": 1}), "{client:?}: {report}");
}

#[tokio::test]
async fn the_official_clients_find_everything_and_are_asked_themselves() {
    let Some(packages) = Packages::ready().await.unwrap() else { return };
    let daemon = Daemon::start().await.unwrap();
    // Typed where the package is installed, so that npx finds it without a registry.
    let cli = daemon.cli().unwrap().directory(packages.directory().to_owned());
    cli.ok(NPX).await.unwrap();
    for client in OfficialClient::ALL {
        let marker = format!("{client:?}");
        let report = packages.client(client, &daemon.url("everything"), &marker).await.unwrap();
        assert_eq!(report["session"], true, "{client:?}: {report}");
        assert_eq!(progress(&report), [1.0, 2.0, 3.0, 4.0], "{client:?}: {report}");
        check(client, &marker, &report);
    }
}

#[tokio::test]
async fn a_client_that_speaks_only_stdio_finds_the_same() {
    let Some(packages) = Packages::ready().await.unwrap() else { return };
    let daemon = Daemon::start().await.unwrap();
    daemon.cli().unwrap().directory(packages.directory().to_owned()).ok(NPX).await.unwrap();
    let fairlead = binary::fairlead().unwrap();
    let bridge = [fairlead.as_os_str(), "proxy".as_ref(), "stdio".as_ref(), "everything".as_ref()];
    let home = [("FAIRLEAD_HOME", daemon.home().path().as_os_str())];
    let report = packages.stdio_client(OfficialClient::TypeScript, &bridge, &home, "marker").await.unwrap();
    check(OfficialClient::TypeScript, "marker", &report);
    // Over stdio this client forgets the listener of a call with its result, before it has looked at a notification that
    // came in the same read: the last step is lost directly as well.
    assert!(progress(&report).starts_with(&[1.0, 2.0, 3.0]), "{report}");
}

/// What a client of the newest era finds behind the bridge: everything. Only what the server asks when no request is under way
/// reaches nobody, for which there is no word in that era.
fn check_bridged(client: OfficialClient, marker: &str, report: &Value) {
    assert!(report["asked"]["roots"].as_u64().is_some_and(|asked| asked <= 1), "{client:?}: {report}");
    let mut report = report.clone();
    report["asked"]["roots"] = json!(1);
    check(client, marker, &report);
}

/// The steps that the server told. The TypeScript SDK tells of a round of questions in the middle of a call as well: as step 1.
fn steps(report: &Value) -> Vec<f64> {
    let mut steps = progress(report);
    if steps.len() > 4
        && let Some(own) = steps.iter().rposition(|step| *step == 1.0)
    {
        steps.remove(own);
    }
    steps
}

#[tokio::test]
async fn clients_of_the_newest_era_use_an_older_server_through_the_bridge() {
    let Some(packages) = Packages::ready().await.unwrap() else { return };
    let daemon = Daemon::start().await.unwrap();
    let mut line = NPX.to_vec();
    line.insert(1, "--bridge");
    daemon.cli().unwrap().directory(packages.directory().to_owned()).ok(line).await.unwrap();
    let fairlead = binary::fairlead().unwrap();
    let bridge = [fairlead.as_os_str(), "proxy".as_ref(), "stdio".as_ref(), "everything".as_ref()];
    let home = [("FAIRLEAD_HOME", daemon.home().path().as_os_str())];
    for client in [OfficialClient::TypeScript2, OfficialClient::Python] {
        let report = packages.client(client, &daemon.url("everything"), "over http").await.unwrap();
        assert_eq!(report["session"], false, "{client:?}: {report}");
        assert_eq!(steps(&report), [1.0, 2.0, 3.0, 4.0], "{client:?}: {report}");
        check_bridged(client, "over http", &report);
        let report = packages.stdio_client(client, &bridge, &home, "over stdio").await.unwrap();
        check_bridged(client, "over stdio", &report);
    }
}

#[tokio::test]
async fn official_clients_at_the_same_time_are_each_asked_themselves() {
    let Some(packages) = Packages::ready().await.unwrap() else { return };
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap().directory(packages.directory().to_owned());
    cli.ok(NPX).await.unwrap();
    let mut clients = JoinSet::new();
    for (place, client) in OfficialClient::ALL.into_iter().enumerate() {
        let (packages, url, marker) = (packages.clone(), daemon.url("everything"), format!("marker {place}"));
        clients.spawn(async move { (client, packages.client(client, &url, &marker).await.unwrap(), marker) });
    }
    while let Some(done) = clients.join_next().await {
        let (client, report, marker) = done.unwrap();
        assert_eq!(progress(&report), [1.0, 2.0, 3.0, 4.0], "{client:?}: {report}");
        check(client, &marker, &report);
    }
}

#[tokio::test]
async fn the_line_of_the_readme_works_where_nothing_is_installed() {
    let Some(packages) = Packages::ready().await.unwrap() else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let home = Home::new().unwrap();
    // No daemon either: the command starts it.
    let cli = Cli::new(&home).unwrap().directory(elsewhere.path().to_owned());
    let output = cli.ok(NPX).await.unwrap();
    let url = output.stdout.split_whitespace().find(|word| word.starts_with("http://")).expect("a URL");
    assert!(url.ends_with("/s/everything/mcp"), "{output}");
    let report = packages.client(OfficialClient::TypeScript, url, "marker").await.unwrap();
    check(OfficialClient::TypeScript, "marker", &report);
}
