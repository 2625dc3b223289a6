//! Integration tests, one binary (link time): every module is one promise of the product, shown on real processes.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "all of this is test code; clippy's own exception covers only functions marked as tests"
)]

mod authoring;
mod cache;
mod clients;
mod conformance;
mod conformance_clients;
mod containers;
mod corpus;
mod crash;
mod cross_delivery;
mod declarative;
mod distribution;
mod edge;
mod fidelity;
mod freshness;
mod freshness_cluster;
mod freshness_cluster_sources;
mod freshness_decisions;
mod freshness_kills;
mod freshness_node;
mod freshness_secrets;
mod freshness_sessions;
mod freshness_sources;
mod grounds;
mod guards;
mod hostile;
mod image;
mod kill_matrix;
mod languages;
mod large;
mod lifecycle;
mod matrix;
mod multiplex;
mod official_clients;
mod package_servers;
mod pod;
mod refusals;
mod registry;
mod scene;
mod secrets;
mod service;
mod sessions;
mod signatures;
mod slow_clients;
mod swap;
mod telemetry;
mod tenants;
mod toolbox;
mod validate;
mod verbs;
