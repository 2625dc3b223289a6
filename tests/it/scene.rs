//! What most tests begin with: a daemon with the test server behind it.

use fairlead_tests::{Cli, Daemon, Home, Output, api_ok, binary};
use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Name of the test server.
pub(crate) const SERVER: &str = "tested";

/// A daemon that runs the test server as [`SERVER`]; `flags` are those of `fairlead run`.
pub(crate) async fn daemon_with_server(flags: &[&str]) -> Daemon {
    let daemon = Daemon::start().await.unwrap();
    run_test_server(&daemon.cli().unwrap(), SERVER, flags, &[]).await;
    daemon
}

/// Runs the test server under a name.
pub(crate) async fn run_test_server(cli: &Cli, name: &str, flags: &[&str], args: &[&str]) -> Output {
    let output = try_test_server(cli, name, flags, args).await;
    assert_eq!(output.code, Some(0), "{output}");
    output
}

/// Tries to run the test server under a name.
pub(crate) async fn try_test_server(cli: &Cli, name: &str, flags: &[&str], args: &[&str]) -> Output {
    let program = binary::test_server().unwrap();
    let mut all = vec!["run", "--name", name];
    all.extend(flags);
    all.extend(["--", program.to_str().unwrap()]);
    all.extend(args);
    cli.run(all).await.unwrap()
}

/// A server as the API takes it: the test server, with more fields of its specification.
pub(crate) fn server(name: &str, more: &Value) -> Value {
    let program = binary::test_server().unwrap();
    let mut spec = json!({"source": {"kind": "command", "program": program}});
    spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    json!({"name": name, "spec": spec})
}

/// Creates a server through the API; ready when it has answered `initialize`.
pub(crate) async fn create(home: &Home, server: &Value) -> anyhow::Result<Value> {
    api_ok(home, Method::POST, "/workloads", Some(server)).await
}

/// A plugin put into a chain: a fixture with its configuration.
pub(crate) fn fixture(name: &str, config: &Value) -> Value {
    json!({"name": name, "plugin": binary::fixture(name).unwrap(), "config": config})
}

/// The three first-party plugins, as one chain: a filter, `requests` calls of a tool in each session, and redaction.
pub(crate) fn guards(filter: &Value, requests: u64) -> Value {
    let plugin = |name: &str| binary::plugin(name).unwrap();
    let rate = json!({"requests": requests, "per": "1h", "by": ["session", "tool"]});
    json!([
        {"name": "filter", "plugin": plugin("tool-filter"), "config": filter},
        {"name": "rate", "plugin": plugin("rate-limit"), "config": rate, "grants": [{"name": "kv"}]},
        {"name": "redact", "plugin": plugin("redact"), "config": {}},
    ])
}

/// A port that nobody has. Somebody may take it before it is used; then the test fails and says so.
pub(crate) async fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}
