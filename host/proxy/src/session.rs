//! Sessions of stdio servers. Their ids are random and long, and each belongs to one route: an id of one server opens
//! nothing at another.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fairlead_core::json::{decode_string, find};
use fairlead_core::middleware::Identity;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::chain::Provenance;
use crate::limits::{QUESTION_WAIT_MAX, REPLAY_SESSION_BYTES_MAX, REPLAY_STREAMS_MAX, SESSION_EVICT_IDLE_MIN};
use crate::outbox::Outbox;
use crate::stdio::{Pipe, SeatId, SharedProcess};
use crate::translate::Injected;

/// The first revision whose streams begin with an event that has no message.
const PRIMING_REVISION: &str = "2025-11-25";

/// One session.
pub(crate) struct Session {
    pub(crate) id: Arc<str>,
    /// What middleware sees instead of the id.
    pub(crate) key: Arc<str>,
    /// The revision that was negotiated.
    pub(crate) version: OnceLock<Arc<str>>,
    pub(crate) pipe: Arc<Pipe>,
    pub(crate) seat: SeatId,
    pub(crate) shared: Option<Arc<SharedProcess>>,
    /// Who opened it, when that was established.
    pub(crate) owner: Option<Identity>,
    /// Where headers for the server go that middleware sets, when the server is one that speaks the newest era over HTTP.
    pub(crate) injected: OnceLock<Arc<Injected>>,
    /// Middleware was told that it is open, and not yet that it is over.
    announced: AtomicBool,
    /// What the server says unasked.
    pub(crate) standing: Arc<Outbox>,
    /// Streams of requests, newest last, for a client that comes back.
    streams: Mutex<VecDeque<Arc<Outbox>>>,
    streams_opened: AtomicU64,
    last_used: Mutex<Instant>,
}

impl Session {
    pub(crate) fn new(
        id: Arc<str>,
        pipe: Arc<Pipe>,
        seat: SeatId,
        shared: Option<Arc<SharedProcess>>,
        owner: Option<Identity>,
    ) -> Option<Self> {
        Some(Self {
            id,
            key: random_hex::<8>()?.into(),
            version: OnceLock::new(),
            pipe,
            seat,
            shared,
            owner,
            injected: OnceLock::new(),
            announced: AtomicBool::new(false),
            standing: Outbox::new(0),
            streams: Mutex::new(VecDeque::new()),
            streams_opened: AtomicU64::new(1),
            last_used: Mutex::new(Instant::now()),
        })
    }

    /// Where its messages come from, as far as the session says it.
    pub(crate) fn provenance(&self) -> Provenance {
        Provenance {
            session: Some(Arc::clone(&self.key)),
            protocol_version: self.version.get().cloned(),
            ..Provenance::default()
        }
    }

    /// Middleware knows that it is open.
    pub(crate) fn announce(&self) {
        self.announced.store(true, Ordering::Release);
    }

    /// Whether middleware has yet to be told that it is over; true once.
    pub(crate) fn is_announced(&self) -> bool {
        self.announced.swap(false, Ordering::AcqRel)
    }

    /// A new stream for the answers to one request or batch.
    pub(crate) fn open_stream(&self) -> Arc<Outbox> {
        let stream = Outbox::new(self.streams_opened.fetch_add(1, Ordering::Relaxed));
        if self.primes_streams() {
            stream.prime();
        }
        let mut streams = self.streams.lock();
        // One that a client still reads lives on with its reader; it can only not be taken up again.
        if streams.len() >= REPLAY_STREAMS_MAX {
            streams.pop_front();
        }
        while streams.iter().map(|stream| stream.bytes()).sum::<usize>() > REPLAY_SESSION_BYTES_MAX {
            streams.pop_front();
        }
        streams.push_back(Arc::clone(&stream));
        stream
    }

    /// Whether streams begin with an event that has no message. Clients of earlier revisions may take it for a broken one.
    pub(crate) fn primes_streams(&self) -> bool {
        self.version.get().is_some_and(|version| **version >= *PRIMING_REVISION)
    }

    /// The stream that an event id names, and the sequence number of the event.
    pub(crate) fn stream_of(&self, event_id: &str) -> Option<(Arc<Outbox>, u64)> {
        let (number, sequence) = event_id.split_once('-')?;
        let (number, sequence) = (number.parse::<u64>().ok()?, sequence.parse().ok()?);
        if number == 0 {
            return Some((Arc::clone(&self.standing), sequence));
        }
        let streams = self.streams.lock();
        streams.iter().find(|stream| stream.number() == number).map(|stream| (Arc::clone(stream), sequence))
    }

    pub(crate) fn touch(&self) {
        *self.last_used.lock() = Instant::now();
    }

    /// For how long nobody has used it.
    pub(crate) fn idle(&self) -> Duration {
        if self.pipe.is_busy(self.seat) || self.standing.is_attached() {
            return Duration::ZERO;
        }
        self.last_used.lock().elapsed()
    }

