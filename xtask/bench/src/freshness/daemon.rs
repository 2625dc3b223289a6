//! A thousand servers of one real daemon, each from an image of a real OCI registry, behind a door that lets only so many requests
//! through: how long until all were looked at, how many requests that took, and what it costs the daemon.
//!
//! A stdio server has no container while nobody has a session with it, so a thousand fit on a laptop once each has shown that it
//! comes up. Its checks are off until all are there, so that the round has a beginning.

use std::fmt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use fairlead_tests::engine::Engine;
use fairlead_tests::{Daemon, Home, api_ok, binary, eventually};
use http::Method;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{RATE, Round, Window};
use crate::process;

/// Until all were looked at.
const ROUND_MAX: Duration = Duration::from_secs(900);

/// The first byte of a TLS connection (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) servers: usize,
    pub(crate) references: usize,
    pub(crate) rate_per_second: usize,
    pub(crate) interval_seconds: u64,
    /// From the moment that all checks are on.
    pub(crate) first: Round,
    /// The next one, spread over the interval as checks are.
    pub(crate) steady: Round,
    pub(crate) resident_before_kib: u64,
    pub(crate) resident_after_kib: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { servers, references, rate_per_second, interval_seconds, first, steady, .. } = self;
        writeln!(
            f,
            "  one daemon, {servers} servers of images, {references} references, {rate_per_second}/s, checked every \
             {interval_seconds} s"
        )?;
        first.show(f, "first round")?;
        steady.show(f, "steady round")?;
        write!(f, "  resident memory of the daemon {} -> {} KiB", self.resident_before_kib, self.resident_after_kib)
    }
}

/// The registry, and the door before it.
struct Registry {
    child: Child,
    door: u16,
    limited: Arc<AtomicBool>,
    /// `HEAD`, `GET`, refused.
    counts: Arc<[AtomicUsize; 3]>,
    _tasks: JoinSet<()>,
    _directory: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = directory.path().join("config.yml");
        let data = directory.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            data.display()
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("start docker-registry")?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let door = listener.local_addr()?.port();
        let (limited, counts) = (Arc::<AtomicBool>::default(), Arc::<[AtomicUsize; 3]>::default());
        let mut tasks = JoinSet::new();
        let (shut, counted, window) = (Arc::clone(&limited), Arc::clone(&counts), Arc::new(Window::new()));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (shut, counted, window) = (Arc::clone(&shut), Arc::clone(&counted), Arc::clone(&window));
                connections.spawn(async move {
                    let _ = pass(stream, port, &shut, &counted, &window).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        let registry = Self { child, door, limited, counts, _tasks: tasks, _directory: directory };
        eventually("docker-registry listens", Duration::from_secs(20), async || {
            Ok(TcpStream::connect(("127.0.0.1", port)).await.map(drop)?)
        })
        .await?;
        Ok(registry)
    }

    fn reference(&self, number: usize) -> String {
        format!("localhost:{}/team/r{number}:1", self.door)
    }

    fn counted(&self) -> [usize; 3] {
        self.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

/// One connection: its first request is counted and perhaps refused, and everything else goes through. The daemon makes a
/// connection for each request; an engine that pushes is not counted.
async fn pass(
    mut stream: TcpStream,
    to: u16,
    limited: &AtomicBool,
    counts: &[AtomicUsize; 3],
    window: &Window,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut part = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut part).await?;
        if read == 0 {
            return Ok(());
        }
        head.extend_from_slice(part.get(..read).unwrap_or_default());
        // An engine tries TLS first, and waits ten seconds for whoever says nothing to that.
        if head.first() == Some(&TLS_HANDSHAKE) {
            return Ok(());
        }
    }
    if limited.load(Ordering::Relaxed) {
        let [heads, gets, refused] = counts;
        if head.starts_with(b"HEAD") { heads } else { gets }.fetch_add(1, Ordering::Relaxed);
        if window.is_over(RATE) {
            refused.fetch_add(1, Ordering::Relaxed);
            let text =
                "HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(text.as_bytes()).await?;
            return stream.shutdown().await;
        }
    }
    let mut behind = TcpStream::connect(("127.0.0.1", to)).await?;
    behind.write_all(&head).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut behind).await.map(drop)
}

