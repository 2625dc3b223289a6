//! What the tests with a real engine stand on: the engine, an image, a way to start it, and a relay that can be cut.
//!
//! Without an engine these tests say so and pass; where `CI=true` they fail instead, because a test that is always skipped
//! tests nothing.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::BuildImageOptionsBuilder;
use fairlead_core::image::{ImageReference, ImageSource, PullPolicy};
use fairlead_core::name::{ServerKey, TenantName};
use fairlead_core::oci::{Credential, CredentialError, RegistryError, Resolved};
use fairlead_core::workload::{Exit, Stdin, Stdout, WorkloadHandle};
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::super::*;

/// Far more than anything here needs; a test that hits it has found something.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// Ends the test where something is missing that it needs; where `CI=true` it must not be missing.
pub(super) fn skipped<T>(why: &str) -> Option<T> {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must have what this test needs: {why}");
    eprintln!("skipped: {why}");
    None
}

/// A runtime on the engine of this machine, and the image on it.
pub(super) struct Bench {
    pub(super) runtime: ContainerRuntime,
    pub(super) engine: Arc<Engine>,
    pub(super) home: String,
    pub(super) events: Arc<Events>,
    pub(super) seen: Arc<SeenBy>,
    image: String,
}

/// The tenant of the machine shows the same to every registry, all others nothing.
struct LoggedIn(Credential);

impl CredentialSource for LoggedIn {
    fn find<'a>(&'a self, tenant: &'a TenantName, _: &'a str) -> BoxFuture<'a, Result<Credential, CredentialError>> {
        let is_owner = *tenant == TenantName::default();
        Box::pin(async move { Ok(if is_owner { self.0.clone() } else { Credential::Anonymous }) })
    }
}

/// Registries as one tenant sees them, which is the only one that may.
pub(super) struct SeenBy(pub(super) &'static str, pub(super) AtomicUsize);

impl DigestResolver for SeenBy {
    fn resolve<'a>(
        &'a self,
        tenant: &'a TenantName,
        reference: &'a ImageReference,
    ) -> BoxFuture<'a, Result<Resolved, RegistryError>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let denied = RegistryError::Denied { registry: reference.registry().to_owned(), reason: "no".to_owned() };
        let seen = Resolved { digest: String::new(), media_type: String::new(), size: None };
        let may = tenant.as_str() == self.0;
        Box::pin(async move { if may { Ok(seen) } else { Err(denied) } })
    }
}

#[derive(Default)]
pub(super) struct Events(Mutex<Vec<ContainerEvent>>);

impl Events {
    pub(super) fn taken(&self) -> Vec<ContainerEvent> {
        std::mem::take(&mut self.0.lock())
    }
}

impl ContainerObserver for Events {
    fn observe(&self, _server: &ServerKey, event: ContainerEvent) {
        self.0.lock().push(event);
    }
}

impl Bench {
    pub(super) async fn new() -> Option<Self> {
        Self::on(Surroundings::of_this_process()).await
    }

    /// On the first engine that these surroundings lead to.
    pub(super) async fn on(surroundings: Surroundings) -> Option<Self> {
        Self::logged_in(surroundings, Credential::Anonymous).await
    }

    /// The same, with something to show to registries.
    pub(super) async fn logged_in(surroundings: Surroundings, credential: Credential) -> Option<Self> {
        let engines = Arc::new(Engines::new(surroundings));
        let engine = match engines.find(None).await {
            Ok(engine) => engine,
            Err(error) => return skipped(&error.to_string()),
        };
        let image = image(&engine).await?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let home = format!("test-{:x}", u64::from_ne_bytes(random));
        let events = Arc::new(Events::default());
        let seen = Arc::new(SeenBy("friend", AtomicUsize::new(0)));
        let runtime = Self::runtime_seen_by(&seen, &engines, &home, &events, credential);
        Some(Self { runtime, engine, home, events, seen, image })
    }

    fn runtime(engines: &Arc<Engines>, home: &str, events: &Arc<Events>, credential: Credential) -> ContainerRuntime {
        let nobody = Arc::new(SeenBy("nobody", AtomicUsize::new(0)));
        Self::runtime_seen_by(&nobody, engines, home, events, credential)
    }

