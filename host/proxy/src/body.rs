//! Bodies: reading one within its bounds, and what our responses are made of.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, Sleep};

use crate::deadline::within;
use crate::http::UpstreamBody;
use crate::limits::{BODY_STALL_MAX, REFUSED_BYTES_MAX, REFUSED_READ_MAX};
use crate::outbox::Reader;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the message is longer than {0} bytes")]
    TooLong(usize),
    #[error("too many messages are being received")]
    Crowded,
    #[error("the message did not arrive in time")]
    Stalled,
    #[error("the message broke off")]
    Broken(#[source] BodyError),
}

/// The unit in which room for bodies is given out.
pub(crate) const BODY_PERMIT_BYTES: usize = 4 * 1024;

/// Reads the whole body of a request. `room` bounds what all requests together may be reading.
pub(crate) async fn read(body: &mut Incoming, bytes_max: usize, room: &Semaphore) -> Result<Bytes, ReadError> {
    // A body that does not say how long it is counts as one of the largest.
    let expected = body.size_hint().upper().unwrap_or(bytes_max as u64).min(bytes_max as u64);
    let permits = u32::try_from(expected / BODY_PERMIT_BYTES as u64 + 1).unwrap_or(u32::MAX);
    let _room = room.try_acquire_many(permits).map_err(|_| ReadError::Crowded)?;
    collect(body, bytes_max, BODY_STALL_MAX).await
}

/// Reads a whole body with a bound for the time between two pieces. A body that arrives in one piece is not copied.
pub(crate) async fn collect<B>(body: &mut B, bytes_max: usize, stall_max: Duration) -> Result<Bytes, ReadError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    let announced = body.size_hint().lower();
    if announced > bytes_max as u64 {
        return Err(ReadError::TooLong(bytes_max));
    }
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    while let Some(frame) = within(stall_max, body.frame()).await.map_err(|_| ReadError::Stalled)? {
        let Ok(data) = frame.map_err(|error| ReadError::Broken(error.into()))?.into_data() else { continue };
        let so_far = rest.as_ref().map_or(first.len(), BytesMut::len);
        if so_far + data.len() > bytes_max {
            return Err(ReadError::TooLong(bytes_max));
        }
        match &mut rest {
            Some(rest) => rest.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => {
                let expected = usize::try_from(announced).unwrap_or(0).max(first.len() + data.len());
                let mut whole = BytesMut::with_capacity(expected);
                whole.extend_from_slice(&first);
                whole.extend_from_slice(&data);
                rest = Some(whole);
            }
        }
    }
    Ok(rest.map_or(first, BytesMut::freeze))
}

/// What breaks a response off.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Body of a response.
pub(crate) enum ReplyBody {
    /// All at once.
    Full(Option<Bytes>),
    /// A stream of events of ours.
    Events(Reader),
    /// A body of an HTTP server, passed through.
    Upstream(UpstreamBody),
    /// A stream of events of an HTTP server that middleware sees first.
    Pump(mpsc::Receiver<Result<Bytes, BodyError>>),
    /// A refusal, after which what the client is still sending is read and thrown away.
    Refusal(Box<Refusal>),
}

/// See [`ReplyBody::Refusal`].
pub(crate) struct Refusal {
    text: Option<Bytes>,
    rest: Incoming,
    left: usize,
    deadline: Pin<Box<Sleep>>,
}

impl ReplyBody {
    pub(crate) fn full(text: impl Into<Bytes>) -> Self {
        Self::Full(Some(text.into()).filter(|text| !text.is_empty()))
    }

    pub(crate) fn refusal(text: Bytes, rest: Incoming) -> Self {
        let deadline = Box::pin(tokio::time::sleep_until(Instant::now() + REFUSED_READ_MAX));
        Self::Refusal(Box::new(Refusal { text: Some(text), rest, left: REFUSED_BYTES_MAX, deadline }))
    }
}

impl Refusal {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(text) = self.text.take() {
            return Poll::Ready(Some(text));
        }
        while self.left > 0 && self.deadline.as_mut().poll(cx).is_pending() {
            match ready!(Pin::new(&mut self.rest).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let read = frame.data_ref().map_or(0, Bytes::len);
                    self.left = self.left.saturating_sub(read);
                }
                Some(Err(_)) | None => break,
            }
        }
        Poll::Ready(None)
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Full(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Events(reader) => reader.poll_frame(cx).map(|frame| frame.map(|frame| Ok(Frame::data(frame)))),
            Self::Upstream(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            Self::Pump(frames) => frames.poll_recv(cx).map(|frame| frame.map(|frame| frame.map(Frame::data))),
            Self::Refusal(refusal) => refusal.poll(cx).map(|frame| frame.map(|frame| Ok(Frame::data(frame)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(text) => text.is_none(),
            Self::Upstream(body) => body.is_end_stream(),
            _ => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Upstream(body) => body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

/// A response; making one cannot fail.
pub(crate) type Response = http::Response<ReplyBody>;

/// What the service gives to hyper.
pub(crate) type Served = Result<Response, Infallible>;
