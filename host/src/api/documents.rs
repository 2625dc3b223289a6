//! `/api/v1beta/documents`: everything in its declarative form.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use fairlead_core::tenant::Role;
use http::{HeaderMap, StatusCode};

use super::access::{Access, By};
use super::extract::{Body, Params};
use super::openapi::{Doors, Operation};
use super::operations::carry_out;
use super::problem::Refusal;
use super::types::OperationKind;
use super::types::policy::{Applied, Apply, DocumentList, DocumentQuery};
use crate::app::App;
use crate::app::operations::Subject;

const DOCUMENTS: &str = "/api/v1beta/documents";
const APPLY: &str = "/api/v1beta/documents/apply";

type Daemon = State<Arc<App>>;

pub(super) fn doors(doors: Doors<Arc<App>>) -> Doors<Arc<App>> {
    doors
        .door(
            Operation::new("get", DOCUMENTS, "listDocuments", "Tell what is, as documents with a status")
                .access(Access::Tenant(Role::Viewer))
                .query::<DocumentQuery>()
                .returns::<DocumentList>(StatusCode::OK),
            get(list),
        )
        .door(
            Operation::new("post", APPLY, "applyDocuments", "Make things as documents say: all of them, or none")
                .access(Access::Tenant(Role::Viewer))
                .body::<Apply>()
                .returns::<Applied>(StatusCode::OK),
            post(apply),
        )
}

async fn list(State(app): Daemon, Params(query): Params<DocumentQuery>) -> Json<DocumentList> {
    Json(DocumentList { documents: app.documents(&query) })
}

/// What each document needs is decided by what it changes: a viewer may look at the difference.
async fn apply(
    State(app): Daemon,
    headers: HeaderMap,
    By(caller): By,
    Body(request): Body<Apply>,
) -> Result<Response, Refusal> {
    let within = request.tenant.clone();
    let what = (OperationKind::Apply, within.as_ref().map_or(Subject::Machine, Subject::Tenant));
    carry_out(&app, &headers, what, StatusCode::OK, |app, operation| async move {
        app.apply(&caller, request, &operation).await
    })
    .await
}
