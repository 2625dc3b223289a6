//! Every official client, unmodified, over every pair of transports, against the official example server. The table that
//! comes out is the one in the documentation.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use fairlead_tests::packages::{OfficialClient, Packages};
use fairlead_tests::{Daemon, binary};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::official_clients::{check, progress};
use crate::scene::{create, free_port};

/// Where the table stands.
const PAGE: &str = "docs/guides/transports/matrix.md";

/// Clients at the same time: each waits for a second, and starts an interpreter.
const AT_ONCE: usize = 4;

/// How the server is reached: its argument, and the name that it has here.
const UPSTREAMS: [(&str, &str); 3] = [("stdio", "stdio"), ("sse", "HTTP+SSE"), ("streamableHttp", "streamable HTTP")];

/// How a client reaches Fairlead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Downstream {
    StreamableHttp,
    Sse,
    Stdio,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    Sdk(OfficialClient),
    Inspector,
}

impl Downstream {
    const ALL: [Self; 3] = [Self::StreamableHttp, Self::Sse, Self::Stdio];

    const fn name(self) -> &'static str {
        match self {
            Self::StreamableHttp => "streamable HTTP",
            Self::Sse => "HTTP+SSE",
            Self::Stdio => "stdio",
        }
    }
}

impl Asking {
    fn all() -> impl Iterator<Item = Self> {
        OfficialClient::ALL.into_iter().map(Self::Sdk).chain([Self::Inspector])
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Sdk(client) => client.package(),
            Self::Inspector => "Inspector 2.12, command line",
        }
    }

    const fn has(self, downstream: Downstream) -> bool {
        match (self, downstream) {
            (Self::Sdk(client), Downstream::Sse) => client.has_sse(),
            _ => true,
        }
    }
}

/// The daemon with the server in its three forms, and what is installed.
struct Scene {
    packages: Packages,
    daemon: Daemon,
    turns: Semaphore,
}

