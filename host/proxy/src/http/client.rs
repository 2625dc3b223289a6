//! The client side: connections to servers, kept for the next request.
//!
//! A connection is moved by the task whose request it carries, and while it carries none by nobody: a task of its own for
//! each would be woken, on whatever thread, for each piece that comes and goes. An idle connection that the server has
//! closed is therefore found out when it is taken up again, or thrown away after its time.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fairlead_core::workload::{Unavailable, Upstream};
use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::connect::{Stream, connect};
use super::members::{Lookup, Members};
use super::missed::Missed;
use crate::deadline::within;
use crate::limits::{IDLE_CONNECTION_KEEP, IDLE_CONNECTIONS_MAX, OPEN_MAX, REDIRECTS_MAX, REMOTE_CONNECTION_KEEP};
use crate::remote::{NotReady, Remote, redirected, resolve, same_origin};
use crate::reply::SESSION_ID;
use crate::route::Published;
use crate::watch::Watch;

/// Why a request did not get through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("its address is no URL")]
    Address,
    #[error("no connection to it could be made")]
    Connect(#[source] std::io::Error),
    #[error("what its requests need cannot be had")]
    NotReady(#[from] NotReady),
    #[error("it redirects to another host, which is not followed")]
    Elsewhere,
    #[error("it redirects more than {REDIRECTS_MAX} times")]
    Circle,
    #[error("it cannot be reached")]
    Exchange(#[source] hyper::Error),
    #[error("it gave no sign for too long")]
    Silent,
    #[error("the part of it that held this session is gone")]
    Gone,
}

/// Where a server is, as each request to it needs it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(super) uri: Uri,
    /// What `Host` says.
    host: HeaderValue,
    /// What stands in the first line of a request.
    target: Uri,
    /// Which of several addresses it is.
    address: Option<SocketAddr>,
}

/// Where a server is, parsed once for as long as it stays there; the connections to it; and what its clients missed.
#[derive(Default)]
pub(crate) struct Endpoint {
    known: Mutex<Option<(String, Arc<Place>)>>,
    /// How it is reached, when it runs elsewhere.
    remote: Option<Arc<Remote>>,
    /// Its addresses, when it has several.
    members: Option<Members>,
    idle: Arc<Idle>,
    pub(super) missed: Missed,
}

/// Connections that carry no request, the one used last at the end.
#[derive(Default)]
struct Idle(Mutex<Vec<Resting>>);

struct Resting {
    connection: Connection,
    since: Instant,
}

/// A connection: one half takes requests, the other moves the bytes.
struct Connection {
    place: Arc<Place>,
    sender: SendRequest<Full<Bytes>>,
    /// Until it has come to its end. It holds what was asked of it and tells that it is lost only when it goes itself.
    driver: Option<http1::Connection<TokioIo<Stream>, Full<Bytes>>>,
}

/// The body of a response, with the connection that it comes from.
pub(crate) struct UpstreamBody {
    body: Incoming,
    connection: Option<Box<Connection>>,
    home: Arc<Idle>,
    /// Told when the body has come to its end.
    watch: Watch,
    /// Whose answer it is, for as long as it comes: a revision that was replaced is not ended before.
    answers: Option<Arc<Published>>,
}

// === impl Place ===

impl Place {
    pub(super) fn parse(url: &str) -> Option<Self> {
        Self::of(url.parse().ok()?)
    }

    fn of(uri: Uri) -> Option<Self> {
        let host = HeaderValue::from_str(uri.authority()?.as_str()).ok()?;
        let target = uri.path_and_query().map_or("/", |path| path.as_str()).parse().ok()?;
        Some(Self { uri, host, target, address: None })
    }

    /// The same at one of its addresses.
    pub(super) fn pinned(&self, address: SocketAddr) -> Self {
        Self { uri: self.uri.clone(), host: self.host.clone(), target: self.target.clone(), address: Some(address) }
    }

    /// Which of several addresses it is.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Its name, without brackets, and its port.
    pub(super) fn name(&self) -> (&str, u16) {
        let host = self.uri.host().unwrap_or_default();
        let port = if self.uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
        (host.trim_start_matches('[').trim_end_matches(']'), self.uri.port_u16().unwrap_or(port))
    }

    /// Another place of the same server.
    pub(crate) fn at(&self, reference: &str) -> Option<Self> {
        let uri = resolve(&self.uri, reference).filter(|uri| same_origin(&self.uri, uri))?;
        Some(Self { address: self.address, ..Self::of(uri)? })
    }

    fn same_server(&self, other: &Self) -> bool {
        let is_there = self.uri.authority() == other.uri.authority() && self.uri.scheme() == other.uri.scheme();
        is_there && self.address == other.address
    }
}

// === impl Endpoint ===

impl Endpoint {
    pub(crate) fn new(remote: Option<Arc<Remote>>, members: Option<Arc<dyn Lookup>>) -> Self {
        Self { remote, members: members.map(Members::new), ..Self::default() }
    }

    /// Whether the server runs elsewhere.
    pub(crate) fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Where the server is now.
    pub(crate) async fn place(&self, upstream: &Arc<dyn Upstream>) -> Result<Arc<Place>, Unreachable> {
        let asked = within(OPEN_MAX, upstream.http_endpoint()).await;
        let url = asked.unwrap_or_else(|_| Err(Unavailable::Failed("the server did not start in time".to_owned())))?;
        let mut known = self.known.lock();
        if let Some((_, place)) = known.as_ref().filter(|(text, _)| *text == url) {
            return Ok(Arc::clone(place));
        }
        let place = Arc::new(Place::parse(&url).ok_or(Unreachable::Address)?);
        *known = Some((url, Arc::clone(&place)));
        Ok(place)
    }

    /// One address of a server that has several: that of a session, or the next in turn for what has none.
    pub(crate) async fn seat(&self, place: &Arc<Place>, session: Option<&[u8]>) -> Result<Arc<Place>, Unreachable> {
        match &self.members {
            Some(members) if place.address.is_none() => members.seat(place, session).await,
            _ => Ok(Arc::clone(place)),
        }
    }

    /// Another replica of this data plane knows where a session is.
    pub(super) fn learn(&self, session: &[u8], address: SocketAddr) {
        if let Some(members) = &self.members {
            members.learn(session, address);
        }
    }

    /// Which of several addresses a session is at.
    pub(super) fn whereabouts(&self, session: &[u8]) -> Option<SocketAddr> {
        self.members.as_ref()?.whereabouts(session)
    }

    /// Sends a request and waits for the head of the response. The target and `Host` of the request are set here, and the
    /// headers that the server was given; those that middleware has `added` go before all others.
    pub(crate) async fn send(
        &self,
        place: &Arc<Place>,
        mut request: Request<Full<Bytes>>,
        added: &HeaderMap,
        idle_max: Duration,
    ) -> Result<Response<UpstreamBody>, Unreachable> {
        let sending = async {
            if let Some(remote) = &self.remote {
                remote.equip(request.headers_mut()).await?;
            }
            for (name, value) in added {
                request.headers_mut().insert(name, value.clone());
            }
            let Some(remote) = &self.remote else { return self.send_to_member(place, request).await };
            self.follow(remote, Arc::clone(place), request).await
        };
        timeout(idle_max, sending).await.unwrap_or(Err(Unreachable::Silent))
    }

    /// Sends a request to the address that its session is at, and remembers where one is opened.
    async fn send_to_member(
        &self,
        place: &Arc<Place>,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<UpstreamBody>, Unreachable> {
        if self.members.is_none() {
            return self.exchange(place, request).await;
        }
        let session = request.headers().get(SESSION_ID).map(|session| session.as_bytes());
        let place = self.seat(place, session).await?;
        let response = self.exchange(&place, request).await?;
        if let (Some(session), Some(address)) = (response.headers().get(SESSION_ID), place.address) {
            self.learn(session.as_bytes(), address);
        }
        Ok(response)
    }

    /// Sends a request to where the server says it is now, within its origin.
    async fn follow(
        &self,
        remote: &Remote,
        mut place: Arc<Place>,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<UpstreamBody>, Unreachable> {
        for _ in 0..=REDIRECTS_MAX {
            let response = self.exchange(&place, request.clone()).await?;
            let Some(location) = redirected(&response) else {
                if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                    remote.was_refused();
                }
                return Ok(response);
            };
            let next = location.to_str().ok().and_then(|location| place.at(location));
            place = Arc::new(next.ok_or(Unreachable::Elsewhere)?);
        }
        Err(Unreachable::Circle)
    }

    async fn exchange(
        &self,
        place: &Arc<Place>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<UpstreamBody>, Unreachable> {
        let whole = self.remote.as_ref().is_some_and(|remote| remote.is_forwarded());
        *request.uri_mut() = if whole { place.uri.clone() } else { place.target.clone() };
        request.headers_mut().insert(HOST, place.host.clone());
        while let Some(connection) = self.take(place).await {
            match connection.carry(request, &self.idle).await {
                Ok(response) => return Ok(response),
                // The server closed it meanwhile, and not a byte was sent.
                Err((_, Some(unsent))) => request = unsent,
                Err((error, None)) => return Err(Unreachable::Exchange(error)),
            }
        }
        let stream = connect(place, self.remote.as_deref()).await.map_err(Unreachable::Connect)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(Unreachable::Exchange)?;
        let connection = Box::new(Connection { place: Arc::clone(place), sender, driver: Some(driver) });
        connection.carry(request, &self.idle).await.map_err(|(error, _)| Unreachable::Exchange(error))
    }

    /// An idle connection that is still open.
    async fn take(&self, place: &Place) -> Option<Box<Connection>> {
        loop {
            let Resting { mut connection, since } = {
                let mut idle = self.idle.0.lock();
                let at = idle.iter().rposition(|resting| resting.connection.place.same_server(place))?;
                idle.remove(at)
            };
            if since.elapsed() >= self.keep() {
                continue;
            }
            std::future::poll_fn(|context| connection.drive(context)).await;
            if connection.is_ready() {
                return Some(Box::new(connection));
            }
        }
    }

    /// Closes connections that nobody has used for their time.
    pub(crate) fn reap(&self) {
        let keep = self.keep();
        self.idle.0.lock().retain(|resting| resting.since.elapsed() < keep);
    }

    fn keep(&self) -> Duration {
        if self.remote.is_some() { REMOTE_CONNECTION_KEEP } else { IDLE_CONNECTION_KEEP }
    }
}

// === impl Connection ===

impl Connection {
    /// Moves what can be moved now.
    fn drive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(context).is_ready()) {
            self.driver = None;
        }
        Poll::Ready(())
    }

    fn is_ready(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Takes one request to the server. With an error comes the request, if none of it was sent.
    async fn carry(
        mut self: Box<Self>,
        request: Request<Full<Bytes>>,
        home: &Arc<Idle>,
    ) -> Result<Response<UpstreamBody>, (hyper::Error, Option<Request<Full<Bytes>>>)> {
        let mut answered = std::pin::pin!(self.sender.try_send_request(request));
        let response = std::future::poll_fn(|context| {
            let _ = self.drive(context);
            answered.as_mut().poll(context)
        });
        let response = response.await.map_err(|mut error| {
            let unsent = error.take_message();
            (error.into_error(), unsent)
        })?;
        let (head, body) = response.into_parts();
        let mut body =
            UpstreamBody { body, connection: Some(self), home: Arc::clone(home), watch: None, answers: None };
        if body.body.is_end_stream() {
            std::future::poll_fn(|context| body.let_go(context)).await;
        }
        Ok(Response::from_parts(head, body))
    }
}

// === impl UpstreamBody ===

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.failed("cancelled");
        }
    }
}

