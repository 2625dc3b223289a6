//! Servers that run elsewhere: there is nothing to launch, and nothing is left behind.

use fairlead_core::BoxFuture;
use fairlead_core::server::Source;
use fairlead_core::workload::{Launch, LaunchError, Workload, WorkloadRuntime};

/// The runtime of remote servers. Supervision asks it for no launch; it stands where every source has its runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct Elsewhere;

impl WorkloadRuntime for Elsewhere {
    fn name(&self) -> &'static str {
        "remote"
    }

    fn supports(&self, source: &Source) -> bool {
        matches!(source, Source::Remote(_))
    }

    fn launch<'a>(&'a self, _: &'a Launch) -> BoxFuture<'a, Result<Workload, LaunchError>> {
        Box::pin(async { Err(LaunchError::Unsupported("a remote server is reached, not launched".to_owned())) })
    }

    fn end_leftover<'a>(&'a self, _: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async { false })
    }
}
