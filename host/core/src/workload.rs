//! Workloads: what a runtime starts, and how the data plane gets at it.
//!
//! Two ports. [`WorkloadRuntime`] is what an engine adapter gives: start one thing, watch it, end it. [`Upstream`] is what
//! the data plane sees: connections to a server, however many workloads that takes. Supervision stands between the two.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use crate::BoxFuture;
use crate::name::ServerKey;
use crate::secret::SecretError;
use crate::server::Source;

/// The environment of one launch, with the values of secrets in it: overwritten when it is dropped, and never printed.
pub type LaunchEnvironment = BTreeMap<String, Zeroizing<String>>;

/// What to start.
#[derive(Clone)]
pub struct Launch {
    /// For which server.
    pub server: ServerKey,
    /// What.
    pub source: Source,
    /// With which environment.
    pub env: LaunchEnvironment,
    /// The port that it listens on, when it speaks HTTP rather than stdio. A runtime that isolates makes it reachable from
    /// this machine and tells where ([`WorkloadHandle::address`]); for the others it changes nothing.
    pub port: Option<u16>,
    /// Tells launches of one server apart: two with the same mark start the same thing. A runtime whose workloads outlive the
    /// daemon writes it on them, and takes over one that still runs instead of starting another. `None`: never taken over.
    pub mark: Option<String>,
}

impl Launch {
    /// Its mark, if it listens on a port: what speaks over pipes is of no use to anyone once they are gone.
    #[must_use]
    pub fn mark_of_listener(&self) -> Option<&str> {
        self.port.and(self.mark.as_deref())
    }
}

impl fmt::Debug for Launch {
    /// Without the values of the environment: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.env.keys().collect();
        let mut text = f.debug_struct("Launch");
        text.field("server", &self.server).field("source", &self.source).field("env", &names);
        text.field("port", &self.port).finish()
    }
}

/// Bytes to a workload.
pub type Stdin = Box<dyn AsyncWrite + Send + Unpin>;
/// Bytes from a workload.
pub type Stdout = Box<dyn AsyncRead + Send + Unpin>;

/// Something that was started.
pub struct Workload {
    /// What the runtime needs to recognise it beyond doubt, also after a restart of the daemon; `None` when it cannot
    /// outlive the daemon, or could not be recognised.
    pub id: Option<String>,
    /// Its standard input.
    pub stdin: Stdin,
    /// Its standard output.
    pub stdout: Stdout,
    /// Its standard error: always drained by whoever holds it.
    pub stderr: Stdout,
    /// To watch and end it.
    pub handle: Box<dyn WorkloadHandle>,
}

impl fmt::Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workload").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How a workload ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with a status.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// A Wasm component trapped, or something else that the text tells.
    Fault(String),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with status {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::Fault(fault) => write!(f, "{fault}"),
        }
    }
}

/// Watches and ends a workload. Dropping it kills the workload without ceremony, with everything that it had started.
pub trait WorkloadHandle: Send + Sync {
    /// Ready when the workload has ended, with everything that it had started; may be awaited by many and again.
    fn wait(&self) -> BoxFuture<'_, Exit>;
    /// Asks it to end, now, and makes it end after `grace`. The caller has closed stdin and given the workload the time to
    /// take that as the request it is. Ready when it has ended, with everything that it had started; the answer is that
    /// of [`wait`](Self::wait). Dropping the future takes nothing back.
    fn stop(&self, grace: Duration) -> BoxFuture<'_, Exit>;
    /// Where the port of the launch is reached from this machine; `None`: at that port of this machine itself.
    fn address(&self) -> Option<SocketAddr> {
        None
    }
    /// Whether it was running before the launch that gave it, and was taken over.
    fn is_taken_over(&self) -> bool {
        false
    }
    /// What it uses now, with everything that it had started; `None` when that cannot be found out.
    fn usage(&self) -> BoxFuture<'_, Option<Usage>> {
        Box::pin(async { None })
    }
}

