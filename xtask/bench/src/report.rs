//! What was measured, for machines (JSON) and for people (a table).

use std::fmt::Write;

use serde::Serialize;

use crate::proxy::Proxy;
use crate::{first_call, fleet, footprint, freshness, micro, ready, registry, soak, swap, torture};

/// Everything that one run found out.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) plugins: Option<micro::Figures>,
    pub(crate) swap: Option<swap::Outcome>,
    pub(crate) torture: Option<torture::Outcome>,
    pub(crate) soak: Option<soak::Outcome>,
    pub(crate) footprint: Option<footprint::Figures>,
    pub(crate) first_call: Option<first_call::Figures>,
    pub(crate) freshness: Option<freshness::Figures>,
    pub(crate) fleet: Option<fleet::Figures>,
    pub(crate) ready: Option<ready::Figures>,
    pub(crate) registry: Option<registry::Figures>,
}

/// Where it was measured: figures of two machines do not compare.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    load_before: String,
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
        for told in [
            self.torture.as_ref().map(ToString::to_string),
            self.soak.as_ref().map(ToString::to_string),
            self.footprint.as_ref().map(ToString::to_string),
            self.first_call.as_ref().map(ToString::to_string),
            self.freshness.as_ref().map(ToString::to_string),
            self.fleet.as_ref().map(ToString::to_string),
            self.ready.as_ref().map(ToString::to_string),
            self.registry.as_ref().map(ToString::to_string),
        ] {
            text.push_str(&told.map_or(String::new(), |told| format!("\n{told}\n")));
        }
        text
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
