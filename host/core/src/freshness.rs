//! Freshness: whether something newer than what runs is there, and how it takes its place.
//!
//! Pure. [`step`] takes what happened and gives the next [`Freshness`] record; [`todo()`] reads off a record what is to be
//! done. The engine in `control` does it: it holds a lease, stores every step before its effect, and can be killed between
//! any two of them. The protocol and what it must never do are model-checked in this module's tests, over these functions.

mod apply;
mod backoff;
mod candidates;
mod composition;
mod diagram;
mod eligibility;
mod facts;
mod forecast;
mod history;
#[cfg(test)]
mod model;
mod mutant;
mod operation;
mod ports;
mod record;
mod step;
mod surface;
#[cfg(test)]
mod tests;
mod verdict;
mod version;
mod view;
mod wish;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub use apply::{Move, apply};
pub use composition::{Composition, CompositionError, Several};
pub use diagram::{Diagrams, diagrams};
pub use eligibility::{Ineligible, Standing, UpdateSpec, UpdateToggles, reasons};
pub use facts::{
    Approval, Attempt, Candidate, Facts, Outcome, Peer, Running, Signal, Surface, Trigger, Version, WorkloadFacts,
};
pub use forecast::{Effect, Forecast, effect, settled};
pub use history::{Replay, Replayed, UpdateHistory};
pub use ports::{Announcer, Detector, FreshnessStore, Policies, Roller, Servers, Subject, Trial, Unseen, UpdatePolicy};
pub use record::{
    Check, CheckError, Deployed, Direction, ErrorClass, Fence, Found, Freshness, Hold, Lease, Mark, Message, Operation,
    Phase,
};
pub use step::{Event, Evidence, Moment, News, Observed, Refused, Todo, acquire, command, renew, step, todo};
pub use surface::{ToolShape, compare};
pub use verdict::{Decision, HoldReason, OnFailure, Plan, Strategy, Verdict, admit, all_of, any_of, tighten};
pub use view::{UpdateStatus, UpdateView, view};
pub use wish::{Situation, Wish};

/// A point in time, later. Far future instead of an overflow.
#[must_use]
pub(crate) fn after(time: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}
