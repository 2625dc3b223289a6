//! Images of an engine: there or fetched, and known by digest.
//!
//! The name that is pulled has the registry, the repository and the tag written out. An engine asked for a bare name pulls
//! *every* tag of it, or asks back which registry was meant. Ten sessions that open at once pull once.

use std::collections::HashMap;
use std::sync::Arc;

use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::ImageInspect;
use bollard::query_parameters::CreateImageOptions;
use fairlead_core::image::{ImageReference, ImageSource, PullPolicy};
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::credentials;
use super::engine::Engine;
use super::error::{ContainerError, quoted};
use super::progress::{Layers, ProvidedImage, PullProgress};
use super::surroundings::Surroundings;
use crate::limits::{PULL_MAX, PULL_SILENCE_MAX};

/// What is known of an image that an engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) id: String,
    pub(super) digest: Option<String>,
    /// What its author wants to be told to stop by.
    pub(super) stop_signal: String,
    pub(super) user: String,
    pub(super) has_healthcheck: bool,
}

impl Image {
    /// For whoever asks.
    pub(super) fn told(&self, engine: &Engine, source: &ImageSource) -> ProvidedImage {
        let user = source.user.as_deref().unwrap_or(&self.user);
        ProvidedImage {
            reference: source.reference.to_string(),
            id: self.id.clone(),
            digest: self.digest.clone(),
            is_root: matches!(user.split(':').next(), None | Some("" | "0" | "root")),
            engine: engine.name().to_owned(),
            engine_address: engine.address(),
        }
    }
}

