//! Which process this is, beyond doubt: its id and when it started.
//!
//! A process id alone is reused, within minutes on a busy machine and at once after a reboot. A peer that kept only the id
//! killed strangers and took strangers for its own. The start time comes from the kernel: clock ticks since a boot that has
//! a name of its own on Linux, `ps` elsewhere.

use std::fmt;
use std::str::FromStr;

use rustix::process::Pid;

/// A process that is told from every other one, before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pid: Pid,
    started: String,
}

impl Identity {
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Of a process that lives, or is dead and not yet reaped.
    pub(super) async fn of(pid: Pid) -> Option<Self> {
        let started = system::started(pid).await?;
        Some(Self { pid, started })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid.as_raw_nonzero(), self.started)
    }
}

impl FromStr for Identity {
    type Err = NotAnIdentity;

    fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
        let (pid, started) = text.split_once(' ').ok_or(NotAnIdentity)?;
        // One and below are init, "my own group" and "everyone": never a workload of ours.
        let pid = pid.parse().ok().filter(|pid| *pid > 1).and_then(Pid::from_raw).ok_or(NotAnIdentity)?;
        if started.is_empty() {
            return Err(NotAnIdentity);
        }
        Ok(Self { pid, started: started.to_owned() })
    }
}

/// A text that this runtime never wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the identity of a process")]
pub(super) struct NotAnIdentity;

pub(super) use system::{group_has_living, group_usage};

#[cfg(target_os = "linux")]
mod system {
    use std::fs;

    use fairlead_core::workload::Usage;
    use rustix::param::{clock_ticks_per_second, page_size};
    use rustix::process::Pid;

    /// Name of the boot and clock ticks since.
    pub(super) async fn started(pid: Pid) -> Option<String> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        let ticks = Stat::parse(&stat)?.started;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(format!("{}/{ticks}", boot.trim()))
    }

    /// Whether the group has a member that is not dead.
    pub(in super::super) fn group_has_living(leader: Pid) -> bool {
        let group = leader.as_raw_nonzero().to_string();
        let is_living = |stat: &str| Stat::parse(stat).is_some_and(|stat| stat.is_living_in(&group));
        processes().is_none_or(|mut stats| stats.any(|stat| is_living(&stat)))
    }

    /// What the members of the group use together.
    pub(in super::super) fn group_usage(leader: Pid) -> Option<Usage> {
        let group = leader.as_raw_nonzero().to_string();
        let (ticks_per_sec, page_bytes) = (clock_ticks_per_second().max(1), page_size() as u64);
        let of = |stat: String| {
            let stat = Stat::parse(&stat).filter(|stat| stat.is_living_in(&group))?;
            Some(Usage {
                cpu_nanos: stat.ticks.saturating_mul(1_000_000_000 / ticks_per_sec),
                memory_bytes: stat.resident_pages.saturating_mul(page_bytes),
                processes: 1,
            })
        };
        processes()?.filter_map(of).reduce(|all, one| all + one)
    }

    /// `/proc/<pid>/stat` of every process.
    fn processes() -> Option<impl Iterator<Item = String>> {
        let entries = fs::read_dir("/proc").ok()?.flatten();
        let of_processes = entries.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
        Some(of_processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok()))
    }

    /// What is of interest in `/proc/<pid>/stat` (proc_pid_stat(5)).
    struct Stat<'a> {
        state: &'a str,
        group: &'a str,
        /// Of computing time, its children that were waited for included.
        ticks: u64,
        started: u64,
        resident_pages: u64,
    }

    impl<'a> Stat<'a> {
        fn parse(stat: &'a str) -> Option<Self> {
            // The second field is the name in parentheses, which may hold anything, spaces and parentheses too.
            let (_, rest) = stat.rsplit_once(')')?;
            let mut fields = rest.split_ascii_whitespace();
            let state = fields.next()?;
            let group = fields.nth(1)?;
            // utime, stime, cutime, cstime
            let times: Vec<u64> = fields.by_ref().skip(8).take(4).map(str::parse).collect::<Result<_, _>>().ok()?;
            let started = fields.nth(4)?.parse().ok()?;
            let resident_pages = fields.nth(1)?.parse().ok()?;
            Some(Self { state, group, ticks: times.iter().sum(), started, resident_pages })
        }

        fn is_living_in(&self, group: &str) -> bool {
            self.group == group && !matches!(self.state, "Z" | "X")
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_name_cannot_disturb_the_fields_behind_it() {
            let stat = "42 (a) R 1 (b) S 7 41 41 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 100 25 3";
            let stat = Stat::parse(stat).unwrap();
            assert_eq!((stat.state, stat.group, stat.started), ("S", "41", 987_654));
            assert_eq!((stat.ticks, stat.resident_pages), (5 + 6 + 7 + 8, 25));
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::process::Stdio;

    use fairlead_core::workload::Usage;
    use rustix::process::Pid;
    use tokio::process::Command;
    use tokio::time::timeout;

    use crate::limits::PS_TIMEOUT;

    /// Date of the start as `ps` prints it, in a language and a time zone that do not change.
    pub(super) async fn started(pid: Pid) -> Option<String> {
        let pid = pid.as_raw_nonzero().to_string();
        let ps = Command::new("/bin/ps")
            .args(["-o", "lstart=", "-p", &pid])
            .env_clear()
            .envs([("LC_ALL", "C"), ("TZ", "UTC")])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(PS_TIMEOUT, ps).await.ok()?.ok()?;
        let started = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (!started.is_empty()).then_some(started)
    }

    /// The systems without `/proc` that this runs on always have an init, so the dead do not stay.
    pub(in super::super) fn group_has_living(_leader: Pid) -> bool {
        true
    }

    /// They count what processes use for their owner's tools alone.
    pub(in super::super) fn group_usage(_leader: Pid) -> Option<Usage> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_runtime_never_wrote_is_no_identity() {
        for text in ["", "12", "12 ", "x y", "0 a", "1 a", "-1 a", "-12 a", "99999999999 a"] {
            assert_eq!(text.parse::<Identity>(), Err(NotAnIdentity), "{text}");
        }
    }

    #[tokio::test]
    async fn an_identity_survives_being_stored() {
        let me = Identity::of(rustix::process::getpid()).await.unwrap();
        assert_eq!(me.to_string().parse(), Ok(me));
    }
}
