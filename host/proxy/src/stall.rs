//! A connection whose client must read, and must end what it begins to say.
//!
//! Without this, a client that stops reading keeps its connection, and what is buffered behind it, for as long as its
//! kernel answers ours. No setting of TCP ends that: a closed window is acknowledged.
//!
//! And hyper has one clock for a connection that is idle and for the head of a request, which are as different as a client
//! that waits for its user and one that means harm.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::limits::{HEADER_READ_MAX, WRITE_STALL_MAX};

/// A stream that fails when a write makes no headway for too long.
pub struct StallGuard {
    stream: TcpStream,
    /// Set while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
    /// When heads of requests have a deadline of their own: the one that is coming.
    head: Option<Head>,
}

/// The head of a request, as far as it has come.
struct Head {
    turns: Turns,
    /// What was served when this was looked at last.
    seen: u64,
    /// When its first byte came.
    begun: Option<Instant>,
    /// Set while more of it is waited for.
    waiting: Option<Pin<Box<Sleep>>>,
}

/// How often a request has begun to be served over a connection, and ended: while that is odd, what comes is no head. Told by
/// whoever serves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Arc<AtomicU64>);

// === impl Turns ===

impl Turns {
    /// The head of a request has come to its end, or its answer begins. One task reads and serves.
    pub(crate) fn turn(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

// === impl Head ===

impl Head {
    /// After a read, which has brought something or waits: whether it takes too long.
    fn is_late(&mut self, cx: &mut Context<'_>, waits: bool) -> bool {
        let now = self.turns.0.load(Ordering::Relaxed);
        if now != self.seen {
            (self.seen, self.begun, self.waiting) = (now, None, None);
        }
        if now % 2 == 1 {
            return false;
        }
        match self.begun {
            None if !waits => self.begun = Some(Instant::now()),
            Some(begun) if waits => {
                let deadline = begun + HEADER_READ_MAX;
                let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                return waiting.as_mut().poll(cx).is_ready();
            }
            _ => {}
        }
        false
    }
}

// === impl StallGuard ===

impl StallGuard {
    /// Guards a connection that was accepted.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, waiting: None, head: None }
    }

    /// The same, and a request that has begun to come has [`HEADER_READ_MAX`] until it is served.
    pub(crate) fn with_heads(stream: TcpStream, turns: Turns) -> Self {
        Self { head: Some(Head { turns, seen: 0, begun: None, waiting: None }), ..Self::new(stream) }
    }

    fn guard<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.waiting = None;
            return poll;
        }
        let waiting =
            self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_STALL_MAX)));
        match waiting.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for StallGuard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let waits = poll.is_pending();
        match &mut self.head {
            Some(head) if waits || buffer.filled().len() > before => match head.is_late(cx, waits) {
                true => {
                    Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the head of a request takes too long")))
                }
                false => poll,
            },
            _ => poll,
        }
    }
}

impl AsyncWrite for StallGuard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.guard(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.guard(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        self.guard(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.guard(cx, poll)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    /// A connection that has brought the beginning of a head.
    async fn begun(turns: &Turns) -> (TcpStream, StallGuard) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut stream = StallGuard::with_heads(listener.accept().await.unwrap().0, turns.clone());
        client.write_all(b"POST /").await.unwrap();
        let mut head = [0; 16];
        assert_eq!(stream.read(&mut head).await.unwrap(), 6);
        (client, stream)
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_to_its_end_is_given_up() {
        let (_client, mut stream) = begun(&Turns::default()).await;
        tokio::time::pause();
        let began = Instant::now();
        let error = stream.read(&mut [0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() <= HEADER_READ_MAX + Duration::from_secs(1));
    }

    #[tokio::test]
    async fn who_says_nothing_or_is_served_has_more_time() {
        let turns = Turns::default();
        let (_client, mut stream) = begun(&turns).await;
        turns.turn();
        tokio::time::pause();
        assert!(timeout(HEADER_READ_MAX * 3, stream.read(&mut [0; 16])).await.is_err(), "it is served");
        turns.turn();
        assert!(timeout(HEADER_READ_MAX * 3, stream.read(&mut [0; 16])).await.is_err(), "it says nothing");
    }

    #[tokio::test]
    async fn what_was_served_between_two_reads_is_no_head_that_is_late() {
        let turns = Turns::default();
        let (_client, mut stream) = begun(&turns).await;
        turns.turn();
        turns.turn();
        tokio::time::pause();
        assert!(timeout(HEADER_READ_MAX * 3, stream.read(&mut [0; 16])).await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_never_reads_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut stream = StallGuard::new(listener.accept().await.unwrap().0);
        tokio::time::pause();
        let block = vec![0_u8; 1 << 20];
        let error = loop {
            if let Err(error) = stream.write_all(&block).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
