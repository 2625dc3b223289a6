//! What a container may do: the whole of it, in one pure function from what was asked to what the engine is told.
//!
//! Everything is shut first (capabilities, privileges, writing, network, processes, memory, time), and opened only by what
//! the permission profile grants. The seccomp profile is the engine's own: nothing is said about it, because the only thing
//! that could be said would weaken it. Output is not logged by the engine: it is MCP traffic, with whatever secrets are in
//! it, and the file would grow for as long as the server lives.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount as EngineMount, MountBindOptions,
    MountBindOptionsPropagationEnum, MountType, PortBinding, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use fairlead_core::image::{ImageSource, Resources};
use fairlead_core::name::ServerKey;
use fairlead_core::permission::{Granted, Mount, NetworkAccess};
use fairlead_core::workload::Launch;
use rustix::process::{Resource, getrlimit};

use super::engine::{Facts, PODMAN};
use super::error::ContainerError;
use super::images::Image;
use super::overlays::Overlay;
use super::porter;
use super::steward::{self, Aboard};
use crate::limits::{CONTAINER_MEMORY_BYTES_MIN, CONTAINER_TMP_BYTES_MAX};

/// Labels of every container and network that is ours. Values are names, never settings: whoever may list containers reads
/// them.
pub(super) mod label {
    pub(in super::super) const SERVER: &str = "fairlead.dev/server";
    pub(in super::super) const TENANT: &str = "fairlead.dev/tenant";
    /// Which daemon, where several share an engine.
    pub(in super::super) const HOME: &str = "fairlead.dev/home";
    /// Of what listens on a port: how it was launched, as a digest. A daemon that finds it running takes it over by this.
    pub(in super::super) const MARK: &str = "fairlead.dev/launch";
    /// Of the network on which servers are apart.
    pub(in super::super) const NETWORK: &str = "fairlead.dev/network";
}

/// The network of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Network {
    /// Only its own loopback.
    None,
    /// Only its own loopback, with a porter in it that lets this machine in.
    Porter,
    /// The engine's own, or the one named (ours for open servers, or one of the user's), and everything behind it.
    Open(Option<String>),
}

/// Which network goes with what is granted, for a server that is reached over `port`.
pub(super) fn network(access: NetworkAccess, port: Option<u16>, facts: &Facts) -> Result<Network, ContainerError> {
    match (access, port) {
        (NetworkAccess::Open { network }, _) => Ok(Network::Open(network)),
        (NetworkAccess::Closed, None) => Ok(Network::None),
        (NetworkAccess::Closed, Some(_)) if facts.shares_sockets && porter::exists() => Ok(Network::Porter),
        (NetworkAccess::Closed, Some(port)) => Err(ContainerError::OutOfReach {
            port,
            reason: "this engine is rootless or in a virtual machine, so that no porter can let anybody in",
        }),
    }
}

/// Everything that decides what a container may do.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) launch: &'a Launch,
    pub(super) source: &'a ImageSource,
    pub(super) image: &'a Image,
    pub(super) granted: &'a Granted,
    /// What hides parts of the mounts.
    pub(super) overlays: &'a [Overlay],
    pub(super) network: &'a Network,
    pub(super) home: &'a str,
    pub(super) facts: &'a Facts,
    /// Whether to put the engine's init in front of the server, so that signals arrive and the dead are buried.
    pub(super) init: bool,
    /// What stands in front of the server, when its sessions share the container.
    pub(super) steward: Option<&'a Aboard>,
}

impl Plan<'_> {
    /// What the engine is told.
    pub(super) fn body(&self) -> ContainerCreateBody {
        let port = self.launch.port.map(|port| format!("{port}/tcp"));
        let speaks_stdio = self.launch.port.is_none();
        ContainerCreateBody {
            image: Some(self.image_name()),
            entrypoint: self.steward.map(|_| vec![steward::PLACE.to_owned()]).or_else(|| some(&self.source.command)),
            cmd: some(self.steward.map_or(&self.source.args, |steward| &steward.words)),
            user: self.source.user.clone(),
            env: Some(self.launch.env.iter().map(|(name, value)| format!("{name}={}", value.as_str())).collect()),
            labels: Some(labels(&self.launch.server, self.home, self.launch.mark_of_listener())),
            exposed_ports: port.map(|port| vec![port]),
            tty: Some(false),
            attach_stdin: Some(speaks_stdio),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            open_stdin: Some(speaks_stdio),
            // The end of our stdin is the end of the server's.
            stdin_once: Some(speaks_stdio),
            healthcheck: self.image.has_healthcheck.then(no_healthcheck),
            host_config: Some(self.host_config()),
            ..ContainerCreateBody::default()
        }
    }

    /// What was signed runs by its id: its name may be another's by the time that the engine reads it.
    fn image_name(&self) -> String {
        match self.image.signed_by {
            Some(_) => self.image.id.clone(),
            None => self.source.reference.to_string(),
        }
    }

    fn host_config(&self) -> HostConfig {
        let resources = &self.source.resources;
        let memory = i64::try_from(resources.memory_bytes_max).ok();
        HostConfig {
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
            privileged: Some(false),
            readonly_rootfs: Some(!self.source.writable_root),
            tmpfs: Some([("/tmp".to_owned(), tmpfs_options())].into()),
            mounts: Some(
                self.granted
                    .mounts
                    .iter()
                    .chain(&self.steward.map(the_steward))
                    .map(bind)
                    .chain(self.overlays.iter().map(Overlay::mount))
                    .collect(),
            ),
            network_mode: Some(self.network_mode()),
            port_bindings: self.port_bindings(),
            ipc_mode: Some("private".to_owned()),
            memory,
            // As much as memory: no swap on top.
            memory_swap: memory,
            nano_cpus: Some(nano_cpus(resources, self.facts)),
            pids_limit: Some(i64::from(resources.processes_max)),
            ulimits: Some(ulimits(self.facts)),
            init: Some(self.init),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            // Supervision is ours alone; two that restart the same thing fight.
            restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
            auto_remove: Some(false),
            ..HostConfig::default()
        }
    }

    fn network_mode(&self) -> String {
        match self.network {
            Network::None | Network::Porter => "none".to_owned(),
            Network::Open(Some(network)) => network.clone(),
            Network::Open(None) => "default".to_owned(),
        }
    }

    /// Loopback of this machine, at a port that the engine picks. A closed network is reached directly.
    fn port_bindings(&self) -> Option<HashMap<String, Option<Vec<PortBinding>>>> {
        let port = self.launch.port.filter(|_| matches!(self.network, Network::Open(_)))?;
        let loopback = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: None };
        Some([(format!("{port}/tcp"), Some(vec![loopback]))].into())
    }
}

