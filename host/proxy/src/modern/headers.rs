//! What the headers of a self-describing request must say, and making them say it again after a middleware has changed what
//! they repeat.

use bytes::Bytes;
use fairlead_core::json::find;
use fairlead_core::jsonrpc::{
    CAPABILITIES_KEY, Envelope, HEADER_MISMATCH, INVALID_PARAMS, Kind, VERSION_KEY, error_reply,
};
use fairlead_core::mirror::{Mirror, decode, encode};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::body::Response;
use crate::reply::{self, PROTOCOL_VERSION};

/// The method of the body.
pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// The tool, prompt or resource of the body.
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Why a request cannot be taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("`{0}` is missing in `_meta` of the request, or is not what it must be")]
    Envelope(&'static str),
    #[error("the header `{0}` is missing")]
    Missing(HeaderName),
    #[error("the header `{0}` and the body of the request disagree")]
    Mismatch(Box<str>),
}

impl Refusal {
    fn code(&self) -> i64 {
        match self {
            Self::Envelope(_) => INVALID_PARAMS,
            Self::Missing(_) | Self::Mismatch(_) => HEADER_MISMATCH,
        }
    }

    /// `400`, with the id of the request.
    pub(crate) fn response(&self, id: Option<&str>) -> Response {
        reply::json(StatusCode::BAD_REQUEST, self.text(id))
    }

    /// What the client reads.
    pub(crate) fn text(&self, id: Option<&str>) -> Bytes {
        let data = match self {
            Self::Envelope(key) => format!("{{\"key\":\"io.modelcontextprotocol/{key}\"}}"),
            Self::Missing(name) => format!("{{\"header\":\"{name}\"}}"),
            Self::Mismatch(name) => format!("{{\"header\":\"{name}\"}}"),
        };
        error_reply(id, self.code(), &self.to_string(), Some(&data))
    }
}

/// Compares a request with its headers. Which revisions and methods there are is the server's to say, and what stands in
/// `params` as well: here it is only about the two being one request. A notification needs no headers.
pub(crate) fn check(headers: &HeaderMap, message: &Envelope) -> Result<(), Refusal> {
    let version = message.meta(VERSION_KEY).and_then(fairlead_core::json::decode_string);
    let Some(version) = version.filter(|version| !version.is_empty()) else {
        return Err(Refusal::Envelope("protocolVersion"));
    };
    let is_request = message.kind() == Kind::Request;
    if is_request && !message.meta(CAPABILITIES_KEY).is_some_and(|text| text.starts_with('{')) {
        return Err(Refusal::Envelope("clientCapabilities"));
    }
    let named = message.meta("/io.modelcontextprotocol~1clientInfo");
    if named.is_some_and(|info| !matches!(find(info, "/name"), Ok(Some(name)) if name.starts_with('"'))) {
        return Err(Refusal::Envelope("clientInfo"));
    }
    agree(headers, &PROTOCOL_VERSION, &version, is_request)?;
    agree(headers, &METHOD, message.method(), is_request)?;
    if let Some(target) = mirrored_name(message) {
        agree(headers, &NAME, &target, is_request)?;
    }
    Ok(())
}

/// What `Mcp-Name` repeats.
pub(crate) fn mirrored_name(message: &Envelope) -> Option<std::borrow::Cow<'_, str>> {
    let repeats = matches!(message.method(), "tools/call" | "prompts/get" | "resources/read");
    message.target().filter(|_| repeats)
}

fn agree(headers: &HeaderMap, name: &HeaderName, body: &str, needed: bool) -> Result<(), Refusal> {
    let mismatch = || Refusal::Mismatch(name.as_str().into());
    let mut values = headers.get_all(name).iter();
    let value = match (values.next(), values.next()) {
        (None, _) if needed => return Err(Refusal::Missing(name.clone())),
        (None, _) => return Ok(()),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(mismatch()),
    };
    let text = value.to_str().map_err(|_| mismatch())?;
    let said = if *name == NAME { decode(text) } else { Some(text.trim_matches([' ', '\t']).into()) };
    if said.as_deref() == Some(body) { Ok(()) } else { Err(mismatch()) }
}

