//! Containers: a server from an image, shut in by a container engine, with its pipes in our hands.
//!
//! Three rules. What a container may do is decided in one place (`confinement`) and starts from nothing. A container is
//! known by its random id on its own engine, never by a name, so that nobody else's is ever ended. And whatever becomes of
//! a launch (cancelled, failed half-way, dropped), what was created is removed: it runs in a task of its own from the moment
//! before the engine is asked to create, because a request that is given up may still be obeyed.

mod adoption;
mod apart;
mod candidates;
mod confinement;
mod contexts;
mod engine;
mod engines;
mod error;
mod found;
mod identity;
mod images;
mod index;
mod line;
mod minder;
mod overlays;
mod packages;
mod pipes;
mod porter;
mod progress;
mod recipe;
mod starting;
mod steward;
mod surroundings;
mod usage;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::TagImageOptions;
use fairlead_core::BoxFuture;
use fairlead_core::image::{ImageReference, ImageSource, Resources, Sessions};
use fairlead_core::name::{ServerKey, TenantName};
use fairlead_core::oci::{CredentialSource, DigestResolver};
use fairlead_core::package::{PackageKind, PackageSource};
use fairlead_core::permission::{Granted, PermissionProfile};
use fairlead_core::server::Source;
use fairlead_core::signature::{ImageVerification, ImageVerifier};
use fairlead_core::workload::{Launch, LaunchError, Workload, WorkloadRuntime};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
// The cap on `log` is what matters (see Cargo.toml): bollard writes what it sends, secrets too, at `debug`.
use log as _;
use tokio_util::task::TaskTracker;

pub use self::engine::{Engine, Facts};
pub use self::engines::{Engines, Outcome, Tried};
pub use self::error::ContainerError;
pub use self::found::Found;
pub use self::packages::BuiltPackage;
pub use self::progress::{BuildProgress, ContainerEvent, ContainerObserver, ProvidedImage, PullProgress};
pub use self::recipe::{BuildFileError, BuildSettings};
pub use self::surroundings::Surroundings;

use self::confinement::label;
use self::found::Names;
use self::identity::Identity;
use self::images::{Authorities, Image, Images};
use self::line::{Line, Ticket};
use self::minder::Container;
use self::overlays::Overlay;
use self::packages::Workshop;
use self::recipe::Recipe;
use self::starting::Starting;
use self::steward::{Aboard, Steward, Stewards};
use crate::limits::{ENGINE_POLL_FIRST, LEFTOVER_GRACE};

/// What a [`ContainerRuntime`] needs to know.
pub struct ContainerRuntimeConfig {
    /// The engines of this machine.
    pub engines: Arc<Engines>,
    /// Which daemon this is, where several share an engine: the same after every restart, and nobody else's.
    pub home: String,
    /// Files and directories that no server ever sees: the daemon's own state, configuration and socket.
    pub shut: Vec<PathBuf>,
    /// The ignore file for all mounts, if there is one.
    pub ignore: Option<PathBuf>,
    /// Where the sockets are by which servers without a network are reached.
    pub doors: PathBuf,
    /// With what images are built of packages.
    pub build: BuildSettings,
    /// Who shows what to which registry.
    pub credentials: Arc<dyn CredentialSource>,
    /// Who says, by asking the registry, what a tenant may see there.
    pub resolver: Arc<dyn DigestResolver>,
    /// Who says whether an image was signed; nobody, and then none was.
    pub verifier: Option<Arc<dyn ImageVerifier>>,
    /// What is done about signatures. A server may want more, and less unless this is `enabled`.
    pub verification: ImageVerification,
    /// Hears of pulls and of what runs.
    pub observer: Arc<dyn ContainerObserver>,
}

/// Starts servers in containers.
pub struct ContainerRuntime {
    shared: Arc<Shared>,
}

struct Shared {
    config: ContainerRuntimeConfig,
    images: Images,
    names: Names,
    stewards: Stewards,
    /// Where packages come from, as the tools say that build them.
    indexes: tokio::sync::Mutex<BTreeMap<PackageKind, String>>,
    tasks: TaskTracker,
    /// Leave to make a container.
    line: Arc<Line>,
}

impl fmt::Debug for ContainerRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContainerRuntime").field("home", &self.shared.config.home).finish_non_exhaustive()
    }
}

impl ContainerRuntime {
    /// A runtime without containers.
    #[must_use]
    pub fn new(config: ContainerRuntimeConfig) -> Self {
        let images = Images::new(Authorities {
            credentials: Arc::clone(&config.credentials),
            resolver: Arc::clone(&config.resolver),
            verifier: config.verifier.clone(),
            verification: config.verification,
        });
        let (names, tasks) = (Names::default(), TaskTracker::new());
        let (stewards, indexes, line) = (Stewards::default(), tokio::sync::Mutex::default(), Line::new());
        Self { shared: Arc::new(Shared { config, images, names, stewards, indexes, tasks, line }) }
    }

