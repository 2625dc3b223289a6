//! Freshness in a cluster, decided: what is kept of a server and where, how it stands, and what its pods tell.
//!
//! The engine is the one of every machine (`control`); it is put together with this in the composition root, and driven by
//! whoever leads ([`crate::controller::Keeper`]). What it decides is a digest in a record, and nothing else: the pods follow
//! because the decision of the operator ([`crate::desired`]) reads that record. So there still is one writer of what belongs
//! to a server.

pub(crate) mod pods;
mod record;
mod request;
mod standing;

pub use record::Kept;
pub(crate) use record::pinned;
pub(crate) use request::Standing as RequestStanding;
pub use request::{Answer, Answers, Outcome, REQUEST, Request, Wanted, id_of};
pub(crate) use standing::{image, subject, view};

/// The annotation of a server that came after an operator that keeps servers fresh: what its document leaves out is on. The
/// operator writes it with its finalizer, which a server has from its first look on, so one that was there before never gets it.
pub const CREATED_FRESH: &str = "fairlead.dev/created-fresh";