#[tokio::test]
async fn every_official_client_works_over_every_pair_of_transports() {
    let Some(packages) = Packages::ready().await.unwrap() else { return };
    let daemon = Daemon::start().await.unwrap();
    for (argument, _) in UPSTREAMS {
        create(daemon.home(), &everything(&packages, argument).await.unwrap()).await.unwrap();
    }
    let scene = Arc::new(Scene { packages, daemon, turns: Semaphore::new(AT_ONCE) });
    let mut cells = JoinSet::new();
    for asking in Asking::all() {
        for downstream in Downstream::ALL.into_iter().filter(|downstream| asking.has(*downstream)) {
            for (upstream, _) in UPSTREAMS {
                let scene = Arc::clone(&scene);
                cells.spawn(async move {
                    let outcome = scene.cell(asking, downstream, upstream).await;
                    outcome.with_context(|| format!("{asking:?} over {downstream:?} to {upstream}"))
                });
            }
        }
    }
    let mut failures = Vec::new();
    while let Some(cell) = cells.join_next().await {
        // A failed assertion inside a cell is one more failure; the others still go on.
        match cell {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failures.push(format!("{error:#}")),
            Err(error) => failures.push(error.to_string()),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let table = table();
    println!("{table}");
    told(&table).unwrap();
}

/// server-everything, over one of its transports.
async fn everything(packages: &Packages, argument: &str) -> Result<Value> {
    let source = json!({"kind": "command", "program": packages.program("mcp-server-everything"), "args": [argument]});
    let spec = match argument {
        "stdio" => json!({"source": source}),
        _ => {
            let port = free_port().await?;
            let transport = if argument == "sse" {
                json!({"kind": "sse", "port": port})
            } else {
                json!({"kind": "streamable-http", "port": port})
            };
            json!({"source": source, "transport": transport, "env": {"PORT": port.to_string()}})
        }
    };
    Ok(json!({"name": name(argument), "spec": spec}))
}

/// Name of the server behind Fairlead.
fn name(argument: &str) -> String {
    argument.to_ascii_lowercase()
}

impl Scene {
    /// One client over one pair.
    async fn cell(&self, asking: Asking, downstream: Downstream, upstream: &str) -> Result<()> {
        let _turn = self.turns.acquire().await?;
        let server = name(upstream);
        let url = self.daemon.url(&server);
        let url = if downstream == Downstream::Sse { url.replace("/mcp", "/sse") } else { url };
        let fairlead = binary::fairlead()?;
        let bridge = [fairlead.as_os_str(), "proxy".as_ref(), "stdio".as_ref(), server.as_ref()];
        let home = [("FAIRLEAD_HOME", self.daemon.home().path().as_os_str())];
        let reach: &[&OsStr] = if downstream == Downstream::Stdio { &bridge } else { &[url.as_ref()] };
        match asking {
            Asking::Inspector => self.inspect(reach).await,
            Asking::Sdk(client) => {
                let marker = format!("{client:?} {downstream:?} {upstream}");
                let report = match reach {
                    [url] => self.packages.client(client, &url.to_string_lossy(), &marker).await?,
                    bridge => self.packages.stdio_client(client, bridge, &home, &marker).await?,
                };
                check(client, &marker, &report);
                // Directly as well: a TypeScript client that reads two messages at once forgets the listener of a call with its
                // result, before it has looked at the notification.
                let steps = progress(&report);
                let is_whole = steps == [1.0, 2.0, 3.0, 4.0];
                let is_forgetful = matches!(client, OfficialClient::TypeScript | OfficialClient::TypeScript2)
                    && downstream != Downstream::StreamableHttp;
                ensure!(is_whole || is_forgetful && steps == [1.0, 2.0, 3.0], "progress: {steps:?}");
                Ok(())
            }
        }
    }

    /// A list and a call, each by a process of its own.
    async fn inspect(&self, reach: &[&OsStr]) -> Result<()> {
        // It gives a server its own environment only.
        let home = format!("FAIRLEAD_HOME={}", self.daemon.home().path().display());
        let ask = async |method: &[&str]| {
            let args = reach.iter().copied().chain(["-e", &home].map(OsStr::new)).chain(method.iter().map(OsStr::new));
            self.packages.inspector(args).await
        };
        let listed = ask(&["--method", "tools/list"]).await?;
        let tools = listed.get("tools").and_then(Value::as_array).context("a list of tools")?;
        ensure!(tools.iter().any(|tool| tool["name"] == "echo"), "{listed}");
        let called = ask(&["--method", "tools/call", "--tool-name", "echo", "--tool-arg", "message=inspected"]).await?;
        ensure!(called.pointer("/content/0/text") == Some(&json!("Echo: inspected")), "{called}");
        Ok(())
    }
}

/// The table, when no cell has failed.
fn table() -> String {
    let upstreams = UPSTREAMS.map(|(_, name)| format!("server over {name}")).join(" | ");
    let mut table = format!("| client | reaches Fairlead over | {upstreams} |\n|---|---|---|---|---|\n");
    for asking in Asking::all() {
        for downstream in Downstream::ALL {
            let cell = if asking.has(downstream) { "works" } else { "not in this SDK" };
            let _ = writeln!(table, "| {} | {} | {cell} | {cell} | {cell} |", asking.name(), downstream.name());
        }
    }
    table
}

/// What the documentation says is what was seen. With `FAIRLEAD_BLESS=1` it is written.
fn told(table: &str) -> Result<()> {
    let path = binary::root().join(PAGE);
    let page = std::fs::read_to_string(&path).with_context(|| format!("read {PAGE}"))?;
    let start = page.find("| client |").with_context(|| format!("{PAGE} has no table"))?;
    let (before, rest) = page.split_at(start);
    let length: usize = rest.split_inclusive('\n').take_while(|line| line.starts_with('|')).map(str::len).sum();
    let (stands, after) = rest.split_at(length);
    if std::env::var_os("FAIRLEAD_BLESS").is_some() {
        return std::fs::write(&path, [before, table, after].concat()).context("write the table");
    }
    ensure!(stands == table, "{PAGE} says something else; `FAIRLEAD_BLESS=1` writes what was seen:\n{table}");
    Ok(())
}