    /// The engines that it uses.
    #[must_use]
    pub fn engines(&self) -> &Arc<Engines> {
        &self.shared.config.engines
    }

    /// Ready when every container that this runtime started is gone from its engine. For the end of the daemon, when all
    /// of them were stopped or dropped: what is not waited for stays behind until the next start.
    pub async fn settled(&self) {
        self.shared.stewards.leaving.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.tasks.reopen();
    }

    /// Makes sure, as its pull policy says, that the engine of a server has its image, and tells what and where that is. A
    /// launch does the same; whoever creates a server asks first, so that somebody watches the pull, and keeps the address
    /// of the engine in [`ImageSource::engine`].
    ///
    /// # Errors
    /// No engine answers, or the image cannot be had.
    pub async fn provide(&self, server: &ServerKey, source: &ImageSource) -> Result<ProvidedImage, ContainerError> {
        let engine = self.engines().find(source.engine.as_deref()).await?;
        let provided = self.image(server, &engine, source, None).await;
        self.forget_if_away(&engine, provided.as_ref().err());
        Ok(provided?.told(&engine, source))
    }

    /// The same for a package: builds its image when the engine does not have it. What was built, and where, is for whoever
    /// creates a server to keep in [`PackageSource::resolved`] and [`PackageSource::engine`].
    ///
    /// # Errors
    /// No engine answers, or the image cannot be built.
    pub async fn provide_package(
        &self,
        server: &ServerKey,
        source: &PackageSource,
    ) -> Result<(BuiltPackage, ProvidedImage), ContainerError> {
        self.package(server, source, None).await
    }

    async fn package(
        &self,
        server: &ServerKey,
        source: &PackageSource,
        ticket: Option<&Ticket>,
    ) -> Result<(BuiltPackage, ProvidedImage), ContainerError> {
        let engine = self.engines().find(source.engine.as_deref()).await?;
        let provided = async {
            let built = self.built(server, &engine, source, ticket).await?;
            let source = source.from_image(built.image.clone());
            let image = self.image(server, &engine, &source, ticket).await?;
            Ok((built, image.told(&engine, &source)))
        };
        let provided = provided.await;
        self.forget_if_away(&engine, provided.as_ref().err());
        provided
    }

    /// The index that packages of a kind come from where the settings name none. Asked once: an image does not change its mind.
    ///
    /// # Errors
    /// No engine answers, the image cannot be had, or nothing in it says so.
    pub async fn package_index(&self, kind: PackageKind) -> Result<String, ContainerError> {
        let Shared { config, images, indexes, .. } = &*self.shared;
        let mut known = indexes.lock().await;
        if let Some(address) = known.get(&kind) {
            return Ok(address.clone());
        }
        let engine = self.engines().find(None).await?;
        let base = ImageSource::new(index::image(kind, &config.build).clone());
        let found = async {
            let image = images.provide(&engine, &TenantName::default(), &base, &|_| {}).await?;
            index::ask(&engine, &image.id, kind).await
        };
        let found = found.await;
        self.forget_if_away(&engine, found.as_ref().err());
        let address = found?;
        known.insert(kind, address.clone());
        Ok(address)
    }

