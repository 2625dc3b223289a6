//! Hours in minutes: a steady load at four fifths of what is possible, the server behind killed now and then, memory and file
//! descriptors watched. A client may lose the call that is under way when its server dies, and nothing else.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::task::{JoinSet, LocalSet};

use crate::load::{Load, Tally, Workers};
use crate::message::{self, Reply};
use crate::process;
use crate::scene::Scene;
use crate::session::Session;

/// Callers.
const WORKERS: usize = 16;

/// Length of a call's text.
const TEXT_BYTES: usize = 1_024;

/// What of the possible rate is asked for.
const SHARE: f64 = 0.8;

/// How long it is tried what is possible.
const TRIAL: Duration = Duration::from_secs(3);

/// How often the server is killed.
const KILL_EVERY: Duration = Duration::from_secs(30);

/// How often memory and file descriptors are looked at.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// How often a caller whose server died tries again.
const RETRY_EVERY: Duration = Duration::from_millis(20);

/// The part of the run after which growth counts: caches and pools have filled by then.
const SETTLED: f64 = 0.2;

/// What happened.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) seconds: u64,
    pub(crate) capacity_per_second: f64,
    pub(crate) calls: u64,
    pub(crate) calls_per_second: f64,
    pub(crate) kills: u64,
    /// Calls that were under way when their server died.
    pub(crate) lost: u64,
    pub(crate) wrong: u64,
    /// Longest time from a kill to the first good answer, in milliseconds.
    pub(crate) back_after_ms_max: u64,
    pub(crate) resident_settled_kib: u64,
    pub(crate) resident_end_kib: u64,
    pub(crate) descriptors_settled: usize,
    pub(crate) descriptors_end: usize,
    pub(crate) samples: Vec<Sample>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "soak: {} s at {:.0} calls/s of {:.0} possible: {} calls, {} kills, {} lost with one error each, {} wrong, \
             back after {} ms at most\n  resident memory {} -> {} KiB, file descriptors {} -> {}",
            self.seconds,
            self.calls_per_second,
            self.capacity_per_second,
            self.calls,
            self.kills,
            self.lost,
            self.wrong,
            self.back_after_ms_max,
            self.resident_settled_kib,
            self.resident_end_kib,
            self.descriptors_settled,
            self.descriptors_end
        )
    }
}

/// One look.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Sample {
    second: u64,
    resident_kib: u64,
    descriptors: usize,
    calls: u64,
}

/// What the callers share; they run on one thread.
#[derive(Default)]
struct Ledger {
    is_over: Cell<bool>,
    calls: Cell<u64>,
    lost: Cell<u64>,
    killed_at: Cell<Option<Instant>>,
    back_after: Cell<Duration>,
    tally: Tally,
    samples: RefCell<Vec<Sample>>,
}

/// Runs for so long.
pub(crate) async fn run(seconds: u64) -> anyhow::Result<Outcome> {
    let scene = Scene::start().await?;
    let target = scene.http("soaked", Vec::new()).await?;
    let load = target.load(WORKERS, TEXT_BYTES);
    let capacity = LocalSet::new().run_until(capacity(&load)).await?;
    let ledger = Rc::new(Ledger::default());
    let pause = Duration::from_secs_f64(WORKERS as f64 / (capacity * SHARE));
    let kills = LocalSet::new().run_until(soak(&scene, &load, pause, seconds, &ledger)).await?;
    let samples = ledger.samples.take();
    let settled = samples.iter().find(|sample| sample.second as f64 >= seconds as f64 * SETTLED);
    let (settled, last) =
        settled.zip(samples.last()).map(|(a, b)| (*a, *b)).context("a run of seconds tells nothing")?;
    let outcome = Outcome {
        seconds,
        capacity_per_second: capacity,
        calls: ledger.calls.get(),
        calls_per_second: ledger.calls.get() as f64 / seconds as f64,
        kills,
        lost: ledger.lost.get(),
        wrong: ledger.tally.failures(),
        back_after_ms_max: u64::try_from(ledger.back_after.get().as_millis()).unwrap_or(u64::MAX),
        resident_settled_kib: settled.resident_kib,
        resident_end_kib: last.resident_kib,
        descriptors_settled: settled.descriptors,
        descriptors_end: last.descriptors,
        samples,
    };
    ensure!(outcome.wrong == 0, "{} wrong answers: {:?}", outcome.wrong, ledger.tally.told());
    let most = kills * WORKERS as u64;
    ensure!(outcome.lost <= most, "{} calls lost in {kills} kills; {most} were under way", outcome.lost);
    Ok(outcome)
}

