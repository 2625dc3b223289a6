//! One process at the other end of a pipe: a task that writes, a task that reads, and the table between them.
//!
//! Reading and writing never wait for each other, so a server that answers one call before it reads the next cannot wedge
//! the pipe. With one session the reader waits for a slow client, because only that client's own messages stand behind; in
//! a shared process it never waits: what finds no room is dropped, except answers, which always have room.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fairlead_core::fault;
use fairlead_core::jsonrpc::{
    Envelope, INTERNAL_ERROR, IdKey, Kind, error_reply, is_batch, parse_batch, rejection_reply, result_reply,
};
use fairlead_core::middleware::Rejection;
use fairlead_core::workload::{StdioConnection, Stdout};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::framing::{Line, Lines};
use super::routing::Destination;
use super::table::{Enlisted, Inlet, NotEnlisted, SeatId, Sharing, Table, inlet};
use super::writer::{on_one_line, write};
use crate::deadline::within;
use crate::limits::{CANCEL_GRACE, OUTGOING_MESSAGES_MAX, PIPE_STALL_MAX};
use crate::outbox::Outbox;

/// What arrives for a request.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// The answer.
    Reply(Envelope),
    /// A message that belongs to it.
    Event(Envelope),
    /// The client has cancelled it.
    Cancelled,
    /// No answer will come.
    Lost(Arc<str>),
}

/// The pipe.
pub(crate) struct Pipe {
    outgoing: mpsc::Sender<Bytes>,
    table: Mutex<Table>,
    /// The standing stream of the one session, to know whether anybody listens; unset where a process is shared.
    listener: OnceLock<Arc<Outbox>>,
    closing: CancellationToken,
}

/// A request under way. Dropping it forgets the request.
pub(crate) struct Ticket {
    pipe: Arc<Pipe>,
    wire_id: IdKey,
    order: u64,
    pub(crate) inlet: Inlet,
    /// What to write.
    pub(crate) text: Bytes,
}

/// Held by the task that reads: whoever waits for an answer is told even when that task breaks off.
struct Ending(Arc<Pipe>);

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.0.has_ended() {
            self.0.end(&"the connection to the server broke off".into());
        }
    }
}

impl Ticket {
    /// Its id on the wire.
    pub(crate) fn wire_id(&self) -> &IdKey {
        &self.wire_id
    }

    /// Gives up on the request and tells the server, if that reads what it is told.
    pub(crate) async fn abandon(&self) {
        let id = text_of(&self.wire_id);
        let _ = within(CANCEL_GRACE, self.pipe.send(cancellation(&id))).await;
    }

    /// The same, where nobody can wait.
    pub(crate) fn abandon_soon(&self) {
        let _ = self.pipe.outgoing.try_send(cancellation(&text_of(&self.wire_id)));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Nobody reads here any more: the task that reads from the server must not wait for room.
        self.inlet.close();
        self.pipe.table.lock().remove(&self.wire_id, Some(self.order));
    }
}

impl Pipe {
    /// Takes over a connection.
    pub(crate) fn open(
        connection: StdioConnection,
        sharing: Sharing,
        line_bytes_max: usize,
        tracker: &TaskTracker,
    ) -> Arc<Self> {
        let StdioConnection { stdin, stdout, lease } = connection;
        let (outgoing, queue) = mpsc::channel(OUTGOING_MESSAGES_MAX);
        let closing = CancellationToken::new();
        let table = Mutex::new(Table::new(sharing));
        let pipe = Arc::new(Self { outgoing, table, listener: OnceLock::new(), closing: closing.clone() });
        tracker.spawn(write(stdin, queue, closing));
        let reading = Ending(Arc::clone(&pipe));
        tracker.spawn(async move {
            let reason = reading.0.read(Lines::new(stdout, line_bytes_max)).await;
            reading.0.end(&reason);
            drop(lease);
        });
        pipe
    }

    /// A place for a session, and what arrives for it outside any request.
    pub(crate) fn sit(&self) -> (SeatId, Inlet) {
        self.table.lock().sit()
    }

    /// Lets the pipe know who listens to what its one session is told unasked.
    pub(crate) fn listen(&self, standing: Arc<Outbox>) {
        let _ = self.listener.set(standing);
    }

