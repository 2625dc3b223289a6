//! `/api/v1beta/plugins`: what is found by name, and what is installed from OCI registries.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use fairlead_core::tenant::Role;
use http::StatusCode;

use super::access::{Access, By, not_there};
use super::extract::{Body, Params};
use super::openapi::{Doors, Operation};
use super::problem::Refusal;
use super::types::{InstallPlugin, PluginList, PluginQuery};
use crate::app::App;
use crate::app::installed::InstalledPlugin;

/// Where plugins are.
pub(super) const PATH: &str = "/api/v1beta/plugins";

pub(super) fn doors(doors: Doors<Arc<App>>) -> Doors<Arc<App>> {
    doors
        .door(
            Operation::new(
                "get",
                PATH,
                "listPlugins",
                "Describe the plugins that are found by name, or the one that `ref` names",
            )
            .access(Access::Tenant(Role::Viewer))
            .query::<PluginQuery>()
            .returns::<PluginList>(StatusCode::OK),
            get(list),
        )
        .door(
            Operation::new(
                "post",
                PATH,
                "installPlugin",
                "Fetch a plugin from an OCI registry and give it a name, pinned by its digest",
            )
            .access(Access::Platform(Role::Admin))
            .body::<InstallPlugin>()
            .returns::<InstalledPlugin>(StatusCode::CREATED),
            post(install),
        )
        .door(
            Operation::new("delete", "/api/v1beta/plugins/{name}", "removePlugin", "Remove an installed plugin")
                .access(Access::Platform(Role::Admin))
                .returns::<InstalledPlugin>(StatusCode::OK),
            delete(remove),
        )
}

async fn install(
    State(app): State<Arc<App>>,
    Body(request): Body<InstallPlugin>,
) -> Result<(StatusCode, Json<InstalledPlugin>), Refusal> {
    Ok((StatusCode::CREATED, Json(app.install_plugin(request).await?)))
}

async fn remove(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<InstalledPlugin>, Refusal> {
    Ok(Json(app.remove_plugin(&name)?))
}

async fn list(
    State(app): State<Arc<App>>,
    By(caller): By,
    Params(query): Params<PluginQuery>,
) -> Result<Json<PluginList>, Refusal> {
    Ok(Json(match query.reference {
        Some(reference) if !app.may_name(&caller, &reference) => return Err(not_there().into()),
        Some(reference) => {
            let plugins = vec![app.inspect_plugin(&reference).await?];
            PluginList { plugins, unusable: Vec::new(), searched: Vec::new() }
        }
        None => app.list_plugins().await,
    }))
}