/// Compares what a call of a tool repeats in headers with its arguments (within `params`).
pub(crate) fn check_mirrors(headers: &HeaderMap, params: &str, mirrors: &[Mirror]) -> Result<(), Refusal> {
    for mirror in mirrors {
        let mut values = headers.get_all(&*mirror.header).iter();
        let (value, more) = (values.next(), values.next().is_some());
        let text = value.map(|value| value.to_str().unwrap_or("\u{FFFD}"));
        if more || !mirror.agrees(params, text) {
            return Err(Refusal::Mismatch(mirror.header.clone()));
        }
    }
    Ok(())
}

/// Makes `Mcp-Name` and the mirrored arguments agree with what the body says now.
pub(crate) fn restate(headers: &mut HeaderMap, message: &Envelope, mirrors: &[Mirror]) {
    let mut put = |name: HeaderName, text: Option<String>| match text.map(HeaderValue::try_from) {
        Some(Ok(value)) => drop(headers.insert(name, value)),
        _ => drop(headers.remove(name)),
    };
    if let Some(target) = mirrored_name(message) {
        put(NAME, Some(encode(&target)));
    }
    let params = message.params().unwrap_or_default();
    let params = std::str::from_utf8(&params).unwrap_or_default();
    for mirror in mirrors {
        if let Ok(name) = HeaderName::from_bytes(mirror.header.as_bytes()) {
            put(name, mirror.value(params).map(|value| encode(&value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn call(name: &str, meta: &str) -> Envelope {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{name},"arguments":{{"r":"eu"}},"_meta":{meta}}}}}"#
        );
        Envelope::parse(Bytes::from(text)).unwrap()
    }

    const META: &str =
        r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    const GOOD: [(&str, &str); 3] =
        [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "echo")];

    #[test]
    fn a_request_and_its_headers_are_one() {
        let message = call(r#""echo""#, META);
        assert_eq!(check(&map(&GOOD), &message), Ok(()));
        let mut encoded = GOOD;
        encoded[2].1 = "=?base64?ZWNobw==?=";
        assert_eq!(check(&map(&encoded), &message), Ok(()));
        for at in 0..3 {
            let mut other = GOOD;
            other[at].1 = "other";
            assert!(matches!(check(&map(&other), &message), Err(Refusal::Mismatch(_))), "{other:?}");
            let mut without = GOOD.to_vec();
            without.remove(at);
            assert!(matches!(check(&map(&without), &message), Err(Refusal::Missing(_))), "{without:?}");
            let mut twice = GOOD.to_vec();
            twice.push(GOOD[at]);
            assert!(matches!(check(&map(&twice), &message), Err(Refusal::Mismatch(_))), "{twice:?}");
        }
    }

    #[test]
    fn a_request_that_does_not_describe_itself_is_refused() {
        for (meta, key) in [
            (r#"{"io.modelcontextprotocol/protocolVersion":7}"#, "protocolVersion"),
            (r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#, "clientCapabilities"),
            (
                r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]}"#,
                "clientCapabilities",
            ),
            (
                r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":5}"#,
                "clientInfo",
            ),
        ] {
            assert_eq!(check(&map(&GOOD), &call(r#""echo""#, meta)), Err(Refusal::Envelope(key)));
        }
    }

    #[test]
    fn headers_follow_a_changed_body() {
        let mirrors = [
            Mirror { header: "mcp-param-r".into(), pointer: "/r".into() },
            Mirror { header: "mcp-param-gone".into(), pointer: "/gone".into() },
        ];
        let mut headers = map(&GOOD);
        headers.insert("mcp-param-gone", HeaderValue::from_static("x"));
        let message = call(r#""é""#, META);
        restate(&mut headers, &message, &mirrors);
        assert_eq!(headers.get("mcp-name").unwrap(), "=?base64?w6k=?=");
        assert_eq!(headers.get("mcp-param-r").unwrap(), "eu");
        assert!(!headers.contains_key("mcp-param-gone"));
        assert_eq!(check(&headers, &message), Ok(()));
        let params = message.params().unwrap();
        assert_eq!(check_mirrors(&headers, std::str::from_utf8(&params).unwrap(), &mirrors), Ok(()));
    }
}
