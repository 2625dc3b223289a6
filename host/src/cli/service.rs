//! `fairlead service`: the daemon as a service of its user, so that servers are there after a reboot.
//!
//! A unit of the user, not of the machine: servers run with the rights and the files of the one who wants them. The service
//! is described by one file that the platform's own tools read; whoever removes that file has removed the service.

mod description;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use http::Method;
use serde::Serialize;
use tokio::process::Command as Program;
use tokio::time::timeout;

use super::output::Format;
use super::{Context, Failure};
use crate::client::Client;
use crate::durable;
use crate::limits::SERVICE_TOOL_MAX;
use description::Description;

/// What is done with the service.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub(crate) enum Command {
    /// Start the daemon now and with every boot
    Install,
    /// End that; servers and their state stay
    Uninstall,
    /// Show whether the service is installed and runs
    Status,
}

/// What there is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    manager: &'static str,
    installed: bool,
    active: bool,
    /// Whether it starts with the machine, or only when its user logs in; `null` where that cannot be found out.
    starts_at_boot: Option<bool>,
    file: String,
}

/// Does it.
///
/// # Errors
/// The platform has no such services, or its tool says no.
pub(crate) async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    let manager = Manager::of_this_platform()?;
    match command {
        Command::Install => install(&manager, context).await,
        Command::Uninstall => uninstall(&manager, context).await,
        Command::Status => status(&manager, context).await,
    }
}

/// Whoever looks after services here.
struct Manager {
    kind: Kind,
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Systemd,
    Launchd,
}

impl Manager {
    fn of_this_platform() -> Result<Self, Failure> {
        let home =
            etcetera::home_dir().map_err(|_| Failure::new("there is no home directory to put a service into"))?;
        Ok(if cfg!(target_os = "macos") {
            Self {
                kind: Kind::Launchd,
                file: home.join("Library/LaunchAgents").join(format!("{}.plist", description::LABEL)),
            }
        } else {
            let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            let config = config.unwrap_or_else(|| home.join(".config"));
            Self { kind: Kind::Systemd, file: config.join("systemd/user").join(description::UNIT) }
        })
    }

    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Systemd => "systemd",
            Kind::Launchd => "launchd",
        }
    }

    /// Whether the platform's tool answers: without it a file would be written that nobody reads.
    async fn is_there(&self) -> Result<(), Failure> {
        let asked = match self.kind {
            Kind::Systemd => tool(&["systemctl", "--user", "show-environment"]).await,
            Kind::Launchd => tool(&["launchctl", "managername"]).await,
        };
        asked.map(drop).map_err(|reason| {
            Failure::new(format!("{} does not look after services of this user: {reason}", self.name())).hint(
                "start the daemon with what looks after services here: `fairlead serve`; in a container, as its command",
            )
        })
    }

    async fn start(&self) -> Result<(), Failure> {
        match self.kind {
            Kind::Systemd => {
                must(&["systemctl", "--user", "daemon-reload"]).await?;
                must(&["systemctl", "--user", "enable", description::UNIT]).await?;
                must(&["systemctl", "--user", "restart", description::UNIT]).await
            }
            Kind::Launchd => {
                let file = self.file.display().to_string();
                // One that is there already is replaced.
                let _ = tool(&["launchctl", "bootout", &domain_target()]).await;
                must(&["launchctl", "bootstrap", &domain(), &file]).await
            }
        }
    }

    async fn stop(&self) -> Result<(), Failure> {
        match self.kind {
            Kind::Systemd => must(&["systemctl", "--user", "disable", "--now", description::UNIT]).await,
            Kind::Launchd => must(&["launchctl", "bootout", &domain_target()]).await,
        }
    }

    async fn is_active(&self) -> bool {
        let asked = match self.kind {
            Kind::Systemd => tool(&["systemctl", "--user", "is-active", description::UNIT]).await,
            Kind::Launchd => tool(&["launchctl", "print", &domain_target()]).await,
        };
        asked.is_ok()
    }

    /// A user's systemd ends with the last login unless the user lingers.
    async fn starts_at_boot(&self) -> Option<bool> {
        match self.kind {
            Kind::Systemd => {
                let user = rustix::process::getuid().as_raw().to_string();
                let said = tool(&["loginctl", "show-user", &user, "--property=Linger", "--value"]).await.ok()?;
                Some(said.trim() == "yes")
            }
            Kind::Launchd => Some(false),
        }
    }
}

