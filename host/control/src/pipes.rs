//! The pipes of a stdio workload as the data plane holds them: bytes pass unseen, three facts are noted.
//!
//! Whether it ever wrote (it came up), and which side ended the connection first (a process that ends after its stdin was
//! closed is well; the same status without that is a crash), can only be seen here: by the time the exit of a process is
//! known, the data plane has seen the end of its output and let go of everything. And stdin has to be closed from this side
//! as well, for a server that is being stopped while sessions hold it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use fairlead_core::workload::{Stdin, Stdout};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Nobody has ended the connection.
const OPEN: u8 = 0;
/// We did: stdin was closed, or the workload was asked to end.
const CLOSED: u8 = 1;
/// The workload did: its output ended, its input broke, or it was seen to have ended.
const ENDED: u8 = 2;

/// What is noted of one workload.
pub(crate) struct Traffic {
    first_to_end: AtomicU8,
    spoke: AtomicBool,
    /// It is asked something that it may not survive.
    excused: AtomicBool,
    /// How many workloads of the server have spoken and not ended: it serves them.
    served: Arc<AtomicUsize>,
    /// This is one of them.
    counted: AtomicBool,
    /// How many workloads of the server ended by themselves, and their end was not counted yet.
    ending: watch::Sender<usize>,
    /// Its end was counted, or never will be.
    settled: AtomicBool,
    /// All of its output was read, or nobody reads it any more.
    output_over: CancellationToken,
    stdin: Mutex<Input>,
}

#[derive(Default)]
struct Input {
    pipe: Option<Stdin>,
    /// Who waits for room in the pipe, and has to hear when it is taken away.
    waiting: Option<Waker>,
}

impl Traffic {
    pub(crate) fn new(stdin: Stdin, served: Arc<AtomicUsize>, ending: watch::Sender<usize>) -> Arc<Self> {
        Arc::new(Self {
            first_to_end: AtomicU8::new(OPEN),
            spoke: AtomicBool::new(false),
            excused: AtomicBool::new(false),
            served,
            counted: AtomicBool::new(false),
            ending,
            settled: AtomicBool::new(false),
            output_over: CancellationToken::new(),
            stdin: Mutex::new(Input { pipe: Some(stdin), waiting: None }),
        })
    }

    /// We want it to end: closes its stdin.
    pub(crate) fn close(&self) {
        self.note_end(CLOSED);
        let input = std::mem::take(&mut *self.stdin.lock());
        if let Some(waiting) = input.waiting {
            waiting.wake();
        }
    }

    /// The workload was seen to end.
    pub(crate) fn ended(&self) {
        self.note_end(ENDED);
    }

    /// Whether it ended before we wanted it to.
    pub(crate) fn ended_by_itself(&self) -> bool {
        self.first_to_end.load(Ordering::Acquire) == ENDED
    }

    /// Its end counts as nothing until it has said a word.
    pub(crate) fn excuse(&self) {
        self.excused.store(true, Ordering::Release);
    }

    /// Whether its end counts as nothing.
    pub(crate) fn is_excused(&self) -> bool {
        self.excused.load(Ordering::Acquire) && !self.has_spoken()
    }

    pub(crate) fn has_spoken(&self) -> bool {
        self.spoke.load(Ordering::Acquire)
    }

    /// Ready when no more of its output will be seen.
    pub(crate) async fn output_over(&self) {
        self.output_over.cancelled().await;
    }

    /// It is not served any more. Says whether others are.
    pub(crate) fn leave(&self) -> bool {
        let counted = self.counted.swap(false, Ordering::AcqRel);
        let before =
            if counted { self.served.fetch_sub(1, Ordering::AcqRel) } else { self.served.load(Ordering::Acquire) };
        before > usize::from(counted)
    }

    /// Its end was counted.
    pub(crate) fn settle(&self) {
        if self.ended_by_itself() && !self.settled.swap(true, Ordering::AcqRel) {
            self.ending.send_modify(|ending| *ending -= 1);
        }
    }

