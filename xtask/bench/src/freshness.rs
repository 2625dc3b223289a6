//! What it costs to keep a thousand servers fresh: a round of checks against an OCI registry on loopback that allows only so many
//! requests in a second, with the engine, the detector and the client of the daemon.
//!
//! The registry is a process of its own, so that what is measured is not what answers. Here the engine is alone, so that its own
//! costs are seen; `daemon` has a thousand servers of a real one.

pub(crate) mod daemon;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fairlead_control::freshness::{Engine, EngineConfig, EnginePorts};
use fairlead_core::BoxFuture;
use fairlead_core::clock::Clock;
use fairlead_core::dial::Anywhere;
use fairlead_core::digest::Digest;
use fairlead_core::freshness::{
    Announcer, Decision, Deployed, Detector, Evidence, Facts, Freshness, FreshnessStore, Message, Observed, Operation,
    Plan, Policies, Roller, Running, Servers, Signal, Subject, Trial, Unseen, UpdateToggles, Verdict,
};
use fairlead_core::image::ImageReference;
use fairlead_core::name::{ServerKey, ServerName, TenantName};
use fairlead_core::oci::{Credential, CredentialError, CredentialSource};
use fairlead_core::store::StoreError;
use fairlead_dial::NetDialer;
use fairlead_oci::{InsecureRegistries, OciClient, OciClientConfig, RegistryDetector, digest_of, media_types};
use jiff::Timestamp;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::process;

/// Servers of one daemon.
const SERVERS: usize = 1_000;

/// References that they follow.
const REFERENCES: usize = 120;

/// Requests that the registry answers in one second; the others get a `429`.
const RATE: usize = 50;

/// What the registry takes for one answer.
const LATENCY: Duration = Duration::from_millis(20);

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"layers":[]}"#;

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) servers: usize,
    pub(crate) references: usize,
    pub(crate) rate_per_second: usize,
    /// The first round, in which every image is looked at for the first time.
    pub(crate) first: Round,
    /// One in which nothing has changed.
    pub(crate) steady: Round,
    pub(crate) resident_before_kib: u64,
    pub(crate) resident_after_kib: u64,
    /// The same with a real daemon; none where there is no engine.
    pub(crate) daemon: Option<daemon::Figures>,
}

/// One round of checks.
#[derive(Debug, Serialize)]
pub(crate) struct Round {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) head_requests: usize,
    /// Those that registries count.
    pub(crate) get_requests: usize,
    /// Answered with `429`.
    pub(crate) refused: usize,
    /// Where they can be counted.
    pub(crate) store_writes: Option<usize>,
}

impl Round {
    fn show(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let Self { seconds, cpu_seconds, head_requests, get_requests, refused, store_writes } = self;
        let writes = store_writes.map(|writes| format!("  {writes:>5} writes")).unwrap_or_default();
        writeln!(
            f,
            "  {name:<13}{seconds:>7.1} s  {cpu_seconds:>6.2} s CPU  {head_requests:>5} HEAD  {get_requests:>4} GET  \
             {refused:>4} refused{writes}"
        )
    }
}

/// Requests within the second that is now.
pub(crate) struct Window(Mutex<(Instant, usize)>);

impl Window {
    fn new() -> Self {
        Self(Mutex::new((Instant::now(), 0)))
    }

    fn is_over(&self, rate: usize) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.0.elapsed() >= Duration::from_secs(1) {
            *window = (Instant::now(), 0);
        }
        window.1 += 1;
        window.1 > rate
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            servers,
            references,
            rate_per_second,
            first,
            steady,
            resident_before_kib,
            resident_after_kib,
            daemon,
        } = self;
        writeln!(
            f,
            "freshness: {servers} servers that follow {references} references, a registry that allows {rate_per_second}/s"
        )?;
        first.show(f, "first round")?;
        steady.show(f, "steady round")?;
        write!(f, "  resident memory {resident_before_kib} -> {resident_after_kib} KiB")?;
        match daemon {
            Some(daemon) => write!(f, "\n{daemon}"),
            None => write!(f, "\n  no engine or no registry: without a daemon"),
        }
    }
}

