//! Servers that come from no image are kept fresh too: packages by their index, servers elsewhere by what they say of themselves.
//! A real npm installs from an index on loopback that the test fills, in real builds.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fairlead_tests::{Cli, Daemon, Home, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::freshness::Callers;
use crate::package_servers::image;
use crate::scene::run_test_server;

const SERVER: &str = "fresh";

/// A build, a trial, a rollout that is well for five seconds; on a machine that compiles at the same time.
const UPDATE: Duration = Duration::from_secs(180);

async fn daemon(settings: &str) -> Daemon {
    let home = Home::new().unwrap();
    let config = home.path().join("config");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("config.toml"), format!("image_update_interval = \"2s\"\n{settings}")).unwrap();
    Daemon::start_in(home).await.unwrap()
}

async fn reaches(cli: &Cli, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(what, UPDATE, async || {
        let now = cli.json(["update", "status", SERVER]).await?;
        ensure!(wanted(&now), "{now:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(now)
    })
    .await
    .unwrap()
}

/// An npm registry of one package.
struct Index {
    port: u16,
    name: String,
    published: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    asked: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Index {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let name = format!("fairlead-fresh-{port}");
        let published: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
        let asked: Arc<AtomicUsize> = Arc::default();
        let mut tasks = JoinSet::new();
        let (of, has, counts) = (name.clone(), Arc::clone(&published), Arc::clone(&asked));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (name, has, counts) = (of.clone(), Arc::clone(&has), Arc::clone(&counts));
                connections.spawn(async move {
                    let _ = answer(stream, port, &name, &has, &counts).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { port, name, published, asked, _tasks: tasks }
    }

    /// Publishes a version: a server that says which one it is, or, without a word, one that ends at once.
    fn publish(&self, version: &str, works: bool) {
        let directory = tempfile::tempdir().unwrap();
        let package = directory.path().join("package");
        std::fs::create_dir(&package).unwrap();
        let manifest = json!({"name": self.name, "version": version, "bin": "server.mjs", "type": "module"});
        std::fs::write(package.join("package.json"), manifest.to_string()).unwrap();
        let program = if works { SERVES.replace("VERSION", version) } else { "process.exit(3);".to_owned() };
        std::fs::write(package.join("server.mjs"), format!("#!/usr/bin/env node\n{program}")).unwrap();
        let archive = directory.path().join("a.tgz");
        let packed =
            Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(directory.path()).arg("package").status();
        assert!(packed.unwrap().success());
        self.published.lock().unwrap().insert(version.to_owned(), std::fs::read(&archive).unwrap());
    }

    /// Removes what was built of it.
    fn forget(&self) {
        let of = format!("reference=fairlead.local/npx/{}", self.name);
        let found = Command::new("docker")
            .args(["image", "ls", "--filter", &of, "--format", "{{.Repository}}:{{.Tag}}"])
            .output();
        for image in String::from_utf8_lossy(&found.unwrap().stdout).lines() {
            let _ = Command::new("docker").args(["image", "rm", "--force", image]).output();
        }
    }
}

const SERVES: &str = r#"
import { createInterface } from "node:readline";
const results = {
  initialize: { protocolVersion: "2025-06-18", capabilities: { tools: {} }, serverInfo: { name: "counted", version: "VERSION" } },
  ping: {},
  "tools/list": { tools: [{ name: "version", inputSchema: { type: "object" } }] },
  "tools/call": { content: [{ type: "text", text: "VERSION" }] },
};
for await (const line of createInterface({ input: process.stdin })) {
  const { id, method } = JSON.parse(line);
  if (id === undefined) continue;
  const result = results[method];
  const rest = result ? { result } : { error: { code: -32601, message: "no such method" } };
  console.log(JSON.stringify({ jsonrpc: "2.0", id, ...rest }));
}
"#;

async fn answer(
    stream: TcpStream,
    port: u16,
    name: &str,
    published: &Mutex<BTreeMap<String, Vec<u8>>>,
    asked: &AtomicUsize,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let (status, body) = {
        let published = published.lock().unwrap();
        if path == format!("/{name}") {
            asked.fetch_add(1, Ordering::Relaxed);
            let manifest = |version: &String| {
                json!({"name": name, "version": version, "bin": {name: "server.mjs"},
                    "dist": {"tarball": format!("http://127.0.0.1:{port}/files/{version}.tgz")}})
            };
            let versions: BTreeMap<_, _> = published.keys().map(|version| (version, manifest(version))).collect();
            let latest = published.keys().next_back();
            (
                "200 OK",
                json!({"name": name, "dist-tags": {"latest": latest}, "versions": versions}).to_string().into_bytes(),
            )
        } else {
            let version = path.strip_prefix("/files/").and_then(|file| file.strip_suffix(".tgz"));
            version
                .and_then(|version| published.get(version))
                .map_or(("404 Not Found", Vec::new()), |file| ("200 OK", file.clone()))
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}

async fn version(daemon: &Daemon) -> String {
    let client = daemon.client(SERVER).await.unwrap();
    let said = client.text("version", json!({})).await.unwrap();
    client.close().await.unwrap();
    said
}

#[tokio::test]
async fn a_newer_version_of_a_package_is_built_rolled_out_and_taken_back() {
    let Some(base) = image("base-image.sh") else { return };
    let index = Index::start().await;
    index.publish("1.0.0", true);
    let build = format!(
        "[build]\nnode_image = \"{base}\"\nnpm_registry = \"http://127.0.0.1:{}/\"\nnetwork = \"host\"\n",
        index.port
    );
    let daemon = daemon(&build).await;
    let cli = daemon.cli().unwrap();
    cli.ok(["run", &format!("npx://{}", index.name), "--name", SERVER]).await.unwrap();
    let first = reaches(&cli, "the first check", |now| now["status"] == "up_to_date").await;
    assert_eq!((&first["runningVersion"], &first["newestVersion"]), (&json!("1.0.0"), &json!("1.0.0")), "{first:#}");
    let callers = Callers::start(&daemon.url(SERVER), "version", &json!({}));

    index.publish("1.1.0", true);
    let now = reaches(&cli, "it is rolled out", |now| {
        now["history"][0]["outcome"] == "succeeded" && now["status"] == "up_to_date"
    })
    .await;
    assert_eq!(now["runningVersion"], "1.1.0", "{now:#}");
    assert_eq!(version(&daemon).await, "1.1.0");
    let shown = cli.json(["status", SERVER]).await.unwrap();
    assert_eq!(shown["spec"]["source"]["resolved"], "1.1.0", "{shown:#}");

    // One that ends at once never reaches a client.
    index.publish("1.2.0", false);
    let now =
        reaches(&cli, "it does not pass its trial", |now| now["history"][0]["outcome"] == "preflight-failed").await;
    assert_eq!((&now["runningVersion"], &now["newestVersion"]), (&json!("1.1.0"), &json!("1.2.0")), "{now:#}");
    assert_eq!(version(&daemon).await, "1.1.0");

    cli.ok(["update", "rollback", SERVER]).await.unwrap();
    reaches(&cli, "it is taken back", |now| now["history"][0]["outcome"] == "rolled-back").await;
    assert_eq!(version(&daemon).await, "1.0.0");
    assert!(index.asked.load(Ordering::Relaxed) > 3);
    // Forward and back within the time that the first one's sessions have: nobody's call was cut.
    let calls = callers.end().await;
    assert!(calls > 50, "{calls} calls");

    // What is deployed is what comes up again.
    let daemon = Daemon::start_in(daemon.kill().unwrap()).await.unwrap();
    eventually("the next daemon runs the same", UPDATE, async || {
        let client = daemon.client(SERVER).await?;
        let said = client.text("version", json!({})).await?;
        client.close().await?;
        ensure!(said == "1.0.0", "{said}");
        Ok(())
    })
    .await
    .unwrap();
    daemon.cli().unwrap().ok(["rm", SERVER]).await.unwrap();
    index.forget();
}

#[tokio::test]
async fn where_no_index_is_set_the_one_is_asked_that_a_build_takes_packages_from() {
    let Some(base) = image("base-image.sh") else { return };
    let index = Index::start().await;
    index.publish("1.0.0", true);
    // A base image that knows of a mirror, as those of organisations do.
    let place = tempfile::tempdir().unwrap();
    let mirror = format!("http://127.0.0.1:{}/", index.port);
    std::fs::write(place.path().join("Dockerfile"), format!("FROM {base}\nENV NPM_CONFIG_REGISTRY={mirror}\n"))
        .unwrap();
    let own = format!("fairlead-test-mirror:{}", index.port);
    let built = Command::new("docker").args(["build", "--quiet", "--tag", &own]).arg(place.path()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let daemon = daemon(&format!("[build]\nnode_image = \"{own}\"\nnetwork = \"host\"\n")).await;
    let cli = daemon.cli().unwrap();
    cli.ok(["run", &format!("npx://{}", index.name), "--name", SERVER]).await.unwrap();
    let now = reaches(&cli, "the first check", |now| now["status"] == "up_to_date").await;
    assert_eq!(now["newestVersion"], "1.0.0", "{now:#}");
    cli.ok(["update", "set", SERVER, "--auto-reinstall", "off"]).await.unwrap();
    index.publish("1.0.1", true);
    reaches(&cli, "it is noticed", |now| now["status"] == "update_available" && now["newestVersion"] == "1.0.1").await;
    cli.ok(["rm", SERVER]).await.unwrap();
    index.forget();
    let _ = Command::new("docker").args(["image", "rm", "--force", &own]).output();
}

/// Somebody who listens to what happens to updates.
struct Listener {
    stream: UnixStream,
    heard: String,
}

impl Listener {
    async fn at(socket: &Path) -> Result<Self> {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(b"GET /api/v1beta/updates/events HTTP/1.1\r\nhost: fairlead\r\n\r\n").await?;
        let mut listener = Self { stream, heard: String::new() };
        listener.until("200 OK").await?;
        Ok(listener)
    }

    async fn until(&mut self, what: &str) -> Result<&str> {
        let mut part = [0; 4096];
        while !self.heard.contains(what) {
            let read =
                tokio::time::timeout(UPDATE, self.stream.read(&mut part)).await.context("nothing was heard")??;
            ensure!(read > 0, "it ended: {}", self.heard);
            self.heard += &String::from_utf8_lossy(&part[..read]);
        }
        Ok(&self.heard)
    }
}

#[tokio::test]
async fn a_server_elsewhere_that_loses_a_tool_is_noticed_and_told() {
    let elsewhere = Daemon::start().await.unwrap();
    let there = elsewhere.cli().unwrap();
    run_test_server(&there, "there", &[], &[]).await;
    let daemon = daemon("").await;
    let cli = daemon.cli().unwrap();
    cli.ok(["run", &elsewhere.url("there"), "--name", SERVER]).await.unwrap();
    let first = reaches(&cli, "the first check", |now| now["status"] == "up_to_date").await;
    let socket = daemon.home().sockets().into_iter().next().unwrap();
    let mut listener = Listener::at(&socket).await.unwrap();
    there.ok(["rm", "there"]).await.unwrap();
    run_test_server(&there, "there", &["-e", "TEST_SERVER_WITHOUT=echo"], &[]).await;
    let now =
        reaches(&cli, "it is another", |now| now["running"] != first["running"] && now["status"] == "up_to_date").await;
    let change = now["candidates"][0]["attributes"]["change"].as_str().unwrap();
    assert!(change.contains("tools gone: `echo`"), "{now:#}");
    assert_eq!(now["history"], json!([]), "nobody here did that: {now:#}");
    let said = listener.until("tools gone: `echo`").await.unwrap();
    assert!(said.contains("\"urgent\":true") && said.contains("\"server\":\"fresh\""), "{said}");
}
