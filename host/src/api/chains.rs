//! `/api/v1beta/chains`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::{get, patch, post};
use fairlead_core::chain::Level;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::tenant::Role;
use http::StatusCode;

use super::access::{Access, By};
use super::extract::{Body, Params};
use super::openapi::{Doors, Operation};
use super::problem::Refusal;
use super::types::policy::{ChainQuery, ChainView, EditChain, ExplainChain, Explanation};
use crate::app::App;

const CHAINS: &str = "/api/v1beta/chains";
const EXPLAIN: &str = "/api/v1beta/chains/explain";

type Daemon = State<Arc<App>>;

pub(super) fn doors(doors: Doors<Arc<App>>) -> Doors<Arc<App>> {
    doors
        .door(
            Operation::new("get", CHAINS, "getChain", "Show the chain of the platform, of a tenant or of a server")
                .access(Access::Tenant(Role::Viewer))
                .query::<ChainQuery>()
                .returns::<ChainView>(StatusCode::OK),
            get(show),
        )
        .door(
            Operation::new("patch", CHAINS, "editChain", "Change a chain while it serves; no request is lost")
                .access(Access::Tenant(Role::Operator))
                .body::<EditChain>()
                .returns::<ChainView>(StatusCode::OK),
            patch(edit),
        )
        .door(
            Operation::new("post", EXPLAIN, "explainChain", "Lead a request through a chain, without the server")
                .access(Access::Tenant(Role::Viewer))
                .body::<ExplainChain>()
                .returns::<Explanation>(StatusCode::OK),
            post(explain),
        )
}

async fn show(
    State(app): Daemon,
    By(caller): By,
    Params(query): Params<ChainQuery>,
) -> Result<Json<ChainView>, Refusal> {
    Ok(Json(app.chain(&caller, &query)?))
}

async fn edit(State(app): Daemon, By(caller): By, Body(request): Body<EditChain>) -> Result<Json<ChainView>, Refusal> {
    // Whoever runs servers chooses their plugins; what holds for others is for an admin.
    if request.level != Level::Server && caller.role < Role::Admin {
        let detail =
            format!("the chain of a tenant is for the role `admin`, and the token has the role `{}`", caller.role);
        return Err(Problem::new(ProblemKind::Forbidden, detail).into());
    }
    Ok(Json(app.edit_chain(&caller, request).await?))
}

async fn explain(State(app): Daemon, Body(request): Body<ExplainChain>) -> Result<Json<Explanation>, Refusal> {
    Ok(Json(app.explain(request).await?))
}
