//! An HTTP server inside the test that answers as a test says.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use fairlead_core::BoxFuture;
use fairlead_core::workload::{StdioConnection, Unavailable, Upstream};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// A request that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

type Body = BoxBody<Bytes, Infallible>;
type Script = dyn Fn(&Seen) -> Response<Body> + Send + Sync;

pub(crate) struct HttpServer {
    pub(crate) url: String,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    /// Connections that were made so far.
    pub(crate) connections: Arc<AtomicUsize>,
    _tasks: TaskTracker,
}

impl HttpServer {
    pub(crate) async fn new(script: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let tasks = TaskTracker::new();
        let script: Arc<Script> = Arc::new(script);
        let (record, count, spawner) = (Arc::clone(&seen), Arc::clone(&connections), tasks.clone());
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let (script, record) = (Arc::clone(&script), Arc::clone(&record));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (script, record) = (Arc::clone(&script), Arc::clone(&record));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                        let body = String::from_utf8(body.to_vec()).unwrap();
                        let path = head.uri.path().to_owned();
                        let seen = Seen { method: head.method, path, headers: head.headers, body };
                        record.lock().push(seen.clone());
                        Ok::<_, Infallible>(script(&seen))
                    }
                });
                spawner.spawn(async move {
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Arc::new(Self { url, seen, connections, _tasks: tasks })
    }

    pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Body> {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(Full::new(body.into()).boxed()).unwrap()
    }

    pub(crate) fn json(body: impl Into<Bytes>) -> Response<Body> {
        Self::reply(200, &[("content-type", "application/json")], body)
    }

    /// A stream that is fed by the test; the sender is closed when the proxy hangs up.
    pub(crate) fn stream() -> (mpsc::Sender<&'static str>, Response<Body>) {
        let (sender, mut receiver) = mpsc::channel::<&'static str>(1);
        let frames = futures_util::stream::poll_fn(move |cx| {
            receiver.poll_recv(cx).map(|text| text.map(|text| Ok(Frame::data(Bytes::from(text)))))
        });
        let body = BodyExt::boxed(StreamBody::new(SyncStream(Mutex::new(frames))));
        (sender, Response::builder().header("content-type", "text/event-stream").body(body).unwrap())
    }
}

/// A stream that may be shared, because `BoxBody` asks for it.
struct SyncStream<S>(Mutex<S>);

impl<S: futures_util::Stream + Unpin> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;
    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::pin::Pin::new(&mut *self.0.lock()).poll_next(cx)
    }
}

impl Upstream for HttpServer {
    fn open_stdio(&self) -> BoxFuture<'_, Result<StdioConnection, Unavailable>> {
        Box::pin(async { Err(Unavailable::Failed("speaks HTTP".to_owned())) })
    }

    fn http_endpoint(&self) -> BoxFuture<'_, Result<String, Unavailable>> {
        Box::pin(async { Ok(self.url.clone()) })
    }
}