    /// Takes note of a request, under the names that it has on the wire.
    pub(crate) fn enlist(self: &Arc<Self>, seat: SeatId, message: &Envelope) -> Result<Ticket, NotEnlisted> {
        let inlet = inlet();
        let Enlisted { wire_id, order, text } = self.table.lock().enlist(seat, message, &inlet)?;
        Ok(Ticket { pipe: Arc::clone(self), wire_id, order, inlet, text })
    }

    /// The same for a request of the modern era, which belongs to no session.
    pub(crate) fn enlist_request(self: &Arc<Self>, message: &Envelope) -> Result<Ticket, NotEnlisted> {
        let inlet = inlet();
        let Enlisted { wire_id, order, text } = self.table.lock().enlist_request(message, &inlet)?;
        Ok(Ticket { pipe: Arc::clone(self), wire_id, order, inlet, text })
    }

    /// Whether any request is under way.
    pub(crate) fn has_requests(&self) -> bool {
        !self.table.lock().pending.is_empty()
    }

    /// Writes one message. False when the server has ended, or reads no more.
    pub(crate) async fn send(&self, text: Bytes) -> bool {
        let sending = async {
            tokio::select! {
                sent = self.outgoing.send(on_one_line(text)) => sent.is_ok(),
                () = self.closing.cancelled() => false,
            }
        };
        within(PIPE_STALL_MAX, sending).await.unwrap_or(false)
    }

    /// A client cancels one of its requests: the message as the server must hear it, or none when it would not know what
    /// is meant.
    pub(crate) fn cancel(&self, seat: SeatId, message: &Envelope) -> Option<Bytes> {
        let client_id = message.cancelled().and_then(IdKey::of)?;
        let (wire_id, inlet) = {
            let table = self.table.lock();
            let wire_id = table.wire_id(seat, &client_id)?.clone();
            let inlet = table.pending.get(&wire_id).map(|pending| Arc::clone(&pending.inlet))?;
            (wire_id, inlet)
        };
        let _ = inlet.try_push(Inbound::Cancelled, 0);
        if wire_id == client_id {
            Some(message.raw().clone())
        } else {
            Some(message.rewrite().cancelled(&text_of(&wire_id)).finish())
        }
    }

    /// Whether a client may answer this: in a shared process, only what it was asked.
    pub(crate) fn take_answer(&self, seat: SeatId, message: &Envelope) -> bool {
        let Some(key) = message.id().and_then(IdKey::of) else { return false };
        let mut table = self.table.lock();
        if table.questions.get(&key).is_some_and(|question| question.seat == seat) {
            table.questions.remove(&key);
            return true;
        }
        !table.is_shared()
    }

    /// Tells the server that a question of it gets no answer.
    pub(crate) async fn refuse(&self, id: &[u8], why: &str) {
        let Ok(id) = std::str::from_utf8(id) else { return };
        if let Some(key) = IdKey::of(id) {
            self.table.lock().questions.remove(&key);
        }
        self.send(error_reply(Some(id), INTERNAL_ERROR, why, None)).await;
    }

    /// Answers a question of the server with a rejection.
    pub(crate) async fn reject(&self, id: &str, rejection: &Rejection) {
        if let Some(key) = IdKey::of(id) {
            self.table.lock().questions.remove(&key);
        }
        self.send(rejection_reply(Some(id), rejection)).await;
    }

    /// Notes or forgets a subscription in a shared process; false when the server must not hear of it.
    pub(crate) fn subscription(&self, seat: SeatId, uri: &str, wanted: bool) -> bool {
        self.table.lock().subscription(seat, uri, wanted)
    }

    /// A session leaves a shared process: its requests are cancelled, its questions refused. A server that reads nothing is not
    /// told: whoever leaves does not wait for it.
    pub(crate) async fn leave(&self, seat: SeatId) {
        let (left, questions) = self.table.lock().leave(seat);
        for (_, inlet) in &left {
            inlet.push_last(Inbound::Lost("the session has ended".into()));
        }
        let telling = async {
            for (wire_id, _) in left {
                self.send(cancellation(&text_of(&wire_id))).await;
            }
            for id in questions {
                self.refuse(&id, "the client has left").await;
            }
        };
        let _ = within(CANCEL_GRACE, telling).await;
    }

