//! The official registry API over our catalogue, so that any client of it reads us: `/v0.1/servers` (and `/v0`), of all
//! registries or of one, and whole files for those who read files.
//!
//! Documents go out as the text they came in. What the official registry says beside them is kept and computed anew only where
//! merging changes it (which version is the newest); where an entry comes from stands beside it under a key of our own.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use fairlead_core::name::{RegistryName, TenantName};
use fairlead_registry::entry::CATALOGUE;
use fairlead_registry::limits::LISTING_MAX;
use fairlead_registry::listing::Query;
use fairlead_registry::merge::Merged;
use fairlead_server_json::Format;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::registries::{Registries, View};
use crate::door;

/// What is served: the catalogue of one tenant.
#[derive(Clone)]
struct Served {
    registries: Arc<Registries>,
    tenant: TenantName,
}

type Catalogue = State<Served>;
type Answer = Result<Response, Refused>;

/// A refusal in both shapes that clients of this API know: the `error` of its description, and a problem.
struct Refused(StatusCode, String);

/// Serves the catalogue of a tenant to whoever asks, until `stop`.
///
/// # Errors
/// The listener breaks.
pub(crate) async fn serve_catalogue(
    listener: TcpListener,
    registries: Arc<Registries>,
    tenant: TenantName,
    stop: CancellationToken,
) -> std::io::Result<()> {
    door::serve(listener, router(registries, tenant), stop).await
}

fn router(registries: Arc<Registries>, tenant: TenantName) -> Router {
    let mut router = Router::new();
    for base in ["/v0.1", "/v0", "/registry/{registry}/v0.1"] {
        router = router
            .route(&format!("{base}/servers"), get(list))
            .route(&format!("{base}/servers/{{name}}/versions"), get(versions))
            .route(&format!("{base}/servers/{{name}}/versions/{{version}}"), get(version));
    }
    router
        .route("/health", get(async || axum::Json(json!({"status": "ok"}))))
        .route("/v0/health", get(async || axum::Json(json!({"status": "ok"}))))
        .route(
            "/registry.json",
            get(async |state: Catalogue, headers: HeaderMap| file(state, headers, Format::Upstream).await),
        )
        .route(
            "/toolhive.json",
            get(async |state: Catalogue, headers: HeaderMap| file(state, headers, Format::ToolHive).await),
        )
        .fallback(async || Refused(StatusCode::NOT_FOUND, "Not found".to_owned()).into_response())
        .with_state(Served { registries, tenant })
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
    async fn look(&self, parts: &Parts) -> Result<(Arc<View>, Option<RegistryName>), Refused> {
        let registry = match &parts.registry {
            None => None,
            Some(name) => {
                let name = RegistryName::new(name).map_err(|_| not_found("Registry"))?;
                self.registries.get(&self.tenant, &name).map_err(|_| not_found("Registry"))?;
                Some(name)
            }
        };
        Ok((self.registries.view(&self.tenant).await, registry))
    }
}

async fn list(
    State(served): Catalogue,
    Path(parts): Path<Parts>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let mut query = parse(raw.as_deref().unwrap_or_default())?;
    let (view, registry) = served.look(&parts).await?;
    query.registry = registry;
    if let Some(unchanged) = unchanged(&view, &headers) {
        return Ok(unchanged);
    }
    let page = query.page(&view.catalogue).map_err(|error| bad(error.to_string()))?;
    let servers: Vec<Entry> = page.entries.iter().map(|merged| Entry::of(merged)).collect();
    let mut metadata = json!({ "count": servers.len() });
    if let (Some(next), Some(fields)) = (page.next, metadata.as_object_mut()) {
        fields.insert("nextCursor".to_owned(), next.into());
    }
    Ok(answer(&view, &Page { servers, metadata }))
}

async fn versions(
    State(served): Catalogue,
    Path(parts): Path<Parts>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let query = parse(raw.as_deref().unwrap_or_default())?;
    let (view, registry) = served.look(&parts).await?;
    if let Some(unchanged) = unchanged(&view, &headers) {
        return Ok(unchanged);
    }
    let query = Query { registry, ..query };
    let found = view.catalogue.versions(&parts.name);
    let servers: Vec<Entry> = found.into_iter().filter(|merged| query.wants(merged)).map(Entry::of).collect();
    if servers.is_empty() {
        return Err(not_found("Server"));
    }
    let metadata = json!({ "count": servers.len() });
    Ok(answer(&view, &Page { servers, metadata }))
}

async fn version(
    State(served): Catalogue,
    Path(parts): Path<Parts>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let query = parse(raw.as_deref().unwrap_or_default())?;
    let (view, registry) = served.look(&parts).await?;
    let query = Query { registry, ..query };
    let found = match parts.version.as_str() {
        "latest" => view.catalogue.latest(&parts.name),
        version => view.catalogue.get(&parts.name, version),
    };
    let found = found.filter(|merged| query.wants(merged)).ok_or_else(|| not_found("Server"))?;
    if let Some(unchanged) = unchanged(&view, &headers) {
        return Ok(unchanged);
    }
    Ok(answer(&view, &Entry::of(found)))
}

async fn file(State(served): Catalogue, headers: HeaderMap, format: Format) -> Answer {
    let (view, _) = served.look(&Parts::default()).await?;
    if let Some(unchanged) = unchanged(&view, &headers) {
        return Ok(unchanged);
    }
    let (text, _) = served.registries.export(&served.tenant, format).await;
    Ok(with_headers(&view, ([(CONTENT_TYPE, "application/json")], text).into_response()))
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
    fn of(merged: &Merged) -> Self {
        let entry = &merged.entry;
        let mut meta = entry.official(merged.is_latest);
        if let Some(fields) = meta.as_object_mut() {
            let mut ours = json!({ "registry": merged.registry, "layer": merged.layer });
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
            "limit" => {
                let limit = value.parse::<usize>().ok().filter(|limit| *limit >= 1);
                query.limit = Some(limit.ok_or_else(|| bad(format!("limit: expected 1 to {LISTING_MAX}")))?);
            }
            "search" => query.search = Some(value).filter(|value| !value.is_empty()),
            "updated_since" => {
                let since = value.parse().map_err(|_| bad("updated_since: expected an RFC 3339 time".to_owned()))?;
                query.updated_since = Some(since);
            }
            "version" => query.version = Some(value).filter(|value| !value.is_empty()),
            "include_deleted" => {
                query.include_deleted = match value.as_str() {
                    "true" | "1" => true,
                    "false" | "0" | "" => false,
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

fn pairs_of(raw: &str) -> Option<Vec<(String, String)>> {
    let uri: http::Uri = format!("/?{raw}").parse().ok()?;
    axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).ok().map(|axum::extract::Query(pairs)| pairs)
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
        let mut response = (status, axum::Json(body)).into_response();
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
        assert_eq!((query.limit, query.search.as_deref()), (Some(500), Some("a b")));
        assert_eq!(query.version.as_deref(), Some("latest"));
        for wrong in ["limit=0", "limit=x", "updated_since=yesterday", "include_deleted=maybe"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
