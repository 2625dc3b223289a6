//! The pipes of a container, over connections to its engine.
//!
//! Two connections: one for stdin and stdout, one for stderr. The engine would put both outputs on one, and then a client
//! that takes its time over stdout would hold up stderr, and the log line that says why would wait behind it. With two,
//! back-pressure reaches the server on the pipe it belongs to: unread output fills the engine's buffer, then the kernel's,
//! then the server waits. Nothing is buffered here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::query_parameters::AttachContainerOptions;
use bytes::Bytes;
use fairlead_core::workload::{Stdin, Stdout};
use futures_util::StreamExt;
use tokio::io::AsyncWrite;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::io::StreamReader;
use tokio_util::task::TaskTracker;

use super::engine::Engine;
use super::error::ContainerError;
use crate::limits::ENGINE_REQUEST_TIMEOUT;

/// The pipes of one container.
pub(super) struct Pipes {
    pub(super) stdin: Stdin,
    pub(super) stdout: Stdout,
    pub(super) stderr: Stdout,
}

impl Pipes {
    /// Opens them, before the container starts, so that nothing it writes is missed.
    pub(super) async fn open(
        engine: &Engine,
        container: &str,
        with_stdin: bool,
        tasks: &TaskTracker,
    ) -> Result<Self, ContainerError> {
        let options = AttachContainerOptions { stream: true, ..AttachContainerOptions::default() };
        let main = AttachContainerOptions { stdin: with_stdin, stdout: true, ..options.clone() };
        let side = AttachContainerOptions { stderr: true, ..options };
        let main = engine.ask("attach", engine.docker().attach_container(container, Some(main))).await?;
        let side = engine.ask("attach", engine.docker().attach_container(container, Some(side))).await?;
        let AttachContainerResults { output, input } = main;
        let stdin: Stdin = if with_stdin {
            Box::new(HalfClosing { inner: Some(input), tasks: tasks.clone(), handle: Handle::current() })
        } else {
            Box::new(tokio::io::sink())
        };
        Ok(Self { stdin, stdout: reader(output), stderr: reader(side.output) })
    }
}

/// The bytes of one output. Only that one was asked for, so whatever arrives is of it.
fn reader(
    output: impl futures_util::Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send + 'static,
) -> Stdout {
    let bytes = output.map(|part| part.map(LogOutput::into_bytes).map_err(io::Error::other));
    // An engine that goes away breaks the connection: for the reader that is the end, as when a process dies.
    let bytes = bytes.take_while(|part: &Result<Bytes, io::Error>| std::future::ready(part.is_ok()));
    Box::new(StreamReader::new(Box::pin(bytes)))
}

/// Standard input whose end reaches the container also when it is dropped: the other half of the connection is still read
/// from, so that dropping this half alone would close nothing.
struct HalfClosing {
    inner: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    tasks: TaskTracker,
    handle: Handle,
}

impl HalfClosing {
    fn inner(self: Pin<&mut Self>) -> Result<Pin<&mut (dyn AsyncWrite + Send + 'static)>, io::Error> {
        let inner = self.get_mut().inner.as_mut();
        inner.map(Pin::as_mut).ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl AsyncWrite for HalfClosing {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.inner()?.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Ok(inner) = self.as_mut().inner() else { return Poll::Ready(Ok(())) };
        ready!(inner.poll_shutdown(cx))?;
        self.get_mut().inner = None;
        Poll::Ready(Ok(()))
    }
}

impl Drop for HalfClosing {
    fn drop(&mut self) {
        let Some(mut inner) = self.inner.take() else { return };
        let close = async move {
            // A connection that is gone already has closed the container's end as well.
            let _ = timeout(ENGINE_REQUEST_TIMEOUT, tokio::io::AsyncWriteExt::shutdown(&mut inner)).await;
        };
        self.tasks.spawn_on(close, &self.handle);
    }
}
