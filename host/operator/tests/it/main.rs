//! The operator against a real API server: what a decision says is what a cluster has.
//!
//! `cargo xtask cluster up` starts the ground (etcd, kube-apiserver, kube-controller-manager) and prints what to set;
//! `cargo xtask test` does so by itself. No pod starts, for no namespace here asks for a node: a test that needs pods that answer says so
//! of them in their status, as a kubelet would. Each test has a namespace of its own, with the restricted Pod Security standard
//! enforced, so every test proves that our pods are admitted under it.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "all of this is test code; clippy's own exception covers only functions marked as tests"
)]

mod approval;
mod chart;
mod definitions;
mod events;
mod examples;
mod faulty;
mod freshness;
mod ground;
mod keeper;
mod leader;
mod ownership;
mod probe;
mod registries;
mod replicas;
mod requests;
mod rights;
mod scale;
mod status;
mod trial;
mod upgrade;
