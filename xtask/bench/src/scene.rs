//! What the load runs against: an echo server by itself, and a daemon with a server for each chain, each an echo server of
//! the same kind.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, ensure};
use fairlead_tests::{Daemon, Home, api_ok, binary};
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::load::Load;

/// Something that can be asked.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// As it stands in the report.
    pub(crate) name: &'static str,
    pub(crate) address: String,
    pub(crate) path: String,
    /// The process between the load and the echo server; none for the echo server itself.
    pub(crate) hop: Option<u32>,
    /// The tool that echoes, by the name that it has there.
    pub(crate) tool: &'static str,
}

/// The tool of the echo server.
pub(crate) const ECHO: &str = "echo";

impl Target {
    /// A load on this target.
    pub(crate) fn load(&self, workers: usize, payload_bytes: usize) -> Load {
        Load { address: self.address.clone(), path: self.path.clone(), tool: self.tool, workers, payload_bytes }
    }
}

/// The echo server over HTTP; ended when dropped.
pub(crate) struct Echo(Served);

/// The hop that everything is compared with; ended when dropped.
pub(crate) struct Floor(Served);

/// One of our own servers: a process that prints its port first.
struct Served {
    port: u16,
    process: Child,
}

impl Echo {
    /// Starts one on a free port.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Ok(Self(Served::start(&["serve-http"]).await?))
    }

    /// One that replies with streams of events.
    pub(crate) async fn start_events() -> anyhow::Result<Self> {
        Ok(Self(Served::start(&["serve-http", "--events"]).await?))
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        self.0.address()
    }

    /// The server itself, without anybody between.
    pub(crate) fn target(&self, name: &'static str) -> Target {
        Target { name, address: self.0.address(), path: "/mcp".to_owned(), hop: None, tool: ECHO }
    }
}

impl Floor {
    /// Its process.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.0.process.id().context("the floor has ended")
    }

    /// Starts it before an echo server.
    pub(crate) async fn start(echo: &Echo) -> anyhow::Result<Self> {
        Ok(Self(Served::start(&["serve-floor", "--to", &echo.0.address()]).await?))
    }

    /// The echo server behind it.
    pub(crate) fn target(&self, name: &'static str) -> Target {
        Target { name, address: self.0.address(), path: "/mcp".to_owned(), hop: self.0.process.id(), tool: ECHO }
    }
}

impl Served {
    async fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let name = || arguments.join(" ");
        let mut process = Command::new(this_program()?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start `{}`", name()))?;
        let stdout = process.stdout.take().with_context(|| format!("take the output of `{}`", name()))?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await.with_context(|| format!("read the port of `{}`", name()))?;
        let port = line.trim().parse().with_context(|| format!("`{}` named no port", name()))?;
        Ok(Self { port, process })
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// A daemon with servers to measure.
pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
    /// Resident memory before the first server, in KiB.
    pub(crate) resident_empty_kib: u64,
}

impl Scene {
    /// Starts a daemon without servers.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let daemon = Daemon::start_in(Home::new()?).await?;
        let resident_empty_kib = crate::process::resident_kib(daemon.pid())?;
        Ok(Self { daemon, resident_empty_kib })
    }

    /// A server that is an echo server over HTTP.
    pub(crate) async fn http(&self, name: &'static str, plugins: Vec<Value>) -> anyhow::Result<Target> {
        self.on_port(name, plugins, &[]).await
    }

    /// One that replies with streams of events.
    pub(crate) async fn http_events(&self, name: &'static str) -> anyhow::Result<Target> {
        self.on_port(name, Vec::new(), &["--events"]).await
    }

    /// A server that is an echo server over stdio, one process per session.
    pub(crate) async fn stdio(&self, name: &'static str, plugins: Vec<Value>) -> anyhow::Result<Target> {
        let source = json!({ "kind": "command", "program": this_program()?, "args": ["serve-stdio"] });
        self.create(name, &json!({ "source": source, "plugins": plugins })).await
    }

