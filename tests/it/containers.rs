//! A server from an image: run, used through the proxy, stopped, started, removed; and nothing of it stays on the engine.
//! What a container may do is proven where it is decided, in `host/runtimes`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use fairlead_tests::limits::{COMMAND, SETTLE};
use fairlead_tests::{Cli, Daemon, Home, binary, eventually};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::scene::SERVER;

/// The engine that `fairlead doctor` finds first, with the image of the test server on it.
pub(crate) struct Engine {
    socket: PathBuf,
    image: String,
}

impl Engine {
    /// `None`, and said so, where there is none; where `CI=true` there must be one.
    pub(crate) async fn ready(cli: &Cli) -> Option<Self> {
        let report = cli.json(["doctor"]).await.unwrap();
        let engines = report["engines"].as_array().unwrap();
        let answering = engines.iter().find(|engine| engine["outcome"]["is"] == "answering");
        let Some(engine) = answering.filter(|_| cfg!(target_os = "linux")) else {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must have a container engine: {report}");
            eprintln!("skipped: no container engine answers, or the test server is not built for Linux");
            return None;
        };
        let socket = engine["address"].as_str().unwrap().strip_prefix("unix://").unwrap().into();
        // Of its own for each test, for each removes it at its end.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let image = format!("fairlead-test-server:{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let engine = Self { socket, image };
        engine.import().await.unwrap();
        Some(engine)
    }

    /// The test server and the libraries that it is linked to, as an image.
    async fn import(&self) -> Result<()> {
        self.make(&self.image, &[], &[]).await
    }

    /// The same under a name, with arguments and an environment of the image.
    pub(crate) async fn make(&self, image: &str, args: &[&str], env: &[&str]) -> Result<()> {
        let directory = tempfile::tempdir()?;
        let program = binary::test_server()?;
        std::fs::copy(&program, directory.path().join("server"))?;
        let linked = Command::new("ldd").arg(&program).output().context("ldd")?;
        let text = String::from_utf8(linked.stdout)?;
        for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
            let copy = directory.path().join(library.trim_start_matches('/'));
            std::fs::create_dir_all(copy.parent().unwrap_or(Path::new("/")))?;
            std::fs::copy(library, copy)?;
        }
        let tar = Command::new("tar").arg("-C").arg(directory.path()).args(["-cf", "-", "."]).output()?;
        ensure!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
        let (name, tag) = image.rsplit_once(':').context("a tag")?;
        let command: Vec<String> = ["/server"].iter().chain(args).map(|word| format!("%22{word}%22")).collect();
        let mut path = format!("/images/create?fromSrc=-&repo={name}&tag={tag}");
        path += &format!("&changes=ENTRYPOINT%20%5B{}%5D", command.join(","));
        for variable in env {
            path += &format!("&changes=ENV%20{variable}");
        }
        self.ask(Method::POST, &path, tar.stdout.into()).await.map(drop)
    }

    /// The image of the test server.
    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// Containers of a daemon's home, running or not.
    pub(crate) async fn containers(&self, home: &Home) -> Result<Vec<Value>> {
        let home = std::fs::read_to_string(home.path().join("state/home-id"))?;
        let all = self.ask(Method::GET, "/containers/json?all=true", Bytes::new()).await?;
        let all: Vec<Value> = serde_json::from_slice(&all)?;
        let is_ours = |container: &Value| {
            let labels = container["Labels"].as_object();
            labels.is_some_and(|labels| labels.values().any(|value| value == home.trim()))
        };
        Ok(all.into_iter().filter(is_ours).collect())
    }

    /// Brings an image to the OCI registry that its name names, and forgets the name: the digest that it has there.
    pub(crate) async fn push(&self, image: &str) -> Result<String> {
        let (name, tag) = image.rsplit_once(':').context("a tag")?;
        let said = self.ask(Method::POST, &format!("/images/{name}/push?tag={tag}"), Bytes::new()).await?;
        let said = String::from_utf8_lossy(&said);
        let pushed = said.lines().find_map(|line| line.split_once("digest: ")?.1.split_whitespace().next());
        let digest = pushed.with_context(|| format!("the engine does not push: {said}"))?.to_owned();
        self.forget(image).await?;
        Ok(digest)
    }

    /// Takes the name of an image away, and with the last one the image.
    pub(crate) async fn forget(&self, image: &str) -> Result<()> {
        self.ask(Method::DELETE, &format!("/images/{image}?force=true"), Bytes::new()).await.map(drop)
    }

    /// Takes the image away.
    pub(crate) async fn done(self) {
        self.forget(&self.image).await.unwrap();
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let exchange = async {
            let stream = UnixStream::connect(&self.socket).await.context("connect to the engine")?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let mut connections = JoinSet::new();
            connections.spawn(connection);
            let request = Request::builder().method(method).uri(path).header("host", "engine");
            // To push, an engine wants to be told that there is nothing to tell.
            let request = request.header("x-registry-auth", "e30=");
            let request = request.header("content-type", "application/x-tar").body(Full::new(body))?;
            let response = sender.send_request(request).await.context("ask the engine")?;
            let status = response.status();
            let bytes = response.into_body().collect().await?.to_bytes();
            ensure!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&bytes));
            Ok(bytes)
        };
        tokio::time::timeout(COMMAND, exchange).await.context("the engine does not answer")?
    }
}

