//! What a plugin costs, measured in the real host: calls on a warm instance, calls with a fresh one each, memory, loading.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlead_core::plugin::{InstanceModel, PluginLimits};
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
    /// The decision about the message; nothing for kinds that are not called here.
    pub(crate) verdict: Option<Word>,
    /// Calls on a warm instance.
    pub(crate) warm: Option<Spread>,
    /// Calls with a fresh instance each: instantiated, configured, called, thrown away.
    pub(crate) fresh: Option<Spread>,
    /// The most linear memory of one instance.
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
        verdict: None,
        warm: None,
        fresh: None,
        memory_bytes: 0,
    };
    if plugin.manifest().kind != fairlead_core::plugin::PluginKind::Middleware {
        bench.check(&plugin, config).await.map_err(|error| text::chain(&error))?;
        return Ok(costs);
    }
    let (verdict, warm, memory) = calls(&bench, &plugin, config, message, InstanceModel::Warm).await?;
    let (_, fresh, _) = calls(&bench, &plugin, config, message, InstanceModel::PerCall).await?;
    costs.verdict = Some(verdict);
    costs.warm = Some(warm);
    costs.fresh = Some(fresh);
    costs.memory_bytes = memory;
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
    let mut times = Vec::new();
    for round in 0..count + count / WARM_UP_PART {
        let call = message.call()?;
        let began = Instant::now();
        let answer = middleware.call(call).await;
        let elapsed = began.elapsed();
        answer.map_err(|fault| format!("the plugin {fault}"))?;
        if round >= count / WARM_UP_PART {
            times.push(elapsed.as_nanos());
        }
    }
    let counted = bench.metrics().into_iter().map(|metrics| metrics.counts.memory_bytes_high_water);
    Ok((outcome.verdict, spread(times), counted.max().unwrap_or_default()))
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
    fn a_percentile_is_one_of_the_times() {
        let spread = spread((1..=100).rev().collect());
        assert_eq!((spread.min, spread.p50, spread.p99, spread.max), (1, 51, 100, 100));
        assert_eq!(super::spread(Vec::new()).max, 0);
    }
}
