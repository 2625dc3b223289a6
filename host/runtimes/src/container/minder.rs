//! One task for each container: it waits for the end, cleans up behind it, and tells everyone who asks.
//!
//! An engine is another program, and may be away for a while: it restarts, or its virtual machine sleeps. A broken
//! connection is therefore no end; the engine is asked again until it answers what became of the container. Only when it
//! stays away is the container given up; what remains of it is removed when the engine is back, or by the next daemon.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerState};
use bollard::query_parameters::{KillContainerOptions, RemoveContainerOptions, WaitContainerOptions};
use fairlead_core::BoxFuture;
use fairlead_core::workload::{Exit, Usage, WorkloadHandle};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::engine::Engine;
use super::error::ContainerError;
use super::found::Live;
use super::porter::Porter;
use super::usage;
use crate::limits::{CONTAINER_KILL_WAIT, ENGINE_AWAY_MAX, ENGINE_POLL_FIRST, ENGINE_POLL_MAX};
use crate::orders::{self, Charge, Owner, due};

/// One container that this runtime made.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) engine: Arc<Engine>,
    pub(super) id: String,
    /// Name of the porter beside it, which goes with it; a porter that is minded is removed by its minder.
    pub(super) porter: Option<String>,
    pub(super) stop_signal: String,
    pub(super) memory_bytes_max: u64,
}

impl Container {
    pub(super) async fn inspect(&self) -> Result<ContainerInspectResponse, ContainerError> {
        self.engine.ask("inspect container", self.engine.docker().inspect_container(&self.id, None)).await
    }

    /// Sends a signal; one that has ended needs none.
    pub(super) async fn signal(&self, signal: &str) {
        let options = KillContainerOptions { signal: signal.to_owned() };
        let sent = self.engine.ask("signal", self.engine.docker().kill_container(&self.id, Some(options))).await;
        match sent {
            Ok(()) | Err(ContainerError::Refused { status: 404 | 409, .. }) => {}
            Err(error) => tracing::warn!(%error, container.id = self.id, signal, "a container cannot be signalled"),
        }
    }

    /// Kills what still runs and removes everything that came with it. False when the engine does not answer.
    pub(super) async fn remove(&self) -> bool {
        let docker = self.engine.docker();
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        let container = self.engine.ask("remove container", docker.remove_container(&self.id, Some(options))).await;
        let porter = match &self.porter {
            Some(porter) => {
                let options = RemoveContainerOptions { v: true, force: true, link: false };
                self.engine.ask("remove porter", docker.remove_container(porter, Some(options))).await
            }
            None => Ok(()),
        };
        [container, porter].into_iter().all(|removed| match removed {
            // 404: not there. 409: somebody removes it already.
            Ok(()) | Err(ContainerError::Refused { status: 404 | 409, .. }) => true,
            Err(error) if error.is_connection() => false,
            Err(error) => {
                tracing::warn!(%error, container.id = self.id, "a container cannot be removed");
                true
            }
        })
    }

    /// Removes it and its porter, however long their engine is away.
    async fn remove_in_the_end(&self, porter: Option<&Porter>) {
        let mut pause = Pause::new();
        while !self.is_removed_with(porter).await {
            pause.take().await;
        }
    }

    async fn is_removed_with(&self, porter: Option<&Porter>) -> bool {
        let removed = self.remove().await;
        let alone = match porter {
            Some(porter) => porter.remove().await,
            None => true,
        };
        removed && alone
    }

