//! What a plugin costs, measured in the real host: calls on a warm instance, calls with a fresh one each, memory, loading.
//!
//! Middleware is asked about a message. An update policy and a registry source have a fresh instance for each decision and each
//! synchronisation, and no other way of being used, so that is what is measured of them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlead_core::freshness::{Decision, Facts, HoldReason, UpdatePolicy};
use fairlead_core::plugin::{InstanceModel, PluginKind, PluginLimits};
use fairlead_core::registry::{PageRequest, RegistrySource, SourceAnswer, SourceError};
use fairlead_registry::limits::PAGE_ENTRIES;
use fairlead_wasm::{Compiler, Origin, Plugin};
use serde::Serialize;
use serde_json::Value;

use super::message::Message;
use super::outcome::{Word, ask};
use super::workbench::{Setting, Workbench};
use crate::limits::{BENCH_FRESH_CALLS, BENCH_WARM_CALLS, CASE_HOOK_MS_MAX};
use crate::text;

/// Calls before the first that is measured, in parts of those that are: caches and branch predictors are warm in a daemon.
const WARM_UP_PART: u32 = 10;

/// What a plugin costs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Costs {
    /// The file.
    pub(crate) plugin: String,
    /// Its size.
    pub(crate) size_bytes: u64,
    /// Built without optimisation: figures of such a host mean little.
    pub(crate) debug_build: bool,
    /// Compiling it, in microseconds. Once, in a daemon.
    pub(crate) compile_micros: u128,
    /// Loading the code that was compiled earlier, in microseconds.
    pub(crate) load_micros: u128,
    /// What one call is.
    pub(crate) measured: &'static str,
    /// The decision about the message; nothing for kinds that see none.
    pub(crate) verdict: Option<Word>,
    /// Calls on a warm instance, which only middleware has.
    pub(crate) warm: Option<Spread>,
    /// Calls with a fresh instance each: instantiated, configured, called, thrown away.
    pub(crate) fresh: Option<Spread>,
    /// The most linear memory of one instance; of middleware.
    pub(crate) memory_bytes: u64,
}

/// A distribution, in nanoseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spread {
    pub(crate) calls: usize,
    pub(crate) min: u128,
    pub(crate) p50: u128,
    pub(crate) p90: u128,
    pub(crate) p99: u128,
    pub(crate) max: u128,
}

/// Measures.
///
/// # Errors
/// The plugin does not load, refuses the configuration, or is not called for the message.
pub(crate) async fn measure(
    path: &Path,
    config: &Value,
    message: &Message,
    compiler: Compiler,
) -> Result<Costs, String> {
    let cache = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (compile, _) = load(path, cache.path(), compiler.clone()).await?;
    let (cached, (bench, plugin)) = load(path, cache.path(), compiler).await?;
    let mut costs = Costs {
        plugin: path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        size_bytes: plugin.size(),
        debug_build: cfg!(debug_assertions),
        compile_micros: compile.as_micros(),
        load_micros: cached.as_micros(),
        measured: "a message",
        verdict: None,
        warm: None,
        fresh: None,
        memory_bytes: 0,
    };
    match plugin.manifest().kind {
        PluginKind::Middleware => {
            let (verdict, warm, memory) = calls(&bench, &plugin, config, message, InstanceModel::Warm).await?;
            let (_, fresh, _) = calls(&bench, &plugin, config, message, InstanceModel::PerCall).await?;
            (costs.verdict, costs.warm, costs.fresh) = (Some(verdict), Some(warm), Some(fresh));
            costs.memory_bytes = memory;
        }
        PluginKind::UpdatePolicy => {
            let policy = bench.policy(&plugin, config).await.map_err(|error| text::chain(&error))?;
            costs.measured = "a decision about one candidate";
            costs.fresh = Some(decisions(&*policy).await?);
        }
        PluginKind::RegistrySource => {
            let source = bench.source(&plugin, config).await.map_err(|error| text::chain(&error))?;
            let gives_pages = page(&*source).await?;
            costs.measured = match gives_pages {
                true => "a synchronisation of one page",
                false => "a beginning: its pages come from elsewhere, which nobody is asked here",
            };
            costs.fresh = Some(synchronisations(&*source, gives_pages).await?);
        }
    }
    Ok(costs)
}

type Loaded = (Workbench, Arc<Plugin>);

async fn load(path: &Path, cache: &Path, compiler: Compiler) -> Result<(Duration, Loaded), String> {
    let bench = Workbench::open(Some(cache), compiler).map_err(|error| text::chain(&error))?;
    let plugin = bench.load(path).await.map_err(|error| text::chain(&error))?;
    let (Origin::Compiled(elapsed) | Origin::Cached(elapsed)) = plugin.origin();
    Ok((elapsed, (bench, plugin)))
}

