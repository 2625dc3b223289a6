//! The freshness engine from outside, over worlds that do as they are told.
//!
//! The reliability tests of the protocol have numbers, and each is found under its own:
//!
//! | | where |
//! |---|---|
//! | T1 crash at every point, T2 several schedulers, T3 frozen holders, T12 clocks | `interruptions.rs`, `engine.rs` |
//! | T4 the seven mutants | `core/src/freshness/model.rs` |
//! | T5 to T11 what an OCI registry does | `registry.rs`; tokens and credentials also `oci/tests/it/faulty.rs` |
//! | T13 replicas | `core/src/freshness/tests.rs` (a local server has one; the cluster's follow with its roller) |
//! | T14 bad images, T15 a way back that fails | `outcomes.rs`, `engine.rs` |
//! | T16 people's edits, T17 toggles at every phase | `interruptions.rs` |
//! | T18 probes, T22 sessions, T23 defaults and API, T24 secrets | `tests/it/freshness*.rs`, with real engines |
//! | T19 shared workloads | none: here a server is its own workload, so one operation is one server's by construction |
//! | T20 broken policies | `wasm/tests/it`, `core/src/freshness/tests.rs`, `rule.rs` |
//! | T21 first-party policies | `plugins/update-policy/*` |
//! | T25 load | `load.rs`, and `cargo xtask bench --freshness` |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod engine;
mod interruptions;
mod load;
mod outcomes;
mod plan;
mod registry;
mod rule;
mod world;
