//! A container engine that is stopped and started again: one of the test's own, beside the one that everybody uses.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use fairlead_tests::engine::{Engine, ids};
use fairlead_tests::limits::{FAREWELL, POLL, SETTLE};
use fairlead_tests::process::terminate;
use fairlead_tests::{Daemon, Home, Setup, binary, eventually};
use http::Method;
use serde_json::json;
use tokio::time::Instant;

use super::table::Case;
use super::{acknowledged, serves};
use crate::scene::{SERVER, run_test_server};

/// An engine starts, or stops all of its containers and ends, within this time on a machine that compiles meanwhile.
const ENGINE_MOVES: Duration = Duration::from_secs(60);

/// The engine. Everything of it lies in one directory.
struct OwnEngine {
    directory: tempfile::TempDir,
    process: Option<Child>,
}

impl OwnEngine {
    /// `None`, and said so, for who may not run one.
    fn new() -> Option<Self> {
        let is_there = Command::new("dockerd").arg("--version").output().is_ok_and(|output| output.status.success());
        if !is_there || !rustix::process::geteuid().is_root() {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must be able to run an engine");
            eprintln!("skipped: an engine of its own needs `dockerd` and root");
            return None;
        }
        let directory = tempfile::Builder::new().prefix("fl-engine-").tempdir().unwrap();
        Some(Self { directory, process: None })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path("engine.sock")
    }

    /// Starts it and waits until it answers.
    async fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let named = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
        // Names of its own, in case it shares a containerd with somebody.
        let namespace = format!("fairlead-test-{}", std::process::id());
        // In a network of its own: an engine without a bridge removes the bridge of the one beside it.
        let child = Command::new("unshare")
            .args(["--net", "dockerd"])
            .arg(format!("--host=unix://{}", self.socket().display()))
            .args([named("data-root", &self.path("data")), named("exec-root", &self.path("exec"))])
            .arg(named("pidfile", &self.path("pid")))
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"])
            .args([format!("--containerd-namespace={namespace}")])
            .args([format!("--containerd-plugins-namespace={namespace}-plugins")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let child = self.process.insert(child);
        let socket = self.directory.path().join("engine.sock");
        let answers = eventually("the engine answers", ENGINE_MOVES, async || {
            ensure!(child.try_wait()?.is_none(), "it has ended");
            ask(&socket).await
        });
        if let Err(error) = answers.await {
            panic!("{error:#}\n{}", std::fs::read_to_string(self.path("log")).unwrap_or_default());
        }
    }

    /// Stops it with everything that it runs.
    async fn stop(&mut self) {
        let mut child = self.process.take().unwrap();
        terminate(child.id()).unwrap();
        let ended = async || child.try_wait()?.context("it still runs");
        eventually("the engine ends", ENGINE_MOVES, ended).await.unwrap();
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        let Some(child) = &mut self.process else { return };
        let asked = terminate(child.id()).is_ok();
        let given_up = std::time::Instant::now() + 3 * FAREWELL;
        while asked && std::time::Instant::now() < given_up && matches!(child.try_wait(), Ok(None)) {
            std::thread::park_timeout(POLL);
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

async fn ask(socket: &Path) -> Result<()> {
    Engine::behind(socket.to_owned()).ask(Method::GET, "/_ping", Bytes::new()).await.map(drop)
}

#[tokio::test]
async fn an_engine_that_is_stopped_and_started_has_its_servers_back() {
    let Some(mut own) = OwnEngine::new() else { return };
    own.start().await;
    let address = format!("unix://{}", own.socket().display());
    let setup = Setup { env: &[("FAIRLEAD_CONTAINER_ENGINE", &address)], ..Setup::default() };
    let daemon = Daemon::start_set_up(Home::new().unwrap(), &setup).await.unwrap();
    let cli = daemon.cli().unwrap();
    let engine = Engine::at(own.socket(), &binary::test_server().unwrap()).await.unwrap();
    let image = engine.image.as_str();
    cli.ok(["run", image, "--name", "pipes", "--pull", "never"]).await.unwrap();
    let listens = ["--transport", "streamable-http", "--target-port", "8000", "--pull", "never"];
    cli.ok([&["run", image, "--name", "port"][..], &listens, &["--", "--http", "8000"]].concat()).await.unwrap();
    run_test_server(&cli, SERVER, &[], &[]).await;
    let before = acknowledged(daemon.home()).await.unwrap();
    assert_eq!(before["servers"][0][6]["source"]["engine"], address.as_str(), "{before}");
    for name in ["pipes", "port"] {
        serves(&daemon.url(name)).await;
    }
    let bystander = daemon.client(SERVER).await.unwrap();

    own.stop().await;
    if std::env::var_os("FAIRLEAD_LONG").is_some() {
        // So long that its containers are given up, and launching is tried in vain.
        eventually("status tells that the engine is away", 3 * SETTLE, async || {
            let now = cli.json(["status", "port"]).await?;
            let reason = now["reason"].as_str().unwrap_or_default();
            ensure!(now["status"] == "backing-off" && reason.contains("out of reach"), "{now}");
            Ok(())
        })
        .await
        .unwrap();
    }
    for name in ["pipes", "port"] {
        let begin = Instant::now();
        assert!(daemon.client(name).await.is_err(), "there is nobody to answer");
        assert!(begin.elapsed() < Duration::from_secs(10), "and it is said at once: {:?}", begin.elapsed());
    }
    assert_eq!(bystander.text("echo", json!({})).await.unwrap(), "echo", "no other server notices");
    assert_eq!(acknowledged(daemon.home()).await.unwrap(), before);

    own.start().await;
    let begin = Instant::now();
    for name in ["pipes", "port"] {
        serves(&daemon.url(name)).await;
    }
    let took = begin.elapsed();
    assert_eq!(bystander.text("echo", json!({})).await.unwrap(), "echo");
    assert_eq!(acknowledged(daemon.home()).await.unwrap(), before);
    cli.ok(["rm", "--all"]).await.unwrap();
    eventually("no container is left", SETTLE, async || {
        let left = ids(&engine.containers(daemon.home()).await?);
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
    .unwrap();
    Case::EngineRestarted.recovered(took);
    drop(daemon);
    own.stop().await;
}
