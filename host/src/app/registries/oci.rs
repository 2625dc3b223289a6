//! A catalogue that is an OCI artifact as a source: one blob in one of the formats of registries, with the digest of its manifest
//! as the entity tag.

use std::sync::Arc;

use fairlead_core::BoxFuture;
use fairlead_core::image::ImageReference;
use fairlead_core::name::TenantName;
use fairlead_core::oci::{DigestResolver as _, RegistryError};
use fairlead_core::registry::{
    PageRequest, RegistrySource, SourceAnswer, SourceEntry, SourceError, SourceFeatures, SourcePage, SourceSession,
};
use fairlead_oci::{Descriptor, OciClient};

use super::native::entries;
use crate::limits::REGISTRY_FILE_BYTES_MAX;

/// Media type of the catalogue in an artifact that has other layers too.
const CATALOGUE_TYPES: [&str; 2] = ["application/vnd.fairlead.catalogue.v1+json", "application/json"];

/// An artifact.
pub(super) struct Artifact {
    pub(super) client: Arc<OciClient>,
    pub(super) tenant: TenantName,
    pub(super) reference: String,
}

impl RegistrySource for Artifact {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn SourceSession>, SourceError>> {
        Box::pin(async {
            let reference = ImageReference::new(&self.reference);
            let reference = reference.map_err(|error| SourceError::Config(error.to_string()))?;
            let (client, tenant) = (Arc::clone(&self.client), self.tenant.clone());
            Ok(Box::new(Reading { client, tenant, reference }) as Box<dyn SourceSession>)
        })
    }
}

struct Reading {
    client: Arc<OciClient>,
    tenant: TenantName,
    reference: ImageReference,
}

impl SourceSession for Reading {
    fn features(&self) -> SourceFeatures {
        SourceFeatures { versions: true, ..SourceFeatures::default() }
    }

    fn enumerate<'a>(&'a mut self, request: &'a PageRequest) -> BoxFuture<'a, Result<SourceAnswer, SourceError>> {
        Box::pin(async move {
            if let Some(known) = &request.etag {
                let named = self.client.resolve(&self.tenant, &self.reference).await.map_err(|error| told(&error))?;
                if named.digest == *known {
                    return Ok(SourceAnswer::Unmodified);
                }
            }
            let pulled = self.client.pull_manifest(&self.tenant, &self.reference).await;
            let pulled = pulled.map_err(|error| told(&error))?;
            let blob = catalogue(&pulled.manifest.layers)?;
            let mut content = Vec::new();
            let fetched = self.client.pull_blob(&self.tenant, &self.reference, blob, &mut content, &|_, _| {}).await;
            fetched.map_err(|error| told(&error))?;
            let text = String::from_utf8(content)
                .map_err(|_| SourceError::Upstream(format!("`{}` holds no text", self.reference)))?;
            let entries =
                entries(&text).map_err(|error| SourceError::Upstream(format!("`{}`: {error}", self.reference)))?;
            Ok(SourceAnswer::Page(SourcePage { entries, etag: Some(pulled.digest), ..SourcePage::default() }))
        })
    }

    fn transform(&mut self, entry: SourceEntry) -> BoxFuture<'_, Result<Option<SourceEntry>, SourceError>> {
        Box::pin(async { Ok(Some(entry)) })
    }
}

/// The layer that is the catalogue: the one that says so, or the only one.
fn catalogue(layers: &[Descriptor]) -> Result<&Descriptor, SourceError> {
    let said = CATALOGUE_TYPES.iter().find_map(|kind| layers.iter().find(|layer| layer.media_type == *kind));
    let only = layers.first().filter(|_| layers.len() == 1);
    let blob = said.or(only).ok_or_else(|| {
        SourceError::Upstream(format!("the artifact has no layer `{}`, and not one alone", CATALOGUE_TYPES[0]))
    })?;
    if blob.size > REGISTRY_FILE_BYTES_MAX {
        let text = format!("the catalogue has {} bytes, at most {REGISTRY_FILE_BYTES_MAX} are read", blob.size);
        return Err(SourceError::Upstream(text));
    }
    Ok(blob)
}

fn told(error: &RegistryError) -> SourceError {
    match error {
        RegistryError::Unreachable { .. } | RegistryError::RateLimited { .. } => {
            SourceError::Unavailable(error.to_string())
        }
        _ => SourceError::Upstream(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(media_type: &str, size: u64) -> Descriptor {
        let digest = format!("sha256:{}", "0".repeat(64));
        Descriptor { media_type: media_type.to_owned(), digest, size, platform: None, annotations: Default::default() }
    }

    #[test]
    fn the_catalogue_is_the_layer_that_says_so_or_the_only_one() {
        let of = |layers: &[Descriptor]| catalogue(layers).ok().map(|layer| layer.size);
        assert_eq!(of(&[layer("text/plain", 1), layer("application/json", 2), layer(CATALOGUE_TYPES[0], 3)]), Some(3));
        assert_eq!(of(&[layer("text/plain", 1), layer("application/json", 2)]), Some(2));
        assert_eq!(of(&[layer("text/plain", 1)]), Some(1));
        assert_eq!(of(&[layer("text/plain", 1), layer("text/html", 2)]), None);
        assert_eq!(of(&[layer("application/json", REGISTRY_FILE_BYTES_MAX + 1)]), None);
    }
}
