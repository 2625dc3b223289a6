//! Freshness of servers: `/api/v1beta/updates`, `/api/v1beta/workloads/{name}/updates`, and `PATCH` on a workload.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body as ResponseBody;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, patch, post};
use bytes::Bytes;
use fairlead_core::freshness::{Replay, UpdateHistory};
use fairlead_core::name::{ServerKey, TenantName};
use fairlead_core::tenant::Role;
use futures_util::stream;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use tokio::sync::broadcast::error::RecvError;

use super::access::{Access, By};
use super::extract::{Body, Params};
use super::openapi::{Doors, Operation};
use super::problem::Refusal;
use super::types::{
    ApproveUpdate, HoldUpdate, PatchWorkload, PlanQuery, TenantQuery, UpdateInfo, UpdateList, UpdatePlan, UpdateTarget,
    Workload,
};
use super::workloads::key;
use crate::app::App;

const WORKLOAD: &str = "/api/v1beta/workloads/{name}";
const ALL: &str = "/api/v1beta/updates";
const EVENTS: &str = "/api/v1beta/updates/events";
const PLAN: &str = "/api/v1beta/updates/plan";
const ONE: &str = "/api/v1beta/workloads/{name}/updates";
const CHECK: &str = "/api/v1beta/workloads/{name}/updates/check";
const PLAN_ONE: &str = "/api/v1beta/workloads/{name}/updates/plan";
const REPLAY: &str = "/api/v1beta/workloads/{name}/updates/replay";
const APPLY: &str = "/api/v1beta/workloads/{name}/updates/apply";
const APPROVE: &str = "/api/v1beta/workloads/{name}/updates/approve";
const HOLD: &str = "/api/v1beta/workloads/{name}/updates/hold";
const RESUME: &str = "/api/v1beta/workloads/{name}/updates/resume";
const ROLLBACK: &str = "/api/v1beta/workloads/{name}/updates/rollback";

type Daemon = State<Arc<App>>;
type Answer = Result<Json<UpdateInfo>, Refusal>;

pub(super) fn doors(doors: Doors<Arc<App>>) -> Doors<Arc<App>> {
    let (sees, operates) = (Access::Tenant(Role::Viewer), Access::Tenant(Role::Operator));
    let does = |path, id, summary| {
        let one = Operation::new("post", path, id, summary).access(operates).query::<TenantQuery>();
        one.returns::<UpdateInfo>(StatusCode::OK)
    };
    let asks = |path, id, summary| Operation::new("get", path, id, summary).access(sees);
    doors
        .door(
            Operation::new("patch", WORKLOAD, "patchWorkload", "Change how a server is kept fresh, while it runs")
                .access(operates)
                .query::<TenantQuery>()
                .body::<PatchWorkload>()
                .returns::<Workload>(StatusCode::OK),
            patch(change),
        )
        .door(
            asks(ALL, "listUpdates", "Show how fresh all servers of a tenant are")
                .query::<TenantQuery>()
                .returns::<UpdateList>(StatusCode::OK),
            get(list),
        )
        .door(
            asks(EVENTS, "watchUpdates", "Follow what happens to updates: server-sent events, each as JSON")
                .query::<TenantQuery>()
                .returns_text(),
            get(events),
        )
        .door(
            asks(PLAN, "planUpdates", "Show what all policies would do, without doing it")
                .query::<PlanQuery>()
                .returns::<UpdatePlan>(StatusCode::OK),
            get(plan),
        )
        .door(
            asks(ONE, "getUpdates", "Show how fresh a server is, what could run and what was tried")
                .query::<TenantQuery>()
                .returns::<UpdateInfo>(StatusCode::OK),
            get(show),
        )
        .door(
            asks(PLAN_ONE, "planUpdate", "Show what the policies of a server would do, without doing it")
                .query::<PlanQuery>()
                .returns::<UpdatePlan>(StatusCode::OK),
            get(plan_one),
        )
        .door(
            Operation::new("post", REPLAY, "replayUpdates", "Show what the policies would have made of a history")
                .access(sees)
                .query::<TenantQuery>()
                .body::<UpdateHistory>()
                .returns::<Replay>(StatusCode::OK),
            post(replay),
        )
        .door(does(CHECK, "checkUpdate", "Look now what is newest"), post(check))
        .door(
            does(APPLY, "applyUpdate", "Do now what the plan says; with a digest, whatever the policies say")
                .body::<UpdateTarget>(),
            post(apply),
        )
        .door(does(APPROVE, "approveUpdate", "Say yes to a digest").body::<ApproveUpdate>(), post(approve))
        .door(does(HOLD, "holdUpdates", "Say no to every update").body::<HoldUpdate>(), post(hold))
        .door(
            does(RESUME, "resumeUpdates", "Take a no back; with a digest, let it be tried again")
                .body::<UpdateTarget>(),
            post(resume),
        )
        .door(does(ROLLBACK, "rollBack", "Go back to what was well before"), post(roll_back))
}

