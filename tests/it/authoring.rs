//! The author's loop: the guide is followed to the letter, outside of the checkout, and what it makes guards a server. The
//! commands by themselves are tried on components that are there.

use std::path::Path;
use std::process::Stdio;

use fairlead_tests::limits::GUIDE;
use fairlead_tests::packages::Packages;
use fairlead_tests::{Cli, Daemon, Home, Output, binary};
use serde_json::{Value, json};

/// Blocks of a guide that follow a comment, with what the comment says.
fn blocks(guide: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        let Some(says) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) else { continue };
        let block: Vec<_> = lines.by_ref().skip(1).take_while(|line| *line != "```").collect();
        blocks.push((says.to_owned(), block.join("\n")));
    }
    blocks
}

/// What a guide tells people to type.
pub(crate) struct Guide {
    /// From nothing to a guarded server.
    pub(crate) script: String,
    /// What is typed at the end.
    pub(crate) afterwards: String,
}

impl Guide {
    pub(crate) fn read(name: &str) -> Self {
        let guide = std::fs::read_to_string(binary::root().join("docs/guides").join(name)).unwrap();
        let (mut script, mut afterwards) = (String::new(), String::new());
        for (says, typed) in blocks(&guide) {
            match says.as_str() {
                "run" => script += &format!("{typed}\n"),
                "run: fails" => script += &format!("if {typed}; then exit 1; fi\n"),
                "run: afterwards" => afterwards += &format!("{typed}\n"),
                "table" => {
                    afterwards += &format!("cat > table.json <<'END'\n{typed}\nEND\n");
                    afterwards += "fairlead plugin test ./no-secrets.wasm --cases table.json\n";
                }
                other => panic!("what does `{other}` mean?"),
            }
        }
        Self { script, afterwards }
    }
}

/// Types a script; what it printed.
pub(crate) async fn follow(directory: &Path, home: &Path, script: &str) -> String {
    let programs = binary::fairlead().unwrap().parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(programs).chain(std::env::split_paths(&path))).unwrap();
    let mut command = tokio::process::Command::new("sh");
    command
        .args(["-eux", "-c", script])
        .current_dir(directory)
        .env("PATH", path)
        .env("FAIRLEAD_HOME", home)
        // A second run need not compile the SDK or install a toolchain again.
        .env("CARGO_TARGET_DIR", binary::target().join("first-plugin"))
        .env("FAIRLEAD_TOOLCHAINS", binary::target().join("toolchains"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(GUIDE, command.output()).await.expect("an end in time").unwrap();
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{told}", output.status);
    said.into_owned()
}

#[tokio::test]
async fn the_guide_leads_from_nothing_to_a_plugin_in_front_of_a_real_server() {
    let Some(packages) = Packages::ready().await.unwrap() else { return };
    let Guide { script, afterwards } = Guide::read("first-plugin.md");
    let place = tempfile::tempdir().unwrap();
    // So that npx finds the server without a registry.
    std::os::unix::fs::symlink(packages.directory().join("node_modules"), place.path().join("node_modules")).unwrap();
    let daemon = Daemon::start().await.unwrap();
    follow(place.path(), daemon.home().path(), &script).await;
    assert!(place.path().join("no-secrets/.fairlead/sdk/rust/Cargo.toml").is_file());
    let client = daemon.client("guarded").await.unwrap();
    let refused = client.call("echo", json!({"message": "my secret"})).await.unwrap();
    assert_eq!(refused.pointer("/error/code"), Some(&json!(4030)), "{refused}");
    let passed = client.call("echo", json!({"message": "hello"})).await.unwrap();
    assert_eq!(passed.pointer("/result/content/0/text"), Some(&json!("Echo: hello")), "{passed}");
    follow(&place.path().join("no-secrets"), daemon.home().path(), &afterwards).await;
}

struct Bench {
    home: Home,
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { home: Home::new().unwrap(), directory: tempfile::tempdir().unwrap() }
    }

    fn cli(&self) -> Cli {
        Cli::new(&self.home).unwrap().directory(self.directory.path().to_owned())
    }

    fn write(&self, name: &str, value: &Value) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    async fn table(&self, plugin: &str, table: &Value, more: &[&str]) -> Output {
        let cases = self.write("cases.json", table);
        let plugin = binary::plugin(plugin).unwrap();
        let args = ["plugin", "test", plugin.to_str().unwrap(), "--cases", &cases];
        self.cli().run(args.iter().chain(more)).await.unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        assert!(std::thread::panicking() || self.home.daemon().is_none(), "the author's loop needs no daemon");
    }
}

