//! For a client application that only speaks stdio: its lines become requests to an endpoint, and what comes back becomes
//! lines again.
//!
//! The order that a client writes in is kept as far as HTTP lets it: the next line is taken when a notification has been
//! accepted, or when a request has been handed to its connection, so that a cancellation does not overtake what it
//! cancels. A client of the newest era has no session: each of its requests takes its own way. A daemon that was restarted has forgotten the session: the bridge then initialises again with what the client
//! said at the beginning, and the client never knows.

pub(crate) mod carrier;
mod describing;
pub(crate) mod exchange;
pub(crate) mod sent;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fairlead_core::jsonrpc::{Envelope, Kind, error_reply};
use http::Uri;
use tokio::io::{self, AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{BRIDGE_DRAIN_MAX, BRIDGE_LISTEN_AGAIN, LINE_BYTES_MAX, OUTGOING_MESSAGES_MAX};
use crate::stdio::framing::{Line, Lines};
use carrier::{Carrier, OverHttp};
use describing::describes_itself;
use exchange::{Exchange, Heard};

/// Why the bridge came down.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// The endpoint is no URL.
    #[error("`{0}` is no URL of an endpoint")]
    Address(String),
    /// Reading from the client failed.
    #[error("read from the client application")]
    Read(#[source] io::Error),
}

/// Serves one client application until its input ends or `stop` is cancelled; then waits a little for the answers that are
/// still to come, and ends the session.
///
/// # Errors
/// The endpoint is no URL, or the client cannot be read.
pub async fn bridge_stdio(
    url: &str,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Send + Unpin + 'static,
    stop: CancellationToken,
) -> Result<(), BridgeError> {
    let uri: Uri = url.parse().map_err(|_| BridgeError::Address(url.to_owned()))?;
    let tracker = TaskTracker::new();
    let (lines, written) = mpsc::channel(OUTGOING_MESSAGES_MAX);
    let writer = tracker.spawn(write(written, output));
    let exchange = Arc::new(Exchange::new(OverHttp::new(uri, &tracker), lines.clone()));
    let work = TaskTracker::new();
    let read = tokio::select! {
        // The stream of the server is not among the work that is waited for at the end: it has none.
        read = read(Lines::new(input, LINE_BYTES_MAX), &exchange, &lines, &work, &tracker, &stop) => read,
        () = stop.cancelled() => Ok(()),
    };
    work.close();
    let _ = timeout(BRIDGE_DRAIN_MAX, work.wait()).await;
    stop.cancel();
    exchange.say_goodbye().await;
    drop((exchange, lines));
    let _ = timeout(Duration::from_secs(1), writer).await;
    read
}

async fn read<R: AsyncRead + Unpin>(
    mut lines: Lines<R>,
    exchange: &Arc<Exchange<OverHttp>>,
    output: &mpsc::Sender<Bytes>,
    work: &TaskTracker,
    listeners: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), BridgeError> {
    let refuse = |id: Option<String>, code, message: String| error_reply(id.as_deref(), code, &message, None);
    while let Some(line) = lines.next().await.map_err(BridgeError::Read)? {
        let text = match line {
            Line::Text(text) => text,
            Line::TooLong(id) => {
                let reply = refuse(id, -32600, format!("the message is longer than {LINE_BYTES_MAX} bytes"));
                let _ = output.send(reply).await;
                continue;
            }
        };
        match Envelope::parse(text) {
            Ok(message) => forward(message, exchange, work, listeners, stop).await,
            Err(error) => {
                let reply = refuse(error.id.clone(), error.code(), error.to_string());
                let _ = output.send(reply).await;
            }
        }
    }
    Ok(())
}

/// Sends one message on. Returns when the next one may follow.
async fn forward(
    message: Envelope,
    exchange: &Arc<Exchange<OverHttp>>,
    work: &TaskTracker,
    listeners: &TaskTracker,
    stop: &CancellationToken,
) {
    if message.kind() == Kind::Request && message.method() == "initialize" {
        // Nothing can follow before the session is known.
        if exchange.initialize(message, None).await {
            let (exchange, stop) = (exchange.clone(), stop.clone());
            listeners.spawn(async move {
                tokio::select! {
                    () = listen(&exchange) => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        return;
    }
    if message.kind() != Kind::Request {
        let is_cancelled = message.method() == "notifications/cancelled" && exchange.cancel(&message);
        if !is_cancelled {
            exchange.tell(message, None).await;
        }
        return;
    }
    let (sent, was_sent) = sent::flag();
    let exchange = exchange.clone();
    if describes_itself(&message) {
        let over = exchange.begin(&message);
        // A subscription is not waited for at the end: it has none.
        let tracker = if message.method() == "subscriptions/listen" { listeners } else { work };
        let (stop, asking) = (stop.clone(), exchange.ask_describing(message, over, sent));
        tracker.spawn(async move { stop.run_until_cancelled(asking).await });
    } else {
        work.spawn(async move { exchange.ask(message, None, Some(sent)).await });
    }
    was_sent.wait().await;
}

/// Keeps the stream open on which a server speaks without being asked.
pub(crate) async fn listen<C: Carrier>(exchange: &Exchange<C>) {
    while exchange.listen().await == Heard::Ended {
        sleep(BRIDGE_LISTEN_AGAIN).await;
    }
}

async fn write(mut lines: mpsc::Receiver<Bytes>, mut output: impl AsyncWrite + Unpin) {
    let mut line = BytesMut::new();
    while let Some(message) = lines.recv().await {
        line.clear();
        // A line break can stand only between the tokens of a JSON text, where a space means the same.
        line.extend(message.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
        line.extend_from_slice(b"\n");
        if output.write_all(&line).await.is_err() || output.flush().await.is_err() {
            return;
        }
    }
}
