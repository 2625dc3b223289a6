//! `fairlead operator`: the controllers of a Kubernetes cluster.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use fairlead_operator::controller::{self, LeaseOptions, Options, Tally};
use fairlead_operator::desired::Settings;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Failure;
use super::registry::cluster::registries;
use crate::app::cluster;
use crate::{config, door};

/// What Prometheus calls its text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why a probe is told to wait.
const NOT_READY: &str = "not ready: the API server does not answer, or not everything was seen yet";

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The namespace that it looks at; without it, all of them
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The image of the proxy in front of each server: of this very program
    #[arg(long, value_name = "IMAGE")]
    proxy_image: String,
    /// Let registry servers ask the cluster who their clients are: bind their accounts to `system:auth-delegator`
    #[arg(long)]
    bind_reviewers: bool,
    /// The namespace of the lease that makes it the only one; without it, the one that it runs in
    #[arg(long, value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
    /// The name of that lease
    #[arg(long, value_name = "NAME", default_value = "fairlead-operator")]
    lease_name: String,
    /// Address of `/health`, `/ready` and `/metrics`; without it, there are none
    #[arg(long, value_name = "ADDRESS")]
    address: Option<SocketAddr>,
}

/// Reconciles until it is stopped. The cluster is the one of the kubeconfig, or the one that it runs in.
///
/// # Errors
/// There is no cluster to be found, or the address cannot be listened on.
pub(crate) async fn run(settings: &config::Settings, args: Args, stop: CancellationToken) -> Result<(), Failure> {
    let connection = controller::connect()
        .await
        .map_err(|error| Failure { hint: error.hint().map(str::to_owned), ..Failure::chain(&error) })?;
    let tally = Arc::new(Tally::default());
    let tasks = TaskTracker::new();
    let _ends_with_this = stop.clone().drop_guard();
    if let Some(address) = args.address {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| Failure::new(format!("listen on {address}: {error}")).hint("give another `--address`"))?;
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "health, readiness and metrics");
        }
        let serving = door::serve(listener, standing(&tally), stop.clone());
        tasks.spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "nobody can ask any more how it stands");
            }
        });
    }
    let options = Options {
        namespace: args.namespace,
        settings: Settings {
            proxy_image: args.proxy_image,
            updates: Some(settings.update_interval),
            binds_reviewers: args.bind_reviewers,
        },
        registries: registries(),
        keeper: Some(cluster::keeper(settings).map_err(|error| Failure::chain(&error))?),
        lease: LeaseOptions {
            namespace: args.lease_namespace.unwrap_or(connection.namespace),
            name: args.lease_name,
            identity: identity()?,
        },
        reach: None,
        tally,
    };
    let ended = controller::run(connection.client, options, stop.clone().cancelled_owned()).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    ended.map_err(|error| Failure::chain(&error))
}

/// What probes and those who scrape ask for.
fn standing(tally: &Arc<Tally>) -> Router {
    let (ready, shown) = (Arc::clone(tally), Arc::clone(tally));
    let is_ready = move || {
        std::future::ready(match ready.is_ready() {
            true => (StatusCode::OK, "ready"),
            false => (StatusCode::SERVICE_UNAVAILABLE, NOT_READY),
        })
    };
    let metrics = move || std::future::ready(([(CONTENT_TYPE, METRICS_TYPE)], shown.metrics()));
    Router::new()
        .route("/health", get(async || "healthy"))
        .route("/ready", get(is_ready))
        .route("/metrics", get(metrics))
}

/// The name of the pod, and something that another process of the same name does not have.
fn identity() -> Result<String, Failure> {
    let name = std::env::var("HOSTNAME").unwrap_or_else(|_| "fairlead".to_owned());
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| Failure::new(format!("random numbers: {error}")))?;
    Ok(format!("{name}_{:016x}", u64::from_le_bytes(random)))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn asked(tally: &Arc<Tally>, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = standing(tally).oneshot(request).await.unwrap();
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn an_operator_that_hears_nothing_is_healthy_and_not_ready() {
        let tally = Arc::new(Tally::default());
        assert_eq!(asked(&tally, "/health").await.0, StatusCode::OK);
        assert_eq!(asked(&tally, "/ready").await.0, StatusCode::SERVICE_UNAVAILABLE);
        let (status, text) = asked(&tally, "/metrics").await;
        assert!(status.is_success() && text.contains("\nfairlead_operator_ready 0\n"), "{text}");
    }
}
