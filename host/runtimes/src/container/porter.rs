//! The way into a container that has no way out: a porter beside it, in its network, which has nothing but a loopback.
//!
//! A server that listens on a port must be reached from this machine, and an engine offers a shared network for that; on
//! which this machine is a neighbour, and everything that listens there on every address. So there is no network at all.
//! The porter is a program of a few kilobytes in an image of its own; the engine puts it into the network of the server, it
//! takes connections at a Unix socket in a directory that it shares with us, and carries them to the port. On our side that
//! socket becomes a port of this machine's loopback, which opens when that of the server has opened.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, HostConfig, HostConfigLogConfig, Mount as EngineMount, MountType,
    RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{CreateContainerOptions, CreateImageOptions};
use bytes::Bytes;
use fairlead_core::name::ServerKey;
use futures_util::TryStreamExt;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::engine::Engine;
use super::error::ContainerError;
use super::found::{Live, Names};
use super::minder::Container;
use super::{confinement, is_running};
use crate::limits::{ENGINE_POLL_FIRST, PORTER_BACKLOG, PORTER_MEMORY_BYTES_MAX, PORTER_POLL_MAX, PORTER_THREADS_MAX};

/// The program, static; empty where it could not be compiled.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/porter"));

/// Where the porter finds the directory that it shares with us.
const DIRECTORY: &str = "/door";

/// What the directory with its socket is called, and the socket in it: short, for a path of a socket has few bytes.
const SOCKET: &str = "s";

/// Whether there is one.
pub(super) fn exists() -> bool {
    !PROGRAM.is_empty()
}

/// The name of the porter of a container.
pub(super) fn name(container: &str) -> String {
    format!("{container}-porter")
}

/// Whether this is the name of a porter: those of servers end in digits.
pub(super) fn is_one(name: &str) -> bool {
    name.ends_with("-porter")
}

/// A porter at work. It ends with its server: [`Porter::remove`] it then.
pub(super) struct Porter {
    container: Container,
    address: SocketAddr,
    directory: PathBuf,
    _tasks: JoinSet<io::Result<()>>,
    _live: Live,
}

/// For whom a porter works.
pub(super) struct Door<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) server: &'a ServerKey,
    pub(super) home: &'a str,
    pub(super) mark: Option<&'a str>,
    /// Name and id of the container.
    pub(super) container: (&'a str, &'a str),
    pub(super) port: u16,
    /// Where directories with sockets are made.
    pub(super) doors: &'a Path,
    pub(super) names: &'a Names,
}

impl Porter {
    /// Puts a porter beside a container that runs.
    pub(super) async fn begin(door: Door<'_>) -> Result<Self, ContainerError> {
        let refused = |error: io::Error| ContainerError::Door { reason: error.to_string() };
        let image = image(door.engine).await?;
        let (container_name, id) = door.container;
        let name = name(container_name);
        let live = door.names.add(&name);
        let directory = directory(door.doors).map_err(refused)?;
        let container = container(door.engine, &name);
        let (socket, address) = way_in().map_err(refused)?;
        let docker = door.engine.docker();
        let options = CreateContainerOptions { name: Some(name), ..CreateContainerOptions::default() };
        let started = async {
            let body = body(&door, image, id, &directory);
            door.engine.ask("create porter", docker.create_container(Some(options), body)).await?;
            door.engine.ask("start porter", docker.start_container(&container.id, None)).await
        };
        if let Err(error) = started.await {
            container.remove().await;
            let _ = std::fs::remove_dir_all(&directory);
            return Err(error);
        }
        Ok(Self::at(container, socket, address, directory, live))
    }

    /// Goes on with the porter of a container that is taken over; one that does not work any more is replaced.
    pub(super) async fn resume(door: Door<'_>) -> Result<Self, ContainerError> {
        let name = name(door.container.0);
        let container = container(door.engine, &name);
        if let Ok(inspected) = container.inspect().await {
            let directory = shared_directory(&inspected).filter(|directory| directory.join(SOCKET).exists());
            if let (true, Some(directory)) = (is_running(&inspected), directory) {
                let live = door.names.add(&name);
                let refused = |error: io::Error| ContainerError::Door { reason: error.to_string() };
                let (socket, address) = way_in().map_err(refused)?;
                return Ok(Self::at(container, socket, address, directory, live));
            }
            container.remove().await;
        }
        Self::begin(door).await
    }

    fn at(container: Container, socket: TcpSocket, address: SocketAddr, directory: PathBuf, live: Live) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(socket, directory.join(SOCKET)));
        Self { container, address, directory, _tasks: tasks, _live: live }
    }

    /// Where the port of the server is reached.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Removes it. False when the engine does not answer.
    pub(super) async fn remove(&self) -> bool {
        self.container.remove().await
    }
}

