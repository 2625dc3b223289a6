//! Images of packages: built once for each version, found again by name, and never in a registry.
//!
//! The name says it all: `fairlead.local/npx/server:1.2.3-<key>`, where the key stands for the recipe (base images, indexes,
//! certificates, whether with credentials). So a package is built anew when, and only when, its version or one of those has changed, and what was
//! built for one server serves all. A peer that names its images by the time rebuilds them with every run.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bollard::errors::Error;
use bollard::models::{BuildInfo, ContainerCreateBody};
use bollard::query_parameters::{
    BuildImageOptions, CreateContainerOptions, DownloadFromContainerOptions, PruneImagesOptions,
    RemoveContainerOptions, RemoveImageOptions, TagImageOptions,
};
use bytes::Bytes;
use fairlead_core::image::{ImageReference, ImageSource, PullPolicy};
use fairlead_core::name::TenantName;
use fairlead_core::package::{LATEST, PackageSource};
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::timeout;

use super::engine::Engine;
use super::error::{ContainerError, quoted};
use super::images::Images;
use super::progress::{BuildProgress, ContainerEvent};
use super::recipe::{BuildSettings, Recipe, SERVER_DIRECTORY, label};
use crate::limits::{BUILD_MAX, BUILD_OUTPUT_LINES_KEPT, BUILD_SILENCE_MAX, PACKAGE_VERSION_BYTES_MAX};

/// The registry that is none: nobody can answer for this name, so an engine that was told to pull it would fail.
pub(super) const REGISTRY: &str = "fairlead.local";

/// An image that was built of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltPackage {
    /// Its image.
    pub image: ImageReference,
    /// Version of the package.
    pub version: String,
    /// Whether it was built just now.
    pub fresh: bool,
}

/// What it takes to build.
pub(super) struct Workshop<'a> {
    pub(super) images: &'a Images,
    pub(super) engine: &'a Engine,
    pub(super) settings: &'a BuildSettings,
    pub(super) tenant: &'a TenantName,
    pub(super) observe: &'a (dyn Fn(ContainerEvent) + Send + Sync),
}