async fn change(
    State(app): Daemon,
    By(caller): By,
    Path(name): Path<String>,
    Params(query): Params<TenantQuery>,
    Body(request): Body<PatchWorkload>,
) -> Result<Json<Workload>, Refusal> {
    Ok(Json(app.patch(&caller, &key(&name, query)?, request).await?))
}

async fn list(State(app): Daemon, Params(query): Params<TenantQuery>) -> Result<Json<UpdateList>, Refusal> {
    let mut servers = Vec::new();
    for key in app.keys_of(&query.tenant) {
        // One that is removed meanwhile is not there.
        servers.extend(app.update_info(&key).ok());
    }
    Ok(Json(UpdateList { servers }))
}

async fn show(State(app): Daemon, Path(name): Path<String>, Params(query): Params<TenantQuery>) -> Answer {
    Ok(Json(app.update_info(&key(&name, query)?)?))
}

async fn plan(State(app): Daemon, Params(query): Params<PlanQuery>) -> Result<Json<UpdatePlan>, Refusal> {
    planned(&app, app.keys_of(&query.tenant), &query).await
}

async fn plan_one(
    State(app): Daemon,
    Path(name): Path<String>,
    Params(query): Params<PlanQuery>,
) -> Result<Json<UpdatePlan>, Refusal> {
    let key = key(&name, TenantQuery { tenant: query.tenant.clone() })?;
    planned(&app, vec![key], &query).await
}

async fn planned(app: &App, keys: Vec<ServerKey>, query: &PlanQuery) -> Result<Json<UpdatePlan>, Refusal> {
    let mut servers = Vec::new();
    for key in keys {
        servers.push(app.plan_update(&key, query.at).await?);
    }
    Ok(Json(UpdatePlan { servers }))
}

async fn replay(
    State(app): Daemon,
    Path(name): Path<String>,
    Params(query): Params<TenantQuery>,
    Body(history): Body<UpdateHistory>,
) -> Result<Json<Replay>, Refusal> {
    Ok(Json(app.replay_updates(&key(&name, query)?, &history).await?))
}

async fn check(State(app): Daemon, Path(name): Path<String>, Params(query): Params<TenantQuery>) -> Answer {
    Ok(Json(app.check_update(&key(&name, query)?).await?))
}

async fn apply(
    State(app): Daemon,
    Path(name): Path<String>,
    Params(query): Params<TenantQuery>,
    Body(target): Body<UpdateTarget>,
) -> Answer {
    Ok(Json(app.apply_update(&key(&name, query)?, target).await?))
}

async fn approve(
    State(app): Daemon,
    By(caller): By,
    Path(name): Path<String>,
    Params(query): Params<TenantQuery>,
    Body(request): Body<ApproveUpdate>,
) -> Answer {
    let request = ApproveUpdate { by: caller.signs(request.by), ..request };
    Ok(Json(app.approve_update(&key(&name, query)?, request).await?))
}

async fn hold(
    State(app): Daemon,
    By(caller): By,
    Path(name): Path<String>,
    Params(query): Params<TenantQuery>,
    Body(request): Body<HoldUpdate>,
) -> Answer {
    let request = HoldUpdate { by: caller.signs(request.by), ..request };
    Ok(Json(app.hold_updates(&key(&name, query)?, request).await?))
}

async fn resume(
    State(app): Daemon,
    Path(name): Path<String>,
    Params(query): Params<TenantQuery>,
    Body(target): Body<UpdateTarget>,
) -> Answer {
    Ok(Json(app.resume_updates(&key(&name, query)?, target).await?))
}

async fn roll_back(State(app): Daemon, Path(name): Path<String>, Params(query): Params<TenantQuery>) -> Answer {
    Ok(Json(app.roll_back(&key(&name, query)?).await?))
}

/// Until the client goes or the daemon stops. Whoever reads too slowly misses what was in between, and the history has it.
async fn events(State(app): Daemon, Params(query): Params<TenantQuery>) -> Response {
    let state = (app.update_events(), app.stopping(), query.tenant);
    let frames = stream::unfold(state, |(mut events, stop, tenant): (_, _, TenantName)| async move {
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                event = events.recv() => event,
            };
            match event {
                Ok(event) if event.tenant == tenant => {
                    let text = serde_json::to_string(&event).ok()?;
                    let frame = Bytes::from(format!("data: {text}\n\n"));
                    return Some((Ok::<_, Infallible>(frame), (events, stop, tenant)));
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    (headers, ResponseBody::from_stream(frames)).into_response()
}
