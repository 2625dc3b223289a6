//! Many calls under everything that clients do to a proxy: they cancel, hang up and read slowly, over every kind of server, and
//! not one answer may be somebody else's.

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use serde::Serialize;
use tokio::task::{JoinSet, LocalSet};

use crate::load::{Load, Tally};
use crate::message::{self, Reply};
use crate::scene::{Scene, Target, noop};
use crate::session::{Session, last_event};

/// Callers of each server.
const WORKERS: usize = 16;

/// Of ten thousand calls so many are cancelled while they are answered.
const CANCELLED: u32 = 200;

/// So many callers hang up instead of waiting.
const ABANDONED: u32 = 100;

/// So many replies are long and read slowly.
const SLOW: u32 = 5;

/// Length of a usual text, and of one that is read slowly: more than all buffers on the way hold.
const TEXT_BYTES: usize = 100;
const SLOW_TEXT_BYTES: usize = 4 << 20;

/// A slow reader's pause between two pieces.
const SLOW_PAUSE: Duration = Duration::from_millis(2);

/// How often the progress is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What happened.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Outcome {
    pub(crate) calls: u64,
    pub(crate) seconds: f64,
    pub(crate) answered: u64,
    /// Cancelled, and answered before that arrived.
    pub(crate) cancelled_late: u64,
    /// Cancelled, and not answered.
    pub(crate) cancelled: u64,
    pub(crate) abandoned: u64,
    pub(crate) read_slowly: u64,
    pub(crate) wrong: u64,
    pub(crate) resident_before_kib: u64,
    pub(crate) resident_after_kib: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "torture: {} calls in {:.0} s: {} answered, {} cancelled, {} cancelled too late, {} abandoned, {} read slowly, \
             {} wrong\n  resident memory {} -> {} KiB",
            self.calls,
            self.seconds,
            self.answered,
            self.cancelled,
            self.cancelled_late,
            self.abandoned,
            self.read_slowly,
            self.wrong,
            self.resident_before_kib,
            self.resident_after_kib
        )
    }
}

/// What one call came to.
enum End {
    Answered,
    CancelledLate,
    Cancelled,
    Abandoned,
    ReadSlowly,
}

/// Shared by the workers, which run on one thread.
#[derive(Default)]
struct Ledger {
    left: std::cell::Cell<u64>,
    outcome: std::cell::RefCell<Outcome>,
    tally: Tally,
}

/// Makes that many calls. An error when one answer was wrong.
pub(crate) async fn run(calls: u64) -> anyhow::Result<Outcome> {
    let scene = Scene::start().await?;
    let targets = [
        scene.http("json", Vec::new()).await?,
        scene.http_events("events").await?,
        scene.http("chain", vec![noop("a")?, noop("b")?]).await?,
        scene.stdio("session", Vec::new()).await?,
        scene.stdio_shared("shared").await?,
    ];
    let pid = scene.daemon.pid();
    let ledger = Rc::new(Ledger::default());
    ledger.left.set(calls);
    let resident_before_kib = crate::process::resident_kib(pid)?;
    let begin = Instant::now();
    LocalSet::new().run_until(everybody(&targets, &ledger, calls)).await?;
    let mut outcome = ledger.outcome.take();
    outcome.calls = calls;
    outcome.seconds = begin.elapsed().as_secs_f64();
    outcome.wrong = ledger.tally.failures();
    outcome.resident_before_kib = resident_before_kib;
    outcome.resident_after_kib = crate::process::resident_kib(pid)?;
    ensure!(outcome.wrong == 0, wrong(&ledger));
    Ok(outcome)
}

fn wrong(ledger: &Ledger) -> String {
    format!("{} wrong answers: {:?}", ledger.tally.failures(), ledger.tally.told())
}

