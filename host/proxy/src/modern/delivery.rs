//! How what a modern request yields gets to its client: JSON when the answer is the first thing to come, else a stream of
//! events without ids, for nothing can be taken up again. When the connection goes, whoever writes here is told.

use bytes::Bytes;
use http::StatusCode;
use tokio::sync::{mpsc, oneshot};

use crate::body::{BodyError, ReplyBody, Response};
use crate::limits::MODERN_EVENTS_MAX;
use crate::{reply, sse};

type Frames = mpsc::Sender<Result<Bytes, BodyError>>;

/// See the module.
pub(crate) enum Delivery {
    /// Nothing has been sent.
    First(oneshot::Sender<Response>),
    /// A stream is open.
    Stream(Frames),
    /// All has been sent, or there is nobody any more.
    Done,
}

impl Delivery {
    pub(crate) fn new() -> (Self, oneshot::Receiver<Response>) {
        let (first, response) = oneshot::channel();
        (Self::First(first), response)
    }

    /// Ready when the client has gone.
    pub(crate) async fn gone(&mut self) {
        match self {
            Self::First(first) => first.closed().await,
            Self::Stream(frames) => frames.closed().await,
            Self::Done => std::future::pending().await,
        }
    }

    /// A message before the answer. Waits for a client that is slow to read. False when it has gone.
    pub(crate) async fn event(&mut self, text: &[u8]) -> bool {
        if let Self::First(_) = self {
            self.open();
        }
        self.frame(sse::frame(None, text)).await
    }

    /// Shows on a silent stream that it lives.
    pub(crate) async fn keep_alive(&mut self) -> bool {
        match self {
            Self::Stream(_) => self.frame(Bytes::from_static(b": keep-alive\n\n")).await,
            _ => true,
        }
    }

    fn open(&mut self) {
        let (frames, receiver) = mpsc::channel(MODERN_EVENTS_MAX);
        let mut response = Response::new(ReplyBody::Pump(receiver));
        reply::stream_headers(&mut response);
        if let Self::First(first) = std::mem::replace(self, Self::Stream(frames)) {
            // A client that has gone is noticed at the next frame.
            let _ = first.send(response);
        }
    }

    async fn frame(&mut self, frame: Bytes) -> bool {
        match self {
            Self::Stream(frames) => frames.send(Ok(frame)).await.is_ok(),
            _ => false,
        }
    }

    /// The answer. On a stream its status can no longer be told.
    pub(crate) async fn finish(mut self, status: StatusCode, text: Bytes, wait_ms: Option<u64>) {
        match std::mem::replace(&mut self, Self::Done) {
            Self::First(first) => {
                let mut response = reply::json(status, text);
                reply::retry_after(&mut response, wait_ms);
                let _ = first.send(response);
            }
            Self::Stream(frames) => drop(frames.send(Ok(sse::frame(None, &text))).await),
            Self::Done => {}
        }
    }
}
