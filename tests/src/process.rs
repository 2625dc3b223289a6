//! What the operating system says of a process.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// Whether a process with this id is there and not yet a zombie.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        // The state follows the command's name, which is in parentheses and may hold any character.
        Ok(stat) => !matches!(stat.rsplit(')').next().map(str::trim_start), Some(rest) if rest.starts_with(['Z', 'X'])),
        Err(_) => false,
    }
}

/// Memory of its own, in bytes: what was allocated and is there. Pages of its program, which come when code runs for the first
/// time and go when the machine wants them back, are not among them.
///
/// # Errors
/// There is no such process, or no `/proc`.
pub fn own_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("read `{path}`"))?;
    let kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|value| value.trim().strip_suffix("kB"))
        .and_then(|value| value.trim().parse().ok())
        .with_context(|| format!("no RssAnon in `{path}`"))?;
    Ok(kib * 1024)
}

/// Kills a process without ceremony.
///
/// # Errors
/// There is none, or it is not ours.
pub fn kill(pid: u32) -> Result<()> {
    signal(pid, Signal::KILL)
}

/// Lets a process do nothing, as a machine that sleeps does.
///
/// # Errors
/// There is none, or it is not ours.
pub fn pause(pid: u32) -> Result<()> {
    signal(pid, Signal::STOP)
}

/// Lets it go on.
///
/// # Errors
/// There is none, or it is not ours.
pub fn resume(pid: u32) -> Result<()> {
    signal(pid, Signal::CONT)
}

/// Asks a process to end.
///
/// # Errors
/// There is none, or it is not ours.
pub fn terminate(pid: u32) -> Result<()> {
    signal(pid, Signal::TERM)
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process id")?;
    kill_process(pid, signal).with_context(|| format!("send {signal:?} to {pid:?}"))
}

/// Ids of the children of a process.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|candidate| parent(*candidate) == Some(pid))
        .collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}
