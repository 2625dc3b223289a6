//! Finding the daemon, and starting it in the background when it is not there.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::{Client, ClientError};
use crate::config::Settings;
use crate::limits::{DAEMON_START_MAX, POLL_INTERVAL};
use crate::private;

/// Status with which a daemon ends that found another one in its place.
pub(crate) const ALREADY_RUNS: u8 = 3;

/// How much of the daemon's log is looked at when it does not come up.
const LOG_TAIL_BYTES_MAX: u64 = 64 * 1024;
/// How many lines of it are shown when none of them says `error:`.
const LOG_TAIL_LINES: usize = 5;

/// Why there is no daemon to talk to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    /// There is one, but it cannot be talked to.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The process could not be started.
    #[error("start the daemon")]
    Spawn(#[source] io::Error),
    /// It ended or did not answer.
    #[error("the daemon did not come up: {reason}")]
    DidNotComeUp {
        /// What it said.
        reason: String,
        /// What it said to do about it.
        hint: Option<String>,
        /// Its log.
        log: PathBuf,
    },
}

/// A client of the daemon, which is started if it does not run.
///
/// # Errors
/// It is of another version, or does not come up.
pub(crate) async fn connect_or_start(settings: &Settings, mut on_start: impl FnMut()) -> Result<Client, DaemonError> {
    let client = Client::new(&settings.directories.socket());
    match client.hello().await {
        Ok(_) => return Ok(client),
        Err(ClientError::NoDaemon { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    on_start();
    let log = settings.directories.daemon_log();
    let from = std::fs::metadata(&log).map_or(0, |metadata| metadata.len());
    let mut child = spawn(settings, &log).map_err(DaemonError::Spawn)?;
    let deadline = Instant::now() + DAEMON_START_MAX;
    let mut ended = false;
    loop {
        match client.hello().await {
            Ok(_) => return Ok(client),
            Err(ClientError::NoDaemon { .. }) if Instant::now() < deadline => {}
            Err(ClientError::NoDaemon { .. }) => return Err(did_not_come_up(&log, from, "it does not answer")),
            Err(error) => return Err(error.into()),
        }
        // Somebody else started one at the same time: that one will answer.
        if !ended && let Ok(Some(status)) = child.try_wait() {
            if status.code() != Some(ALREADY_RUNS.into()) {
                return Err(did_not_come_up(&log, from, &format!("it ended with {status}")));
            }
            ended = true;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The daemon makes itself a session of its own, so that it survives the terminal.
fn spawn(settings: &Settings, log: &Path) -> io::Result<Child> {
    private::make_for(log)?;
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(log)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", "--background"]);
    if let Some(home) = &settings.home {
        command.arg("--home").arg(home);
    }
    if let Some(config) = &settings.config {
        command.arg("--config").arg(config);
    }
    // Not the directory of whoever typed the command: it would be kept from being removed or unmounted.
    command.current_dir("/").stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()
}

fn did_not_come_up(log: &Path, from: u64, otherwise: &str) -> DaemonError {
    let text = tail(log, from).unwrap_or_default();
    let last = |prefix: &str| text.lines().rev().find_map(|line| line.strip_prefix(prefix)).map(str::to_owned);
    let reason = last("error: ").unwrap_or_else(|| {
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines.get(lines.len().saturating_sub(LOG_TAIL_LINES)..).unwrap_or_default().join("\n");
        if shown.is_empty() { otherwise.to_owned() } else { format!("{otherwise}\n{shown}") }
    });
    DaemonError::DidNotComeUp { reason, hint: last("hint: "), log: log.to_owned() }
}

/// What was written since `from`, at most the end of it.
fn tail(log: &Path, from: u64) -> io::Result<String> {
    let mut file = std::fs::File::open(log)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(end.saturating_sub(LOG_TAIL_BYTES_MAX)).min(end)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_said_last_is_what_the_user_reads() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("daemon.log");
        std::fs::write(&log, "error: old\nINFO starting\nerror: the store is damaged\nhint: recover\n").unwrap();
        match did_not_come_up(&log, 11, "it ended") {
            DaemonError::DidNotComeUp { reason, hint, .. } => {
                assert_eq!(reason, "the store is damaged");
                assert_eq!(hint.as_deref(), Some("recover"));
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn without_an_error_the_end_of_the_log_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("daemon.log");
        std::fs::write(&log, (0..20).map(|n| format!("line {n}\n")).collect::<String>()).unwrap();
        let error = did_not_come_up(&log, 0, "it ended with signal 9").to_string();
        assert!(error.contains("signal 9") && error.contains("line 19") && !error.contains("line 3\n"), "{error}");
        let error = did_not_come_up(&directory.path().join("none"), 0, "it does not answer").to_string();
        assert!(error.ends_with("it does not answer"), "{error}");
    }
}