/// Measures; `None` where there is no engine or no registry.
pub(crate) async fn run(servers: usize, references: usize, interval: Duration) -> anyhow::Result<Option<Figures>> {
    if Command::new("docker-registry").arg("--version").output().is_err() {
        return Ok(None);
    }
    let home = Home::new()?;
    let config = home.path().join("config");
    std::fs::create_dir_all(&config)?;
    std::fs::write(config.join("config.toml"), format!("image_update_interval = \"{}s\"\n", interval.as_secs()))?;
    let daemon = Daemon::start_in(home).await?;
    let Some(engine) = Engine::found(&daemon.cli()?, &binary::test_server()?).await? else { return Ok(None) };
    let registry = Registry::start().await?;
    // What is pushed is forgotten here, so the image has a name of its own besides.
    let kept = format!("fairlead-bench-fresh:{}", std::process::id());
    engine.make(&kept, &[], &[]).await?;
    for number in 0..references {
        let repository = registry.reference(number);
        let (repository, tag) = repository.rsplit_once(':').context("a tag")?;
        engine.ask(Method::POST, &format!("/images/{kept}/tag?repo={repository}&tag={tag}"), Bytes::new()).await?;
        engine.push(&registry.reference(number)).await?;
    }
    let measured = rounds(&daemon, &registry, servers, references, interval).await;
    let ended = daemon.terminate().await;
    engine.forget(&kept).await?;
    engine.done().await?;
    ended?;
    measured.map(Some)
}

async fn rounds(
    daemon: &Daemon,
    registry: &Registry,
    servers: usize,
    references: usize,
    interval: Duration,
) -> anyhow::Result<Figures> {
    for number in 0..servers {
        let spec = json!({
            "source": {"kind": "image", "reference": registry.reference(number % references)},
            "updates": {"check": false, "autoReinstall": false},
        });
        let body = json!({"name": format!("s{number}"), "spec": spec});
        api_ok(daemon.home(), Method::POST, "/workloads", Some(&body)).await?;
    }
    let resident_before_kib = process::resident_kib(daemon.pid())?;
    registry.limited.store(true, Ordering::Relaxed);
    let since = Timestamp::now();
    let measure = Measure::begin(daemon, registry)?;
    for number in 0..servers {
        let path = format!("/workloads/s{number}?tenant=default");
        api_ok(daemon.home(), Method::PATCH, &path, Some(&json!({"updates": {"check": true}}))).await?;
    }
    let mut seen = all_looked_at(daemon, servers, since).await?;
    let first = measure.end(daemon, registry)?;
    let measure = Measure::begin(daemon, registry)?;
    // Each was looked at once more when the one that was looked at last was.
    let last = seen.drain(..).max().context("no server")?;
    all_looked_at(daemon, servers, last + jiff::SignedDuration::from_millis(1)).await?;
    let steady = measure.end(daemon, registry)?;
    Ok(Figures {
        servers,
        references,
        rate_per_second: RATE,
        interval_seconds: interval.as_secs(),
        first,
        steady,
        resident_before_kib,
        resident_after_kib: process::resident_kib(daemon.pid())?,
    })
}

/// Since when is counted.
struct Measure {
    began: Instant,
    cpu: Duration,
    counts: [usize; 3],
}

impl Measure {
    fn begin(daemon: &Daemon, registry: &Registry) -> anyhow::Result<Self> {
        Ok(Self { began: Instant::now(), cpu: process::cpu(daemon.pid())?, counts: registry.counted() })
    }

    fn end(self, daemon: &Daemon, registry: &Registry) -> anyhow::Result<Round> {
        let [heads, gets, refused] = registry.counted();
        let [before_heads, before_gets, before_refused] = self.counts;
        Ok(Round {
            seconds: self.began.elapsed().as_secs_f64(),
            cpu_seconds: (process::cpu(daemon.pid())? - self.cpu).as_secs_f64(),
            head_requests: heads - before_heads,
            get_requests: gets - before_gets,
            refused: refused - before_refused,
            store_writes: None,
        })
    }
}

/// Waits until every server was looked at with success since then; says when each was.
async fn all_looked_at(daemon: &Daemon, servers: usize, since: Timestamp) -> anyhow::Result<Vec<Timestamp>> {
    let began = Instant::now();
    loop {
        let listed = api_ok(daemon.home(), Method::GET, "/workloads?all=true", None).await?;
        let all = listed.as_array().or_else(|| listed.get("workloads").and_then(Value::as_array)).context("a list")?;
        let time = |workload: &Value| workload.pointer("/updates/lastSuccess")?.as_str()?.parse::<Timestamp>().ok();
        let looked: Vec<Timestamp> = all.iter().filter_map(time).filter(|time| *time >= since).collect();
        if looked.len() >= servers {
            return Ok(looked);
        }
        ensure!(began.elapsed() < ROUND_MAX, "{} of {servers} in {ROUND_MAX:?}", looked.len());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