#[tokio::test]
async fn a_server_in_a_container_lives_from_run_to_rm_and_leaves_nothing() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    let Some(engine) = Engine::ready(&cli).await else { return };
    cli.ok(["run", &engine.image, "--name", SERVER, "--pull", "never", "--memory", "128m", "-e", "GREETING=hello"])
        .await
        .unwrap();

    let now = cli.json(["status", SERVER]).await.unwrap();
    assert_eq!(now["status"], "running", "{now}");
    assert_eq!(now["image"]["reference"], engine.image, "{now}");
    assert!(now["image"]["id"].as_str().unwrap().starts_with("sha256:"), "{now}");
    let address = format!("unix://{}", engine.socket.display());
    assert_eq!(now["image"]["engineAddress"], address, "{now}");
    assert_eq!(now["spec"]["source"]["engine"], address, "it stays on its engine: {now}");

    let client = daemon.client(SERVER).await.unwrap();
    let environment = client.text("environment", json!({"name": "GREETING"})).await.unwrap();
    assert!(environment.contains("hello"), "{environment}");
    assert!(!engine.containers(daemon.home()).await.unwrap().is_empty(), "it runs on that engine");

    cli.ok(["stop", SERVER]).await.unwrap();
    gone(&engine, daemon.home()).await;
    cli.ok(["start", SERVER]).await.unwrap();
    assert_eq!(daemon.client(SERVER).await.unwrap().text("echo", json!({})).await.unwrap(), "echo");

    cli.ok(["rm", SERVER]).await.unwrap();
    gone(&engine, daemon.home()).await;
    engine.done().await;
}

#[tokio::test]
async fn a_killed_daemon_leaves_no_container_after_the_next_start() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    let Some(engine) = Engine::ready(&cli).await else { return };
    cli.ok(["run", &engine.image, "--name", SERVER, "--pull", "never"]).await.unwrap();
    let client = daemon.client(SERVER).await.unwrap();
    let before = ids(&engine.containers(daemon.home()).await.unwrap());
    assert!(!before.is_empty());
    let daemon = Daemon::start_in(daemon.kill().unwrap()).await.unwrap();
    drop(client);
    eventually("the containers of the earlier daemon are gone", SETTLE, async || {
        let now = ids(&engine.containers(daemon.home()).await?);
        ensure!(before.iter().all(|id| !now.contains(id)), "{now:?}");
        Ok(())
    })
    .await
    .unwrap();
    eventually("it serves again", SETTLE, async || daemon.client(SERVER).await).await.unwrap();
    let (home, status) = daemon.terminate().await.unwrap();
    assert!(status.success(), "{status}");
    let left = engine.containers(&home).await.unwrap();
    assert_eq!(ids(&left), Vec::<String>::new(), "a daemon that ends in order leaves nothing");
    engine.done().await;
}

#[tokio::test]
async fn an_image_that_cannot_be_had_is_said_and_no_server_stays() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    let Some(engine) = Engine::ready(&cli).await else { return };
    let absent = cli.run(["run", "fairlead-test-absent:1", "--pull", "never"]).await.unwrap();
    assert_eq!(absent.code, Some(1), "{absent}");
    assert!(absent.stderr.contains("its pull policy is `never`"), "{absent}");
    assert!(absent.stderr.contains("hint:"), "{absent}");
    let run = daemon.home().path().join("run").display().to_string();
    let profile = daemon.home().path().join("profile.json");
    std::fs::write(&profile, json!({"read": [run]}).to_string()).unwrap();
    let profile = profile.to_str().unwrap();
    let refused = cli.run(["run", &engine.image, "--permission-profile", profile]).await.unwrap();
    assert_eq!(refused.code, Some(1), "the daemon's own files are never mounted: {refused}");
    assert_eq!(cli.json(["list", "--all"]).await.unwrap(), json!([]));
    engine.done().await;
}

#[tokio::test]
async fn without_an_engine_there_is_a_hint_and_doctor_says_where_it_looked() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    let elsewhere = cli.run(["run", "a", "--engine", "unix:///nowhere/engine.sock"]).await.unwrap();
    assert_eq!(elsewhere.code, Some(1), "{elsewhere}");
    assert!(elsewhere.stderr.contains("hint:"), "{elsewhere}");
    let report = cli.json(["doctor"]).await.unwrap();
    let daemon = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "daemon").unwrap();
    assert_eq!(daemon["verdict"], "good", "{report}");
    assert!(!report["engines"].as_array().unwrap().is_empty(), "{report}");
}

fn ids(containers: &[Value]) -> Vec<String> {
    containers.iter().map(|container| container["Id"].as_str().unwrap().to_owned()).collect()
}

async fn gone(engine: &Engine, home: &Home) {
    eventually("no container is left", SETTLE, async || {
        let left = ids(&engine.containers(home).await?);
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
    .unwrap();
}
