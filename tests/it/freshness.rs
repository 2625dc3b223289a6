//! Servers are kept fresh: what is newer is noticed, decided upon, tried, rolled out and confirmed by digest, and what is bad
//! never reaches a client. Images with a real engine and a real OCI registry, components with files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, ensure};
use fairlead_tests::engine::Engine;
use fairlead_tests::{Cli, Client, Daemon, Home, api, api_ok, binary, eventually};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::containers::engine;
use crate::distribution::Registry;

pub(crate) const SERVER: &str = "fresh";

/// A check, a pull, a trial, a rollout that is well for five seconds; on a machine that compiles at the same time.
const UPDATE: Duration = Duration::from_secs(150);

/// A daemon that looks every two seconds.
async fn daemon() -> Daemon {
    daemon_with("").await
}

async fn daemon_with(settings: &str) -> Daemon {
    let home = Home::new().unwrap();
    let config = home.path().join("config");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("config.toml"), format!("image_update_interval = \"2s\"\n{settings}")).unwrap();
    Daemon::start_in(home).await.unwrap()
}

/// Waits until the freshness of the server is as wanted.
pub(crate) async fn reaches(cli: &Cli, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(what, UPDATE, async || {
        let now = cli.json(["update", "status", SERVER]).await?;
        ensure!(wanted(&now), "{now:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(now)
    })
    .await
    .unwrap()
}

fn outcomes(now: &Value) -> Vec<(&str, &str)> {
    let all = now["history"].as_array().unwrap();
    all.iter().map(|attempt| (attempt["pin"].as_str().unwrap(), attempt["outcome"].as_str().unwrap())).collect()
}

pub(crate) fn last(now: &Value, digest: &str, outcome: &str) -> bool {
    outcomes(now).first() == Some(&(digest, outcome))
}

pub(crate) fn runs(now: &Value, digest: &str) -> bool {
    now["running"] == json!([digest])
}

/// A component that does the same and is another.
fn variant(of: &Path, mark: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(of).unwrap();
    let mut section = vec![u8::try_from("mark".len()).unwrap()];
    section.extend_from_slice(b"mark");
    section.extend_from_slice(mark.as_bytes());
    bytes.push(0);
    bytes.push(u8::try_from(section.len()).unwrap());
    bytes.extend_from_slice(&section);
    bytes
}

/// Clients that call all the time: one in sessions of twenty calls, one in a session that it never ends. When a revision that is
/// replaced has had its time, such a session is over; its client is told so as MCP has it, and begins another.
pub(crate) struct Callers {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
}

impl Callers {
    pub(crate) fn start(url: &str, tool: &'static str, arguments: &Value) -> Self {
        let (stop, calls, failed) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default(), Arc::default());
        let mut callers = Self { tasks: JoinSet::new(), stop, calls, failed };
        for calls_in_session in [20, usize::MAX] {
            let (url, arguments) = (url.to_owned(), arguments.clone());
            let (stop, calls, failed) =
                (Arc::clone(&callers.stop), Arc::clone(&callers.calls), Arc::clone(&callers.failed));
            callers.tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = session(&url, tool, &arguments, calls_in_session, &stop, &calls).await {
                        failed.lock().unwrap().push(format!("{error:#}"));
                    }
                }
            });
        }
        callers
    }

    /// Calls that were answered, of which none failed.
    pub(crate) async fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        let failed = self.failed.lock().unwrap();
        assert!(failed.is_empty(), "{} calls failed, first: {}", failed.len(), failed[0]);
        self.calls.load(Ordering::Relaxed)
    }
}

async fn session(
    url: &str,
    tool: &str,
    arguments: &Value,
    calls_in_session: usize,
    stop: &AtomicBool,
    calls: &AtomicUsize,
) -> Result<()> {
    let client = Client::connect(url).await?;
    for _ in 0..calls_in_session {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let answer = client.call(tool, arguments.clone()).await?;
        if answer["error"]["message"].as_str().is_some_and(|text| text.contains("this session does not exist")) {
            return Ok(());
        }
        ensure!(answer.get("result").is_some(), "{answer}");
        calls.fetch_add(1, Ordering::Relaxed);
    }
    client.close().await.map(drop)
}

/// Images of one repository in a registry of their own, and a server that follows its tag.
pub(crate) struct Images {
    pub(crate) daemon: Daemon,
    pub(crate) cli: Cli,
    engine: Engine,
    registry: Registry,
}

