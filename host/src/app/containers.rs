//! Servers in containers, as the daemon sees them: whose containers are ours, what became of the images, and the words for
//! what an engine refuses.
//!
//! The home of a daemon is a random number that it keeps with its state, not the path of that state: two daemons in two
//! containers of one engine have the same path, and each would take the other's servers for leftovers and end them.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use fairlead_core::digest::Digest;
use fairlead_core::image::{ImageReference, ImageReferenceError, ImageSource, PullPolicy};
use fairlead_core::name::ServerKey;
use fairlead_core::oci::CredentialSource;
use fairlead_core::package::{PackageKind, PackageSource};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::server::{ServerSpec, Source};
use fairlead_core::signature::ImageVerifier;
use fairlead_oci::{DockerCredentials, InsecureRegistries, Signatures};
use fairlead_runtimes::ContainerRuntime;
use fairlead_runtimes::container::{
    BuildProgress, BuildSettings, ContainerError, ContainerEvent, ContainerObserver, ContainerRuntimeConfig, Engines,
    Found, ProvidedImage, PullProgress, Surroundings,
};
use parking_lot::Mutex;

use super::operations::Operations;
use crate::api::types::{Build, CreateBuild, ImageInfo, OperationProgress};
use crate::config::{self, Directories, Settings};
use crate::limits::PULL_REPORT_INTERVAL;
use crate::text;

/// Where a problem is that a package has.
pub(super) const PACKAGE: &str = "/spec/source/package";

/// The containers of this daemon.
pub(super) struct Containers {
    runtime: Arc<ContainerRuntime>,
    seen: Arc<Seen>,
}

/// What was heard of images.
struct Seen {
    operations: Arc<Operations>,
    /// By server and by what was launched: during a rollout there are two.
    images: Mutex<BTreeMap<(ServerKey, String), ProvidedImage>>,
    reported: Mutex<BTreeMap<ServerKey, Instant>>,
}

impl Containers {
    /// Looks for no engine yet.
    ///
    /// # Errors
    /// The mark of this home can neither be read nor written.
    pub(super) fn new(settings: &Settings, operations: Arc<Operations>) -> io::Result<Self> {
        let seen = Arc::new(Seen { operations, images: Mutex::default(), reported: Mutex::default() });
        let Directories { state, data, config, cache, run } = &settings.directories;
        let shut = [state, data, config, cache, run].into_iter().chain(&settings.config).cloned();
        let runtime = ContainerRuntime::new(ContainerRuntimeConfig {
            engines: Arc::new(Engines::new(Surroundings::of_this_process())),
            home: home(&settings.directories.home_id())?,
            shut: shut.collect(),
            ignore: Some(settings.directories.ignore()),
            doors: run.join("doors"),
            build: build_settings(&settings.build).map_err(io::Error::other)?,
            credentials: credentials(),
            resolver: Arc::new(super::registries(InsecureRegistries::default())),
            verifier: verifier(settings),
            verification: settings.images.verification,
            observer: Arc::clone(&seen) as _,
        });
        Ok(Self { runtime: Arc::new(runtime), seen })
    }

    /// The engine adapter.
    pub(super) fn runtime(&self) -> &Arc<ContainerRuntime> {
        &self.runtime
    }

    /// Sees that a server can be launched (its profile is granted, its image is there), and keeps it on the engine that
    /// was found. Nothing to do for a server that comes from no image.
    ///
    /// # Errors
    /// It cannot be launched.
    pub(super) async fn provide(&self, key: &ServerKey, source: &mut Source) -> Result<(), Problem> {
        let provided = match source {
            Source::Image(source) => {
                self.runtime.check(&source.permissions, &source.resources).map_err(|error| refused(&error))?;
                let provided = self.runtime.provide(key, source).await.map_err(|error| refused(&error))?;
                source.engine = Some(provided.engine_address.clone());
                provided
            }
            Source::Package(source) => {
                self.runtime.check(&source.permissions, &source.resources).map_err(|error| refused(&error))?;
                let built = self.runtime.provide_package(key, source).await;
                let (built, provided) = built.map_err(|error| refused(&error))?;
                source.engine = Some(provided.engine_address.clone());
                source.resolved = Some(built.version);
                provided
            }
            _ => return Ok(()),
        };
        self.seen.keep(key, provided);
        Ok(())
    }

