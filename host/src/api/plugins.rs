//! `/api/v1beta/plugins`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;

use super::extract::Params;
use super::openapi::{Doors, Operation};
use super::problem::Refusal;
use super::types::{PluginList, PluginQuery};
use crate::app::App;

pub(super) fn doors(doors: Doors<Arc<App>>) -> Doors<Arc<App>> {
    doors.door(
        Operation::new(
            "get",
            "/api/v1beta/plugins",
            "listPlugins",
            "Describe the plugins that are found by name, or the one that `ref` names",
        )
        .query::<PluginQuery>()
        .returns::<PluginList>(StatusCode::OK),
        get(list),
    )
}

async fn list(State(app): State<Arc<App>>, Params(query): Params<PluginQuery>) -> Result<Json<PluginList>, Refusal> {
    Ok(Json(match query.reference {
        Some(reference) => PluginList { plugins: vec![app.inspect_plugin(&reference).await?], unusable: Vec::new() },
        None => app.list_plugins().await,
    }))
}
