//! Signatures of images, as cosign makes them with a key and keeps them beside the image.
//!
//! `cosign sign --key` puts them in one of two places. Up to version 2 under the tag `sha256-<digest>.sig`: a layer is a text
//! that names the digest, and an annotation its signature. From version 3 on as a referrer of the image: a bundle with a
//! statement in an envelope. Both are read; the digest in what was signed must be the one that runs.
//!
//! Signatures that were found are kept, and checked anew each time that they are used: a server starts without its
//! registry, and a file that somebody changed in the cache vouches for nothing.

mod cosign;
mod key;

use std::path::PathBuf;
use std::sync::Arc;

use fairlead_core::BoxFuture;
use fairlead_core::digest::Digest;
use fairlead_core::image::ImageReference;
use fairlead_core::name::TenantName;
use fairlead_core::oci::RegistryError;
use fairlead_core::signature::{ImageVerifier, SignatureError};
use http::Method;
use http::header::ACCEPT;

use self::cosign::Signed;
pub use self::key::{KeyError, PublicKey};
use crate::auth::Action;
use crate::client::OciClient;
use crate::exchange::Question;
use crate::limits::{MANIFEST_BYTES_MAX, SIGNATURE_BYTES_MAX, SIGNATURES_MAX};
use crate::manifest::{Descriptor, Manifest, media_types};

/// A key, and whose images it may vouch for.
#[derive(Debug, Clone)]
pub struct TrustedKey {
    /// Registry and repository, whole, or with `*` at the end for everything that begins so.
    pub repository: String,
    /// What it is called where people read of it.
    pub name: String,
    /// The key.
    pub key: PublicKey,
}

impl TrustedKey {
    fn is_for(&self, repository: &str) -> bool {
        match self.repository.strip_suffix('*') {
            Some(beginning) => repository.starts_with(beginning),
            None => repository == self.repository,
        }
    }
}

/// Looks for signatures where images come from.
pub struct Signatures {
    client: Arc<OciClient>,
    keys: Vec<TrustedKey>,
    /// Where signatures are kept.
    cache: PathBuf,
}

impl std::fmt::Debug for Signatures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signatures").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Signatures {
    /// With these keys.
    #[must_use]
    pub fn new(client: Arc<OciClient>, keys: Vec<TrustedKey>, cache: PathBuf) -> Self {
        Self { client, keys, cache }
    }

    async fn look(
        &self,
        tenant: &TenantName,
        image: &ImageReference,
        digest: Option<&Digest>,
    ) -> Result<String, SignatureError> {
        let repository = image.repository();
        let keys: Vec<&TrustedKey> = self.keys.iter().filter(|key| key.is_for(&repository)).collect();
        if keys.is_empty() {
            return Err(SignatureError::NoKey { repository });
        }
        let Some(digest) = digest else {
            return Err(SignatureError::NoDigest { reference: image.to_string() });
        };
        let kept = self.cache.join(format!("{}.json", digest.as_str().replace(':', "-")));
        if let Some(signed) = read(&kept).await
            && let Ok(name) = vouched(&signed, &keys, digest)
        {
            return Ok(name);
        }
        let found = self.fetch(tenant, image, digest).await?;
        if found.is_empty() {
            return Err(SignatureError::NotSigned { repository, digest: digest.clone() });
        }
        let name = vouched(&found, &keys, digest).map_err(|reason| SignatureError::NotTrusted {
            repository,
            digest: digest.clone(),
            reason,
        })?;
        if let Err(error) = keep(&kept, &found).await {
            tracing::warn!(path = %kept.display(), %error, "a signature cannot be kept; it is fetched again next time");
        }
        Ok(name)
    }

    async fn fetch(
        &self,
        tenant: &TenantName,
        image: &ImageReference,
        digest: &Digest,
    ) -> Result<Vec<Signed>, RegistryError> {
        let visit = Visitor { client: &self.client, tenant, image };
        let mut found = visit.by_tag(digest).await?;
        found.extend(visit.referrers(digest).await?);
        Ok(found)
    }
}

impl ImageVerifier for Signatures {
    fn verify<'a>(
        &'a self,
        tenant: &'a TenantName,
        image: &'a ImageReference,
        digest: Option<&'a Digest>,
    ) -> BoxFuture<'a, Result<String, SignatureError>> {
        Box::pin(self.look(tenant, image, digest))
    }
}

