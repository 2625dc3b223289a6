//! Headers that somebody wants to add to a request to a server: by a plugin, or written down with a remote server.

/// Headers that are the transport's: they say how a message travels or which one it is, and a wrong one breaks framing or
/// lets a header contradict the body.
const RESERVED: [&str; 18] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Beginning of the headers that MCP defines.
const RESERVED_PREFIX: &str = "mcp-";

/// Why a header is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It has no name that HTTP knows.
    #[error("`{0}` is no name of a header")]
    Name(String),
    /// The value cannot stand in a header. It may be a secret and is not repeated.
    #[error("the value of `{0}` has characters that cannot stand in a header")]
    Value(String),
    /// The transport's own.
    #[error("`{0}` belongs to the transport and cannot be set")]
    Reserved(String),
}

/// Checks a name and gives it in lower case.
///
/// # Errors
/// It is none, or the transport's own.
pub fn header_name(name: &str) -> Result<String, HeaderError> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(HeaderError::Name(name.to_owned()));
    }
    let lower = name.to_ascii_lowercase();
    if RESERVED.contains(&lower.as_str()) || lower.starts_with(RESERVED_PREFIX) {
        return Err(HeaderError::Reserved(lower));
    }
    Ok(lower)
}

/// Checks a value: visible characters, spaces and tabs; no line breaks.
///
/// # Errors
/// It cannot stand in a header.
pub fn header_value(name: &str, value: &[u8]) -> Result<(), HeaderError> {
    let fits = value.iter().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e | 0x80..));
    if fits { Ok(()) } else { Err(HeaderError::Value(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_and_not_the_transports_own() {
        assert_eq!(header_name("X-Api-Key").as_deref(), Ok("x-api-key"));
        assert_eq!(header_name("Authorization").as_deref(), Ok("authorization"));
        for name in ["", "a b", "x:y", "é", "a\r\nb"] {
            assert_eq!(header_name(name), Err(HeaderError::Name(name.to_owned())));
        }
        for name in ["Host", "content-length", "Mcp-Session-Id", "MCP-Param-Region"] {
            assert!(matches!(header_name(name), Err(HeaderError::Reserved(_))), "{name}");
        }
    }

    #[test]
    fn a_value_never_begins_another_header() {
        assert_eq!(header_value("a", b"Bearer x\ty"), Ok(()));
        let error = header_value("a", b"hunter2\r\nx: y").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
