//! Many servers at once: how long they take to come up, what each costs, and how fast questions about them are answered.
//! And fifty containers at the same time, whose start has to be bounded and in order.

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fairlead_tests::engine::{Engine, Starts};
use fairlead_tests::{Client, Daemon, Home, api_ok, binary, eventually};
use http::Method;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::{JoinSet, LocalSet};

use crate::process::resident_kib;
use crate::scene::this_program;
use crate::statistics::quantile;

/// Questions of each kind.
const QUESTIONS: usize = 200;

/// Time for a fleet to serve after the daemon was started.
const ALL_SERVE: Duration = Duration::from_secs(300);

/// Containers that the runtime starts at once (its `LAUNCHES_AT_ONCE_MAX`): what the bound is held to.
const LAUNCHES_AT_ONCE_MAX: usize = 8;

/// Everything that was found out.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) kinds: Vec<Kind>,
    /// None where no engine is.
    pub(crate) containers: Option<Containers>,
}

/// Servers of one kind.
#[derive(Debug, Serialize)]
pub(crate) struct Kind {
    name: &'static str,
    servers: usize,
    /// Until all had answered `initialize`.
    created_ms: f64,
    each_p50_ms: f64,
    each_p99_ms: f64,
    /// From starting a daemon that knows them until all serve.
    restarted_ms: f64,
    /// From starting it until it answers.
    daemon_ready_ms: f64,
    /// What the daemon has more than without them, each with a session.
    daemon_kib_each: f64,
    /// What their own processes have.
    process_kib_each: f64,
    list_p50_ms: f64,
    list_p99_ms: f64,
    status_p50_ms: f64,
    status_p99_ms: f64,
    /// `fairlead list`, the whole command.
    command_list_ms: f64,
}

/// Containers, all at once.
#[derive(Debug, Serialize)]
pub(crate) struct Containers {
    count: usize,
    /// Until all had answered `initialize`.
    created_ms: f64,
    /// The same when a daemon is started that knows them.
    restarted_ms: f64,
    /// Most that were being made and started at the same moment.
    at_once_max: usize,
    /// How far a container was from its place in the order of names, at most, when the daemon brought them back.
    displaced_max: usize,
}

/// Measures with so many servers of each kind, and so many containers.
pub(crate) async fn run(servers: usize, containers: usize) -> anyhow::Result<Figures> {
    let local = LocalSet::new();
    local
        .run_until(async {
            let ports = free_ports(servers)?;
            let program = this_program()?;
            let process = |number: usize| {
                let port = ports.get(number).copied().unwrap_or_default();
                json!({
                    "source": {"kind": "command", "program": program, "args": ["serve-http", "--port", port.to_string()]},
                    "transport": {"kind": "streamable-http", "port": port, "path": "/mcp"},
                })
            };
            let toolbox = binary::plugin("toolbox")?;
            let wasm = |_| json!({"source": {"kind": "wasm", "path": toolbox}});
            let kinds = vec![kind("process", servers, &process).await?, kind("wasm", servers, &wasm).await?];
            Ok(Figures { kinds, containers: many_containers(containers).await? })
        })
        .await
}

async fn kind(name: &'static str, servers: usize, spec: &dyn Fn(usize) -> Value) -> anyhow::Result<Kind> {
    let daemon = Daemon::start_in(Home::new()?).await?;
    let empty_kib = resident_kib(daemon.pid())?;
    let begin = Instant::now();
    let mut each = create_all(&daemon, servers, spec).await?;
    let created_ms = ms(begin.elapsed());
    each.sort_unstable();
    let sessions = serve_all(&daemon, servers).await?;
    let daemon_kib = resident_kib(daemon.pid())?.saturating_sub(empty_kib);
    let processes = fairlead_tests::process::children(daemon.pid());
    let process_kib: u64 = processes.iter().filter_map(|process| resident_kib(*process).ok()).sum();
    let (list, status) = questions(&daemon).await?;
    let begin = Instant::now();
    daemon.cli()?.ok(["list"]).await?;
    let command_list_ms = ms(begin.elapsed());
    drop(sessions);

    let (home, _) = daemon.terminate().await?;
    let begin = Instant::now();
    let daemon = Daemon::start_in(home).await?;
    let daemon_ready_ms = ms(begin.elapsed());
    serve_all(&daemon, servers).await?;
    let restarted_ms = ms(begin.elapsed());
    daemon.terminate().await?;
    let at = |sorted: &[u64], fraction| quantile(sorted, fraction).unwrap_or_default() as f64 / 1e3;
    Ok(Kind {
        name,
        servers,
        created_ms,
        each_p50_ms: at(&each, 0.5),
        each_p99_ms: at(&each, 0.99),
        restarted_ms,
        daemon_ready_ms,
        daemon_kib_each: daemon_kib as f64 / servers as f64,
        process_kib_each: process_kib as f64 / servers as f64,
        list_p50_ms: at(&list, 0.5),
        list_p99_ms: at(&list, 0.99),
        status_p50_ms: at(&status, 0.5),
        status_p99_ms: at(&status, 0.99),
        command_list_ms,
    })
}

/// Creates them, four at once; microseconds of each.
async fn create_all(daemon: &Daemon, servers: usize, spec: &dyn Fn(usize) -> Value) -> anyhow::Result<Vec<u64>> {
    let mut bodies = (0..servers).map(|number| json!({"name": name(number), "spec": spec(number)})).collect::<Vec<_>>();
    bodies.reverse();
    let bodies = std::cell::RefCell::new(bodies);
    let each = std::cell::RefCell::new(Vec::new());
    let worker = async || {
        loop {
            let Some(body) = bodies.borrow_mut().pop() else { return anyhow::Ok(()) };
            let begin = Instant::now();
            api_ok(daemon.home(), Method::POST, "/workloads", Some(&body)).await?;
            each.borrow_mut().push(micros(begin.elapsed()));
        }
    };
    together(worker).await?;
    Ok(each.into_inner())
}

