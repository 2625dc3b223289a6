//! Two of the tests T1 to T25 of updates that need a whole daemon, an engine and an OCI registry: what sessions see of an update, and
//! where secrets do not get. The others are in `host/control/tests/it` and beside this file, by the same names.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, bail, ensure};
use fairlead_tests::limits::SETTLE;
use fairlead_tests::{Client, Daemon, Home, Setup, eventually};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::containers::engine;
use crate::distribution::Registry;
use crate::freshness::{Images, SERVER, last, reaches, runs};

/// Sessions that are open when something newer comes.
const SESSIONS: usize = 100;

/// Progress of one call, and the pause before each.
const STEPS: u64 = 3;
const STEP_MS: u64 = 200;

/// A session with one call after the other, each with its progress, none of which may fail; at its end, who served it.
async fn lives(client: Client, over: Arc<AtomicBool>) -> Result<(usize, String)> {
    let mut calls = 0;
    while !over.load(Ordering::Relaxed) {
        let (id, token) = (json!(client.id()), json!(format!("p{calls}")));
        let params = json!({"name": "slow", "arguments": {"steps": STEPS, "step_ms": STEP_MS}, "_meta": {"progressToken": token}});
        let mut reply = client.request(&id, "tools/call", params).await?;
        if !reply.is_stream() {
            let status = reply.status;
            bail!("HTTP {status}: {}", reply.text().await?);
        }
        let mut progress = 0;
        let answer = loop {
            let message = reply.message().await?.context("a stream without an answer")?;
            if message["method"] != "notifications/progress" {
                break message;
            }
            ensure!(message["params"]["progressToken"] == token, "somebody else's: {message}");
            progress += 1;
        };
        ensure!(answer["id"] == id && answer["result"]["content"][0]["text"] == "done", "{answer}");
        ensure!(progress == STEPS, "{progress} times progress");
        calls += 1;
    }
    let version = client.text("environment", json!({"name": "VERSION"})).await?;
    client.close().await?;
    Ok((calls, version))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t22_a_hundred_sessions_live_through_an_update_and_new_ones_land_on_the_new_one() {
    let Some(images) = Images::ready().await else { return };
    let one = images.push("one", &[], &[]).await;
    images.cli.ok(["run", &images.reference(), "--name", SERVER, "--isolation", "shared"]).await.unwrap();
    reaches(&images.cli, "the first check", |now| now["status"] == "up_to_date").await;
    let before = images.daemon.client(SERVER).await.unwrap();
    let tools = before.tools().await.unwrap();
    let (over, mut sessions) = (Arc::<AtomicBool>::default(), JoinSet::new());
    for _ in 0..SESSIONS {
        let client = images.daemon.client(SERVER).await.unwrap();
        sessions.spawn(lives(client, Arc::clone(&over)));
    }

    let two = images.push("two", &[], &[]).await;
    reaches(&images.cli, "it is switched", |now| runs(now, &two)).await;
    assert!(images.version().await.unwrap().contains("two"));
    over.store(true, Ordering::Relaxed);
    let mut calls = 0;
    while let Some(session) = sessions.join_next().await {
        let (of_this, version) = session.unwrap().unwrap();
        assert!(version.contains("one"), "a session stays where it began: {version}");
        calls += of_this;
    }
    assert!(calls > 2 * SESSIONS, "{calls} calls");
    let after = images.daemon.client(SERVER).await.unwrap();
    assert_eq!(after.tools().await.unwrap(), tools);
    reaches(&images.cli, "it is confirmed", |now| last(now, &two, "succeeded") && now["status"] == "up_to_date").await;
    images.end(&[&one, &two]).await;
}

/// What nobody may find: parts of an address, a header, an answer; a token; and the password of [`Registry::start_private`], as
/// it is and as it is sent.
const CANARIES: [&str; 6] =
    ["canary-url", "canary-header", "canary-token", "canary-body", "pass?word>>>???", "dXNlcjpwYXNzP3dvcmQ+Pj4/Pz8="];

/// A registry that throws back whatever it is told in confidence. Counts whom it got a token and a password from.
struct Parrot {
    confided: Arc<AtomicUsize>,
    _listening: JoinSet<()>,
}

impl Parrot {
    async fn at(port: u16) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener =
            eventually("the port is free", SETTLE, async || Ok(TcpListener::bind(address).await?)).await.unwrap();
        let (confided, mut listening) = (Arc::<AtomicUsize>::default(), JoinSet::new());
        let count = Arc::clone(&confided);
        listening.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Whoever hangs up gets no answer.
                let _ = parrot(stream, port, &count).await;
            }
        });
        Self { confided, _listening: listening }
    }
}

