//! The two eras of MCP. Up to 2025-11-25 (*legacy*) a client shakes hands and has a session; from 2026-07-28 on (*modern*)
//! each request describes itself and there is none.

use fairlead_core::jsonrpc::{Envelope, INVALID_REQUEST, VERSION_KEY};
use http::{HeaderMap, StatusCode};

use crate::body::Response;
use crate::reply::{self, PROTOCOL_VERSION};

/// The revisions of the legacy era.
pub(crate) const LEGACY: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// The first revision of the modern era. Revisions are dates, so they compare as text.
pub(crate) const MODERN: &str = "2026-07-28";

pub(crate) fn is_modern(version: &str) -> bool {
    version.len() == MODERN.len() && version >= MODERN && version.starts_with(|first: char| first.is_ascii_digit())
}

/// Whether a message speaks the modern era. What the body claims comes first, for nothing but a self-describing request
/// claims anything; a header speaks only for a message without a session.
pub(crate) fn speaks_modern(headers: &HeaderMap, message: &Envelope) -> bool {
    let claims = message.meta(VERSION_KEY).is_some();
    if message.method() == "initialize" {
        return claims;
    }
    if claims || message.method() == "server/discover" {
        return true;
    }
    let header = headers.get(PROTOCOL_VERSION).and_then(|version| version.to_str().ok());
    !headers.contains_key(reply::SESSION_ID) && header.is_some_and(is_modern)
}

/// A modern message to a server that speaks only the legacy era gets an honest `400` at once: clients of both eras take that
/// as the sign to fall back to `initialize`.
pub(crate) fn refuse_modern(id: Option<&str>) -> Response {
    reply::error(StatusCode::BAD_REQUEST, id, INVALID_REQUEST, &legacy_only())
}

/// The words of the same.
pub(crate) fn legacy_only() -> String {
    let [.., newest] = LEGACY;
    format!("this server speaks MCP up to revision {newest}: send `initialize`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Envelope {
        Envelope::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    #[test]
    fn the_body_is_believed_before_the_header() {
        let claim = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let plain = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2099-01-01"}}"#;
        let discover = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#;
        let none = HeaderMap::new();
        let header = |version: &'static str| HeaderMap::from_iter([(PROTOCOL_VERSION, version.parse().unwrap())]);
        assert!(speaks_modern(&none, &message(claim)));
        assert!(speaks_modern(&none, &message(discover)));
        assert!(!speaks_modern(&none, &message(plain)));
        assert!(speaks_modern(&header("2026-07-28"), &message(plain)));
        assert!(!speaks_modern(&header("2025-11-25"), &message(plain)));
        assert!(!speaks_modern(&header("nonsense!!"), &message(plain)));
        assert!(!speaks_modern(&header("2026-07-28"), &message(initialize)));
    }
}
