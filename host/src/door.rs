//! A door over TCP: whoever may reach the port may knock, so what one connection can hold is bounded.
//!
//! `axum::serve` bounds nothing: a client that sends a head one byte a minute, or never reads an answer, keeps its connection, and
//! enough of them keep everybody else out. The proxy has a listener of its own; the socket of the owner needs none of this.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use axum::{Extension, Router};
use fairlead_proxy::StallGuard;
use fairlead_proxy::limits::{ACCEPT_PAUSE, HEADER_READ_MAX};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{DOOR_CONNECTIONS_MAX, DRAIN_MAX};

/// Who is at the other end of a connection; beside each request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Answers until `stop`, then gives what is under way its time to finish.
///
/// # Errors
/// The system has no more room for connections of any kind.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(DOOR_CONNECTIONS_MAX));
    let (connections, graceful, cut) = (TaskTracker::new(), GracefulShutdown::new(), CancellationToken::new());
    let _cut_on_return = cut.clone().drop_guard();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
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
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_MAX);
        let service = TowerToHyperService::new(router.clone().layer(Extension(peer)));
        let life = graceful.watch(builder.serve_connection(TokioIo::new(StallGuard::new(stream)), service));
        let cut = cut.clone();
        connections.spawn(async move {
            tokio::select! {
                ended = life => if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                },
                () = cut.cancelled() => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections cut off after the time to drain");
    }
    Ok(())
}

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((stream, Peer(address.ip()), permit))
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use fairlead_proxy::limits::WRITE_STALL_MAX;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// More than lies between a daemon and a client that does not read.
    const MUCH: usize = 64 << 20;

    async fn open() -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let router = Router::new()
            .route("/", get(async || "here"))
            .route("/peer", get(async |Extension(Peer(peer)): Extension<Peer>| peer.to_string()))
            .route("/much", get(async || vec![b'x'; MUCH]))
            .route("/never", get(std::future::pending::<&str>));
        let serving = TaskTracker::new().spawn(serve(listener, router, stop.clone()));
        (address, stop, serving)
    }

    async fn asked(stream: &mut TcpStream, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_come_to_its_end_ends_the_connection() {
        let (address, stop, serving) = open().await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
        let mut rest = Vec::new();
        // An answer or a reset: what counts is that the place is free again.
        let ended = tokio::time::timeout(HEADER_READ_MAX * 2, slow.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "still open");
        stop.cancel();
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn whoever_is_beyond_the_bound_waits_for_a_place() {
        let (address, stop, serving) = open().await;
        let mut idle = Vec::new();
        for _ in 0..DOOR_CONNECTIONS_MAX {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let mut next = TcpStream::connect(address).await.unwrap();
        let mut answer = Box::pin(asked(&mut next, "/"));
        let waited = tokio::time::timeout(std::time::Duration::from_millis(100), &mut answer).await;
        assert!(waited.is_err(), "answered beyond the bound: {waited:?}");
        idle.pop();
        assert!(answer.await.ends_with("here"));
        stop.cancel();
        drop(idle);
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_request_comes_with_who_sent_it() {
        let (address, stop, serving) = open().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(asked(&mut stream, "/peer").await.ends_with("127.0.0.1"));
        stop.cancel();
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn whoever_never_reads_is_given_up() {
        let (address, _stop, _serving) = open().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /much HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        stream.readable().await.unwrap();
        tokio::time::pause();
        tokio::time::sleep(WRITE_STALL_MAX * 2).await;
        let mut read = Vec::new();
        // Its end or a reset.
        let _ = stream.read_to_end(&mut read).await;
        assert!(read.len() < MUCH, "it was waited for");
    }

    #[tokio::test]
    async fn stopping_waits_for_what_is_under_way_and_for_nobody_for_ever() {
        let (address, stop, serving) = open().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        // Whoever is answered after it came after it.
        assert!(asked(&mut TcpStream::connect(address).await.unwrap(), "/").await.ends_with("here"));
        tokio::time::pause();
        let start = tokio::time::Instant::now();
        stop.cancel();
        serving.await.unwrap().unwrap();
        assert!((DRAIN_MAX..DRAIN_MAX * 2).contains(&start.elapsed()), "{:?}", start.elapsed());
        let mut rest = Vec::new();
        let cut = tokio::time::timeout(DRAIN_MAX, stream.read_to_end(&mut rest)).await;
        assert!(cut.is_ok(), "the connection is still open");
    }
}
