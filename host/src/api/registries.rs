//! `/api/v1beta/registries` and `/api/v1beta/registry`: what is read, and what it gives.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post, put};
use fairlead_core::name::RegistryName;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::tenant::Role;
use fairlead_registry::spec::LayerPolicy;
use fairlead_server_json::Format;
use http::StatusCode;

use super::access::{Access, By};
use super::extract::{Body, Params};
use super::openapi::{Doors, Operation};
use super::problem::Refusal;
use super::types::registry::{
    CreateRegistry, DecideReview, EntryInfo, EntryList, EntryQuery, ExportQuery, ExportedCatalogue, LaunchPlan,
    PlanLaunch, RefreshRegistry, RegistryInfo, RegistryList, ReviewAudit, ReviewInfo, ReviewList, SubmitReview,
};
use super::types::{CreateWorkload, TenantQuery};
use crate::app::App;

const ALL: &str = "/api/v1beta/registries";
const ONE: &str = "/api/v1beta/registries/{name}";
const REFRESH: &str = "/api/v1beta/registries/{name}/refresh";
const LAYERS: &str = "/api/v1beta/registry/layers";
const ENTRIES: &str = "/api/v1beta/registry/servers";
const ENTRY: &str = "/api/v1beta/registry/servers/{entry}";
const REVIEWS: &str = "/api/v1beta/registry/reviews";
const AUDIT: &str = "/api/v1beta/registry/audit";
const EXPORT: &str = "/api/v1beta/registry/export";
const REVIEW: &str = "/api/v1beta/registry/reviews/{id}";
const PLAN: &str = "/api/v1beta/registry/plan";
const ADMISSION: &str = "/api/v1beta/registry/admission";

type Daemon = State<Arc<App>>;
type Answer<T> = Result<Json<T>, Refusal>;

