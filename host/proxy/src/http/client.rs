//! The client side: pooled connections to servers on this machine.

use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::workload::{Unavailable, Upstream};
use http::{Request, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::missed::Missed;
use crate::limits::{CONNECT_MAX, IDLE_CONNECTION_KEEP, IDLE_CONNECTIONS_MAX, OPEN_MAX};

/// A client with a pool of connections.
pub(crate) type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// Puts the tasks of connections among ours.
#[derive(Clone)]
pub(crate) struct Tracked(pub(crate) TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// Makes the client.
pub(crate) fn http_client(tracker: &TaskTracker) -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_MAX));
    Client::builder(Tracked(tracker.clone()))
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_CONNECTION_KEEP)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .build(connector)
}

/// Where a server is, parsed once for as long as it stays there; and what its clients missed.
#[derive(Default)]
pub(crate) struct Endpoint {
    known: Mutex<Option<(String, Uri)>>,
    pub(super) missed: Missed,
}

/// Why a request did not get through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("its address is no URL")]
    Address,
    #[error("it cannot be reached")]
    Exchange(#[source] hyper_util::client::legacy::Error),
    #[error("it gave no sign for too long")]
    Silent,
}

impl Endpoint {
    pub(crate) async fn uri(&self, upstream: &Arc<dyn Upstream>) -> Result<Uri, Unreachable> {
        let asked = timeout(OPEN_MAX, upstream.http_endpoint()).await;
        let url = asked.unwrap_or_else(|_| Err(Unavailable::Failed("the server did not start in time".to_owned())))?;
        let mut known = self.known.lock();
        if let Some((_, uri)) = known.as_ref().filter(|(text, _)| *text == url) {
            return Ok(uri.clone());
        }
        let uri: Uri = url.parse().map_err(|_| Unreachable::Address)?;
        *known = Some((url, uri.clone()));
        Ok(uri)
    }
}

/// Sends a request and waits for the head of the response.
pub(crate) async fn send(
    client: &HttpClient,
    request: Request<Full<Bytes>>,
    idle_max: std::time::Duration,
) -> Result<http::Response<Incoming>, Unreachable> {
    let response = timeout(idle_max, client.request(request)).await.map_err(|_| Unreachable::Silent)?;
    response.map_err(Unreachable::Exchange)
}