    fn runtime_seen_by(
        seen: &Arc<SeenBy>,
        engines: &Arc<Engines>,
        home: &str,
        events: &Arc<Events>,
        credential: Credential,
    ) -> ContainerRuntime {
        ContainerRuntime::new(ContainerRuntimeConfig {
            engines: Arc::clone(engines),
            home: home.to_owned(),
            shut: vec![std::env::temp_dir().join("fairlead-shut")],
            ignore: None,
            doors: std::env::temp_dir().join("fairlead-doors"),
            build: BuildSettings::usual().unwrap(),
            credentials: Arc::new(LoggedIn(credential)),
            resolver: Arc::clone(seen) as Arc<dyn DigestResolver>,
            verifier: None,
            verification: ImageVerification::Warn,
            observer: Arc::clone(events) as Arc<dyn ContainerObserver>,
        })
    }

    /// Another daemon on the same engines.
    pub(super) fn another(&self, home: &str) -> ContainerRuntime {
        Self::runtime(self.runtime.engines(), home, &self.events, Credential::Anonymous)
    }

    pub(super) fn source(&self, args: &[&str]) -> ImageSource {
        let mut source = ImageSource::new(ImageReference::new(&self.image).unwrap());
        source.args = args.iter().map(|&arg| arg.to_owned()).collect();
        source.pull = PullPolicy::Never;
        source
    }

    pub(super) async fn start(&self, args: &[&str]) -> Started {
        self.start_launch(&launch(self.source(args))).await
    }

    pub(super) async fn start_launch(&self, launch: &Launch) -> Started {
        Started::from(soon(self.runtime.launch(launch)).await.unwrap())
    }

    /// Identity of what a daemon of this home had launched when it was killed: it runs, and its tasks are gone without a word.
    pub(super) async fn left_by_a_killed_daemon(&self, launch: &Launch) -> String {
        let (home, events, launch) = (self.home.clone(), Arc::clone(&self.events), launch.clone());
        let daemon = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let work = daemon.spawn(async move {
            let engines = Arc::new(Engines::new(Surroundings::of_this_process()));
            let launched =
                Self::runtime(&engines, &home, &events, Credential::Anonymous).launch(&launch).await.unwrap();
            let mut started = Started::from(launched);
            assert_eq!(started.line().await, "listening\n");
            // Dropped, it would be the order to end.
            std::mem::forget(started.handle);
            started.id
        });
        let id = soon(work).await.unwrap();
        daemon.shutdown_background();
        id
    }

    /// The end of a test: nothing stays behind.
    pub(super) async fn done(self) {
        soon(self.runtime.settled()).await;
        assert_eq!(self.left().await, []);
    }

    /// What is left on the engine of this test.
    pub(super) async fn left(&self) -> Vec<Found> {
        self.runtime.found().await
    }

    pub(super) async fn inspect(&self, started: &Started) -> ContainerInspectResponse {
        self.engine.docker().inspect_container(started.container(), None).await.unwrap()
    }

    /// Lines of what a container says of itself.
    pub(super) async fn look(&self, source: ImageSource, what: &[&str]) -> Vec<String> {
        let mut source = source;
        source.args = ["look"].iter().chain(what).map(|&arg| arg.to_owned()).collect();
        let (exit, text) = self.start_launch(&launch(source)).await.finished().await;
        assert_eq!(exit, Exit::Code(0), "{text}");
        text.lines().map(str::to_owned).collect()
    }
}

