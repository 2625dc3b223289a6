//! MCP servers that are components: programs of the world `wasi:cli/command`, run in this process.
//!
//! A program gets its standard streams, its arguments and the environment it was given, and nothing else: no files, no
//! network. It runs as a task that hands its thread back at every tick, so that it is as fair as it is easy to end: dropping
//! its store ends it wherever it is. It is no plugin: it has an engine without a pool, because sessions are many and each
//! lives long.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use fairlead_core::BoxFuture;
use fairlead_core::server::Source;
use fairlead_core::workload::{Exit, Launch, LaunchError, Usage, Workload, WorkloadHandle, WorkloadRuntime};
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wasmtime::Store;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::artifact::Digest;
use crate::audit;
use crate::bounds::{self, Bounds, Time};
use crate::fault;
use crate::host::PluginHost;
use crate::limits::{PLUGINS_REMEMBERED, WORKLOAD_HANDLES_MAX, WORKLOAD_MEMORY_BYTES_MAX, WORKLOAD_PIPE_BYTES};
use crate::pipe::pipe;
use crate::plugin::{self, LoadError, LoadErrorKind};

/// Starts components that export `wasi:cli/run`.
pub struct WasmWorkloads {
    host: Arc<PluginHost>,
    programs: Programs,
    tasks: TaskTracker,
}

/// Programs that somebody runs now, so that sessions of one server share one compiled component.
type Programs = Mutex<Vec<(Digest, Weak<Program>)>>;

/// A program, linked.
struct Program(CommandPre<Process>);

/// Data of the store of a running program.
struct Process {
    bounds: Bounds,
    table: ResourceTable,
    wasi: WasiCtx,
}

impl WasiView for Process {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasmWorkloads {
    /// Runs programs in the engine of `host`.
    #[must_use]
    pub fn new(host: Arc<PluginHost>) -> Self {
        Self { host, programs: Programs::default(), tasks: TaskTracker::new() }
    }

    async fn program(&self, path: &std::path::Path) -> Result<Arc<Program>, LoadErrorKind> {
        let (bytes, digest) = plugin::read(path).await?;
        if let Some(program) = self.known(&digest) {
            return Ok(program);
        }
        audit::command(&bytes)?;
        let engine = &self.host.engines().workloads;
        let compiled = self.host.compiled(engine, &digest, bytes).await?;
        let link = |error: wasmtime::Error| LoadErrorKind::Link(format!("{error:#}"));
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(link)?;
        let pre = linker.instantiate_pre(&compiled.component).and_then(CommandPre::new).map_err(link)?;
        let program = Arc::new(Program(pre));
        let mut programs = self.programs.lock();
        programs.retain(|(_, known)| known.strong_count() > 0);
        programs.truncate(PLUGINS_REMEMBERED);
        programs.push((digest, Arc::downgrade(&program)));
        Ok(program)
    }

    fn known(&self, digest: &Digest) -> Option<Arc<Program>> {
        self.programs.lock().iter().find(|(known, _)| known == digest).and_then(|(_, program)| program.upgrade())
    }

    fn start(&self, program: Arc<Program>, args: &[String], launch: &Launch, name: &str) -> Workload {
        let (stdin, of_guest) = pipe(WORKLOAD_PIPE_BYTES);
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdin(of_guest).arg(name).args(args);
        let (of_guest, stdout) = pipe(WORKLOAD_PIPE_BYTES);
        wasi.stdout(of_guest);
        let (of_guest, stderr) = pipe(WORKLOAD_PIPE_BYTES);
        wasi.stderr(of_guest).allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        for (key, value) in &launch.env {
            wasi.env(key, value);
        }
        let mut bounds = Bounds::new(Duration::ZERO, Duration::ZERO, WORKLOAD_MEMORY_BYTES_MAX);
        bounds.time = Time::unlimited();
        let meter = Arc::new(Meter::default());
        bounds.memory.show(Arc::clone(&meter.memory_bytes));
        let process = Process { bounds, table: bounds::handles(WORKLOAD_HANDLES_MAX), wasi: wasi.build() };

        let (ended, exit) = watch::channel(None);
        let kill = CancellationToken::new();
        let killed = kill.clone();
        let (host, metered) = (Arc::clone(&self.host), Arc::clone(&meter));
        self.tasks.spawn(async move {
            let running = host.engines().ticker.during(metered.during(run(&host, &program, process)));
            let exit = tokio::select! {
                exit = running => exit,
                () = killed.cancelled() => Exit::Signal(KILLED),
            };
            // The store is gone by now, and with it the guest's ends of the pipes.
            ended.send_replace(Some(exit));
        });
        Workload {
            id: None,
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            handle: Box::new(Handle { exit, kill, meter }),
        }
    }
}

/// What ending a program by force is called, as for any other: SIGKILL.
const KILLED: i32 = 9;

async fn run(host: &PluginHost, program: &Program, process: Process) -> Exit {
    let mut store = Store::new(&host.engines().workloads, process);
    Bounds::enforce(&mut store, |process: &mut Process| &mut process.bounds);
    let ended = async {
        let command = program.0.instantiate_async(&mut store).await?;
        command.wasi_cli_run().call_run(&mut store).await
    };
    match ended.await {
        Ok(Ok(())) => Exit::Code(0),
        Ok(Err(())) => Exit::Code(1),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => Exit::Code(exit.0),
            None => Exit::Fault(fault::of(&error, &mut store.data_mut().bounds).to_string()),
        },
    }
}