fn call(tool: &str) -> Value {
    json!({"method": "tools/call", "params": {"name": tool, "arguments": {}}})
}

#[tokio::test]
async fn a_table_says_what_did_not_hold() {
    let bench = Bench::new();
    let table = json!({"config": {"deny": ["env*"]}, "cases": [
        {"name": "allowed", "call": call("uuid"), "expect": {"verdict": "next"}},
        {"name": "denied", "call": call("environment"), "expect": {"verdict": "reject"}},
        {"name": "misspelt", "config": {"denied": []}, "expect": {"config": "refused", "message": "denied"}},
    ]});
    let output = bench.table("tool-filter", &table, &[]).await;
    assert!(output.code == Some(0) && output.stdout.contains("3 passed, 0 failed"), "{output}");
    let table = json!({"config": {"deny": ["env*"]}, "cases": [
        {"name": "wrong", "call": call("environment"), "expect": {"verdict": "next", "code": 1}},
    ]});
    let output = bench.table("tool-filter", &table, &[]).await;
    assert!(output.code == Some(1) && output.stdout.contains("verdict: expected next, got reject"), "{output}");
}

#[tokio::test]
async fn state_and_time_belong_to_the_case() {
    let step = |after: u64, expect: Value| json!({"afterMs": after, "call": call("a"), "expect": expect});
    let case = |name: &str| {
        json!({"name": name, "given": {"now": "2026-11-21T12:00:00Z"}, "steps": [
            step(0, json!({"verdict": "next"})),
            step(0, json!({"verdict": "reject", "code": 4290, "retryAfterMs": 10_000})),
            step(10_000, json!({"verdict": "next"})),
        ]})
    };
    let config = json!({"requests": 1, "per": "10s", "by": ["tool"]});
    let table = json!({"config": config, "cases": [case("first"), case("second")]});
    let output = Bench::new().table("rate-limit", &table, &[]).await;
    assert!(output.code == Some(0) && output.stdout.contains("2 passed"), "{output}");
}

#[tokio::test]
async fn what_a_case_does_not_expect_is_compared_with_its_golden_outcome() {
    let bench = Bench::new();
    let table = |tool: &str| json!({"config": {"deny": ["env*"]}, "cases": [{"name": "kept", "call": call(tool)}]});
    let unknown = bench.table("tool-filter", &table("uuid"), &[]).await;
    assert!(unknown.code == Some(1) && unknown.stdout.contains("--update"), "{unknown}");
    assert_eq!(bench.table("tool-filter", &table("uuid"), &["--update"]).await.code, Some(0));
    assert_eq!(bench.table("tool-filter", &table("uuid"), &[]).await.code, Some(0));
    let other = bench.table("tool-filter", &table("environment"), &[]).await;
    assert!(other.code == Some(1) && other.stdout.contains("golden"), "{other}");
}

