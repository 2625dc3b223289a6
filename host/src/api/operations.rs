//! `/api/v1beta/operations`, and how a request becomes one: it waits for the end, or, where the client says
//! `Prefer: respond-async` (RFC 7240), is answered with 202 and the place where the operation can be watched.

use std::sync::Arc;

use axum::Json;
use axum::body::Body as ResponseBody;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::tenant::Role;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use tokio::sync::watch;

use super::access::{Access, not_there};
use super::extract::Params;
use super::openapi::{Doors, Operation as Described};
use super::problem::Refusal;
use super::types::{OperationInfo, OperationKind, OperationList, OperationQuery, OperationState};
use crate::app::App;
use crate::app::operations::{Operation, Subject};

const ALL: &str = "/api/v1beta/operations";
const ONE: &str = "/api/v1beta/operations/{id}";
const EVENTS: &str = "/api/v1beta/operations/{id}/events";
const CANCEL: &str = "/api/v1beta/operations/{id}/cancel";

type Daemon = State<Arc<App>>;

pub(super) fn doors(doors: Doors<Arc<App>>) -> Doors<Arc<App>> {
    let (sees, operates) = (Access::Tenant(Role::Viewer), Access::Tenant(Role::Operator));
    doors
        .door(
            Described::new("get", ALL, "listOperations", "List what is being done, and what was done last")
                .access(sees)
                .query::<OperationQuery>()
                .returns::<OperationList>(StatusCode::OK),
            get(list),
        )
        .door(
            Described::new("get", ONE, "getOperation", "Show how far an operation is")
                .access(sees)
                .query::<OperationQuery>()
                .returns::<OperationInfo>(StatusCode::OK),
            get(show),
        )
        .door(
            Described::new(
                "get",
                EVENTS,
                "watchOperation",
                "Follow an operation to its end: server-sent events, each with the operation as JSON",
            )
            .access(sees)
            .query::<OperationQuery>()
            .returns_text(),
            get(events),
        )
        .door(
            Described::new("post", CANCEL, "cancelOperation", "Give up an operation; what it has begun is taken back")
                .access(operates)
                .query::<OperationQuery>()
                .returns::<OperationInfo>(StatusCode::ACCEPTED),
            post(cancel),
        )
}

/// Carries out an operation in a task of its own, and answers when it has ended or, if the client prefers that, at once.
pub(super) async fn carry_out<T, Work>(
    app: &Arc<App>,
    headers: &HeaderMap,
    (kind, subject): (OperationKind, Subject<'_>),
    success: StatusCode,
    work: impl FnOnce(Arc<App>, Arc<Operation>) -> Work,
) -> Result<Response, Refusal>
where
    T: Serialize + Send + 'static,
    Work: Future<Output = Result<T, Problem>> + Send + 'static,
{
    let operation = Arc::new(app.operations().begin(kind, subject)?);
    let states = operation.watch();
    let work = work(Arc::clone(app), Arc::clone(&operation));
    let followed = Arc::clone(app);
    let task = app.tasks().spawn(async move {
        let outcome = work.await;
        // Whatever came or went: the files of client applications are in step before anybody is told.
        followed.sync_clients().await;
        // Whoever asked may look at it a moment longer than it works.
        operation.finish(&outcome);
        outcome
    });
    if prefers_not_to_wait(headers) {
        let info = states.borrow().clone();
        let location = format!("{ALL}/{}", info.id);
        return Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(info)).into_response());
    }
    let outcome = task.await.map_err(|error| {
        tracing::error!(%error, "an operation broke off");
        Problem::new(ProblemKind::Internal, "the operation broke off; the log of the daemon says why")
    })?;
    let result = outcome?;
    Ok(if success == StatusCode::NO_CONTENT {
        success.into_response()
    } else {
        (success, Json(result)).into_response()
    })
}

fn prefers_not_to_wait(headers: &HeaderMap) -> bool {
    headers.get_all("prefer").iter().any(|value| {
        value.to_str().is_ok_and(|text| text.split(',').any(|word| word.trim().eq_ignore_ascii_case("respond-async")))
    })
}

async fn list(State(app): Daemon, Params(query): Params<OperationQuery>) -> Json<OperationList> {
    Json(OperationList { operations: app.operations().list(query.tenant.as_ref()) })
}

async fn show(
    State(app): Daemon,
    Path(id): Path<String>,
    Params(query): Params<OperationQuery>,
) -> Result<Json<OperationInfo>, Refusal> {
    let states = of_tenant(&app, &id, &query)?;
    let info = states.borrow().clone();
    Ok(Json(info))
}

/// An operation, to those that it concerns.
fn of_tenant(app: &App, id: &str, query: &OperationQuery) -> Result<watch::Receiver<OperationInfo>, Problem> {
    let states = app.operations().watch(id);
    match &query.tenant {
        None => states,
        Some(tenant) => {
            states.ok().filter(|states| states.borrow().tenant.as_ref() == Some(tenant)).ok_or_else(not_there)
        }
    }
}

async fn cancel(
    State(app): Daemon,
    Path(id): Path<String>,
    Params(query): Params<OperationQuery>,
) -> Result<(StatusCode, Json<OperationInfo>), Refusal> {
    of_tenant(&app, &id, &query)?;
    Ok((StatusCode::ACCEPTED, Json(app.operations().cancel(&id)?)))
}

async fn events(
    State(app): Daemon,
    Path(id): Path<String>,
    Params(query): Params<OperationQuery>,
) -> Result<Response, Refusal> {
    let mut states = of_tenant(&app, &id, &query)?;
    states.mark_changed();
    let stop = app.stopping();
    let events = stream::unfold(Some(states), move |states| {
        let stop = stop.clone();
        async move {
            let mut states = states?;
            tokio::select! {
                biased;
                changed = states.changed() => changed.ok()?,
                () = stop.cancelled() => return None,
            }
            let info = states.borrow_and_update().clone();
            let event =
                serde_json::to_string(&info).map(|json| Bytes::from(format!("event: operation\ndata: {json}\n\n")));
            let over = info.state != OperationState::Running;
            Some((event, (!over).then_some(states)))
        }
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    Ok((headers, ResponseBody::from_stream(events)).into_response())
}
