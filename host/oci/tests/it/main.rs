//! The client against a registry that follows the specification, and against one that does not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod faulty;
mod genuine;
mod packages;
mod support;