    /// Whether requests are under way for this session.
    pub(crate) fn is_busy(&self, seat: SeatId) -> bool {
        self.table.lock().seats.get(&seat).is_some_and(|seat| !seat.in_flight.is_empty())
    }

    /// Whether the server has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.table.lock().ended
    }

    /// Closes the pipe; the server ends.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// Reads until the server ends or the pipe is closed, and says which.
    async fn read(&self, mut lines: Lines<Stdout>) -> Arc<str> {
        loop {
            let line = tokio::select! {
                biased;
                () = self.closing.cancelled() => return "the session has ended".into(),
                line = lines.next() => line,
            };
            let text = match line {
                Ok(Some(Line::Text(text))) => text,
                Ok(Some(Line::TooLong(id))) => {
                    self.too_long(id.as_deref());
                    continue;
                }
                Ok(None) => return "the server has ended".into(),
                Err(error) => return format!("the pipe from the server broke: {error}").into(),
            };
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return "the session has ended".into(),
                () = self.take(text) => {}
            }
        }
    }

    fn too_long(&self, id: Option<&str>) {
        tracing::warn!("a message of the server is beyond the bound and was thrown away");
        let key = id.and_then(IdKey::of);
        if let Some(pending) = key.and_then(|key| self.table.lock().remove(&key, None)) {
            pending.inlet.push_last(Inbound::Lost("the answer of the server is too long".into()));
        }
    }

    async fn take(&self, text: Bytes) {
        fault::point("pipe-read");
        if is_batch(&text) {
            match parse_batch(&text) {
                Ok(messages) => {
                    for message in messages {
                        self.dispatch(message).await;
                    }
                }
                Err(error) => stray(&text, &error),
            }
            return;
        }
        match Envelope::parse(text.clone()) {
            Ok(message) => self.dispatch(message).await,
            Err(error) => stray(&text, &error),
        }
    }

    async fn dispatch(&self, message: Envelope) {
        if matches!(message.kind(), Kind::Response | Kind::Error) {
            let pending = message.id().and_then(IdKey::of).and_then(|id| self.table.lock().remove(&id, None));
            match pending {
                Some(pending) => pending.inlet.push_last(Inbound::Reply(message)),
                None => tracing::debug!("the server answered a request that is not under way"),
            }
            return;
        }
        let listens = |_| self.listener.get().is_some_and(|standing| standing.is_attached());
        let (destination, shared) = {
            let mut table = self.table.lock();
            (table.route(&message, listens), table.is_shared())
        };
        match destination {
            Destination::To(inlets) => self.deliver(&inlets, &message, shared).await,
            Destination::Nobody(why) => {
                tracing::debug!(method = message.method(), why, "message of the server dropped")
            }
            Destination::Refuse(why) => {
                let id = message.id_bytes().unwrap_or_default();
                self.answer_soon(error_reply(std::str::from_utf8(&id).ok(), INTERNAL_ERROR, why, None)).await;
            }
            Destination::Pong => self.answer_soon(result_reply(message.id().unwrap_or_default(), "{}")).await,
        }
    }

    async fn deliver(&self, inlets: &[Inlet], message: &Envelope, shared: bool) {
        let bytes = message.raw().len();
        for inlet in inlets {
            if !shared {
                inlet.push(Inbound::Event(message.clone()), bytes).await;
            } else if inlet.try_push(Inbound::Event(message.clone()), bytes).is_err() {
                tracing::debug!(method = message.method(), "a client is too slow for a message, which was dropped");
                if let Some(id) = message.id_bytes() {
                    let text = std::str::from_utf8(&id).ok();
                    self.answer_soon(error_reply(text, INTERNAL_ERROR, "the client does not read", None)).await;
                }
            }
        }
    }

    /// Answers the server from the task that reads from it. That task must not wait for the one that writes: a server that
    /// reads nothing until it has been read would wedge. What finds no room is dropped.
    async fn answer_soon(&self, text: Bytes) {
        if self.outgoing.try_send(text).is_err() {
            tracing::debug!("the server does not read; an answer to it was dropped");
        }
    }

    fn end(&self, reason: &Arc<str>) {
        self.closing.cancel();
        let inlets = self.table.lock().end();
        for inlet in inlets {
            inlet.push_last(Inbound::Lost(Arc::clone(reason)));
        }
    }
}

