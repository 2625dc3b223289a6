//! Telling somebody what passes, when somebody wants to know. When nobody does, this is one look at an empty option.

use bytes::Bytes;
use fairlead_core::json::{decode_string, encode_string, find, patch};
use fairlead_core::jsonrpc::{Envelope, Kind};
use fairlead_core::middleware::PatchOperation;
use fairlead_core::telemetry::{Began, Observation, TraceContext, TraceParent};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Proxy;
use crate::route::{Published, Wire};

const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

/// An exchange under way, if somebody wants to know about it.
pub(crate) type Watch = Option<Box<dyn Observation>>;

/// Tells of a request. What it says of itself in `_meta` goes before what its headers say: it was written
/// by the client, and the headers perhaps by something in between.
pub(crate) fn watch(
    proxy: &Proxy,
    route: &Published,
    message: &Envelope,
    headers: &HeaderMap,
    version: Option<&str>,
) -> Watch {
    let telemetry = proxy.telemetry.as_ref().filter(|_| message.kind() == Kind::Request)?;
    let header = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let said = |pointer| message.meta(pointer).and_then(decode_string);
    let (parent, state) = (said("/traceparent"), said("/tracestate"));
    let trace = match &parent {
        Some(parent) => TraceParent { parent: Some(parent), state: state.as_deref() },
        None => TraceParent { parent: header(&TRACE_PARENT), state: header(&TRACE_STATE) },
    };
    let claimed = message.claimed_version();
    let target = message.target().filter(|_| !message.method().starts_with("resources/"));
    Some(telemetry.begin(Began {
        server: &route.key,
        method: message.method(),
        target: target.as_deref(),
        request_id: message.id(),
        protocol_version: claimed.as_deref().or(version),
        network_transport: match route.wire() {
            Wire::Stdio { .. } => "pipe",
            Wire::Http | Wire::Sse { .. } | Wire::Detect { .. } => "tcp",
        },
        trace,
    }))
}

/// `params` with the context in `_meta`; `None` when they are not an object and hold no `_meta`.
pub(crate) fn carry_in_params(params: Option<&str>, context: &TraceContext) -> Option<Bytes> {
    let params = params.filter(|params| !params.is_empty()).unwrap_or("{}");
    let value = |text: &str| Some(encode_string(text));
    let mut operations = Vec::new();
    if find(params, "/_meta").ok()?.is_none() {
        operations.push(PatchOperation { pointer: "/_meta".to_owned(), value: Some("{}".to_owned()) });
    }
    operations.push(PatchOperation { pointer: "/_meta/traceparent".to_owned(), value: value(&context.parent) });
    if let Some(state) = &context.state {
        operations.push(PatchOperation { pointer: "/_meta/tracestate".to_owned(), value: value(state) });
    }
    patch(params, &operations).ok().map(Into::into)
}

/// The same in the headers of a request to a server.
pub(crate) fn carry_in_headers(headers: &mut HeaderMap, context: &TraceContext) {
    if let Ok(parent) = HeaderValue::try_from(&context.parent) {
        headers.insert(TRACE_PARENT, parent);
    }
    match context.state.as_ref().and_then(|state| HeaderValue::try_from(state).ok()) {
        Some(state) => headers.insert(TRACE_STATE, state),
        None => headers.remove(TRACE_STATE),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_goes_into_meta_and_everything_else_stays() {
        let context = TraceContext { parent: "00-1-2-01".to_owned(), state: None };
        let carried = |params| String::from_utf8(carry_in_params(params, &context).unwrap().to_vec()).unwrap();
        assert_eq!(carried(None), r#"{"_meta":{"traceparent":"00-1-2-01"}}"#);
        assert_eq!(
            carried(Some(r#"{"n": 1e2,"_meta":{"progressToken":1, "traceparent":"old"}}"#)),
            r#"{"n": 1e2,"_meta":{"progressToken":1, "traceparent":"00-1-2-01"}}"#
        );
        assert_eq!(carry_in_params(Some("[1]"), &context), None);
    }
}
