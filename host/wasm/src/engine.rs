//! The two engines, and the clock that both share.
//!
//! *Plugins* are many, small and short: a pool of reserved slots makes a fresh instance cheap. *Workloads* (MCP servers that
//! are components) are few, large and long: they take what they need from the operating system and must not use up the
//! slots of the guards. Both engines generate the same code, so that one compiled file serves either.
//!
//! Concurrency of the component model is off: with it every call costs about three times as much, and no world of this
//! version needs it. Slots keep no pages of linear memory resident: keeping them blindly is slower, and scanning for dirty
//! pages leaves swapped pages of one guest to the next one in wasmtime 48 (fixed in 50). Tables are small, and clearing one
//! by hand is cheaper than asking the operating system to.

use std::hash::{Hash, Hasher};

use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::limits::{
    CORE_INSTANCES_MAX, CORE_INSTANCES_PER_COMPONENT_MAX, FIBER_STACK_BYTES, GUEST_STACK_BYTES_MAX,
    INSTANCE_METADATA_BYTES_MAX, INSTANCES_MAX, INSTANCES_SPARE, MEMORIES_MAX, MEMORIES_PER_COMPONENT_MAX,
    TABLE_BYTES_RESIDENT, TABLE_ELEMENTS_MAX, TABLES_MAX, TABLES_PER_COMPONENT_MAX, WARM_SLOTS_MAX,
};
use crate::ticker::Ticker;

/// Address space of one linear memory: the largest that a plugin may have.
const MEMORY_RESERVATION: u64 = fairlead_core::limits::PLUGIN_MEMORY_BYTES_MAX;

/// The engines and their clock.
pub(crate) struct Engines {
    /// For plugins.
    pub(crate) plugins: Engine,
    /// For workloads.
    pub(crate) workloads: Engine,
    /// Counts the epochs of both.
    pub(crate) ticker: Ticker,
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime refuses the configuration on this machine.
    #[error("create the WebAssembly engine")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The clock thread did not start.
    #[error("start the epoch thread")]
    Ticker(#[source] std::io::Error),
}

impl Engines {
    pub(crate) fn new() -> Result<Self, EngineError> {
        let plugins = plugin_engine(&pool(INSTANCES_MAX + INSTANCES_SPARE))?;
        let workloads = engine(&code_generation())?;
        let ticker = Ticker::start(vec![plugins.weak(), workloads.weak()]).map_err(EngineError::Ticker)?;
        Ok(Self { plugins, workloads, ticker })
    }
}

/// An engine that only compiles, for the child process: it reserves nothing.
pub(crate) fn compiler() -> Result<Engine, EngineError> {
    engine(&code_generation())
}

/// What code must have been compiled with to run here, in one number.
pub(crate) fn compatibility(engine: &Engine) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

fn engine(config: &Config) -> Result<Engine, EngineError> {
    Engine::new(config).map_err(|error| EngineError::Engine(error.into_boxed_dyn_error()))
}

/// The pooling engine, or one without a pool where its address space cannot be reserved (a container with a limit on
/// virtual memory): slower, but right.
fn plugin_engine(pool: &PoolingAllocationConfig) -> Result<Engine, EngineError> {
    let mut config = code_generation();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool.clone()));
    match Engine::new(&config) {
        Ok(engine) => Ok(engine),
        Err(error) => {
            tracing::warn!(error = %format_args!("{error:#}"), "no pool of instances: a fresh instance costs more");
            engine(&code_generation())
        }
    }
}

/// Everything that changes the code which is generated. Nothing else may, or one cached file would not fit both engines.
///
/// Neither addresses of source instructions nor tables for native unwinders are kept: nobody reads them (guests are
/// stripped, and traps are told by their cause), and every load would read and authenticate them.
fn code_generation() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .wasm_memory64(false)
        .epoch_interruption(true)
        .memory_init_cow(true)
        .generate_address_map(false)
        .native_unwind_info(false)
        .memory_reservation(MEMORY_RESERVATION)
        .max_wasm_stack(GUEST_STACK_BYTES_MAX)
        .async_stack_size(FIBER_STACK_BYTES);
    config
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(CORE_INSTANCES_MAX)
        .total_memories(MEMORIES_MAX)
        .total_tables(TABLES_MAX)
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_memories_per_component(MEMORIES_PER_COMPONENT_MAX)
        .max_tables_per_component(TABLES_PER_COMPONENT_MAX)
        .max_component_instance_size(INSTANCE_METADATA_BYTES_MAX)
        .max_core_instance_size(INSTANCE_METADATA_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(usize::try_from(MEMORY_RESERVATION).unwrap_or(usize::MAX))
        .max_unused_warm_slots(WARM_SLOTS_MAX)
        .linear_memory_keep_resident(0)
        .table_keep_resident(TABLE_BYTES_RESIDENT);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_compiled_by_the_child_fits_both_engines() {
        let engines = Engines::new().unwrap();
        let child = compatibility(&compiler().unwrap());
        assert_eq!(compatibility(&engines.plugins), child);
        assert_eq!(compatibility(&engines.workloads), child);
    }

    #[test]
    fn without_address_space_for_the_pool_there_is_still_an_engine() {
        let mut impossible = pool(INSTANCES_MAX);
        impossible.total_memories(u32::MAX);
        assert!(plugin_engine(&impossible).is_ok());
    }
}
