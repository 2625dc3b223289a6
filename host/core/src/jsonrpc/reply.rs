//! Answers that we write ourselves.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{encode_string, find, patch};
use crate::middleware::{PatchOperation, Rejection};

/// An answer with a result (JSON text) to the request with this id (JSON text).
#[must_use]
pub fn result_reply(id: &str, result: &str) -> Bytes {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}").into()
}

/// An answer with an error. Without an id, because it could not be read, `null` takes its place. `data` is JSON text.
#[must_use]
pub fn error_reply(id: Option<&str>, code: i64, message: &str, data: Option<&str>) -> Bytes {
    let id = id.unwrap_or("null");
    let message = encode_string(message);
    let data = data.map(|data| format!(",\"data\":{data}")).unwrap_or_default();
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":{code},\"message\":{message}{data}}}}}").into()
}

/// An answer with a rejection. How long to wait is merged into its data, when there is none or it is an object.
#[must_use]
pub fn rejection_reply(id: Option<&str>, rejection: &Rejection) -> Bytes {
    let data = match (rejection.retry_after_ms, rejection.data.as_deref()) {
        (None, data) => data.map(ToOwned::to_owned),
        (Some(wait), data) => {
            let operation = PatchOperation { pointer: "/retryAfterMs".to_owned(), value: Some(wait.to_string()) };
            let object = data.is_none_or(|data| data.trim_start().starts_with('{'));
            let merged = object.then(|| patch(data.unwrap_or("{}"), &[operation]).ok()).flatten();
            merged.or_else(|| data.map(ToOwned::to_owned))
        }
    };
    error_reply(id, rejection.code, &rejection.message, data.as_deref())
}

#[derive(Deserialize)]
struct WireError<'a> {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// The JSON text of an `error` as a value; `None` when it is not the error that JSON-RPC describes.
#[must_use]
pub fn rejection_of(error: &str) -> Option<Rejection> {
    let WireError { code, message, data } = serde_json::from_str(error).ok()?;
    let data = data.map(|data| data.get().to_owned());
    let wait =
        data.as_deref().and_then(|data| find(data, "/retryAfterMs").ok().flatten()).and_then(|ms| ms.parse().ok());
    Some(Rejection { code, message, data, retry_after_ms: wait })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_wait_is_merged_into_the_data_where_that_is_possible() {
        let reply = |data: Option<&str>, wait| {
            let rejection = Rejection {
                code: 4290,
                message: "slow \"down\"".to_owned(),
                data: data.map(ToOwned::to_owned),
                retry_after_ms: wait,
            };
            text(&rejection_reply(Some("\"a\""), &rejection)).to_owned()
        };
        let head = r#"{"jsonrpc":"2.0","id":"a","error":{"code":4290,"message":"slow \"down\""#;
        assert_eq!(reply(None, None), format!("{head}\"}}}}"));
        assert_eq!(reply(None, Some(5)), format!("{head}\",\"data\":{{\"retryAfterMs\":5}}}}}}"));
        assert_eq!(reply(Some("{\"a\":1}"), Some(5)), format!("{head}\",\"data\":{{\"a\":1,\"retryAfterMs\":5}}}}}}"));
        assert_eq!(reply(Some("[1]"), Some(5)), format!("{head}\",\"data\":[1]}}}}"));
    }

    #[test]
    fn an_unreadable_id_becomes_null() {
        assert_eq!(
            text(&error_reply(None, -32700, "no", None)),
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}"#
        );
    }

    #[test]
    fn an_error_is_read_with_its_data_as_text() {
        let rejection =
            rejection_of(r#"{"code":-1,"message":"m","data":{"big":9007199254740993,"retryAfterMs":7},"x":0}"#);
        let expected = Rejection {
            code: -1,
            message: "m".to_owned(),
            data: Some(r#"{"big":9007199254740993,"retryAfterMs":7}"#.to_owned()),
            retry_after_ms: Some(7),
        };
        assert_eq!(rejection, Some(expected));
        assert_eq!(rejection_of("[]"), None);
    }
}
