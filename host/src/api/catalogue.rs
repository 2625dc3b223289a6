//! The official registry API over our catalogue, so that any client of it reads us: `/v0.1/servers` (and `/v0`), of all
//! registries or of one, and whole files for those who read files.
//!
//! Who asks is seen before anything else ([`visitor`]): how often, by which token, and so whose catalogue it is.
//!
//! Documents go out as the text they came in. What the official registry says beside them is kept and computed anew only where
//! merging changes it (which version is the newest); where an entry comes from stands beside it under a key of our own.

mod visitor;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use bytes::Bytes;
use fairlead_core::name::{RegistryName, TenantName};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_registry::entry::CATALOGUE;
use fairlead_registry::limits::LISTING_MAX;
use fairlead_registry::listing::Query;
use fairlead_registry::merge::Merged;
use fairlead_server_json::Format;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::registries::{Registries, View, Written};
use crate::door;
use visitor::Visitor;
pub(crate) use visitor::{Admission, Gate, Passage, Visitors};

/// What is served: the catalogue of the tenant who asks.
#[derive(Clone)]
struct Served {
    registries: Arc<Registries>,
}

type Catalogue = State<Served>;
type Asked = Result<Path<Parts>, PathRejection>;
type Answer = Result<Response, Refused>;

/// A refusal in both shapes that clients of this API know: the `error` of its description, and a problem.
struct Refused(StatusCode, String);

/// Serves catalogues to whoever may ask, until `stop`.
///
/// # Errors
/// The listener breaks.
pub(crate) async fn serve_catalogue(
    listener: TcpListener,
    registries: Arc<Registries>,
    visitors: Visitors,
    stop: CancellationToken,
) -> std::io::Result<()> {
    door::serve(listener, router(registries, visitors), stop).await
}

fn router(registries: Arc<Registries>, visitors: Visitors) -> Router {
    let mut router = Router::new();
    for base in ["/v0.1", "/v0", "/registry/{registry}/v0.1"] {
        router = router
            .route(&format!("{base}/servers"), get(list))
            .route(&format!("{base}/servers/{{name}}/versions"), get(versions))
            // What the description of the API leaves to each registry: here nobody publishes but by a source.
            .route(
                &format!("{base}/servers/{{name}}/versions/{{version}}"),
                get(version).put(read_only).delete(read_only),
            )
            .route(&format!("{base}/publish"), post(read_only))
            .route(&format!("{base}/servers/{{name}}/versions/{{version}}/status"), patch(not_changed))
            .route(&format!("{base}/servers/{{name}}/status"), patch(not_changed));
    }
    router
        .route(
            "/registry.json",
            get(async |state: Catalogue, visitor: Extension<Visitor>, headers: HeaderMap| {
                file(state, visitor, headers, Format::Upstream).await
            }),
        )
        .route(
            "/toolhive.json",
            get(async |state: Catalogue, visitor: Extension<Visitor>, headers: HeaderMap| {
                file(state, visitor, headers, Format::ToolHive).await
            }),
        )
        .fallback(async || Refused(StatusCode::NOT_FOUND, "Not found".to_owned()).into_response())
        .with_state(Served { registries })
        .layer(from_fn_with_state(Arc::new(visitors), visitor::receive))
        // Who looks whether this is alive need not be let in.
        .route("/health", get(healthy))
        .route("/v0/health", get(healthy))
        .route("/v0.1/health", get(healthy))
}

async fn healthy() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Nobody publishes here; who does not say who they are is told so first, as by any registry.
async fn read_only(headers: HeaderMap) -> Response {
    let text = "This registry takes entries from its sources alone: publish there";
    visitor::nobody(&headers).unwrap_or_else(|| Refused(StatusCode::NOT_IMPLEMENTED, text.to_owned()).into_response())
}

async fn not_changed(headers: HeaderMap) -> Response {
    let text = "This registry takes the status of entries from its sources alone";
    visitor::nobody(&headers).unwrap_or_else(|| Refused(StatusCode::FORBIDDEN, text.to_owned()).into_response())
}

/// The parts of a path; which there are depends on the route.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Parts {
    registry: Option<String>,
    name: String,
    version: String,
}

impl Served {
    /// The catalogue now, and the registry that a path names.
    async fn look(&self, tenant: &TenantName, parts: &Parts) -> Result<(Arc<View>, Option<RegistryName>), Refused> {
        let registry = match &parts.registry {
            None => None,
            Some(name) => {
                let name = RegistryName::new(name).map_err(|_| not_found("Registry"))?;
                self.registries.get(tenant, &name).map_err(|_| not_found("Registry"))?;
                Some(name)
            }
        };
        Ok((self.registries.view(tenant).await, registry))
    }

