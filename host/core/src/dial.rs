//! Connections to elsewhere, as a port: whoever calls out says where to and which addresses are allowed, and gets a stream.
//!
//! There is one adapter, because there is one place to be right about names: it resolves once, asks about every address that
//! came back, connects to one of those that were allowed, and never asks the name service again. A name that changes its
//! mind between the check and the connection (DNS rebinding) has nothing to change.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::BoxFuture;
use crate::address::{AddressClass, classify};

/// Where to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS is spoken, with this host as the name in the certificate.
    pub tls: bool,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// A connection, TLS done where it was asked for.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What came of dialling.
pub struct Dialed {
    /// The connection.
    pub stream: Box<dyn Stream>,
    /// The address at its other end: one that was allowed.
    pub peer: SocketAddr,
}

impl fmt::Debug for Dialed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialed").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name leads nowhere.
    #[error("`{host}` cannot be resolved: {reason}")]
    Name {
        /// The name.
        host: String,
        /// What the name service said.
        reason: String,
    },
    /// The name leads only to addresses that were not allowed.
    #[error("`{host}` leads to {class}, which is not allowed")]
    Forbidden {
        /// The name.
        host: String,
        /// What it leads to.
        class: AddressClass,
    },
    /// Nobody answers.
    #[error("connect to {endpoint}")]
    Connect {
        /// Where to.
        endpoint: Endpoint,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The other side is not who it should be, or does not speak TLS.
    #[error("agree on TLS with {endpoint}")]
    Tls {
        /// Where to.
        endpoint: Endpoint,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It took too long.
    #[error("{endpoint} did not answer within {ms} ms")]
    Timeout {
        /// Where to.
        endpoint: Endpoint,
        /// How long was waited.
        ms: u128,
    },
}

/// Which addresses a caller may reach.
pub trait Admission: Send + Sync {
    /// Whether a connection may go to this address.
    fn admits(&self, address: IpAddr) -> bool;
}

/// Public addresses, and nothing else.
#[derive(Debug, Clone, Copy)]
pub struct PublicOnly;

impl Admission for PublicOnly {
    fn admits(&self, address: IpAddr) -> bool {
        classify(address) == AddressClass::Public
    }
}

/// Every address: for destinations that the operator of this machine has written down.
#[derive(Debug, Clone, Copy)]
pub struct Anywhere;

impl Admission for Anywhere {
    fn admits(&self, _: IpAddr) -> bool {
        true
    }
}

/// Connects.
pub trait Dialer: Send + Sync {
    /// Resolves once, keeps what is admitted, connects to one of those, and speaks TLS where it is asked for. Has a deadline
    /// of its own.
    ///
    /// # Errors
    /// See [`DialError`].
    fn dial<'a>(&'a self, to: &'a Endpoint, admission: &'a dyn Admission) -> BoxFuture<'a, Result<Dialed, DialError>>;
}