async fn everybody(targets: &[Target], ledger: &Rc<Ledger>, calls: u64) -> anyhow::Result<()> {
    let mut workers = JoinSet::new();
    for (place, target) in targets.iter().enumerate() {
        for number in 0..WORKERS {
            let load = target.load(1, TEXT_BYTES);
            workers.spawn_local(worker(load, place * WORKERS + number, Rc::clone(ledger)));
        }
    }
    let mut told = tokio::time::interval(TOLD_EVERY);
    loop {
        tokio::select! {
            ended = workers.join_next() => match ended {
                Some(ended) => ended.context("a worker")?.with_context(|| wrong(ledger))?,
                None => return Ok(()),
            },
            _ = told.tick() => {
                eprintln!("{} of {calls} calls", calls - ledger.left.get());
                // One is too many, and each leaves a session behind.
                ensure!(ledger.tally.failures() == 0, wrong(ledger));
            }
        }
    }
}

async fn worker(load: Load, number: usize, ledger: Rc<Ledger>) -> anyhow::Result<()> {
    let mut session = Session::open(&load).await?;
    let mut id = 0;
    while let Some(left) = ledger.left.get().checked_sub(1) {
        ledger.left.set(left);
        id += 1;
        match one(&mut session, number, id).await {
            Ok(end) => {
                let mut outcome = ledger.outcome.borrow_mut();
                let count = match end {
                    End::Answered => &mut outcome.answered,
                    End::CancelledLate => &mut outcome.cancelled_late,
                    End::Cancelled => &mut outcome.cancelled,
                    End::Abandoned => &mut outcome.abandoned,
                    End::ReadSlowly => &mut outcome.read_slowly,
                };
                *count += 1;
            }
            Err(why) => {
                ledger.tally.fail(format!("{}: {why:#}", load.path));
                session = Session::open(&load).await?;
            }
        }
    }
    session.close().await
}

async fn one(session: &mut Session, number: usize, id: u64) -> anyhow::Result<End> {
    let dice = fastrand::u32(..10_000);
    if dice < CANCELLED {
        return cancelled(session, number, id).await;
    }
    let is_slow = (CANCELLED + ABANDONED..CANCELLED + ABANDONED + SLOW).contains(&dice);
    let payload = message::payload(number, id, if is_slow { SLOW_TEXT_BYTES } else { TEXT_BYTES });
    if dice < CANCELLED + ABANDONED {
        // The connection is dropped with the request under way; the session lives on.
        let call = message::call("hold", id, &payload);
        drop(tokio::time::timeout(Duration::from_micros(500), session.post(call)).await);
        *session = session.reconnect().await?;
        return Ok(End::Abandoned);
    }
    let call = message::call(session.tool(), id, &payload);
    if !is_slow {
        let (_, body) = session.post(call).await?;
        Reply::check(&body, id, &payload).map_err(anyhow::Error::msg)?;
        return Ok(End::Answered);
    }
    let response = session.ask(Method::POST, call).await?;
    let is_stream =
        response.headers().get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/event"));
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        bytes.extend_from_slice(frame?.data_ref().map_or(&[][..], |data| data));
        tokio::time::sleep(SLOW_PAUSE).await;
    }
    let bytes = Bytes::from(bytes);
    let bytes = if is_stream { last_event(&bytes).context("a stream without data")? } else { bytes };
    Reply::check(&bytes, id, &payload).map_err(anyhow::Error::msg)?;
    Ok(End::ReadSlowly)
}

/// Cancels a call that waits a little. Either it was answered before, rightly, or it is not answered at all.
async fn cancelled(session: &mut Session, number: usize, id: u64) -> anyhow::Result<End> {
    // It goes another way, for this connection waits for the answer; and a new one, for the server closes what idles.
    let mut beside = session.reconnect().await?;
    let payload = message::payload(number, id, TEXT_BYTES);
    let (call, cancel) = (message::call("hold", id, &payload), message::cancelled(id));
    let (answered, told) = tokio::join!(session.post_or_nothing(call), beside.post(cancel));
    told.context("cancel")?;
    match answered? {
        Some(body) => match Reply::check(&body, id, &payload) {
            Ok(_) => Ok(End::CancelledLate),
            // Some proxies answer a cancelled request with an error, which is not ours to judge if the id is right.
            Err(why) => match Reply::refused(&body) {
                Some(refused) if refused == id => Ok(End::Cancelled),
                _ => Err(anyhow::Error::msg(why)),
            },
        },
        None => Ok(End::Cancelled),
    }
}
