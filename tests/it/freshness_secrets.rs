//! Where secrets of a check for something newer do not get (T24 of the tests T1 to T25 of updates; the others are in
//! `host/control/tests/it` and beside this file, by the same names): anywhere.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::ensure;
use fairlead_tests::limits::SETTLE;
use fairlead_tests::{Daemon, Home, Setup, eventually};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::containers::engine;
use crate::distribution::Registry;
use crate::freshness::{SERVER, reaches, runs};

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
            // One that says nothing keeps nobody waiting.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                connections.spawn(async move { parrot(stream, port, &count).await });
                while connections.try_join_next().is_some() {}
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
    let setup = Setup { env: &[("DOCKER_CONFIG", login.to_str().unwrap())], ..Setup::default() };
    let daemon = Daemon::start_set_up(home, &setup).await.unwrap();
    let cli = daemon.cli().unwrap();
    let Some(engine) = engine(&cli).await else { return };
    let reference = registry.push_logged_in(&login, &engine.image, "team/private:1");
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
