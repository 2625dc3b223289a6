//! Reading requests: a body or a query becomes a typed value or a problem that names the place.

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use bytes::Bytes;
use fairlead_core::name::TenantName;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::tenant::Caller;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::access::{TENANT, not_there, within_body};
use super::problem::Refusal;
use crate::limits::API_BODY_BYTES_MAX;

/// A JSON body. Unknown fields are refused by the type; the pointer says where.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let media = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case("application/json") {
            let detail = format!("the body is `{media}`, `application/json` is expected");
            let problem = Problem::new(ProblemKind::BadRequest, detail);
            return Err(Refusal::with_status(problem, StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let caller = request.extensions().get::<Caller>().cloned();
        let bytes = Bytes::from_request(request, state).await.map_err(|error| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let detail = format!("the body has more than {API_BODY_BYTES_MAX} bytes");
                Refusal::with_status(Problem::new(ProblemKind::BadRequest, detail), StatusCode::PAYLOAD_TOO_LARGE)
            }
            _ => {
                Problem::new(ProblemKind::BadRequest, format!("the body cannot be read: {}", error.body_text())).into()
            }
        })?;
        let read = match caller.as_ref().and_then(|caller| caller.tenant.as_ref()) {
            None => parse(&bytes),
            Some(own) => parse_within(own, &bytes),
        };
        read.map(Self).map_err(Refusal::from)
    }
}

/// Parses the body of somebody who belongs to a tenant: it cannot speak of another.
fn parse_within<T: DeserializeOwned>(own: &TenantName, bytes: &[u8]) -> Result<T, Problem> {
    let given: Value = parse(bytes)?;
    let names_tenant = given.get(TENANT).is_some();
    let within = within_body(own, given.clone()).ok_or_else(not_there)?;
    match parse_value(&within) {
        // Not every body has a tenant.
        Err(problem) if !names_tenant && problem.pointer.as_deref() == Some("/tenant") => parse_value(&given),
        read => read,
    }
}

fn parse_value<T: DeserializeOwned>(value: &Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let pointer = pointer(error.path());
        let problem = Problem::new(ProblemKind::Invalid, error.inner().to_string());
        if pointer.is_empty() { problem } else { problem.at(pointer) }
    })
}

/// Parses JSON and says where it is wrong.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let kind = match error.inner().classify() {
            serde_json::error::Category::Data => ProblemKind::Invalid,
            _ => ProblemKind::BadRequest,
        };
        let pointer = pointer(error.path());
        let problem = Problem::new(kind, error.inner().to_string());
        if pointer.is_empty() { problem } else { problem.at(pointer) }
    })?;
    reader.end().map_err(|error| Problem::new(ProblemKind::BadRequest, error.to_string()))?;
    Ok(value)
}

/// RFC 6901.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { .. } | Segment::Unknown => String::new(),
        })
        .collect()
}

/// The query of the URL.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => Err(Problem::new(ProblemKind::BadRequest, error.body_text()).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::CreateWorkload;

    fn problem(body: &str) -> Problem {
        parse::<CreateWorkload>(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn an_unknown_field_is_named_with_its_place() {
        let problem = problem(r#"{"spec":{"source":{"kind":"wasm","path":"/a"},"tols":[]}}"#);
        assert_eq!(problem.kind, ProblemKind::Invalid);
        assert_eq!(problem.pointer.as_deref(), Some("/spec/tols"));
        assert!(problem.detail.contains("unknown field `tols`"), "{}", problem.detail);
    }

    #[test]
    fn a_wrong_value_deep_inside_is_named_with_its_place() {
        let problem = problem(
            r#"{"spec":{"source":{"kind":"wasm","path":"/a"},"plugins":[{"name":"a","plugin":"b","limits":{"cpuMsMax":-1}}]}}"#,
        );
        assert_eq!(problem.pointer.as_deref(), Some("/spec/plugins/0/limits/cpuMsMax"));
    }

    #[test]
    fn the_body_of_a_tenant_speaks_of_that_tenant() {
        let red = TenantName::new("red").unwrap();
        let read = |body: &str| parse_within::<CreateWorkload>(&red, body.as_bytes());
        let spec = r#""spec":{"source":{"kind":"wasm","path":"/a"}}"#;
        assert_eq!(read(&format!("{{{spec}}}")).unwrap().tenant, red);
        assert_eq!(read(&format!(r#"{{"tenant":"red",{spec}}}"#)).unwrap().tenant, red);
        assert_eq!(read(&format!(r#"{{"tenant":"blue",{spec}}}"#)).unwrap_err().kind, ProblemKind::NotFound);
        assert_eq!(
            read(&format!(r#"{{"tenant":"red","tenant":"blue",{spec}}}"#)).unwrap_err().kind,
            ProblemKind::NotFound
        );
        let body = br#"{"plugins":[]}"#;
        assert!(parse_within::<crate::api::types::ReplacePlugins>(&red, body).is_ok(), "a body without a tenant");
    }

    #[test]
    fn what_is_no_json_is_not_understood() {
        assert_eq!(problem("{").kind, ProblemKind::BadRequest);
        assert_eq!(problem(r#"{"spec":{"source":{"kind":"wasm","path":"/a"}}} x"#).kind, ProblemKind::BadRequest);
    }
}