    /// Builds an image of a package, for whoever wants it built and not run.
    ///
    /// # Errors
    /// It cannot be built.
    pub(super) async fn build(&self, key: &ServerKey, request: CreateBuild) -> Result<Build, Problem> {
        let CreateBuild { package, base, pull, engine, tag, dry_run } = request;
        let source = PackageSource { base, pull, engine, ..PackageSource::new(package.clone()) };
        if dry_run {
            let recipe = self.runtime.recipe(&source).map_err(|error| refused(&error))?;
            return Ok(Build { package, version: None, image: None, fresh: false, recipe: Some(recipe) });
        }
        let (built, image) = self.runtime.provide_package(key, &source).await.map_err(|error| refused(&error))?;
        if let Some(tag) = &tag {
            self.runtime.tag(&image, tag).await.map_err(|error| refused(&error))?;
        }
        let image = ImageInfo { reference: tag.map_or(image.reference.clone(), |tag| tag.to_string()), ..shown(image) };
        Ok(Build { package, version: Some(built.version), image: Some(image), fresh: built.fresh, recipe: None })
    }

    /// The image of a server, as far as it is known since the daemon started; `None` for one that comes from none.
    pub(super) fn image(&self, key: &ServerKey, source: &Source) -> Option<ImageInfo> {
        let (reference, engine_address) = match source {
            Source::Image(source) => (Some(&source.reference), source.engine.clone()),
            Source::Package(source) => {
                // During a rollout, and after one, there are images of two versions.
                if let Some(image) = source.resolved.as_deref().and_then(|version| self.seen.built(key, version)) {
                    return Some(shown(image));
                }
                (None, source.engine.clone())
            }
            _ => return None,
        };
        if let Some(image) = self.seen.image(key, reference) {
            return Some(shown(image));
        }
        let reference = reference?;
        Some(ImageInfo {
            reference: reference.to_string(),
            id: None,
            digest: reference.digest().map(str::to_owned),
            signed_by: None,
            engine: None,
            engine_address,
        })
    }

    /// The digest of what was launched last of this source, as far as an engine has told it.
    pub(super) fn digest(&self, key: &ServerKey, source: &Source) -> Option<Digest> {
        let Source::Image(source) = source else { return None };
        let known = self.seen.image(key, Some(&source.reference))?.digest;
        known.as_deref().or(source.reference.digest()).and_then(|digest| Digest::new(digest).ok())
    }

    /// What a reference names now, as the engine of a server sees it: fetched, and nothing that is remembered of what runs.
    pub(super) async fn resolve(&self, key: &ServerKey, source: &ImageSource) -> Result<Option<Digest>, Problem> {
        let source = ImageSource { pull: PullPolicy::Always, ..source.clone() };
        let provided = self.runtime.provide(key, &source).await.map_err(|error| refused(&error))?;
        Ok(provided.digest.as_deref().and_then(|digest| Digest::new(digest).ok()))
    }

    /// The version of a package that was launched last, as far as an engine has told it: it is in the name of its image.
    pub(super) fn package_version(&self, key: &ServerKey) -> Option<String> {
        version_in(&self.seen.image(key, None)?.reference)
    }

    /// The index that packages of a kind come from where none is set: what the tool says that builds them, in the image in which it
    /// does.
    pub(super) async fn package_index(&self, kind: PackageKind) -> Result<String, Problem> {
        self.runtime.package_index(kind).await.map_err(|error| refused(&error))
    }

    /// A server is gone.
    pub(super) fn forget(&self, key: &ServerKey) {
        self.seen.images.lock().retain(|(known, _), _| known != key);
        self.seen.reported.lock().remove(key);
    }
}

/// The version in the name of an image that was built of a package: `…:1.2.3-key`. A tag has no `+`.
fn version_in(reference: &str) -> Option<String> {
    let image = ImageReference::new(reference).ok()?;
    let (version, _) = image.tag()?.rsplit_once('-')?;
    Some(version.replace('_', "+"))
}

fn shown(image: ProvidedImage) -> ImageInfo {
    ImageInfo {
        reference: image.reference,
        id: Some(image.id),
        digest: image.digest,
        signed_by: image.signed_by,
        engine: Some(image.engine),
        engine_address: Some(image.engine_address),
    }
}

/// What the user of this machine may show to registries.
pub(super) fn credentials() -> Arc<dyn CredentialSource> {
    Arc::new(DockerCredentials::of_machine(|name| std::env::var(name).ok()))
}

/// Who looks for signatures, where there are keys to check them with.
fn verifier(settings: &Settings) -> Option<Arc<dyn ImageVerifier>> {
    let keys = settings.images.keys.clone();
    if keys.is_empty() {
        return None;
    }
    let client = Arc::new(super::registries(InsecureRegistries::default()));
    Some(Arc::new(Signatures::new(client, keys, settings.directories.cache.join("signatures"))))
}

