//! What takes a request to an endpoint: a connection to a daemon, or the proxy itself for a client inside of it.

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::sent::{Flagged, Sent};
use crate::body::BodyError;
use crate::limits::{BRIDGE_CONNECT_MAX, BRIDGE_CONNECT_PAUSE, CONNECT_MAX, REQUEST_IDLE_MAX};

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("the daemon cannot be reached")]
    Connection,
    #[error("the connection broke before the answer came")]
    Broken,
    #[error("the answer is too large")]
    TooLarge,
    #[error("the session is over")]
    Forgotten,
    #[error("the daemon answered with HTTP status {0}")]
    Status(u16),
}

/// Takes requests to one endpoint.
pub(crate) trait Carrier: Send + Sync + 'static {
    /// What answers are made of.
    type Body: Body<Data = Bytes, Error: Into<BodyError>> + Send + Unpin;

    /// Takes one request there and gives the head of its response. `client` are the headers that the message came with,
    /// where it came with some. `sent` is told when the request can no longer be overtaken.
    fn carry(
        &self,
        request: Request<Bytes>,
        client: Option<&HeaderMap>,
        sent: Option<Sent>,
    ) -> impl Future<Output = Result<Response<Self::Body>, Lost>> + Send;
}

/// An endpoint of a daemon.
pub(super) struct OverHttp {
    uri: Uri,
    client: Client<HttpConnector, Flagged>,
}

/// Puts the tasks of connections among ours.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

impl OverHttp {
    pub(super) fn new(uri: Uri, tracker: &TaskTracker) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_MAX));
        Self { uri, client: Client::builder(Tracked(tracker.clone())).build(connector) }
    }
}

impl Carrier for OverHttp {
    type Body = Incoming;

    async fn carry(
        &self,
        request: Request<Bytes>,
        _: Option<&HeaderMap>,
        mut sent: Option<Sent>,
    ) -> Result<Response<Incoming>, Lost> {
        let (head, body) = request.into_parts();
        let given_up = Instant::now() + BRIDGE_CONNECT_MAX;
        loop {
            let mut request = Request::from_parts(head.clone(), Flagged::new(body.clone(), sent.take()));
            *request.uri_mut() = self.uri.clone();
            match timeout(REQUEST_IDLE_MAX, self.client.request(request)).await {
                Ok(Ok(response)) => return Ok(response),
                // Nothing has been sent yet: the daemon is on its way back, perhaps.
                Ok(Err(error)) if error.is_connect() && Instant::now() < given_up => sleep(BRIDGE_CONNECT_PAUSE).await,
                Ok(Err(_)) => return Err(Lost::Connection),
                Err(_) => return Err(Lost::Broken),
            }
        }
    }
}
