//! Rounds: in each, every target is loaded once for every case, in random order.
//!
//! Whatever else the machine does hits all targets alike, so ratios are taken within a round and the median over rounds is
//! told. Absolute figures of a shared machine are worth little.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use tokio::task::LocalSet;

use crate::load::{Tally, Workers};
use crate::process;
use crate::scene::Target;
use crate::statistics::quantile;

/// How hard to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Case {
    pub(crate) payload_bytes: usize,
    pub(crate) workers: usize,
}

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

/// One target in one case of one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    pub(crate) round: usize,
    pub(crate) target: &'static str,
    pub(crate) case: Case,
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Processor time of the hop for one request; none where there is no hop.
    pub(crate) cpu_us: Option<f64>,
}

/// Somebody else's proxy that did not do what it is for.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Failed {
    pub(crate) target: &'static str,
    pub(crate) case: Case,
    pub(crate) why: String,
}

/// What is asked: ours, and what stands beside them.
pub(crate) struct Field {
    /// A wrong answer of one of these ends the run.
    pub(crate) ours: Vec<Target>,
    /// A wrong answer of one of these is told, and it is not asked again in that case.
    pub(crate) peers: Vec<Target>,
}

/// Runs all rounds. A single wrong answer of ours fails the run: a figure beside an error means nothing.
pub(crate) async fn run(field: &Field, cases: &[Case], effort: Effort) -> anyhow::Result<(Vec<Sample>, Vec<Failed>)> {
    let (mut samples, mut failed) = (Vec::new(), Vec::<Failed>::new());
    let all = || field.ours.iter().map(|target| (target, true)).chain(field.peers.iter().map(|target| (target, false)));
    for round in 0..effort.rounds {
        let mut turns: Vec<(&Target, bool, Case)> =
            cases.iter().flat_map(|case| all().map(move |(target, is_ours)| (target, is_ours, *case))).collect();
        fastrand::shuffle(&mut turns);
        for (target, is_ours, case) in turns {
            if failed.iter().any(|failed| failed.target == target.name && failed.case == case) {
                continue;
            }
            match turn(round, target, case, effort).await {
                Ok(sample) => samples.push(sample),
                Err(error) if is_ours => return Err(error),
                Err(error) => {
                    let why = format!("{error:#}");
                    eprintln!("{} with {} bytes, {} at once: {why}", target.name, case.payload_bytes, case.workers);
                    failed.push(Failed { target: target.name, case, why });
                }
            }
        }
        eprintln!("round {} of {} measured", round + 1, effort.rounds);
    }
    Ok((samples, failed))
}

async fn turn(round: usize, target: &Target, case: Case, effort: Effort) -> anyhow::Result<Sample> {
    let spent = || target.hop.map_or(Ok(Duration::ZERO), process::cpu);
    let tally = Rc::new(Tally::default());
    let local = LocalSet::new();
    let measured = local.run_until(async {
        let load = target.load(case.workers, case.payload_bytes);
        let workers = Workers::begin(&load, &tally, |_| Ok(())).await?;
        tokio::time::sleep(effort.warm_up).await;
        let (cpu, requests, begin) = (spent()?, tally.requests(), Instant::now());
        tally.measure();
        tokio::time::sleep(effort.window).await;
        // A flood may need longer than that for its first answer; one that never comes fails its caller.
        while tally.requests() == requests && tally.failures() == 0 {
            tokio::time::sleep(effort.warm_up).await;
        }
        let (cpu, requests, took) = (spent()? - cpu, tally.requests() - requests, begin.elapsed());
        tally.end();
        workers.join().await?;
        anyhow::Ok((cpu, requests, took))
    });
    let (cpu, requests, took) = measured.await?;
    let Target { name, .. } = target;
    ensure!(tally.failures() == 0, "{name}: {} wrong answers: {:?}", tally.failures(), tally.told());
    ensure!(requests > 0, "{name}: no answer within {took:?}");
    let latencies = tally.latencies();
    let microseconds = |fraction| quantile(&latencies, fraction).map_or(f64::NAN, |nanos| nanos as f64 / 1e3);
    Ok(Sample {
        round,
        target: name,
        case,
        requests,
        requests_per_second: requests as f64 / took.as_secs_f64(),
        p50_us: microseconds(0.5),
        p99_us: microseconds(0.99),
        cpu_us: target.hop.map(|_| cpu.as_secs_f64() * 1e6 / requests as f64),
    })
}