/// Fetches images, each once at a time.
#[derive(Debug, Default)]
pub(super) struct Images {
    pulls: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Images {
    /// Makes sure that the engine has the image, as the policy says.
    pub(super) async fn provide(
        &self,
        engine: &Engine,
        source: &ImageSource,
        surroundings: &Surroundings,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<Image, ContainerError> {
        let reference = &source.reference;
        if source.pull != PullPolicy::Always
            && let Some(image) = inspect(engine, reference).await?
        {
            return Ok(image);
        }
        if source.pull == PullPolicy::Never {
            let (reference, engine) = (reference.to_string(), engine.name().to_owned());
            return Err(ContainerError::ImageAbsent { reference, engine });
        }
        let turn = self.turn(format!("{} {reference}", engine.address()));
        let _turn = turn.lock().await;
        if source.pull == PullPolicy::Missing
            && let Some(image) = inspect(engine, reference).await?
        {
            return Ok(image);
        }
        let credentials = credentials::of_registry(surroundings, reference.registry()).await?;
        match timeout(PULL_MAX, pull(engine, reference, credentials, progress)).await {
            Ok(pulled) => pulled?,
            Err(_) => return Err(failed(reference, format!("it took longer than {PULL_MAX:?}"))),
        }
        inspect(engine, reference).await?.ok_or_else(|| failed(reference, "it was pulled and is not there".to_owned()))
    }

    /// The right to fetch or build one thing on one engine.
    pub(super) fn turn(&self, key: String) -> Arc<tokio::sync::Mutex<()>> {
        let mut pulls = self.pulls.lock();
        pulls.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(pulls.entry(key).or_default())
    }
}

async fn inspect(engine: &Engine, reference: &ImageReference) -> Result<Option<Image>, ContainerError> {
    match engine.ask("inspect image", engine.docker().inspect_image(reference.as_str())).await {
        Ok(image) => Ok(Some(described(image, reference))),
        Err(ContainerError::Refused { status: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn described(image: ImageInspect, reference: &ImageReference) -> Image {
    let config = image.config.unwrap_or_default();
    let stop_signal = config.stop_signal.filter(|signal| !signal.is_empty());
    Image {
        id: image.id.unwrap_or_default(),
        digest: reference
            .digest()
            .map(str::to_owned)
            .or_else(|| digest(&image.repo_digests.unwrap_or_default(), reference)),
        stop_signal: stop_signal.unwrap_or_else(|| "SIGTERM".to_owned()),
        user: config.user.unwrap_or_default(),
        has_healthcheck: config.healthcheck.is_some(),
    }
}

/// The digest by which the image is known in the repository that it was named with. The same image may have come from
/// others as well, where it can have another.
fn digest(repo_digests: &[String], reference: &ImageReference) -> Option<String> {
    let repository = reference.repository();
    let known = repo_digests.iter().filter_map(|text| ImageReference::new(text).ok());
    known.filter(|known| known.repository() == repository).find_map(|known| known.digest().map(str::to_owned))
}

/// What the engine is asked to pull: nothing left to its defaults.
fn pulled_name(reference: &ImageReference) -> String {
    let repository = reference.repository();
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("{repository}@{digest}"),
        (None, tag) => format!("{repository}:{}", tag.unwrap_or("latest")),
    }
}

async fn pull(
    engine: &Engine,
    reference: &ImageReference,
    credentials: Option<DockerCredentials>,
    progress: &(dyn Fn(PullProgress) + Send + Sync),
) -> Result<(), ContainerError> {
    let options = CreateImageOptions { from_image: Some(pulled_name(reference)), ..CreateImageOptions::default() };
    let docker = engine.docker().clone().with_timeout(PULL_SILENCE_MAX);
    let mut messages = std::pin::pin!(docker.create_image(Some(options), None, credentials));
    let mut layers = Layers::of(reference.as_str());
    loop {
        match timeout(PULL_SILENCE_MAX, messages.next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(message))) => {
                if let Some(so_far) = layers.take_in(&message) {
                    progress(so_far);
                }
            }
            Ok(Some(Err(error))) => return Err(not_pulled(engine, reference, error)),
            Err(_) => return Err(failed(reference, format!("nothing arrived for {PULL_SILENCE_MAX:?}"))),
        }
    }
}

/// Engines and registries have no common code for what went wrong, only words.
fn not_pulled(engine: &Engine, reference: &ImageReference, error: Error) -> ContainerError {
    let message = match error {
        Error::DockerStreamError { error } => error,
        Error::DockerResponseServerError { message, .. } => message,
        error => return ContainerError::of_engine(engine.name(), "pull", error),
    };
    let message = quoted(&message);
    let words = message.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|some| words.contains(some));
    if says(&["denied", "unauthorized", "authentication required", "no basic auth", "forbidden"]) {
        let (reference, registry) = (reference.to_string(), reference.registry().to_owned());
        return ContainerError::PullDenied { reference, registry, message };
    }
    if says(&["manifest unknown", "name unknown", "not found", "no such image", "does not exist"]) {
        return ContainerError::ImageNotFound { reference: reference.to_string(), message };
    }
    failed(reference, message)
}

fn failed(reference: &ImageReference, message: String) -> ContainerError {
    ContainerError::Pull { reference: reference.to_string(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str) -> ImageReference {
        ImageReference::new(text).unwrap()
    }

    #[test]
    fn nothing_is_left_to_the_defaults_of_the_engine() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(pulled_name(&reference("redis")), "docker.io/library/redis:latest");
        assert_eq!(pulled_name(&reference("127.0.0.1:5000/a/b:2")), "127.0.0.1:5000/a/b:2");
        assert_eq!(pulled_name(&reference(&format!("a/b:2@{digest}"))), format!("docker.io/a/b@{digest}"));
    }

    #[test]
    fn the_digest_is_that_of_the_repository_in_question() {
        let hex = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let known = [format!("ghcr.io/a/redis@{}", hex("1")), format!("redis@{}", hex("2")), "nonsense".to_owned()];
        assert_eq!(digest(&known, &reference("docker.io/library/redis:7")), Some(hex("2")));
        assert_eq!(digest(&known, &reference("ghcr.io/a/redis")), Some(hex("1")));
        assert_eq!(digest(&known, &reference("ghcr.io/b/redis")), None);
    }
}
