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
use fairlead_core::workload::{Exit, WorkloadHandle};
use rustix::process::Signal;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use super::group::{Group, Poll};
use crate::limits::{KILL_WAIT, SURVIVORS_GRACE};

/// A process with its group, as its owner holds it.
pub(super) struct Process {
    group: Arc<Group>,
    kill_at: watch::Sender<Option<Instant>>,
    ended: watch::Receiver<Option<Exit>>,
}

impl Process {
    /// Begins to mind a process that was just started.
    pub(super) fn mind(tasks: &TaskTracker, child: Child, group: Arc<Group>) -> Self {
        let (kill_at, orders) = watch::channel(None);
        let (end, ended) = watch::channel(None);
        let minded = Arc::clone(&group);
        tasks.spawn(async move {
            let exit = Minder { child, group: minded, orders, kill_at: None }.run().await;
            end.send_replace(Some(exit));
        });
        Self { group, kill_at, ended }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.group.signal(Signal::KILL);
    }
}

impl WorkloadHandle for Process {
    fn wait(&self) -> BoxFuture<'_, Exit> {
        let mut ended = self.ended.clone();
        Box::pin(async move {
            match ended.wait_for(Option::is_some).await {
                Ok(exit) => exit.clone().unwrap_or_else(lost),
                Err(_) => lost(),
            }
        })
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'_, Exit> {
        let kill_at = Instant::now() + grace;
        self.kill_at.send_if_modified(|order| {
            let sooner = order.is_none_or(|order| kill_at < order);
            if sooner {
                *order = Some(kill_at);
            }
            sooner
        });
        Box::pin(async move {
            match timeout(grace + KILL_WAIT, self.wait()).await {
                Ok(exit) => exit,
                Err(_) => Exit::Fault("was killed and is still there".to_owned()),
            }
        })
    }
}

/// The task was given up before the process ended: the daemon is going down, and the group was killed with it.
fn lost() -> Exit {
    Exit::Fault("was given up".to_owned())
}

struct Minder {
    child: Child,
    group: Arc<Group>,
    orders: watch::Receiver<Option<Instant>>,
    /// Set when the group was asked to end; taken when it was killed.
    kill_at: Option<Instant>,
}

impl Minder {
    async fn run(mut self) -> Exit {
        let status = loop {
            tokio::select! {
                status = self.child.wait() => break status,
                () = order(&mut self.orders) => self.obey(),
                () = due(self.kill_at) => self.kill(),
            }
        };
        self.outlive_survivors().await;
        match status {
            Ok(status) => exit_of(status),
            Err(error) => Exit::Fault(format!("cannot be waited for: {error}")),
        }
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
                () = order(&mut self.orders) => self.obey(),
                () = due(self.kill_at) => self.kill(),
            }
            if let Some(kill_at) = self.kill_at {
                give_up_at = kill_at + KILL_WAIT;
            }
        }
        self.group.forget();
    }

    fn obey(&mut self) {
        self.kill_at = *self.orders.borrow_and_update();
        self.group.signal(Signal::TERM);
    }

    fn kill(&mut self) {
        self.kill_at = None;
        self.group.signal(Signal::KILL);
    }
}

/// The next order; never, once nobody is left to give one.
async fn order(orders: &mut watch::Receiver<Option<Instant>>) {
    if orders.changed().await.is_err() {
        std::future::pending().await
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Fault(format!("ended in an unknown way ({status})")),
    }
}