    /// Ready when it has ended.
    async fn ended(&self) -> Exit {
        let mut pause = Pause::new();
        let mut away_since = None;
        loop {
            let connected = self.wait().await;
            match self.inspect().await {
                Ok(inspected) => {
                    away_since = None;
                    let state = inspected.state.unwrap_or_default();
                    if !state.running.unwrap_or_default() {
                        return self.exit(&state);
                    }
                    if connected {
                        pause = Pause::new();
                    }
                }
                Err(error) if error.is_connection() => {
                    let away_since = *away_since.get_or_insert_with(Instant::now);
                    if away_since.elapsed() >= ENGINE_AWAY_MAX {
                        return Exit::Fault(format!("was lost: container engine `{}` went away", self.engine.name()));
                    }
                }
                Err(ContainerError::Refused { status: 404, .. }) => {
                    return Exit::Fault("was removed by somebody else".to_owned());
                }
                Err(error) => return Exit::Fault(format!("was lost: {error}")),
            }
            pause.take().await;
        }
    }

    /// Waits until the engine says that it has ended, or the connection breaks. True when it was the engine.
    async fn wait(&self) -> bool {
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut answers = std::pin::pin!(self.engine.docker().wait_container(&self.id, Some(options)));
        matches!(answers.next().await, Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })))
    }

    fn exit(&self, state: &ContainerState) -> Exit {
        let code = state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1);
        if state.oom_killed.unwrap_or_default() && code != 0 {
            return Exit::Fault(format!("ran out of its {} MiB of memory", self.memory_bytes_max / (1024 * 1024)));
        }
        if let Some(error) = state.error.as_deref().filter(|error| !error.is_empty()) {
            return Exit::Fault(super::error::quoted(error));
        }
        match code {
            // A shell's way to tell of a signal, and that of every engine.
            129..=192 => Exit::Signal(code - 128),
            code => Exit::Code(code),
        }
    }
}

/// Pauses that grow.
struct Pause(Duration);

impl Pause {
    fn new() -> Self {
        Self(ENGINE_POLL_FIRST)
    }

    async fn take(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(ENGINE_POLL_MAX);
    }
}

/// A container as its owner holds it. Dropping it is the order to kill it now.
pub(super) struct Minded {
    owner: Owner,
    address: Option<SocketAddr>,
    taken_over: bool,
    engine: Arc<Engine>,
    id: String,
}

impl Minded {
    /// Begins to mind a container that runs, just started or taken over.
    pub(super) fn begin(
        tasks: &TaskTracker,
        container: Container,
        porter: Option<Porter>,
        address: Option<SocketAddr>,
        live: Live,
        taken_over: bool,
    ) -> Self {
        let (owner, mut charge) = orders::pair();
        let (engine, id) = (Arc::clone(&container.engine), container.id.clone());
        tasks.spawn(async move {
            let exit = until_ended(&container, &mut charge).await;
            let removed = container.is_removed_with(porter.as_ref()).await;
            charge.ended(exit);
            if !removed {
                container.remove_in_the_end(porter.as_ref()).await;
            }
            drop((porter, live));
        });
        Self { owner, address, taken_over, engine, id }
    }
}

impl WorkloadHandle for Minded {
    fn wait(&self) -> BoxFuture<'_, Exit> {
        self.owner.wait()
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'_, Exit> {
        self.owner.stop(grace, CONTAINER_KILL_WAIT)
    }

    fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    fn is_taken_over(&self) -> bool {
        self.taken_over
    }

    fn usage(&self) -> BoxFuture<'_, Option<Usage>> {
        Box::pin(usage::of(&self.engine, &self.id))
    }
}

async fn until_ended(container: &Container, charge: &mut Charge) -> Exit {
    let mut ended = std::pin::pin!(container.ended());
    let mut kill_at = None;
    let mut asked = false;
    loop {
        tokio::select! {
            exit = &mut ended => return exit,
            order = charge.order() => {
                // Nobody holds it any more: it is killed by being removed.
                let Some(order) = order else { return orders::given_up() };
                kill_at = Some(order);
                if !std::mem::replace(&mut asked, true) {
                    container.signal(&container.stop_signal).await;
                }
            }
            () = due(kill_at) => {
                kill_at = None;
                container.signal("SIGKILL").await;
            }
        }
    }
}
