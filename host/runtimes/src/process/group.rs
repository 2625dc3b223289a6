//! A process group: the leader that we started and everything that it started in turn.
//!
//! Its number is the leader's process id, and the kernel gives that id to nobody else while one member lives. So a signal to
//! a group that was seen alive a moment ago ([`GROUP_POLL_MAX`]) reaches it or nobody: for another to be hit, the group
//! would have to empty and the ids of the whole system to come round within that moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fairlead_core::workload::Usage;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::time::{Instant, sleep};

use super::identity;
use crate::limits::{GROUP_POLL_FIRST, GROUP_POLL_MAX, KILL_WAIT, LEFTOVER_GRACE};

/// A group that this process started. Killed when nobody holds it any more.
#[derive(Debug)]
pub(super) struct Group {
    leader: Pid,
    /// Seen empty: the number may belong to somebody else from now on.
    gone: AtomicBool,
}

impl Group {
    pub(super) fn led_by(leader: Pid) -> Arc<Self> {
        Arc::new(Self { leader, gone: AtomicBool::new(false) })
    }

    pub(super) fn leader(&self) -> Pid {
        self.leader
    }

    pub(super) fn signal(&self, signal: Signal) {
        if self.gone.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = kill_process_group(self.leader, signal)
            && error != Errno::SRCH
        {
            tracing::warn!(process.pid = self.leader.as_raw_nonzero().get(), %error, "cannot signal a process group");
        }
    }

    /// Whether a member is left, once the leader is reaped (before that it counts itself). Remembers when none is.
    pub(super) fn has_survivors(&self) -> bool {
        let alive = !self.gone.load(Ordering::Acquire) && is_alive(self.leader);
        if !alive {
            self.forget();
        }
        alive
    }

    /// What its members use together.
    pub(super) fn usage(&self) -> Option<Usage> {
        if self.gone.load(Ordering::Acquire) { None } else { identity::group_usage(self.leader) }
    }

    /// From now on nothing is done to this number.
    pub(super) fn forget(&self) {
        self.gone.store(true, Ordering::Release);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Pauses between looks, growing.
pub(super) struct Poll(Duration);

impl Poll {
    pub(super) fn new() -> Self {
        Self(GROUP_POLL_FIRST)
    }

    pub(super) async fn pause(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(GROUP_POLL_MAX);
    }
}

/// Ends a group that somebody else started: asks, waits, kills. True when it was there to be asked.
pub(super) async fn end(leader: Pid) -> bool {
    for (signal, patience) in [(Signal::TERM, LEFTOVER_GRACE), (Signal::KILL, KILL_WAIT)] {
        if let Err(error) = kill_process_group(leader, signal) {
            return signal == Signal::KILL && error == Errno::SRCH;
        }
        if is_empty_within(leader, patience).await {
            return true;
        }
    }
    tracing::warn!(process.pid = leader.as_raw_nonzero().get(), "a leftover process was killed and is still there");
    true
}

async fn is_empty_within(leader: Pid, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    let mut poll = Poll::new();
    while is_alive(leader) {
        if Instant::now() >= deadline {
            return false;
        }
        poll.pause().await;
    }
    true
}

/// Whether a member lives. The kernel counts the dead that nobody has reaped, so where it says yes, they are looked at:
/// in a container without an init they would stay for ever.
fn is_alive(leader: Pid) -> bool {
    test_kill_process_group(leader) != Err(Errno::SRCH) && identity::group_has_living(leader)
}