pub(super) fn launch(source: ImageSource) -> Launch {
    Launch {
        server: serde_json::from_str(r#"{"tenant":"default","name":"fixture"}"#).unwrap(),
        source: Source::Image(Box::new(source)),
        env: [("TOKEN".to_owned(), "secret-value".to_owned().into())].into(),
        port: None,
        mark: None,
    }
}

pub(super) struct Started {
    pub(super) id: String,
    pub(super) stdin: Option<Stdin>,
    pub(super) stdout: BufReader<Stdout>,
    pub(super) stderr: BufReader<Stdout>,
    pub(super) handle: Box<dyn WorkloadHandle>,
}

impl From<Workload> for Started {
    fn from(workload: Workload) -> Self {
        Self {
            // Of a process beside others in a container there is none.
            id: workload.id.unwrap_or_default(),
            stdin: Some(workload.stdin),
            stdout: BufReader::new(workload.stdout),
            stderr: BufReader::new(workload.stderr),
            handle: workload.handle,
        }
    }
}

impl Started {
    pub(super) fn container(&self) -> &str {
        self.id.split(' ').nth(1).unwrap()
    }

    pub(super) async fn line(&mut self) -> String {
        let mut line = String::new();
        soon(self.stdout.read_line(&mut line)).await.unwrap();
        line
    }

    /// How it ended, and everything that it wrote to stdout until then.
    pub(super) async fn finished(mut self) -> (Exit, String) {
        let mut text = String::new();
        soon(self.stdout.read_to_string(&mut text)).await.unwrap();
        (soon(self.handle.wait()).await, text)
    }
}

/// The image of the fixture, made once on each engine for each of its versions.
async fn image(engine: &Engine) -> Option<String> {
    static BUILT: tokio::sync::Mutex<BTreeMap<String, Option<String>>> = tokio::sync::Mutex::const_new(BTreeMap::new());
    let mut built = BUILT.lock().await;
    if let Some(known) = built.get(&engine.address()) {
        return known.clone();
    }
    let image = build(engine).await;
    built.insert(engine.address(), image.clone());
    image
}

async fn build(engine: &Engine) -> Option<String> {
    if !cfg!(target_os = "linux") {
        return skipped("the program of the test image is built for Linux");
    }
    let mut hasher = DefaultHasher::new();
    include_str!("fixture.rs").hash(&mut hasher);
    let name = format!("fairlead-fixture:{:016x}", hasher.finish());
    if engine.docker().inspect_image(&name).await.is_ok() {
        return Some(name);
    }
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("fixture");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/container/tests/fixture.rs");
    let compiled = Command::new("rustc")
        .args(["--edition=2024", "-Copt-level=1", "-Cstrip=symbols", "-Ctarget-feature=+crt-static", "-o"])
        .args([&program, &source])
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let recipe = "FROM scratch\nCOPY fixture /fixture\nUSER 1000:1000\nVOLUME /data\nENTRYPOINT [\"/fixture\"]\n";
    build_image(engine, &name, recipe, directory.path()).await;
    Some(name)
}

/// Builds an image of what is in a directory.
pub(super) async fn build_image(engine: &Engine, name: &str, recipe: &str, directory: &Path) {
    std::fs::write(directory.join("Dockerfile"), recipe).unwrap();
    let tar = Command::new("tar").arg("-C").arg(directory).args(["-cf", "-", "."]).output().unwrap();
    assert!(tar.status.success());
    let options = BuildImageOptionsBuilder::default().t(name).build();
    let body = bollard::body_full(tar.stdout.into());
    let mut messages = std::pin::pin!(engine.docker().build_image(options, None, Some(body)));
    while let Some(message) = futures_util::StreamExt::next(&mut messages).await {
        message.unwrap();
    }
}

/// Stands between the runtime and the engine, and can be cut.
pub(super) struct Relay {
    pub(super) socket: PathBuf,
    behind: PathBuf,
    connections: JoinSet<io::Result<()>>,
    _directory: tempfile::TempDir,
}

impl Relay {
    pub(super) fn new(behind: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("engine.sock");
        let mut relay = Self { socket, behind: behind.to_owned(), connections: JoinSet::new(), _directory: directory };
        relay.open();
        relay
    }

    pub(super) fn open(&mut self) {
        let listener = UnixListener::bind(&self.socket).unwrap();
        let behind = self.behind.clone();
        self.connections.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await?;
                let mut far = UnixStream::connect(&behind).await?;
                connections.spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
            }
        });
    }

    /// As if the engine had died: every connection breaks, and none is taken any more.
    pub(super) async fn cut(&mut self) {
        self.connections.shutdown().await;
        std::fs::remove_file(&self.socket).unwrap();
    }

    /// Surroundings in which the relay is the only engine.
    pub(super) fn surroundings(&self) -> Surroundings {
        let address = format!("unix://{}", self.socket.display());
        Surroundings::below(Path::new("/"), &[("FAIRLEAD_CONTAINER_ENGINE", &address)])
    }
}
