//! Whom certificates are believed from: the authorities of this machine, and those that somebody added.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

/// Authorities. Those of the machine are read when the first connection needs them: a daemon that never calls out should
/// not open two hundred files.
#[derive(Default)]
pub struct Roots {
    added: Vec<CertificateDer<'static>>,
    client: OnceCell<Arc<ClientConfig>>,
}

/// Why there is nobody to believe.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file that holds something else.
    #[error("has no certificate in PEM form")]
    Pem,
    /// A certificate that is none.
    #[error("has a certificate that cannot be used: {0}")]
    Certificate(String),
    /// Nobody at all.
    #[error("this machine has no certificates of authorities: install `ca-certificates`, or set `SSL_CERT_FILE`")]
    None,
    /// The TLS library cannot be set up.
    #[error("set TLS up: {0}")]
    Setup(String),
}

impl Roots {
    /// The authorities of this machine, and those in the PEM text.
    ///
    /// # Errors
    /// There is no certificate in it, or one that is damaged.
    pub fn with_pem(pem: &[u8]) -> Result<Self, AuthorityError> {
        let added: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let added = added.map_err(|_| AuthorityError::Pem)?;
        if added.is_empty() {
            return Err(AuthorityError::Pem);
        }
        let mut store = RootCertStore::empty();
        for certificate in &added {
            store.add(certificate.clone()).map_err(|error| AuthorityError::Certificate(error.to_string()))?;
        }
        Ok(Self { added, client: OnceCell::new() })
    }

    pub(crate) async fn client(&self) -> Result<Arc<ClientConfig>, AuthorityError> {
        self.client.get_or_try_init(|| self.build()).await.map(Arc::clone)
    }

    async fn build(&self) -> Result<Arc<ClientConfig>, AuthorityError> {
        let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
        let found = found.map_err(|error| AuthorityError::Setup(error.to_string()))?;
        for error in &found.errors {
            tracing::debug!(%error, "a certificate of an authority was not read");
        }
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(found.certs);
        store.add_parsable_certificates(self.added.iter().cloned());
        if store.is_empty() {
            return Err(AuthorityError::None);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| AuthorityError::Setup(error.to_string()))?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("added", &self.added.len()).finish_non_exhaustive()
    }
}