/// What workloads use of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Computing time since each began.
    pub cpu_nanos: u64,
    /// Memory that is held now.
    pub memory_bytes: u64,
    /// Processes, or threads where an engine counts those. A component is none: it is part of the daemon.
    pub processes: u64,
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cpu_nanos: self.cpu_nanos.saturating_add(other.cpu_nanos),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            processes: self.processes.saturating_add(other.processes),
        }
    }
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The program or file is not there.
    #[error("`{what}` was not found")]
    NotFound {
        /// What was looked for.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// It is there but cannot be started.
    #[error("start `{what}`")]
    Start {
        /// What was to be started.
        what: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Whatever would start it is away for the time being: nothing is wrong with the server.
    #[error("start `{what}`")]
    Away {
        /// What was to be started.
        what: String,
        /// Who is away.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A secret in its environment cannot be had.
    #[error("environment variable `{variable}`")]
    Secret {
        /// The variable.
        variable: String,
        /// Why not.
        #[source]
        source: SecretError,
    },
    /// This runtime cannot start such a thing.
    #[error("no runtime for this source: {0}")]
    Unsupported(String),
}

/// An engine that starts workloads.
pub trait WorkloadRuntime: Send + Sync {
    /// For logs and status: `process`, `wasm`, …
    fn name(&self) -> &'static str;
    /// Whether it can start this source.
    fn supports(&self, source: &Source) -> bool;
    /// A server will be launched soon, before those that are announced after it. A runtime that starts few at a time keeps a
    /// place for it; who does not come soon loses that.
    fn announce(&self, _server: &ServerKey) {}
    /// Starts.
    fn launch<'a>(&'a self, launch: &'a Launch) -> BoxFuture<'a, Result<Workload, LaunchError>>;
    /// Ends what an earlier daemon started, if it still lives and is beyond doubt the same. True if it did; an id that is
    /// not understood is nobody's.
    fn end_leftover<'a>(&'a self, id: &'a str) -> BoxFuture<'a, bool>;
    /// Whether what an earlier daemon started still runs and can be taken over by the next launch of its server. That launch
    /// decides whether it is the same; what is not, it ends.
    fn can_be_taken_over<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async { false })
    }
}

/// One connection to a stdio server: one workload of its own. Dropping it ends the workload (stdin closed, then asked, then
/// made to end) without making anyone wait for that. Dropping or shutting down `stdin` first is the polite way out: what a
/// workload does after that is no failure.
pub struct StdioConnection {
    /// Its standard input.
    pub stdin: Stdin,
    /// Its standard output.
    pub stdout: Stdout,
    /// Keeps the workload alive; supervision ends it when this is dropped.
    pub lease: Box<dyn Send + Sync>,
}

impl fmt::Debug for StdioConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioConnection").finish_non_exhaustive()
    }
}

/// Why a server cannot be reached now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Stopped by a person.
    #[error("the server is stopped")]
    Stopped,
    /// It ended without being asked to; launched again later.
    #[error("the server ended unexpectedly ({reason}); it is started again in {retry_after:.1?}")]
    BackingOff {
        /// How it ended. A client reads this, so it never quotes what the server wrote; the status does.
        reason: String,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// It was launched and does not take connections yet; its next attempt may.
    #[error("the server is still starting ({reason})")]
    NotReady {
        /// What is waited for. A client reads this.
        reason: String,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// It does not come up any more, or cannot be reached in this way. A client reads the text.
    #[error("the server does not come up: {0}")]
    Failed(String),
    /// Too many sessions.
    #[error("the server has {0} sessions, which is its limit")]
    SessionLimit(usize),
}

/// How the data plane reaches one server.
pub trait Upstream: Send + Sync {
    /// A connection of its own to a stdio server. Waits for a launch, never for a back-off.
    fn open_stdio(&self) -> BoxFuture<'_, Result<StdioConnection, Unavailable>>;
    /// A connection for a question that a server may not survive: that its workload ends before it has said a word counts as
    /// nothing against the server.
    fn open_stdio_to_ask(&self) -> BoxFuture<'_, Result<StdioConnection, Unavailable>> {
        self.open_stdio()
    }
    /// Whether there is one process and there will be no other beside it: whoever wants to speak to the server shares it, and it is
    /// not let go of while it lives.
    fn is_sole(&self) -> bool {
        false
    }
    /// URL of the streamable HTTP endpoint; ready once the workload behind it runs.
    fn http_endpoint(&self) -> BoxFuture<'_, Result<String, Unavailable>>;
}