pub(super) fn doors(doors: Doors<Arc<App>>) -> Doors<Arc<App>> {
    let see = Access::Tenant(Role::Viewer);
    let change = Access::Tenant(Role::Admin);
    doors
        .door(
            Operation::new("get", ALL, "listRegistries", "List the registries of a tenant")
                .access(see)
                .query::<TenantQuery>()
                .returns::<RegistryList>(StatusCode::OK),
            get(list),
        )
        .door(
            // A source may name files and plugins of this machine.
            Operation::new("post", ALL, "addRegistry", "Add a registry and read it")
                .body::<CreateRegistry>()
                .returns::<RegistryInfo>(StatusCode::CREATED),
            post(add),
        )
        .door(
            Operation::new("get", ONE, "getRegistry", "Show one registry")
                .access(see)
                .query::<TenantQuery>()
                .returns::<RegistryInfo>(StatusCode::OK),
            get(show),
        )
        .door(
            // As for adding one.
            Operation::new(
                "put",
                ONE,
                "changeRegistry",
                "Make a registry another one; what was read of its source stays",
            )
            .body::<CreateRegistry>()
            .returns::<RegistryInfo>(StatusCode::OK),
            put(replace),
        )
        .door(
            Operation::new("delete", ONE, "removeRegistry", "Forget a registry and its copy")
                .access(change)
                .query::<TenantQuery>(),
            delete(remove),
        )
        .door(
            Operation::new("post", REFRESH, "refreshRegistry", "Read a registry now")
                .access(change)
                .body::<RefreshRegistry>()
                .returns::<RegistryInfo>(StatusCode::OK),
            post(refresh),
        )
        .door(
            Operation::new("get", LAYERS, "getLayers", "Show the layers of trust of a tenant")
                .access(see)
                .query::<TenantQuery>()
                .returns::<LayerPolicy>(StatusCode::OK),
            get(layers),
        )
        .door(
            Operation::new(
                "put",
                LAYERS,
                "setLayers",
                "Set the layers of trust of a tenant, and which of them may run",
            )
            .access(change)
            .query::<TenantQuery>()
            .body::<LayerPolicy>()
            .returns::<LayerPolicy>(StatusCode::OK),
            put(set_layers),
        )
        .door(
            Operation::new("get", ENTRIES, "listEntries", "Look for entries in all registries")
                .access(see)
                .query::<EntryQuery>()
                .returns::<EntryList>(StatusCode::OK),
            get(entries),
        )
        .door(
            Operation::new(
                "get",
                ENTRY,
                "getEntry",
                "Show one entry: `namespace/name[@version]`, or the end of a name",
            )
            .access(see)
            .query::<TenantQuery>()
            .returns::<EntryInfo>(StatusCode::OK),
            get(entry),
        )
        .door(
            Operation::new("post", PLAN, "planEntry", "Say what server an entry becomes, and what it asks for")
                .access(see)
                .body::<PlanLaunch>()
                .returns::<LaunchPlan>(StatusCode::OK),
            post(plan),
        )
        .door(
            Operation::new(
                "post",
                ADMISSION,
                "admitServer",
                "Say whether the layers of trust let a server run: the same, if so",
            )
            .access(see)
            .body::<CreateWorkload>()
            .returns::<CreateWorkload>(StatusCode::OK),
            post(admit),
        )
        .door(
            Operation::new("get", REVIEWS, "listReviews", "List what was asked to be trusted, and what was decided")
                .access(see)
                .query::<TenantQuery>()
                .returns::<ReviewList>(StatusCode::OK),
            get(reviews),
        )
        .door(
            Operation::new("get", AUDIT, "auditReviews", "List every step of every review: who, when, why")
                .access(see)
                .query::<TenantQuery>()
                .returns::<ReviewAudit>(StatusCode::OK),
            get(audit),
        )
        .door(
            Operation::new("get", EXPORT, "exportCatalogue", "Write the newest version of every entry as a file")
                .access(see)
                .query::<ExportQuery>()
                .returns::<ExportedCatalogue>(StatusCode::OK),
            get(export),
        )
        .door(
            Operation::new("post", REVIEWS, "submitReview", "Ask for an entry to be trusted")
                .access(Access::Tenant(Role::Operator))
                .body::<SubmitReview>()
                .returns::<ReviewInfo>(StatusCode::CREATED),
            post(submit),
        )
        .door(
            Operation::new("get", REVIEW, "getReview", "Show a review with what it would change")
                .access(see)
                .query::<TenantQuery>()
                .returns::<ReviewInfo>(StatusCode::OK),
            get(review),
        )
        .door(
            Operation::new("post", REVIEW, "decideReview", "Approve, deny or revoke")
                .access(change)
                .body::<DecideReview>()
                .returns::<ReviewInfo>(StatusCode::OK),
            post(decide),
        )
}

async fn list(State(app): Daemon, Params(query): Params<TenantQuery>) -> Json<RegistryList> {
    Json(RegistryList { registries: app.catalogue().list(&query.tenant) })
}

async fn add(
    State(app): Daemon,
    Body(request): Body<CreateRegistry>,
) -> Result<(StatusCode, Json<RegistryInfo>), Refusal> {
    Ok((StatusCode::CREATED, Json(app.catalogue().add(request).await?)))
}

async fn replace(
    State(app): Daemon,
    Path(name): Path<String>,
    Body(request): Body<CreateRegistry>,
) -> Answer<RegistryInfo> {
    if registry(&name)? != request.name {
        let detail = format!("the body names `{}`, the path `{name}`", request.name);
        return Err(Problem::new(ProblemKind::Invalid, detail).at("/name").into());
    }
    Ok(Json(app.catalogue().replace(request).await?))
}

async fn show(
    State(app): Daemon,
    Path(name): Path<String>,
    Params(query): Params<TenantQuery>,
) -> Answer<RegistryInfo> {
    Ok(Json(app.catalogue().get(&query.tenant, &registry(&name)?)?))
}

