//! Plugins in every language: each guide is followed to the letter, and one middleware that exists in four languages answers
//! alike on one table of cases.

use std::path::Path;

use fairlead_tests::packages::Packages;
use fairlead_tests::{Cli, Daemon, Home, binary};
use serde_json::{Value, json};

use crate::authoring::{Guide, follow};

/// What can be built here: in CI everything must be, on a laptop what its tools allow.
fn is_there(tool: &str) -> bool {
    let there = std::process::Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(there || std::env::var_os("CI").is_none(), "CI needs `{tool}`");
    there
}

/// The doorkeeper in one language, on the table. The product builds those in JavaScript and Python; those in Rust and C are
/// built with the fixtures.
async fn answers_alike(language: &str) {
    let examples = binary::root().join("sdk/examples/doorkeeper");
    let (home, place) = (Home::new().unwrap(), tempfile::tempdir().unwrap());
    let built = match language {
        "rust" => binary::fixture("doorkeeper").unwrap(),
        "c" => binary::fixture("doorkeeper-c").unwrap(),
        _ => place.path().join("doorkeeper.wasm"),
    };
    let (source, built, table) = (examples.join(language), built.display(), examples.join("cases.json"));
    let mut script = format!("fairlead plugin test {built} --cases {}\n", table.display());
    if !["rust", "c"].contains(&language) {
        script.insert_str(0, &format!("fairlead plugin build {} --output {built}\n", source.display()));
    }
    let said = follow(place.path(), home.path(), &script).await;
    assert!(said.contains("200 passed, 0 failed"), "{language}: {said}");
}

#[tokio::test]
async fn the_doorkeeper_in_rust_answers_as_the_table_says() {
    answers_alike("rust").await;
}

#[tokio::test]
async fn the_doorkeeper_in_c_answers_as_the_table_says() {
    if is_there("clang") {
        answers_alike("c").await;
    }
}

#[tokio::test]
async fn the_doorkeeper_in_typescript_answers_as_the_table_says() {
    if is_there("npm") {
        answers_alike("js").await;
    }
}

#[tokio::test]
async fn the_doorkeeper_in_python_answers_as_the_table_says() {
    if is_there("python3") {
        answers_alike("python").await;
    }
}

#[tokio::test]
async fn several_plugins_are_measured_side_by_side() {
    let home = Home::new().unwrap();
    let plugin = |name: &str| format!("{}={{}}", binary::fixture(name).unwrap().display());
    let (one, other) = (plugin("noop"), plugin("doorkeeper"));
    let costs = Cli::new(&home).unwrap().json(["plugin", "bench", &one, &other]).await.unwrap();
    let names: Vec<_> = costs.as_array().unwrap().iter().map(|costs| costs["plugin"].as_str().unwrap()).collect();
    assert_eq!(names, ["noop", "doorkeeper"]);
    for figure in ["/warm/p50", "/fresh/p99", "/memoryBytes", "/compileMicros", "/sizeBytes"] {
        assert!(costs[1].pointer(figure).and_then(Value::as_u64).unwrap() > 0, "{figure} in {costs}");
    }
}

async fn the_guide_leads_to_a_guarded_server(guide: &str) {
    let Some(packages) = Packages::ready().await.unwrap() else { return };
    let Guide { script, afterwards } = Guide::read(guide);
    let place = tempfile::tempdir().unwrap();
    link_packages(&packages, place.path());
    let daemon = Daemon::start().await.unwrap();
    follow(place.path(), daemon.home().path(), &script).await;
    let client = daemon.client("guarded").await.unwrap();
    let refused = client.call("echo", json!({"message": "my secret"})).await.unwrap();
    assert_eq!(refused.pointer("/error/code"), Some(&json!(4030)), "{refused}");
    let passed = client.call("echo", json!({"message": "hello"})).await.unwrap();
    assert_eq!(passed.pointer("/result/content/0/text"), Some(&json!("Echo: hello")), "{passed}");
    follow(&place.path().join("no-secrets"), daemon.home().path(), &afterwards).await;
}

/// So that npx finds the server without a registry.
fn link_packages(packages: &Packages, place: &Path) {
    std::os::unix::fs::symlink(packages.directory().join("node_modules"), place.join("node_modules")).unwrap();
}

#[tokio::test]
async fn the_guide_for_javascript_leads_from_nothing_to_a_plugin_in_front_of_a_real_server() {
    if is_there("npm") {
        the_guide_leads_to_a_guarded_server("first-plugin-javascript.md").await;
    }
}

#[tokio::test]
async fn the_guide_for_python_leads_from_nothing_to_a_plugin_in_front_of_a_real_server() {
    if is_there("python3") {
        the_guide_leads_to_a_guarded_server("first-plugin-python.md").await;
    }
}

async fn tests_of_its_own(language: &str, command: &str) {
    let directory = binary::root().join("sdk").join(language);
    follow(&directory, Home::new().unwrap().path(), command).await;
}

#[tokio::test]
async fn the_sdk_for_javascript_keeps_its_laws() {
    if is_there("node") {
        tests_of_its_own("js", "node --test tests/").await;
    }
}

#[tokio::test]
async fn the_sdk_for_python_keeps_its_laws() {
    if is_there("python3") {
        tests_of_its_own("python", "PYTHONDONTWRITEBYTECODE=1 python3 -m unittest discover tests").await;
    }
}
