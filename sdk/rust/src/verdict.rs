//! Builders for verdicts: what shall happen to a message.

use serde_json::Value;

use crate::{Edit, PatchOperation, Rejection, Verdict};

/// The code of a refusal that needs no finer one. Outside of what JSON-RPC and MCP reserve.
pub const REJECTED: i32 = 4030;

impl Verdict {
    /// Go on, unchanged.
    #[must_use]
    pub const fn next() -> Self {
        Self::Next
    }

    /// Refuse. For data or a time to wait, build a [`Rejection`].
    pub fn deny(code: i32, message: impl Into<String>) -> Self {
        Self::Reject(Rejection::new(code, message))
    }

    /// Go on with some places changed.
    pub const fn patch() -> Patch {
        Patch { operations: Vec::new() }
    }

    /// Go on with another payload.
    pub fn replace(payload: impl Into<Value>) -> Self {
        Self::Edit(Edit::Replace(payload.into().to_string()))
    }

    /// Answer with this result.
    pub fn respond(result: impl Into<Value>) -> Self {
        Self::Respond(result.into().to_string())
    }
}

/// A list of changes, applied in order. Turn it into a [`Verdict`] with `into()`; an empty one is [`Verdict::Next`].
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Patch {
    operations: Vec<PatchOperation>,
}

impl Patch {
    /// Puts a value at an RFC 6901 pointer, whose parent must exist.
    pub fn set(self, pointer: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set_json(pointer, value.into().to_string())
    }

    /// Like [`Patch::set`], with JSON text that is put there as it is.
    pub fn set_json(mut self, pointer: impl Into<String>, json: impl Into<String>) -> Self {
        self.operations.push(PatchOperation { pointer: pointer.into(), value: Some(json.into()) });
        self
    }

    /// Removes what is at a pointer.
    pub fn remove(mut self, pointer: impl Into<String>) -> Self {
        self.operations.push(PatchOperation { pointer: pointer.into(), value: None });
        self
    }

    /// Appends the changes of another patch.
    pub fn then(mut self, later: Self) -> Self {
        self.operations.extend(later.operations);
        self
    }

    /// Whether nothing would change.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }
}

impl From<Patch> for Verdict {
    fn from(patch: Patch) -> Self {
        if patch.is_empty() { Self::Next } else { Self::Edit(Edit::Patch(patch.operations)) }
    }
}

impl Rejection {
    /// A refusal with a JSON-RPC error code and a text for the person at the client.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None, retry_after_ms: None }
    }

    /// Adds `error.data`.
    #[must_use]
    pub fn data(mut self, data: impl Into<Value>) -> Self {
        self.data = Some(data.into().to_string());
        self
    }

    /// Says how long to wait before trying again.
    #[must_use]
    pub const fn retry_after_ms(mut self, milliseconds: u64) -> Self {
        self.retry_after_ms = Some(milliseconds);
        self
    }
}

impl From<Rejection> for Verdict {
    fn from(rejection: Rejection) -> Self {
        Self::Reject(rejection)
    }
}
