//! `/api/v1beta/groups`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use fairlead_core::name::GroupName;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::tenant::Role;
use http::StatusCode;

use super::access::Access;
use super::extract::{Body, Params};
use super::openapi::{Doors, Operation};
use super::problem::Refusal;
use super::types::{CreateGroup, GroupInfo, GroupList, TenantQuery};
use crate::app::App;

const ALL: &str = "/api/v1beta/groups";
const ONE: &str = "/api/v1beta/groups/{name}";

type Daemon = State<Arc<App>>;

pub(super) fn doors(doors: Doors<Arc<App>>) -> Doors<Arc<App>> {
    let (sees, operates) = (Access::Tenant(Role::Viewer), Access::Tenant(Role::Operator));
    doors
        .door(
            Operation::new("get", ALL, "listGroups", "List the groups of a tenant, with their servers")
                .access(sees)
                .query::<TenantQuery>()
                .returns::<GroupList>(StatusCode::OK),
            get(list),
        )
        .door(
            Operation::new("post", ALL, "createGroup", "Create an empty group")
                .access(operates)
                .body::<CreateGroup>()
                .returns::<GroupInfo>(StatusCode::CREATED),
            post(create),
        )
        .door(
            Operation::new("delete", ONE, "deleteGroup", "Remove a group; its servers are then in `default`")
                .access(operates)
                .query::<TenantQuery>(),
            delete(remove),
        )
}

async fn list(State(app): Daemon, Params(query): Params<TenantQuery>) -> Result<Json<GroupList>, Refusal> {
    Ok(Json(GroupList { groups: app.groups(&query.tenant).await? }))
}

async fn create(
    State(app): Daemon,
    Body(request): Body<CreateGroup>,
) -> Result<(StatusCode, Json<GroupInfo>), Refusal> {
    Ok((StatusCode::CREATED, Json(app.create_group(request.tenant, request.name).await?)))
}

async fn remove(
    State(app): Daemon,
    Path(name): Path<String>,
    Params(query): Params<TenantQuery>,
) -> Result<StatusCode, Refusal> {
    let name = GroupName::new(&name).map_err(|error| Problem::new(ProblemKind::BadRequest, error.to_string()))?;
    app.remove_group(&query.tenant, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