/// The registry: `HEAD` and `GET` of manifests, `/counts`, and a limit.
pub(crate) async fn serve_registry() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("listen")?;
    let mut line = format!("{}\n", listener.local_addr().context("read the address")?.port());
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).context("tell the port")?;
    line.clear();
    let counts: Arc<[AtomicUsize; 3]> = Arc::default();
    let window = Arc::new(Window::new());
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        let (counts, window) = (Arc::clone(&counts), Arc::clone(&window));
        connections.spawn(async move {
            let _ = answer(stream, &counts, &window).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(stream: TcpStream, counts: &[AtomicUsize; 3], window: &Window) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let [heads, gets, refused] = counts;
    let text = if first.contains("/counts") {
        let now = counts.each_ref().map(|count| count.load(Ordering::Relaxed).to_string()).join(" ");
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{now}", now.len())
    } else {
        tokio::time::sleep(LATENCY).await;
        let is_head = first.starts_with("HEAD");
        if is_head { heads } else { gets }.fetch_add(1, Ordering::Relaxed);
        if window.is_over(RATE) {
            refused.fetch_add(1, Ordering::Relaxed);
            "HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
                .to_owned()
        } else {
            let body = if is_head { "" } else { std::str::from_utf8(MANIFEST).unwrap_or_default() };
            format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: {}\r\ndocker-content-digest: {}\r\n\
                 content-length: {}\r\n\r\n{body}",
                media_types::MANIFEST,
                digest_of(MANIFEST),
                MANIFEST.len()
            )
        }
    };
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// The world around the engine: everything but the registry stands still.
struct World {
    detector: Mutex<Arc<RegistryDetector>>,
    servers: Vec<(ServerKey, ImageReference)>,
    places: HashMap<ServerKey, usize>,
    records: Mutex<HashMap<ServerKey, Freshness>>,
    running: Digest,
    writes: AtomicUsize,
}

struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

struct Nobody;

impl CredentialSource for Nobody {
    fn find<'a>(&'a self, _: &'a TenantName, _: &'a str) -> BoxFuture<'a, Result<Credential, CredentialError>> {
        Box::pin(async { Ok(Credential::Anonymous) })
    }
}

impl World {
    fn with_records<T>(&self, look: impl FnOnce(&mut HashMap<ServerKey, Freshness>) -> T) -> T {
        look(&mut self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Servers that were looked at since then and are fresh.
    fn fresh_since(&self, since: Timestamp) -> usize {
        self.with_records(|records| {
            records.values().filter(|record| record.check.last_success.is_some_and(|time| time >= since)).count()
        })
    }
}

/// Runs two rounds of each.
pub(crate) async fn run(quick: bool) -> anyhow::Result<Figures> {
    let (of, follow) = if quick { (60, 20) } else { (SERVERS, REFERENCES) };
    let alone = alone(of, follow).await?;
    // Time for a round of all to end before the next begins, at the rate that is allowed.
    let (servers, references, interval) = if quick { (12, 4, 15) } else { (SERVERS, REFERENCES, 180) };
    let daemon = daemon::run(servers, references, Duration::from_secs(interval)).await?;
    Ok(Figures { daemon, ..alone })
}

async fn alone(servers: usize, references: usize) -> anyhow::Result<Figures> {
    let program = std::env::current_exe().context("find this program")?;
    let mut child = Command::new(program)
        .arg("serve-registry")
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .context("start the registry")?;
    let measured = against(&mut child, (servers, references)).await;
    let _ = child.kill();
    let _ = child.wait();
    measured
}

async fn against(child: &mut std::process::Child, (count, references): (usize, usize)) -> anyhow::Result<Figures> {
    let mut line = String::new();
    let output = child.stdout.as_mut().context("the registry has no output")?;
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).context("read its port")?;
    let address = format!("127.0.0.1:{}", line.trim());
    let pid = std::process::id();
    let resident_before_kib = process::resident_kib(pid)?;
    let clock: Arc<dyn Clock> = Arc::new(MachineClock);
    // Long enough that no server has its second turn within a round.
    let interval = Duration::from_secs(3_600);
    let client = OciClient::new(OciClientConfig {
        dialer: Arc::new(NetDialer::new()),
        admission: Arc::new(Anywhere),
        credentials: Arc::new(Nobody),
        insecure: InsecureRegistries::default(),
        clock: Arc::clone(&clock),
    });
    let mut servers = Vec::with_capacity(count);
    for number in 0..count {
        let key = ServerKey { tenant: TenantName::default(), name: ServerName::new(&format!("s{number}"))? };
        servers.push((key, ImageReference::new(&format!("{address}/r{}:1", number % references))?));
    }
    let client = Arc::new(client);
    let detector = || Arc::new(RegistryDetector::new(Arc::clone(&client), Arc::clone(&clock), interval));
    let world = Arc::new(World {
        detector: Mutex::new(detector()),
        places: servers.iter().enumerate().map(|(place, (key, _))| (key.clone(), place)).collect(),
        servers,
        records: Mutex::default(),
        running: Digest::new(&digest_of(MANIFEST))?,
        writes: AtomicUsize::new(0),
    });
    let ports = EnginePorts {
        servers: Arc::clone(&world) as _,
        store: Arc::clone(&world) as _,
        detector: Arc::clone(&world) as _,
        policies: Arc::clone(&world) as _,
        roller: Arc::clone(&world) as _,
        announcer: Arc::clone(&world) as _,
        clock: Arc::clone(&clock),
    };
    let engine = Engine::new(EngineConfig::new("bench".to_owned(), interval), ports);
    let mut work = JoinSet::new();
    work.spawn(Arc::clone(&engine).run());
    let first = round(&world, &address).await?;
    // Everybody's turn has come again, and what was heard is too old.
    *world.detector.lock().unwrap_or_else(PoisonError::into_inner) = detector();
    world.with_records(|records| records.values_mut().for_each(|record| record.check.next = None));
    world.servers.iter().for_each(|(key, _)| engine.touch(key));
    let steady = round(&world, &address).await?;
    engine.stop();
    while work.join_next().await.is_some() {}
    Ok(Figures {
        servers: count,
        references,
        rate_per_second: RATE,
        first,
        steady,
        resident_before_kib,
        resident_after_kib: process::resident_kib(pid)?,
        daemon: None,
    })
}

/// Waits until every server was looked at with success.
async fn round(world: &World, address: &str) -> anyhow::Result<Round> {
    let (began, since, pid) = (Instant::now(), Timestamp::now(), std::process::id());
    let (before, cpu, writes) = (counts(address).await?, process::cpu(pid)?, world.writes.load(Ordering::Relaxed));
    while world.fresh_since(since) < world.servers.len() {
        ensure!(began.elapsed() < Duration::from_secs(600), "{} of them in ten minutes", world.fresh_since(since));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (seconds, after) = (began.elapsed().as_secs_f64(), counts(address).await?);
    let more = |at: usize| after.get(at).copied().unwrap_or(0) - before.get(at).copied().unwrap_or(0);
    Ok(Round {
        seconds,
        cpu_seconds: (process::cpu(pid)? - cpu).as_secs_f64(),
        head_requests: more(0),
        get_requests: more(1),
        refused: more(2),
        store_writes: Some(world.writes.load(Ordering::Relaxed) - writes),
    })
}

async fn counts(address: &str) -> anyhow::Result<Vec<usize>> {
    let mut stream = BufReader::new(TcpStream::connect(address).await.context("connect to the registry")?);
    stream.write_all(b"GET /counts HTTP/1.1\r\n\r\n").await.context("ask the registry")?;
    let mut text = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text).await.context("hear the registry")?;
    let (_, body) = text.split_once("\r\n\r\n").context("an answer")?;
    body.split(' ').map(|number| number.parse().context("a number")).collect()
}

impl Servers for World {
    fn keys(&self) -> Vec<ServerKey> {
        self.servers.iter().map(|(key, _)| key.clone()).collect()
    }

