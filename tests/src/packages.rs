//! Official servers, clients and the conformance suite, installed once by `tests/packages/prepare.sh`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::binary::{root, target};
use crate::limits::{INSTALL, OFFICIAL_CLIENT};

/// Status of `prepare.sh` on a machine that lacks node or Python.
const LACKING: i32 = 3;

/// What is installed.
#[derive(Debug, Clone)]
pub struct Packages {
    directory: PathBuf,
}

impl Packages {
    /// Installs what is not there yet. `None`, with the reason on standard error, on a machine that lacks node or Python;
    /// in CI that is an error instead.
    ///
    /// # Errors
    /// The installation fails.
    pub async fn ready() -> Result<Option<Self>> {
        static PREPARED: OnceCell<Result<(), String>> = OnceCell::const_new();
        let prepared = PREPARED.get_or_init(async || prepare().await.map_err(|error| format!("{error:#}"))).await;
        match prepared {
            Ok(()) => Ok(Some(Self { directory: target().join("test-packages") })),
            Err(reason) if reason.starts_with("skipped") && std::env::var_os("CI").is_none() => {
                // Not `eprintln!`: libtest would keep it for failures, and a skipped test has to say so.
                let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{reason}\n").as_bytes());
                Ok(None)
            }
            Err(reason) => bail!("{reason}"),
        }
    }

    /// Where `node_modules` is; `npx` finds the installed packages from here, without a registry.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The program of an installed npm package.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join("node_modules/.bin").join(name)
    }

    /// A node that is new enough for everything installed: the one from npm if there is one for this machine.
    #[must_use]
    pub fn node(&self) -> PathBuf {
        let installed = self.program("node");
        if installed.exists() { installed } else { PathBuf::from("node") }
    }

    /// Python with the official SDK.
    #[must_use]
    pub fn python(&self) -> PathBuf {
        self.directory.join("venv/bin/python")
    }

    /// A script of `tests/packages`, put where node finds the installed packages beside it (node looks beside the real
    /// path of a module, and nowhere else).
    ///
    /// # Errors
    /// It cannot be copied.
    pub fn script(&self, name: &str) -> Result<PathBuf> {
        static COPIED: OnceLock<Result<(), String>> = OnceLock::new();
        let copied = COPIED.get_or_init(|| {
            ["clients", "servers"].into_iter().try_for_each(|directory| {
                copy(&root().join("tests/packages").join(directory), &self.directory.join(directory))
                    .map_err(|error| format!("{error:#}"))
            })
        });
        copied.clone().map_err(anyhow::Error::msg)?;
        Ok(self.directory.join(name))
    }

    /// Runs an official client against an endpoint and returns its report. The marker is in every answer that it gives.
    ///
    /// # Errors
    /// It fails, or does not end in time.
    pub async fn client(&self, client: OfficialClient, url: &str, marker: &str) -> Result<Value> {
        self.report(client, &[url.as_ref(), marker.as_ref()], &[]).await
    }

    /// Lets an official client in a language of scripts list the tools of an endpoint and call one, and returns its report.
    ///
    /// # Errors
    /// It fails, or does not end in time; the Rust client asks nothing but what it was built for.
    pub async fn ask(&self, client: OfficialClient, url: &str, tool: &str, arguments: &Value) -> Result<Value> {
        let (program, script) = match client {
            OfficialClient::TypeScript | OfficialClient::TypeScript2 => ("node".into(), "clients/ask.mjs"),
            OfficialClient::Python => (self.python(), "clients/ask.py"),
            OfficialClient::Rust => bail!("the official client in Rust is no script"),
        };
        let mut command = Command::new(program);
        command.arg(self.script(script)?);
        match client {
            OfficialClient::TypeScript => drop(command.arg("1")),
            OfficialClient::TypeScript2 => drop(command.arg("2")),
            OfficialClient::Python | OfficialClient::Rust => {}
        }
        command.args([url, tool]).arg(arguments.to_string());
        printed(&format!("{client:?}"), command).await
    }

    /// Runs an official client that speaks stdio to a command, and returns its report.
    ///
    /// # Errors
    /// It fails, or does not end in time.
    pub async fn stdio_client(
        &self,
        client: OfficialClient,
        command: &[&OsStr],
        env: &[(&str, &OsStr)],
        marker: &str,
    ) -> Result<Value> {
        let mut args = vec![OsStr::new("stdio"), marker.as_ref()];
        args.extend(command);
        self.report(client, &args, env).await
    }

    /// Runs Inspector's command line, which does one thing and prints its result.
    ///
    /// # Errors
    /// It fails, or does not end in time.
    pub async fn inspector<'a>(&self, args: impl IntoIterator<Item = &'a OsStr>) -> Result<Value> {
        let mut command = Command::new(self.node());
        command.arg(self.program("mcp-inspector")).arg("--cli").args(args);
        printed("Inspector", command).await
    }

    async fn report(&self, client: OfficialClient, args: &[&OsStr], env: &[(&str, &OsStr)]) -> Result<Value> {
        let (program, script) = match client {
            OfficialClient::TypeScript => ("node".into(), Some("clients/typescript.mjs")),
            OfficialClient::TypeScript2 => ("node".into(), Some("clients/typescript2.mjs")),
            OfficialClient::Python => (self.python(), Some("clients/python.py")),
            OfficialClient::Rust => (self.directory.join("rust/debug/official-rust-client"), None),
        };
        let mut command = Command::new(program);
        if let Some(script) = script {
            command.arg(self.script(script)?);
        }
        command.args(args).envs(env.iter().copied());
        printed(&format!("{client:?}"), command).await
    }
}

