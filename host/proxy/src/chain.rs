//! Running a chain: what each middleware is asked, and what its verdict does to the message.
//!
//! A request passes from the outermost link to the innermost, its answer back again, a message of the server likewise from
//! the inside out. A link that did not ask for a method in a phase costs nothing there: which ones did is worked out once
//! for each method and kept with the chain. An exchange holds one chain from its beginning to its end, so a swap never mixes
//! two revisions in one exchange.
//!
//! Notifications of a client pass the request phase. What a client answers to a question of the server passes no hook: the
//! question itself did, as an event.

mod plan;
mod rehearsal;
mod run;
mod seniority;
mod verdict;

pub(crate) use plan::ChainSet;
pub use rehearsal::{Rehearsed, rehearse};
pub(crate) use run::{Decision, EventDecision, Exchange, Outcome, Provenance, Returned};
