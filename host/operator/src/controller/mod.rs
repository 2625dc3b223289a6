//! The controller: it watches, decides with [`desired`](crate::desired::desired), and makes it so.
//!
//! One lease, one writer. Whoever holds the lease watches and reconciles; whoever loses it stops at once, in the middle of
//! whatever it does, because all that it does can be done again. Nothing is kept between two reconciles but what a cluster can
//! be asked for, so a restart is nothing special.

mod cache;
mod lease;
mod reconcile;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fairlead_core::document::API_VERSION;
use futures_util::{StreamExt as _, stream};
use kube::core::ApiResource;
use kube::runtime::applier;
use kube::runtime::controller::{self as queue, ReconcileRequest};
use kube::{Client, Config};

pub use lease::LeaseOptions;

use crate::crd::{GROUP, VERSION};
use crate::desired::{Resource, Settings};
use crate::limits::{DEBOUNCE, RECONCILES_MAX};
use cache::Cache;
use lease::Lease;
use reconcile::Context;

/// What an operator is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The namespace that it looks at; `None`: all of them.
    pub namespace: Option<String>,
    /// What decisions need to know.
    pub settings: Settings,
    /// The lease that makes it the only one.
    pub lease: LeaseOptions,
    /// What it did, for whoever wants to know.
    pub tally: Arc<Tally>,
}

/// What an operator did.
#[derive(Debug, Default)]
pub struct Tally {
    reconciles: AtomicU64,
    writes: AtomicU64,
    failures: AtomicU64,
    leads: AtomicU64,
}

impl Tally {
    /// Looks at a server, each counted when it ended.
    #[must_use]
    pub fn reconciles(&self) -> u64 {
        self.reconciles.load(Ordering::Relaxed)
    }

    /// Requests that can change something, those about the lease aside.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Looks that failed, to be repeated.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How often it became the leader.
    #[must_use]
    pub fn leads(&self) -> u64 {
        self.leads.load(Ordering::Relaxed)
    }
}

/// A cluster.
pub struct Connection {
    /// To talk to it.
    pub client: Client,
    /// The namespace that this program runs in, or that the kubeconfig names.
    pub namespace: String,
}

/// Why an operator did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// There is neither a kubeconfig nor a pod's own account.
    #[error("no cluster: set KUBECONFIG, or run in a pod with a service account")]
    NoCluster(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A watch ended, which none does by itself.
    #[error("a watch ended")]
    WatchEnded,
}

/// The cluster of the kubeconfig, or the one that this program runs in.
///
/// # Errors
/// There is none.
pub async fn connect() -> Result<Connection, OperatorError> {
    let config = Config::infer().await.map_err(|error| OperatorError::NoCluster(Box::new(error)))?;
    let namespace = config.default_namespace.clone();
    let client = Client::try_from(config).map_err(|error| OperatorError::NoCluster(Box::new(error)))?;
    Ok(Connection { client, namespace })
}

/// Runs until `stop` is ready.
///
/// # Errors
/// Something ended that never does.
pub async fn run(client: Client, options: Options, stop: impl Future<Output = ()>) -> Result<(), OperatorError> {
    let lease = Lease::new(&client, &options.lease);
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            () = lease.acquire() => {}
        }
        options.tally.leads.fetch_add(1, Ordering::Relaxed);
        tracing::info!(identity = options.lease.identity, "leading");
        tokio::select! {
            () = &mut stop => {
                lease.release().await;
                return Ok(());
            }
            () = lease.keep() => tracing::warn!(identity = options.lease.identity, "the lease is lost; waiting for it again"),
            ended = lead(&client, &options) => return ended,
        }
    }
}

/// Reconciles until it is dropped.
async fn lead(client: &Client, options: &Options) -> Result<(), OperatorError> {
    let (cache, mut events) = Cache::start(client, options.namespace.as_deref());
    let context = Arc::new(Context::new(client.clone(), options.settings.clone(), Arc::clone(&options.tally), cache));
    let events = stream::poll_fn(move |waker| events.poll_recv(waker));
    let events = events.map(|server| Ok::<_, Infallible>(ReconcileRequest::from(server)));
    let config = queue::Config::default().concurrency(RECONCILES_MAX).debounce(DEBOUNCE);
    let servers = context.cache.servers.clone();
    let reconcile = |object, context| Box::pin(reconcile::reconcile(object, context));
    let reconciles = applier(reconcile, reconcile::again, context, servers, events, config);
    // What failed was told where it failed; that a server is gone when its turn comes is no failure.
    reconciles.for_each(|_| std::future::ready(())).await;
    Err(OperatorError::WatchEnded)
}

/// The servers, as a resource.
fn servers() -> ApiResource {
    ours("MCPServer", "mcpservers")
}

fn ours(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: GROUP.to_owned(),
        version: VERSION.to_owned(),
        api_version: API_VERSION.to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

impl Resource {
    /// As a resource of the client.
    pub(crate) fn api_resource(self) -> ApiResource {
        let (group, version) = self.api();
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: self.kind().to_owned(),
            plural: self.plural().to_owned(),
        }
    }
}
