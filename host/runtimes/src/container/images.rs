//! Images of an engine: there or fetched, and known by digest.
//!
//! The name that is pulled has the registry, the repository and the tag written out. An engine asked for a bare name pulls
//! *every* tag of it, or asks back which registry was meant. Ten sessions that open at once pull once.
//!
//! An engine gives what it has to whoever asks for it, and Podman shows what its user is logged in with by itself. So where
//! this machine may see more than a tenant, the registry is asked, with what the tenant has to show, before the engine is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ImageInspect};
use bollard::query_parameters::CreateImageOptions;
use fairlead_core::digest::Digest;
use fairlead_core::image::{ImageReference, ImageSource, PullPolicy};
use fairlead_core::name::TenantName;
use fairlead_core::oci::{Credential, CredentialError, CredentialSource, DigestResolver, RegistryError};
use fairlead_core::signature::{ImageVerification, ImageVerifier, SignatureError};
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::engine::Engine;
use super::engines::chain;
use super::error::{ContainerError, quoted};
use super::packages;
use super::progress::{Layers, ProvidedImage, PullProgress};
use crate::limits::{IMAGES_ALLOWED_KEPT, PULL_MAX, PULL_SILENCE_MAX};

/// What is known of an image that an engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) id: String,
    pub(super) digest: Option<String>,
    /// What its author wants to be told to stop by.
    pub(super) stop_signal: String,
    pub(super) user: String,
    pub(super) has_healthcheck: bool,
    /// What it starts, and with what.
    pub(super) entrypoint: Vec<String>,
    pub(super) arguments: Vec<String>,
    /// Name of the key with which somebody signed it.
    pub(super) signed_by: Option<String>,
}

impl Image {
    /// For whoever asks.
    pub(super) fn told(&self, engine: &Engine, source: &ImageSource) -> ProvidedImage {
        let user = source.user.as_deref().unwrap_or(&self.user);
        ProvidedImage {
            reference: source.reference.to_string(),
            id: self.id.clone(),
            digest: self.digest.clone(),
            signed_by: self.signed_by.clone(),
            is_root: matches!(user.split(':').next(), None | Some("" | "0" | "root")),
            engine: engine.name().to_owned(),
            engine_address: engine.address(),
        }
    }
}

/// Who is asked about images beside their engines.
pub(super) struct Authorities {
    /// Who shows what to which registry.
    pub(super) credentials: Arc<dyn CredentialSource>,
    /// Who says what a tenant may see.
    pub(super) resolver: Arc<dyn DigestResolver>,
    /// Who says whether an image was signed; nobody, and then none was.
    pub(super) verifier: Option<Arc<dyn ImageVerifier>>,
    /// What is done about signatures, whatever a server wants less of.
    pub(super) verification: ImageVerification,
}

/// Fetches images, each once at a time.
pub(super) struct Images {
    authorities: Authorities,
    pulls: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Who was let have what.
    allowed: Mutex<HashSet<(TenantName, ImageReference)>>,
}

impl Images {
    pub(super) fn new(authorities: Authorities) -> Self {
        Self { authorities, pulls: Mutex::default(), allowed: Mutex::default() }
    }

