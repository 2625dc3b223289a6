//! `/metrics` for Prometheus, on a listener of its own: who may scrape is not who may call tools, and neither may manage.

use std::io;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::door;

/// Serves until `stop`.
///
/// # Errors
/// The listener breaks.
pub(crate) async fn serve(listener: TcpListener, registry: Registry, stop: CancellationToken) -> io::Result<()> {
    door::serve(listener, router(registry), stop).await
}

/// `/metrics`, for a listener that has more to say.
pub(crate) fn router(registry: Registry) -> Router {
    Router::new().route("/metrics", get(move || std::future::ready(shown(&registry))))
}

fn shown(registry: &Registry) -> Response {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&registry.gather(), &mut text) {
        Ok(()) => ([(CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response(),
        Err(error) => {
            tracing::warn!(%error, "metrics cannot be shown");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
