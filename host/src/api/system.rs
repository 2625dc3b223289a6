//! The daemon itself: who it is, whether it is well, and its end.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::{get, post};
use fairlead_core::tenant::Role;
use http::StatusCode;

use super::access::Access;
use super::openapi::{Doors, Operation};
use super::types::DaemonInfo;
use crate::app::App;

pub(super) fn doors(doors: Doors<Arc<App>>) -> Doors<Arc<App>> {
    doors
        .door(
            Operation::new("get", "/api/v1beta/version", "getVersion", "Tell who answers")
                .access(Access::Tenant(Role::Viewer))
                .returns::<DaemonInfo>(StatusCode::OK),
            get(version),
        )
        .door(
            Operation::new("get", "/health", "getHealth", "Tell that somebody answers").access(Access::Everybody),
            get(health),
        )
        .door(
            Operation::new(
                "post",
                "/api/v1beta/shutdown",
                "shutdown",
                "Stop the daemon; its servers come back with the next one",
            ),
            post(shutdown),
        )
}

async fn version(State(app): State<Arc<App>>) -> Json<DaemonInfo> {
    Json(app.info())
}

async fn health() -> StatusCode {
    StatusCode::NO_CONTENT
}

async fn shutdown(State(app): State<Arc<App>>) -> StatusCode {
    tracing::info!("somebody asks the daemon to stop");
    app.stopping().cancel();
    StatusCode::NO_CONTENT
}
