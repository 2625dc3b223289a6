//! The controller: it watches, decides with [`desired`](crate::desired::desired), and makes it so.
//!
//! One lease, one writer. Whoever holds the lease watches and reconciles; whoever loses it stops at once, in the middle of
//! whatever it does, because all that it does can be done again. Nothing is kept between two reconciles but what a cluster can
//! be asked for, so a restart is nothing special.

mod act;
mod approver;
mod cache;
mod events;
mod fleet;
mod lease;
mod prober;
mod reconcile;
mod requests;
mod subject;
mod tally;
mod trier;

use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Arc;

use fairlead_core::document::API_VERSION;
use futures_util::{StreamExt as _, stream};
use kube::config::{InferConfigError, KubeconfigError};
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::applier;
use kube::runtime::controller::{self as queue, ReconcileRequest};
use kube::runtime::reflector::Store;
use kube::{Client, Config};
use tokio::sync::mpsc;

pub use fleet::{Attached, Fleet, Keeper};
pub use lease::LeaseOptions;
pub use prober::Unprobed;
pub use requests::{Asked, Stored};
pub use tally::Tally;
pub use trier::{Examiner, Reach, Visit};

use crate::approval;
use crate::crd::{GROUP, VERSION};
use crate::desired::{Resource, Settings};
use crate::limits::{DEBOUNCE, RECONCILES_MAX, WATCH_SILENCE_MAX};
use crate::registry::Registries;
use act::{Hands, ReconcileError};
use approver::Approver;
use cache::{Cache, SubjectRef};
use events::Teller;
use lease::Lease;
use reconcile::Context;
use subject::Subject;

/// Every pod has it, by Kubernetes.
const POD_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";

/// What an operator is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The namespace that it looks at; `None`: all of them.
    pub namespace: Option<String>,
    /// What decisions need to know.
    pub settings: Settings,
    /// What is known of registries by those who read them.
    pub registries: Registries,
    /// Keeps servers fresh while it leads; nobody does without one.
    pub keeper: Option<Arc<dyn Keeper>>,
    /// Leads to the pods of registries; `None`: through the API server.
    pub reach: Option<Arc<dyn approval::Reach>>,
    /// The lease that makes it the only one.
    pub lease: LeaseOptions,
    /// What it did, for whoever wants to know.
    pub tally: Arc<Tally>,
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
    #[error("no cluster is known")]
    NoCluster(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A watch ended, which none does by itself, or whoever keeps servers fresh.
    #[error("a watch ended")]
    WatchEnded,
}

impl OperatorError {
    /// What somebody can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoCluster(_) => {
                Some("set `KUBECONFIG` to the file of a cluster, or run in a pod with a service account")
            }
            Self::WatchEnded => None,
        }
    }
}

/// The cluster of the kubeconfig, or the one that this program runs in.
///
/// # Errors
/// There is none.
pub async fn connect() -> Result<Connection, OperatorError> {
    let config = Config::infer().await.map_err(|error| OperatorError::NoCluster(none_found(&error).into()))?;
    let namespace = config.default_namespace.clone();
    let client = Client::try_from(patient(config)).map_err(|error| OperatorError::NoCluster(Box::new(error)))?;
    Ok(Connection { client, namespace })
}

/// Why there is none, on one line. Whoever runs in no pod is told of the kubeconfig alone.
fn none_found(error: &InferConfigError) -> String {
    let is_in_pod = std::env::var_os(POD_VARIABLE).is_some_and(|host| !host.is_empty());
    let text = match error.source().filter(|_| !is_in_pod) {
        Some(source) => match source.downcast_ref::<KubeconfigError>() {
            Some(KubeconfigError::ReadConfig(reason, path)) => format!("read `{}`: {reason}", path.display()),
            _ => source.to_string(),
        },
        None => error.to_string(),
    };
    text.lines().next().unwrap_or_default().to_owned()
}

