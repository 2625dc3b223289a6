//! What a cluster asks a pod: whether it lives, whether clients may be sent to it, and how much passed.
//!
//! A port of its own, which no Service leads to. Whether the server behind or a Redis answers is no part of readiness: all
//! replicas would be taken away together, and clients would get a closed door instead of the reason.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::door;
use crate::telemetry::metrics_router;

/// Whether clients may be sent here.
#[derive(Debug, Clone, Default)]
pub(super) struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub(super) fn set(&self, is_ready: bool) {
        self.0.store(is_ready, Ordering::Release);
    }

    fn status(&self) -> (StatusCode, &'static str) {
        if self.0.load(Ordering::Acquire) {
            (StatusCode::OK, "ready\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
        }
    }
}

/// Answers until `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    registry: Option<Registry>,
    stop: CancellationToken,
) -> io::Result<()> {
    let metrics = registry.map_or_else(Router::new, metrics_router);
    let router = metrics
        .route("/health", get(|| std::future::ready("ok\n")))
        .route("/ready", get(move || std::future::ready(readiness.status())));
    door::serve(listener, router, stop).await
}