/// The name of the first key with which one of these was made.
fn vouched(signed: &[Signed], keys: &[&TrustedKey], digest: &Digest) -> Result<String, &'static str> {
    let mut closest = "they are of another kind";
    for signed in signed {
        match keys.iter().find(|known| signed.is_by(&known.key)) {
            None => closest = "none of the keys fits",
            Some(known) => match signed.is_of(digest) {
                Ok(()) => return Ok(known.name.clone()),
                Err(reason) => closest = reason,
            },
        }
    }
    Err(closest)
}

async fn read(file: &std::path::Path) -> Option<Vec<Signed>> {
    serde_json::from_slice(&tokio::fs::read(file).await.ok()?).ok()
}

async fn keep(file: &std::path::Path, signed: &[Signed]) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        tokio::fs::create_dir_all(directory).await?;
    }
    let beside = file.with_extension(format!("{}.new", std::process::id()));
    tokio::fs::write(&beside, serde_json::to_vec(signed)?).await?;
    tokio::fs::rename(beside, file).await
}

/// One repository, as somebody who may look into it.
struct Visitor<'a> {
    client: &'a OciClient,
    tenant: &'a TenantName,
    image: &'a ImageReference,
}

impl Visitor<'_> {
    /// Those of cosign up to version 2.
    async fn by_tag(&self, digest: &Digest) -> Result<Vec<Signed>, RegistryError> {
        let Some(manifest) = self.manifest(&format!(":{}.sig", tag_of(digest))).await? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for layer in manifest.layers.iter().take(SIGNATURES_MAX) {
            let Some(signature) = layer.annotations.get(cosign::ANNOTATION) else { continue };
            if layer.media_type == cosign::SIMPLE_SIGNING {
                found.extend(Signed::simple(self.blob(layer).await?, signature));
            }
        }
        Ok(found)
    }

    /// Those of cosign from version 3 on.
    async fn referrers(&self, digest: &Digest) -> Result<Vec<Signed>, RegistryError> {
        let mut found = Vec::new();
        for referrer in self.index(digest).await?.into_iter().take(SIGNATURES_MAX) {
            let Some(manifest) = self.manifest(&format!("@{}", referrer.digest)).await? else { continue };
            for layer in manifest.layers.iter().filter(|layer| cosign::is_bundle(&layer.media_type)).take(1) {
                found.extend(Signed::bundled(&self.blob(layer).await?));
            }
        }
        Ok(found)
    }

    /// What refers to the image with a bundle; where the registry does not know the question, what the tag that takes its
    /// place lists (distribution specification, *Listing Referrers*).
    async fn index(&self, digest: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let visit = self.client.visit(self.tenant, self.image, Action::Pull).await?;
        let question = Question::new(Method::GET, &visit.registry.endpoint, visit.path(&format!("referrers/{digest}")));
        let answer = visit.ask(question.with(ACCEPT, media_types::INDEX)).await?;
        let listed = match visit.expect(answer, self.image.as_str()).await {
            Ok(answer) => {
                let bytes = answer.whole(&visit.line(), MANIFEST_BYTES_MAX).await?;
                serde_json::from_slice(&bytes).map_err(|_| visit.line().protocol("a list of referrers that is none"))?
            }
            // Older registries answer what they like to what they do not know.
            Err(RegistryError::NotFound { .. } | RegistryError::Protocol { .. }) => {
                match self.manifest(&format!(":{}", tag_of(digest))).await? {
                    Some(listed) => listed,
                    None => return Ok(Vec::new()),
                }
            }
            Err(error) => return Err(error),
        };
        let Manifest { manifests, .. } = listed;
        Ok(manifests)
    }

    async fn manifest(&self, name: &str) -> Result<Option<Manifest>, RegistryError> {
        let reference = format!("{}{name}", self.image.repository());
        // What a registry lists is no reference until it was checked.
        let Ok(reference) = ImageReference::new(&reference) else { return Ok(None) };
        match self.client.pull_manifest(self.tenant, &reference).await {
            Ok(pulled) => Ok(Some(pulled.manifest)),
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn blob(&self, layer: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        if layer.size > SIGNATURE_BYTES_MAX {
            let subject = layer.digest.clone();
            return Err(RegistryError::TooLarge { subject, bytes_max: SIGNATURE_BYTES_MAX });
        }
        let mut bytes = Vec::new();
        self.client.pull_blob(self.tenant, self.image, layer, &mut bytes, &|_, _| {}).await?;
        Ok(bytes)
    }
}

/// `sha256-<hexadecimal digits>`
fn tag_of(digest: &Digest) -> String {
    digest.as_str().replace(':', "-")
}

#[cfg(test)]
mod tests;