/// A configuration under which a silence ends: nobody waits for ever for what will not come.
#[must_use]
pub fn patient(mut config: Config) -> Config {
    // A list that is never answered would keep a watch from ever beginning.
    config.read_timeout = Some(WATCH_SILENCE_MAX);
    config.reset_reader_on_write = true;
    config
}

/// Runs until `stop` is ready.
///
/// # Errors
/// Something ended that never does.
pub async fn run(client: Client, options: Options, stop: impl Future<Output = ()>) -> Result<(), OperatorError> {
    let lease = Lease::new(&client, &options.lease, Arc::clone(&options.tally));
    let mut stop = std::pin::pin!(stop);
    loop {
        let since = tokio::select! {
            () = &mut stop => return Ok(()),
            since = lease.acquire() => since,
        };
        options.tally.leads_now();
        tracing::info!(identity = options.lease.identity, "leading");
        let ended = tokio::select! {
            () = &mut stop => {
                lease.release().await;
                Some(Ok(()))
            }
            () = lease.keep(since) => {
                tracing::warn!(identity = options.lease.identity, "the lease is lost; waiting for it again");
                None
            }
            ended = lead(&client, &options) => Some(ended),
        };
        options.tally.leads_no_more();
        if let Some(ended) = ended {
            return ended;
        }
    }
}

/// Reconciles until it is dropped.
async fn lead(client: &Client, options: &Options) -> Result<(), OperatorError> {
    let (cache, queues) = Cache::start(client, options.namespace.as_deref(), options.settings.binds_reviewers);
    let (servers, registries) = (cache.servers.clone(), cache.registries.clone());
    let (tally, keeps_fresh) = (Arc::clone(&options.tally), options.keeper.is_some());
    let hands = Hands { client: client.clone(), cache, tally, keeps_fresh };
    let teller = Teller::new(client.clone(), &options.lease.identity);
    let approver = Approver::new(client.clone(), options.reach.clone());
    let context = Arc::new(Context::new(hands, options.settings.clone(), options.registries, teller, approver));
    let filled = async {
        context.hands.cache.ready().await;
        options.tally.filled();
    };
    let keeping = async {
        let Some(keeper) = &options.keeper else { return std::future::pending().await };
        context.hands.cache.ready().await;
        keeper.keep(Fleet::new(Arc::clone(&context), options.namespace.clone(), keeper.examiner())).await;
    };
    let approving = async {
        context.hands.cache.ready().await;
        context.approver.work(&context).await;
    };
    let (servers, registries) = (
        work(Subject::Server, servers, queues.servers, Arc::clone(&context)),
        work(Subject::Registry, registries, queues.registries, Arc::clone(&context)),
    );
    tokio::join!(filled, async {
        tokio::select! {
            () = servers => {}
            () = registries => {}
            () = keeping => {}
            () = approving => {}
        }
    });
    Err(OperatorError::WatchEnded)
}

/// Looks at each object of a kind that is named, and again when it is time.
async fn work(
    subject: Subject,
    objects: Store<DynamicObject>,
    mut named: mpsc::Receiver<SubjectRef>,
    context: Arc<Context>,
) {
    let named = stream::poll_fn(move |waker| named.poll_recv(waker));
    let named = named.map(|object| Ok::<_, Infallible>(ReconcileRequest::from(object)));
    let config = queue::Config::default().concurrency(RECONCILES_MAX).debounce(DEBOUNCE);
    let reconcile = move |object, context| Box::pin(reconcile::reconcile(subject, object, context));
    let again = move |object: Arc<DynamicObject>, error: &ReconcileError, context: Arc<Context>| {
        reconcile::again(subject, &object, error, &context)
    };
    let reconciles = applier(reconcile, again, context, objects, named, config);
    // What failed was told where it failed; that an object is gone when its turn comes is no failure.
    reconciles.for_each(|_| std::future::ready(())).await;
}

pub(crate) fn ours(kind: &str, plural: &str) -> ApiResource {
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