    /// The recipe by which an image is built of a package, as text.
    ///
    /// # Errors
    /// A file that the settings name cannot be read.
    pub fn recipe(&self, source: &PackageSource) -> Result<String, ContainerError> {
        Ok(Recipe::of(source, &self.shared.config.build)?.text)
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn tag(&self, image: &ProvidedImage, name: &ImageReference) -> Result<(), ContainerError> {
        let engine = self.engines().find(Some(&image.engine_address)).await?;
        let options =
            TagImageOptions { repo: Some(name.repository()), tag: Some(name.tag().unwrap_or("latest").to_owned()) };
        engine.ask("tag image", engine.docker().tag_image(&image.id, Some(options))).await
    }

    /// Whether a launch of this source could be granted, before anything is done for it.
    ///
    /// # Errors
    /// The permission profile, a mount or a limit cannot be granted here.
    pub fn check(&self, permissions: &PermissionProfile, resources: &Resources) -> Result<(), ContainerError> {
        self.granted(permissions, resources).map(drop)
    }

    /// Every container of this home, on every engine that answers.
    pub async fn found(&self) -> Vec<Found> {
        self.engines().look().await;
        let mut all = Vec::new();
        for engine in self.engines().answering() {
            match found::containers(&engine, &self.shared.config.home, None, &self.shared.names).await {
                Ok(found) => all.extend(found),
                Err(error) => tracing::warn!(%error, "containers cannot be listed"),
            }
        }
        all
    }

    /// Removes the containers of this home that this daemon does not mind, and tells which. One that its server may take over
    /// stays when `keep` says so of that server.
    pub async fn remove_strays(&self, keep: &(dyn Fn(&ServerKey) -> bool + Sync)) -> Vec<Found> {
        let mut strays = self.found().await;
        let may_be_taken_over = |found: &Found| found.mark.is_some() && found.server.as_ref().is_some_and(keep);
        strays.retain(|found| !found.minded && !may_be_taken_over(found));
        for stray in &strays {
            self.end(&stray.id).await;
        }
        strays
    }

    fn granted(&self, permissions: &PermissionProfile, resources: &Resources) -> Result<Granted, ContainerError> {
        confinement::check(resources)?;
        let Granted { mounts, network } = permissions.granted()?;
        let mut shut = self.engines().sockets();
        shut.extend(self.shared.config.shut.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())));
        Ok(Granted { mounts: confinement::resolve(&mounts, &shut)?, network })
    }

    /// What hides parts of the mounts. To be found out anew for each launch: files come and go.
    async fn overlays(&self, granted: &Granted) -> Result<Vec<Overlay>, ContainerError> {
        let (mounts, file) = (granted.mounts.clone(), self.shared.config.ignore.clone());
        let look = move || overlays::over(&mounts, &overlays::global(file.as_deref())?);
        tokio::task::spawn_blocking(look).await.map_err(|_| ContainerError::Abandoned)?
    }

    async fn built(
        &self,
        server: &ServerKey,
        engine: &Engine,
        source: &PackageSource,
        ticket: Option<&Ticket>,
    ) -> Result<BuiltPackage, ContainerError> {
        let Shared { config, images, .. } = &*self.shared;
        let observe = |event| {
            ticket.into_iter().for_each(Ticket::leave);
            config.observer.observe(server, event);
        };
        let tenant = &server.tenant;
        Workshop { images, engine, settings: &config.build, tenant, observe: &observe }.provide(source).await
    }

    /// The image; whoever stands in line for a container leaves it while it is fetched.
    async fn image(
        &self,
        server: &ServerKey,
        engine: &Engine,
        source: &ImageSource,
        ticket: Option<&Ticket>,
    ) -> Result<Image, ContainerError> {
        let Shared { config, images, .. } = &*self.shared;
        let observed = |progress| {
            ticket.into_iter().for_each(Ticket::leave);
            config.observer.observe(server, ContainerEvent::Pulling(progress));
        };
        images.provide(engine, &server.tenant, source, &observed).await
    }

    /// What the container of several sessions is told, where they are to share one and this engine can do it: it must see files
    /// of this machine, and bury the dead.
    fn together(
        &self,
        engine: &Engine,
        launch: &Launch,
        source: &ImageSource,
        image: &Image,
    ) -> Result<Option<Aboard>, ContainerError> {
        let can = steward::exists() && engine.facts().shares_sockets && engine.has_init();
        if source.resources.sessions != Sessions::Together || launch.port.is_some() || !can {
            return Ok(None);
        }
        let aboard = Aboard::new(&self.shared.config.doors, source, image);
        aboard.map(Some).map_err(|error| ContainerError::Door { reason: error.to_string() })
    }

    fn forget_if_away(&self, engine: &Arc<Engine>, error: Option<&ContainerError>) {
        if error.is_some_and(ContainerError::is_connection) {
            self.engines().forget(engine);
        }
    }

    async fn launch_image(
        &self,
        launch: &Launch,
        source: &ImageSource,
        mut ticket: Ticket,
    ) -> Result<Workload, ContainerError> {
        let granted = self.granted(&source.permissions, &source.resources)?;
        let engine = self.engines().find(source.engine.as_deref()).await?;
        let launched = async {
            let (shared, engine, launch, source) =
                (Arc::clone(&self.shared), Arc::clone(&engine), launch.clone(), source.clone());
            if let Some(taken) = self.take_over(&engine, &launch, &source).await? {
                return Ok(taken);
            }
            let image = self.image(&launch.server, &engine, &source, Some(&ticket)).await?;
            let together = self.together(&engine, &launch, &source, &image)?;
            let berth = together.as_ref().map(|_| shared.stewards.berth(&launch, &source, &image));
            let mut berth = match &berth {
                // Whoever has it stands in line as well, maybe behind this one.
                Some(berth) => Some(match berth.try_lock() {
                    Ok(berth) => berth,
                    Err(_) => {
                        ticket.leave();
                        berth.lock().await
                    }
                }),
                None => None,
            };
            let (tasks, leaving) = (shared.tasks.clone(), shared.stewards.leaving.clone());
            if let Some(steward) = berth.as_ref().and_then(|berth| berth.upgrade()).filter(|one| one.has_room()) {
                return Ok(steward.start(&tasks, &leaving));
            }
            let overlays = self.overlays(&granted).await?;
            let place = ticket.turn().await;
            let starting = Starting { shared, engine, launch, source, image, granted, overlays, together, ticket };
            let work = async move {
                let started = starting.start().await;
                drop(place);
                started
            };
            let container = self.to_its_end(work).await?;
            let Some(berth) = &mut berth else { return Ok(container) };
            let steward = Steward::begin(container, &tasks);
            **berth = Arc::downgrade(&steward);
            Ok(steward.start(&tasks, &leaving))
        };
        let launched = launched.await;
        self.forget_if_away(&engine, launched.as_ref().err());
        launched
    }

    /// What leaves something behind goes on when it is given up: nobody waits any more then, so that what comes of it is
    /// dropped, and so ended.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ContainerError>> + Send + 'static,
    ) -> Result<T, ContainerError> {
        let (give, take) = oneshot::channel();
        self.shared.tasks.spawn(async move { drop(give.send(work.await)) });
        take.await.map_err(|_| ContainerError::Abandoned)?
    }

    /// Usually the image is there; where somebody has removed it, it is built again, of the same version.
    async fn launch_package(
        &self,
        launch: &Launch,
        source: &PackageSource,
        ticket: Ticket,
    ) -> Result<Workload, ContainerError> {
        // Whoever wants the newest got it when the server was created.
        let source = PackageSource { pull: source.pull.without_always(), ..source.clone() };
        let (built, image) = self.package(&launch.server, &source, Some(&ticket)).await?;
        let from = ImageSource { engine: Some(image.engine_address), ..source.from_image(built.image) };
        self.launch_image(launch, &from, ticket).await
    }

    /// Ends and removes a container of ours. True if it ran.
    async fn end(&self, id: &str) -> bool {
        let Ok(Identity { container: id, socket }) = id.parse() else { return false };
        let address = format!("unix://{}", socket.display());
        let Ok(engine) = self.engines().find(Some(&address)).await else { return false };
        let mut container =
            Container { engine, id, porter: None, stop_signal: "SIGTERM".to_owned(), memory_bytes_max: u64::MAX };
        let Ok(inspected) = container.inspect().await else { return false };
        let config = inspected.config.clone().unwrap_or_default();
        if config.labels.unwrap_or_default().get(label::HOME) != Some(&self.shared.config.home) {
            return false;
        }
        container.porter = inspected.name.as_deref().map(|name| porter::name(name.trim_start_matches('/')));
        let runs = is_running(&inspected);
        if runs {
            container.signal(config.stop_signal.as_deref().unwrap_or("SIGTERM")).await;
            let give_up_at = Instant::now() + LEFTOVER_GRACE;
            while Instant::now() < give_up_at && container.inspect().await.is_ok_and(|now| is_running(&now)) {
                sleep(ENGINE_POLL_FIRST).await;
            }
        }
        container.remove().await;
        runs
    }
}