/// Calls a second that are possible.
async fn capacity(load: &Load) -> anyhow::Result<f64> {
    let tally = Rc::new(Tally::default());
    let workers = Workers::begin(load, &tally, |_| Ok(())).await?;
    let begin = Instant::now();
    tokio::time::sleep(TRIAL).await;
    tally.end();
    let rate = tally.requests() as f64 / begin.elapsed().as_secs_f64();
    workers.join().await?;
    ensure!(tally.failures() == 0, "{:?}", tally.told());
    Ok(rate)
}

async fn soak(scene: &Scene, load: &Load, pause: Duration, seconds: u64, ledger: &Rc<Ledger>) -> anyhow::Result<u64> {
    let mut callers = JoinSet::new();
    for number in 0..WORKERS {
        callers.spawn_local(caller(Session::open(load).await?, number, pause, Rc::clone(ledger)));
    }
    let (begin, pid) = (Instant::now(), scene.daemon.pid());
    let mut looks = tokio::time::interval(SAMPLE_EVERY);
    let mut kills = 0;
    loop {
        looks.tick().await;
        let second = begin.elapsed().as_secs();
        if second >= seconds {
            break;
        }
        let (resident_kib, descriptors) = (process::resident_kib(pid)?, process::descriptors(pid)?);
        ledger.samples.borrow_mut().push(Sample { second, resident_kib, descriptors, calls: ledger.calls.get() });
        // The last stretch is for coming back.
        if second >= (kills + 1) * KILL_EVERY.as_secs() && second + KILL_EVERY.as_secs() / 2 < seconds {
            kills += 1;
            kill(load, ledger).await?;
            eprintln!("killed the server after {second} s: {} calls, {} lost", ledger.calls.get(), ledger.lost.get());
        }
    }
    ledger.is_over.set(true);
    while let Some(ended) = callers.join_next().await {
        ended.context("a caller")??;
    }
    Ok(kills)
}

/// Ends the server from within; the call that does it is lost, and not counted.
async fn kill(load: &Load, ledger: &Ledger) -> anyhow::Result<()> {
    let mut session = Session::open(load).await?;
    ledger.killed_at.set(Some(Instant::now()));
    let answered = session.post(message::call("die", 1, "x")).await;
    let is_answered = answered.is_ok_and(|(_, body)| Reply::check(&body, 1, "x").is_ok());
    ensure!(!is_answered, "a server that died has answered");
    Ok(())
}

async fn caller(mut session: Session, number: usize, pause: Duration, ledger: Rc<Ledger>) -> anyhow::Result<()> {
    let mut beat = tokio::time::interval(pause);
    let mut id = 0;
    while !ledger.is_over.get() {
        beat.tick().await;
        id += 1;
        let payload = message::payload(number, id, TEXT_BYTES);
        let answered = session.post(message::call(session.tool(), id, &payload)).await;
        match answered {
            Ok((_, body)) if Reply::check(&body, id, &payload).is_ok() => ledger.calls.set(ledger.calls.get() + 1),
            // Exactly one error with this call's id, or none at all; anything else is somebody else's answer.
            Ok((_, body)) if Reply::refused(&body) != Some(id) => {
                ledger.tally.fail(String::from_utf8_lossy(body.get(..200).unwrap_or(&body)).into_owned());
            }
            Ok(_) | Err(_) => {
                ledger.lost.set(ledger.lost.get() + 1);
                session = again(&session, number).await?;
                if let Some(killed) = ledger.killed_at.get() {
                    ledger.back_after.set(ledger.back_after.get().max(killed.elapsed()));
                }
                beat.reset();
            }
        }
    }
    session.close().await
}

/// A session that works: the server may still be starting.
async fn again(session: &Session, number: usize) -> anyhow::Result<Session> {
    let deadline = Instant::now() + KILL_EVERY;
    loop {
        let failed = match session.again().await {
            Ok(mut fresh) => match fresh.post(message::call(fresh.tool(), 0, "back")).await {
                Ok((_, body)) if Reply::check(&body, 0, "back").is_ok() => return Ok(fresh),
                Ok((_, body)) => String::from_utf8_lossy(&body).into_owned(),
                Err(error) => format!("{error:#}"),
            },
            Err(error) => format!("{error:#}"),
        };
        ensure!(Instant::now() < deadline, "caller {number}: the server has not come back: {failed}");
        tokio::time::sleep(RETRY_EVERY).await;
    }
}
