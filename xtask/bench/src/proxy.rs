//! The proxy side by side with no proxy, the least that a hop can be, and other people's.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use crate::peers::Peers;
use crate::process;
use crate::rounds::{self, Case, Effort, Failed, Field, Sample};
use crate::scene::{self, Echo, Floor, Scene, Target, noop};
use crate::statistics::median;

/// Length of a text and callers at the same time.
const CASES: [(usize, usize); 6] = [(100, 1), (100, 16), (1_024, 1), (10_240, 16), (1_048_576, 1), (1_048_576, 16)];

/// Those of a smoke run.
const SMOKE: [(usize, usize); 4] = [(100, 1), (100, 16), (10_240, 16), (1_048_576, 1)];

/// What has wedged pipes elsewhere; asked of what stands before a pipe alone.
const FLOOD: [(usize, usize); 1] = [(1_048_576, 64)];

/// The data plane.
#[derive(Debug, Serialize)]
pub(crate) struct Proxy {
    pub(crate) resident_empty_kib: u64,
    pub(crate) resident_servers_kib: u64,
    pub(crate) resident_after_load_kib: u64,
    pub(crate) rows: Vec<Row>,
    /// Somebody else's proxies that gave wrong answers or none.
    pub(crate) failed: Vec<Failed>,
    pub(crate) samples: Vec<Sample>,
}

/// One target in one case: medians over rounds; ratios and differences are taken within each round.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    case: Case,
    target: &'static str,
    requests_per_second: f64,
    ratio_to_direct: f64,
    ratio_to_unguarded: f64,
    cpu_to_unguarded: f64,
    p50_us: f64,
    p99_us: f64,
    added_p50_us: f64,
    added_p99_us: f64,
    cpu_us: f64,
    cpu_us_min: f64,
    cpu_to_floor: f64,
    rate_to_floor: f64,
    added_p50_to_floor: f64,
}

/// Measures everything in the same rounds; a smoke run leaves out what takes seconds in a build without optimisation.
pub(crate) async fn run(effort: Effort, is_smoke: bool, peers: Option<&Path>) -> anyhow::Result<Proxy> {
    let echo = Echo::start().await?;
    let events = Echo::start_events().await?;
    let floor = Floor::start(&echo).await?;
    let floor_events = Floor::start(&events).await?;
    let peers = match peers {
        Some(directory) => Peers::start(directory, &echo).await?,
        None => Peers::none(),
    };
    let scene = Scene::start().await?;
    let pid = scene.daemon.pid();
    let ours = vec![
        echo.target("direct"),
        events.target("direct-events"),
        floor.target("floor"),
        floor_events.target("floor-events"),
        scene.http("http-0", Vec::new()).await?,
        scene.http_events("http-0-events").await?,
        scene.http("http-1-noop", vec![noop("a")?]).await?,
        scene.http("http-3-hooks", scene::three_hooks()?).await?,
        scene.http("http-3-first-party", scene::first_party()).await?,
        scene.stdio("stdio-0", Vec::new()).await?,
        scene.stdio("stdio-3-first-party", scene::first_party()).await?,
    ];
    let resident_servers_kib = process::resident_kib(pid)?;
    let field = Field { ours, peers: peers.targets().collect() };
    let asked = if is_smoke { &SMOKE[..] } else { &CASES };
    let (mut samples, mut failed) = rounds::run(&field, &cases(asked), effort).await?;
    let pipes = |targets: &[Target]| targets.iter().filter(|target| target.name.contains("stdio")).cloned().collect();
    if !is_smoke {
        let flooded = Field { ours: pipes(&field.ours), peers: pipes(&field.peers) };
        let (flood, wedged) = rounds::run(&flooded, &cases(&FLOOD), effort).await?;
        samples.extend(flood);
        failed.extend(wedged);
    }
    let compared: Vec<_> = field.ours.iter().chain(&field.peers).map(|target| (target.name, plain(target))).collect();
    Ok(Proxy {
        resident_empty_kib: scene.resident_empty_kib,
        resident_servers_kib,
        resident_after_load_kib: process::resident_kib(pid)?,
        rows: rows(&samples, &compared),
        failed,
        samples,
    })
}

fn cases(cases: &[(usize, usize)]) -> Vec<Case> {
    cases.iter().map(|(payload_bytes, workers)| Case { payload_bytes: *payload_bytes, workers: *workers }).collect()
}

/// What a target is compared with besides the floor: ours without a chain, over the same kind of server.
fn plain(target: &Target) -> &'static str {
    match target.name {
        name if name.starts_with("stdio") => "stdio-0",
        name if name.starts_with("http") => "http-0",
        "floor-events" => "floor",
        _ => "",
    }
}

/// Sums samples up; `unguarded` names the target without a chain.
fn rows(samples: &[Sample], targets: &[(&'static str, &'static str)]) -> Vec<Row> {
    let mut cases: Vec<Case> = Vec::new();
    for sample in samples {
        if !cases.contains(&sample.case) {
            cases.push(sample.case);
        }
    }
    cases.sort_by_key(|case| (case.payload_bytes, case.workers));
    let all = cases.iter().flat_map(|case| targets.iter().map(move |(target, unguarded)| (*case, *target, *unguarded)));
    all.map(|(case, target, unguarded)| row(samples, case, target, unguarded)).collect()
}