/// With what images are built: what is set, over what is usual.
fn build_settings(set: &config::Build) -> Result<BuildSettings, ImageReferenceError> {
    let usual = BuildSettings::usual()?;
    let image = |set: &Option<String>, usual| set.as_deref().map_or(Ok(usual), ImageReference::new);
    Ok(BuildSettings {
        node_image: image(&set.node_image, usual.node_image)?,
        python_image: image(&set.python_image, usual.python_image)?,
        go_image: image(&set.go_image, usual.go_image)?,
        go_base_image: image(&set.go_base_image, usual.go_base_image)?,
        npm_registry: set.npm_registry.clone(),
        python_index: set.python_index.clone(),
        go_proxy: set.go_proxy.clone(),
        npmrc: set.npmrc.clone(),
        netrc: set.netrc.clone(),
        ca_file: set.ca_file.clone(),
        network: set.network.clone(),
    })
}

/// What is launched: a server that listens in a container is told where to. What its user said goes before that.
pub(super) fn launched(spec: &ServerSpec) -> ServerSpec {
    let mut spec = spec.clone();
    if let (true, Some(port)) = (spec.source.is_container(), spec.transport.port()) {
        // Every address of the container: its loopback cannot be reached from outside.
        let told = [
            ("MCP_PORT", port.to_string()),
            ("MCP_HOST", "0.0.0.0".into()),
            ("MCP_TRANSPORT", spec.transport.name().into()),
        ];
        for (name, value) in told {
            spec.env.entry(name.to_owned()).or_insert(value);
        }
    }
    spec
}

impl ContainerObserver for Seen {
    fn observe(&self, server: &ServerKey, event: ContainerEvent) {
        match event {
            ContainerEvent::Pulling(progress) => self.report(server, &progress),
            ContainerEvent::Building(progress) => {
                let BuildProgress { package, step, steps, line } = progress;
                let stage = match line.is_empty() {
                    true => format!("building {package}"),
                    false => format!("building {package}: {line}"),
                };
                let progress = OperationProgress { done: step.into(), total: steps.into(), unit: "steps".to_owned() };
                self.operations.tell(server, &stage, Some(progress));
            }
            ContainerEvent::Running(image) => {
                self.reported.lock().remove(server);
                self.keep(server, image);
            }
        }
    }
}

impl Seen {
    fn keep(&self, server: &ServerKey, image: ProvidedImage) {
        self.images.lock().insert((server.clone(), image.reference.clone()), image);
    }

    /// The image of a server; without a reference, any: a package is built into one with a name of its own.
    fn image(&self, server: &ServerKey, reference: Option<&ImageReference>) -> Option<ProvidedImage> {
        let images = self.images.lock();
        let mut ours = images.iter().filter(|((known, _), _)| known == server);
        let is_meant = |of: &str| reference.is_none_or(|reference| reference.as_str() == of);
        ours.find(|((_, of), _)| is_meant(of)).map(|(_, image)| image.clone())
    }

    /// The image of a version of a package: it is in the name.
    fn built(&self, server: &ServerKey, version: &str) -> Option<ProvidedImage> {
        let images = self.images.lock();
        let mut ours = images.iter().filter(|((known, _), _)| known == server);
        ours.find(|((_, of), _)| version_in(of).is_some_and(|named| named == version)).map(|(_, image)| image.clone())
    }

    /// Now and then: an engine speaks of every layer many times a second.
    fn report(&self, server: &ServerKey, progress: &PullProgress) {
        let counted = OperationProgress { done: progress.bytes_done, total: progress.bytes, unit: "bytes".to_owned() };
        self.operations.tell(server, &format!("fetching {}", progress.reference), Some(counted));
        let now = Instant::now();
        let mut reported = self.reported.lock();
        if reported.get(server).is_some_and(|last| now.duration_since(*last) < PULL_REPORT_INTERVAL) {
            return;
        }
        reported.insert(server.clone(), now);
        let PullProgress { reference, layers, layers_done, bytes, bytes_done } = progress;
        tracing::info!(
            fairlead.server.name = %server, image = reference, layers, layers_done, bytes, bytes_done, "pulling an image"
        );
    }
}

