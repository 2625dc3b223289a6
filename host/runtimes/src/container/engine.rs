//! One container engine that answered: its connection, and what it said about itself.
//!
//! Every request has a deadline and fails in our words. Requests go without an API version, which means the engine's own:
//! so one client serves Docker 20 and Podman 5, as long as it uses nothing that only one of them knows.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bollard::models::{SystemInfo, SystemVersion};
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use serde::Serialize;
use tokio::time::timeout;

use super::error::ContainerError;
use crate::limits::{ENGINE_FACTS_TIMEOUT, ENGINE_PING_TIMEOUT, ENGINE_REQUEST_TIMEOUT};

/// What Podman is called in [`Facts::product`].
pub(super) const PODMAN: &str = "Podman";

/// A container engine.
#[derive(Debug)]
pub struct Engine {
    name: String,
    socket: PathBuf,
    facts: Facts,
    docker: Docker,
    /// It has no init program to put in front of a server.
    without_init: AtomicBool,
}

/// What an engine said about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// `Docker` or `Podman`.
    pub product: String,
    /// Its version.
    pub version: String,
    /// Whether it runs without root, so that a container that breaks out is still only the user.
    pub rootless: bool,
    /// Whether a Unix socket that a container makes in a shared directory is one of this machine, and of our user. Not so in
    /// a virtual machine, nor rootless.
    pub shares_sockets: bool,
    /// Processors.
    pub processors: u32,
    /// Protections of ours that it does not enforce: `memory`, `processors`, `processes`, `seccomp`.
    pub unenforced: Vec<String>,
}

impl Engine {
    /// Connects, and asks who is there.
    pub(super) async fn connect(name: &str, socket: &Path) -> Result<Self, ContainerError> {
        let path = socket.to_str().unwrap_or_default();
        let connected = Docker::connect_with_unix(path, ENGINE_REQUEST_TIMEOUT.as_secs(), API_DEFAULT_VERSION);
        let docker = connected.map_err(|error| ContainerError::of_engine(name, "connect", error))?;
        let docker = docker.with_request_modifier(with_url_safe_credentials);
        within(name, "ping", ENGINE_PING_TIMEOUT, docker.ping()).await?;
        // Engines differ in what they tell; one that tells nothing is used all the same, with the least assumed of it.
        let version = within(name, "version", ENGINE_FACTS_TIMEOUT, docker.version()).await.unwrap_or_default();
        let info = within(name, "info", ENGINE_FACTS_TIMEOUT, docker.info()).await.ok();
        let facts = Facts::of(&version, &info.unwrap_or_default());
        let without_init = AtomicBool::new(false);
        Ok(Self { name: name.to_owned(), socket: socket.to_owned(), facts, docker, without_init })
    }

    /// Its name: `podman`, `colima`, `docker`, `docker-desktop`, …
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens: what a server keeps to stay on it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// What it said about itself.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    pub(super) fn has_init(&self) -> bool {
        !self.without_init.load(Ordering::Relaxed)
    }

    pub(super) fn forget_init(&self) {
        self.without_init.store(true, Ordering::Relaxed);
    }

    /// One request, with a deadline.
    pub(super) async fn ask<T>(
        &self,
        doing: &'static str,
        request: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, ContainerError> {
        within(&self.name, doing, ENGINE_REQUEST_TIMEOUT, request).await
    }
}

async fn within<T>(
    engine: &str,
    doing: &'static str,
    limit: Duration,
    request: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, ContainerError> {
    match timeout(limit, request).await {
        Ok(answer) => answer.map_err(|error| ContainerError::of_engine(engine, doing, error)),
        Err(_) => Err(ContainerError::Timeout { engine: engine.to_owned(), doing, limit }),
    }
}

/// Engines read credentials as URL-safe base64; bollard writes the other alphabet, and a password with `?` or `>` in the
/// wrong place would not arrive.
fn with_url_safe_credentials(mut request: BollardRequest) -> BollardRequest {
    if let Some(value) = request.headers_mut().get_mut("x-registry-auth")
        && let Ok(text) = value.to_str()
        && let Ok(mut safe) = text.replace('+', "-").replace('/', "_").parse()
    {
        std::mem::swap(value, &mut safe);
        value.set_sensitive(true);
    }
    request
}

impl Facts {
    fn of(version: &SystemVersion, info: &SystemInfo) -> Self {
        let options = info.security_options.as_deref().unwrap_or_default();
        let says = |option: &str| options.iter().any(|said| said.split(',').any(|part| part == option));
        let is_podman =
            version.components.iter().flatten().any(|component| component.name.to_lowercase().contains("podman"));
        let rootless = says("name=rootless");
        let enforced = [
            ("memory", info.memory_limit.unwrap_or_default()),
            ("processors", info.cpu_cfs_quota.unwrap_or_default()),
            ("processes", info.pids_limit.unwrap_or_default()),
            ("seccomp", says("name=seccomp")),
        ];
        Self {
            product: if is_podman { PODMAN } else { "Docker" }.to_owned(),
            version: version.version.clone().or_else(|| info.server_version.clone()).unwrap_or_default(),
            rootless,
            shares_sockets: !rootless && is_this_machine(info),
            processors: info.ncpu.and_then(|processors| u32::try_from(processors).ok()).unwrap_or_default(),
            unenforced: enforced.into_iter().filter(|(_, does)| !does).map(|(what, _)| what.to_owned()).collect(),
        }
    }
}

/// Whether the engine runs in the system that this process runs in: same host name, same kernel.
fn is_this_machine(info: &SystemInfo) -> bool {
    if !cfg!(target_os = "linux") {
        return false;
    }
    let system = rustix::system::uname();
    let is = |said: &Option<String>, ours: &std::ffi::CStr| said.as_deref().map(str::as_bytes) == Some(ours.to_bytes());
    is(&info.name, system.nodename()) && is(&info.kernel_version, system.release())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_tells_nothing_is_trusted_with_nothing() {
        let facts = Facts::of(&SystemVersion::default(), &SystemInfo::default());
        assert!(!facts.shares_sockets);
        assert_eq!(facts.unenforced, ["memory", "processors", "processes", "seccomp"]);
    }

    #[test]
    fn a_rootless_engine_keeps_its_networks_to_itself() {
        let system = rustix::system::uname();
        let text = |text: &std::ffi::CStr| Some(text.to_str().unwrap().to_owned());
        let mut info = SystemInfo {
            name: text(system.nodename()),
            kernel_version: text(system.release()),
            ..SystemInfo::default()
        };
        assert_eq!(Facts::of(&SystemVersion::default(), &info).shares_sockets, cfg!(target_os = "linux"));
        info.security_options = Some(vec!["name=seccomp,profile=default".into(), "name=rootless".into()]);
        let facts = Facts::of(&SystemVersion::default(), &info);
        assert!(facts.rootless && !facts.shares_sockets);
        assert!(!facts.unenforced.contains(&"seccomp".to_owned()));
    }
}