impl WorkloadRuntime for WasmWorkloads {
    fn name(&self) -> &'static str {
        "wasm"
    }

    fn supports(&self, source: &Source) -> bool {
        matches!(source, Source::Wasm { .. })
    }

    fn launch<'a>(&'a self, launch: &'a Launch) -> BoxFuture<'a, Result<Workload, LaunchError>> {
        Box::pin(async move {
            let Source::Wasm { path, args } = &launch.source else {
                return Err(LaunchError::Unsupported("only components are run here".to_owned()));
            };
            let program = self.program(path).await.map_err(|reason| refused(path, reason))?;
            let name = path.file_stem().map(|name| name.to_string_lossy()).unwrap_or_default();
            Ok(self.start(program, args, launch, &name))
        })
    }

    /// A component lives in the daemon and dies with it.
    fn end_leftover<'a>(&'a self, _: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async { false })
    }
}

fn refused(path: &std::path::Path, reason: LoadErrorKind) -> LaunchError {
    let what = path.display().to_string();
    match reason {
        LoadErrorKind::Read(error) if error.kind() == std::io::ErrorKind::NotFound => {
            LaunchError::NotFound { what, hint: "give the path of a component that exports `wasi:cli/run`".to_owned() }
        }
        reason => {
            let source = LoadError { path: path.to_path_buf(), reason };
            LaunchError::Start { what, source: Box::new(source) }
        }
    }
}

/// What a program has used, counted by the host: it is no process that the system would count.
#[derive(Default)]
struct Meter {
    cpu_nanos: AtomicU64,
    memory_bytes: Arc<AtomicUsize>,
}

impl Meter {
    /// Counts the time of the thread for as long as the program has it, which is while its task is polled.
    async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|context| {
            let began = thread_nanos();
            let polled = work.as_mut().poll(context);
            self.cpu_nanos.fetch_add(thread_nanos().saturating_sub(began), Ordering::Relaxed);
            polled
        })
        .await
    }
}

/// Computing time of this thread.
fn thread_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (secs, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    secs.unwrap_or_default().saturating_mul(1_000_000_000).saturating_add(nanos.unwrap_or_default())
}

/// A running program.
struct Handle {
    exit: watch::Receiver<Option<Exit>>,
    kill: CancellationToken,
    meter: Arc<Meter>,
}

impl Handle {
    async fn ended(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or(Exit::Signal(KILLED)),
            // The task was dropped with its runtime.
            Err(_) => Exit::Signal(KILLED),
        }
    }
}

impl WorkloadHandle for Handle {
    fn wait(&self) -> BoxFuture<'_, Exit> {
        Box::pin(self.ended())
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'_, Exit> {
        Box::pin(async move {
            match timeout(grace, self.ended()).await {
                Ok(exit) => exit,
                Err(_) => {
                    self.kill.cancel();
                    self.ended().await
                }
            }
        })
    }

    fn usage(&self) -> BoxFuture<'_, Option<Usage>> {
        Box::pin(async {
            let running = self.exit.borrow().is_none();
            running.then(|| Usage {
                cpu_nanos: self.meter.cpu_nanos.load(Ordering::Relaxed),
                memory_bytes: self.meter.memory_bytes.load(Ordering::Relaxed) as u64,
                processes: 0,
            })
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.kill.cancel();
    }
}
