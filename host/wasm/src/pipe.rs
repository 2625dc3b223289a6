//! A bounded pipe between a guest and the host: no task, no thread, nothing lost at the end.
//!
//! The adapters of wasmtime-wasi push bytes through a background task that dies with the store, so the last words of a
//! component that exits can be lost. Here the bytes belong to the pipe: the reader gets all of them, whenever the writer
//! ended, and a writer waits when the reader is slow.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// Makes a pipe that holds at most `capacity` bytes.
pub(crate) fn pipe(capacity: usize) -> (Writer, Reader) {
    let shared = Arc::new(Mutex::new(Pipe { buffer: BytesMut::new(), capacity, ..Pipe::default() }));
    let writer = Arc::new(WriterEnd(Arc::clone(&shared)));
    let reader = Arc::new(ReaderEnd(shared));
    (Writer(writer), Reader(reader))
}

/// The end that is written. Clones are the same end: it closes with the last of them.
#[derive(Clone)]
pub(crate) struct Writer(Arc<WriterEnd>);

/// The end that is read. Clones are the same end.
#[derive(Clone)]
pub(crate) struct Reader(Arc<ReaderEnd>);

#[derive(Default)]
struct Pipe {
    buffer: BytesMut,
    capacity: usize,
    writer_gone: bool,
    reader_gone: bool,
    /// A guest may hold several handles to one end, so more than one may wait.
    readers: Vec<Waker>,
    writers: Vec<Waker>,
}

impl Pipe {
    fn space(&self) -> usize {
        self.capacity.saturating_sub(self.buffer.len())
    }

    fn take(&mut self, size: usize) -> Bytes {
        let taken = self.buffer.split_to(size.min(self.buffer.len())).freeze();
        wake(&mut self.writers);
        taken
    }

    fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        wake(&mut self.readers);
    }
}

fn wake(waiting: &mut Vec<Waker>) {
    for waker in waiting.drain(..) {
        waker.wake();
    }
}

fn wait(waiting: &mut Vec<Waker>, context: &Context<'_>) {
    if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
        waiting.push(context.waker().clone());
    }
}

struct WriterEnd(Arc<Mutex<Pipe>>);

impl Drop for WriterEnd {
    fn drop(&mut self) {
        let mut pipe = self.0.lock();
        pipe.writer_gone = true;
        wake(&mut pipe.readers);
    }
}

struct ReaderEnd(Arc<Mutex<Pipe>>);

impl Drop for ReaderEnd {
    fn drop(&mut self) {
        let mut pipe = self.0.lock();
        pipe.reader_gone = true;
        pipe.buffer.clear();
        wake(&mut pipe.writers);
    }
}

// === impl Writer ===

impl Writer {
    fn poll_space(&self, context: &Context<'_>) -> Poll<()> {
        let mut pipe = self.0.0.lock();
        if pipe.reader_gone || pipe.space() > 0 {
            return Poll::Ready(());
        }
        wait(&mut pipe.writers, context);
        Poll::Pending
    }

    fn close(&self) {
        let mut pipe = self.0.0.lock();
        pipe.writer_gone = true;
        wake(&mut pipe.readers);
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.0.lock();
        if pipe.reader_gone || pipe.writer_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let size = pipe.space().min(bytes.len());
        if size == 0 && !bytes.is_empty() {
            wait(&mut pipe.writers, context);
            return Poll::Pending;
        }
        pipe.put(bytes.get(..size).unwrap_or_default());
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        poll_fn(|context| self.poll_space(context)).await;
    }
}

impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut pipe = self.0.0.lock();
        if pipe.reader_gone {
            return Err(StreamError::Closed);
        }
        // Two handles to one stdout may each hold a permit. Who writes without asking is stopped here.
        if pipe.buffer.len().saturating_add(bytes.len()) > pipe.capacity.saturating_mul(2) {
            return Err(StreamError::trap("more bytes were written than were permitted"));
        }
        pipe.put(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let pipe = self.0.0.lock();
        if pipe.reader_gone { Err(StreamError::Closed) } else { Ok(pipe.space()) }
    }
}

impl IsTerminal for Writer {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Writer {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

// === impl Reader ===

impl Reader {
    fn poll_bytes(&self, context: &Context<'_>) -> Poll<()> {
        let mut pipe = self.0.0.lock();
        if pipe.writer_gone || !pipe.buffer.is_empty() {
            return Poll::Ready(());
        }
        wait(&mut pipe.readers, context);
        Poll::Pending
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.0.0.lock();
        if pipe.buffer.is_empty() && !pipe.writer_gone {
            wait(&mut pipe.readers, context);
            return Poll::Pending;
        }
        let size = pipe.buffer.len().min(into.remaining());
        into.put_slice(pipe.buffer.get(..size).unwrap_or_default());
        pipe.buffer.advance(size);
        wake(&mut pipe.writers);
        Poll::Ready(Ok(()))
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        poll_fn(|context| self.poll_bytes(context)).await;
    }
}

impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut pipe = self.0.0.lock();
        if pipe.buffer.is_empty() && pipe.writer_gone {
            return Err(StreamError::Closed);
        }
        Ok(pipe.take(size))
    }
}

impl IsTerminal for Reader {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Reader {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_was_written_is_read_even_when_the_writer_is_gone() {
        let (mut writer, mut reader) = pipe(64);
        OutputStream::write(&mut writer, Bytes::from_static(b"last words")).unwrap();
        drop(writer);
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"last words");
    }

    #[tokio::test]
    async fn a_writer_waits_for_a_slow_reader() {
        let (mut writer, mut reader) = pipe(4);
        writer.write_all(b"1234").await.unwrap();
        assert_eq!(OutputStream::check_write(&mut writer).unwrap(), 0);
        let mut wait = Box::pin(writer.write_all(b"5678"));
        assert!(futures_pending(wait.as_mut()).await);
        let mut half = [0; 4];
        reader.read_exact(&mut half).await.unwrap();
        wait.await.unwrap();
        reader.read_exact(&mut half).await.unwrap();
        assert_eq!(&half, b"5678");
    }

    #[tokio::test]
    async fn a_writer_learns_that_nobody_reads_any_more() {
        let (mut writer, reader) = pipe(4);
        drop(reader);
        assert!(matches!(OutputStream::check_write(&mut writer), Err(StreamError::Closed)));
        assert_eq!(writer.write_all(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_guest_reads_until_the_end_of_its_input() {
        let (mut writer, mut reader) = pipe(64);
        writer.write_all(b"in").await.unwrap();
        writer.shutdown().await.unwrap();
        drop(writer);
        assert_eq!(InputStream::read(&mut reader, 16).unwrap(), "in");
        assert!(matches!(InputStream::read(&mut reader, 16), Err(StreamError::Closed)));
    }

    async fn futures_pending<F: Future>(mut future: Pin<&mut F>) -> bool {
        poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }
}
