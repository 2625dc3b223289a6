//! `/api/v1beta/tenants` and `/api/v1beta/tokens`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use fairlead_core::name::TenantName;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::tenant::Role;
use http::StatusCode;

use super::access::Access;
use super::extract::{Body, Params};
use super::openapi::{Doors, Operation};
use super::problem::Refusal;
use super::types::policy::{CreateTenant, CreateToken, CreatedToken, TenantInfo, TenantList, TokenList, TokenQuery};
use crate::app::App;

const TENANTS: &str = "/api/v1beta/tenants";
const TENANT: &str = "/api/v1beta/tenants/{tenant}";
const TOKENS: &str = "/api/v1beta/tokens";
const TOKEN: &str = "/api/v1beta/tokens/{id}";

type Daemon = State<Arc<App>>;

pub(super) fn doors(doors: Doors<Arc<App>>) -> Doors<Arc<App>> {
    doors
        .door(
            Operation::new("get", TENANTS, "listTenants", "List tenants")
                .access(Access::Platform(Role::Viewer))
                .returns::<TenantList>(StatusCode::OK),
            get(list),
        )
        .door(
            Operation::new("post", TENANTS, "createTenant", "Create a tenant")
                .body::<CreateTenant>()
                .returns::<TenantInfo>(StatusCode::CREATED),
            post(create),
        )
        .door(
            Operation::new("get", TENANT, "getTenant", "Show a tenant")
                .access(Access::Tenant(Role::Viewer))
                .returns::<TenantInfo>(StatusCode::OK),
            get(show),
        )
        .door(
            Operation::new("delete", TENANT, "deleteTenant", "Forget a tenant, with its chain and its tokens"),
            delete(remove),
        )
        .door(
            Operation::new("get", TOKENS, "listTokens", "List tokens, without what makes them tokens")
                .access(Access::Tenant(Role::Admin))
                .query::<TokenQuery>()
                .returns::<TokenList>(StatusCode::OK),
            get(list_tokens),
        )
        .door(
            Operation::new("post", TOKENS, "createToken", "Make a token; nobody sees it again")
                .access(Access::Tenant(Role::Admin))
                .body::<CreateToken>()
                .returns::<CreatedToken>(StatusCode::CREATED),
            post(create_token),
        )
        .door(
            Operation::new("delete", TOKEN, "deleteToken", "Withdraw a token")
                .access(Access::Tenant(Role::Admin))
                .query::<TokenQuery>(),
            delete(remove_token),
        )
}

async fn list(State(app): Daemon) -> Json<TenantList> {
    Json(app.tenants())
}

async fn create(
    State(app): Daemon,
    Body(request): Body<CreateTenant>,
) -> Result<(StatusCode, Json<TenantInfo>), Refusal> {
    Ok((StatusCode::CREATED, Json(app.create_tenant(request).await?)))
}

async fn show(State(app): Daemon, Path(name): Path<String>) -> Result<Json<TenantInfo>, Refusal> {
    Ok(Json(app.tenant(&tenant(&name)?)?))
}

async fn remove(State(app): Daemon, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    app.remove_tenant(&tenant(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_tokens(State(app): Daemon, Params(query): Params<TokenQuery>) -> Json<TokenList> {
    Json(app.tokens(query.tenant.as_ref()))
}

async fn create_token(
    State(app): Daemon,
    Body(request): Body<CreateToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Refusal> {
    Ok((StatusCode::CREATED, Json(app.create_token(request).await?)))
}

async fn remove_token(
    State(app): Daemon,
    Path(id): Path<String>,
    Params(query): Params<TokenQuery>,
) -> Result<StatusCode, Refusal> {
    app.remove_token(&id, query.tenant.as_ref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn tenant(name: &str) -> Result<TenantName, Problem> {
    TenantName::new(name).map_err(|error| Problem::new(ProblemKind::BadRequest, error.to_string()))
}
