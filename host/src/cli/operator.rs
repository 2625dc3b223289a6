//! `fairlead operator`: the controllers of a Kubernetes cluster.

use std::sync::Arc;

use fairlead_operator::controller::{self, LeaseOptions, Options, Tally};
use fairlead_operator::desired::Settings;
use tokio_util::sync::CancellationToken;

use super::Failure;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The namespace that it looks at; without it, all of them
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The image of the proxy in front of each server: of this very program
    #[arg(long, value_name = "IMAGE")]
    proxy_image: String,
    /// The namespace of the lease that makes it the only one; without it, the one that it runs in
    #[arg(long, value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
    /// The name of that lease
    #[arg(long, value_name = "NAME", default_value = "fairlead-operator")]
    lease_name: String,
}

/// Reconciles until it is stopped. The cluster is the one of the kubeconfig, or the one that it runs in.
///
/// # Errors
/// There is no cluster to be found.
pub(crate) async fn run(args: Args, stop: CancellationToken) -> Result<(), Failure> {
    let connection = controller::connect().await.map_err(|error| Failure::chain(&error))?;
    let options = Options {
        namespace: args.namespace,
        settings: Settings { proxy_image: args.proxy_image },
        lease: LeaseOptions {
            namespace: args.lease_namespace.unwrap_or(connection.namespace),
            name: args.lease_name,
            identity: identity()?,
        },
        tally: Arc::new(Tally::default()),
    };
    controller::run(connection.client, options, stop.cancelled_owned()).await.map_err(|error| Failure::chain(&error))
}

/// The name of the pod, and something that another process of the same name does not have.
fn identity() -> Result<String, Failure> {
    let name = std::env::var("HOSTNAME").unwrap_or_else(|_| "fairlead".to_owned());
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| Failure::new(format!("random numbers: {error}")))?;
    Ok(format!("{name}_{:016x}", u64::from_le_bytes(random)))
}