impl UpstreamBody {
    /// Tells when it has come to its end.
    pub(super) fn watched(mut self, watch: Watch) -> Self {
        self.watch = watch.filter(|_| !self.body.is_end_stream());
        self
    }

    /// The answer to a request, which this revision of the server owes its client.
    pub(super) fn owed_by(mut self, route: &Arc<Published>) -> Self {
        self.answers = (!self.body.is_end_stream()).then(|| Arc::clone(route));
        self
    }

    /// The whole response has come: the connection can carry another request.
    fn let_go(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(mut connection) = self.connection.take() else { return Poll::Ready(()) };
        let _ = connection.drive(context);
        if connection.is_ready() {
            let mut idle = self.home.0.lock();
            if idle.len() < IDLE_CONNECTIONS_MAX {
                idle.push(Resting { connection: *connection, since: Instant::now() });
            }
        }
        Poll::Ready(())
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let mut polled = Pin::new(&mut this.body).poll_frame(context);
        if let (Poll::Pending, Some(connection)) = (&polled, &mut this.connection) {
            let _ = connection.drive(context);
            polled = Pin::new(&mut this.body).poll_frame(context);
        }
        let is_over = match &polled {
            Poll::Ready(Some(Ok(_))) => this.body.is_end_stream(),
            Poll::Ready(Some(Err(_)) | None) => true,
            Poll::Pending => false,
        };
        if is_over {
            if let (Some(mut watch), Poll::Ready(Some(Err(_)))) = (this.watch.take(), &polled) {
                watch.failed("broken");
            }
            this.answers = None;
            let _ = this.let_go(context);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Longer than anything here takes; a request that is told nothing waits for it.
    const TOLD_WITHIN: Duration = Duration::from_secs(5);

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

    fn request() -> Request<Full<Bytes>> {
        Request::post("/mcp").body(Full::new(Bytes::from_static(b"{}"))).unwrap()
    }

    /// A server that has answered one request over a connection, which is idle now.
    async fn answered_once() -> (Endpoint, Arc<Place>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = Arc::new(Place::parse(&format!("http://{}/mcp", listener.local_addr().unwrap())).unwrap());
        let endpoint = Endpoint::default();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            stream.write_all(ANSWER).await.unwrap();
            stream
        };
        let (answer, stream) = tokio::join!(endpoint.exchange(&place, request()), server);
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
        (endpoint, place, stream)
    }

    /// Ends the server's side, and waits until this side can know.
    async fn close(server: TcpStream) {
        drop(server);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    #[tokio::test]
    async fn a_request_whose_idle_connection_ends_as_it_is_taken_up_is_given_back() {
        let (endpoint, place, server) = answered_once().await;
        let connection = endpoint.take(&place).await.unwrap();
        close(server).await;
        let told = timeout(TOLD_WITHIN, connection.carry(request(), &endpoint.idle)).await.unwrap();
        assert!(matches!(told, Err((_, Some(_)))), "not a byte was sent");
    }

    #[tokio::test]
    async fn a_request_that_finds_its_idle_connection_ended_goes_over_a_new_one() {
        let (endpoint, place, server) = answered_once().await;
        close(server).await;
        let refused = timeout(TOLD_WITHIN, endpoint.exchange(&place, request())).await.unwrap();
        assert!(matches!(refused, Err(Unreachable::Connect(_))), "nobody listens any more");
    }

    #[tokio::test]
    async fn a_request_that_was_sent_and_gets_no_answer_is_an_error_and_not_sent_again() {
        let (endpoint, place, mut server) = answered_once().await;
        let connection = endpoint.take(&place).await.unwrap();
        let crash = async {
            let mut head = [0; 1024];
            assert!(server.read(&mut head).await.unwrap() > 0);
            drop(server);
        };
        let carried = timeout(TOLD_WITHIN, connection.carry(request(), &endpoint.idle));
        let (told, ()) = tokio::join!(carried, crash);
        assert!(matches!(told.unwrap(), Err((_, None))));
    }
}
