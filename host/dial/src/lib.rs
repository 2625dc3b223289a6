//! Outgoing connections: the one adapter of [`Dialer`], and the only crate that names rustls.
//!
//! A name is resolved once. Every address that comes back is put to the caller's [`Admission`], and only those that pass are
//! connected to, by address; nobody resolves again. Certificates are checked against the authorities of this machine and
//! those that were added, never against nothing: there is no switch to turn that off.

pub mod limits;
mod resolve;
mod roots;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fairlead_core::BoxFuture;
use fairlead_core::address::classify;
use fairlead_core::dial::{Admission, DialError, Dialed, Dialer, Endpoint, Stream};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use limits::{ADDRESSES_TRIED_MAX, CONNECT_MAX, DIAL_MAX, RESOLVE_MAX, TLS_MAX};
pub use resolve::{Resolve, SystemResolver};
pub use roots::{AuthorityError, Roots};

/// Connects over the network of this machine.
#[derive(Clone)]
pub struct NetDialer {
    resolver: Arc<dyn Resolve>,
    roots: Arc<Roots>,
}

impl NetDialer {
    /// Asks the resolver of this machine and trusts its authorities.
    #[must_use]
    pub fn new() -> Self {
        Self { resolver: Arc::new(SystemResolver), roots: Arc::new(Roots::default()) }
    }

    /// Trusts other authorities.
    #[must_use]
    pub fn with_roots(self, roots: Roots) -> Self {
        Self { roots: Arc::new(roots), ..self }
    }

    /// Asks somebody else for addresses.
    #[must_use]
    pub fn with_resolver(self, resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, ..self }
    }

    async fn connect(&self, to: &Endpoint, admission: &dyn Admission) -> Result<Dialed, DialError> {
        let addresses = self.addresses(&to.host).await?;
        let admitted: Vec<_> = addresses.iter().copied().filter(|address| admission.admits(*address)).collect();
        let Some(first) = admitted.first().or(addresses.first()) else {
            return Err(DialError::Name { host: to.host.clone(), reason: "it has no address".to_owned() });
        };
        if admitted.is_empty() {
            return Err(DialError::Forbidden { host: to.host.clone(), class: classify(*first) });
        }
        let (stream, peer) = reach(to, &admitted).await?;
        let stream = if to.tls { self.secure(to, stream).await? } else { Box::new(stream) };
        Ok(Dialed { stream, peer })
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DialError> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse() {
            return Ok(vec![address]);
        }
        let failed = |reason| DialError::Name { host: host.to_owned(), reason };
        match timeout(RESOLVE_MAX, self.resolver.resolve(bare)).await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no answer within {RESOLVE_MAX:?}"))),
        }
    }

    async fn secure(&self, to: &Endpoint, stream: TcpStream) -> Result<Box<dyn Stream>, DialError> {
        let failed = |source| DialError::Tls { endpoint: to.clone(), source };
        let other = |error: &dyn std::error::Error| failed(std::io::Error::other(error.to_string()));
        let config = self.roots.client().await.map_err(|error| other(&error))?;
        let name = ServerName::try_from(to.host.clone()).map_err(|error| other(&error))?;
        match timeout(TLS_MAX, TlsConnector::from(config).connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(source)) => Err(failed(source)),
            Err(_) => Err(late(to, TLS_MAX)),
        }
    }
}

impl Default for NetDialer {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for NetDialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetDialer").finish_non_exhaustive()
    }
}

impl Dialer for NetDialer {
    fn dial<'a>(&'a self, to: &'a Endpoint, admission: &'a dyn Admission) -> BoxFuture<'a, Result<Dialed, DialError>> {
        Box::pin(async move { timeout(DIAL_MAX, self.connect(to, admission)).await.unwrap_or(Err(late(to, DIAL_MAX))) })
    }
}

/// The first of the addresses that answers.
async fn reach(to: &Endpoint, addresses: &[IpAddr]) -> Result<(TcpStream, SocketAddr), DialError> {
    let mut last = late(to, CONNECT_MAX);
    for address in addresses.iter().take(ADDRESSES_TRIED_MAX) {
        let peer = SocketAddr::new(*address, to.port);
        match timeout(CONNECT_MAX, TcpStream::connect(peer)).await {
            Ok(Ok(stream)) => {
                // Small requests, one answer each: nothing is won by waiting for more to send.
                let _ = stream.set_nodelay(true);
                return Ok((stream, peer));
            }
            Ok(Err(source)) => last = DialError::Connect { endpoint: to.clone(), source },
            Err(_) => last = late(to, CONNECT_MAX),
        }
    }
    Err(last)
}

fn late(to: &Endpoint, after: Duration) -> DialError {
    DialError::Timeout { endpoint: to.clone(), ms: after.as_millis() }
}
