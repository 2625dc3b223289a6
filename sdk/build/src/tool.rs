//! Programs of others: started, heard, and ended when they take too long.
//!
//! What they say is kept and shown only when they fail: the progress of five tools is noise, the reason of one is not.

use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::limits::TOOL_WORDS_BYTES_MAX;

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not there.
    #[error("run `{tool}`")]
    Missing {
        /// Which.
        tool: &'static str,
        /// How to get it.
        remedy: &'static str,
        /// Why it did not start.
        #[source]
        source: std::io::Error,
    },
    /// It said no.
    #[error("`{tool}` ended with {status}{}", told(said))]
    Failed {
        /// Which.
        tool: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Its last words.
        said: String,
    },
    /// It did not end.
    #[error("`{tool}` did not end within {} s", limit.as_secs())]
    Deadline {
        /// Which.
        tool: &'static str,
        /// The time that it had.
        limit: Duration,
    },
    /// A file or a directory around it.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

fn told(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(":\n{said}") }
}

impl ToolError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { remedy, .. } => Some((*remedy).to_owned()),
            Self::Failed { .. } | Self::Deadline { .. } | Self::Io { .. } => None,
        }
    }

    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

/// A program by the name that a person knows it by, and how to get it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) remedy: &'static str,
}

impl Tool {
    /// Runs `command` to its end.
    pub(crate) fn run(self, command: &mut Command, limit: Duration) -> Result<(), ToolError> {
        let Self { name: tool, remedy } = self;
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = started.map_err(|source| ToolError::Missing { tool, remedy, source })?;
        // Both are read at once, or a tool that fills one pipe would wait for ever. A tool that has closed both has ended.
        let until = Instant::now() + limit;
        let heard = [child.stdout.take().map(listen), child.stderr.take().map(listen)];
        let mut said = Vec::new();
        for words in heard.into_iter().flatten() {
            match words.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(words) => said.push(words),
                Err(_) => {
                    // It may have ended in the meantime.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(ToolError::Deadline { tool, limit });
                }
            }
        }
        let status = child.wait().map_err(ToolError::io(format!("wait for `{tool}`")))?;
        said.retain(|words| !words.is_empty());
        if status.success() { Ok(()) } else { Err(ToolError::Failed { tool, status, said: said.join("\n") }) }
    }
}

fn listen(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (heard, words) = channel();
    thread::spawn(move || {
        let mut said = Vec::new();
        // What cannot be read was not said.
        let _ = pipe.read_to_end(&mut said);
        let from = said.len().saturating_sub(TOOL_WORDS_BYTES_MAX);
        // Nobody listens any more when the deadline was missed.
        let _ = heard.send(String::from_utf8_lossy(said.get(from..).unwrap_or_default()).trim().to_owned());
    });
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELL: Tool = Tool { name: "sh", remedy: "install a shell" };

    fn shell(script: &str, limit: Duration) -> Result<(), ToolError> {
        SHELL.run(Command::new("sh").args(["-c", script]), limit)
    }

    #[test]
    fn a_tool_that_fails_is_quoted() {
        let error = shell("echo out; echo no such thing >&2; exit 3", Duration::from_secs(60)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 3") && text.contains("out\nno such thing"), "{text}");
        assert!(shell("exit 0", Duration::from_secs(60)).is_ok());
    }

    #[test]
    fn a_tool_that_does_not_end_is_ended() {
        let error = shell("exec sleep 600", Duration::from_millis(30)).unwrap_err();
        assert!(matches!(error, ToolError::Deadline { .. }), "{error}");
    }

    #[test]
    fn a_tool_that_is_not_there_is_named_with_the_remedy() {
        let mut command = Command::new("fairlead-no-such-program");
        let error = SHELL.run(&mut command, Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("install a shell"));
    }
}