fn is_running(inspected: &ContainerInspectResponse) -> bool {
    inspected.state.as_ref().and_then(|state| state.running).unwrap_or_default()
}

impl WorkloadRuntime for ContainerRuntime {
    fn name(&self) -> &'static str {
        "container"
    }

    fn supports(&self, source: &Source) -> bool {
        source.is_container()
    }

    fn announce(&self, server: &ServerKey) {
        self.shared.line.announce(server);
    }

    fn launch<'a>(&'a self, launch: &'a Launch) -> BoxFuture<'a, Result<Workload, LaunchError>> {
        Box::pin(async move {
            let ticket = self.shared.line.join(&launch.server);
            match &launch.source {
                Source::Image(source) => {
                    let launched = self.launch_image(launch, source, ticket).await;
                    launched.map_err(|error| error.launching(source.reference.as_str()))
                }
                Source::Package(source) => {
                    let launched = self.launch_package(launch, source, ticket).await;
                    launched.map_err(|error| error.launching(source.package.as_str()))
                }
                _ => Err(LaunchError::Unsupported("a container is started from an image or a package".to_owned())),
            }
        })
    }

    fn end_leftover<'a>(&'a self, id: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(self.end(id))
    }

    fn can_be_taken_over<'a>(&'a self, id: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(self.goes_on(id))
    }
}

/// Where the port of a container on an open network is reached from here.
fn address(inspected: &ContainerInspectResponse, port: u16) -> Option<SocketAddr> {
    let settings = inspected.network_settings.as_ref()?;
    let bindings = settings.ports.as_ref()?.get(&format!("{port}/tcp"))?.as_deref()?;
    let port = bindings.iter().find_map(|binding| binding.host_port.as_deref()?.parse().ok())?;
    Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
}

#[cfg(test)]
mod tests;