/// What says whose a container is, and how it was launched where it can outlive the daemon.
pub(super) fn labels(server: &ServerKey, home: &str, mark: Option<&str>) -> HashMap<String, String> {
    let labels = [(label::SERVER, server.name.as_str()), (label::TENANT, server.tenant.as_str()), (label::HOME, home)];
    labels
        .into_iter()
        .chain(mark.map(|mark| (label::MARK, mark)))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Limits that an engine would refuse, refused here with a better reason.
pub(super) fn check(resources: &Resources) -> Result<(), ContainerError> {
    if resources.memory_bytes_max < CONTAINER_MEMORY_BYTES_MIN {
        return Err(ContainerError::Resources("`memoryBytesMax` must be 6 MiB (6291456) or more"));
    }
    if resources.cpu_millis_max < 10 {
        return Err(ContainerError::Resources("`cpuMillisMax` must be 10 or more: thousandths of one processor"));
    }
    if resources.processes_max == 0 {
        return Err(ContainerError::Resources("`processesMax` must be 1 or more"));
    }
    Ok(())
}

/// What is granted, as it is on this machine: links resolved, everything there, and nothing that would undo the isolation.
/// `shut` are places that no server sees: sockets of engines, the daemon's own files.
pub(super) fn resolve(mounts: &[Mount], shut: &[PathBuf]) -> Result<Vec<Mount>, ContainerError> {
    let resolve = |mount: &Mount| {
        let refused = |reason: String| ContainerError::Mount { path: mount.source.display().to_string(), reason };
        let source = mount.source.canonicalize().map_err(|error| refused(error.to_string()))?;
        if let Some(shut) = shut.iter().find(|shut| shut.starts_with(&source) || source.starts_with(shut)) {
            let what = shut.display();
            return Err(refused(format!("it would give the server `{what}`, and with it power over this machine")));
        }
        if is_socket(&source) {
            return Err(refused("it is a socket: whatever listens there would be the server's to use".to_owned()));
        }
        Ok(Mount { source, ..mount.clone() })
    };
    mounts.iter().map(resolve).collect()
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;

    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn the_steward(steward: &Aboard) -> Mount {
    Mount { source: steward.program.clone(), target: steward::PLACE.to_owned(), writable: false }
}

fn bind(mount: &Mount) -> EngineMount {
    EngineMount {
        typ: Some(MountType::BIND),
        source: Some(mount.source.display().to_string()),
        target: Some(mount.target.clone()),
        read_only: Some(!mount.writable),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            // What is mounted below stays outside: old engines make only the top of a read-only mount read-only.
            non_recursive: Some(!mount.writable),
            ..MountBindOptions::default()
        }),
        ..EngineMount::default()
    }
}

/// A core dump would put the memory of the server, secrets and all, into a file.
///
/// Podman takes one limit in a request for a sign that its own defaults are not wanted, and then asks the kernel for more open
/// files and processes than a machine that is itself a container may give. So it is told those of this machine; of processes no
/// more than there are ids, to which it lowers its own limit when it starts.
pub(super) fn ulimits(facts: &Facts) -> Vec<ResourcesUlimits> {
    let limit =
        |name: &str, value| ResourcesUlimits { name: Some(name.to_owned()), soft: Some(value), hard: Some(value) };
    let mut limits = vec![limit("core", 0)];
    if facts.product == PODMAN && facts.shares_sockets {
        for (name, resource, there) in [("nofile", Resource::Nofile, None), ("nproc", Resource::Nproc, process_ids())] {
            let most = getrlimit(resource).maximum.and_then(|most| i64::try_from(most).ok());
            let most = most.map(|most| there.map_or(most, |there: i64| most.min(there)));
            limits.extend(most.map(|most| limit(name, most)));
        }
    }
    limits
}

/// How many ids the kernel has for processes, where it tells.
fn process_ids() -> Option<i64> {
    std::fs::read_to_string("/proc/sys/kernel/pid_max").ok()?.trim().parse().ok()
}

/// Health is asked for by supervision, over the server's own wire; a check of the image's would only be one more process.
fn no_healthcheck() -> HealthConfig {
    HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }
}

fn tmpfs_options() -> String {
    format!("rw,nosuid,nodev,noexec,mode=1777,size={CONTAINER_TMP_BYTES_MAX}")
}

/// Engines refuse more processors than there are, so that a limit above that is none.
fn nano_cpus(resources: &Resources, facts: &Facts) -> i64 {
    let asked = i64::from(resources.cpu_millis_max);
    let there = i64::from(facts.processors) * 1_000;
    let millis = if there > 0 { asked.min(there) } else { asked };
    millis * 1_000_000
}

/// Engines take an empty list for "nothing", and an absent one for "as the image says".
fn some(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}