fn row(samples: &[Sample], case: Case, target: &'static str, unguarded: &'static str) -> Row {
    let of = |name: &'static str| samples.iter().filter(move |sample| sample.target == name && sample.case == case);
    let against = |name: &'static str, compare: fn(&Sample, &Sample) -> f64| {
        median(of(target).filter_map(|sample| {
            let other = of(name).find(|other| other.round == sample.round)?;
            Some(compare(sample, other))
        }))
    };
    let added = |sample: &Sample| {
        let direct = of("direct").find(|other| other.round == sample.round)?;
        Some(sample.p50_us - direct.p50_us)
    };
    let added_to_floor = median(of(target).filter_map(|sample| {
        let floor = of("floor").find(|other| other.round == sample.round)?;
        Some(added(sample)? / added(floor)?)
    }));
    let ratio: fn(&Sample, &Sample) -> f64 = |a, b| a.requests_per_second / b.requests_per_second;
    let cpu: fn(&Sample, &Sample) -> f64 = |a, b| a.cpu_us.zip(b.cpu_us).map_or(f64::NAN, |(a, b)| a / b);
    Row {
        case,
        target,
        requests_per_second: median(of(target).map(|sample| sample.requests_per_second)),
        ratio_to_direct: against("direct", ratio),
        ratio_to_unguarded: against(unguarded, ratio),
        cpu_to_unguarded: against(unguarded, cpu),
        p50_us: median(of(target).map(|sample| sample.p50_us)),
        p99_us: median(of(target).map(|sample| sample.p99_us)),
        added_p50_us: against("direct", |a, b| a.p50_us - b.p50_us),
        added_p99_us: against("direct", |a, b| a.p99_us - b.p99_us),
        cpu_us: median(of(target).filter_map(|sample| sample.cpu_us)),
        cpu_us_min: of(target).filter_map(|sample| sample.cpu_us).fold(f64::NAN, f64::min),
        cpu_to_floor: against("floor", cpu),
        rate_to_floor: against("floor", ratio),
        added_p50_to_floor: added_to_floor,
    }
}

impl Proxy {
    /// For people.
    pub(crate) fn write(&self, text: &mut String) {
        let mut last = None;
        for row in &self.rows {
            if last != Some(row.case) {
                let Case { payload_bytes, workers } = row.case;
                let _ = writeln!(text, "\n{payload_bytes} bytes, {workers} at once");
                let _ = writeln!(
                    text,
                    "  {:<28} {:>8} {:>8} {:>9} {:>8} {:>8} {:>8} {:>9} {:>9} {:>14}   {:>20}",
                    "target",
                    "req/s",
                    "/direct",
                    "/plain",
                    "CPU",
                    "p50 us",
                    "p99 us",
                    "+p50 us",
                    "+p99 us",
                    "CPU us (min)",
                    "x floor: CPU rate p50"
                );
                last = Some(row.case);
            }
            let cpu =
                if row.cpu_us.is_nan() { String::new() } else { format!("{:.0} ({:.0})", row.cpu_us, row.cpu_us_min) };
            let _ = writeln!(
                text,
                "  {:<28} {:>8.0} {:>8.3} {:>9} {:>8} {:>8.0} {:>8.0} {:>9.0} {:>9.0} {cpu:>14}   {:>9.2} {:>5.2} {:>5.2}",
                row.target,
                row.requests_per_second,
                row.ratio_to_direct,
                shown(row.ratio_to_unguarded),
                shown(row.cpu_to_unguarded),
                row.p50_us,
                row.p99_us,
                row.added_p50_us,
                row.added_p99_us,
                row.cpu_to_floor,
                row.rate_to_floor,
                row.added_p50_to_floor
            );
        }
        for Failed { target, case, why } in &self.failed {
            let _ = writeln!(text, "\n{target} with {} bytes, {} at once: {why}", case.payload_bytes, case.workers);
        }
        let _ = writeln!(
            text,
            "\nresident memory of the daemon: {} KiB empty, {} KiB with all servers, {} KiB after the load",
            self.resident_empty_kib, self.resident_servers_kib, self.resident_after_load_kib
        );
    }
}

/// A ratio; nothing where there is none.
fn shown(ratio: f64) -> String {
    if ratio.is_nan() { String::new() } else { format!("{ratio:.3}") }
}

#[cfg(test)]
mod tests {
    use super::rows;
    use crate::rounds::{Case, Sample};

    #[test]
    fn ratios_are_taken_within_a_round() {
        let case = Case { payload_bytes: 100, workers: 1 };
        let sample = |round, target, rate| Sample {
            round,
            target,
            case,
            requests: 1,
            requests_per_second: rate,
            p50_us: 1.0,
            p99_us: 1.0,
            cpu_us: None,
        };
        // The machine was ten times slower in the second round; each round says one half.
        let samples = [
            sample(0, "direct", 1000.0),
            sample(0, "plain", 500.0),
            sample(1, "direct", 100.0),
            sample(1, "plain", 50.0),
        ];
        let rows = rows(&samples, &[("direct", ""), ("plain", "plain")]);
        let plain = rows.iter().find(|row| row.target == "plain").unwrap();
        assert!((plain.ratio_to_direct - 0.5).abs() < 1e-9);
        assert!((plain.ratio_to_unguarded - 1.0).abs() < 1e-9);
    }
}
