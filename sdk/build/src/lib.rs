//! From a crate to a component: the one place that knows how, for `fairlead plugin build` and `cargo xtask plugins` alike.
//!
//! Cargo compiles, `wit-component` as a library makes the component: an author needs a Rust toolchain and nothing else, no
//! `wasm-tools`, no `cargo component`. Two copies of this would drift, and a plugin that passes one build would fail the
//! other.

mod component;
mod toolchain;

pub use component::{ComponentError, Function, Survey, componentize, survey, write};
pub use toolchain::{ToolchainError, artifacts, cargo, ensure_target};

/// Target of a guest that imports nothing but the contract.
pub const CONTRACT_TARGET: &str = "wasm32-unknown-unknown";