    /// Makes sure that the engine has the image, as the policy says, and that it may run.
    pub(super) async fn provide(
        &self,
        engine: &Engine,
        tenant: &TenantName,
        source: &ImageSource,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<Image, ContainerError> {
        self.allow(tenant, &source.reference).await?;
        let image = self.obtain(engine, tenant, source, progress).await?;
        self.vouched(tenant, source, image).await
    }

    /// Sees that a tenant gets nothing by way of what this machine is logged in with.
    async fn allow(&self, tenant: &TenantName, reference: &ImageReference) -> Result<(), ContainerError> {
        let machine = TenantName::default();
        // What was built here is nobody's, and built without credentials for a tenant that has none.
        if *tenant == machine || reference.registry() == packages::REGISTRY {
            return Ok(());
        }
        let Authorities { credentials, resolver, .. } = &self.authorities;
        let registry = reference.registry();
        let (of_machine, own) = (credentials.find(&machine, registry).await, credentials.find(tenant, registry).await);
        if of_machine == Ok(Credential::Anonymous) || of_machine == own {
            return Ok(());
        }
        let who = (tenant.clone(), reference.clone());
        if self.allowed.lock().contains(&who) {
            return Ok(());
        }
        resolver.resolve(tenant, reference).await.map_err(|error| match error {
            RegistryError::Denied { .. } | RegistryError::NotFound { .. } => ContainerError::NotOfTenant {
                reference: reference.to_string(),
                tenant: tenant.to_string(),
                message: quoted(&chain(&error)),
            },
            error => failed(reference, chain(&error)),
        })?;
        let mut allowed = self.allowed.lock();
        if allowed.len() >= IMAGES_ALLOWED_KEPT {
            allowed.clear();
        }
        allowed.insert(who);
        Ok(())
    }

    /// The image with the name of whoever signed it; where nobody did, it is for the setting to say whether it may run.
    async fn vouched(&self, tenant: &TenantName, source: &ImageSource, image: Image) -> Result<Image, ContainerError> {
        let Authorities { verifier, verification, .. } = &self.authorities;
        let verification = ImageVerification::of_server(*verification, source.verification);
        let reference = &source.reference;
        // What was built here of a package was signed by nobody; what it was built on came by here as well.
        if verification == ImageVerification::Disabled || reference.registry() == packages::REGISTRY {
            return Ok(image);
        }
        let digest = image.digest.as_deref().and_then(|digest| Digest::new(digest).ok());
        let verified = match verifier {
            Some(verifier) => verifier.verify(tenant, reference, digest.as_ref()).await,
            None => Err(SignatureError::NoKey { repository: reference.repository() }),
        };
        match (verified, verification) {
            (Ok(key), _) => Ok(Image { signed_by: Some(key), ..image }),
            (Err(source), ImageVerification::Enabled) => {
                Err(ContainerError::NotVouched { reference: reference.to_string(), source })
            }
            // Nobody said that it should be signed.
            (Err(SignatureError::NoKey { .. }), _) => Ok(image),
            (Err(error), _) => {
                let reason = chain(&error);
                tracing::warn!(
                    image = reference.as_str(),
                    reason,
                    "nobody vouches for an image, which runs all the same"
                );
                Ok(image)
            }
        }
    }

    async fn obtain(
        &self,
        engine: &Engine,
        tenant: &TenantName,
        source: &ImageSource,
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
        let credentials = self.credentials(tenant, reference.registry()).await?;
        match timeout(PULL_MAX, pull(engine, reference, credentials, progress)).await {
            Ok(pulled) => pulled?,
            Err(_) => return Err(failed(reference, format!("it took longer than {PULL_MAX:?}"))),
        }
        inspect(engine, reference).await?.ok_or_else(|| failed(reference, "it was pulled and is not there".to_owned()))
    }

    async fn credentials(
        &self,
        tenant: &TenantName,
        registry: &str,
    ) -> Result<Option<DockerCredentials>, ContainerError> {
        let found = self.authorities.credentials.find(tenant, registry).await;
        let found = found.map_err(|CredentialError { registry, reason }| ContainerError::Credentials {
            registry,
            message: reason,
        })?;
        let shown = DockerCredentials { serveraddress: Some(registry.to_owned()), ..DockerCredentials::default() };
        Ok(match found {
            Credential::Anonymous => None,
            Credential::Password { username, password } => {
                Some(DockerCredentials { username: Some(username), password: Some(password), ..shown })
            }
            Credential::IdentityToken(token) => Some(DockerCredentials { identitytoken: Some(token), ..shown }),
            Credential::RegistryToken(token) => Some(DockerCredentials { registrytoken: Some(token), ..shown }),
        })
    }

    /// The right to fetch or build one thing on one engine.
    pub(super) fn turn(&self, key: String) -> Arc<tokio::sync::Mutex<()>> {
        let mut pulls = self.pulls.lock();
        pulls.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(pulls.entry(key).or_default())
    }
}

/// The image that a container was made of, which its name may have left meanwhile.
pub(super) async fn of_container(
    engine: &Engine,
    container: &ContainerInspectResponse,
    reference: &ImageReference,
) -> Result<Option<Image>, ContainerError> {
    match &container.image {
        Some(id) => inspect_named(engine, id, reference).await,
        None => Ok(None),
    }
}

async fn inspect(engine: &Engine, reference: &ImageReference) -> Result<Option<Image>, ContainerError> {
    inspect_named(engine, reference.as_str(), reference).await
}

async fn inspect_named(
    engine: &Engine,
    name: &str,
    reference: &ImageReference,
) -> Result<Option<Image>, ContainerError> {
    match engine.ask("inspect image", engine.docker().inspect_image(name)).await {
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
        entrypoint: config.entrypoint.unwrap_or_default(),
        arguments: config.cmd.unwrap_or_default(),
        signed_by: None,
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