    /// Ends it. The process ends with it, unless others share it.
    pub(crate) async fn close(&self) {
        self.standing.end();
        if self.shared.is_some() {
            self.pipe.leave(self.seat).await;
        } else {
            self.pipe.close();
        }
    }

    /// Tells the server that questions which no client fetched in time get no answer.
    pub(crate) async fn refuse_unfetched(&self) {
        let Some(before) = Instant::now().checked_sub(QUESTION_WAIT_MAX) else { return };
        for id in self.standing.expired_questions(before) {
            self.pipe.refuse(&id, "no client has fetched the question in time").await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.shared.is_none() {
            self.pipe.close();
        }
    }
}

/// The sessions of one route.
#[derive(Default)]
pub(crate) struct Sessions {
    by_id: Mutex<HashMap<Arc<str>, Arc<Session>>>,
    /// Those that are being opened: they count, so that many at once do not pass the limit together.
    opening: AtomicUsize,
    /// Nothing is let in any more.
    closed: Mutex<bool>,
}

impl Sessions {
    /// The session with this id, which is being used now.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Session>> {
        let session = self.by_id.lock().get(id).cloned().filter(|session| !session.pipe.has_ended())?;
        session.touch();
        Some(session)
    }

    /// A place for a session that is being opened, if there is one.
    pub(crate) fn reserve(&self, sessions_max: usize) -> Option<Reservation<'_>> {
        let opening = self.opening.fetch_add(1, Ordering::AcqRel);
        let reservation = Reservation(&self.opening);
        (self.len() + opening < sessions_max).then_some(reservation)
    }

    /// Lets one in. False when the route has been withdrawn meanwhile.
    pub(crate) fn insert(&self, session: &Arc<Session>) -> bool {
        let closed = self.closed.lock();
        if !*closed {
            self.by_id.lock().insert(Arc::clone(&session.id), Arc::clone(session));
        }
        !*closed
    }

    pub(crate) fn remove(&self, id: &str) -> Option<Arc<Session>> {
        self.by_id.lock().remove(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.lock().len()
    }

    /// Takes out the one that was idle the longest, if that was long enough, to make room.
    pub(crate) fn evict(&self) -> Option<Arc<Session>> {
        let mut by_id = self.by_id.lock();
        let (id, idle) =
            by_id.values().map(|session| (Arc::clone(&session.id), session.idle())).max_by_key(|(_, idle)| *idle)?;
        if idle < SESSION_EVICT_IDLE_MIN { None } else { by_id.remove(&id) }
    }

    /// Takes out those that nobody has used for so long.
    pub(crate) fn expire(&self, idle_max: Duration) -> Vec<Arc<Session>> {
        let mut by_id = self.by_id.lock();
        by_id.extract_if(|_, session| session.idle() >= idle_max).map(|(_, session)| session).collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.by_id.lock().values().cloned().collect()
    }

    /// Takes out all of them, for good.
    pub(crate) fn close(&self) -> Vec<Arc<Session>> {
        *self.closed.lock() = true;
        self.by_id.lock().drain().map(|(_, session)| session).collect()
    }
}

/// See [`Sessions::reserve`].
pub(crate) struct Reservation<'a>(&'a AtomicUsize);

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// So many random bytes in hexadecimal; `None` when the system gives none.
pub(crate) fn random_hex<const N: usize>() -> Option<String> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes).ok()?;
    Some(hex(&bytes))
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |number: u8| char::from(if number < 10 { b'0' + number } else { b'a' - 10 + number });
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The id of a new session: 192 random bits.
pub(crate) fn new_session_id() -> Option<Arc<str>> {
    random_hex::<24>().map(Into::into)
}

/// The revision that `initialize`, or the answer to it, names.
pub(crate) fn protocol_version(payload: &[u8]) -> Option<Arc<str>> {
    let payload = std::str::from_utf8(payload).ok()?;
    let version = find(payload, "/protocolVersion").ok()??;
    decode_string(version).map(|version| version.as_ref().into())
}

#[cfg(test)]
mod tests {
    use fairlead_core::workload::StdioConnection;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::stdio::Sharing;

    #[tokio::test]
    async fn streams_that_are_kept_for_their_client_have_a_bound_together() {
        let (stdin, stdout) = (Box::new(tokio::io::sink()), Box::new(tokio::io::empty()));
        let connection = StdioConnection { stdin, stdout, lease: Box::new(()) };
        let pipe = Pipe::open(connection, Sharing::None, 1 << 20, &TaskTracker::new());
        let (seat, _standing) = pipe.sit();
        let session = Session::new("s".into(), pipe, seat, None, None).unwrap();
        let large = vec![b'x'; REPLAY_SESSION_BYTES_MAX / 2];
        for _ in 0..REPLAY_STREAMS_MAX {
            session.open_stream().push(&large, None).await;
        }
        let kept: usize = session.streams.lock().iter().map(|stream| stream.bytes()).sum();
        assert!(kept < REPLAY_SESSION_BYTES_MAX * 2, "{kept}");
        assert!(session.stream_of(&format!("{REPLAY_STREAMS_MAX}-0")).is_some(), "the newest is there");
    }
}
