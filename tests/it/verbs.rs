//! Every verb of the command line: its status, what it prints and what it complains about, for people and for programs, as
//! inline snapshots. A verb that has none fails `every_verb_has_a_snapshot`, by name.
//!
//! `Pair::run` types a line twice, each time at a machine of its own: as it is, and with `--format json`. What varies from
//! run to run is masked by name (`masks`). Where a snapshot is out of date, `cargo insta review` shows and takes the new one.

mod clients;
mod cluster;
mod daemon;
mod documents;
mod help;
mod many;
mod masks;
mod pair;
mod plugins;
mod registries;
mod secrets;
mod servers;
mod service;
mod tenants;
mod traffic;
mod trust;
mod updates;
