//! The plugin host against real guests: what `cargo xtask plugins --fixtures` builds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod attaching;
mod escape;
mod faults;
mod isolation;
mod loading;
mod many;
mod policies;
mod sources;
mod support;
mod workloads;