async fn install(manager: &Manager, context: &Context) -> Result<(), Failure> {
    manager.is_there().await?;
    let settings = &context.settings;
    let program = std::env::current_exe()?;
    let path = std::env::var("PATH").unwrap_or_default();
    let description = Description {
        program: &program,
        home: settings.home.as_deref(),
        config: settings.config.as_deref(),
        path: &path,
        log: &settings.directories.daemon_log(),
    };
    let text = match manager.kind {
        Kind::Systemd => description.unit(),
        Kind::Launchd => description.plist(),
    };
    write(&manager.file, &text)?;
    // One that was started by hand would keep the service from coming up; its servers come back with the next.
    let daemon = Client::new(&settings.directories.socket());
    if !manager.is_active().await && daemon.info().await.is_ok() {
        context.output.note("the daemon that runs is ended; the service starts another with the same servers");
        daemon.finish(Method::POST, "/api/v1beta/shutdown").await?;
        wait_until_gone(&daemon).await?;
    }
    manager.start().await?;
    if manager.kind == Kind::Systemd && manager.starts_at_boot().await == Some(false) {
        let user = rustix::process::getuid().as_raw().to_string();
        if tool(&["loginctl", "enable-linger", &user]).await.is_err() {
            context.output.note("it starts when you log in; `loginctl enable-linger` makes it start with the machine");
        }
    }
    match context.output.format {
        Format::Json => context.output.json(&look(manager).await),
        Format::Text => context.output.line(&format!("the service is installed: {}", manager.file.display())),
    }
}

async fn uninstall(manager: &Manager, context: &Context) -> Result<(), Failure> {
    if !manager.file.exists() {
        return Err(Failure::new("the service is not installed").hint("`fairlead shutdown` ends a daemon without one"));
    }
    manager.is_there().await?;
    manager.stop().await?;
    std::fs::remove_file(&manager.file)
        .map_err(|error| Failure::new(format!("remove `{}`: {error}", manager.file.display())))?;
    if manager.kind == Kind::Systemd {
        must(&["systemctl", "--user", "daemon-reload"]).await?;
    }
    match context.output.format {
        Format::Json => context.output.json(&look(manager).await),
        Format::Text => context.output.line("the service is removed"),
    }
}

async fn status(manager: &Manager, context: &Context) -> Result<(), Failure> {
    let status = look(manager).await;
    if context.output.format == Format::Json {
        return context.output.json(&status);
    }
    let state = match (status.installed, status.active) {
        (false, _) => "not installed; `fairlead service install` does that",
        (true, true) => "installed, and runs",
        (true, false) => "installed, and does not run",
    };
    context.output.line(&format!("{state} ({}, {})", status.manager, status.file))
}

async fn look(manager: &Manager) -> Status {
    let installed = manager.file.exists();
    Status {
        manager: manager.name(),
        installed,
        active: installed && manager.is_active().await,
        starts_at_boot: if installed { manager.starts_at_boot().await } else { None },
        file: manager.file.display().to_string(),
    }
}

async fn wait_until_gone(daemon: &Client) -> Result<(), Failure> {
    let gone = async {
        while daemon.info().await.is_ok() {
            tokio::time::sleep(crate::limits::POLL_INTERVAL).await;
        }
    };
    let waited = timeout(crate::limits::DAEMON_STOP_MAX, gone).await;
    waited.map_err(|_| Failure::new("the daemon that runs does not end").hint("end it with `fairlead shutdown`"))
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    let written = std::fs::create_dir_all(directory).and_then(|()| durable::replace(file, text.as_bytes(), 0o644));
    written.map_err(|error| Failure::new(format!("write `{}`: {error}", file.display())))
}

async fn must(command: &[&str]) -> Result<(), Failure> {
    tool(command).await.map(drop).map_err(Failure::new)
}

/// Runs a tool of the platform and gives what it printed.
async fn tool(command: &[&str]) -> Result<String, String> {
    let [program, args @ ..] = command else { return Err("there is no command".to_owned()) };
    let mut child = Program::new(program);
    child.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let line = command.join(" ");
    match timeout(SERVICE_TOOL_MAX, child.output()).await {
        Err(_) => Err(format!("`{line}` did not end within {} s", SERVICE_TOOL_MAX.as_secs())),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(format!("there is no `{program}`")),
        Ok(Err(error)) => Err(format!("`{line}`: {error}")),
        Ok(Ok(output)) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or_default();
            Err(format!("`{line}` ended with {}: {said}", output.status))
        }
    }
}

fn domain() -> String {
    format!("gui/{}", rustix::process::getuid().as_raw())
}

fn domain_target() -> String {
    format!("{}/{}", domain(), description::LABEL)
}
