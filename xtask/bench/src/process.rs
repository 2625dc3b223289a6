//! What a process costs, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};

/// Time on a processor so far, of all threads.
///
/// From `schedstat`, which counts nanoseconds; the ticks of `stat` would be a hundredth of a second, which is many
/// requests. A thread that ends takes its time with it, so this is for processes whose threads stay.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let tasks = format!("/proc/{pid}/task");
    let mut nanoseconds = 0_u64;
    let mut threads = 0;
    for entry in fs::read_dir(&tasks).with_context(|| format!("list {tasks}"))? {
        let path = entry.with_context(|| format!("list {tasks}"))?.path().join("schedstat");
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let first = text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
        nanoseconds += first.with_context(|| format!("{} holds no number", path.display()))?;
        threads += 1;
    }
    ensure!(threads > 0, "process {pid} has no threads");
    Ok(Duration::from_nanos(nanoseconds))
}

/// Resident memory in KiB.
pub(crate) fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS is not told")?;
    line.split_whitespace().next().and_then(|number| number.parse().ok()).context("VmRSS is no number")
}

/// Open file descriptors.
pub(crate) fn descriptors(pid: u32) -> anyhow::Result<usize> {
    let path = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&path).with_context(|| format!("list {path}"))?.count())
}

#[cfg(test)]
mod tests {
    use super::{cpu, descriptors, resident_kib};

    #[test]
    fn computing_costs_time_and_memory_is_resident() {
        let pid = std::process::id();
        let before = cpu(pid).unwrap();
        let mut sum = 0_u64;
        for number in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_add(number));
        }
        assert!(cpu(pid).unwrap() > before, "{sum}");
        assert!(resident_kib(pid).unwrap() > 100);
        assert!(descriptors(pid).unwrap() > 2);
    }
}