impl Images {
    /// `None` where there is no engine or no registry, which CI does not allow.
    pub(crate) async fn ready() -> Option<Self> {
        Self::ready_with("").await
    }

    async fn ready_with(settings: &str) -> Option<Self> {
        let registry = Registry::start().await?;
        let daemon = daemon_with(settings).await;
        let cli = daemon.cli().unwrap();
        let engine = engine(&cli).await?;
        Some(Self { daemon, cli, engine, registry })
    }

    pub(crate) fn reference(&self) -> String {
        self.registry.reference("team/server:1")
    }

    /// Another image under the same tag: its digest.
    pub(crate) async fn push(&self, version: &str, args: &[&str], env: &[&str]) -> String {
        self.push_as(&self.reference(), version, args, env).await
    }

    async fn push_as(&self, reference: &str, version: &str, args: &[&str], env: &[&str]) -> String {
        let version = format!("VERSION={version}");
        let env: Vec<&str> = env.iter().copied().chain([version.as_str()]).collect();
        self.engine.make(reference, args, &env).await.unwrap();
        self.engine.push(reference).await.unwrap()
    }

    pub(crate) async fn version(&self) -> Result<String> {
        let client = self.daemon.client(SERVER).await?;
        let said = client.text("environment", json!({"name": "VERSION"})).await;
        client.close().await?;
        said
    }

    /// The server goes, and nothing of it stays on the engine.
    pub(crate) async fn end(self, digests: &[&str]) {
        self.cli.ok(["rm", SERVER]).await.unwrap();
        eventually("no container is left", UPDATE, async || {
            let left = self.engine.containers(self.daemon.home()).await?;
            ensure!(left.is_empty(), "{left:#?}");
            Ok(())
        })
        .await
        .unwrap();
        let (repository, _) = self.reference().rsplit_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        for digest in digests {
            // One that was never launched has no name there.
            let _ = self.engine.forget(&format!("{repository}@{digest}")).await;
        }
        let _ = self.engine.forget(&self.reference()).await;
        self.engine.done().await.unwrap();
    }
}

#[tokio::test]
async fn a_newer_image_is_rolled_out_and_bad_ones_never_reach_a_client() {
    let Some(images) = Images::ready().await else { return };
    let one = images.push("one", &[], &[]).await;
    images.cli.ok(["run", &images.reference(), "--name", SERVER]).await.unwrap();
    let first = reaches(&images.cli, "the first check", |now| now["status"] == "up_to_date").await;
    assert!(runs(&first, &one), "{first:#}");
    let callers = Callers::start(&images.daemon.url(SERVER), "echo", &json!({"a": 1}));

    // Noticed, decided, tried, rolled out, confirmed by digest.
    let two = images.push("two", &[], &[]).await;
    let now = reaches(&images.cli, "the second is rolled out", |now| {
        last(now, &two, "succeeded") && now["status"] == "up_to_date"
    })
    .await;
    assert!(runs(&now, &two), "{now:#}");
    assert!(images.version().await.unwrap().contains("two"));
    assert_eq!(now["lastReinstall"], now["history"][0]["ended"]);

    // One that crashes, one that says something else than MCP.
    for (version, flag) in [("three", "--fail"), ("four", "--babble")] {
        let bad = images.push(version, &[flag], &[]).await;
        let now = reaches(&images.cli, "its trial is not passed", |now| last(now, &bad, "preflight-failed")).await;
        assert!(runs(&now, &two), "{now:#}");
        let now = reaches(&images.cli, "that is shown", |now| now["status"] == "rollout_failed").await;
        assert_eq!(now["newest"], json!(bad), "{now:#}");
        assert!(images.version().await.unwrap().contains("two"));
    }

    // One that lacks a tool: the policy is told, and holds it back.
    let five = images.push("five", &[], &["TEST_SERVER_WITHOUT=echo"]).await;
    let now = reaches(&images.cli, "the one without a tool is held back", |now| now["held"] == "drift").await;
    assert!(last(&now, &five, "cancelled") && runs(&now, &two), "{now:#}");
    assert_eq!(now["status"], "update_available", "{now:#}");
    assert!(images.version().await.unwrap().contains("two"));

    let calls = callers.end().await;
    assert!(calls > 100, "{calls} calls");
    images.end(&[&one, &two, &five]).await;
}