async fn calls(
    bench: &Workbench,
    plugin: &Arc<Plugin>,
    config: &Value,
    message: &Message,
    instances: InstanceModel,
) -> Result<(Word, Spread, u64), String> {
    let limit = Some(CASE_HOOK_MS_MAX);
    let setting = Setting {
        tenant: message.tenant.clone(),
        place: format!("bench/{instances:?}"),
        config: config.clone(),
        instances,
        limits: PluginLimits { cpu_ms_max: limit, wall_ms_max: limit, ..PluginLimits::default() },
    };
    let middleware = bench.attach(plugin, setting).await.map_err(|error| text::chain(&error))?;
    let (outcome, _) = ask(&*middleware, message).await?;
    if outcome.verdict == Word::NotCalled {
        return Err("the plugin is not called for this message; give one that it is called for with `--message`".into());
    }
    let count = if instances == InstanceModel::Warm { BENCH_WARM_CALLS } else { BENCH_FRESH_CALLS };
    let times = times(count, async || {
        let call = message.call()?;
        let began = Instant::now();
        let answer = middleware.call(call).await;
        let elapsed = began.elapsed();
        answer.map_err(|fault| format!("the plugin {fault}"))?;
        Ok(elapsed)
    });
    let times = times.await?;
    let counted = bench.metrics().into_iter().map(|metrics| metrics.counts.memory_bytes_high_water);
    Ok((outcome.verdict, times, counted.max().unwrap_or_default()))
}

/// Of so many calls, and of a few before them that are not counted.
async fn times(count: u32, mut call: impl AsyncFnMut() -> Result<Duration, String>) -> Result<Spread, String> {
    let mut times = Vec::new();
    for round in 0..count + count / WARM_UP_PART {
        let elapsed = call().await?;
        if round >= count / WARM_UP_PART {
            times.push(elapsed.as_nanos());
        }
    }
    Ok(spread(times))
}

/// What a policy is asked about: a server whose tag has moved on by one minor version, a while ago.
const FACTS: &str = r#"{
    "now": "2026-11-21T12:00:00Z", "seed": 7, "intervalMs": 900000, "trigger": "schedule", "autoReinstall": true,
    "workload": {"key": "default/time", "tenant": "default", "server": "time", "created": "2026-10-01T08:00:00Z"},
    "running": {
        "reference": "docker.io/mcp/time:1.2", "since": "2026-10-01T08:00:00Z", "health": "good",
        "version": {"major": 1, "minor": 2, "patch": 0},
        "digests": ["sha256:1111111111111111111111111111111111111111111111111111111111111111"]
    },
    "candidates": [{
        "tag": "1.3.0", "version": {"major": 1, "minor": 3, "patch": 0},
        "pin": "sha256:2222222222222222222222222222222222222222222222222222222222222222",
        "firstSeen": "2026-11-14T12:00:00Z", "lastSeen": "2026-11-21T11:45:00Z",
        "platform": "good", "signature": "good", "surface": "additive"
    }]
}"#;

async fn decisions(policy: &dyn UpdatePolicy) -> Result<Spread, String> {
    let facts: Facts = serde_json::from_str(FACTS).map_err(|error| error.to_string())?;
    let decide = async || {
        let began = Instant::now();
        let verdict = policy.decide(&facts).await;
        let elapsed = began.elapsed();
        match verdict.decision {
            Decision::Hold { reason: HoldReason::PolicyError, detail, .. } => Err(detail),
            _ => Ok(elapsed),
        }
    };
    times(BENCH_FRESH_CALLS, decide).await
}

/// Whether a source gives a page, although it can reach nobody here.
async fn page(source: &dyn RegistrySource) -> Result<bool, String> {
    let mut session = source.open().await.map_err(|error| error.to_string())?;
    match session.enumerate(&first_page()).await {
        Ok(SourceAnswer::Page(_) | SourceAnswer::Unmodified) => Ok(true),
        Ok(SourceAnswer::Resync(_)) => Err("the source has no first page".to_owned()),
        Err(SourceError::Upstream(_) | SourceError::Unavailable(_)) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

fn first_page() -> PageRequest {
    PageRequest { limit: PAGE_ENTRIES, ..PageRequest::default() }
}

async fn synchronisations(source: &dyn RegistrySource, with_page: bool) -> Result<Spread, String> {
    let synchronise = async || {
        let began = Instant::now();
        let mut session = source.open().await.map_err(|error| error.to_string())?;
        if with_page {
            session.enumerate(&first_page()).await.map_err(|error| error.to_string())?;
        }
        drop(session);
        Ok(began.elapsed())
    };
    times(BENCH_FRESH_CALLS, synchronise).await
}

fn spread(mut times: Vec<u128>) -> Spread {
    times.sort_unstable();
    let at = |part: usize| {
        let position = (times.len() * part / 1_000).min(times.len().saturating_sub(1));
        times.get(position).copied().unwrap_or_default()
    };
    Spread { calls: times.len(), min: at(0), p50: at(500), p90: at(900), p99: at(990), max: at(1_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_policy_is_asked_about_are_facts_with_a_candidate() {
        let facts: Facts = serde_json::from_str(FACTS).unwrap();
        assert_eq!(facts.candidates.len(), 1);
        assert!(!facts.candidates[0].is(&facts.running.digests[0]));
    }

    #[tokio::test]
    async fn the_first_calls_are_not_counted() {
        let mut calls = 0;
        let spread = times(20, async || {
            calls += 1;
            Ok(Duration::from_nanos(calls))
        });
        let spread = spread.await.unwrap();
        assert_eq!((spread.calls, spread.min, spread.max), (20, 3, 22));
    }

    #[test]
    fn a_percentile_is_one_of_the_times() {
        let spread = spread((1..=100).rev().collect());
        assert_eq!((spread.min, spread.p50, spread.p99, spread.max), (1, 51, 100, 100));
        assert_eq!(super::spread(Vec::new()).max, 0);
    }
}
