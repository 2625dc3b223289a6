//! Memory: of a daemon that is ready, of a thousand sessions, and what of that comes back; and whether ten thousand sessions
//! that do nothing make a call dearer.

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use tokio::task::LocalSet;

use crate::load::{Tally, Workers};
use crate::message::{self, Reply};
use crate::process;
use crate::scene::{Echo, Floor, Scene, Target};
use crate::session::Session;

/// Sessions of which the memory is told.
const SESSIONS: usize = 1_000;

/// Time for memory to come back after the sessions have ended.
const RELEASE: Duration = Duration::from_secs(10);

/// Callers when the cost of a call is measured.
const WORKERS: usize = 16;

/// Length of a call's text.
const TEXT_BYTES: usize = 100;

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) ready_kib: u64,
    pub(crate) floor_ready_kib: u64,
    pub(crate) sessions: Vec<Sessions>,
    pub(crate) many: usize,
    pub(crate) many_kib: u64,
    /// Medians of processor time for a call, in microseconds.
    pub(crate) cpu_few_us: f64,
    pub(crate) cpu_many_us: f64,
    pub(crate) cpu_ratio: f64,
}

/// A thousand sessions of one server.
#[derive(Debug, Serialize)]
pub(crate) struct Sessions {
    pub(crate) server: &'static str,
    /// Before the first of them.
    pub(crate) before_kib: u64,
    pub(crate) open_kib: u64,
    /// Ten seconds after their end.
    pub(crate) ended_kib: u64,
    pub(crate) opens_per_second: f64,
}

impl fmt::Display for Sessions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = |kib: u64| kib.saturating_sub(self.before_kib);
        write!(
            out,
            "  1,000 sessions of `{}`: {} KiB more, {} KiB more after their end; {:.0} opened each second",
            self.server,
            more(self.open_kib),
            more(self.ended_kib),
            self.opens_per_second
        )
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "resident memory: ready {} KiB (floor {})", self.ready_kib, self.floor_ready_kib)?;
        for sessions in &self.sessions {
            writeln!(out, "{sessions}")?;
        }
        write!(
            out,
            "  {} idle sessions ({} KiB): {:.1} us CPU for a call against {:.1}, {:.3} times",
            self.many, self.many_kib, self.cpu_many_us, self.cpu_few_us, self.cpu_ratio
        )
    }
}

/// Measures; `many` is the number of idle sessions beside the calls, each cost the median of `rounds`.
pub(crate) async fn run(many: usize, rounds: usize, window: Duration) -> anyhow::Result<Figures> {
    let echo = Echo::start().await?;
    let floor = Floor::start(&echo).await?;
    let floor_ready_kib = process::resident_kib(floor.pid()?)?;
    let scene = Scene::start().await?;
    let pid = scene.daemon.pid();
    let target = scene.http("http", Vec::new()).await?;
    // Sessions over HTTP are the server's own; those of one shared process are ours.
    let shared = scene.stdio_shared("stdio-shared").await?;
    let mut sessions = Vec::new();
    for target in [&target, &shared] {
        sessions.push(thousand(target, pid).await?);
    }
    let (mut few_us, mut many_us, mut many_kib) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        few_us.push(cost(&target, window).await?);
        let idle = open(&target, many).await?;
        many_kib = process::resident_kib(pid)?;
        many_us.push(cost(&target, window).await?);
        end(&target, idle).await?;
    }
    let ratio = crate::statistics::median(few_us.iter().zip(&many_us).map(|(few, many)| many / few));
    Ok(Figures {
        ready_kib: scene.resident_empty_kib,
        floor_ready_kib,
        sessions,
        many,
        many_kib,
        cpu_few_us: crate::statistics::median(few_us),
        cpu_many_us: crate::statistics::median(many_us),
        cpu_ratio: ratio,
    })
}

/// Opens a thousand sessions of a server, ends them and waits.
async fn thousand(target: &Target, pid: u32) -> anyhow::Result<Sessions> {
    // What is made once for all sessions is not one session's.
    end(target, open(target, WORKERS).await?).await?;
    let before_kib = process::resident_kib(pid)?;
    let begin = Instant::now();
    let opened = open(target, SESSIONS).await?;
    let opens_per_second = SESSIONS as f64 / begin.elapsed().as_secs_f64();
    let open_kib = process::resident_kib(pid)?;
    end(target, opened).await?;
    tokio::time::sleep(RELEASE).await;
    let ended_kib = process::resident_kib(pid)?;
    Ok(Sessions { server: target.name, before_kib, open_kib, ended_kib, opens_per_second })
}

/// Opens sessions, one after the other on one connection, each with one call.
async fn open(target: &Target, count: usize) -> anyhow::Result<Vec<Option<String>>> {
    let mut session = Session::connect(&target.load(1, TEXT_BYTES), None).await?;
    let mut ids = Vec::with_capacity(count);
    for number in 0..count {
        session.begin().await?;
        let payload = message::payload(number, 1, TEXT_BYTES);
        let (_, body) = session.post(message::call(session.tool(), 1, &payload)).await?;
        Reply::check(&body, 1, &payload).map_err(anyhow::Error::msg)?;
        ids.push(session.id());
    }
    Ok(ids)
}

async fn end(target: &Target, ids: Vec<Option<String>>) -> anyhow::Result<()> {
    let mut session = Session::connect(&target.load(1, TEXT_BYTES), None).await?;
    for id in ids {
        session.end(id).await?;
    }
    Ok(())
}

/// Processor time of one call, in microseconds.
async fn cost(target: &Target, window: Duration) -> anyhow::Result<f64> {
    let tally = Rc::new(Tally::default());
    let load = target.load(WORKERS, TEXT_BYTES);
    let pid = target.hop.unwrap_or_default();
    let local = LocalSet::new();
    let measured = local.run_until(async {
        let workers = Workers::begin(&load, &tally, |_| Ok(())).await?;
        tokio::time::sleep(window / 4).await;
        let (cpu, requests) = (process::cpu(pid)?, tally.requests());
        tokio::time::sleep(window).await;
        let (cpu, requests) = (process::cpu(pid)? - cpu, tally.requests() - requests);
        tally.end();
        workers.join().await?;
        anyhow::Ok(cpu.as_secs_f64() * 1e6 / requests as f64)
    });
    let cost = measured.await?;
    ensure!(tally.failures() == 0, "{:?}", tally.told());
    Ok(cost)
}
