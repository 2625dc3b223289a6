//! A daemon with a throw-away home: started here, ended here, whatever happens in between.
//!
//! The child runs in a process group of its own, so that a Ctrl-C reaches us alone and we end it in order: ask, wait with
//! a deadline, then insist. The home goes when the daemon is gone.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

use crate::workspace;

/// Longest wait until the daemon names its address.
const READY_MAX: Duration = Duration::from_secs(60);

/// Longest wait for an orderly end; a drain is bounded by less than this.
const END_MAX: Duration = Duration::from_secs(20);

/// Longest run of one command against the daemon: the first `run` compiles components.
const COMMAND_MAX: Duration = Duration::from_secs(120);

/// What one waits for while the daemon runs.
pub(crate) enum Event {
    /// Ctrl-C, or somebody asks us to end.
    Interrupted,
    /// The daemon is gone.
    Ended(String),
    /// A line of its standard output.
    Line(String),
}

/// A running daemon. Dropping it ends it and removes its home.
pub(crate) struct Daemon {
    pid: Pid,
    events: Receiver<Event>,
    is_running: bool,
    interrupted: bool,
    address: String,
    home: TempDir,
}

impl Daemon {
    /// Starts one and waits until it serves.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let home = tempfile::Builder::new().prefix("fairlead-demo-").tempdir().context("make a throw-away home")?;
        let (sender, events) = channel();
        listen_for_signals(sender.clone())?;
        let log = File::create(home.path().join("demo-daemon.log")).context("create the log of the daemon")?;
        let mut child = command(home.path())
            .args(["serve", "--address", "127.0.0.1:0", "--format", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("start the daemon")?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("the daemon has no process id")?;
        let stdout = child.stdout.take().context("take the output of the daemon")?;
        let lines = sender.clone();
        std::thread::spawn(move || forward(stdout, &lines));
        std::thread::spawn(move || {
            let how = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
            sender.send(Event::Ended(how))
        });
        let mut daemon = Self { pid, events, is_running: true, interrupted: false, address: String::new(), home };
        daemon.address = daemon.announced()?;
        Ok(daemon)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its home, for files that may go with it.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs a command against it and returns what it printed.
    pub(crate) fn run(&mut self, args: &[String]) -> anyhow::Result<String> {
        let mut command = command(self.home.path());
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let line = workspace::line(&command);
        let child = command.spawn().with_context(|| format!("start `{line}`"))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (sender, output) = channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        let output = match output.recv_timeout(COMMAND_MAX) {
            Ok(output) => output.with_context(|| format!("wait for `{line}`"))?,
            Err(_) => {
                if let Some(pid) = pid {
                    let _ = kill_process(pid, Signal::KILL);
                }
                bail!("`{line}` did not end within {} s", COMMAND_MAX.as_secs());
            }
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`{line}` ended with {}: {}\n{}", output.status, said.trim(), self.log());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Fails once somebody has asked us to end, or the daemon is gone. Called between two steps.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        while let Ok(event) = self.events.try_recv() {
            self.note(event)?;
        }
        if self.interrupted {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Waits for Ctrl-C. An error when the daemon ends first.
    pub(crate) fn wait(&mut self) -> anyhow::Result<()> {
        while !self.interrupted {
            let event = self.events.recv().context("wait for Ctrl-C")?;
            self.note(event)?;
        }
        Ok(())
    }

    fn announced(&mut self) -> anyhow::Result<String> {
        let deadline = Instant::now() + READY_MAX;
        loop {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Line(line)) => {
                    let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                    if let Some(address) = value.get("address").and_then(serde_json::Value::as_str) {
                        return Ok(address.to_owned());
                    }
                }
                Ok(event) => {
                    self.note(event)?;
                    self.check()?;
                }
                Err(_) => bail!("the daemon named no address within {} s\n{}", READY_MAX.as_secs(), self.log()),
            }
        }
    }

    fn note(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Interrupted => self.interrupted = true,
            Event::Ended(how) => {
                self.is_running = false;
                bail!("the daemon ended: {how}\n{}", self.log());
            }
            Event::Line(_) => {}
        }
        Ok(())
    }

    fn log(&self) -> String {
        /// What a person still reads.
        const LINES_SHOWN: usize = 30;
        let text = std::fs::read_to_string(self.home.path().join("demo-daemon.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines.get(lines.len().saturating_sub(LINES_SHOWN)..).unwrap_or_default();
        format!("--- log of the daemon\n{}", shown.join("\n"))
    }

    fn await_end(&mut self, at_most: Duration) -> Result<(), RecvTimeoutError> {
        let deadline = Instant::now() + at_most;
        while self.is_running {
            let event = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now()))?;
            self.is_running = !matches!(event, Event::Ended(_));
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Until the thread that waits for it has told of its end, the process id is the daemon's.
        for signal in [Signal::TERM, Signal::KILL] {
            if self.is_running && kill_process(self.pid, signal).is_ok() && self.await_end(END_MAX).is_ok() {
                return;
            }
        }
    }
}

/// A `fairlead` command that sees the throw-away home and nothing of the user's.
fn command(home: &Path) -> Command {
    let mut command = Command::new(workspace::fairlead());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FAIRLEAD_") {
            command.env_remove(name);
        }
    }
    command.env("FAIRLEAD_HOME", home).env("FAIRLEAD_PLUGIN_PATH", workspace::plugins());
    command
}

fn listen_for_signals(sender: Sender<Event>) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("listen for signals")?;
    std::thread::spawn(move || signals.forever().try_for_each(|_| sender.send(Event::Interrupted)));
    Ok(())
}

fn forward(stdout: ChildStdout, sender: &Sender<Event>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if sender.send(Event::Line(line)).is_err() {
            return;
        }
    }
}