#[tokio::test]
async fn an_image_that_hangs_is_not_waited_for_for_ever() {
    let Some(images) = Images::ready().await else { return };
    let one = images.push("one", &[], &[]).await;
    images.cli.ok(["run", &images.reference(), "--name", SERVER]).await.unwrap();
    reaches(&images.cli, "the first check", |now| now["status"] == "up_to_date").await;
    let callers = Callers::start(&images.daemon.url(SERVER), "echo", &json!({}));
    let six = images.push("six", &["--mute"], &[]).await;
    let now = reaches(&images.cli, "its trial is given up", |now| last(now, &six, "preflight-failed")).await;
    assert!(runs(&now, &one), "{now:#}");
    assert!(images.version().await.unwrap().contains("one"));
    callers.end().await;
    images.end(&[&one, &six]).await;
}

#[tokio::test]
async fn t18_with_the_probe_only_what_starts_is_marked_as_newer() {
    let Some(images) = Images::ready_with("image_update_detector = \"probe\"\n").await else { return };
    let one = images.push("one", &[], &[]).await;
    images.cli.ok(["run", &images.reference(), "--name", SERVER]).await.unwrap();
    let first = reaches(&images.cli, "the first check", |now| now["status"] == "up_to_date").await;
    assert!(runs(&first, &one), "{first:#}");
    let two = images.push("two", &[], &[]).await;
    let now = reaches(&images.cli, "the second is rolled out", |now| last(now, &two, "succeeded")).await;
    assert!(runs(&now, &two), "{now:#}");

    let three = images.push("three", &["--fail"], &[]).await;
    let now = reaches(&images.cli, "the third does not start", |now| now["lastError"]["class"] == "probe_failed").await;
    assert!(runs(&now, &two) && now["newest"] == json!(two), "{now:#}");
    assert_eq!(now["history"].as_array().unwrap().len(), 1, "what did not start was never an update: {now:#}");
    assert!(images.version().await.unwrap().contains("two"));
    images.end(&[&one, &two, &three]).await;
}

