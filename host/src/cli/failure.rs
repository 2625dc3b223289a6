//! What the user reads when a command fails: one line that says what, one that says what to do about it.

use fairlead_core::problem::{Problem, ProblemKind};
use serde::Serialize;

use crate::client::ClientError;
use crate::client::daemon::DaemonError;
use crate::config::ConfigError;
use crate::text;

/// Why a command failed. Written out it is what programs read: the same words, and what they may decide on.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    /// What went wrong.
    #[serde(rename = "error")]
    pub(crate) message: String,
    /// What kind of problem the daemon says it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<ProblemKind>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// Exit status.
    #[serde(skip)]
    pub(crate) code: u8,
}

/// A command failed.
pub(crate) const FAILED: u8 = 1;
/// It was interrupted, as shells have it: 128 and the number of the signal.
pub(crate) const INTERRUPTED: u8 = 130;
/// It was not understood.
pub(crate) const USAGE: u8 = 2;

impl Failure {
    /// A failure without a hint.
    #[must_use]
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: None, hint: None, code: FAILED }
    }

    /// What was typed makes no sense.
    #[must_use]
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::new(message) }
    }

    /// The parser does not understand it; what it suggests is the remedy.
    #[must_use]
    pub(crate) fn of_usage(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let said = text.strip_prefix("error: ").unwrap_or(&text);
        let (message, rest) = said.split_once("\n\n").unwrap_or((said, ""));
        let message: Vec<&str> = message.lines().map(str::trim).collect();
        let tips: Vec<&str> = rest.lines().filter_map(|line| line.trim().strip_prefix("tip: ")).collect();
        let tips = if tips.is_empty() { "try `--help`".to_owned() } else { tips.join("; ") };
        Self::usage(message.join(" ")).hint(tips)
    }

    /// With the remedy.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether somebody pressed Ctrl-C.
    #[must_use]
    pub(crate) fn is_interrupt(&self) -> bool {
        self.code == INTERRUPTED
    }

    /// An error with everything below it.
    #[must_use]
    pub(crate) fn chain(error: &dyn std::error::Error) -> Self {
        Self::new(text::chain(error))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::chain(&error)
    }
}

impl From<Problem> for Failure {
    /// Without the pointer: it leads into a document that was made from flags and that the user never saw.
    fn from(problem: Problem) -> Self {
        let code = if problem.kind == ProblemKind::BadRequest { USAGE } else { FAILED };
        Self { message: problem.detail, kind: Some(problem.kind), hint: problem.hint, code }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let hint = match &error {
            ClientError::Problem(problem) => return problem.clone().into(),
            ClientError::NoDaemon { .. } => Some("it starts with `fairlead run` or `fairlead serve`"),
            ClientError::Version { .. } => {
                Some("stop it with `fairlead shutdown`; the next command starts this version, and your servers with it")
            }
            ClientError::Timeout(_) | ClientError::Nonsense(_) | ClientError::Connection(_) => {
                Some("look at its log, or restart it with `fairlead shutdown`")
            }
        };
        Self { hint: hint.map(str::to_owned), ..Self::chain(&error) }
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        match error {
            DaemonError::Client(error) => error.into(),
            DaemonError::DidNotComeUp { ref hint, ref log, .. } => {
                let hint = hint.clone().unwrap_or_else(|| format!("its log is `{}`", log.display()));
                Self::chain(&error).hint(hint)
            }
            DaemonError::Spawn(_) => Self::chain(&error),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { code: USAGE, ..Self::chain(&error).hint(error.hint()) }
    }
}