impl Drop for Porter {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn container(engine: &Arc<Engine>, name: &str) -> Container {
    Container {
        engine: Arc::clone(engine),
        id: name.to_owned(),
        porter: None,
        stop_signal: "SIGKILL".to_owned(),
        memory_bytes_max: PORTER_MEMORY_BYTES_MAX,
    }
}

/// A port of this machine that does not listen yet and refuses connections: the server counts as not ready until it is.
fn way_in() -> io::Result<(TcpSocket, SocketAddr)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

/// Where a porter shares its socket with us.
fn shared_directory(inspected: &ContainerInspectResponse) -> Option<PathBuf> {
    let mounts = inspected.mounts.as_deref().unwrap_or_default();
    let door = mounts.iter().find(|mount| mount.destination.as_deref() == Some(DIRECTORY))?;
    door.source.as_deref().map(PathBuf::from)
}

fn directory(doors: &Path) -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;

    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let directory = doors.join(format!("{:08x}", u32::from_ne_bytes(random)));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    Ok(directory)
}

/// The image with nothing but the porter, made once for each of its versions.
async fn image(engine: &Engine) -> Result<String, ContainerError> {
    let digest = Sha256::digest(PROGRAM);
    let tag = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect::<String>();
    let image = format!("fairlead.local/porter:{tag}");
    match engine.ask("inspect image", engine.docker().inspect_image(&image)).await {
        Ok(_) => return Ok(image),
        Err(ContainerError::Refused { status: 404, .. }) => {}
        Err(error) => return Err(error),
    }
    let archive = || -> io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(PROGRAM.len()).map_err(io::Error::other)?);
        header.set_mode(0o755);
        archive.append_data(&mut header, "porter", PROGRAM)?;
        archive.into_inner()
    };
    let archive = archive().map_err(|error| ContainerError::Door { reason: error.to_string() })?;
    // The whole name in one: Podman does not look at the tag of what is imported.
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some(image.clone()),
        ..CreateImageOptions::default()
    };
    let body = bollard::body_full(Bytes::from(archive));
    let made = engine.docker().create_image(Some(options), Some(body), None).try_for_each(async |_| Ok(()));
    engine.ask("make image of the porter", made).await?;
    Ok(image)
}

/// As shut as a server, and more: it needs its socket and nothing else.
fn body(door: &Door<'_>, image: String, container: &str, directory: &Path) -> ContainerCreateBody {
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let memory = i64::try_from(PORTER_MEMORY_BYTES_MAX).ok();
    ContainerCreateBody {
        image: Some(image),
        entrypoint: Some(vec!["/porter".to_owned()]),
        cmd: Some(vec![format!("{DIRECTORY}/{SOCKET}"), door.port.to_string()]),
        user: Some(format!("{user}:{group}")),
        labels: Some(confinement::labels(door.server, door.home, door.mark)),
        host_config: Some(HostConfig {
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
            readonly_rootfs: Some(true),
            network_mode: Some(format!("container:{container}")),
            mounts: Some(vec![EngineMount {
                typ: Some(MountType::BIND),
                source: Some(directory.display().to_string()),
                target: Some(DIRECTORY.to_owned()),
                ..EngineMount::default()
            }]),
            memory,
            memory_swap: memory,
            pids_limit: Some(PORTER_THREADS_MAX),
            ulimits: Some(confinement::ulimits(door.engine.facts())),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// Listens once the server does, and carries connections from then on.
async fn serve(socket: TcpSocket, door: PathBuf) -> io::Result<()> {
    let mut pause = ENGINE_POLL_FIRST;
    while enter(&door).await.is_err() {
        sleep(pause).await;
        pause = (pause * 2).min(PORTER_POLL_MAX);
    }
    let listener = socket.listen(PORTER_BACKLOG)?;
    let mut connections = JoinSet::new();
    loop {
        let near = match listener.accept().await {
            Ok((near, _)) => near,
            // This machine has too much open, for now; the server would otherwise be out of reach for good.
            Err(error) => {
                tracing::warn!(%error, "no connection accepted");
                sleep(PORTER_POLL_MAX).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        connections.spawn(carry(near, door.clone()));
    }
}

/// A connection to the server, when it takes one.
async fn enter(door: &Path) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(door).await?;
    // The porter says that the port has answered.
    stream.read_u8().await?;
    Ok(stream)
}

async fn carry(mut near: TcpStream, door: PathBuf) -> io::Result<()> {
    let _ = near.set_nodelay(true);
    let mut far = enter(&door).await?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await.map(drop)
}
