//! A catalogue of a hundred thousand entries: reading it for the first time and then what changed of it, over HTTP from a server that
//! speaks the official API; what it takes in memory and on disk; and how soon something is found in it.
//!
//! Entries are as people write them: some words are everywhere and most are rare, some owners have hundreds of servers and most
//! have one, some entries are long. Always the same ones, so that two runs compare.

use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fairlead_core::name::{LayerName, RegistryName};
use fairlead_registry::copy::Copy;
use fairlead_registry::merge::{Catalogue, Part};
use fairlead_registry::rules::Rules;
use fairlead_registry::search::Index;
use fairlead_tests::{Daemon, Home, api_ok};
use http::Method;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

use crate::process::resident_kib;
use crate::statistics::quantile;

/// Entries of a page, as the official registry has at most.
const PAGE: usize = 100;

/// Of a hundred entries one changes.
const CHANGED: usize = 100;

/// Questions of each kind.
const QUESTIONS: usize = 500;

/// What is aimed at for the slowest of a hundred questions, on one core.
const AIM_MS: f64 = 5.0;

const SYLLABLES: [&str; 24] = [
    "wea", "ther", "git", "hub", "map", "data", "base", "mail", "cal", "end", "ar", "file", "sys", "tem", "log",
    "chat", "pay", "ment", "doc", "image", "search", "time", "note", "task",
];

/// Everything that was found out.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    entries: usize,
    documents_mib: f64,
    first_sync_ms: f64,
    incremental_entries: usize,
    incremental_sync_ms: f64,
    /// Until the catalogue answers after a change: merged and indexed anew.
    first_answer_ms: f64,
    /// What the daemon has more than without it.
    daemon_mib: f64,
    store_mib: f64,
    /// From starting a daemon that knows it until something is found.
    restarted_ms: f64,
    merge_ms: f64,
    index_ms: f64,
    searches: Vec<Search>,
    /// The same by the API of the daemon, with a page of twenty.
    by_api: Vec<Search>,
}

/// Questions of one kind.
#[derive(Debug, Serialize)]
pub(crate) struct Search {
    kind: &'static str,
    p50_ms: f64,
    p99_ms: f64,
}

/// Measures with so many entries.
pub(crate) async fn run(entries: usize) -> anyhow::Result<Figures> {
    LocalSet::new().run_until(measure(entries)).await
}

async fn measure(entries: usize) -> anyhow::Result<Figures> {
    let mut numbers = Numbers(7);
    let documents: Rc<Vec<Value>> = Rc::new((0..entries).map(|at| entry(at, &mut numbers)).collect());
    let documents_bytes: usize = documents.iter().map(|entry| entry.to_string().len()).sum();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let serving = spawn_local(serve(listener, Rc::clone(&documents)));
    let daemon = Daemon::start_in(Home::new()?).await?;
    let empty_kib = resident_kib(daemon.pid())?;
    let cli = daemon.cli()?;

    let begin = Instant::now();
    let added = cli.json(["registry", "add", "many", url.as_str()]).await?;
    let first_sync_ms = ms(begin.elapsed());
    ensure!(added.get("entries") == Some(&json!(entries)), "not all were read: {added}");
    let begin = Instant::now();
    search(&daemon, "weather").await?;
    let first_answer_ms = ms(begin.elapsed());
    let begin = Instant::now();
    let read = cli.json(["registry", "refresh", "many"]).await?;
    let incremental_sync_ms = ms(begin.elapsed());
    let whole = read.pointer("/0/entries") == Some(&json!(entries)) && read.pointer("/0/error").is_none();
    ensure!(whole, "what changed was not read: {read}");
    search(&daemon, "weather").await?;
    let daemon_kib = resident_kib(daemon.pid())?.saturating_sub(empty_kib);
    let store_bytes = size(daemon.home().path(), "default.many.jsonl").context("no copy on disk")?;

    let mut by_api = Vec::new();
    for (kind, questions) in questions() {
        let mut times = Vec::new();
        for question in questions.iter().take(QUESTIONS / 5) {
            let begin = Instant::now();
            search(&daemon, question).await?;
            times.push(micros(begin.elapsed()));
        }
        by_api.push(Search::of(kind, times));
    }
    let (home, _) = daemon.terminate().await?;
    let begin = Instant::now();
    let daemon = Daemon::start_in(home).await?;
    search(&daemon, "weather").await?;
    let restarted_ms = ms(begin.elapsed());
    let copy = std::fs::read(find(daemon.home().path(), "default.many.jsonl").context("no copy on disk")?)?;
    daemon.terminate().await?;
    serving.abort();

    // The engine by itself, on this thread.
    let copy = Copy::decode(&copy)?;
    let rules = Rules::default();
    let (registry, layer) = (RegistryName::new("many")?, LayerName::community());
    let part = Part { registry, layer, rules: &rules, copy: &copy, here: "" };
    let begin = Instant::now();
    let catalogue = Catalogue::merge(&[part], &[LayerName::community()], Timestamp::UNIX_EPOCH);
    let merge_ms = ms(begin.elapsed());
    let begin = Instant::now();
    let index = Index::of(&catalogue);
    let index_ms = ms(begin.elapsed());
    let searches = questions().into_iter().map(|(kind, questions)| {
        let timed = questions.iter().map(|question| {
            let begin = Instant::now();
            std::hint::black_box(index.search(&catalogue, question, 20, &|_| true).len());
            micros(begin.elapsed())
        });
        Search::of(kind, timed.collect())
    });
    Ok(Figures {
        entries,
        documents_mib: mib(documents_bytes as u64),
        first_sync_ms,
        incremental_entries: entries.div_ceil(CHANGED),
        incremental_sync_ms,
        first_answer_ms,
        daemon_mib: daemon_kib as f64 / 1024.0,
        store_mib: mib(store_bytes),
        restarted_ms,
        merge_ms,
        index_ms,
        searches: searches.collect(),
        by_api,
    })
}

