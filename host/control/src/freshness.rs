//! The freshness engine: does what core's pure state machine says is to be done.
//!
//! One loop knows when each server is due; workers, few at a time, hold the lease of one server each. Whatever a worker
//! learns becomes an event, every event a durable step before its effect, and a lease that is lost ends the worker at the
//! next step. Nothing is remembered here that matters: killed at any point, the next engine reads the records and goes on.

mod agenda;
mod engine;
mod facts;
mod plan;
mod rule;
mod wish;
mod worker;

pub use engine::{CommandError, Engine, EngineConfig, EnginePorts};
pub use facts::seed;
pub use plan::replay;
pub use rule::Rule;
pub use wish::Considered;
