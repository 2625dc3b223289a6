//! Supervision: what keeps a server running, and says why when it does not.
//!
//! One [`Supervisor`] for each server launches its workloads through core's `WorkloadRuntime` port and is the `Upstream`
//! that the data plane connects to. It decides when a launch is let through (back-off, cap, stopped by a person), ends what
//! nobody wants any more, drains what a workload writes, and writes down what runs so that the next daemon can end what
//! this one left. It knows neither engines nor MCP.

mod ending;
#[cfg(test)]
mod fake;
pub mod freshness;
mod gate;
mod launch;
mod leftovers;
pub mod limits;
mod lines;
mod pipes;
mod readiness;
mod resident;
mod server;
mod shown;
mod spares;
mod supervisor;
mod workload;

pub use gate::lifecycle_diagram;
pub use leftovers::{Swept, sweep};
pub use supervisor::{Ports, Supervisor, SupervisorConfig};
