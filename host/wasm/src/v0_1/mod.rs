//! Version 0.1 of the contract: one file for each interface of the WIT, and the bindings that tie them together.
//!
//! Everything that knows the shapes of this version is here. What leaves this folder are the types of the core, so a second
//! version becomes a folder beside this one, chosen once, when a plugin is loaded.

mod bindings;
mod clock;
mod exchange;
mod hooks;
mod kv;
mod log;
mod manifest;
mod metrics;
mod policy;
mod secrets;
mod source;

use wasmtime::component::Linker;
use wasmtime::{Engine, Result};

use crate::state::{Contract, State};

pub(crate) use bindings::Level;
pub(crate) use hooks::{Hooks, Prepared};
pub(crate) use manifest::Described;
pub use manifest::ManifestError;
pub(crate) use policy::PreparedPolicy;
pub(crate) use source::{PreparedSource, Source};

/// A linker that offers everything a plugin of this version may import.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    bindings::Middleware::add_to_linker::<State, Contract>(&mut linker, State::view)?;
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    Ok(linker)
}
