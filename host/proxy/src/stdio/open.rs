//! Opening sessions: a process of their own, or a place at a shared one.

use std::sync::Arc;

use fairlead_core::jsonrpc::{Envelope, Kind};
use fairlead_core::server::Isolation;
use fairlead_core::workload::Unavailable;
use tokio::time::timeout;

use super::pipe::{Inbound, Pipe};
use super::shared::{Pool, SharedProcess};
use super::table::{Inlet, Sharing};
use crate::Proxy;
use crate::chain::{EventDecision, Exchange, Provenance};
use crate::limits::OPEN_MAX;
use crate::route::Published;
use crate::session::{Session, new_session_id};
use crate::translate::{legacy_face, needs_face};

/// How a route gets at its processes.
#[derive(Default)]
pub(crate) struct ServerAccess {
    pool: Pool,
}

/// Opens a connection to the server.
pub(crate) async fn connect(route: &Published, sharing: Sharing, proxy: &Proxy) -> Result<Arc<Pipe>, Unavailable> {
    let connection = timeout(OPEN_MAX, route.upstream.open_stdio())
        .await
        .unwrap_or_else(|_| Err(Unavailable::Failed("the server did not start in time".to_owned())))?;
    Ok(Pipe::open(connection, sharing, proxy.config.line_bytes_max, &proxy.tasks))
}

/// Makes room for a session and opens it. `initialize` says which processes it can share.
pub(super) async fn open(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    isolation: Isolation,
    initialize: &Envelope,
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
        let face = legacy_face(proxy, route);
        let pipe = Pipe::open(face, Sharing::None, proxy.config.line_bytes_max, &proxy.tasks);
        return admit(proxy, route, pipe, None);
    }
    let (pipe, shared) = match isolation {
        Isolation::Session => (connect(route, Sharing::None, proxy).await?, None),
        Isolation::Shared => {
            let open = async || connect(route, Sharing::Sessions, proxy).await;
            let process = route.access.pool.get(initialize, open).await?;
            (Arc::clone(&process.pipe), Some(process))
        }
    };
    admit(proxy, route, pipe, shared)
}

fn admit(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    pipe: Arc<Pipe>,
    shared: Option<Arc<SharedProcess>>,
) -> Result<Arc<Session>, Unavailable> {
    let (seat, inlet) = pipe.sit();
    let is_shared = shared.is_some();
    let session = new_session_id().and_then(|id| Session::new(id, Arc::clone(&pipe), seat, shared));
    let session = session.ok_or_else(|| Unavailable::Failed("no random numbers".to_owned()))?;
    let session = Arc::new(session);
    if !is_shared {
        pipe.listen(Arc::clone(&session.standing));
    }
    if !route.sessions.insert(&session) {
        return Err(Unavailable::Stopped);
    }
    proxy.tasks.spawn(watch(Arc::clone(route), Arc::clone(&session), inlet));
    Ok(session)
}

/// Forwards what the server says unasked, until the server or the session ends; then the session is gone.
async fn watch(route: Arc<Published>, session: Arc<Session>, inlet: Inlet) {
    while let Some(inbound) = inlet.recv().await {
        if let Inbound::Event(message) = inbound {
            forward(&route, &session, &message).await;
        }
    }
    route.sessions.remove(&session.id);
    session.close().await;
}

async fn forward(route: &Published, session: &Session, message: &Envelope) {
    let provenance = Provenance {
        session: Some(Arc::clone(&session.key)),
        protocol_version: session.version.get().cloned(),
        ..Provenance::default()
    };
    let mut exchange = Exchange::ambient(route.chain(), &route.key, "", provenance);
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
