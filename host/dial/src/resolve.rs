//! Names to addresses: a port of its own, so that a test can be the name service that changes its mind.

use std::io;
use std::net::IpAddr;

use fairlead_core::BoxFuture;

/// Knows the addresses of names.
pub trait Resolve: Send + Sync {
    /// All addresses of a name, best first.
    ///
    /// # Errors
    /// There is no such name, or nobody to ask.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The resolver of this machine, with its hosts file and its search list.
#[derive(Debug, Clone, Copy)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}
