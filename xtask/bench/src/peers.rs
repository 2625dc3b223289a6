//! Other proxies, as far as the package registries have them and this machine can build them. Each stands before the same kind
//! of echo server as ours, in the same rounds. One that gives a wrong answer or none is told with its words and asked no more.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::process::{Child, Command};

use crate::load::Load;
use crate::message::{self, Reply};
use crate::scene::{ECHO, Echo, Target, free_port, this_program};
use crate::session::Session;

/// Longest wait for a peer to give its first answer: one runs on an interpreter that starts slowly.
const READY_MAX: Duration = Duration::from_secs(30);

/// Longest installation: one is compiled with its Kubernetes client.
const INSTALL_MAX: Duration = Duration::from_secs(30 * 60);

/// How one is installed and started.
struct Recipe {
    name: &'static str,
    /// Shell lines that install it into the current directory; nothing to do when `program` is there.
    install: &'static str,
    program: &'static str,
    start: fn(&Path, &Path, u16, &str) -> anyhow::Result<Command>,
    path: &'static str,
    tool: &'static str,
}

const RECIPES: [Recipe; 5] = [
    Recipe {
        name: "mcp-proxy-rust",
        install: "cargo install --quiet --locked --root cargo mcp-proxy@0.6.0",
        program: "cargo/bin/mcp-proxy",
        start: |program, directory, port, echo| {
            let backend = format!("name = \"echo\"\ntransport = \"http\"\nurl = \"http://{echo}/mcp\"\n");
            rust(program, directory, "http.toml", port, &backend)
        },
        path: "/",
        tool: "echo/echo",
    },
    Recipe {
        name: "mcp-proxy-rust-stdio",
        install: "cargo install --quiet --locked --root cargo mcp-proxy@0.6.0",
        program: "cargo/bin/mcp-proxy",
        start: |program, directory, port, _| {
            let this = this_program()?;
            let backend = format!(
                "name = \"echo\"\ntransport = \"stdio\"\ncommand = \"{}\"\nargs = [\"serve-stdio\"]\n",
                this.display()
            );
            rust(program, directory, "stdio.toml", port, &backend)
        },
        path: "/",
        tool: "echo/echo",
    },
    Recipe {
        name: "supergateway-stdio",
        install: "npm install --silent --no-audit --no-fund --prefix npm supergateway@4.0.0",
        program: "npm/node_modules/.bin/supergateway",
        start: |program, _, port, _| {
            let mut command = Command::new(program);
            let server = format!("{} serve-stdio", this_program()?.display());
            command.args([
                "--outputTransport",
                "streamableHttp",
                "--stateful",
                "--logLevel",
                "none",
                "--stdio",
                &server,
            ]);
            command.args(["--port", &port.to_string()]);
            Ok(command)
        },
        path: "/mcp",
        tool: ECHO,
    },
    Recipe {
        name: "mcp-proxy-python-stdio",
        install: "python3 -m venv venv && venv/bin/pip install --quiet --disable-pip-version-check mcp-proxy==0.13.0",
        program: "venv/bin/mcp-proxy",
        start: |program, _, port, _| {
            let mut command = Command::new(program);
            command.args(["--log-level", "ERROR", "--port", &port.to_string(), "--"]);
            command.arg(this_program()?).arg("serve-stdio");
            Ok(command)
        },
        path: "/mcp",
        tool: ECHO,
    },
    Recipe {
        name: "toolhive",
        // The newest that the Go of today's distributions builds; it must not fetch another Go by itself.
        install: "GOBIN=\"$PWD/go\" GOTOOLCHAIN=local go install github.com/stacklok/toolhive/cmd/thv@v0.47.0",
        program: "go/thv",
        start: |program, directory, port, echo| {
            let mut command = Command::new(program);
            // Its own files, not those of whoever measures.
            command.env("HOME", directory).env("XDG_CONFIG_HOME", directory.join("config"));
            command.args(["proxy", "echo", "--host", "127.0.0.1", "--port", &port.to_string()]);
            command.args(["--target-uri", &format!("http://{echo}")]);
            Ok(command)
        },
        path: "/mcp",
        tool: ECHO,
    },
];

fn rust(program: &Path, directory: &Path, file: &str, port: u16, backend: &str) -> anyhow::Result<Command> {
    let path = directory.join(file);
    let listen = format!(
        "[proxy]\nname = \"bench\"\nseparator = \"/\"\n\n[proxy.listen]\nhost = \"127.0.0.1\"\nport = {port}\n"
    );
    std::fs::write(&path, format!("{listen}\n[[backends]]\n{backend}"))
        .with_context(|| format!("write {}", path.display()))?;
    let mut command = Command::new(program);
    command.arg("--config").arg(path);
    Ok(command)
}

/// Those that run; ended when dropped.
pub(crate) struct Peers {
    running: Vec<(Target, Child)>,
}

impl Peers {
    /// None.
    pub(crate) fn none() -> Self {
        Self { running: Vec::new() }
    }

    /// Installs and starts what can be; each that cannot is told on standard error.
    pub(crate) async fn start(directory: &Path, echo: &Echo) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        let directory = directory.canonicalize().context("the directory of the peers")?;
        let mut running = Vec::new();
        for recipe in &RECIPES {
            match recipe.start(&directory, echo).await {
                Ok(peer) => running.push(peer),
                Err(error) => eprintln!("skipped: {}: {error:#}", recipe.name),
            }
        }
        Ok(Self { running })
    }

    /// Each as a target.
    pub(crate) fn targets(&self) -> impl Iterator<Item = Target> + '_ {
        self.running.iter().map(|(target, _)| target.clone())
    }
}

impl Recipe {
    async fn start(&self, directory: &Path, echo: &Echo) -> anyhow::Result<(Target, Child)> {
        let program = directory.join(self.program);
        if !program.exists() {
            eprintln!("installing {}", self.name);
            let mut shell = Command::new("sh");
            shell.args(["-ec", self.install]).current_dir(directory).stdin(Stdio::null()).kill_on_drop(true);
            let done =
                tokio::time::timeout(INSTALL_MAX, shell.output()).await.context("it takes too long to install")?;
            let done = done.context("start sh")?;
            ensure!(done.status.success(), "it does not install: {}", String::from_utf8_lossy(&done.stderr).trim());
        }
        let port = free_port()?;
        let mut command = (self.start)(&program, directory, port, &echo.address())?;
        let log = directory.join(format!("{}.log", self.name));
        let output = std::fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).kill_on_drop(true);
        let mut process = command.spawn().with_context(|| format!("start {command:?}"))?;
        let target = Target {
            name: self.name,
            address: format!("127.0.0.1:{port}"),
            path: self.path.to_owned(),
            hop: process.id(),
            tool: self.tool,
        };
        let load = target.load(1, 100);
        let deadline = tokio::time::Instant::now() + READY_MAX;
        loop {
            let Err(error) = answers(&load).await else { return Ok((target, process)) };
            if let Ok(Some(status)) = process.try_wait() {
                bail!("it ended with {status}, see {}", log.display());
            }
            ensure!(tokio::time::Instant::now() < deadline, "it does not answer: {error:#}; see {}", log.display());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn answers(load: &Load) -> anyhow::Result<()> {
    let mut session = Session::open(load).await?;
    let (_, body) = session.post(message::call(session.tool(), 1, "ready")).await?;
    Reply::check(&body, 1, "ready").map_err(anyhow::Error::msg)?;
    session.close().await
}
