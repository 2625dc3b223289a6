//! A daemon of its own for each test, on a free port and a home of its own.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::binary;
use crate::cli::Cli;
use crate::home::Home;
use crate::limits::{FAREWELL, POLL, READY, SETTLE, SHOWN_BYTES};
use crate::mcp::Client;
use crate::wait::eventually;

/// How a daemon is started where that matters.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// Where MCP clients reach it.
    pub address: &'a str,
    /// More arguments.
    pub args: &'a [&'a str],
    /// More environment.
    pub env: &'a [(&'a str, &'a str)],
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { address: "127.0.0.1:0", args: &[], env: &[] }
    }
}

/// A running `fairlead serve`, and the home that outlives it.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    address: String,
    home: Home,
}

/// Dropping it kills the daemon and shows what it printed (libtest keeps that for failures).
#[derive(Debug)]
struct Process {
    child: Child,
    log: Log,
}

/// Where the output of one daemon goes: files, so that nobody has to drain a pipe.
#[derive(Debug)]
struct Log {
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Daemon {
    /// Starts one on an empty home.
    ///
    /// # Errors
    /// It does not get ready in time.
    pub async fn start() -> Result<Self> {
        Self::start_in(Home::new()?).await
    }

    /// Starts one on a home that may have seen others.
    ///
    /// # Errors
    /// It does not get ready in time.
    pub async fn start_in(home: Home) -> Result<Self> {
        Self::start_with(home, &[]).await
    }

    /// Starts one with more arguments.
    ///
    /// # Errors
    /// It does not get ready in time.
    pub async fn start_with(home: Home, args: &[&str]) -> Result<Self> {
        Self::start_set_up(home, &Setup { args, ..Setup::default() }).await
    }

    /// Starts one that differs in more than its arguments.
    ///
    /// # Errors
    /// It does not get ready in time; the error has what it said.
    pub async fn start_set_up(home: Home, setup: &Setup<'_>) -> Result<Self> {
        let mut process = Process::spawn(&home, setup)?;
        let address = process.ready().await?;
        Ok(Self { process, address, home })
    }

    /// Starts one that must not come up, and gives what it said and the home back.
    ///
    /// # Errors
    /// It comes up, or neither comes up nor ends in time.
    pub async fn refuse_to_start(home: Home, setup: &Setup<'_>) -> Result<(Home, String)> {
        let mut process = Process::spawn(&home, setup)?;
        match process.ready().await {
            Ok(address) => bail!("it came up at {address}"),
            Err(error) => Ok((home, format!("{error:#}"))),
        }
    }

    /// Starts one and kills it after a time, ready or not.
    ///
    /// # Errors
    /// The operating system refuses.
    pub async fn kill_while_starting(home: Home, after: Duration) -> Result<Home> {
        let mut process = Process::spawn(&home, &Setup::default())?;
        tokio::time::sleep(after).await;
        process.child.kill().context("kill the daemon")?;
        process.child.wait().context("wait for the daemon")?;
        Ok(home)
    }

    /// Its address (`127.0.0.1:…`).
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The home.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// URL of a server of tenant `default`.
    #[must_use]
    pub fn url(&self, server: &str) -> String {
        format!("http://{}/s/{server}/mcp", self.address)
    }

    /// URL of a server of a tenant.
    #[must_use]
    pub fn tenant_url(&self, tenant: &str, server: &str) -> String {
        format!("http://{}/t/{tenant}/s/{server}/mcp", self.address)
    }

    /// Commands against it.
    ///
    /// # Errors
    /// There is no binary.
    pub fn cli(&self) -> Result<Cli> {
        Cli::new(&self.home)
    }

    /// A client with a session.
    ///
    /// # Errors
    /// The server does not answer `initialize`.
    pub async fn client(&self, server: &str) -> Result<Client> {
        Client::connect(&self.url(server)).await
    }

    /// What it has printed to standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        tail(&self.process.log.stderr)
    }

    /// Kills it as `kill -9` does and gives the home back.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn kill(mut self) -> Result<Home> {
        self.process.child.kill().context("kill the daemon")?;
        self.process.child.wait().context("wait for the daemon")?;
        Ok(self.home)
    }

    /// Asks it to end, waits, and gives home and status back.
    ///
    /// # Errors
    /// It does not end in time, or only by giving up on something.
    pub async fn terminate(mut self) -> Result<(Home, ExitStatus)> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(pid, Signal::TERM).context("signal the daemon")?;
        let child = &mut self.process.child;
        let status = eventually("the daemon ends", SETTLE, async || child.try_wait()?.context("it still runs")).await?;
        ensure!(!self.stderr().contains("did not end in time"), "it gave up on something: {}", self.stderr());
        Ok((self.home, status))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.child.try_wait(), Ok(None))
    }
}

impl Process {
    fn spawn(home: &Home, setup: &Setup<'_>) -> Result<Self> {
        let log = Log::new(home)?;
        let child = Command::new(binary::fairlead()?)
            .args(["serve", "--address", setup.address, "--format", "json"])
            .args(setup.args)
            .env("FAIRLEAD_HOME", home.path())
            .env("NO_COLOR", "1")
            .envs(setup.env.iter().copied())
            .stdin(Stdio::null())
            .stdout(File::create(&log.stdout).context("create the log")?)
            .stderr(File::create(&log.stderr).context("create the log")?)
            .spawn()
            .context("start the daemon")?;
        Ok(Self { child, log })
    }

    /// Waits for the line that names the address.
    async fn ready(&mut self) -> Result<String> {
        let Self { child, log } = self;
        let outcome = eventually("the daemon is ready", READY, async || {
            if let Some(address) = announced(&std::fs::read_to_string(&log.stdout)?) {
                return Ok(Ok(address));
            }
            if let Some(status) = child.try_wait()? {
                return Ok(Err(status));
            }
            bail!("it has not named its address")
        });
        outcome
            .await?
            .map_err(|status| anyhow::anyhow!("the daemon ended at its start: {status}\n{}", self.log.shown()))
    }
}

impl Drop for Process {
    /// Asks it first: a daemon that is killed leaves servers that listen on a port to its next start, and there is none.
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let asked = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        let given_up = Instant::now() + FAREWELL;
        while asked && Instant::now() < given_up && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::park_timeout(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        println!("{}", self.log.shown());
    }
}

impl Log {
    /// Files of the next daemon on this home.
    fn new(home: &Home) -> Result<Self> {
        let directory = home.logs();
        std::fs::create_dir_all(&directory).context("create the directory of logs")?;
        let count = std::fs::read_dir(&directory).context("list the logs")?.count();
        Ok(Self {
            stdout: directory.join(format!("{count}.stdout")),
            stderr: directory.join(format!("{count}.stderr")),
        })
    }

    fn shown(&self) -> String {
        format!("--- daemon stdout\n{}\n--- daemon stderr\n{}", tail(&self.stdout), tail(&self.stderr))
    }
}

/// The address in what a daemon has printed so far.
fn announced(stdout: &str) -> Option<String> {
    stdout.lines().find_map(|line| {
        let line = serde_json::from_str::<Value>(line).ok()?;
        Some(line.get("address")?.as_str()?.to_owned())
    })
}

fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(SHOWN_BYTES as u64)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_or_else(|error| error.to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}
