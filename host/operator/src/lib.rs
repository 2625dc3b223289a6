//! The Kubernetes side: custom resources, the decision what a server is in a cluster, and the controller that makes it so.
//!
//! The decision is pure ([`desired`]): a document and what was observed become objects and conditions, so every rule is a unit
//! test. Carrying it out stands apart and knows no rule. Peers let their proxy create its own backend at run time, so that two
//! programs write the same objects; here the operator is the only writer of all that it owns.

pub mod approval;
pub mod ask;
pub mod attach;
pub mod controller;
pub mod convert;
pub mod crd;
pub mod create;
pub mod desired;
pub mod forward;
pub mod freshness;
pub mod limits;
pub mod probe;
pub mod registry;
pub mod review;
pub mod status;
pub mod trial;