async fn parrot(stream: TcpStream, port: u16, confided: &AtomicUsize) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut first, mut said) = (String::new(), String::new());
    stream.read_line(&mut first).await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 2 {
        if line.to_ascii_lowercase().starts_with("authorization:") {
            said = line.trim().to_owned();
        }
        line.clear();
    }
    let (status, body) = if first.contains("/token") && said.contains(CANARIES[5]) {
        ("200 OK", json!({"token": "canary-token", "expires_in": 300}))
    } else if said.contains("canary-token") {
        confided.fetch_add(1, Ordering::Relaxed);
        (
            "500 Internal Server Error",
            json!({"errors": [{"code": "UNKNOWN", "message": format!("canary-body {said}")}]}),
        )
    } else {
        ("401 Unauthorized", json!({"errors": [{"code": "UNAUTHORIZED", "message": format!("canary-body {said}")}]}))
    };
    let body = if first.starts_with("HEAD") { String::new() } else { body.to_string() };
    let asks = format!("Bearer realm=\"http://localhost:{port}/token?key=canary-url\",service=\"canary-header\"");
    let answer = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\nwww-authenticate: {asks}\r\nx-trace: canary-header\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// The files below a directory that have a text in them.
fn files_with(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(files_with(&path, text));
        } else if kind.is_file() {
            // One that goes meanwhile has nothing in it.
            let bytes = std::fs::read(&path).unwrap_or_default();
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_what_a_registry_is_told_in_confidence_is_found_nowhere() {
    let Some((mut registry, login)) = Registry::start_private().await else { return };
    let home = Home::new().unwrap();
    let config = home.path().join("config");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("config.toml"), "image_update_interval = \"1s\"\n").unwrap();
    let login = login.to_str().unwrap();
    let setup = Setup { env: &[("DOCKER_CONFIG", login)], ..Setup::default() };
    let daemon = Daemon::start_set_up(home, &setup).await.unwrap();
    let cli = daemon.cli().unwrap();
    let Some(engine) = engine(&cli).await else { return };
    let reference = registry.reference("team/private:1");
    for step in [&["tag", &*engine.image, &*reference][..], &["push", "--quiet", &reference], &["rmi", &reference]] {
        let done = Command::new("docker").env("DOCKER_CONFIG", login).args(step).output().unwrap();
        assert!(done.status.success(), "docker {step:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    cli.ok(["run", &reference, "--name", SERVER]).await.unwrap();
    reaches(&cli, "the first check", |now| now["status"] == "up_to_date").await;
    let port = registry.address().rsplit_once(':').unwrap().1.parse().unwrap();
    registry.stop();
    let parrot = Parrot::at(port).await;
    let asks = async || {
        cli.ok(["update", "check", SERVER]).await?;
        let count = parrot.confided.load(Ordering::Relaxed);
        ensure!(count > 0, "nothing was confided to it");
        Ok(())
    };
    eventually("it is told everything", SETTLE, asks).await.unwrap();
    let failed = reaches(&cli, "that is no answer", |now| now["lastError"].is_object()).await;
    assert!(runs(&failed, failed["running"][0].as_str().unwrap()), "{failed:#}");

    let mut told = vec![failed.to_string()];
    for line in [&["status", SERVER][..], &["list", "--all"], &["update", "plan"], &["update", "history", SERVER]] {
        told.push(cli.json(line.iter().copied()).await.unwrap().to_string());
    }
    told.push(cli.ok(["logs", SERVER]).await.unwrap().stdout);
    told.push(daemon.stderr());
    assert!(!files_with(daemon.home().path(), SERVER).is_empty(), "what is there is found");
    for canary in CANARIES {
        assert_eq!(files_with(daemon.home().path(), canary), Vec::<String>::new(), "{canary}");
        let where_ = told.iter().find(|text| text.contains(canary));
        assert_eq!(where_, None, "{canary}");
    }
    cli.ok(["rm", SERVER]).await.unwrap();
    engine.forget(&reference).await.unwrap();
    engine.done().await.unwrap();
}
