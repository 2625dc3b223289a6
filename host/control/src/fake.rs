//! Stand-ins for the ports, for tests: processes that the test plays, a store in memory, a log that can be read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fairlead_core::BoxFuture;
use fairlead_core::clock::Clock;
use fairlead_core::logs::{LogLine, LogSink, LogSource};
use fairlead_core::name::{ServerKey, TenantName};
use fairlead_core::secret::{SecretError, SecretReference, SecretValue, Secrets};
use fairlead_core::server::{ServerSpec, Source};
use fairlead_core::store::{Leftover, ServerRecord, Store, StoreError};
use fairlead_core::workload::{Exit, Launch, LaunchError, Workload, WorkloadHandle, WorkloadRuntime};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::supervisor::{Ports, SupervisorConfig};

pub(crate) fn key() -> ServerKey {
    serde_json::from_str(r#"{"tenant":"default","name":"a"}"#).unwrap()
}

pub(crate) fn spec(transport: &str) -> ServerSpec {
    let spec = format!(r#"{{"source":{{"kind":"command","program":"a"}},"transport":{transport}}}"#);
    serde_json::from_str(&spec).unwrap()
}

pub(crate) fn stdio() -> ServerSpec {
    spec(r#"{"kind":"stdio"}"#)
}

/// All of them together.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) runtime: Arc<FakeRuntime>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) logs: Arc<MemoryLog>,
    pub(crate) secrets: Arc<FakeSecrets>,
}

impl World {
    pub(crate) fn config(&self, spec: ServerSpec) -> SupervisorConfig {
        let ports = Ports {
            runtime: Arc::clone(&self.runtime) as _,
            store: Arc::clone(&self.store) as _,
            clock: Arc::new(Epoch),
            logs: Arc::clone(&self.logs) as _,
            secrets: Arc::clone(&self.secrets) as _,
        };
        SupervisorConfig::new(key(), spec, ports)
    }
}

/// Knows one secret at most.
#[derive(Default)]
pub(crate) struct FakeSecrets {
    pub(crate) value: Mutex<Option<&'static str>>,
}

impl Secrets for FakeSecrets {
    fn resolve<'a>(
        &'a self,
        _: &'a TenantName,
        reference: &'a SecretReference,
    ) -> BoxFuture<'a, Result<SecretValue, SecretError>> {
        let value = self.value.lock().map(|value| SecretValue::new(value.as_bytes()));
        Box::pin(async { value.ok_or_else(|| SecretError::Absent(reference.clone())) })
    }
}

/// It is always 1970.
pub(crate) struct Epoch;

impl Clock for Epoch {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

// === impl FakeRuntime ===

/// Starts processes that the test plays.
#[derive(Default)]
pub(crate) struct FakeRuntime {
    /// Launched, and not yet taken by the test.
    started: Mutex<VecDeque<FakeProcess>>,
    launches: watch::Sender<usize>,
    refusals: Mutex<VecDeque<LaunchError>>,
    /// While set, a launch takes until it is notified.
    pub(crate) held_up: Mutex<Option<Arc<Notify>>>,
    pub(crate) ended_leftovers: Mutex<Vec<String>>,
}

impl FakeRuntime {
    pub(crate) fn refuse(&self, error: LaunchError) {
        self.refusals.lock().push_back(error);
    }

    pub(crate) fn launches(&self) -> usize {
        *self.launches.borrow()
    }

    /// The next process that was launched; waits for it.
    pub(crate) async fn next(&self) -> FakeProcess {
        let mut launches = self.launches.subscribe();
        loop {
            if let Some(process) = self.started.lock().pop_front() {
                return process;
            }
            timeout(Duration::from_secs(3_600), launches.changed()).await.expect("a launch").unwrap();
        }
    }

    async fn start(&self, launch: Launch) -> Result<Workload, LaunchError> {
        let held_up = self.held_up.lock().clone();
        if let Some(held_up) = held_up {
            held_up.notified().await;
        }
        if let Some(error) = self.refusals.lock().pop_front() {
            return Err(error);
        }
        let (stdin, reads) = duplex(1024);
        let (stdout, writes) = duplex(1024);
        let (stderr, complains) = duplex(1024);
        let control = Arc::new(Control::default());
        let number = self.launches() + 1;
        let pipes = Some((writes, complains));
        let process = FakeProcess { launch, stdin: reads, pipes, control: Arc::clone(&control) };
        self.started.lock().push_back(process);
        self.launches.send_replace(number);
        Ok(Workload {
            id: Some(format!("fake {number}")),
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            handle: Box::new(FakeHandle(control)),
        })
    }
}

impl WorkloadRuntime for FakeRuntime {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn supports(&self, _source: &Source) -> bool {
        true
    }

    fn launch<'a>(&'a self, launch: &'a Launch) -> BoxFuture<'a, Result<Workload, LaunchError>> {
        Box::pin(self.start(launch.clone()))
    }

    fn end_leftover<'a>(&'a self, id: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            self.ended_leftovers.lock().push(id.to_owned());
            true
        })
    }

    /// What is called `port …` goes on without the daemon.
    fn can_be_taken_over<'a>(&'a self, id: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move { id.starts_with("port ") })
    }
}

