//! `/api/v1beta/secrets`. A value crosses the API in two places: when it is set, and when it is asked for by name.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post, put};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::secret::{SecretName, SecretValue};
use fairlead_core::tenant::Role;
use http::StatusCode;

use super::access::Access;
use super::extract::{Body, Params};
use super::openapi::{Doors, Operation};
use super::problem::Refusal;
use super::types::{
    RevealedSecret, RotateSecrets, RotatedSecrets, SecretInfo, SecretList, SecretQuery, SetSecret, TenantQuery,
};
use crate::app::App;

const ALL: &str = "/api/v1beta/secrets";
const ONE: &str = "/api/v1beta/secrets/{name}";
const VALUE: &str = "/api/v1beta/secret-value";
const ROTATE: &str = "/api/v1beta/secrets-rotation";

type Daemon = State<Arc<App>>;

pub(super) fn doors(doors: Doors<Arc<App>>) -> Doors<Arc<App>> {
    let (sees, operates) = (Access::Tenant(Role::Viewer), Access::Tenant(Role::Operator));
    doors
        .door(
            Operation::new("get", ALL, "listSecrets", "List the names of secrets in the store")
                .access(sees)
                .query::<TenantQuery>()
                .returns::<SecretList>(StatusCode::OK),
            get(list),
        )
        .door(
            Operation::new("put", ONE, "setSecret", "Store a secret")
                .access(operates)
                .query::<TenantQuery>()
                .body::<SetSecret>()
                .returns::<SecretInfo>(StatusCode::OK),
            put(set),
        )
        .door(
            Operation::new("delete", ONE, "deleteSecret", "Forget a secret").access(operates).query::<TenantQuery>(),
            delete(remove),
        )
        .door(
            Operation::new("get", VALUE, "revealSecret", "Show the value of one secret, of any provider")
                .query::<SecretQuery>()
                .returns::<RevealedSecret>(StatusCode::OK),
            get(reveal),
        )
        .door(
            Operation::new("post", ROTATE, "rotateSecrets", "Seal the store of secrets under a new key")
                .body::<RotateSecrets>()
                .returns::<RotatedSecrets>(StatusCode::OK),
            post(rotate),
        )
}

async fn list(State(app): Daemon, Params(query): Params<TenantQuery>) -> Result<Json<SecretList>, Refusal> {
    Ok(Json(app.list_secrets(query.tenant).await?))
}

async fn set(
    State(app): Daemon,
    Path(name): Path<String>,
    Params(query): Params<TenantQuery>,
    Body(request): Body<SetSecret>,
) -> Result<Json<SecretInfo>, Refusal> {
    let value = SecretValue::new(request.value.as_bytes());
    Ok(Json(app.set_secret(query.tenant, secret_name(&name)?, value).await?))
}

async fn remove(
    State(app): Daemon,
    Path(name): Path<String>,
    Params(query): Params<TenantQuery>,
) -> Result<StatusCode, Refusal> {
    app.remove_secret(query.tenant, secret_name(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn reveal(State(app): Daemon, Params(query): Params<SecretQuery>) -> Result<Json<RevealedSecret>, Refusal> {
    let value = app.reveal_secret(&query.tenant, &query.name).await?;
    let value = value.reveal_text().map_err(|_| Problem::new(ProblemKind::Invalid, "the secret is not UTF-8 text"))?;
    Ok(Json(RevealedSecret { value: value.to_owned().into() }))
}

async fn rotate(State(app): Daemon, Body(request): Body<RotateSecrets>) -> Result<Json<RotatedSecrets>, Refusal> {
    let given = request.key.map(|key| zeroize::Zeroizing::new(key.as_bytes().to_vec()));
    Ok(Json(app.rotate_secrets(request.to, given).await?))
}

fn secret_name(name: &str) -> Result<SecretName, Problem> {
    SecretName::new(name).map_err(|error| Problem::new(ProblemKind::BadRequest, error.to_string()))
}
