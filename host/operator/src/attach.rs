//! The way to a stdio server in a cluster: the standard streams of the one container that it is.
//!
//! There is one process, and it was started by the cluster, not for a session. So there is one connection to it at a time, which all
//! sessions share ([`Upstream::is_sole`]), and it is kept for as long as the process lives. When the container is started anew the
//! connection ends, its sessions are over, and the next one waits for the new process.

use std::sync::Arc;

use fairlead_core::BoxFuture;
use fairlead_core::workload::{Stdin, StdioConnection, Stdout, Unavailable, Upstream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::controller::{OperatorError, connect};
use crate::limits::{ATTACH_BUFFER_BYTES, ATTACH_MAX, ATTACH_POLL, ATTACH_RETRY, ATTACH_ROOM_MAX};

/// Standard streams, and what keeps them open.
pub struct Streams {
    /// To the process.
    pub stdin: Stdin,
    /// From it.
    pub stdout: Stdout,
    /// Dropping it ends the connection; the process lives on.
    pub lease: Box<dyn Send + Sync>,
}

/// Connects to the process of a server. A port of its own, so that what is made of it needs no cluster to be tested.
pub trait Attaching: Send + Sync {
    /// A connection.
    ///
    /// # Errors
    /// Why there is none now, for a client to read.
    fn attach(&self) -> BoxFuture<'_, Result<Streams, String>>;
}

/// A container in a pod.
pub struct Container {
    pods: Api<Pod>,
    pod: String,
    name: String,
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container").field("pod", &self.pod).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Container {
    /// A container of the cluster that this program runs in, or that the kubeconfig names. Nothing is asked yet.
    ///
    /// # Errors
    /// There is no cluster.
    pub async fn find(namespace: &str, pod: String, name: String) -> Result<Self, OperatorError> {
        let connection = connect().await?;
        Ok(Self::of(connection.client, namespace, pod, name))
    }

    /// A container of the cluster that a client leads to.
    #[must_use]
    pub fn of(client: Client, namespace: &str, pod: String, name: String) -> Self {
        Self { pods: Api::namespaced(client, namespace), pod, name }
    }

    async fn connect(&self) -> Result<Streams, String> {
        let pod = self.pods.get_opt(&self.pod).await.map_err(|error| told("look at", &self.pod, &error))?;
        is_running(pod.as_ref(), &self.name)?;
        let wanted = AttachParams {
            container: Some(self.name.clone()),
            stdin: true,
            stdout: true,
            // It goes to the log of the container by itself.
            stderr: false,
            tty: false,
            max_stdin_buf_size: Some(ATTACH_BUFFER_BYTES),
            max_stdout_buf_size: Some(ATTACH_BUFFER_BYTES),
            max_stderr_buf_size: None,
        };
        let attached = self.pods.attach(&self.pod, &wanted).await;
        let mut attached = attached.map_err(|error| told("attach to", &self.pod, &error))?;
        let (Some(stdin), Some(stdout)) = (attached.stdin(), attached.stdout()) else {
            return Err("the cluster gave no streams".to_owned());
        };
        Ok(Streams { stdin: Box::new(stdin), stdout: Box::new(stdout), lease: Box::new(Mutex::new(attached)) })
    }
}

impl Attaching for Container {
    fn attach(&self) -> BoxFuture<'_, Result<Streams, String>> {
        Box::pin(self.connect())
    }
}

/// A client reads that the cluster refuses, and the log of the proxy why.
fn told(doing: &str, pod: &str, error: &kube::Error) -> String {
    tracing::warn!(pod, error = %error, "the cluster does not let us {doing} the pod of the server");
    format!("the cluster does not let us {doing} its pod now")
}

/// Whether the container of a server runs; why not, otherwise.
fn is_running(pod: Option<&Pod>, name: &str) -> Result<(), String> {
    let pod = pod.ok_or("its pod is not there yet")?;
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let container = containers.into_iter().find(|container| container.name == name);
    let state = container.and_then(|container| container.state.as_ref()).ok_or("its pod is being started")?;
    if state.running.is_some() {
        return Ok(());
    }
    let waits = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
    let ended = state.terminated.as_ref().map(|ended| format!("it exited with status {}", ended.exit_code));
    Err(waits
        .map(|reason| format!("its container waits: {reason}"))
        .or(ended)
        .unwrap_or("it is being started".to_owned()))
}

/// A server that is one process.
pub struct OneProcess {
    attaching: Arc<dyn Attaching>,
    room: Arc<Semaphore>,
}

impl std::fmt::Debug for OneProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OneProcess").finish_non_exhaustive()
    }
}

