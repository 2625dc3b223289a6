//! Servers that run elsewhere, made ready to be reached: certificates, forward proxy, headers.

use std::sync::Arc;

use fairlead_core::name::ServerKey;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::server::{ServerSpec, Source};
use fairlead_proxy::{Remote, RemoteError};

use super::App;
use crate::text;

impl App {
    /// How a server is reached that runs elsewhere; none for one that runs here. What cannot work is refused before
    /// anything is stored.
    ///
    /// # Errors
    /// It cannot be reached as it is described.
    pub(super) async fn remote(&self, key: &ServerKey, spec: &ServerSpec) -> Result<Option<Arc<Remote>>, Problem> {
        let Source::Remote(source) = &spec.source else { return Ok(None) };
        let (source, proxies, tenant) = (source.clone(), self.proxies.clone(), key.tenant.clone());
        let secrets = Arc::clone(&self.secrets);
        // It reads files.
        let made = tokio::task::spawn_blocking(move || Remote::new(&source, &proxies, &tenant, secrets));
        match made.await {
            Ok(Ok(remote)) => Ok(Some(Arc::new(remote))),
            Ok(Err(error)) => Err(Problem::new(ProblemKind::Invalid, text::chain(&error)).at(place(&error))),
            Err(_) => Err(Problem::new(ProblemKind::Internal, "the daemon is stopping")),
        }
    }
}

fn place(error: &RemoteError) -> &'static str {
    match error {
        RemoteError::Url => "/spec/source/url",
        RemoteError::CaFile { .. } | RemoteError::NoCertificates | RemoteError::Tls(_) => "/spec/source/caFile",
        RemoteError::Proxy => "/spec/source/proxy",
        RemoteError::Header { .. } => "/spec/source/headers",
    }
}
