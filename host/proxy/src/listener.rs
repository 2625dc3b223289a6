//! The life of a listener: accept, serve, and on stop drain from the outside in.
//!
//! Order of stopping: no new connections and no new sessions; requests under way finish, within their time; then sessions
//! end, which closes their processes; what is left is cut off.

use std::io;
use std::sync::Arc;

use fairlead_core::fault;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Proxy;
use crate::limits::{ACCEPT_PAUSE, CLIENT_CONNECTION_KEEP, CONNECTIONS_MAX, SESSIONS_END_MAX, SWEEP_INTERVAL};
use crate::service::{Connection, handle};
use crate::settled::settled;
use crate::stall::{StallGuard, Turns};

pub(crate) async fn serve(proxy: Arc<Proxy>, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
    let loopback = listener.local_addr()?.ip().is_loopback();
    let connections = TaskTracker::new();
    let (drain, cut) = (CancellationToken::new(), CancellationToken::new());
    let _cut_on_return = cut.clone().drop_guard();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let sweeper = sweep(&proxy);
    tokio::pin!(sweeper);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = &mut sweeper => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        fault::point("accept");
        let connection = Connection { peer: peer.ip(), loopback };
        let life = converse(Arc::clone(&proxy), stream, connection, drain.clone(), cut.clone());
        connections.spawn(async move {
            life.await;
            drop(permit);
        });
    }
    drop(listener);
    proxy.draining.cancel();
    drain.cancel();
    let revisions = proxy.routes.all().into_iter().flat_map(|route| route.revisions());
    for session in revisions.flat_map(|revision| revision.sessions.all()) {
        // A standing stream never finishes by itself.
        session.standing.end();
    }
    connections.close();
    if timeout(proxy.config.drain_max, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections cut off after the time to drain");
    }
    for route in proxy.routes.all() {
        proxy.end_sessions(&route);
    }
    cut.cancel();
    connections.wait().await;
    proxy.tasks.close();
    if timeout(SESSIONS_END_MAX, proxy.tasks.wait()).await.is_err() {
        tracing::warn!(tasks = proxy.tasks.len(), "sessions were left behind");
    }
    proxy.tasks.reopen();
    Ok(())
}

type Accepted = (TcpStream, std::net::SocketAddr, OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<Accepted> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

/// One connection, from its first request to its last.
async fn converse(
    proxy: Arc<Proxy>,
    stream: TcpStream,
    connection: Connection,
    drain: CancellationToken,
    cut: CancellationToken,
) {
    // Small replies at once; failing costs only latency.
    let _ = stream.set_nodelay(true);
    let released = Arc::clone(&proxy.released);
    let turns = Turns::default();
    let stream = StallGuard::with_heads(stream, turns.clone());
    let service = service_fn(move |request| {
        fault::point("connection");
        turns.turn();
        let (answer, turns) = (handle(Arc::clone(&proxy), connection, request), turns.clone());
        async move {
            let answer = answer.await;
            turns.turn();
            answer
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(CLIENT_CONNECTION_KEEP);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let life = async {
        tokio::select! {
            served = serving.as_mut() => served,
            () = drain.cancelled() => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    served = serving.as_mut() => served,
                    () = cut.cancelled() => Ok(()),
                }
            }
        }
    };
    let served = settled(life).await;
    if let Err(error) = served {
        tracing::debug!(%error, peer = %connection.peer, "connection ended");
    }
    released.notify_one();
}

/// Ends idle sessions and answers questions that nobody fetched. Never returns.
async fn sweep(proxy: &Arc<Proxy>) {
    let mut ticks = interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for route in proxy.routes.all().into_iter().flat_map(|route| route.revisions()) {
            route.endpoint.reap();
            for session in route.sessions.expire(proxy.config.session_idle_max) {
                tracing::debug!(server = %route.key, "idle session ended");
                proxy.tasks.spawn(async move { session.close().await });
            }
            for session in route.sessions.all() {
                proxy.tasks.spawn(async move { session.refuse_unfetched().await });
            }
            route.modern.expire(proxy.config.session_idle_max);
            route.elder.expire();
            route.access.expire(proxy.config.spare_keep);
        }
    }
}