/// A line that is no message: programs print to stdout what belongs to stderr. What it says stays out of the log, for
/// nobody knows what is in it.
fn stray(text: &Bytes, error: &fairlead_core::jsonrpc::EnvelopeError) {
    tracing::warn!(bytes = text.len(), %error, "the server wrote a line that is no message");
}

/// The cancellation of the request with this id (JSON text).
fn cancellation(id: &str) -> Bytes {
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{id}}}}}").into()
}

/// JSON text of a key.
fn text_of(key: &IdKey) -> String {
    match key {
        IdKey::Integer(number) => number.to_string(),
        IdKey::Number(text) => text.to_string(),
        IdKey::Text(text) => fairlead_core::json::encode_string(text),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    fn message(text: &str) -> Envelope {
        Envelope::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_was_given_up_does_not_hold_up_what_comes_after_it() {
        let (stdin, _server_in) = duplex(1 << 16);
        let (stdout, mut server_out) = duplex(1 << 10);
        let tasks = TaskTracker::new();
        let connection = StdioConnection { stdin: Box::new(stdin), stdout: Box::new(stdout), lease: Box::new(()) };
        let pipe = Pipe::open(connection, Sharing::None, 1 << 20, &tasks);
        let (seat, _standing) = pipe.sit();
        let call =
            message(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":"t"}}}"#);
        let (given_up, waited_for) = (
            pipe.enlist(seat, &call).unwrap(),
            pipe.enlist(seat, &message(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#)).unwrap(),
        );
        // More than its lane and the pipe together hold, so that writing it all means that somebody has made way.
        let flood =
            "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":\"t\"}}\n"
                .repeat(1_000);
        let writing = async {
            server_out.write_all(flood.as_bytes()).await.unwrap();
            server_out.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n").await.unwrap();
        };
        let reading = async {
            // The paused clock moves on when nothing else does: everybody waits for room.
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(given_up);
            waited_for.inlet.recv().await
        };
        let ((), reply) = timeout(Duration::from_secs(20), async { tokio::join!(writing, reading) }).await.unwrap();
        assert!(matches!(reply, Some(Inbound::Reply(_))));
    }

    /// A pipe whose server reads nothing, with as much written to it as it holds.
    async fn wedged(sharing: Sharing, tasks: &TaskTracker) -> (Arc<Pipe>, SeatId, Ticket, [DuplexStream; 2]) {
        let (stdin, unread) = duplex(1);
        let (stdout, silent) = duplex(1);
        let connection = StdioConnection { stdin: Box::new(stdin), stdout: Box::new(stdout), lease: Box::new(()) };
        let pipe = Pipe::open(connection, sharing, 1 << 20, tasks);
        let (seat, _standing) = pipe.sit();
        let ticket = pipe.enlist(seat, &message(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)).unwrap();
        while timeout(Duration::from_secs(1), pipe.send(ticket.text.clone())).await.is_ok() {}
        (pipe, seat, ticket, [unread, silent])
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_reads_nothing_keeps_nobody_from_leaving() {
        let tasks = TaskTracker::new();
        let (pipe, seat, ticket, _server) = wedged(Sharing::Sessions, &tasks).await;
        let start = tokio::time::Instant::now();
        ticket.abandon().await;
        pipe.leave(seat).await;
        assert_eq!(start.elapsed(), 2 * CANCEL_GRACE);
        assert!(matches!(ticket.inlet.recv().await, Some(Inbound::Lost(_))), "and its call has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_never_read_is_given_up() {
        let tasks = TaskTracker::new();
        let (pipe, _, ticket, _server) = wedged(Sharing::None, &tasks).await;
        let start = tokio::time::Instant::now();
        assert!(!pipe.send(ticket.text.clone()).await);
        assert_eq!(start.elapsed(), PIPE_STALL_MAX);
    }
}
