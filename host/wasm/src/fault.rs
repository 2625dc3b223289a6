//! What an error of wasmtime means: whose fault it is, and what an operator should read.

use std::time::Duration;

use fairlead_core::middleware::Fault;
use wasmtime::Trap;

use crate::bounds::{Bounds, Interrupted};
use crate::limits::FAULT_TEXT_BYTES_MAX;
use crate::text::bounded;

/// The fault behind an error that ended a call.
pub(crate) fn of(error: &wasmtime::Error, bounds: &mut Bounds) -> Fault {
    match error.downcast_ref::<Interrupted>() {
        Some(Interrupted::Computing(limit) | Interrupted::Waiting(limit)) => return deadline(*limit),
        None => {}
    }
    // A guest that gets no memory aborts: the abort is the symptom, the refusal the cause.
    if bounds.memory.take_refused() {
        return Fault::Memory(u64::try_from(bounds.memory.bytes_max()).unwrap_or(u64::MAX));
    }
    tracing::debug!(error = format!("{error:?}"), "a plugin trapped");
    Fault::Trap(text(error))
}

/// A call that took longer than it may.
pub(crate) fn deadline(limit: Duration) -> Fault {
    Fault::Deadline(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
}

/// The cause in one line, without the backtrace.
pub(crate) fn text(error: &wasmtime::Error) -> String {
    let cause = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    bounded(cause, FAULT_TEXT_BYTES_MAX)
}