impl OneProcess {
    /// The process that `attaching` leads to.
    #[must_use]
    pub fn new(attaching: Arc<dyn Attaching>) -> Self {
        Self { attaching, room: Arc::new(Semaphore::new(1)) }
    }

    async fn open(&self) -> Result<StdioConnection, Unavailable> {
        // The connection before this one may be about to end.
        let Ok(Ok(room)) = timeout(ATTACH_ROOM_MAX, Arc::clone(&self.room).acquire_owned()).await else {
            return Err(not_ready("its one process is being spoken to in another way".to_owned()));
        };
        let deadline = Instant::now() + ATTACH_MAX;
        loop {
            let late = || Err("the cluster does not answer".to_owned());
            let reason = match timeout_at(deadline, self.attaching.attach()).await.unwrap_or_else(|_| late()) {
                Ok(Streams { stdin, stdout, lease }) => {
                    return Ok(StdioConnection { stdin, stdout, lease: Box::new((lease, room)) });
                }
                Err(reason) => reason,
            };
            if Instant::now() + ATTACH_POLL >= deadline {
                return Err(not_ready(reason));
            }
            sleep(ATTACH_POLL).await;
        }
    }
}

fn not_ready(reason: String) -> Unavailable {
    Unavailable::NotReady { reason, retry_after: ATTACH_RETRY }
}

impl Upstream for OneProcess {
    fn open_stdio(&self) -> BoxFuture<'_, Result<StdioConnection, Unavailable>> {
        Box::pin(self.open())
    }

    fn http_endpoint(&self) -> BoxFuture<'_, Result<String, Unavailable>> {
        Box::pin(async { Err(Unavailable::Failed("it speaks over stdio".to_owned())) })
    }

    fn is_sole(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split};

    use super::*;

    /// Refuses so many times, and then echoes.
    struct Echo {
        refusals: AtomicUsize,
    }

    impl Attaching for Echo {
        fn attach(&self) -> BoxFuture<'_, Result<Streams, String>> {
            Box::pin(async {
                let left = self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                if left.is_ok() {
                    return Err("its pod is being started".to_owned());
                }
                let (near, far) = duplex(64);
                let (mut read, mut write) = split(far);
                let mut tasks = tokio::task::JoinSet::new();
                tasks.spawn(async move { tokio::io::copy(&mut read, &mut write).await });
                let (stdout, stdin) = split(near);
                Ok(Streams { stdin: Box::new(stdin), stdout: Box::new(stdout), lease: Box::new(Mutex::new(tasks)) })
            })
        }
    }

    fn after(refusals: usize) -> OneProcess {
        OneProcess::new(Arc::new(Echo { refusals: AtomicUsize::new(refusals) }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_is_being_started_is_waited_for_and_then_spoken_to() {
        let server = after(3);
        let mut connection = server.open_stdio().await.unwrap();
        connection.stdin.write_all(b"{}\n").await.unwrap();
        let mut line = [0; 3];
        connection.stdout.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"{}\n");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_come_is_said_to_be_starting_and_not_waited_for_without_end() {
        let began = Instant::now();
        let refused = after(usize::MAX).open_stdio().await.unwrap_err();
        assert!(
            matches!(&refused, Unavailable::NotReady { reason, .. } if reason == "its pod is being started"),
            "{refused}"
        );
        assert!(began.elapsed() <= ATTACH_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_one_connection_at_a_time_and_another_when_it_has_ended() {
        let server = after(0);
        let first = server.open_stdio().await.unwrap();
        assert!(matches!(server.open_stdio().await, Err(Unavailable::NotReady { .. })));
        drop(first);
        assert!(server.open_stdio().await.is_ok());
    }

    #[test]
    fn a_container_runs_or_says_why_not() {
        let said = |state: Value| {
            let status =
                json!({"name": "mcp", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
            let pod: Pod = serde_json::from_value(json!({"status": {"containerStatuses": [status]}})).unwrap();
            is_running(Some(&pod), "mcp")
        };
        assert_eq!(said(json!({"running": {}})), Ok(()));
        let waits = said(json!({"waiting": {"reason": "ImagePullBackOff"}}));
        assert_eq!(waits, Err("its container waits: ImagePullBackOff".to_owned()));
        assert_eq!(said(json!({"terminated": {"exitCode": 3}})), Err("it exited with status 3".to_owned()));
        assert_eq!(is_running(None, "mcp"), Err("its pod is not there yet".to_owned()));
        assert!(is_running(Some(&Pod::default()), "mcp").is_err());
    }
}