    /// Only the first one counts.
    fn note_end(&self, side: u8) {
        let first = self.first_to_end.compare_exchange(OPEN, side, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if first && side == ENDED {
            self.ending.send_modify(|ending| *ending += 1);
        }
    }

    fn speak(&self) {
        if !self.spoke.load(Ordering::Relaxed) && !self.spoke.swap(true, Ordering::AcqRel) {
            self.served.fetch_add(1, Ordering::AcqRel);
            self.counted.store(true, Ordering::Release);
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.leave();
        self.settle();
    }
}

/// Standard input.
pub(crate) struct WatchedStdin(pub(crate) Arc<Traffic>);

impl WatchedStdin {
    fn write(
        &self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Stdin>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let mut input = self.0.stdin.lock();
        let Some(pipe) = &mut input.pipe else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let written = write(Pin::new(pipe), context);
        match &written {
            Poll::Pending => input.waiting = Some(context.waker().clone()),
            Poll::Ready(Err(_)) => self.0.ended(),
            Poll::Ready(Ok(_)) => {}
        }
        written
    }
}

impl AsyncWrite for WatchedStdin {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(context, |pipe, context| pipe.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |pipe, context| pipe.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.stdin.lock().pipe.as_ref().is_some_and(|pipe| pipe.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, |pipe, context| pipe.poll_flush(context).map_ok(|()| 0)).map_ok(|_| ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for WatchedStdin {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Standard output.
pub(crate) struct WatchedStdout {
    pub(crate) pipe: Stdout,
    pub(crate) traffic: Arc<Traffic>,
}

impl WatchedStdout {
    fn over(&self) {
        self.traffic.ended();
        self.traffic.output_over.cancel();
    }
}

impl Drop for WatchedStdout {
    fn drop(&mut self) {
        self.traffic.output_over.cancel();
    }
}

impl AsyncRead for WatchedStdout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.pipe).poll_read(context, buffer);
        match &read {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => self.traffic.speak(),
            Poll::Ready(Ok(())) if buffer.remaining() > 0 => self.over(),
            Poll::Ready(Err(_)) => self.over(),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    struct Ends {
        stdin: WatchedStdin,
        stdout: WatchedStdout,
        traffic: Arc<Traffic>,
        served: Arc<AtomicUsize>,
        /// The workload's side of both pipes.
        reads: tokio::io::DuplexStream,
        writes: tokio::io::DuplexStream,
    }

    fn ends() -> Ends {
        let (stdin, reads) = duplex(4);
        let (stdout, writes) = duplex(64);
        let served = Arc::new(AtomicUsize::new(0));
        let traffic = Traffic::new(Box::new(stdin), Arc::clone(&served), watch::channel(0).0);
        let stdout = WatchedStdout { pipe: Box::new(stdout), traffic: Arc::clone(&traffic) };
        Ends { stdin: WatchedStdin(Arc::clone(&traffic)), stdout, traffic, served, reads, writes }
    }

    #[tokio::test]
    async fn the_first_side_to_end_is_the_one_that_ended_it() {
        let mut ends = ends();
        drop((ends.writes, ends.reads));
        assert_eq!(ends.stdout.read(&mut [0; 8]).await.unwrap(), 0);
        drop(ends.stdin);
        assert!(ends.traffic.ended_by_itself());

        let mut ends = self::ends();
        drop(ends.stdin);
        drop((ends.writes, ends.reads));
        assert_eq!(ends.stdout.read(&mut [0; 8]).await.unwrap(), 0);
        assert!(!ends.traffic.ended_by_itself());
    }

    #[tokio::test]
    async fn shutting_stdin_down_closes_it() {
        let mut ends = ends();
        ends.stdin.write_all(b"bye").await.unwrap();
        ends.stdin.shutdown().await.unwrap();
        let mut read = String::new();
        ends.reads.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "bye");
        assert!(ends.stdin.write_all(b"more").await.is_err());
        assert!(!ends.traffic.ended_by_itself());
    }

    #[tokio::test]
    async fn closing_stdin_from_this_side_frees_a_writer_that_waits() {
        let mut ends = ends();
        let write = ends.stdin.write_all(b"more than the pipe holds");
        tokio::pin!(write);
        assert!(futures_util::poll!(&mut write).is_pending());
        let waiting = async { write.await.unwrap_err().kind() };
        let close = async { ends.traffic.close() };
        assert_eq!(tokio::join!(waiting, close).0, io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_workload_is_served_from_its_first_byte_to_its_end() {
        let mut ends = ends();
        let now = |ends: &Ends| ends.served.load(Ordering::Acquire);
        assert_eq!((now(&ends), ends.traffic.has_spoken()), (0, false));
        for _ in 0..2 {
            ends.writes.write_all(b"{}").await.unwrap();
            ends.stdout.read_exact(&mut [0; 2]).await.unwrap();
            assert_eq!((now(&ends), ends.traffic.has_spoken()), (1, true));
        }
        let served = Arc::clone(&ends.served);
        drop(ends);
        assert_eq!(served.load(Ordering::Acquire), 0);
    }
}
