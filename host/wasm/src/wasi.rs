//! The empty WASI that plugins get which import one: no files, no environment, no arguments, no network.
//!
//! A toolchain for `wasm32-wasip2` imports some thirty functions whether the source uses them or not; refusing them would
//! refuse the toolchain. Clocks and random numbers work. What the guest prints becomes log records, under the same limit
//! as everything else it says.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use fairlead_core::middleware::Call;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use crate::limits::LOG_MESSAGE_BYTES_MAX;
use crate::owner::Owner;
use crate::records::{self, Record};
use crate::v0_1::Level;

/// A context without anything in it.
pub(crate) fn empty(owner: &Arc<Owner>) -> WasiCtx {
    let printed = |level| Printed { owner: Arc::clone(owner), level };
    WasiCtxBuilder::new()
        .stdout(printed(Level::Info))
        .stderr(printed(Level::Warn))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

/// What a guest prints: each write becomes a record.
#[derive(Clone)]
struct Printed {
    owner: Arc<Owner>,
    level: Level,
}

impl Printed {
    fn say(&self, bytes: &[u8]) {
        for line in String::from_utf8_lossy(bytes).lines().filter(|line| !line.trim().is_empty()) {
            records::write(&self.owner, None::<&Call>, &Record { level: self.level, message: line, fields: &[] });
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Printed {
    async fn ready(&mut self) {}
}

impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.say(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LOG_MESSAGE_BYTES_MAX)
    }
}

impl AsyncWrite for Printed {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.say(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}
