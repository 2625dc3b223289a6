//! What was measured, for machines (JSON) and for people (a table).

use std::fmt::Write;

use serde::Serialize;

use crate::micro;
use crate::rounds::{Case, Sample};
use crate::statistics::median;
use crate::swap;

/// Everything that one run found out.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) plugins: Option<micro::Figures>,
    pub(crate) swap: Option<swap::Outcome>,
}

/// Where it was measured: figures of two machines do not compare.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    load_before: String,
}

/// The data plane.
#[derive(Debug, Serialize)]
pub(crate) struct Proxy {
    pub(crate) resident_empty_kib: u64,
    pub(crate) resident_servers_kib: u64,
    pub(crate) resident_after_load_kib: u64,
    pub(crate) rows: Vec<Row>,
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

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            processor: processor.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned()),
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            load_before: load.split_whitespace().next().unwrap_or("unknown").to_owned(),
        }
    }
}

/// Sums samples up; `unguarded` names the target without a chain.
pub(crate) fn rows(samples: &[Sample], targets: &[(&'static str, &'static str)]) -> Vec<Row> {
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
    Row {
        case,
        target,
        requests_per_second: median(of(target).map(|sample| sample.requests_per_second)),
        ratio_to_direct: against("direct", ratio),
        ratio_to_unguarded: against(unguarded, ratio),
        p50_us: median(of(target).map(|sample| sample.p50_us)),
        p99_us: median(of(target).map(|sample| sample.p99_us)),
        added_p50_us: against("direct", |a, b| a.p50_us - b.p50_us),
        added_p99_us: against("direct", |a, b| a.p99_us - b.p99_us),
        cpu_us: median(of(target).filter_map(|sample| sample.cpu_us)),
        cpu_us_min: of(target).filter_map(|sample| sample.cpu_us).fold(f64::NAN, f64::min),
        cpu_to_floor: against("floor", |a, b| a.cpu_us.zip(b.cpu_us).map_or(f64::NAN, |(a, b)| a / b)),
        rate_to_floor: against("floor", ratio),
        added_p50_to_floor: added_to_floor,
    }
}

impl Report {
    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let Machine { processor, cores, load_before } = &self.machine;
        let _ = writeln!(text, "{cores} cores, {processor}, load before: {load_before}");
        if let Some(proxy) = &self.proxy {
            proxy.write(&mut text);
        }
        if let Some(figures) = &self.plugins {
            let _ = writeln!(text, "\nplugin host, one core{:>25} {:>11} {:>11}   aim", "median", "p10", "p99");
            for figure in &figures.figures {
                let name = &figure.name;
                let aim = figure.aim_us.map_or(String::new(), |aim| {
                    format!("<= {} {}", duration(aim), if figure.median_us <= aim { "held" } else { "MISSED" })
                });
                let [median, p10, p99] = [figure.median_us, figure.p10_us, figure.p99_us].map(duration);
                let _ = writeln!(text, "  {name:<44} {median:>11} {p10:>11} {p99:>11}   {aim}");
            }
        }
        if let Some(swap) = &self.swap {
            let _ = writeln!(
                text,
                "\nhot swap: {} swaps of a chain of three ({:.1}/s) under {} requests ({:.0}/s): {} failed\n  \
                 resident memory {} -> {} KiB",
                swap.swaps,
                swap.swaps_per_second,
                swap.requests,
                swap.requests_per_second,
                swap.failures,
                swap.resident_before_kib,
                swap.resident_after_kib
            );
        }
        text
    }
}

impl Proxy {
    fn write(&self, text: &mut String) {
        let mut last = None;
        for row in &self.rows {
            if last != Some(row.case) {
                let Case { payload_bytes, workers } = row.case;
                let _ = writeln!(text, "\n{payload_bytes} bytes, {workers} at once");
                let _ = writeln!(
                    text,
                    "  {:<28} {:>8} {:>8} {:>9} {:>8} {:>8} {:>9} {:>9} {:>14}   {:>20}",
                    "target",
                    "req/s",
                    "/direct",
                    "/no chain",
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
                "  {:<28} {:>8.0} {:>8.3} {:>9} {:>8.0} {:>8.0} {:>9.0} {:>9.0} {cpu:>14}   {:>9.2} {:>5.2} {:>5.2}",
                row.target,
                row.requests_per_second,
                row.ratio_to_direct,
                if row.ratio_to_unguarded.is_nan() { String::new() } else { format!("{:.3}", row.ratio_to_unguarded) },
                row.p50_us,
                row.p99_us,
                row.added_p50_us,
                row.added_p99_us,
                row.cpu_to_floor,
                row.rate_to_floor,
                row.added_p50_to_floor
            );
        }
        let _ = writeln!(
            text,
            "\nresident memory of the daemon: {} KiB empty, {} KiB with all servers, {} KiB after the load",
            self.resident_empty_kib, self.resident_servers_kib, self.resident_after_load_kib
        );
    }
}

/// Microseconds in the unit that reads best.
fn duration(microseconds: f64) -> String {
    if microseconds < 1.0 {
        format!("{:.0} ns", microseconds * 1e3)
    } else if microseconds < 1e3 {
        format!("{microseconds:.2} us")
    } else {
        format!("{:.2} ms", microseconds / 1e3)
    }
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
