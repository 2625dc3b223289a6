//! One task for each container: it waits for the end, cleans up behind it, and tells everyone who asks.
//!
//! An engine is another program, and may be away for a while: it restarts, or its virtual machine sleeps. A broken
//! connection is therefore no end; the engine is asked again until it answers what became of the container. Only when it
//! stays away is the container given up; what remains of it is removed when the engine is back, or by the next daemon.

use std::iter;
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
use crate::limits::{CONTAINER_KILL_WAIT, CONTAINER_REMOVAL_MAX, ENGINE_AWAY_MAX, ENGINE_POLL_FIRST, ENGINE_POLL_MAX};
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
        self.signal_to(&self.id, signal).await;
    }

    async fn signal_to(&self, id: &str, signal: &str) {
        let options = KillContainerOptions { signal: signal.to_owned() };
        let sent = self.engine.ask("signal", self.engine.docker().kill_container(id, Some(options))).await;
        match sent {
            Ok(()) | Err(ContainerError::Refused { status: 404 | 409, .. }) => {}
            Err(error) => tracing::warn!(%error, container.id = id, signal, "a container cannot be signalled"),
        }
    }

    /// Kills what still runs and removes everything that came with it. False when the engine does not answer.
    pub(super) async fn remove(&self) -> bool {
        let mut answered = true;
        // Podman removes no container while there is one that shares its network.
        for id in self.porter.iter().chain(iter::once(&self.id)) {
            answered &= self.remove_within(id, CONTAINER_REMOVAL_MAX).await;
        }
        answered
    }

    /// Removes one container and waits until it is not there. What cannot be removed is told, and left to the next daemon. False
    /// when the engine does not answer.
    async fn remove_within(&self, id: &str, limit: Duration) -> bool {
        let give_up_at = Instant::now() + limit;
        let mut pause = Pause::new();
        loop {
            let options = RemoveContainerOptions { v: true, force: true, link: false };
            let removed = self.engine.docker().remove_container(id, Some(options));
            match self.engine.ask("remove container", removed).await {
                Ok(()) | Err(ContainerError::Refused { status: 404, .. }) => return true,
                // Somebody removes it already, so that it is there still; or it runs, which keeps Podman from removing it.
                Err(ContainerError::Refused { status: 409, message, .. }) if Instant::now() < give_up_at => {
                    if !is_being_removed(&message) {
                        self.signal_to(id, "SIGKILL").await;
                    }
                }
                Err(error) if error.is_connection() => return false,
                Err(error) => {
                    tracing::warn!(%error, container.id = id, "a container cannot be removed");
                    return true;
                }
            }
            pause.take().await;
        }
    }

    /// Removes it and its porter, however long their engine is away.
    async fn remove_in_the_end(&self, porter: Option<&Porter>) {
        let mut pause = Pause::new();
        while !self.is_removed_with(porter).await {
            pause.take().await;
        }
    }

    async fn is_removed_with(&self, porter: Option<&Porter>) -> bool {
        let alone = match porter {
            Some(porter) => porter.remove().await,
            None => true,
        };
        self.remove().await && alone
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

/// Whether an engine that refuses to remove a container says that it is at it.
fn is_being_removed(message: &str) -> bool {
    ["in progress", "being removed"].iter().any(|words| message.contains(words))
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use parking_lot::Mutex;
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::{UnixListener, UnixStream};
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    /// An engine that answers requests to remove as it is told, the last answer again and again, and writes down what it is asked.
    struct Scripted {
        container: Container,
        asked: Arc<Mutex<Vec<String>>>,
        _directory: tempfile::TempDir,
        _connections: JoinSet<()>,
    }

    type Answers = Arc<Mutex<VecDeque<(u16, &'static str)>>>;

    impl Scripted {
        async fn with(answers: &[(u16, &'static str)]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let socket = directory.path().join("engine.sock");
            let listener = UnixListener::bind(&socket).unwrap();
            let (answers, asked) = (Arc::new(Mutex::new(answers.iter().copied().collect())), Arc::default());
            let mut accepting = JoinSet::new();
            let (to_give, noted) = (Arc::clone(&answers), Arc::clone(&asked));
            accepting.spawn(async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(answer(stream, Arc::clone(&to_give), Arc::clone(&noted)));
                }
            });
            let engine = Arc::new(Engine::connect("scripted", &socket).await.unwrap());
            let container = Container {
                engine,
                id: "c".to_owned(),
                porter: None,
                stop_signal: "SIGTERM".to_owned(),
                memory_bytes_max: 0,
            };
            asked.lock().clear();
            Self { container, asked, _directory: directory, _connections: accepting }
        }

        /// Methods and paths.
        fn asked(&self) -> Vec<String> {
            self.asked.lock().clone()
        }
    }

    async fn answer(stream: UnixStream, answers: Answers, asked: Arc<Mutex<Vec<String>>>) {
        let mut stream = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if stream.read_line(&mut head).await.unwrap_or_default() == 0 {
                    return;
                }
            }
            let method = head.split(' ').next().unwrap_or_default().to_owned();
            let (status, said) = match &*method {
                "DELETE" => {
                    let mut answers = answers.lock();
                    if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0] }
                }
                "POST" => (204, ""),
                _ => (200, "{}"),
            };
            let line = head.split_once(" HTTP/").map(|(line, _)| line.replace("?v=true&force=true&link=false", ""));
            asked.lock().extend(line);
            let body = if status == 204 { String::new() } else { format!(r#"{{"message":"{said}"}}"#) };
            let answer = format!(
                "HTTP/1.1 {status} S\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len(),
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_somebody_removes_already_is_waited_for_until_it_is_gone() {
        let busy = (409, "removal of container c is already in progress");
        let engine = Scripted::with(&[busy, busy, busy, (404, "no such container")]).await;
        assert!(engine.container.remove().await);
        assert_eq!(engine.asked(), ["DELETE /containers/c"; 4]);
    }

    #[tokio::test]
    async fn what_runs_and_is_therefore_not_removed_is_killed_and_removed_again() {
        let runs = (409, "cannot remove container c as it is running");
        let engine = Scripted::with(&[runs, (204, "")]).await;
        assert!(engine.container.remove().await);
        let kill = "POST /containers/c/kill?signal=SIGKILL";
        assert_eq!(engine.asked(), ["DELETE /containers/c", kill, "DELETE /containers/c"]);
    }

    #[tokio::test]
    async fn a_porter_goes_before_the_container_whose_network_it_shares() {
        let mut engine = Scripted::with(&[(204, "")]).await;
        engine.container.porter = Some("c-porter".to_owned());
        assert!(engine.container.remove().await);
        assert_eq!(engine.asked(), ["DELETE /containers/c-porter", "DELETE /containers/c"]);
    }

    #[tokio::test]
    async fn a_removal_without_end_is_given_up() {
        let engine = Scripted::with(&[(409, "removal of container c is already in progress")]).await;
        let began = Instant::now();
        let removal = engine.container.remove_within("c", Duration::from_millis(200));
        assert!(timeout(Duration::from_secs(10), removal).await.unwrap());
        assert!((200..10_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    }
}
