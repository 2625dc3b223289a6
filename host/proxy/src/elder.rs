//! A client of the newest era in front of a server that speaks the legacy era only, where somebody asked for that.
//!
//! Behind it stands an ordinary legacy client of the same route, in this process, so the chain, sessions, identities and every
//! transport are what they are for any other client, and middleware sees each message once, as the server hears it.
//!
//! | the client sends | the server hears |
//! |---|---|
//! | `server/discover` | `initialize`, when no session like it is free |
//! | a self-describing request | the same in a session, without what describes it; `logging/setLevel` before it where it wants logs |
//! | the request again, with `inputResponses` | the answers to what it had asked in the middle of the first |
//! | `subscriptions/listen` | a session of its own with its stream, and `resources/subscribe` |
//! | nothing more (hangs up) | `notifications/cancelled` |
//!
//! A session carries one request at a time: so what the server says and asks meanwhile belongs to that request beyond doubt,
//! which it would not in a session that many requests share. It is kept for a while for the next request of the same client, by
//! all that tells clients apart. A request in whose middle the server asks something is *parked*: session and open answer wait
//! under a word that only this client learns, until it comes back with the answer or its time is over.

mod call;
mod listen;
mod session;
mod words;

use std::sync::Arc;

use fairlead_core::jsonrpc::{Envelope, Kind, METHOD_NOT_FOUND, UNSUPPORTED_VERSION, error_reply};
use http::{HeaderMap, StatusCode};

use crate::Proxy;
use crate::body::Response;
use crate::era::{self, MODERN};
use crate::modern::headers::check;
use crate::modern::{Delivery, NotReached};
use crate::reply::{self, lost};
use crate::route::{Published, Wire};
use crate::service::Connection;
use call::Call;
pub(crate) use session::Sessions;

/// Methods of sessions, which the newest revision does not have.
const GONE: [&str; 5] = ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];

/// Whether a message is one for this place: the route has the bridge, the message describes itself, and the server behind
/// would not understand it.
pub(crate) async fn takes(proxy: &Proxy, route: &Published, headers: &HeaderMap, message: &Envelope) -> bool {
    if !route.bridge || !era::speaks_modern(headers, message) {
        return false;
    }
    match (route.eras.recall().modern, route.wire()) {
        (Some(modern), _) => !modern,
        (None, Wire::Sse { .. }) => true,
        (None, Wire::Stdio { .. }) => matches!(route.modern.get(proxy, route).await, Err(NotReached::Legacy(_))),
        (None, Wire::Http | Wire::Detect { .. }) => false,
    }
}

/// A self-describing message of a client.
pub(crate) async fn post(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    connection: Connection,
    headers: HeaderMap,
    message: Envelope,
) -> Response {
    if let Err(refusal) = check(&headers, &message) {
        return refusal.response(message.id());
    }
    if let Some(refusal) = refused(&message) {
        return refusal;
    }
    if message.kind() != Kind::Request {
        // This era has no notification of a client over HTTP, and the older ones are for sessions.
        return reply::empty(StatusCode::ACCEPTED);
    }
    let id = message.id_bytes().unwrap_or_default();
    let (delivery, response) = Delivery::new();
    let call = Call::new(proxy, route, connection, headers, message);
    proxy.tasks.spawn(call.run(delivery));
    response.await.unwrap_or_else(|_| {
        let error = lost("the request was abandoned");
        let id = std::str::from_utf8(&id).unwrap_or("null");
        reply::json(StatusCode::OK, error_reply(Some(id), error.code, &error.message, error.data.as_deref()))
    })
}

/// What the newest revision itself refuses.
fn refused(message: &Envelope) -> Option<Response> {
    let claimed = message.claimed_version().unwrap_or_default();
    if claimed != MODERN {
        let requested = fairlead_core::json::encode_string(&claimed);
        let data = format!("{{\"supported\":[\"{MODERN}\"],\"requested\":{requested}}}");
        let text = format!("this server does not speak revision {claimed} of MCP");
        let text = error_reply(message.id(), UNSUPPORTED_VERSION, &text, Some(&data));
        return Some(reply::json(StatusCode::BAD_REQUEST, text));
    }
    GONE.contains(&message.method()).then(|| {
        let text = format!("revision {MODERN} has no method `{}`", message.method());
        reply::json(StatusCode::NOT_FOUND, error_reply(message.id(), METHOD_NOT_FOUND, &text, None))
    })
}
