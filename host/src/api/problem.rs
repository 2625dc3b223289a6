//! Problems on the wire: RFC 9457, `application/problem+json`, in both directions.

use axum::response::{IntoResponse, Response};
use fairlead_core::problem::{Problem, ProblemKind};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Media type of a problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// What `type` begins with; the kind follows.
const TYPE_PREFIX: &str = "urn:fairlead:problem:";

/// A problem as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ProblemDocument {
    /// What kind: `urn:fairlead:problem:<kind>`.
    #[serde(rename = "type")]
    pub(crate) type_uri: String,
    /// The kind in words.
    pub(crate) title: String,
    /// HTTP status.
    pub(crate) status: u16,
    /// This problem, in one sentence.
    pub(crate) detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// Where in the request: an RFC 6901 pointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<String>,
}

impl From<Problem> for ProblemDocument {
    fn from(problem: Problem) -> Self {
        let kind = serde_json::to_value(problem.kind).ok();
        let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or("internal");
        Self {
            type_uri: format!("{TYPE_PREFIX}{kind}"),
            title: problem.kind.title().to_owned(),
            status: problem.kind.status(),
            detail: problem.detail,
            hint: problem.hint,
            pointer: problem.pointer,
        }
    }
}

impl From<ProblemDocument> for Problem {
    /// A kind that this program does not know becomes an internal error; what it says stays.
    fn from(document: ProblemDocument) -> Self {
        let kind = document.type_uri.strip_prefix(TYPE_PREFIX).unwrap_or_default();
        let kind = serde_json::from_value(kind.into()).unwrap_or(ProblemKind::Internal);
        Self { kind, detail: document.detail, hint: document.hint, pointer: document.pointer }
    }
}

/// A problem as the answer of a handler.
#[derive(Debug)]
pub(crate) struct Refusal {
    problem: Problem,
    /// What HTTP has a word of its own for.
    status: Option<StatusCode>,
}

impl Refusal {
    /// With a status that says more than that of its kind.
    pub(crate) fn with_status(problem: Problem, status: StatusCode) -> Self {
        Self { problem, status: Some(status) }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, status: None }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut document = ProblemDocument::from(self.problem);
        let of_kind = StatusCode::from_u16(document.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let status = self.status.unwrap_or(of_kind);
        document.status = status.as_u16();
        let mut response = (status, axum::Json(document)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_the_same_on_both_sides() {
        for kind in [
            ProblemKind::BadRequest,
            ProblemKind::Invalid,
            ProblemKind::NotFound,
            ProblemKind::Conflict,
            ProblemKind::Unauthorized,
            ProblemKind::Forbidden,
            ProblemKind::Unavailable,
            ProblemKind::Timeout,
            ProblemKind::Internal,
        ] {
            let problem = Problem::new(kind, "no").hint("yes").at("/a/0");
            let document = ProblemDocument::from(problem.clone());
            assert_eq!(document.status, kind.status());
            assert_eq!(Problem::from(document), problem);
        }
    }

    #[test]
    fn the_document_is_that_of_the_rfc() {
        let document = ProblemDocument::from(Problem::new(ProblemKind::NotFound, "there is no server `a`"));
        insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap(), @r#"
        {
          "type": "urn:fairlead:problem:not-found",
          "title": "not found",
          "status": 404,
          "detail": "there is no server `a`"
        }
        "#);
    }
}