#[tokio::test]
async fn an_update_to_what_no_permitted_layer_offers_is_held_back_whoever_wants_it() {
    let Some(images) = Images::ready().await else { return };
    let cli = &images.cli;
    let at = |version: &str| images.registry.reference(&format!("team/server:{version}"));
    let one = images.push_as(&at("1.0.0"), "one", &[], &[]).await;
    let offer = async |registry: &str, version: &str| {
        let entry = json!({"name": "a.b/server", "version": version, "description": "d", "packages": [
            {"registryType": "oci", "identifier": at(version), "transport": {"type": "stdio"}}]});
        let plugin = format!("source-static={}", json!({"servers": [entry]}));
        cli.ok(["registry", "add", registry, "--plugin", &plugin]).await.unwrap();
    };
    offer("mine", "1.0.0").await;
    cli.ok(["registry", "layers", "--run", "community"]).await.unwrap();
    cli.ok(["run", "registry://a.b/server", "--name", SERVER]).await.unwrap();
    cli.ok(["chain", "add", r#"update-semver={"range": "^1"}"#, "--server", SERVER]).await.unwrap();
    let first = reaches(cli, "the first check", |now| now["status"] == "up_to_date").await;
    assert!(runs(&first, &one), "{first:#}");

    // A policy wants it, and a person wants it; no entry that may run offers it.
    let two = images.push_as(&at("1.1.0"), "two", &[], &[]).await;
    cli.ok(["update", "check", SERVER]).await.unwrap();
    let now = reaches(cli, "it is held back", |now| now["held"] == "out-of-range").await;
    let detail = now["detail"].as_str().unwrap();
    assert!(detail.contains("only entries of `community` may run") && detail.contains(&at("1.1.0")), "{now:#}");
    for line in [vec!["update", "apply", SERVER], vec!["update", "apply", SERVER, "--digest", &two]] {
        let refused = cli.run(line).await.unwrap();
        assert!(refused.code == Some(1) && refused.stderr.contains("may run"), "{refused}");
    }
    let now = cli.json(["update", "status", SERVER]).await.unwrap();
    assert!(runs(&now, &one) && now["history"] == json!([]), "{now:#}");

    // One that does changes that.
    offer("more", "1.1.0").await;
    let now = reaches(cli, "it is rolled out", |now| last(now, &two, "succeeded")).await;
    assert!(runs(&now, &two), "{now:#}");
    for version in ["1.0.0", "1.1.0"] {
        let _ = images.engine.forget(&at(version)).await;
    }
    images.end(&[&one, &two]).await;
}

/// A server that is a component, in a file that its author builds anew.
struct Component {
    daemon: Daemon,
    cli: Cli,
    file: PathBuf,
    _directory: tempfile::TempDir,
}

impl Component {
    async fn ready(flags: &[&str]) -> Self {
        let daemon = daemon().await;
        let cli = daemon.cli().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("server.wasm");
        std::fs::write(&file, variant(&binary::plugin("toolbox").unwrap(), "one")).unwrap();
        let mut all = vec!["run", file.to_str().unwrap(), "--name", SERVER];
        all.extend(flags);
        cli.ok(all).await.unwrap();
        Self { daemon, cli, file, _directory: directory }
    }

    fn build(&self, mark: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, variant(&binary::plugin("toolbox").unwrap(), mark)).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    async fn patch(&self, patch: &Value) -> Value {
        let path = format!("/workloads/{SERVER}?tenant=default");
        api_ok(self.daemon.home(), Method::PATCH, &path, Some(patch)).await.unwrap()
    }
}

#[tokio::test]
async fn a_component_that_is_built_anew_is_rolled_out_and_taken_back() {
    let component = Component::ready(&[]).await;
    let first = reaches(&component.cli, "the first check", |now| now["status"] == "up_to_date").await;
    let callers = Callers::start(&component.daemon.url(SERVER), "text_stats", &json!({"text": "hello"}));
    component.build("two");
    let second = reaches(&component.cli, "it is rolled out", |now| {
        now["history"][0]["outcome"] == "succeeded" && now["status"] == "up_to_date"
    })
    .await;
    assert_ne!(first["running"], second["running"]);

    // A broken one, and a person who goes back.
    std::fs::write(&component.file, "no component").unwrap();
    let now = reaches(&component.cli, "it is not", |now| now["history"][0]["outcome"] == "preflight-failed").await;
    assert_eq!(now["running"], second["running"]);
    component.cli.ok(["update", "rollback", SERVER]).await.unwrap();
    let back = reaches(&component.cli, "it is taken back", |now| now["history"][0]["outcome"] == "rolled-back").await;
    assert_eq!(back["running"], first["running"]);
    callers.end().await;

    // What is deployed is what comes up again.
    let daemon = Daemon::start_in(component.daemon.kill().unwrap()).await.unwrap();
    let now =
        reaches(&daemon.cli().unwrap(), "the next daemon runs the same", |now| now["running"] == first["running"])
            .await;
    assert_eq!(now["history"][0]["outcome"], "rolled-back", "{now:#}");
}

#[tokio::test]
async fn t23_f2_the_toggles_and_the_policies_are_changed_over_http_and_refused_where_they_make_no_sense() {
    let component = Component::ready(&[]).await;
    let shown = reaches(&component.cli, "f1: both toggles are on for a new server", |now| {
        now["check"] == true && now["autoReinstall"] == true
    })
    .await;
    assert!(shown["running"][0].as_str().unwrap().starts_with("sha256:"));
    let after = component.patch(&json!({"updates": {"autoReinstall": false}})).await;
    assert_eq!(after["updates"]["check"], true, "{after:#}");
    assert_eq!(after["updates"]["autoReinstall"], false, "{after:#}");
    assert_eq!(after["status"], "running", "nothing was restarted");

    // F7: something newer is told, and not taken.
    reaches(&component.cli, "the first check", |now| now["status"] == "up_to_date").await;
    component.build("two");
    let told = reaches(&component.cli, "it is available", |now| now["status"] == "update_available").await;
    assert_eq!(told["history"], json!([]), "{told:#}");
    component.cli.ok(["update", "apply", SERVER]).await.unwrap();
    let now = reaches(&component.cli, "a person takes it", |now| now["history"][0]["outcome"] == "succeeded").await;
    assert_eq!(now["history"][0]["trigger"], "operator", "{now:#}");

    // F9: every field, and what is refused.
    for field in [
        "status",
        "check",
        "autoReinstall",
        "lastSuccess",
        "lastFailure",
        "lastError",
        "lastReinstall",
        "running",
        "newest",
    ] {
        assert!(now.as_object().unwrap().contains_key(field), "{field} in {now:#}");
    }
    let off = component.patch(&json!({"updates": {"check": false}})).await;
    assert_eq!(off["updates"]["status"], "disabled", "{off:#}");
    let marked = component.patch(&json!({"updates": {"check": true, "manualReinstall": true}})).await;
    assert_eq!(marked["updates"]["ineligible"], json!(["manual_reinstall"]), "{marked:#}");
    component.cli.ok(["restart", SERVER]).await.unwrap();
    let cleared = component.cli.json(["update", "status", SERVER]).await.unwrap();
    assert_eq!(cleared.get("ineligible"), None, "a restart is what it was marked for: {cleared:#}");
    let path = format!("/workloads/{SERVER}?tenant=default");
    let nothing = "/workloads/nobody?tenant=default".to_owned();
    let other = format!("/workloads/{SERVER}?tenant=other");
    for (path, body, status) in [
        (&path, json!({}), 422),
        (&path, json!({"updates": {}}), 422),
        (&path, json!({"updates": {"chek": true}}), 422),
        (&path, json!({"updatePolicies": [{"name": "a", "plugin": binary::plugin("tool-filter").unwrap()}]}), 422),
        (&nothing, json!({"updates": {"check": true}}), 404),
        (&other, json!({"updates": {"check": true}}), 404),
    ] {
        let reply = api(component.daemon.home(), Method::PATCH, path, Some(&body)).await.unwrap();
        assert_eq!(reply.status, status, "{body}: {}", reply.body);
    }
}

#[tokio::test]
async fn a_policy_that_loops_or_traps_holds_and_says_so() {
    let component = Component::ready(&[]).await;
    reaches(&component.cli, "the first check", |now| now["status"] == "up_to_date").await;
    let broken = binary::fixture("broken-policy").unwrap();
    let policy = |does: &str| json!({"updatePolicies": [{"name": "mine", "plugin": broken, "config": {"does": does}}]});
    component.patch(&policy("loop")).await;
    component.build("two");
    let now = reaches(&component.cli, "a loop holds", |now| now["held"] == "policy-error").await;
    assert_eq!(now["status"], "update_available", "{now:#}");
    component.patch(&policy("trap")).await;
    let now = reaches(&component.cli, "a trap holds", |now| {
        now["held"] == "policy-error" && now["detail"].as_str().unwrap_or_default().contains("trap")
    })
    .await;
    assert_eq!(now["history"], json!([]), "{now:#}");
    component.patch(&json!({"updatePolicies": []})).await;
    reaches(&component.cli, "without it the tag is followed", |now| now["history"][0]["outcome"] == "succeeded").await;
}

#[tokio::test]
async fn a_policy_in_javascript_decides_for_its_tenant_and_for_nobody_else() {
    if Command::new("npm").arg("--version").output().is_err() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must have npm");
        eprintln!("skipped: there is no npm");
        return;
    }
    let component = Component::ready(&[]).await;
    let Component { cli, file, .. } = &component;
    cli.ok(["tenant", "create", "acme"]).await.unwrap();
    cli.ok(["run", file.to_str().unwrap(), "--name", SERVER, "--tenant", "acme"]).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let author = cli.clone().directory(place.path().to_owned());
    author.ok(["plugin", "new", "ripe", "--kind", "update-policy", "--lang", "js"]).await.unwrap();
    cli.clone().directory(place.path().join("ripe")).ok(["plugin", "build"]).await.unwrap();
    let policy = format!("{}={{\"age_hours\": 1}}", place.path().join("ripe/ripe.wasm").display());
    cli.ok(["chain", "add", &policy, "--tenant", "acme"]).await.unwrap();
    let of = async |tenant: &str| cli.json(["update", "status", SERVER, "--tenant", tenant]).await;
    for tenant in ["default", "acme"] {
        eventually("the first check", UPDATE, async || {
            let now = of(tenant).await?;
            ensure!(now["status"] == "up_to_date", "{now:#}");
            Ok(())
        })
        .await
        .unwrap();
    }
    component.build("two");
    reaches(cli, "where it is not, the tag is followed", |now| now["history"][0]["outcome"] == "succeeded").await;
    let held = eventually("where it is, the candidate is too young", UPDATE, async || {
        let now = of("acme").await?;
        ensure!(now["held"] == "too-young", "{now:#}");
        Ok(now)
    })
    .await
    .unwrap();
    assert_eq!(held["history"], json!([]), "{held:#}");
    assert_eq!(held["detail"], "it is not old enough", "{held:#}");
}
