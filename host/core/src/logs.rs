//! Where the words of a server go: what it writes to standard error, and what supervision has to say about it.
//!
//! A port, because the readers are many (a file with rotation, `fairlead logs -f`, a test) and the writers must not care.
//! The sink is called from the task that drains a pipe: one that blocks would stall the server behind it, so a sink takes
//! the line or drops it, and returns.

use crate::name::{AttachmentName, ServerKey};

/// Who said it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogSource {
    /// A workload on its standard error.
    Stderr,
    /// A workload on its standard output, where that is no wire (servers that speak HTTP).
    Stdout,
    /// Supervision: started, ended, tried again.
    Supervision,
    /// A plugin of the server's chain.
    Plugin(AttachmentName),
    /// The data plane: what passed by and did not end well.
    Proxy,
}

/// One line.
#[derive(Debug, Clone, Copy)]
pub struct LogLine<'a> {
    /// The server that it belongs to.
    pub server: &'a ServerKey,
    /// Who said it.
    pub source: &'a LogSource,
    /// Which of the server's workloads, counted from 1 since the daemon started; 0 when it belongs to none. Sessions have
    /// a process each, and their lines mix.
    pub workload: u64,
    /// Without its line break, valid UTF-8, of bounded length. May hold terminal escapes: who prints it cares for that.
    pub text: &'a str,
}

/// Takes lines. Must return at once; a line may be dropped rather than waited for.
pub trait LogSink: Send + Sync {
    /// Takes one line.
    fn write(&self, line: LogLine<'_>);
}
