//! `/api/v1beta/workloads`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body as ResponseBody;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use fairlead_core::name::{ServerKey, ServerName};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::tenant::Role;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use super::access::{Access, By};
use super::extract::{Body, Params};
use super::openapi::{Doors, Operation};
use super::operations::carry_out;
use super::problem::Refusal;
use super::types::{
    Build, CreateBuild, CreateWorkload, ExportQuery, Exported, ListQuery, LogsQuery, OperationKind, ReplacePlugins,
    TenantQuery, UsageList, Workload, WorkloadList,
};
use crate::app::App;
use crate::app::operations::{Operation as Running, Subject};

const ALL: &str = "/api/v1beta/workloads";
const ONE: &str = "/api/v1beta/workloads/{name}";
const START: &str = "/api/v1beta/workloads/{name}/start";
const STOP: &str = "/api/v1beta/workloads/{name}/stop";
const RESTART: &str = "/api/v1beta/workloads/{name}/restart";
const BUILDS: &str = "/api/v1beta/builds";
const PLUGINS: &str = "/api/v1beta/workloads/{name}/plugins";
const EXPORT: &str = "/api/v1beta/workloads/{name}/export";
const USAGE: &str = "/api/v1beta/usage";
const LOGS: &str = "/api/v1beta/workloads/{name}/logs";

type Daemon = State<Arc<App>>;
type Outcome = Result<Response, Refusal>;
type Answer = Result<Json<Workload>, Refusal>;

pub(super) fn doors(doors: Doors<Arc<App>>) -> Doors<Arc<App>> {
    let (sees, operates) = (Access::Tenant(Role::Viewer), Access::Tenant(Role::Operator));
    let one = |method, path, id, summary| {
        let access = if method == "get" { sees } else { operates };
        Operation::new(method, path, id, summary).query::<TenantQuery>().access(access)
    };
    doors
        .door(
            Operation::new("get", ALL, "listWorkloads", "List servers")
                .access(sees)
                .query::<ListQuery>()
                .returns::<WorkloadList>(StatusCode::OK),
            get(list),
        )
        .door(
            Operation::new("post", ALL, "createWorkload", "Create a server and wait until it answers `initialize`")
                .access(operates)
                .body::<CreateWorkload>()
                .returns::<Workload>(StatusCode::CREATED),
            post(create),
        )
        .door(one("get", ONE, "getWorkload", "Show one server").returns::<Workload>(StatusCode::OK), get(show))
        .door(one("delete", ONE, "deleteWorkload", "Stop a server and forget it"), delete(remove))
        .door(
            one("post", START, "startWorkload", "Start a server and wait until it answers")
                .returns::<Workload>(StatusCode::OK),
            post(start),
        )
        .door(one("post", STOP, "stopWorkload", "Stop a server").returns::<Workload>(StatusCode::OK), post(stop))
        .door(
            one("post", RESTART, "restartWorkload", "Stop and start a server").returns::<Workload>(StatusCode::OK),
            post(restart),
        )
        .door(
            Operation::new("post", BUILDS, "createBuild", "Build an image of a package, once for each version")
                .body::<CreateBuild>()
                .returns::<Build>(StatusCode::OK),
            post(build),
        )
        .door(
            one("put", PLUGINS, "replacePlugins", "Replace the plugins of a server while it runs; no request is lost")
                .body::<ReplacePlugins>()
                .returns::<Workload>(StatusCode::OK),
            put(replace_plugins),
        )
        .door(
            Operation::new("get", USAGE, "readUsage", "Show what servers use of the machine")
                .access(sees)
                .query::<ListQuery>()
                .returns::<UsageList>(StatusCode::OK),
            get(usage),
        )
        .door(
            Operation::new("get", EXPORT, "exportWorkload", "Export a server as a document")
                .access(sees)
                .query::<ExportQuery>()
                .returns::<Exported>(StatusCode::OK),
            get(export),
        )
        .door(
            Operation::new("get", LOGS, "readLogs", "Read the log of a server, and follow it")
                .access(sees)
                .query::<LogsQuery>()
                .returns_text(),
            get(logs),
        )
}

async fn list(State(app): Daemon, Params(query): Params<ListQuery>) -> Json<WorkloadList> {
    Json(WorkloadList { workloads: app.list(&query) })
}

async fn usage(State(app): Daemon, Params(query): Params<ListQuery>) -> Json<UsageList> {
    Json(app.usage(&query).await)
}