impl Workshop<'_> {
    /// Makes sure that the engine has an image of the package, as the policy says.
    pub(super) async fn provide(&self, source: &PackageSource) -> Result<BuiltPackage, ContainerError> {
        let recipe = Recipe::of(source, &self.settings.of_tenant(self.tenant))?;
        let repository = format!("{REGISTRY}/{}", source.package.repository());
        if source.pull != PullPolicy::Always
            && let Some(built) = self.known(&repository, source.version(), &recipe).await?
        {
            return Ok(built);
        }
        if source.pull == PullPolicy::Never {
            let (reference, engine) = (source.package.to_string(), self.engine.name().to_owned());
            return Err(ContainerError::ImageAbsent { reference, engine });
        }
        let turn = self.images.turn(format!("{} {repository}", self.engine.address()));
        let _turn = turn.lock().await;
        if source.pull == PullPolicy::Missing
            && let Some(built) = self.known(&repository, source.version(), &recipe).await?
        {
            return Ok(built);
        }
        for base in &recipe.bases {
            let base = ImageSource { verification: source.verification, ..ImageSource::new(base.clone()) };
            let observed = |progress| (self.observe)(ContainerEvent::Pulling(progress));
            self.images.provide(self.engine, self.tenant, &base, &observed).await?;
        }
        match timeout(BUILD_MAX, self.build(source, &recipe, &repository)).await {
            Ok(built) => built,
            Err(_) => Err(failed(source, format!("it took longer than {BUILD_MAX:?}"))),
        }
    }

    /// What was built before.
    async fn known(
        &self,
        repository: &str,
        version: &str,
        recipe: &Recipe,
    ) -> Result<Option<BuiltPackage>, ContainerError> {
        let name = format!("{repository}:{}", tag(version, recipe));
        let inspected = match self.engine.ask("inspect image", self.engine.docker().inspect_image(&name)).await {
            Ok(inspected) => inspected,
            Err(ContainerError::Refused { status: 404, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let ending = format!("-{}", recipe.key);
        let tags = inspected.repo_tags.unwrap_or_default();
        let mut versions =
            tags.iter().filter_map(|tag| tag.strip_prefix(repository)?.strip_prefix(':')?.strip_suffix(&ending));
        // The name of the newest is on the image as well, beside that of its version.
        let version = versions.find(|version| *version != LATEST).unwrap_or(version).to_owned();
        Ok(Some(BuiltPackage { image: named(repository, &version, recipe)?, version, fresh: false }))
    }

    async fn build(
        &self,
        source: &PackageSource,
        recipe: &Recipe,
        repository: &str,
    ) -> Result<BuiltPackage, ContainerError> {
        let mark = random();
        let unnamed = format!("{repository}:building-{mark}");
        let built = async {
            self.run(source, recipe, &unnamed, &mark).await?;
            let version = self.version(source, &unnamed).await?;
            let mut names = vec![version.as_str(), source.version()];
            names.dedup();
            for name in names {
                let options = TagImageOptions { repo: Some(repository.to_owned()), tag: Some(tag(name, recipe)) };
                self.engine.ask("tag image", self.engine.docker().tag_image(&unnamed, Some(options))).await?;
            }
            Ok(BuiltPackage { image: named(repository, &version, recipe)?, version, fresh: true })
        };
        let built = built.await;
        let options = RemoveImageOptions { noprune: true, ..RemoveImageOptions::default() };
        // Only the name: the image has another by now, unless something failed.
        let docker = self.engine.docker();
        let _ = self.engine.ask("untag image", docker.remove_image(&unnamed, Some(options), None)).await;
        // The first stage, of which nothing is needed any more: as large as the image, with the configuration of indexes.
        let stage = [("dangling", "true".to_owned()), ("label", format!("{}={mark}", label::BUILD))];
        let filters: HashMap<_, _> = stage.into_iter().map(|(name, value)| (name.to_owned(), vec![value])).collect();
        let options = PruneImagesOptions { filters: Some(filters) };
        if let Err(error) = self.engine.ask("remove build", docker.prune_images(Some(options))).await {
            tracing::warn!(%error, "the first stage of a build stays on its engine");
        }
        built
    }

    async fn run(&self, source: &PackageSource, recipe: &Recipe, name: &str, mark: &str) -> Result<(), ContainerError> {
        let context = recipe.context(mark).map_err(|error| failed(source, error.to_string()))?;
        let options = BuildImageOptions {
            dockerfile: "Dockerfile".to_owned(),
            t: Some(name.to_owned()),
            rm: true,
            forcerm: true,
            networkmode: self.settings.network.clone(),
            ..BuildImageOptions::default()
        };
        let docker = self.engine.docker().clone().with_timeout(BUILD_SILENCE_MAX);
        let mut messages =
            std::pin::pin!(docker.build_image(options, None, Some(bollard::body_full(Bytes::from(context)))));
        let mut output = Output::of(source);
        loop {
            match timeout(BUILD_SILENCE_MAX, messages.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(Ok(message))) => {
                    if let Some(progress) = output.take_in(&message) {
                        (self.observe)(ContainerEvent::Building(progress));
                    }
                }
                Ok(Some(Err(error))) => return Err(output.explain(self.engine, source, error)),
                Err(_) => return Err(failed(source, format!("nothing was said for {BUILD_SILENCE_MAX:?}"))),
            }
        }
    }

    /// Which version was installed: a file in the image, read without running anything of it.
    async fn version(&self, source: &PackageSource, image: &str) -> Result<String, ContainerError> {
        let docker = self.engine.docker();
        let body = ContainerCreateBody { image: Some(image.to_owned()), ..ContainerCreateBody::default() };
        let created = docker.create_container(None::<CreateContainerOptions>, body);
        let id = self.engine.ask("create container", created).await?.id;
        let options = DownloadFromContainerOptions { path: format!("{SERVER_DIRECTORY}/VERSION") };
        let archive = docker.download_from_container(&id, Some(options)).try_fold(Vec::new(), async |mut all, part| {
            if all.len() < PACKAGE_VERSION_BYTES_MAX {
                all.extend_from_slice(&part);
            }
            Ok(all)
        });
        let archive = self.engine.ask("read version", archive).await;
        let options = RemoveContainerOptions { force: true, v: true, link: false };
        let _ = self.engine.ask("remove container", docker.remove_container(&id, Some(options))).await;
        read_version(&archive?).ok_or_else(|| failed(source, "its version could not be read".to_owned()))
    }
}

fn read_version(archive: &[u8]) -> Option<String> {
    let mut archive = tar::Archive::new(archive);
    let mut text = String::new();
    let mut entry = archive.entries().ok()?.next()?.ok()?;
    std::io::Read::read_to_string(&mut entry, &mut text).ok()?;
    let version = text.trim().to_owned();
    let is_one = !version.is_empty()
        && version.len() <= 100
        && version.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'+' | b'-'));
    is_one.then_some(version)
}

/// A tag has no `+`, which versions of Python have.
fn tag(version: &str, recipe: &Recipe) -> String {
    format!("{}-{}", version.replace('+', "_"), recipe.key)
}

fn named(repository: &str, version: &str, recipe: &Recipe) -> Result<ImageReference, ContainerError> {
    let text = format!("{repository}:{}", tag(version, recipe));
    ImageReference::new(&text)
        .map_err(|error| ContainerError::ImageNotFound { reference: text, message: error.to_string() })
}

fn random() -> String {
    let mut random = [0; 8];
    // Without randomness two builds may share a name, and the second takes it over, which is harmless.
    let _ = getrandom::fill(&mut random);
    format!("{:016x}", u64::from_ne_bytes(random))
}

