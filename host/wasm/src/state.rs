//! What stands behind an instance: the data of its store.
//!
//! Host functions never see it whole. They get a [`View`]: the attachment, the call under way, the table of handles; so a
//! function of one interface cannot reach for the bounds or the WASI of the instance.

use std::sync::Arc;

use fairlead_core::middleware::{Call, Notes, Subject};
use tokio::time::Instant;
use wasmtime::component::{HasData, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::bounds::{self, Bounds};
use crate::limits::HANDLES_MAX;
use crate::outgoing::Outgoing;
use crate::owner::Owner;
use crate::wasi;

/// Data of the store of a plugin.
pub(crate) struct State {
    pub(crate) owner: Arc<Owner>,
    pub(crate) bounds: Bounds,
    pub(crate) exchange: Exchange,
    table: ResourceTable,
    secrets_open: usize,
    /// Made when a guest first asks for it; a guest without WASI never does.
    wasi: Option<Box<WasiCtx>>,
    /// Likewise.
    http: Option<Box<(WasiHttpCtx, Outgoing)>>,
}

/// The call under way. Both resources that a guest gets stand for it, so handing them out costs nothing.
#[derive(Default)]
pub(crate) struct Exchange {
    call: Option<Call>,
    until: Option<Instant>,
}

/// What a host function sees.
pub(crate) struct View<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) exchange: &'a mut Exchange,
    pub(crate) table: &'a mut ResourceTable,
    /// Secrets among the handles.
    pub(crate) secrets_open: &'a mut usize,
}

/// Names [`View`] to the linker.
pub(crate) struct Contract;

impl HasData for Contract {
    type Data<'a> = View<'a>;
}

// === impl State ===

impl State {
    pub(crate) fn new(owner: Arc<Owner>, bounds: Bounds) -> Self {
        Self {
            owner,
            bounds,
            exchange: Exchange::default(),
            table: bounds::handles(HANDLES_MAX),
            secrets_open: 0,
            wasi: None,
            http: None,
        }
    }

    pub(crate) fn view(&mut self) -> View<'_> {
        View {
            owner: &self.owner,
            exchange: &mut self.exchange,
            table: &mut self.table,
            secrets_open: &mut self.secrets_open,
        }
    }

    pub(crate) fn begin(&mut self, call: Call) {
        self.exchange = Exchange { call: Some(call), until: Some(self.bounds.time.until()) };
    }

    /// Ends the call: the notes as the guest left them.
    pub(crate) fn end(&mut self) -> Notes {
        self.exchange.until = None;
        self.exchange.call.take().map(|call| call.notes).unwrap_or_default()
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.wasi.get_or_insert_with(|| Box::new(wasi::empty(&self.owner)));
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let made = || Box::new((WasiHttpCtx::new(), Outgoing::new(Arc::clone(&self.owner))));
        let (ctx, hooks) = &mut **self.http.get_or_insert_with(made);
        WasiHttpCtxView { ctx, table: &mut self.table, hooks }
    }
}

// === impl Exchange ===

impl Exchange {
    /// The call, or an error for a guest that uses a handle it cannot have.
    pub(crate) fn call(&self) -> wasmtime::Result<&Call> {
        self.call.as_ref().ok_or_else(|| wasmtime::Error::msg("no call is under way"))
    }

    /// The call, to be changed.
    pub(crate) fn call_mut(&mut self) -> wasmtime::Result<&mut Call> {
        self.call.as_mut().ok_or_else(|| wasmtime::Error::msg("no call is under way"))
    }

    /// The payload as text; empty when there is none.
    pub(crate) fn text(&self) -> wasmtime::Result<&str> {
        match &self.call()?.subject {
            Subject::Request(body) | Subject::Response(body) | Subject::Event(body) => {
                std::str::from_utf8(body).map_err(wasmtime::Error::new)
            }
            Subject::Error(_) => Ok(""),
        }
    }

    /// Milliseconds until the call is cut off.
    pub(crate) fn remaining_ms(&self) -> u32 {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        left.map_or(0, |left| u32::try_from(left.as_millis()).unwrap_or(u32::MAX))
    }
}
