//! `/api/v1beta/clients`: client applications of this user.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post, put};
use http::StatusCode;

use super::extract::Body;
use super::openapi::{Doors, Operation};
use super::problem::Refusal;
use super::types::{ClientInfo, ClientList, RegisterClient};
use crate::app::App;

const ALL: &str = "/api/v1beta/clients";
const ONE: &str = "/api/v1beta/clients/{id}";
const UNDO: &str = "/api/v1beta/clients/{id}/undo";

type Daemon = State<Arc<App>>;

pub(super) fn doors(doors: Doors<Arc<App>>) -> Doors<Arc<App>> {
    doors
        .door(
            Operation::new("get", ALL, "listClients", "List client applications, and which are registered")
                .returns::<ClientList>(StatusCode::OK),
            get(list),
        )
        .door(
            Operation::new("put", ONE, "registerClient", "Register a client application: its file follows the servers")
                .body::<RegisterClient>()
                .returns::<ClientInfo>(StatusCode::OK),
            put(register),
        )
        .door(
            Operation::new("delete", ONE, "removeClient", "Take our entries out of the file of a client application"),
            delete(remove),
        )
        .door(
            Operation::new("post", UNDO, "undoClient", "Put back what the file of a client application was")
                .returns::<ClientInfo>(StatusCode::OK),
            post(undo),
        )
}

async fn list(State(app): Daemon) -> Result<Json<ClientList>, Refusal> {
    Ok(Json(app.list_clients().await?))
}

async fn register(
    State(app): Daemon,
    Path(id): Path<String>,
    Body(request): Body<RegisterClient>,
) -> Result<Json<ClientInfo>, Refusal> {
    Ok(Json(app.register_client(id, request.group).await?))
}

async fn remove(State(app): Daemon, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    app.remove_client(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn undo(State(app): Daemon, Path(id): Path<String>) -> Result<Json<ClientInfo>, Refusal> {
    Ok(Json(app.undo_client(id).await?))
}