fn failed(source: &PackageSource, message: String) -> ContainerError {
    ContainerError::Build { package: source.package.to_string(), message }
}

/// What a build says, of which the last lines are kept: they tell why it failed.
struct Output {
    progress: BuildProgress,
    last: VecDeque<Arc<str>>,
}

impl Output {
    fn of(source: &PackageSource) -> Self {
        let progress = BuildProgress { package: source.package.to_string(), ..BuildProgress::default() };
        Self { progress, last: VecDeque::new() }
    }

    fn take_in(&mut self, message: &BuildInfo) -> Option<BuildProgress> {
        let mut changed = false;
        for line in message.stream.as_deref()?.lines().map(plain).filter(|line| !line.is_empty()) {
            match step(&line) {
                Some((step, steps)) => {
                    (self.progress.step, self.progress.steps) = (step, steps);
                    self.progress.line = String::new();
                    self.last.clear();
                }
                None => {
                    self.progress.line.clone_from(&line);
                    // Of its own bookkeeping the engine says this.
                    if line.starts_with("Removing intermediate container") || line.starts_with("---> ") {
                        continue;
                    }
                    if self.last.len() >= BUILD_OUTPUT_LINES_KEPT {
                        self.last.pop_front();
                    }
                    self.last.push_back(line.into());
                }
            }
            changed = true;
        }
        changed.then(|| self.progress.clone())
    }

    fn explain(&self, engine: &Engine, source: &PackageSource, error: Error) -> ContainerError {
        let message = match error {
            Error::DockerStreamError { error } => error,
            Error::DockerResponseServerError { message, .. } => message,
            error => return ContainerError::of_engine(engine.name(), "build image", error),
        };
        let lines: Vec<&str> = self.last.iter().map(AsRef::as_ref).collect();
        let said = lines.join("\n");
        let absent = [
            "E404",
            "404 Not Found",
            "No matching distribution",
            "ETARGET",
            "unknown revision",
            "no matching versions",
        ];
        if absent.iter().any(|words| said.contains(words)) {
            return ContainerError::PackageNotFound { package: source.package.to_string(), said };
        }
        let said = if said.is_empty() { quoted(&message) } else { said };
        failed(source, format!("step {} of {} failed\n{said}", self.progress.step, self.progress.steps))
    }
}

/// A line as a person reads it: without the sequences that colour it.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, sequence)) = rest.split_once("\u{1b}[") {
        text.push_str(before);
        let end = sequence.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        rest = end.strip_prefix(|c: char| c.is_ascii_alphabetic()).unwrap_or(end);
    }
    text.push_str(rest);
    quoted(&text)
}

/// `Step 3/9 : RUN …`, as Docker says it; Podman shouts.
fn step(line: &str) -> Option<(u32, u32)> {
    let rest = line.strip_prefix("Step ").or_else(|| line.strip_prefix("STEP "))?;
    let (step, rest) = rest.split_once('/')?;
    let steps: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((step.parse().ok()?, steps.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> BuildInfo {
        BuildInfo { stream: Some(text.to_owned()), ..BuildInfo::default() }
    }

    fn source() -> PackageSource {
        PackageSource::new(fairlead_core::package::PackageReference::new("npx://a").unwrap())
    }

    #[test]
    fn a_build_tells_how_far_it_is_and_why_it_failed() {
        let mut output = Output::of(&source());
        assert_eq!(output.take_in(&said("Step 3/9 : RUN npm install a\n")).map(|p| (p.step, p.steps)), Some((3, 9)));
        assert_eq!(output.take_in(&said("STEP 4/9: RUN x")).map(|p| (p.step, p.steps)), Some((4, 9)));
        assert_eq!(output.take_in(&said("\n")), None);
        assert_eq!(output.take_in(&said("\u{1b}[91mnpm error\u{1b}[0m code\n")).unwrap().line, "npm error code");
        assert_eq!(output.take_in(&said("npm http fetch GET 200")).unwrap().line, "npm http fetch GET 200");
        for at in 0..100 {
            output.take_in(&said(&format!("line {at}")));
        }
        assert_eq!(output.last.len(), BUILD_OUTPUT_LINES_KEPT);
    }

    #[test]
    fn a_version_is_read_from_an_archive_and_nothing_else_is_taken_for_one() {
        let archive = |content: &str| {
            let mut archive = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len().try_into().unwrap());
            archive.append_data(&mut header, "VERSION", content.as_bytes()).unwrap();
            archive.into_inner().unwrap()
        };
        assert_eq!(read_version(&archive("1.2.3+a\n")).as_deref(), Some("1.2.3+a"));
        for content in ["", "a b", "../x", &"1".repeat(200), "1\u{1b}"] {
            assert_eq!(read_version(&archive(content)), None, "{content:?}");
        }
        assert_eq!(read_version(b"nonsense"), None);
    }
}
