//! A request body that tells when it has been handed to its connection.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

/// Told when the body has gone, or will never go.
pub(super) struct WasSent(oneshot::Receiver<()>);

impl WasSent {
    pub(super) async fn wait(self) {
        // Dropped without a word: the request failed before, and nothing is to be waited for.
        let _ = self.0.await;
    }
}

/// The other end.
pub(crate) struct Sent(oneshot::Sender<()>);

pub(super) fn flag() -> (Sent, WasSent) {
    let (sender, receiver) = oneshot::channel();
    (Sent(sender), WasSent(receiver))
}

/// The body.
pub(super) struct Flagged {
    data: Option<Bytes>,
    sent: Option<Sent>,
}

impl Flagged {
    pub(super) fn new(data: Bytes, sent: Option<Sent>) -> Self {
        Self { data: Some(data).filter(|data| !data.is_empty()), sent }
    }
}

impl Body for Flagged {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take();
        if let Some(Sent(sender)) = self.sent.take() {
            let _ = sender.send(());
        }
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, Bytes::len) as u64)
    }
}
