//! One stream of events to a client, which may be cut and taken up again.
//!
//! The stream belongs to the session and not to the connection: a client that comes back with `Last-Event-ID` gets what it
//! missed, of this stream and no other. While a client reads, its pace is the sender's pace, up to a stall that cuts it
//! off. While none does, events are kept as far as the bounds allow and the sender never waits.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, timeout};

use crate::limits::{
    KEEP_ALIVE, REPLAY_BYTES_MAX, REPLAY_EVENTS_MAX, STREAM_BYTES_MAX, STREAM_EVENTS_MAX, STREAM_RETRY,
    STREAM_STALL_MAX,
};
use crate::sse;

/// A stream with a number that is unique in its session.
pub(crate) struct Outbox {
    number: u64,
    state: Mutex<State>,
    room: Notify,
}

struct Entry {
    sequence: u64,
    frame: Bytes,
    /// JSON text of the id when it is a question of the server.
    question: Option<Bytes>,
    since: Instant,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Entry>,
    bytes: usize,
    next: u64,
    /// The first event that has not been handed to a client.
    unread: u64,
    ended: bool,
    /// Counts readers; the newest one reads.
    reader: u64,
    attached: bool,
    waker: Option<Waker>,
}

impl State {
    fn unread_entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev().take_while(|entry| entry.sequence >= self.unread)
    }

    /// Whether the reader is so far behind that its sender should wait.
    fn is_full(&self, bytes: usize) -> bool {
        if !self.attached || self.ended {
            return false;
        }
        let (count, sum) =
            self.unread_entries().fold((0, 0), |(count, sum), entry| (count + 1, sum + entry.frame.len()));
        count > 0 && (count >= STREAM_EVENTS_MAX || sum + bytes > STREAM_BYTES_MAX)
    }

    /// Drops the oldest events beyond the bounds, but never the newest one and never what an attached reader has yet to
    /// read; gives back the questions that nobody will ever see.
    fn trim(&mut self) -> Vec<Bytes> {
        let mut lost = Vec::new();
        while self.entries.len() > 1 && (self.entries.len() > REPLAY_EVENTS_MAX || self.bytes > REPLAY_BYTES_MAX) {
            let unread = self.unread;
            if self.attached && self.entries.front().is_some_and(|entry| entry.sequence >= unread) {
                break;
            }
            let Some(entry) = self.entries.pop_front() else { break };
            self.bytes -= entry.frame.len();
            if entry.sequence >= unread {
                lost.extend(entry.question);
            }
        }
        lost
    }

    fn keep(&mut self, number: u64, question: Option<Bytes>, frame: impl FnOnce(&str) -> Bytes) {
        let sequence = self.next;
        self.next += 1;
        let frame = frame(&format!("{number}-{sequence}"));
        self.bytes += frame.len();
        self.entries.push_back(Entry { sequence, frame, question, since: Instant::now() });
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Why a stream cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttachError {
    /// Another client reads it.
    Busy,
    /// The event is not one of this stream.
    UnknownEvent,
}

impl Outbox {
    pub(crate) fn new(number: u64) -> Arc<Self> {
        Arc::new(Self { number, state: Mutex::new(State::default()), room: Notify::new() })
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Sends one message. Waits while the client that reads is too far behind; one that stays there is cut off.
    ///
    /// `question` is the id when the message is a question of the server. Ids of questions that were dropped unseen are
    /// given back, so that the server can be told.
    pub(crate) async fn push(&self, message: &[u8], question: Option<Bytes>) -> Vec<Bytes> {
        loop {
            let room = self.room.notified();
            if !self.state.lock().is_full(message.len()) {
                break;
            }
            if timeout(STREAM_STALL_MAX, room).await.is_err() {
                let mut state = self.state.lock();
                state.attached = false;
                state.reader += 1;
                state.wake();
            }
        }
        let mut state = self.state.lock();
        if state.ended {
            return question.into_iter().collect();
        }
        state.keep(self.number, question, |id| sse::frame(Some(id), message));
        let lost = state.trim();
        state.wake();
        lost
    }

    /// Begins a stream with an event that has an id and no message, so that a client whose connection breaks before the
    /// first message can come back as well.
    pub(crate) fn prime(&self) {
        let mut state = self.state.lock();
        state.keep(self.number, None, |id| sse::priming_frame(id, STREAM_RETRY));
        state.wake();
    }

    /// Bytes that are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// No more messages come.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        state.wake();
        drop(state);
        self.room.notify_waiters();
    }

    /// Whether a client reads now.
    pub(crate) fn is_attached(&self) -> bool {
        self.state.lock().attached
    }

    /// Takes out the questions that no client fetched in time.
    pub(crate) fn expired_questions(&self, before: Instant) -> Vec<Bytes> {
        let mut state = self.state.lock();
        if state.attached {
            return Vec::new();
        }
        let unread = state.unread;
        let (mut expired, mut freed) = (Vec::new(), 0);
        state.entries.retain(|entry| {
            let gone = entry.sequence >= unread && entry.question.is_some() && entry.since < before;
            if gone {
                expired.extend(entry.question.clone());
                freed += entry.frame.len();
            }
            !gone
        });
        state.bytes -= freed;
        expired
    }

    /// Begins to read: what nobody has read yet or, with the sequence number of the last event seen, what came after it.
    /// Only a client that has seen an event takes the place of another reader: it is the same client.
    pub(crate) fn attach(self: &Arc<Self>, last_seen: Option<u64>) -> Result<Reader, AttachError> {
        let mut state = self.state.lock();
        if let Some(last) = last_seen {
            if last >= state.next {
                return Err(AttachError::UnknownEvent);
            }
            state.unread = last + 1;
        } else if state.attached {
            return Err(AttachError::Busy);
        }
        state.attached = true;
        state.reader += 1;
        state.wake();
        let generation = state.reader;
        drop(state);
        self.room.notify_waiters();
        Ok(Reader { outbox: Arc::clone(self), generation, keep_alive: Box::pin(tokio::time::sleep(KEEP_ALIVE)) })
    }
}

/// The reading end, as the body of an HTTP response polls it.
pub(crate) struct Reader {
    outbox: Arc<Outbox>,
    generation: u64,
    keep_alive: Pin<Box<Sleep>>,
}

impl Reader {
    /// The next frame; `None` when the stream has ended or another reader has taken it over.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.outbox.state.lock();
        if state.reader != self.generation {
            return Poll::Ready(None);
        }
        let unread = state.unread;
        let first = state.entries.partition_point(|entry| entry.sequence < unread);
        let next = state.entries.get(first).map(|entry| (entry.sequence, entry.frame.clone()));
        if let Some((sequence, frame)) = next {
            state.unread = sequence + 1;
            drop(state);
            self.outbox.room.notify_waiters();
            self.keep_alive.as_mut().reset(Instant::now() + KEEP_ALIVE);
            return Poll::Ready(Some(frame));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        drop(state);
        if self.keep_alive.as_mut().poll(cx).is_ready() {
            self.keep_alive.as_mut().reset(Instant::now() + KEEP_ALIVE);
            // Polled once more, so that the timer knows whom to wake.
            let _ = self.keep_alive.as_mut().poll(cx);
            return Poll::Ready(Some(Bytes::from_static(sse::KEEP_ALIVE_FRAME)));
        }
        Poll::Pending
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.outbox.state.lock();
        if state.reader == self.generation {
            state.attached = false;
            state.waker = None;
        }
        drop(state);
        self.outbox.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn next(reader: &mut Reader) -> Option<String> {
        let frame = poll_fn(|cx| reader.poll_frame(cx)).await?;
        Some(String::from_utf8(frame.to_vec()).unwrap())
    }

    fn event(id: &str, data: &str) -> Option<String> {
        Some(format!("id: {id}\nevent: message\ndata: {data}\n\n"))
    }

    #[tokio::test]
    async fn a_client_that_comes_back_gets_what_it_missed() {
        let outbox = Outbox::new(3);
        for message in ["a", "b", "c"] {
            outbox.push(message.as_bytes(), None).await;
        }
        outbox.end();
        let mut reader = outbox.attach(None).unwrap();
        assert_eq!(next(&mut reader).await, event("3-0", "a"));
        assert_eq!(next(&mut reader).await, event("3-1", "b"));
        let mut again = outbox.attach(Some(0)).unwrap();
        assert_eq!(next(&mut reader).await, None, "taken over");
        assert_eq!(next(&mut again).await, event("3-1", "b"));
        assert_eq!(next(&mut again).await, event("3-2", "c"));
        assert_eq!(next(&mut again).await, None);
        assert_eq!(outbox.attach(Some(3)).err(), Some(AttachError::UnknownEvent));
    }

    #[tokio::test]
    async fn one_client_reads_at_a_time() {
        let outbox = Outbox::new(0);
        let reader = outbox.attach(None).unwrap();
        assert_eq!(outbox.attach(None).err(), Some(AttachError::Busy));
        drop(reader);
        assert!(outbox.attach(None).is_ok());
    }

    #[tokio::test]
    async fn without_a_reader_the_newest_events_stay_and_lost_questions_are_told() {
        let outbox = Outbox::new(0);
        assert!(outbox.push(b"q", Some(Bytes::from("7"))).await.is_empty());
        let mut lost = Vec::new();
        for _ in 0..REPLAY_EVENTS_MAX {
            lost.extend(outbox.push(b"x", None).await);
        }
        assert_eq!(lost, ["7"]);
        assert_eq!(outbox.state.lock().entries.len(), REPLAY_EVENTS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_reads_is_cut_off() {
        let outbox = Outbox::new(0);
        let mut reader = outbox.attach(None).unwrap();
        for _ in 0..STREAM_EVENTS_MAX {
            outbox.push(b"x", None).await;
        }
        let start = Instant::now();
        outbox.push(b"x", None).await;
        assert_eq!(start.elapsed(), STREAM_STALL_MAX);
        assert_eq!(next(&mut reader).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_a_slow_client_is_let_go_when_the_stream_ends() {
        let outbox = Outbox::new(0);
        let _reader = outbox.attach(None).unwrap();
        for _ in 0..STREAM_EVENTS_MAX {
            outbox.push(b"x", None).await;
        }
        let start = Instant::now();
        let (lost, ()) = tokio::join!(outbox.push(b"q", Some(Bytes::from("7"))), async { outbox.end() });
        assert_eq!((lost, start.elapsed().as_secs()), (vec![Bytes::from("7")], 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_shows_that_it_lives() {
        let outbox = Outbox::new(0);
        let mut reader = outbox.attach(None).unwrap();
        let start = Instant::now();
        for count in 1..=2 {
            assert_eq!(next(&mut reader).await.as_deref(), Some(": keep-alive\n\n"));
            assert!(start.elapsed() >= KEEP_ALIVE * count);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_nobody_fetches_expires_once() {
        let outbox = Outbox::new(0);
        outbox.push(b"q", Some(Bytes::from("7"))).await;
        assert!(outbox.expired_questions(Instant::now()).is_empty());
        tokio::time::advance(STREAM_STALL_MAX).await;
        assert_eq!(outbox.expired_questions(Instant::now()), ["7"]);
        assert!(outbox.expired_questions(Instant::now()).is_empty());
        let mut reader = outbox.attach(None).unwrap();
        outbox.push(b"x", None).await;
        assert_eq!(next(&mut reader).await, event("0-1", "x"));
    }
}