    fn subject(&self, key: &ServerKey) -> Option<Subject> {
        let (key, reference) = self.servers.get(*self.places.get(key)?)?;
        Some(Subject {
            key: key.clone(),
            toggles: UpdateToggles::for_new(),
            against: Vec::new(),
            reference: reference.to_string(),
            pinned: false,
            group: None,
            labels: BTreeMap::new(),
            created: Timestamp::UNIX_EPOCH,
            sessions: 0,
            health: Signal::Good,
        })
    }
}

impl FreshnessStore for World {
    fn load<'a>(&'a self, key: &'a ServerKey) -> BoxFuture<'a, Result<Freshness, StoreError>> {
        Box::pin(async { Ok(self.with_records(|records| records.get(key).cloned()).unwrap_or_default()) })
    }

    fn swap<'a>(
        &'a self,
        key: &'a ServerKey,
        revision: u64,
        next: &'a Freshness,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.writes.fetch_add(1, Ordering::Relaxed);
            Ok(self.with_records(|records| {
                let current = records.entry(key.clone()).or_default();
                let fits = current.revision == revision;
                if fits {
                    *current = next.clone();
                }
                fits
            }))
        })
    }
}

impl Detector for World {
    fn observe<'a>(
        &'a self,
        subject: &'a Subject,
        running: Running,
        known: &'a Freshness,
    ) -> BoxFuture<'a, Result<Observed, Unseen>> {
        Box::pin(async move {
            let place = self.places.get(&subject.key).and_then(|place| self.servers.get(*place));
            let Some((_, reference)) = place else { return Err(Unseen::Deferred(Timestamp::MAX)) };
            let detector = Arc::clone(&self.detector.lock().unwrap_or_else(PoisonError::into_inner));
            detector.observe(subject, reference, running, known, false).await
        })
    }
}

impl Policies for World {
    fn decide<'a>(&'a self, _: &'a Subject, _: &'a Facts) -> BoxFuture<'a, Verdict> {
        Box::pin(async { Decision::UpToDate.into() })
    }
}

impl Roller for World {
    fn running<'a>(&'a self, _: &'a Subject) -> BoxFuture<'a, Running> {
        Box::pin(async { Running { digests: vec![self.running.clone()], ..Running::default() } })
    }

    fn trial<'a>(&'a self, _: &'a Subject, _: &'a Plan) -> BoxFuture<'a, Trial> {
        Box::pin(async { Trial::PutOff("nothing is tried here".to_owned()) })
    }

    fn deployed<'a>(&'a self, _: &'a ServerKey) -> BoxFuture<'a, Result<Deployed, StoreError>> {
        Box::pin(async { Ok(Deployed::default()) })
    }

    fn deploy<'a>(&'a self, _: &'a ServerKey, _: u64, _: &'a Deployed) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async { Ok(false) })
    }

    fn settle<'a>(&'a self, _: &'a Subject, operation: &'a Operation) -> BoxFuture<'a, Evidence> {
        Box::pin(async {
            let revision = operation.base;
            Evidence { mark: None, revision, running: Running::default(), ready_since: None, terminal: None }
        })
    }
}

impl Announcer for World {
    fn announce<'a>(&'a self, _: &'a ServerKey, _: &'a Message) -> BoxFuture<'a, bool> {
        Box::pin(async { true })
    }
}