    /// What is asked, and of which catalogue; `what` is not there when the path makes no sense.
    async fn understand(
        &self,
        tenant: &TenantName,
        asked: Asked,
        raw: Option<String>,
        what: &str,
    ) -> Result<(Parts, Query, Arc<View>), Refused> {
        let Path(parts) = asked.map_err(|_| not_found(what))?;
        let query = parse(raw.as_deref().unwrap_or_default())?;
        let (view, registry) = self.look(tenant, &parts).await?;
        Ok((parts, Query { registry, ..query }, view))
    }

    /// The whole catalogue as a file.
    async fn write(&self, view: &Arc<View>, tenant: &TenantName, format: Format) -> Result<Written, Refused> {
        let (text, _) = self.registries.write_out(view, tenant, format).await.map_err(busy)?;
        let plain = Bytes::from(text);
        let whole = plain.clone();
        let packed = tokio::task::spawn_blocking(move || visitor::gzip(&whole)).await.ok().flatten();
        Ok(Written { packed: packed.unwrap_or_default(), plain })
    }
}

async fn list(
    State(served): Catalogue,
    Extension(Visitor(tenant)): Extension<Visitor>,
    asked: Asked,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let (_, query, view) = served.understand(&tenant, asked, raw, "Registry").await?;
    if let Some(unchanged) = unchanged(&view, &headers) {
        return Ok(unchanged);
    }
    let (here, reads_documents) = (served.registries.here().to_owned(), query.reads_documents());
    let look = move |view: &View| -> (Vec<Entry>, Option<String>) {
        let page = query.page(&view.catalogue);
        (page.entries.iter().map(|merged| Entry::of(merged, &here)).collect(), page.next)
    };
    let (servers, next) =
        if reads_documents { served.registries.through(&view, look).await.map_err(busy)? } else { look(&view) };
    let mut metadata = json!({ "count": servers.len() });
    if let (Some(next), Some(fields)) = (next, metadata.as_object_mut()) {
        fields.insert("nextCursor".to_owned(), next.into());
    }
    Ok(answer(&view, &Page { servers, metadata }))
}

async fn versions(
    State(served): Catalogue,
    Extension(Visitor(tenant)): Extension<Visitor>,
    asked: Asked,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let (parts, query, view) = served.understand(&tenant, asked, raw, "Server").await?;
    if let Some(unchanged) = unchanged(&view, &headers) {
        return Ok(unchanged);
    }
    let found = view.catalogue.versions(&parts.name);
    let found = found.into_iter().filter(|merged| query.wants(merged));
    let servers: Vec<Entry> = found.map(|merged| Entry::of(merged, served.registries.here())).collect();
    if servers.is_empty() {
        return Err(not_found("Server"));
    }
    let metadata = json!({ "count": servers.len() });
    Ok(answer(&view, &Page { servers, metadata }))
}

async fn version(
    State(served): Catalogue,
    Extension(Visitor(tenant)): Extension<Visitor>,
    asked: Asked,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let (parts, query, view) = served.understand(&tenant, asked, raw, "Server").await?;
    let found = match parts.version.as_str() {
        "latest" => view.catalogue.latest(&parts.name),
        version => view.catalogue.get(&parts.name, version),
    };
    let found = found.filter(|merged| query.wants(merged)).ok_or_else(|| not_found("Server"))?;
    if let Some(unchanged) = unchanged(&view, &headers) {
        return Ok(unchanged);
    }
    Ok(answer(&view, &Entry::of(found, served.registries.here())))
}

async fn file(
    State(served): Catalogue,
    Extension(Visitor(tenant)): Extension<Visitor>,
    headers: HeaderMap,
    format: Format,
) -> Answer {
    let (view, _) = served.look(&tenant, &Parts::default()).await?;
    if let Some(unchanged) = unchanged(&view, &headers) {
        return Ok(unchanged);
    }
    let written = view.written(format).get_or_try_init(|| served.write(&view, &tenant, format)).await?;
    let is_packed = visitor::takes_gzip(&headers) && !written.packed.is_empty();
    let content = if is_packed { written.packed.clone() } else { written.plain.clone() };
    let mut response = ([(CONTENT_TYPE, "application/json")], content).into_response();
    if is_packed {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(with_headers(&view, response))
}

#[derive(Serialize)]
struct Page {
    servers: Vec<Entry>,
    metadata: Value,
}

#[derive(Serialize)]
struct Entry {
    server: Box<RawValue>,
    #[serde(rename = "_meta")]
    meta: Value,
}

impl Entry {
    fn of(merged: &Merged, here: &str) -> Self {
        let entry = &merged.entry;
        let mut meta = entry.official(merged.is_latest);
        if let Some(fields) = meta.as_object_mut() {
            let via: Vec<&str> = entry.via.iter().map(String::as_str).chain([here]).collect();
            let mut ours = json!({ "registry": merged.registry, "layer": merged.layer, "via": via });
            if let Some(ours) = ours.as_object_mut() {
                if !entry.labels.is_empty() {
                    ours.insert("labels".to_owned(), json!(entry.labels));
                }
                if !merged.shadowed.is_empty() {
                    ours.insert("shadowed".to_owned(), json!(merged.shadowed));
                }
            }
            fields.insert(CATALOGUE.to_owned(), ours);
        }
        // It was JSON when it came in.
        let server = RawValue::from_string(entry.document.clone()).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self { server, meta }
    }
}

fn answer(view: &View, body: &impl Serialize) -> Response {
    let text = serde_json::to_vec(body).unwrap_or_default();
    with_headers(view, ([(CONTENT_TYPE, "application/json")], text).into_response())
}

fn with_headers(view: &View, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag(view)) {
        headers.insert(ETAG, tag);
    }
    response
}

