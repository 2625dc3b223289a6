//! Content: fetched and checked, or brought.

use bytes::Bytes;
use fairlead_core::image::ImageReference;
use fairlead_core::name::TenantName;
use fairlead_core::oci::RegistryError;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::auth::Action;
use crate::client::{OciClient, Visit};
use crate::digest::{Hasher, digest_of, is_digest};
use crate::exchange::Question;
use crate::limits::{ANSWER_BYTES_MAX, MANIFEST_BYTES_MAX, TRANSFER_MAX};
use crate::manifest::{Descriptor, Manifest};

/// Told how far a transfer is: bytes that are done, and of how many.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// The answer to a question for tags; a repository without any may say `null`.
#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
}

/// A manifest as it was fetched.
#[derive(Debug, Clone)]
pub struct PulledManifest {
    /// The digest of `bytes`.
    pub digest: String,
    /// What the registry says it is.
    pub media_type: String,
    /// What was hashed.
    pub bytes: Bytes,
    /// What it says.
    pub manifest: Manifest,
}

impl OciClient {
    /// Fetches what a reference names. Pinned, it is what was pinned.
    ///
    /// # Errors
    /// See [`RegistryError`]; content that is not what the reference or the registry says is [`RegistryError::Tampered`].
    pub async fn pull_manifest(
        &self,
        tenant: &TenantName,
        reference: &ImageReference,
    ) -> Result<PulledManifest, RegistryError> {
        self.visit(tenant, reference, Action::Pull).await?.pull_manifest(reference).await
    }

    /// Tags of the repository of a reference, as the registry lists them: at most `tags_max`.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn tags(
        &self,
        tenant: &TenantName,
        reference: &ImageReference,
        tags_max: usize,
    ) -> Result<Vec<String>, RegistryError> {
        let visit = self.visit(tenant, reference, Action::Pull).await?;
        let question = Question::get(&visit.registry.endpoint, visit.path(&format!("tags/list?n={tags_max}")));
        let answer = visit.expect(visit.ask(question).await?, reference.as_str()).await?;
        let bytes = answer.whole(&visit.line(), ANSWER_BYTES_MAX).await?;
        let list: TagList =
            serde_json::from_slice(&bytes).map_err(|_| visit.line().protocol("a list of tags that is none"))?;
        Ok(list.tags.unwrap_or_default().into_iter().take(tags_max).collect())
    }

    /// Fetches content into `to`, and checks it against its digest. What was written before an error is worth nothing.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn pull_blob(
        &self,
        tenant: &TenantName,
        reference: &ImageReference,
        blob: &Descriptor,
        to: &mut (dyn AsyncWrite + Send + Unpin),
        progress: Progress<'_>,
    ) -> Result<(), RegistryError> {
        let visit = self.visit(tenant, reference, Action::Pull).await?;
        match timeout(TRANSFER_MAX, visit.pull_blob(blob, to, progress)).await {
            Ok(pulled) => pulled,
            Err(_) => Err(visit.line().unreachable(format!("the transfer took longer than {TRANSFER_MAX:?}"))),
        }
    }

    /// Brings content, unless it is there.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn push_blob(
        &self,
        tenant: &TenantName,
        reference: &ImageReference,
        content: Bytes,
    ) -> Result<String, RegistryError> {
        let visit = self.visit(tenant, reference, Action::Push).await?;
        let digest = digest_of(&content);
        visit.push_blob(&digest, content).await?;
        Ok(digest)
    }

    /// Brings a manifest, under the tag of the reference: its digest.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn push_manifest(
        &self,
        tenant: &TenantName,
        reference: &ImageReference,
        media_type: &str,
        content: Bytes,
    ) -> Result<String, RegistryError> {
        let visit = self.visit(tenant, reference, Action::Push).await?;
        let digest = digest_of(&content);
        let question = visit.manifest(Method::PUT, reference).carrying(media_type, content);
        let answer = visit.expect(visit.ask(question).await?, reference.as_str()).await?;
        match answer.header("docker-content-digest") {
            Some(kept) if kept != digest => Err(RegistryError::Tampered { subject: reference.to_string() }),
            _ => Ok(digest),
        }
    }
}