async fn remove(
    State(app): Daemon,
    Path(name): Path<String>,
    Params(query): Params<TenantQuery>,
) -> Result<StatusCode, Refusal> {
    app.catalogue().remove(&query.tenant, &registry(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn refresh(
    State(app): Daemon,
    Path(name): Path<String>,
    Body(request): Body<RefreshRegistry>,
) -> Answer<RegistryInfo> {
    Ok(Json(app.catalogue().refresh_now(&registry(&name)?, request).await?))
}

async fn layers(State(app): Daemon, Params(query): Params<TenantQuery>) -> Json<LayerPolicy> {
    Json(app.catalogue().policy(&query.tenant))
}

async fn set_layers(
    State(app): Daemon,
    By(caller): By,
    Params(query): Params<TenantQuery>,
    Body(policy): Body<LayerPolicy>,
) -> Answer<LayerPolicy> {
    // A plugin is a file of this machine with grants, which is for the platform to give.
    let known = app.catalogue().policy(&query.tenant).approvals;
    let new = policy.approvals.iter().any(|rule| rule.plugin.is_some() && !known.contains(rule));
    if caller.tenant.is_some() && new {
        let detail = "a rule that asks a plugin is given by the platform, not by a tenant";
        return Err(Problem::new(ProblemKind::Forbidden, detail).at("/approvals").into());
    }
    Ok(Json(app.catalogue().set_policy(&query.tenant, policy).await?))
}

async fn entries(State(app): Daemon, Params(query): Params<EntryQuery>) -> Answer<EntryList> {
    Ok(Json(app.catalogue().entries(query).await?))
}

async fn entry(State(app): Daemon, Path(entry): Path<String>, Params(query): Params<TenantQuery>) -> Answer<EntryInfo> {
    Ok(Json(app.catalogue().entry(&query.tenant, &entry).await?))
}

async fn plan(State(app): Daemon, Body(request): Body<PlanLaunch>) -> Answer<LaunchPlan> {
    Ok(Json(app.catalogue().plan(request).await?))
}

async fn admit(State(app): Daemon, Body(request): Body<CreateWorkload>) -> Answer<CreateWorkload> {
    app.catalogue().admit(&request.tenant, &request.spec).await?;
    Ok(Json(request))
}

async fn reviews(State(app): Daemon, Params(query): Params<TenantQuery>) -> Json<ReviewList> {
    Json(app.catalogue().reviews(&query.tenant))
}

async fn audit(State(app): Daemon, Params(query): Params<TenantQuery>) -> Json<ReviewAudit> {
    Json(app.catalogue().audit(&query.tenant))
}

async fn export(State(app): Daemon, Params(query): Params<ExportQuery>) -> Answer<ExportedCatalogue> {
    let format =
        [Format::Official, Format::Upstream, Format::ToolHive].into_iter().find(|it| it.name() == query.format);
    let format = format.ok_or_else(|| {
        let detail = format!("format: `{}` is none of `official`, `upstream`, `toolhive`", query.format);
        Problem::new(ProblemKind::BadRequest, detail)
    })?;
    let (text, lost) = app.catalogue().export(&query.tenant, format).await?;
    let lost = lost.iter().map(|loss| format!("{} {}", loss.pointer, loss.reason)).collect();
    Ok(Json(ExportedCatalogue { text, lost }))
}

async fn submit(
    State(app): Daemon,
    By(caller): By,
    Body(request): Body<SubmitReview>,
) -> Result<(StatusCode, Json<ReviewInfo>), Refusal> {
    Ok((StatusCode::CREATED, Json(app.catalogue().submit(request, &caller).await?)))
}

async fn review(State(app): Daemon, Path(id): Path<u64>, Params(query): Params<TenantQuery>) -> Answer<ReviewInfo> {
    Ok(Json(app.catalogue().review(&query.tenant, id)?))
}

async fn decide(
    State(app): Daemon,
    By(caller): By,
    // As text: whose it is, is said in the body, and is looked at before the number.
    Path(id): Path<String>,
    Body(request): Body<DecideReview>,
) -> Answer<ReviewInfo> {
    let id = id.parse().map_err(|_| Problem::new(ProblemKind::NotFound, format!("there is no review `{id}`")))?;
    Ok(Json(app.catalogue().decide(id, request, &caller).await?))
}

fn registry(name: &str) -> Result<RegistryName, Problem> {
    RegistryName::new(name).map_err(|error| Problem::new(ProblemKind::BadRequest, error.to_string()))
}
