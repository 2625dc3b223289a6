//! What a chain will do for a method, worked out once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fairlead_core::breaker::Breaker;
use fairlead_core::chain::{Chain, Link, glob, names};
use fairlead_core::middleware::Phase;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use crate::limits::PLANS_MAX;

/// A chain in use: the links, how each fares, and the plans that were worked out for it.
pub(crate) struct ChainSet {
    chain: Arc<Chain>,
    states: Box<[LinkState]>,
    plans: RwLock<HashMap<Box<str>, Arc<Plan>>>,
    wants_events: bool,
    wants_answers: bool,
}

/// How one link fares.
pub(crate) struct LinkState {
    pub(super) breaker: Mutex<Breaker>,
    /// Faults, and how many of them let a message pass because the attachment fails open.
    faults: AtomicU64,
    passed: AtomicU64,
}

impl LinkState {
    pub(super) fn count_fault(&self, passed: bool) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        self.passed.fetch_add(u64::from(passed), Ordering::Relaxed);
    }
}

/// Who is asked about one method, outermost first.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) method: Arc<str>,
    request: Box<[Step]>,
    response: Box<[Step]>,
    error: Box<[Step]>,
    event: Box<[Step]>,
}

/// One link that is asked.
#[derive(Debug)]
pub(crate) struct Step {
    /// Its position in the chain.
    pub(crate) link: usize,
    /// Patterns of targets; `None`: every target, and none.
    targets: Option<Box<[Box<str>]>>,
}

impl Step {
    pub(crate) fn covers(&self, target: Option<&str>) -> bool {
        match (&self.targets, target) {
            (None, _) => true,
            (Some(patterns), Some(target)) => patterns.iter().any(|pattern| glob(pattern, target)),
            (Some(_), None) => false,
        }
    }
}

impl Plan {
    fn new(chain: &Chain, method: &str) -> Self {
        let steps = |phase| {
            let step = |link| Some(Step { link, targets: targets(chain.links().get(link)?, method, phase) });
            chain.interested(method, phase).into_iter().filter_map(step).collect()
        };
        Self {
            method: method.into(),
            request: steps(Phase::Request),
            response: steps(Phase::Response),
            error: steps(Phase::Error),
            event: steps(Phase::Event),
        }
    }

    pub(crate) fn steps(&self, phase: Phase) -> &[Step] {
        match phase {
            Phase::Request => &self.request,
            Phase::Response => &self.response,
            Phase::Error => &self.error,
            Phase::Event => &self.event,
        }
    }

    /// Whether anybody wants to see the answer.
    pub(crate) fn wants_answer(&self) -> bool {
        !self.response.is_empty() || !self.error.is_empty()
    }
}

/// The targets that a link wants to see, unless it wants them all.
fn targets(link: &Link, method: &str, phase: Phase) -> Option<Box<[Box<str>]>> {
    let interests = link.middleware.interests().iter();
    let interests = interests.filter(|interest| interest.phases.contains(phase) && names(&interest.method, method));
    interests.map(|interest| interest.target.as_deref().map(Into::into)).collect()
}

impl ChainSet {
    pub(crate) fn new(chain: Arc<Chain>) -> Arc<Self> {
        let now = Instant::now().into_std();
        let states = chain.links().iter().map(|_| LinkState {
            breaker: Mutex::new(Breaker::new(now)),
            faults: AtomicU64::new(0),
            passed: AtomicU64::new(0),
        });
        let interests = || chain.links().iter().flat_map(|link| link.middleware.interests());
        let wants = |phase| interests().any(|interest| interest.phases.contains(phase));
        let wants_events = wants(Phase::Event);
        let wants_answers = wants(Phase::Response) || wants(Phase::Error);
        Arc::new(Self { states: states.collect(), plans: RwLock::default(), wants_events, wants_answers, chain })
    }

    pub(crate) fn plan(&self, method: &str) -> Arc<Plan> {
        if let Some(plan) = self.plans.read().get(method) {
            return Arc::clone(plan);
        }
        let plan = Arc::new(Plan::new(&self.chain, method));
        let mut plans = self.plans.write();
        if plans.len() < PLANS_MAX {
            plans.insert(method.into(), Arc::clone(&plan));
        }
        plan
    }

    /// Whether any link wants to be asked about this method on its way in.
    pub(crate) fn wants_request(&self, method: &str) -> bool {
        !self.plan(method).steps(Phase::Request).is_empty()
    }

    /// Whether any link wants to see messages that the server sends on a stream.
    pub(crate) const fn wants_events(&self) -> bool {
        self.wants_events
    }

    /// Whether any link wants to see the answer to anything.
    pub(crate) const fn wants_answers(&self) -> bool {
        self.wants_answers
    }

    pub(crate) fn link(&self, position: usize) -> Option<(&Link, &LinkState)> {
        self.chain.links().get(position).zip(self.states.get(position))
    }

    /// Faults so far, and how many of them let a message pass: by attachment, outermost first.
    pub(crate) fn faults(&self) -> Vec<(String, u64, u64)> {
        let state = |state: &LinkState| (state.faults.load(Ordering::Relaxed), state.passed.load(Ordering::Relaxed));
        let links = self.chain.links().iter().zip(&self.states);
        links.map(|(link, counts)| (link.name.to_string(), state(counts).0, state(counts).1)).collect()
    }
}