/// What an engine refuses, for whoever asked for it.
fn refused(error: &ContainerError) -> Problem {
    let (kind, pointer) = match error {
        ContainerError::ImageNotFound { .. } | ContainerError::ImageAbsent { .. } => {
            (ProblemKind::Invalid, Some("/spec/source/reference"))
        }
        ContainerError::PackageNotFound { .. } => (ProblemKind::Invalid, Some(PACKAGE)),
        ContainerError::Build { .. } => (ProblemKind::Unavailable, Some(PACKAGE)),
        ContainerError::PullDenied { .. } | ContainerError::NotOfTenant { .. } | ContainerError::NotVouched { .. } => {
            (ProblemKind::Forbidden, Some("/spec/source/reference"))
        }
        ContainerError::NoSuchEngine { .. } => (ProblemKind::Unavailable, Some("/spec/source/engine")),
        ContainerError::Permission(_)
        | ContainerError::Mount { .. }
        | ContainerError::Ignore { .. }
        | ContainerError::OutOfReach { .. } => (ProblemKind::Invalid, Some("/spec/source/permissions")),
        ContainerError::Resources(_) => (ProblemKind::Invalid, Some("/spec/source/resources")),
        _ => (ProblemKind::Unavailable, None),
    };
    let mut problem = Problem::new(kind, text::chain(error));
    problem.hint = match error {
        // One word may be meant for anything that can be run.
        ContainerError::ImageNotFound { reference, .. }
        | ContainerError::PullDenied { reference, .. }
        | ContainerError::Pull { reference, .. }
            if !reference.contains(['/', ':', '@']) =>
        {
            let image = error.hint().map(|hint| format!("; if it is one, {hint}")).unwrap_or_default();
            Some(format!(
                "`{reference}` was taken for an image: a component is given by its path (`./{reference}.wasm`), a command of \
                 this machine goes after `--`, a package is `npx://{reference}` or `uvx://{reference}`, an entry of a \
                 registry `registry://{reference}`{image}"
            ))
        }
        // What looks like an image may be a command whose dashes were forgotten.
        ContainerError::ImageNotFound { .. } | ContainerError::PullDenied { .. } => {
            let hint = error.hint().unwrap_or_default();
            Some(format!("{hint}; a command of this machine goes after `--`"))
        }
        _ => error.hint().map(str::to_owned),
    };
    problem.pointer = pointer.map(str::to_owned);
    problem
}

/// The containers of this home on the engines that answer. For when no daemon runs: one that does minds its own.
///
/// # Errors
/// The mark of this home can neither be read nor written.
pub(crate) async fn leftover_containers(settings: &Settings) -> io::Result<Vec<Found>> {
    // A home without a mark never had containers, and looking must not make one.
    if !settings.directories.home_id().exists() {
        return Ok(Vec::new());
    }
    let operations = Operations::new(Arc::new(super::MachineClock));
    Ok(Containers::new(settings, operations)?.runtime.found().await)
}

/// The mark of this home on its containers: made once, then always the same.
fn home(path: &Path) -> io::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(known) if is_mark(known.trim()) => return Ok(known.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let mark = format!("{:032x}", u128::from_ne_bytes(random));
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    // Whole or not at all: half a mark would be another one after the next start.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    writeln!(file, "{mark}")?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(mark)
}

fn is_mark(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(value: serde_json::Value) -> ServerSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_home_keeps_its_mark_and_no_two_have_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("home-id");
        let mark = home(&path).unwrap();
        assert_eq!(home(&path).unwrap(), mark);
        assert_ne!(home(&directory.path().join("other")).unwrap(), mark);
        std::fs::write(&path, "half a ma").unwrap();
        let new = home(&path).unwrap();
        assert!(is_mark(&new) && new != mark);
    }

    #[test]
    fn an_image_that_listens_is_told_where_unless_its_user_said_so() {
        let http = json!({"kind": "streamable-http", "port": 8000});
        let image = json!({"kind": "image", "reference": "a"});
        let told = launched(&spec(json!({"source": image, "transport": http, "env": {"MCP_HOST": "::"}}))).env;
        let told: Vec<_> = told.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(told, [("MCP_HOST", "::"), ("MCP_PORT", "8000"), ("MCP_TRANSPORT", "streamable-http")]);
        for spec in [
            spec(json!({"source": image})),
            spec(json!({"source": {"kind": "command", "program": "a"}, "transport": http})),
        ] {
            assert_eq!(launched(&spec), spec);
        }
    }

    #[test]
    fn what_is_refused_has_its_place_and_a_remedy() {
        let denied = ContainerError::PullDenied {
            reference: "npx".to_owned(),
            registry: "docker.io".to_owned(),
            message: "denied".to_owned(),
        };
        let problem = refused(&denied);
        assert_eq!(problem.kind, ProblemKind::Forbidden);
        assert_eq!(problem.pointer.as_deref(), Some("/spec/source/reference"));
        assert!(problem.hint.unwrap().contains("goes after `--`"));
        let pull = |reference: &str| {
            refused(&ContainerError::Pull { reference: reference.to_owned(), message: "no such host".to_owned() })
        };
        let hint = pull("toolbox").hint.unwrap();
        for meant in ["`./toolbox.wasm`", "goes after `--`", "`npx://toolbox`", "`registry://toolbox`"] {
            assert!(hint.contains(meant), "{meant}: {hint}");
        }
        for image in ["toolbox:1", "registry.example/toolbox", "team/toolbox"] {
            assert_eq!(pull(image).hint, None, "{image} is an image beyond doubt");
        }
        let none = refused(&ContainerError::NoEngine { tried: Vec::new() });
        assert_eq!(none.kind, ProblemKind::Unavailable);
        assert!(none.hint.unwrap().contains("fairlead doctor"));
    }
}
