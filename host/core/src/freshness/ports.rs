//! What the freshness engine works with: small ports, so that a cluster only adds another detector and another roller.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::facts::{Facts, Running, Signal, Surface};
use super::record::{CheckError, Deployed, Freshness, Message, Operation};
use super::step::{Evidence, Observed};
use super::verdict::Verdict;
use super::{Ineligible, Plan, UpdateToggles};
use crate::BoxFuture;
use crate::name::ServerKey;
use crate::store::StoreError;

/// One server, as it is now.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Tenant and name.
    pub key: ServerKey,
    /// Its toggles.
    pub toggles: UpdateToggles,
    /// What speaks against a check.
    pub against: Vec<Ineligible>,
    /// What is followed, as it was written.
    pub reference: String,
    /// A person named a digest: it is fresh by definition, and no OCI registry is asked.
    pub pinned: bool,
    /// Its group.
    pub group: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was created.
    pub created: Timestamp,
    /// How many sessions it has.
    pub sessions: u32,
    /// Whether it is well.
    pub health: Signal,
}

/// The servers that there are.
pub trait Servers: Send + Sync {
    /// All of them.
    fn keys(&self) -> Vec<ServerKey>;
    /// One of them.
    fn subject(&self, key: &ServerKey) -> Option<Subject>;
    /// A number that is another one when servers came or went; none: nobody counts, and all are looked through.
    fn version(&self) -> Option<u64> {
        None
    }
}

/// Why a check saw nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unseen {
    /// It failed.
    Failed {
        /// Why.
        error: CheckError,
        /// What the OCI registry asked for.
        retry_after: Option<Duration>,
    },
    /// The OCI registry is left alone until then; nothing was asked.
    Deferred(Timestamp),
}

/// Finds out what is newest.
pub trait Detector: Send + Sync {
    /// Looks at what the followed reference names now. `known` is what was seen before: what has not changed is not fetched
    /// again.
    fn observe<'a>(
        &'a self,
        subject: &'a Subject,
        running: Running,
        known: &'a Freshness,
    ) -> BoxFuture<'a, Result<Observed, Unseen>>;
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// The candidate speaks MCP; its tools differ like this from those of what runs.
    Passed(Surface),
    /// The candidate is not fit, and why.
    Failed(String),
    /// Nothing can be said of it now, and why.
    PutOff(String),
}

/// Changes what runs, and looks at it.
pub trait Roller: Send + Sync {
    /// What runs.
    fn running<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Running>;
    /// Starts the candidate beside what runs, with the server's own settings, has it answer as MCP wants it, and removes it
    /// whatever happens. What a crash leaves is swept by its mark.
    fn trial<'a>(&'a self, subject: &'a Subject, plan: &'a Plan) -> BoxFuture<'a, Trial>;
    /// What is to run.
    fn deployed<'a>(&'a self, key: &'a ServerKey) -> BoxFuture<'a, Result<Deployed, StoreError>>;
    /// Says durably what is to run from now on, unless somebody did since `revision`: then false.
    fn deploy<'a>(
        &'a self,
        key: &'a ServerKey,
        revision: u64,
        next: &'a Deployed,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;
    /// Makes what runs follow what is deployed, as the plan of the operation wants it, and says how far that is. Called
    /// again and again; what was begun is gone on with.
    fn settle<'a>(&'a self, subject: &'a Subject, operation: &'a Operation) -> BoxFuture<'a, Evidence>;
}

/// Decides. Whatever goes wrong in one means *hold*.
pub trait UpdatePolicy: Send + Sync {
    /// A pure function of the facts.
    fn decide<'a>(&'a self, facts: &'a Facts) -> BoxFuture<'a, Verdict>;
}

/// Which policy decides about a server: all that are attached to it, its group, its tenant and the platform, made one.
pub trait Policies: Send + Sync {
    /// Asks them.
    fn decide<'a>(&'a self, subject: &'a Subject, facts: &'a Facts) -> BoxFuture<'a, Verdict>;
}

/// Where the records are. A write is durable when its future is ready.
pub trait FreshnessStore: Send + Sync {
    /// The record of one server; an empty one when there is none.
    fn load<'a>(&'a self, key: &'a ServerKey) -> BoxFuture<'a, Result<Freshness, StoreError>>;
    /// Replaces it, unless it has another revision than `revision` by now: then false.
    fn swap<'a>(
        &'a self,
        key: &'a ServerKey,
        revision: u64,
        next: &'a Freshness,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;
}

/// Tells people. The same message may be told twice after a crash; its topic says so.
pub trait Announcer: Send + Sync {
    /// True when it was told, or need not be told again.
    fn announce<'a>(&'a self, key: &'a ServerKey, message: &'a Message) -> BoxFuture<'a, bool>;
}