async fn create(
    State(app): Daemon,
    headers: HeaderMap,
    By(caller): By,
    Body(mut request): Body<CreateWorkload>,
) -> Outcome {
    app.keep_within(&caller, &mut request.spec)?;
    let tenant = request.tenant.clone();
    let what = (OperationKind::Create, Subject::Tenant(&tenant));
    carry_out(&app, &headers, what, StatusCode::CREATED, |app, operation| async move {
        app.create(request, &operation).await
    })
    .await
}

async fn build(State(app): Daemon, headers: HeaderMap, Body(request): Body<CreateBuild>) -> Outcome {
    let what = (OperationKind::Build, Subject::Machine);
    carry_out(
        &app,
        &headers,
        what,
        StatusCode::OK,
        |app, operation| async move { app.build(request, &operation).await },
    )
    .await
}

async fn show(State(app): Daemon, Path(name): Path<String>, Params(query): Params<TenantQuery>) -> Answer {
    Ok(Json(app.get(&key(&name, query)?)?))
}

async fn export(
    State(app): Daemon,
    Path(name): Path<String>,
    Params(query): Params<ExportQuery>,
) -> Result<Json<Exported>, Refusal> {
    Ok(Json(app.export(&key(&name, TenantQuery { tenant: query.tenant })?, query.format)?))
}

async fn remove(app: Daemon, headers: HeaderMap, name: Path<String>, query: Params<TenantQuery>) -> Outcome {
    let what = (OperationKind::Remove, StatusCode::NO_CONTENT);
    carry_out_on_server((app, headers, name, query), what, |app, key, operation| async move {
        app.remove(&key, &operation).await
    })
    .await
}

async fn start(app: Daemon, headers: HeaderMap, name: Path<String>, query: Params<TenantQuery>) -> Outcome {
    let what = (OperationKind::Start, StatusCode::OK);
    carry_out_on_server((app, headers, name, query), what, |app, key, operation| async move {
        app.start(&key, &operation).await
    })
    .await
}

async fn stop(app: Daemon, headers: HeaderMap, name: Path<String>, query: Params<TenantQuery>) -> Outcome {
    let what = (OperationKind::Stop, StatusCode::OK);
    carry_out_on_server((app, headers, name, query), what, |app, key, operation| async move {
        app.stop(&key, &operation).await
    })
    .await
}

async fn restart(app: Daemon, headers: HeaderMap, name: Path<String>, query: Params<TenantQuery>) -> Outcome {
    let what = (OperationKind::Restart, StatusCode::OK);
    carry_out_on_server((app, headers, name, query), what, |app, key, operation| async move {
        app.restart(&key, &operation).await
    })
    .await
}

/// An operation on the one server that a request names.
async fn carry_out_on_server<T, Work>(
    (State(app), headers, Path(name), Params(query)): (Daemon, HeaderMap, Path<String>, Params<TenantQuery>),
    (kind, success): (OperationKind, StatusCode),
    work: impl FnOnce(Arc<App>, ServerKey, Arc<Running>) -> Work,
) -> Outcome
where
    T: Serialize + Send + 'static,
    Work: Future<Output = Result<T, Problem>> + Send + 'static,
{
    let key = key(&name, query)?;
    let what = (kind, Subject::Server(&key.clone()));
    carry_out(&app, &headers, what, success, |app, operation| work(app, key, operation)).await
}

async fn replace_plugins(
    State(app): Daemon,
    By(caller): By,
    Path(name): Path<String>,
    Params(query): Params<TenantQuery>,
    Body(request): Body<ReplacePlugins>,
) -> Answer {
    app.keep_plugins_within(&caller, &request.plugins)?;
    Ok(Json(app.replace_plugins(&key(&name, query)?, request).await?))
}

async fn logs(
    State(app): Daemon,
    Path(name): Path<String>,
    Params(query): Params<LogsQuery>,
) -> Result<Response, Refusal> {
    let key = key(&name, TenantQuery { tenant: query.tenant })?;
    let tail = app.open_log(&key, query.proxy, query.tail, query.follow).await?;
    let stop = app.stopping();
    let chunks = stream::unfold(tail, move |mut tail| {
        let stop = stop.clone();
        async move {
            let chunk = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                chunk = tail.next() => chunk.transpose(),
            };
            chunk.map(|chunk| (chunk, tail))
        }
    });
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], ResponseBody::from_stream(chunks)).into_response())
}

pub(super) fn key(name: &str, query: TenantQuery) -> Result<ServerKey, Problem> {
    let name = ServerName::new(name).map_err(|error| Problem::new(ProblemKind::BadRequest, error.to_string()))?;
    Ok(ServerKey { tenant: query.tenant, name })
}
