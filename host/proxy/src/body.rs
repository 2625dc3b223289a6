//! Bodies: reading one within its bounds, and what our responses are made of.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::{Instant, Sleep};

use crate::deadline::within;
use crate::http::UpstreamBody;
use crate::limits::{BODY_READ_MAX, BODY_STALL_MAX, REFUSED_BYTES_MAX, REFUSED_READ_MAX};
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

/// Reads the whole body of a request. `room` bounds what all requests together may be reading: by what has come of each, for
/// what is only announced costs whoever announces it nothing.
pub(crate) async fn read<B>(body: &mut B, bytes_max: usize, room: &Semaphore) -> Result<Bytes, ReadError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    let mut held: Option<SemaphorePermit<'_>> = None;
    let admit = |bytes: usize| {
        let had = held.as_ref().map_or(0, SemaphorePermit::num_permits);
        let more = (bytes / BODY_PERMIT_BYTES + 1).saturating_sub(had);
        if more == 0 {
            return Ok(());
        }
        let more = room.try_acquire_many(u32::try_from(more).unwrap_or(u32::MAX)).map_err(|_| ReadError::Crowded)?;
        match &mut held {
            Some(held) => held.merge(more),
            None => held = Some(more),
        }
        Ok(())
    };
    let whole = gather(body, bytes_max, BODY_STALL_MAX, admit);
    within(BODY_READ_MAX, whole).await.unwrap_or(Err(ReadError::Stalled))
}

/// Reads a whole body with a bound for the time between two pieces. A body that arrives in one piece is not copied.
pub(crate) async fn collect<B>(body: &mut B, bytes_max: usize, stall_max: Duration) -> Result<Bytes, ReadError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    gather(body, bytes_max, stall_max, |_| Ok(())).await
}

/// The same; `admit` is asked with each piece whether so much may be held.
async fn gather<B>(
    body: &mut B,
    bytes_max: usize,
    stall_max: Duration,
    mut admit: impl FnMut(usize) -> Result<(), ReadError>,
) -> Result<Bytes, ReadError>
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
        admit(so_far + data.len())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A body that has not said all yet.
    fn body() -> (mpsc::Sender<Result<Bytes, BodyError>>, ReplyBody) {
        let (pieces, receiver) = mpsc::channel(8);
        (pieces, ReplyBody::Pump(receiver))
    }

    fn piece(bytes: usize) -> Result<Bytes, BodyError> {
        Ok(Bytes::from(vec![b'x'; bytes]))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_holds_room_for_what_has_come_and_gives_it_back() {
        let room = Semaphore::new(4);
        let (pieces, mut waiting) = body();
        let reading = async {
            let read = read(&mut waiting, 1 << 20, &room).await;
            (read.map(|text| text.len()), room.available_permits())
        };
        let others = async {
            tokio::task::yield_now().await;
            assert_eq!(room.available_permits(), 4, "who sends nothing holds nothing");
            pieces.send(piece(BODY_PERMIT_BYTES)).await.unwrap();
            tokio::task::yield_now().await;
            assert_eq!(room.available_permits(), 2);
            let (second, mut crowded) = body();
            second.send(piece(3 * BODY_PERMIT_BYTES)).await.unwrap();
            assert!(matches!(read(&mut crowded, 1 << 20, &room).await, Err(ReadError::Crowded)));
            drop(pieces);
        };
        let ((read, left), ()) = tokio::join!(reading, others);
        assert_eq!(read.unwrap(), BODY_PERMIT_BYTES);
        assert_eq!(left, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_byte_by_byte_has_an_end() {
        let room = Semaphore::new(4);
        let (pieces, mut waiting) = body();
        let start = Instant::now();
        let dripping = async {
            while pieces.send(piece(1)).await.is_ok() {
                tokio::time::sleep(BODY_STALL_MAX / 2).await;
            }
        };
        tokio::select! {
            read = read(&mut waiting, 1 << 20, &room) => assert!(matches!(read, Err(ReadError::Stalled))),
            () = dripping => panic!("it is read for ever"),
        }
        assert_eq!(start.elapsed(), BODY_READ_MAX);
    }
}