async fn search(daemon: &Daemon, words: &str) -> anyhow::Result<Value> {
    let words = words.trim_end().replace(' ', "%20");
    let path = format!("/registry/servers?limit=20&search={words}");
    api_ok(daemon.home(), Method::GET, &path, None).await
}

/// What people type: whole words, two of them, a beginning, and something that is in no entry.
fn questions() -> [(&'static str, Vec<String>); 4] {
    let mut numbers = Numbers(11);
    let mut many = |make: &mut dyn FnMut(&mut Numbers) -> String| (0..QUESTIONS).map(|_| make(&mut numbers)).collect();
    [
        ("one word", many(&mut |numbers| format!("{} ", numbers.word()))),
        ("two words", many(&mut |numbers| format!("{} {}", numbers.word(), numbers.word()))),
        ("a beginning", many(&mut |numbers| numbers.word().chars().take(3).collect())),
        ("a slip", many(&mut |numbers| format!("{}x{} ", numbers.word(), numbers.word()))),
    ]
}

impl Search {
    fn of(kind: &'static str, mut micros: Vec<u64>) -> Self {
        micros.sort_unstable();
        let at = |fraction| quantile(&micros, fraction).unwrap_or_default() as f64 / 1e3;
        Self { kind, p50_ms: at(0.5), p99_ms: at(0.99) }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "catalogue: {} entries, {:.0} MiB of documents", self.entries, self.documents_mib)?;
        let Self { first_sync_ms, incremental_sync_ms, incremental_entries, first_answer_ms, restarted_ms, .. } = self;
        writeln!(f, "  first synchronisation  {first_sync_ms:>9.0} ms")?;
        writeln!(f, "  {incremental_entries} of them changed {incremental_sync_ms:>9.0} ms")?;
        writeln!(
            f,
            "  answers again after    {first_answer_ms:>9.0} ms (merge {:.0}, index {:.0})",
            self.merge_ms, self.index_ms
        )?;
        writeln!(f, "  restarted, found after {restarted_ms:>9.0} ms")?;
        writeln!(f, "  daemon {:.0} MiB more, {:.0} MiB on disk", self.daemon_mib, self.store_mib)?;
        for (place, searches) in [("one core", &self.searches), ("by API  ", &self.by_api)] {
            for Search { kind, p50_ms, p99_ms } in searches {
                let held = if *p99_ms <= AIM_MS { "held" } else { "MISSED" };
                writeln!(
                    f,
                    "  search, {place}, {kind:<12} p50 {p50_ms:>7.2} ms   p99 {p99_ms:>7.2} ms   <= {AIM_MS} ms {held}"
                )?;
            }
        }
        Ok(())
    }
}