impl Visit<'_> {
    pub(crate) async fn pull_manifest(&self, reference: &ImageReference) -> Result<PulledManifest, RegistryError> {
        let answer = self.ask(self.manifest(Method::GET, reference)).await?;
        let answer = self.expect(answer, reference.as_str()).await?;
        let media_type = answer.header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let said = answer.header("docker-content-digest").map(str::to_owned);
        let bytes = answer.whole(&self.line(), MANIFEST_BYTES_MAX).await?;
        let digest = digest_of(&bytes);
        let is_what = |expected: &str| expected == digest;
        let is_genuine = reference.digest().is_none_or(is_what)
            && said.as_deref().filter(|said| is_digest(said)).is_none_or(is_what);
        if !is_genuine {
            return Err(RegistryError::Tampered { subject: reference.to_string() });
        }
        let manifest = serde_json::from_slice(&bytes).map_err(|_| self.line().protocol("a manifest that is none"))?;
        Ok(PulledManifest { digest, media_type, bytes, manifest })
    }

    async fn pull_blob(
        &self,
        blob: &Descriptor,
        to: &mut (dyn AsyncWrite + Send + Unpin),
        progress: Progress<'_>,
    ) -> Result<(), RegistryError> {
        if !is_digest(&blob.digest) {
            return Err(self.line().protocol("a digest that is none"));
        }
        let question = Question::get(&self.registry.endpoint, self.path(&format!("blobs/{}", blob.digest)));
        let mut answer = self.expect(self.ask(question).await?, &blob.digest).await?;
        let (mut hasher, mut done) = (Hasher::default(), 0_u64);
        while let Some(bytes) = answer.next().await.map_err(|reason| self.line().unreachable(reason))? {
            done = done.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            if done > blob.size {
                return Err(RegistryError::Tampered { subject: blob.digest.clone() });
            }
            hasher.update(&bytes);
            let written = to.write_all(&bytes).await;
            written.map_err(|error| self.line().unreachable(format!("write what was fetched: {error}")))?;
            progress(done, blob.size);
        }
        let flushed = to.flush().await;
        flushed.map_err(|error| self.line().unreachable(format!("write what was fetched: {error}")))?;
        if done != blob.size || hasher.finish() != blob.digest {
            return Err(RegistryError::Tampered { subject: blob.digest.clone() });
        }
        Ok(())
    }

    async fn push_blob(&self, digest: &str, content: Bytes) -> Result<(), RegistryError> {
        let endpoint = &self.registry.endpoint;
        let there = self.ask(Question::new(Method::HEAD, endpoint, self.path(&format!("blobs/{digest}")))).await?;
        match there.head.status {
            status if status.is_success() => return Ok(()),
            StatusCode::NOT_FOUND => {}
            _ => self.expect(there, digest).await.map(drop)?,
        }
        let path = self.path("blobs/uploads/");
        let begun = self.ask(Question::new(Method::POST, endpoint, path.clone())).await?;
        let begun = self.expect(begun, &self.registry.repository).await?;
        let location = begun.header(LOCATION.as_str()).ok_or_else(|| self.line().protocol("an upload to nowhere"))?;
        let (at, path) = self.line().join(endpoint, &path, location)?;
        if at.host != endpoint.host || at.tls != endpoint.tls {
            return Err(self.line().protocol("an upload to another host"));
        }
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{joint}{}", crate::auth::form(&[("digest", digest)]));
        let question = Question::new(Method::PUT, &at, path).carrying("application/octet-stream", content);
        self.expect(self.ask(question).await?, digest).await.map(drop)
    }
}
