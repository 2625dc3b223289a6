//! What went wrong, for whoever asked: RFC 9457 problem details, with the remedy as data.
//!
//! What an operator reads is the error chain in the log; this is what a client of the API reads. The two are never the same
//! text by accident.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kinds of problem that the API knows. The name is part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// The request is not understood.
    BadRequest,
    /// It is understood and cannot be granted as written: a field has a wrong value.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// There is already one, or it is in a state that does not allow this.
    Conflict,
    /// Nobody knows who asks.
    Unauthorized,
    /// Not allowed.
    Forbidden,
    /// Something that this needs is not there or does not answer.
    Unavailable,
    /// It took too long.
    Timeout,
    /// A fault of Fairlead.
    Internal,
}

impl ProblemKind {
    /// HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Invalid => 422,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::Timeout => 504,
        }
    }

    /// Short summary, the same for every problem of this kind.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "request not understood",
            Self::Unauthorized => "not known",
            Self::Forbidden => "not allowed",
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid value",
            Self::Internal => "internal error",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
        }
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// What kind; `type` in the document, as `urn:fairlead:problem:<kind>`.
    pub kind: ProblemKind,
    /// This problem, in one sentence.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where in the request: an RFC 6901 pointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), hint: None, pointer: None }
    }

    /// With the remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the place.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }
}
