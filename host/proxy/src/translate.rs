//! A legacy client in front of a server that speaks the modern era only.
//!
//! To the rest of the data plane this is a stdio server of the legacy era, one for each session, so sessions, streams,
//! resumption and middleware work as for any other. Behind it each request becomes a self-describing one:
//!
//! | the client says | the server hears |
//! |---|---|
//! | `initialize` | `server/discover`, asked once for all |
//! | a request | the same, with revision, capabilities, name and log level of the client in `_meta` |
//! | the answer to a question | the request again, with the answer in `inputResponses` and its `requestState` |
//! | `resources/subscribe`, and being there | one `subscriptions/listen` |
//! | `notifications/cancelled` | its request is given up |
//! | `logging/setLevel`, `ping` | nothing: the level goes with each request |
//!
//! What the server wants to know (`input_required`) is asked of the client as it knows it: sampling, elicitation or roots.

mod face;
mod listening;
mod questions;
mod server;

use std::collections::HashMap;
use std::sync::Arc;

use fairlead_core::era::Eras;
use fairlead_core::jsonrpc::{Envelope, IdKey};
use fairlead_core::workload::StdioConnection;
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Proxy;
use crate::http::{ask, headers_of, send};
use crate::limits::OPEN_MAX;
use crate::modern::{initialize, learn_legacy};
use crate::reply::SESSION_ID;
use crate::route::{Published, Wire};

/// Whether a server has to be spoken to through [`legacy_face`]. Asked of a server that is known to be modern, and of it
/// only once.
pub(crate) async fn needs_face(proxy: &Proxy, route: &Published) -> bool {
    match route.eras.recall() {
        Eras { legacy: Some(legacy), .. } => return !legacy,
        Eras { modern: Some(true), .. } => {}
        // Nobody has asked yet: a client of the legacy era is the one to find out.
        Eras { .. } => return false,
    }
    let answered = match route.wire() {
        Wire::Stdio { .. } => learn_legacy(proxy, route, Instant::now() + OPEN_MAX).await.ok(),
        Wire::Http | Wire::Detect { .. } => over_http(proxy, route).await,
        // It knows nothing but sessions.
        Wire::Sse { .. } => return false,
    };
    let Some(answer) = answered else { return false };
    let legacy = answer.error().is_none();
    route.eras.remember(&Eras { modern: None, legacy: Some(legacy) });
    !legacy
}

async fn over_http(proxy: &Proxy, route: &Published) -> Option<Envelope> {
    let message = Envelope::parse(initialize()).ok()?;
    let (head, answer) = ask(proxy, route, &message, headers_of(&message)).await.ok()?;
    if let Some(session) = head.headers.get(SESSION_ID) {
        let mut headers = headers_of(&message);
        headers.insert(SESSION_ID, session.clone());
        let _ = send(proxy, route, http::Method::DELETE, headers, bytes::Bytes::new()).await;
    }
    Some(answer)
}

/// A connection to a server of the legacy era that is not there.
pub(crate) fn legacy_face(proxy: &Arc<Proxy>, route: &Arc<Published>, injected: Arc<Injected>) -> StdioConnection {
    face::open(proxy, server::behind(proxy, route), injected)
}

/// The headers that middleware wants on what one session sends to the server: a pipe carries none, so they go beside it.
#[derive(Default)]
pub(crate) struct Injected {
    /// Those of `initialize`, for what no request of the client brings.
    of_session: HeaderMap,
    of_requests: Mutex<HashMap<IdKey, HeaderMap>>,
}

impl Injected {
    pub(crate) fn new(of_session: HeaderMap) -> Arc<Self> {
        Arc::new(Self { of_session, of_requests: Mutex::default() })
    }

    /// Those of the request with this id on the pipe, before it is written.
    pub(crate) fn put(&self, id: &IdKey, headers: HeaderMap) {
        if !headers.is_empty() {
            self.of_requests.lock().insert(id.clone(), headers);
        }
    }

    /// Those of a request that was read.
    fn take(&self, id: &str) -> HeaderMap {
        let id = IdKey::of(id);
        id.and_then(|id| self.of_requests.lock().remove(&id)).unwrap_or_default()
    }
}
