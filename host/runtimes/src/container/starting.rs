//! The launch of a container from the moment that it leaves something behind: created, started, and the way into it found.
//!
//! It runs in a task that nobody can give up half-way; what it has made when it fails is removed before it says so.

use std::net::SocketAddr;
use std::sync::Arc;

use bollard::query_parameters::CreateContainerOptions;
use fairlead_core::image::ImageSource;
use fairlead_core::permission::Granted;
use fairlead_core::workload::{Launch, Workload};

use super::confinement::{self, Network, Plan};
use super::engine::Engine;
use super::error::ContainerError;
use super::identity::Identity;
use super::images::Image;
use super::line::Ticket;
use super::minder::{Container, Minded};
use super::overlays::Overlay;
use super::pipes::Pipes;
use super::porter::{Door, Porter};
use super::progress::ContainerEvent;
use super::steward::Aboard;
use super::{Shared, address, apart};

/// A launch from the moment that it leaves something behind.
pub(super) struct Starting {
    pub(super) shared: Arc<Shared>,
    pub(super) engine: Arc<Engine>,
    pub(super) launch: Launch,
    pub(super) source: ImageSource,
    pub(super) image: Image,
    pub(super) granted: Granted,
    pub(super) overlays: Vec<Overlay>,
    pub(super) together: Option<Aboard>,
    /// At its turn.
    pub(super) ticket: Ticket,
}

impl Starting {
    pub(super) async fn start(self) -> Result<Workload, ContainerError> {
        if self.engine.has_init() {
            match self.start_with(true).await {
                Err(error) if says_no_init(&error) => {
                    tracing::warn!(engine = self.engine.name(), "this container engine has no init program");
                    self.engine.forget_init();
                }
                started => return started,
            }
        }
        self.start_with(false).await
    }

    async fn start_with(&self, init: bool) -> Result<Workload, ContainerError> {
        let name = container_name(&self.launch);
        let network = confinement::network(self.granted.network.clone(), self.launch.port, self.engine.facts())?;
        let network = apart::apart(&self.engine, &self.shared.images, network).await?;
        let live = self.shared.names.add(&name);
        let container = self.create(&name, &network, init).await?;
        match self.run(&container, &name, &network).await {
            Ok((pipes, address, porter)) => {
                let id = Identity { container: container.id.clone(), socket: self.engine.socket().to_owned() };
                let running = self.image.told(&self.engine, &self.source);
                self.shared.config.observer.observe(&self.launch.server, ContainerEvent::Running(running));
                let handle = Minded::begin(&self.shared.tasks, container, porter, address, live, false);
                let Pipes { stdin, stdout, stderr } = pipes;
                Ok(Workload { id: Some(id.to_string()), stdin, stdout, stderr, handle: Box::new(handle) })
            }
            Err(error) => {
                container.remove().await;
                Err(error)
            }
        }
    }

    async fn create(&self, name: &str, network: &Network, init: bool) -> Result<Container, ContainerError> {
        let Self { shared, engine, launch, source, image, granted, overlays, together, ticket } = self;
        let home = &shared.config.home;
        let facts = engine.facts();
        let steward = together.as_ref();
        let plan = Plan { launch, source, image, granted, overlays, network, home, facts, init, steward };
        let container = Container {
            engine: Arc::clone(engine),
            id: name.to_owned(),
            porter: None,
            stop_signal: image.stop_signal.clone(),
            memory_bytes_max: source.resources.memory_bytes_max,
        };
        let options = CreateContainerOptions { name: Some(name.to_owned()), ..CreateContainerOptions::default() };
        let created =
            engine.ask("create container", engine.docker().create_container(Some(options), plan.body())).await;
        ticket.leave();
        match created {
            Ok(created) => Ok(Container { id: created.id, ..container }),
            Err(error) => {
                // The name is ours alone, so whatever bears it was made by this request.
                container.remove().await;
                Err(error)
            }
        }
    }

    async fn run(
        &self,
        container: &Container,
        name: &str,
        network: &Network,
    ) -> Result<(Pipes, Option<SocketAddr>, Option<Porter>), ContainerError> {
        let Self { shared, engine, launch, .. } = self;
        let pipes = Pipes::open(engine, &container.id, launch.port.is_none(), &shared.tasks).await?;
        let started = engine.ask("start container", engine.docker().start_container(&container.id, None)).await;
        started.map_err(not_started)?;
        let Some(port) = launch.port else { return Ok((pipes, None, None)) };
        if *network == Network::Porter {
            let Shared { config, names, .. } = &**shared;
            let (server, home, doors) = (&launch.server, &*config.home, &*config.doors);
            let mark = launch.mark_of_listener();
            let door = Door { engine, server, home, mark, container: (name, &container.id), port, doors, names };
            let porter = Porter::begin(door).await?;
            return Ok((pipes, Some(porter.address()), Some(porter)));
        }
        let inspected = container.inspect().await?;
        Ok((pipes, address(&inspected, port), None))
    }
}

/// `fairlead-<tenant>-<server>-<random>`: readable, and never given twice.
fn container_name(launch: &Launch) -> String {
    let mut random = [0; 8];
    // Without randomness the engine refuses the second container of this name, which is harmless.
    let _ = getrandom::fill(&mut random);
    format!("fairlead-{}-{}-{:016x}", launch.server.tenant, launch.server.name, u64::from_ne_bytes(random))
}

fn says_no_init(error: &ContainerError) -> bool {
    let ContainerError::Refused { message, .. } = error else { return false };
    ["docker-init", "catatonit", "container-init", "init binary", "init path"].iter().any(|name| message.contains(name))
}

fn not_started(error: ContainerError) -> ContainerError {
    match error {
        ContainerError::Refused { message, .. } if message.contains("executable file not found") => {
            ContainerError::CommandNotFound { message }
        }
        error => error,
    }
}
