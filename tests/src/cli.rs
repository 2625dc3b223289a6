//! The command line, as a person or a script uses it.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::binary;
use crate::home::Home;
use crate::limits::COMMAND;

/// Runs commands against one home.
#[derive(Debug, Clone)]
pub struct Cli {
    binary: PathBuf,
    home: PathBuf,
    directory: Option<PathBuf>,
    env: Vec<(String, String)>,
    deadline: Duration,
}

/// What a command did.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Cli {
    /// Commands against `home`.
    ///
    /// # Errors
    /// There is no binary.
    pub fn new(home: &Home) -> Result<Self> {
        let (binary, home) = (binary::fairlead()?, home.path().to_owned());
        Ok(Self { binary, home, directory: None, env: Vec::new(), deadline: COMMAND })
    }

    /// Another binary.
    #[must_use]
    pub fn binary(mut self, binary: PathBuf) -> Self {
        self.binary = binary;
        self
    }

    /// Typed in another directory.
    #[must_use]
    pub fn directory(mut self, directory: PathBuf) -> Self {
        self.directory = Some(directory);
        self
    }

    /// With an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With so much time for each command.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// It cannot be started, or does not end in time. A status other than 0 is no error here.
    pub async fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Output> {
        let mut command = self.command();
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = tokio::time::timeout(self.deadline, command.output())
            .await
            .with_context(|| format!("{command:?} did not end within {:?}", self.deadline))?
            .context("start fairlead")?;
        Ok(Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a command that must succeed.
    ///
    /// # Errors
    /// It fails; the error shows what it said.
    pub async fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Output> {
        let output = self.run(args).await?;
        ensure!(output.code == Some(0), "expected success:\n{output}");
        Ok(output)
    }

    /// Runs a command that must succeed and whose output is JSON.
    ///
    /// # Errors
    /// It fails, or prints something else.
    pub async fn json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Value> {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect::<Vec<_>>();
        // `--` ends our flags: what follows belongs to the server.
        let place = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
        let mut with_format = args;
        with_format.splice(place..place, ["--format".into(), "json".into()]);
        let output = self.ok(with_format).await?;
        serde_json::from_str(&output.stdout).with_context(|| format!("no JSON on stdout:\n{output}"))
    }

    /// The command without arguments, for a test that wants it otherwise.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env("FAIRLEAD_HOME", &self.home)
            // For a daemon that the command starts: never the port that the user's own daemon has.
            .env("FAIRLEAD_ADDRESS", "127.0.0.1:0")
            .env("NO_COLOR", "1")
            .kill_on_drop(true);
        for (name, value) in &self.env {
            command.env(name, value);
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => writeln!(f, "status {code}")?,
            None => writeln!(f, "ended by a signal")?,
        }
        writeln!(f, "--- stdout\n{}", self.stdout.trim_end())?;
        write!(f, "--- stderr\n{}", self.stderr.trim_end())
    }
}