    /// One process for all sessions.
    pub(crate) async fn stdio_shared(&self, name: &'static str) -> anyhow::Result<Target> {
        let source = json!({ "kind": "command", "program": this_program()?, "args": ["serve-stdio"] });
        self.create(name, &json!({ "source": source, "isolation": "shared" })).await
    }

    /// A server that runs elsewhere: the daemon starts nothing.
    pub(crate) async fn remote(&self, name: &'static str, echo: &Echo, plugins: Vec<Value>) -> anyhow::Result<Target> {
        let source = json!({ "kind": "remote", "url": format!("http://{}/mcp", echo.0.address()) });
        self.create(name, &json!({ "source": source, "plugins": plugins })).await
    }

    /// The daemon starts it and wants to know its port beforehand.
    async fn on_port(&self, name: &'static str, plugins: Vec<Value>, flags: &[&str]) -> anyhow::Result<Target> {
        let port = free_port()?;
        let port_text = port.to_string();
        let args: Vec<&str> = ["serve-http", "--port", &port_text].into_iter().chain(flags.iter().copied()).collect();
        let spec = json!({
            "source": { "kind": "command", "program": this_program()?, "args": args },
            "transport": { "kind": "streamable-http", "port": port, "path": "/mcp" },
            "plugins": plugins,
        });
        self.create(name, &spec).await
    }

    /// Replaces the chain of a server.
    pub(crate) async fn swap(&self, name: &str, plugins: &[Value]) -> anyhow::Result<()> {
        let path = format!("/workloads/{name}/plugins");
        api_ok(self.daemon.home(), Method::PUT, &path, Some(&json!({ "plugins": plugins }))).await?;
        Ok(())
    }

    async fn create(&self, name: &'static str, spec: &Value) -> anyhow::Result<Target> {
        let body = json!({ "name": name, "spec": spec });
        let created = api_ok(self.daemon.home(), Method::POST, "/workloads", Some(&body)).await?;
        ensure!(created.get("url").is_some(), "the server has no address: {created}");
        Ok(Target {
            name,
            address: self.daemon.address().to_owned(),
            path: format!("/s/{name}/mcp"),
            hop: Some(self.daemon.pid()),
            tool: ECHO,
        })
    }
}

/// A middleware that lets everything go on.
pub(crate) fn noop(name: &str) -> anyhow::Result<Value> {
    fixture("noop", name, &json!({}))
}

/// Three that look at every call and its result; the one in the middle rewrites both.
pub(crate) fn three_hooks() -> anyhow::Result<Vec<Value>> {
    let looks = |name: &str| fixture("noop", name, &json!({ "responses": true }));
    Ok(vec![looks("outer")?, stamp("middle", "1")?, looks("inner")?])
}

/// A middleware that labels request and response in field `name`.
pub(crate) fn stamp(name: &str, label: &str) -> anyhow::Result<Value> {
    fixture("stamp", name, &json!({ "label": label, "field": name }))
}

/// The plugins that come with Fairlead, configured as somebody would: each has something to do for every call.
pub(crate) fn first_party() -> Vec<Value> {
    let grants = json!([{ "name": "kv" }]);
    // Never reached: what is measured is the counting.
    let rate = json!({ "requests": 1_000_000, "per": "1s" });
    vec![
        json!({ "name": "tool-filter", "plugin": "tool-filter", "config": { "deny": ["danger*"] }, "limits": patience() }),
        json!({ "name": "rate-limit", "plugin": "rate-limit", "config": rate, "grants": grants, "limits": patience() }),
        json!({ "name": "redact", "plugin": "redact", "config": {}, "limits": patience() }),
    ]
}

/// Bounds of a hook that a machine reaches only when it is broken. With the default of 50 ms a core that somebody else's
/// compiler holds for a moment is a fault, which is right for a guard and spoils a measurement.
fn patience() -> Value {
    json!({ "cpuMsMax": 5_000, "wallMsMax": 10_000 })
}

fn fixture(plugin: &str, name: &str, config: &Value) -> anyhow::Result<Value> {
    Ok(json!({ "name": name, "plugin": binary::fixture(plugin)?, "config": config, "limits": patience() }))
}

/// Somebody else may take it before it is used; then the run fails and says so.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

pub(crate) fn this_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("own path")
}
