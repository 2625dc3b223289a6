//! Opening sessions: a process of their own, or a place at a shared one.

use std::sync::{Arc, Weak};

use fairlead_core::fault;
use fairlead_core::jsonrpc::{Envelope, Kind};
use fairlead_core::middleware::{Identity, moment};
use fairlead_core::server::Isolation;
use fairlead_core::workload::{StdioConnection, Unavailable};
use http::HeaderMap;
use tokio::sync::Notify;
use tokio::time::{Duration, timeout};

use super::pipe::{Inbound, Pipe};
use super::shared::{Pool, SharedProcess};
use super::spare::{self, Spare};
use super::table::{Inlet, Sharing};
use crate::Proxy;
use crate::chain::{EventDecision, Exchange};
use crate::legacy::upstream;
use crate::limits::OPEN_MAX;
use crate::moments::{self, BY_HOST};
use crate::route::{Published, Wire};
use crate::session::{Session, Sessions, new_session_id};
use crate::translate::{Injected, legacy_face, needs_face};

/// How a route gets at its processes.
#[derive(Default)]
pub(crate) struct ServerAccess {
    pool: Pool,
    spare: Spare,
}

impl ServerAccess {
    pub(super) fn spare(&self) -> &Spare {
        &self.spare
    }

    /// Ends a process that nobody has taken in its time.
    pub(crate) fn expire(&self, keep: Duration) {
        self.spare.expire(keep);
    }

    /// Ends the processes that no session has.
    pub(crate) fn close(&self) {
        self.spare.close();
        self.pool.close();
    }
}

/// Opens a connection for sessions. `added` are headers for a server that is reached over HTTP.
async fn connect_session(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    sharing: Sharing,
    added: HeaderMap,
) -> Result<Arc<Pipe>, Unavailable> {
    match (route.wire(), sharing) {
        (Wire::Sse { .. }, _) => connect_sse(proxy, route, sharing, added).await,
        (_, Sharing::None) => {
            let pipe = match route.access.spare.take() {
                Some(ready) => ready,
                None => match connect(route, sharing, proxy).await {
                    // What is being started for nobody yet holds the last place.
                    Err(full @ Unavailable::SessionLimit(_)) => {
                        route.access.spare.take_when_started().await.ok_or(full)?
                    }
                    connected => connected?,
                },
            };
            spare::prepare(proxy, route);
            Ok(pipe)
        }
        _ => connect(route, sharing, proxy).await,
    }
}

/// Opens a stream of an HTTP+SSE server: such a server has nothing but sessions.
pub(crate) async fn connect_sse(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    sharing: Sharing,
    added: HeaderMap,
) -> Result<Arc<Pipe>, Unavailable> {
    let connection = upstream::open(proxy, route, added).await?;
    Ok(Pipe::open(connection, sharing, proxy.config.line_bytes_max, &proxy.tasks))
}

/// Opens a connection to the server.
pub(crate) async fn connect(route: &Published, sharing: Sharing, proxy: &Proxy) -> Result<Arc<Pipe>, Unavailable> {
    let connection = in_time(route.upstream.open_stdio()).await?;
    Ok(Pipe::open(connection, sharing, proxy.config.line_bytes_max, &proxy.tasks))
}

/// Opens a connection to the server, to ask it which era it speaks: some end when the first thing they hear is not
/// `initialize`.
pub(crate) async fn connect_to_ask(route: &Published, proxy: &Proxy) -> Result<Arc<Pipe>, Unavailable> {
    let connection = in_time(route.upstream.open_stdio_to_ask()).await?;
    Ok(Pipe::open(connection, Sharing::Requests, proxy.config.line_bytes_max, &proxy.tasks))
}

async fn in_time(
    opening: impl Future<Output = Result<StdioConnection, Unavailable>>,
) -> Result<StdioConnection, Unavailable> {
    timeout(OPEN_MAX, opening)
        .await
        .unwrap_or_else(|_| Err(Unavailable::Failed("the server did not start in time".to_owned())))
}