#[tokio::test]
async fn a_plugin_is_asked_about_one_message() {
    let bench = Bench::new();
    let message = bench.write("message.json", &call("environment"));
    let plugin = format!("{}={}", binary::plugin("tool-filter").unwrap().display(), r#"{"deny":["env*"]}"#);
    let answer = bench.cli().json(["plugin", "run", &plugin, &message]).await.unwrap();
    assert_eq!(answer["outcome"]["verdict"], "reject", "{answer}");
    assert!(answer["micros"].as_f64().unwrap() > 0.0, "{answer}");
    let trapping = format!("{}={{}}", binary::fixture("trapping").unwrap().display());
    let output = bench.cli().run(["plugin", "run", &trapping, &message]).await.unwrap();
    assert_eq!(output.code, Some(1), "{output}");
}

#[tokio::test]
async fn a_configuration_is_refused_with_its_place() {
    let bench = Bench::new();
    let plugin = |name: &str, config: &str| format!("{}{config}", binary::plugin(name).unwrap().display());
    let output = bench.cli().run(["plugin", "validate", &plugin("tool-filter", r#"={"deny":[3]}"#)]).await.unwrap();
    assert!(output.code == Some(1) && output.stderr.contains("/deny/0"), "{output}");
    let output = bench.cli().ok(["plugin", "validate", &plugin("tool-filter", r#"={"deny":[]}"#)]).await.unwrap();
    assert!(output.stdout.contains("is valid for contract 0.1.0, and so is the configuration"), "{output}");
    let fixture = binary::fixture("not-a-component").unwrap();
    let output = bench.cli().run(["plugin", "validate", fixture.to_str().unwrap()]).await.unwrap();
    assert!(output.code == Some(1) && output.stderr.contains("core module"), "{output}");
}

#[tokio::test]
async fn figures_are_told_for_warm_and_for_fresh_instances() {
    let bench = Bench::new();
    let plugin = format!("{}={{}}", binary::fixture("noop").unwrap().display());
    let costs = bench.cli().json(["plugin", "bench", &plugin]).await.unwrap();
    for figure in ["/warm/p50", "/warm/p99", "/fresh/p50", "/memoryBytes", "/compileMicros", "/loadMicros"] {
        assert!(costs.pointer(figure).and_then(Value::as_u64).unwrap() > 0, "{figure} in {costs}");
    }
}

#[tokio::test]
async fn a_new_plugin_is_whole_and_overwrites_nothing() {
    let bench = Bench::new();
    for (kind, lang) in [("middleware", "rust"), ("registry-source", "js"), ("update-policy", "python")] {
        bench.cli().ok(["plugin", "new", &format!("my-{kind}"), "--kind", kind, "--lang", lang]).await.unwrap();
    }
    let again = bench.cli().run(["plugin", "new", "my-middleware"]).await.unwrap();
    assert!(again.code == Some(1) && again.stderr.contains("there already"), "{again}");
    let strange = bench.cli().run(["plugin", "new", "No_Name"]).await.unwrap();
    assert!(strange.code == Some(2) && strange.stderr.contains("no-secrets"), "{strange}");
    let nothing = bench.cli().run(["plugin", "build", "."]).await.unwrap();
    assert!(nothing.code == Some(1) && nothing.stderr.contains("plugin new"), "{nothing}");
}

#[tokio::test]
async fn what_policies_and_sources_cost_is_measured_as_they_are_used() {
    let bench = Bench::new();
    let sources = json!({"servers": [{"name": "io.test/one", "description": "d", "version": "1.0.0"}]});
    let sources = bench.write("sources.json", &sources);
    let plugin = |name: &str| binary::plugin(name).unwrap().to_str().unwrap().to_owned();
    let typed =
        [format!(r#"{}={{"range":"^1"}}"#, plugin("update-semver")), format!("{}={sources}", plugin("source-static"))];
    let output = bench.cli().run(["plugin", "bench", &typed[0], &typed[1], "--format", "json"]).await.unwrap();
    assert_eq!(output.code, Some(0), "{output}");
    let costs: Value = serde_json::from_str(&output.stdout).unwrap();
    for (costs, measured) in
        [(&costs[0], "a decision about one candidate"), (&costs[1], "a synchronisation of one page")]
    {
        assert_eq!(costs["measured"], measured);
        assert!(costs["fresh"]["p50"].as_u64().is_some_and(|nanos| nanos > 0), "{costs}");
        assert_eq!(costs["warm"], Value::Null, "there is no other way of being used");
    }
    let output = bench.cli().run(["plugin", "bench", &typed[0]]).await.unwrap();
    assert!(output.stdout.contains("each call is a decision about one candidate"), "{output}");
}