// === impl FakeProcess ===

/// A process, from its own side.
pub(crate) struct FakeProcess {
    /// What it was started with.
    pub(crate) launch: Launch,
    pub(crate) stdin: DuplexStream,
    /// Standard output and error; gone when it has ended.
    pipes: Option<(DuplexStream, DuplexStream)>,
    control: Arc<Control>,
}

#[derive(Default)]
struct Control {
    exit: watch::Sender<Option<Exit>>,
    asked: watch::Sender<bool>,
    killed: AtomicBool,
}

impl FakeProcess {
    pub(crate) async fn say(&mut self, text: &str) {
        self.pipes.as_mut().unwrap().0.write_all(text.as_bytes()).await.unwrap();
    }

    pub(crate) async fn complain(&mut self, text: &str) {
        self.pipes.as_mut().unwrap().1.write_all(text.as_bytes()).await.unwrap();
    }

    /// Ends with this exit.
    pub(crate) fn end(&mut self, exit: Exit) {
        self.pipes = None;
        self.control.exit.send_replace(Some(exit));
    }

    /// Waits until its stdin is closed.
    pub(crate) async fn stdin_closed(&mut self) {
        self.stdin.read_to_end(&mut Vec::new()).await.unwrap();
    }

    /// Waits until it is asked to end.
    pub(crate) async fn asked(&self) {
        self.control.asked.subscribe().wait_for(|asked| *asked).await.unwrap();
    }

    /// Ends as a server should when its stdin is closed.
    pub(crate) async fn behave(mut self) {
        self.stdin_closed().await;
        self.end(Exit::Code(0));
    }

    /// Whether its handle was dropped while it ran.
    pub(crate) fn was_killed(&self) -> bool {
        self.control.killed.load(Ordering::Acquire)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.control.exit.borrow().is_some()
    }
}

struct FakeHandle(Arc<Control>);

impl WorkloadHandle for FakeHandle {
    fn wait(&self) -> BoxFuture<'_, Exit> {
        let mut exit = self.0.exit.subscribe();
        Box::pin(async move { exit.wait_for(Option::is_some).await.unwrap().clone().unwrap() })
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'_, Exit> {
        self.0.asked.send_replace(true);
        Box::pin(async move {
            if let Ok(exit) = timeout(grace, self.wait()).await {
                return exit;
            }
            self.0.exit.send_replace(Some(Exit::Signal(9)));
            Exit::Signal(9)
        })
    }
}

impl Drop for FakeHandle {
    fn drop(&mut self) {
        if self.0.exit.borrow().is_none() {
            self.0.killed.store(true, Ordering::Release);
            self.0.exit.send_replace(Some(Exit::Signal(9)));
        }
    }
}

// === impl MemoryStore ===

/// Remembers leftovers; fails when told to.
#[derive(Default)]
pub(crate) struct MemoryStore {
    pub(crate) servers: Mutex<Vec<ServerRecord>>,
    pub(crate) leftovers: Mutex<Vec<Leftover>>,
    pub(crate) broken: AtomicBool,
}

impl MemoryStore {
    pub(crate) fn names(&self) -> Vec<String> {
        self.leftovers.lock().iter().map(|leftover| leftover.workload.clone()).collect()
    }

    fn access<T>(&self, access: impl FnOnce(&mut Vec<Leftover>) -> T) -> Result<T, StoreError> {
        if self.broken.load(Ordering::Acquire) {
            return Err(StoreError::Io { operation: "write", source: "disk full".into() });
        }
        Ok(access(&mut self.leftovers.lock()))
    }
}

impl Store for MemoryStore {
    fn servers(&self) -> BoxFuture<'_, Result<Vec<ServerRecord>, StoreError>> {
        Box::pin(async { Ok(self.servers.lock().clone()) })
    }

    fn put_server<'a>(&'a self, _record: &'a ServerRecord) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn remove_server<'a>(&'a self, _key: &'a ServerKey) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn put_leftover<'a>(&'a self, leftover: &'a Leftover) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.access(|all| all.push(leftover.clone())) })
    }

    fn remove_leftover<'a>(&'a self, leftover: &'a Leftover) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.access(|all| all.retain(|one| one != leftover)) })
    }

    fn leftovers(&self) -> BoxFuture<'_, Result<Vec<Leftover>, StoreError>> {
        Box::pin(async { self.access(|all| all.clone()) })
    }
}

// === impl MemoryLog ===

/// Keeps what it is told.
#[derive(Default)]
pub(crate) struct MemoryLog(Mutex<Vec<(LogSource, u64, String)>>);

impl MemoryLog {
    pub(crate) fn lines(&self, source: &LogSource) -> Vec<(u64, String)> {
        let of_source =
            |(from, workload, text): &(LogSource, u64, String)| (from == source).then(|| (*workload, text.clone()));
        self.0.lock().iter().filter_map(of_source).collect()
    }
}

impl LogSink for MemoryLog {
    fn write(&self, line: LogLine<'_>) {
        assert_eq!(line.server, &key());
        self.0.lock().push((line.source.clone(), line.workload, line.text.to_owned()));
    }
}