/// Of the whole catalogue: whoever has a page of it has all that has not changed.
fn tag(view: &View) -> String {
    format!("W/\"{}\"", view.tag)
}

fn unchanged(view: &View, headers: &HeaderMap) -> Option<Response> {
    let known = headers.get(IF_NONE_MATCH)?.to_str().ok()?;
    let same = known.split(',').any(|known| known.trim() == tag(view));
    same.then(|| with_headers(view, StatusCode::NOT_MODIFIED.into_response()))
}

/// The parameters of the official API. What is not known is passed over, as it does.
fn parse(raw: &str) -> Result<Query, Refused> {
    let pairs: Vec<(String, String)> = pairs_of(raw).ok_or_else(|| bad("the query is not understood".to_owned()))?;
    let mut query = Query::default();
    for (name, value) in pairs {
        match name.as_str() {
            "cursor" => query.cursor = Some(value).filter(|value| !value.is_empty()),
            "limit" => query.limit = Some(limit(&value)?),
            "search" => query.search = Some(value).filter(|value| !value.is_empty()),
            "updated_since" => {
                let since = time(&value).ok_or_else(|| bad("updated_since: expected an RFC 3339 time".to_owned()))?;
                query.updated_since = Some(since);
            }
            "version" => query.version = Some(value).filter(|value| !value.is_empty()),
            "include_deleted" => {
                query.include_deleted = match value.as_str() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(bad("include_deleted: expected `true` or `false`".to_owned())),
                }
            }
            "tag" => query.tag = Some(value),
            "transport" => query.transport = Some(value),
            _ => {}
        }
    }
    Ok(query)
}

/// Any whole number, as the description of the API has it: one out of range is the nearest that is possible.
fn limit(text: &str) -> Result<usize, Refused> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad(format!("limit: expected a number, 1 to {LISTING_MAX}")));
    }
    Ok(if negative { 1 } else { digits.parse().unwrap_or(LISTING_MAX).clamp(1, LISTING_MAX) })
}

/// A time of RFC 3339. The last day that can be written is one that our clock cannot tell in every zone.
fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| text.starts_with("9999-12-3").then_some(Timestamp::MAX))
}

fn pairs_of(raw: &str) -> Option<Vec<(String, String)>> {
    let uri: http::Uri = format!("/?{raw}").parse().ok()?;
    axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).ok().map(|axum::extract::Query(pairs)| pairs)
}

fn busy(problem: Problem) -> Refused {
    let status = match problem.kind {
        ProblemKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refused(status, problem.detail)
}

fn bad(detail: String) -> Refused {
    Refused(StatusCode::BAD_REQUEST, detail)
}

fn not_found(what: &str) -> Refused {
    Refused(StatusCode::NOT_FOUND, format!("{what} not found"))
}

impl axum::response::IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, detail) = self;
        let title = status.canonical_reason().unwrap_or_default();
        let body = json!({ "error": detail, "title": title, "status": status.as_u16(), "detail": detail });
        let mut response = (status, Json(body)).into_response();
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_of_the_official_api() {
        let query = parse("limit=500&search=a%20b&version=latest&updated_since=2026-01-01T00:00:00Z&x=y").ok().unwrap();
        assert_eq!((query.limit, query.search.as_deref()), (Some(100), Some("a b")));
        assert_eq!(query.version.as_deref(), Some("latest"));
        let limits = ["limit=0", "limit=-3", "limit=99999999999999999999999"].map(|raw| parse(raw).ok().unwrap().limit);
        assert_eq!(limits, [Some(1), Some(1), Some(100)]);
        assert!(parse("updated_since=9999-12-31T23:59:59Z").is_ok());
        for wrong in ["limit=x", "limit=1.5", "limit=", "updated_since=yesterday", "include_deleted=maybe"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
