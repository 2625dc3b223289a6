//! Taking over what an earlier daemon left running: a server that listens on a port serves on without one.
//!
//! The container says whose it is and how it was launched, by its labels, and the launch that would start another compares.
//! What is alike goes on under a new task; whatever else of this server nobody minds is ended, so that two of one server
//! never run beside each other. It happens at the launch and not at the start of the daemon, because an engine that boots
//! with the machine may answer a minute later.

use std::sync::Arc;

use bollard::models::ContainerInspectResponse;
use fairlead_core::image::ImageSource;
use fairlead_core::workload::{Launch, Workload};

use super::engine::Engine;
use super::error::ContainerError;
use super::found::{self, Found};
use super::identity::Identity;
use super::images;
use super::minder::{Container, Minded};
use super::pipes::Pipes;
use super::porter::{self, Door, Porter};
use super::progress::ContainerEvent;
use super::{ContainerRuntime, Shared, address, is_running, label};

impl ContainerRuntime {
    /// The container of this launch that runs already; `None` when none does. What of this server is not alike is ended.
    pub(super) async fn take_over(
        &self,
        engine: &Arc<Engine>,
        launch: &Launch,
        source: &ImageSource,
    ) -> Result<Option<Workload>, ContainerError> {
        let Some(mark) = launch.mark_of_listener() else { return Ok(None) };
        let Shared { config, names, .. } = &*self.shared;
        let mut left = found::containers(engine, &config.home, Some(&launch.server), names).await?;
        left.retain(|found| !found.minded && found.mark.is_some());
        let alike =
            |found: &Found| found.running && found.mark.as_deref() == Some(mark) && !porter::is_one(&found.name);
        let taken = left.iter().position(alike).map(|position| left.swap_remove(position));
        if let Some(taken) = &taken {
            left.retain(|found| found.name != porter::name(&taken.name));
        }
        for other in &left {
            tracing::info!(fairlead.server.name = %launch.server, container.name = other.name, "a container of an earlier daemon is ended");
            self.end(&other.id).await;
        }
        let Some(taken) = taken else { return Ok(None) };
        let resuming = Resuming {
            shared: Arc::clone(&self.shared),
            engine: Arc::clone(engine),
            launch: launch.clone(),
            source: source.clone(),
            found: taken,
        };
        self.to_its_end(resuming.resume()).await
    }

    /// Whether a container of ours runs and was launched so that it can be taken over.
    pub(super) async fn goes_on(&self, id: &str) -> bool {
        let Ok(Identity { container: id, socket }) = id.parse() else { return false };
        let Ok(engine) = self.engines().find(Some(&format!("unix://{}", socket.display()))).await else { return false };
        let inspected = engine.ask("inspect container", engine.docker().inspect_container(&id, None)).await;
        let Ok(inspected) = inspected else { return false };
        let labels = inspected.config.as_ref().and_then(|config| config.labels.as_ref());
        let says = |name| labels.and_then(|labels| labels.get(name));
        is_running(&inspected) && says(label::HOME) == Some(&self.shared.config.home) && says(label::MARK).is_some()
    }
}

/// A container that is taken over.
struct Resuming {
    shared: Arc<Shared>,
    engine: Arc<Engine>,
    launch: Launch,
    source: ImageSource,
    found: Found,
}

impl Resuming {
    /// `None` when it has ended meanwhile: another is started then.
    async fn resume(self) -> Result<Option<Workload>, ContainerError> {
        let Ok(Identity { container: id, .. }) = self.found.id.parse() else { return Ok(None) };
        let live = self.shared.names.add(&self.found.name);
        let mut container = Container {
            engine: Arc::clone(&self.engine),
            id,
            porter: None,
            stop_signal: "SIGTERM".to_owned(),
            memory_bytes_max: self.source.resources.memory_bytes_max,
        };
        let resumed = self.connect(&mut container).await;
        let (pipes, inspected, porter) = match resumed {
            Ok(resumed) => resumed,
            Err(error) if error.is_connection() => return Err(error),
            Err(error) => {
                tracing::warn!(fairlead.server.name = %self.launch.server, %error, "a container cannot be taken over, and is ended");
                container.porter = Some(porter::name(&self.found.name));
                container.remove().await;
                return Ok(None);
            }
        };
        let reached = match &porter {
            Some(porter) => Some(porter.address()),
            None => self.launch.port.and_then(|port| address(&inspected, port)),
        };
        if let Ok(Some(image)) = images::of_container(&self.engine, &inspected, &self.source.reference).await {
            let running = image.told(&self.engine, &self.source);
            self.shared.config.observer.observe(&self.launch.server, ContainerEvent::Running(running));
        }
        tracing::info!(fairlead.server.name = %self.launch.server, container.name = self.found.name, "a container of an earlier daemon is taken over");
        let id = self.found.id;
        let handle = Minded::begin(&self.shared.tasks, container, porter, reached, live, true);
        let Pipes { stdin, stdout, stderr } = pipes;
        Ok(Some(Workload { id: Some(id), stdin, stdout, stderr, handle: Box::new(handle) }))
    }

    /// Its outputs from now on, what it is, and the way into it.
    async fn connect(
        &self,
        container: &mut Container,
    ) -> Result<(Pipes, ContainerInspectResponse, Option<Porter>), ContainerError> {
        let Self { shared, engine, launch, found, .. } = self;
        let inspected = container.inspect().await?;
        if let Some(signal) = inspected.config.as_ref().and_then(|config| config.stop_signal.clone()) {
            container.stop_signal = signal;
        }
        let pipes = Pipes::open(engine, &container.id, false, &shared.tasks).await?;
        let network = inspected.host_config.as_ref().and_then(|host| host.network_mode.as_deref());
        let (Some(port), Some("none")) = (launch.port, network) else { return Ok((pipes, inspected, None)) };
        let porter = Porter::resume(Door {
            engine,
            server: &launch.server,
            home: &shared.config.home,
            mark: launch.mark_of_listener(),
            container: (&found.name, &container.id),
            port,
            doors: &shared.config.doors,
            names: &shared.names,
        });
        Ok((pipes, inspected, Some(porter.await?)))
    }
}
