//! The catalogue: entries of many MCP registries, filtered, merged by trust, found again.
//!
//! What a source gave last is kept as it came ([`copy`]). Everything else is computed from those copies, on values alone: rules
//! narrow and change ([`rules`]), layers of trust decide who wins ([`merge`]), an index answers questions ([`search`]), a page
//! is a page ([`listing`]), an entry becomes a server ([`launch`]), and a server is held against one ([`offer`]). So a change of
//! rules, of order or of the clock needs no network, and a source that is down takes nothing away.

pub mod approval;
pub mod copy;
pub mod entry;
pub mod launch;
pub mod limits;
pub mod listing;
pub mod merge;
pub mod offer;
pub mod review;
pub mod rules;
pub mod search;
pub mod spec;
pub mod sync;
mod version;

pub use version::newer;