/// The JSON that a client prints before it ends well.
async fn printed(name: &str, mut command: Command) -> Result<Value> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(OFFICIAL_CLIENT, command.output())
        .await
        .with_context(|| format!("{name} did not end within {OFFICIAL_CLIENT:?}"))?
        .with_context(|| format!("start {name}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("{name}: {}\n{stdout}\n{stderr}", output.status);
    }
    serde_json::from_str(&stdout).with_context(|| format!("{name} printed no report: {stdout}\n{stderr}"))
}

/// The official clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfficialClient {
    /// `@modelcontextprotocol/sdk`, the first line of the TypeScript SDK.
    TypeScript,
    /// `@modelcontextprotocol/client`, its second.
    TypeScript2,
    /// `mcp`, in its default mode: it asks for the newest revision first.
    Python,
    /// `rmcp`, in the mode that asks for the newest revision first.
    Rust,
}

impl OfficialClient {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::TypeScript, Self::TypeScript2, Self::Python, Self::Rust];

    /// Its package and version, as somebody would name it.
    #[must_use]
    pub const fn package(self) -> &'static str {
        match self {
            Self::TypeScript => "TypeScript, `@modelcontextprotocol/sdk` 1.32",
            Self::TypeScript2 => "TypeScript, `@modelcontextprotocol/client` 2.4",
            Self::Python => "Python, `mcp` 2.3",
            Self::Rust => "Rust, `rmcp` 3.9",
        }
    }

    /// Whether it has the transport of revision 2024-11-05.
    #[must_use]
    pub const fn has_sse(self) -> bool {
        !matches!(self, Self::Rust)
    }
}

/// Copies a flat directory. Each file appears at once and whole: other test processes may run the one that is there.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).context("create the directory of scripts")?;
    for entry in std::fs::read_dir(from).with_context(|| format!("list `{}`", from.display()))? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        let place = to.join(entry.file_name());
        let beside = place.with_extension(format!("copy-{}", std::process::id()));
        std::fs::copy(entry.path(), &beside).context("copy a script")?;
        std::fs::rename(&beside, &place).context("put a script in place")?;
    }
    Ok(())
}

async fn prepare() -> Result<()> {
    let mut command = Command::new(root().join("tests/packages/prepare.sh"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(INSTALL, command.output())
        .await
        .with_context(|| format!("the test packages were not installed within {INSTALL:?}"))?
        .context("start prepare.sh")?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => Ok(()),
        Some(LACKING) => bail!("skipped: official MCP packages are needed, and {}", said.trim()),
        _ => bail!("prepare.sh: {}\n{said}", output.status),
    }
}