/// Makes room for a session and opens it. `initialize` says which processes it can share.
pub(super) async fn open(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    isolation: Isolation,
    initialize: &Envelope,
    exchange: &Exchange,
) -> Result<Arc<Session>, Unavailable> {
    let sessions_max = proxy.config.sessions_max;
    let mut reservation = route.sessions.reserve(sessions_max);
    if reservation.is_none()
        && let Some(idle) = route.sessions.evict()
    {
        idle.close().await;
        reservation = route.sessions.reserve(sessions_max);
    }
    let Some(_reservation) = reservation else { return Err(Unavailable::SessionLimit(sessions_max)) };
    if needs_face(proxy, route).await {
        let injected = Injected::new(exchange.upstream_headers());
        let face = legacy_face(proxy, route, Arc::clone(&injected));
        let pipe = Pipe::open(face, Sharing::None, proxy.config.line_bytes_max, &proxy.tasks);
        let session = admit(proxy, route, pipe, None, exchange.identity().cloned())?;
        let _ = session.injected.set(injected);
        return Ok(session);
    }
    let (pipe, shared) = match isolation {
        Isolation::Session => (connect_session(proxy, route, Sharing::None, exchange.upstream_headers()).await?, None),
        Isolation::Shared => {
            // The headers of whoever comes first would speak for all.
            let open = async || connect_session(proxy, route, Sharing::Sessions, HeaderMap::new()).await;
            let process = route.access.pool.get(initialize, route.upstream.is_sole(), open).await?;
            (Arc::clone(&process.pipe), Some(process))
        }
    };
    admit(proxy, route, pipe, shared, exchange.identity().cloned())
}

fn admit(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    pipe: Arc<Pipe>,
    shared: Option<Arc<SharedProcess>>,
    owner: Option<Identity>,
) -> Result<Arc<Session>, Unavailable> {
    let (seat, inlet) = pipe.sit();
    let is_shared = shared.is_some();
    let session = new_session_id().and_then(|id| Session::new(id, Arc::clone(&pipe), seat, shared, owner));
    let session = session.ok_or_else(|| Unavailable::Failed("no random numbers".to_owned()))?;
    let session = Arc::new(session);
    if !is_shared {
        pipe.listen(Arc::clone(&session.standing));
    }
    if !route.sessions.insert(&session) {
        return Err(Unavailable::Stopped);
    }
    let watched = Watched {
        route: Arc::downgrade(route),
        sessions: Arc::clone(&route.sessions),
        session: Arc::clone(&session),
        released: Arc::clone(&proxy.released),
    };
    proxy.tasks.spawn(watch(watched, inlet));
    Ok(session)
}

/// Forwards what the server says unasked, until the server or the session ends; then the session is gone. Every idle session
/// has such a task, so what is rarely done has its memory only while it is done.
async fn watch(watched: Watched, inlet: Inlet) {
    let Watched { route, sessions, session, .. } = &watched;
    while let Some(inbound) = inlet.recv().await {
        if let (Inbound::Event(message), Some(route)) = (inbound, route.upgrade()) {
            fault::point("watch");
            Box::pin(forward(&route, session, &message)).await;
        }
    }
    sessions.remove(&session.id);
    Box::pin(bid_farewell(route, session)).await;
}

async fn bid_farewell(route: &Weak<Published>, session: &Session) {
    session.close().await;
    if session.is_announced()
        && let Some(route) = route.upgrade()
    {
        let known = session.owner.as_ref();
        // It is over already: whatever is said changes nothing.
        let _ = moments::ask(&route, moment::SESSION_CLOSE, BY_HOST, known, || session.provenance()).await;
    }
}

/// A session and its route, for the task that watches it. A session that nobody watches would fill up and stand still, so
/// when that task breaks off it is over.
struct Watched {
    /// Weak: a session that nobody uses does not make its revision of the server one that is waited for.
    route: Weak<Published>,
    sessions: Arc<Sessions>,
    session: Arc<Session>,
    released: Arc<Notify>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.sessions.remove(&self.session.id).is_some() {
            self.session.standing.end();
            if self.session.shared.is_none() {
                self.session.pipe.close();
            }
        }
        self.released.notify_one();
    }
}

async fn forward(route: &Published, session: &Session, message: &Envelope) {
    let exchange = Exchange::ambient(route.chain(), &route.key, "", session.provenance());
    let mut exchange = exchange.of(session.owner.as_ref());
    let (text, question) = match exchange.event(message).await {
        EventDecision::Pass => (message.raw().clone(), message.id_bytes()),
        EventDecision::Change(params) => {
            let params = std::str::from_utf8(&params).unwrap_or_default();
            (message.rewrite().params(params).finish(), message.id_bytes())
        }
        EventDecision::Drop(rejection) => {
            refuse(session, message, &rejection).await;
            return;
        }
    };
    let question = question.filter(|_| message.kind() == Kind::Request);
    for lost in session.standing.push(&text, question).await {
        session.pipe.refuse(&lost, "the client does not fetch its messages").await;
    }
}

/// A middleware lets a message of the server not through: a question gets the rejection as its answer.
pub(super) async fn refuse(session: &Session, message: &Envelope, rejection: &fairlead_core::middleware::Rejection) {
    if let Some(id) = message.id() {
        session.pipe.reject(id, rejection).await;
    }
}
