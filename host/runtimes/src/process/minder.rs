//! One task for each process: it waits for the end, sees to the children that are left, and tells everyone who asks.
//!
//! A task of its own, because a process ends when it ends and not when somebody happens to be waiting: without one the dead
//! stay as zombies until the next await, and two callers could not both wait. Orders reach it as a deadline: asked to end
//! now, made to end then.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use fairlead_core::BoxFuture;
use fairlead_core::workload::{Exit, Usage, WorkloadHandle};
use rustix::process::Signal;
use tokio::process::Child;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::group::{Group, Poll};
use crate::limits::{KILL_WAIT, SURVIVORS_GRACE};
use crate::orders::{self, Charge, Owner, due};

/// A process with its group, as its owner holds it.
pub(super) struct Process {
    group: Arc<Group>,
    owner: Owner,
}

impl Process {
    /// Begins to mind a process that was just started.
    pub(super) fn mind(tasks: &TaskTracker, child: Child, group: Arc<Group>) -> Self {
        let (owner, charge) = orders::pair();
        let minded = Arc::clone(&group);
        tasks.spawn(Minder { child, group: minded, charge, kill_at: None }.run());
        Self { group, owner }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.group.signal(Signal::KILL);
    }
}

impl WorkloadHandle for Process {
    fn wait(&self) -> BoxFuture<'_, Exit> {
        self.owner.wait()
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'_, Exit> {
        self.owner.stop(grace, KILL_WAIT)
    }

    fn usage(&self) -> BoxFuture<'_, Option<Usage>> {
        Box::pin(async { self.group.usage() })
    }
}

struct Minder {
    child: Child,
    group: Arc<Group>,
    charge: Charge,
    /// Set when the group was asked to end; taken when it was killed.
    kill_at: Option<Instant>,
}

impl Minder {
    async fn run(mut self) {
        let status = loop {
            tokio::select! {
                status = self.child.wait() => break status,
                Some(kill_at) = self.charge.order() => self.obey(kill_at),
                () = due(self.kill_at) => self.kill(),
            }
        };
        self.outlive_survivors().await;
        self.charge.ended(match status {
            Ok(status) => exit_of(status),
            Err(error) => Exit::Fault(format!("cannot be waited for: {error}")),
        });
    }

    /// Children of the process have a moment to follow it, and are killed after that.
    async fn outlive_survivors(&mut self) {
        if !self.group.has_survivors() {
            return;
        }
        let mut give_up_at = Instant::now() + SURVIVORS_GRACE + KILL_WAIT;
        if self.kill_at.is_none() {
            self.group.signal(Signal::TERM);
            self.kill_at = Some(Instant::now() + SURVIVORS_GRACE);
        }
        let mut poll = Poll::new();
        while self.group.has_survivors() && Instant::now() < give_up_at {
            tokio::select! {
                () = poll.pause() => {}
                Some(kill_at) = self.charge.order() => self.obey(kill_at),
                () = due(self.kill_at) => self.kill(),
            }
            if let Some(kill_at) = self.kill_at {
                give_up_at = kill_at + KILL_WAIT;
            }
        }
        self.group.forget();
    }

    fn obey(&mut self, kill_at: Instant) {
        self.kill_at = Some(kill_at);
        self.group.signal(Signal::TERM);
    }

    fn kill(&mut self) {
        self.kill_at = None;
        self.group.signal(Signal::KILL);
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Fault(format!("ended in an unknown way ({status})")),
    }
}
