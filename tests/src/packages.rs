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

    /// Runs the official client that speaks stdio to a command, and returns its report.
    ///
    /// # Errors
    /// It fails, or does not end in time.
    pub async fn stdio_client(&self, command: &[&OsStr], env: &[(&str, &OsStr)], marker: &str) -> Result<Value> {
        let mut args = vec![OsStr::new("stdio"), marker.as_ref()];
        args.extend(command);
        self.report(OfficialClient::TypeScript, &args, env).await
    }

    async fn report(&self, client: OfficialClient, args: &[&OsStr], env: &[(&str, &OsStr)]) -> Result<Value> {
        let (program, script) = match client {
            OfficialClient::TypeScript => ("node".into(), "clients/typescript.mjs"),
            OfficialClient::TypeScript2 => ("node".into(), "clients/typescript2.mjs"),
            OfficialClient::Python => (self.python(), "clients/python.py"),
        };
        let mut command = Command::new(program);
        command
            .arg(self.script(script)?)
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let output = tokio::time::timeout(OFFICIAL_CLIENT, command.output())
            .await
            .with_context(|| format!("{client:?} did not end within {OFFICIAL_CLIENT:?}"))?
            .context("start the client")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stdout = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("{client:?}: {}\n{stdout}\n{stderr}", output.status);
        }
        serde_json::from_str(&stdout).with_context(|| format!("{client:?} printed no report: {stdout}\n{stderr}"))
    }
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
}

impl OfficialClient {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::TypeScript, Self::TypeScript2, Self::Python];
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
