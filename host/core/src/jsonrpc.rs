//! JSON-RPC 2.0 as MCP uses it: the envelope is read once, everything else stays the bytes that were sent.
//!
//! A message that is parsed into typed structures and written again loses what the structures do not know: fields of a newer
//! revision, integers above 2^53, escapes, the order of keys. So an [`Envelope`] keeps the text and remembers where its
//! parts are. The whole text is checked in the same pass, so that nothing behind the edge has to ask again.

mod envelope;
mod id;
mod measure;
mod reply;
mod rewrite;
#[cfg(test)]
mod tests;

pub use envelope::{
    CAPABILITIES_KEY, Envelope, EnvelopeError, Kind, LOG_LEVEL_KEY, Reason, VERSION_KEY, is_batch, parse_batch,
};
pub use id::IdKey;
pub use reply::{error_reply, rejection_of, rejection_reply, result_reply};
pub use rewrite::Rewrite;

/// The text is no JSON.
pub const PARSE_ERROR: i64 = -32700;
/// It is JSON but no JSON-RPC message, or not one that can be taken now.
pub const INVALID_REQUEST: i64 = -32600;
/// The method is not known.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// The parameters are wrong.
pub const INVALID_PARAMS: i64 = -32602;
/// A fault of whoever answers.
pub const INTERNAL_ERROR: i64 = -32603;
/// MCP, from 2026-07-28 on: the headers of a request and its body disagree, or a header that must be there is not.
pub const HEADER_MISMATCH: i64 = -32020;
/// The same: the client has not declared a capability that the request needs.
pub const MISSING_CAPABILITY: i64 = -32021;
/// The same: the server does not speak the revision that the request names.
pub const UNSUPPORTED_VERSION: i64 = -32022;