/// Numbers that are spread and always the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % below.max(1)
    }

    /// Small ones are common, large ones rare: the words of people.
    fn skewed(&mut self, below: usize) -> usize {
        let (a, b) = (self.next(below), self.next(below));
        a * b / below.max(1)
    }

    fn word(&mut self) -> String {
        let syllables = 1 + self.next(3);
        (0..syllables).filter_map(|_| SYLLABLES.get(self.skewed(SYLLABLES.len()))).copied().collect()
    }
}

fn entry(at: usize, numbers: &mut Numbers) -> Value {
    let (owner, name) = (numbers.word(), numbers.word());
    let name = format!("io.github.{owner}{}/{name}-{at:06}", numbers.skewed(5_000));
    let description: Vec<String> = (0..6 + numbers.next(10)).map(|_| numbers.word()).collect();
    // Most ask for little, some for very much.
    let asks = 1 + numbers.skewed(12);
    let variables: Vec<Value> = (0..asks)
        .map(|at| json!({"name": format!("KEY_{at}"), "description": format!("the {} of the service", numbers.word()), "isRequired": at == 0, "isSecret": true}))
        .collect();
    json!({
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": name, "version": "1.0.0", "title": numbers.word(), "description": description.join(" "),
        "repository": {"url": format!("https://github.com/{owner}/x"), "source": "github"},
        "packages": [{"registryType": "npm", "identifier": format!("@{owner}/{at}"), "version": "1.0.0",
            "transport": {"type": "stdio"}, "environmentVariables": variables}],
    })
}

/// The official API, as far as the source asks.
async fn serve(listener: TcpListener, documents: Rc<Vec<Value>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let documents = Rc::clone(&documents);
        spawn_local(async move {
            // Who hangs up has what they wanted.
            let _ = answer(stream, &documents).await;
        });
    }
}

async fn answer(mut stream: TcpStream, documents: &[Value]) -> anyhow::Result<()> {
    let mut head = Vec::new();
    loop {
        let mut chunk = [0; 4_096];
        let read = stream.read(&mut chunk).await?;
        head.extend_from_slice(chunk.get(..read).context("a read")?);
        if read == 0 {
            return Ok(());
        }
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&head);
        let target = text.split(' ').nth(1).unwrap_or_default();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let from: usize = value("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let incremental = value("updated_since").is_some();
        let step = if incremental { CHANGED } else { 1 };
        let wanted: Vec<Value> = documents
            .iter()
            .step_by(step)
            .skip(from)
            .take(PAGE)
            .map(|document| listed(document, incremental))
            .collect();
        let count = wanted.len();
        let more = documents.len().div_ceil(step) > from + count;
        let next = more.then(|| (from + count).to_string());
        let body = json!({"servers": wanted, "metadata": {"count": count, "nextCursor": next}}).to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        head.clear();
    }
}

fn listed(document: &Value, changed: bool) -> Value {
    let mut document = document.clone();
    if changed && let Some(fields) = document.as_object_mut() {
        fields.insert("title".to_owned(), "changed".into());
    }
    let updated = if changed { "2026-02-02T00:00:00Z" } else { "2026-01-01T00:00:00Z" };
    json!({"server": document, "_meta": {"io.modelcontextprotocol.registry/official":
        {"status": "active", "isLatest": true, "publishedAt": "2026-01-01T00:00:00Z", "updatedAt": updated}}})
}

fn find(directory: &Path, name: &str) -> Option<std::path::PathBuf> {
    std::fs::read_dir(directory).ok()?.flatten().find_map(|entry| match entry.path() {
        path if path.is_dir() => find(&path, name),
        path => path.file_name().is_some_and(|it| it == name).then_some(path),
    })
}

fn size(directory: &Path, name: &str) -> Option<u64> {
    Some(std::fs::metadata(find(directory, name)?).ok()?.len())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
