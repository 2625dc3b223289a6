//! From the source of a plugin to its component: the one place that knows how, for `fairlead plugin build` and
//! `cargo xtask plugins` alike.
//!
//! One file for each language. Rust needs cargo and nothing else: `wit-component` as a library makes the component. C needs
//! clang; the bindings are made here. The tools of JavaScript and Python come from their registries, pinned, into a cache.
//! Two copies of this would drift, and a plugin that passes one build would fail the other.

mod borrows;
#[cfg(feature = "c")]
pub mod c;
mod component;
mod installed;
pub mod javascript;
pub mod limits;
pub mod python;
mod tool;
mod toolchain;

pub use component::{ComponentError, Function, Survey, componentize, survey, write};
pub use tool::ToolError;
pub use toolchain::{ToolchainError, artifacts, cargo, ensure_target};

/// Target of a guest that imports nothing but the contract.
pub const CONTRACT_TARGET: &str = "wasm32-unknown-unknown";

/// The world of pure functions: what is built for it has no clock and no chance, not even an empty WASI.
pub(crate) const PURE_WORLD: &str = "update-policy";