/// A session with each, which stays; an error when one does not answer.
async fn serve_all(daemon: &Daemon, servers: usize) -> anyhow::Result<Vec<Client>> {
    let left = std::cell::Cell::new(servers);
    let sessions = std::cell::RefCell::new(Vec::new());
    let worker = async || {
        loop {
            let Some(number) = left.get().checked_sub(1) else { return anyhow::Ok(()) };
            left.set(number);
            let name = name(number);
            let session = eventually(&name, ALL_SERVE, async || {
                let client = daemon.client(&name).await?;
                ensure!(!client.tools().await?.is_empty());
                Ok(client)
            });
            let session = session.await?;
            sessions.borrow_mut().push(session);
        }
    };
    together(worker).await?;
    Ok(sessions.into_inner())
}

/// Runs the same four times at once: what a script of a user may do.
async fn together<F: AsyncFn() -> anyhow::Result<()>>(worker: F) -> anyhow::Result<()> {
    let (a, b, c, d) = tokio::join!(worker(), worker(), worker(), worker());
    a.and(b).and(c).and(d)
}

/// Times of listing all and of asking for one, sorted, in microseconds.
async fn questions(daemon: &Daemon) -> anyhow::Result<(Vec<u64>, Vec<u64>)> {
    let (mut list, mut status) = (Vec::new(), Vec::new());
    for _ in 0..QUESTIONS {
        for (path, times) in [("/workloads?all=true", &mut list), ("/workloads/server-000", &mut status)] {
            let begin = Instant::now();
            api_ok(daemon.home(), Method::GET, path, None).await?;
            times.push(micros(begin.elapsed()));
        }
    }
    list.sort_unstable();
    status.sort_unstable();
    Ok((list, status))
}

async fn many_containers(count: usize) -> anyhow::Result<Option<Containers>> {
    let daemon = Daemon::start_in(Home::new()?).await?;
    let Some(engine) = Engine::found(&daemon.cli()?, &this_program()?).await? else { return Ok(None) };
    let image = engine.image.clone();
    let spec = |_| {
        json!({
            "source": {"kind": "image", "reference": image, "args": ["serve-stdio"], "pull": "never"},
            "isolation": "shared",
        })
    };
    let begin = Instant::now();
    let daemon = create_at_once(daemon, count, &spec).await?;
    let created_ms = ms(begin.elapsed());
    let (home, _) = daemon.terminate().await?;
    let since = Engine::now()?;
    let begin = Instant::now();
    let daemon = Daemon::start_in(home).await?;
    serve_all(&daemon, count).await?;
    let restarted_ms = ms(begin.elapsed());
    let Starts { at_once_max, displaced_max } = engine.starts(daemon.home(), &since).await?;
    ensure!(at_once_max <= LAUNCHES_AT_ONCE_MAX, "{at_once_max} containers were being started at once");
    daemon.terminate().await?;
    engine.done().await?;
    Ok(Some(Containers { count, created_ms, restarted_ms, at_once_max, displaced_max }))
}

/// All of them at the same moment.
async fn create_at_once(daemon: Daemon, count: usize, spec: &dyn Fn(usize) -> Value) -> anyhow::Result<Daemon> {
    let daemon = Rc::new(daemon);
    let mut creations = JoinSet::new();
    for number in 0..count {
        let (daemon, body) = (Rc::clone(&daemon), json!({"name": name(number), "spec": spec(number)}));
        creations.spawn_local(async move { api_ok(daemon.home(), Method::POST, "/workloads", Some(&body)).await });
    }
    while let Some(created) = creations.join_next().await {
        created.context("a creation broke off")??;
    }
    Rc::into_inner(daemon).context("somebody still creates")
}

impl fmt::Display for Figures {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in &self.kinds {
            writeln!(
                text,
                "{} servers, {}: all up after {:.0} ms (each {:.1} ms, p99 {:.1}); after a restart of the daemon it \
                 answers in {:.0} ms and all serve in {:.0} ms\n  memory each: {:.0} KiB of the daemon with a session, \
                 {:.0} KiB of its own process\n  list {:.2} ms (p99 {:.2}), status {:.2} ms (p99 {:.2}), `fairlead list` {:.0} ms",
                kind.servers,
                kind.name,
                kind.created_ms,
                kind.each_p50_ms,
                kind.each_p99_ms,
                kind.daemon_ready_ms,
                kind.restarted_ms,
                kind.daemon_kib_each,
                kind.process_kib_each,
                kind.list_p50_ms,
                kind.list_p99_ms,
                kind.status_p50_ms,
                kind.status_p99_ms,
                kind.command_list_ms,
            )?;
        }
        match &self.containers {
            None => writeln!(text, "no container engine: no containers"),
            Some(containers) => {
                writeln!(
                    text,
                    "{} containers at once: all up after {:.0} ms, after a restart {:.0} ms; at most {} being started \
                     at once, at most {} places from their order",
                    containers.count,
                    containers.created_ms,
                    containers.restarted_ms,
                    containers.at_once_max,
                    containers.displaced_max,
                )
            }
        }
    }
}

fn name(number: usize) -> String {
    format!("server-{number:03}")
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// All different, because they are held until all are found.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let listeners: Vec<_> =
        (0..count).map(|_| std::net::TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
