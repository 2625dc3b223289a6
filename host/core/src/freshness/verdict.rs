//! What a policy answers, and what the host makes of it: a policy can only restrict what the host allows.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::{Facts, Outcome, Signal, Trigger};
use crate::digest::Digest;
use crate::limits::{
    ROLLOUT_DEADLINE, ROLLOUT_DEADLINE_MAX, ROLLOUT_DEADLINE_MIN, ROLLOUT_DRAIN, ROLLOUT_MIN_READY, UPDATE_HOLD_MAX,
    VERDICT_TRACE_LINE_BYTES_MAX, VERDICT_TRACE_LINES_MAX,
};

/// Why nothing is done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HoldReason {
    /// It has not been out for long enough.
    TooYoung,
    /// Not at this hour.
    OutsideWindow,
    /// A person has to say yes.
    AwaitingApproval,
    /// A person said no.
    Frozen,
    /// It is not in the range that is followed.
    OutOfRange,
    /// It failed here.
    Quarantined,
    /// The server lacks settings that it requires, or its tools differ.
    Drift,
    /// Its signature, provenance or platform is not good.
    Unverified,
    /// Too many rollouts are under way.
    Capacity,
    /// Another one was a short while ago, or others go first.
    CoolingDown,
    /// The tag moves to and fro.
    Ambiguous,
    /// The policy is broken: it trapped, took too long or answered nonsense.
    PolicyError,
    /// Anything else; the detail says what.
    Other,
}

/// In which order old and new are exchanged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// The new one is started beside the old one, and the route is switched when it is ready.
    #[default]
    SurgeThenSwitch,
    /// One instance after the other.
    Rolling,
    /// The old one goes first: for servers of which there may be only one.
    Recreate,
}

/// What happens when the new one is not well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The old one comes back.
    #[default]
    RollBack,
    /// It stays as it is.
    Leave,
    /// Nothing runs.
    ScaleToZero,
}

/// How an update is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// To what.
    pub pin: Digest,
    /// In which order.
    #[serde(default)]
    pub strategy: Strategy,
    /// If it goes wrong.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Milliseconds for which the new one must be well before the old one goes.
    #[serde(default = "min_ready")]
    pub min_ready_ms: u32,
    /// Milliseconds after which it has failed.
    #[serde(default = "deadline")]
    pub deadline_ms: u32,
    /// Milliseconds that old sessions get to end.
    #[serde(default = "drain")]
    pub drain_ms: u32,
}

impl Plan {
    /// To a digest, with the defaults.
    #[must_use]
    pub fn to(pin: Digest) -> Self {
        Self {
            pin,
            strategy: Strategy::default(),
            on_failure: OnFailure::default(),
            min_ready_ms: min_ready(),
            deadline_ms: deadline(),
            drain_ms: drain(),
        }
    }
}

fn min_ready() -> u32 {
    millis(ROLLOUT_MIN_READY)
}

fn deadline() -> u32 {
    millis(ROLLOUT_DEADLINE)
}

fn drain() -> u32 {
    millis(ROLLOUT_DRAIN)
}

fn millis(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "kind")]
pub enum Decision {
    /// Nothing: what runs is what should run.
    UpToDate,
    /// Nothing now, though there is something newer.
    Hold {
        /// Why.
        reason: HoldReason,
        /// In a sentence.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
        /// What is held back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pin: Option<Digest>,
        /// Ask again then; none: at the next check.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// Tell a person.
    Notify {
        /// Of what.
        pin: Digest,
        /// In a sentence.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
        /// It should not wait.
        #[serde(default)]
        urgent: bool,
    },
    /// Update.
    Update(Plan),
    /// Go back to what was last well.
    Rollback {
        /// To what.
        pin: Digest,
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
    },
}

impl Decision {
    /// A hold without more.
    #[must_use]
    pub fn hold(reason: HoldReason, detail: impl Into<String>) -> Self {
        Self::Hold { reason, detail: detail.into(), pin: None, until: None }
    }

    /// The digest that it speaks of.
    #[must_use]
    pub fn pin(&self) -> Option<&Digest> {
        match self {
            Self::UpToDate => None,
            Self::Hold { pin, .. } => pin.as_ref(),
            Self::Notify { pin, .. } | Self::Rollback { pin, .. } => Some(pin),
            Self::Update(plan) => Some(&plan.pin),
        }
    }
}

/// A decision and how it was reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verdict {
    /// What is to be done.
    pub decision: Decision,
    /// How it was reached, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<String>,
}

impl From<Decision> for Verdict {
    fn from(decision: Decision) -> Self {
        Self { decision, trace: Vec::new() }
    }
}

impl Verdict {
    /// What a broken policy is taken to have said.
    #[must_use]
    pub fn policy_error(detail: impl Into<String>) -> Self {
        Decision::hold(HoldReason::PolicyError, detail).into()
    }
}

/// Makes of a verdict what may be done: a pin that was not offered, an image that is bad or quarantined, a rollback to
/// anything but the last good one, or a hold without end are not obeyed.
#[must_use]
pub fn admit(verdict: Verdict, facts: &Facts) -> Verdict {
    let Verdict { decision, trace } = verdict;
    let decision = match decision {
        Decision::UpToDate => Decision::UpToDate,
        Decision::Hold { reason, detail, pin, until } => Decision::Hold {
            reason,
            detail: line(&detail),
            pin: pin.filter(|pin| facts.candidates.iter().any(|candidate| candidate.pin == *pin)),
            until: until.map(|until| until.min(latest(facts.now))),
        },
        Decision::Notify { pin, detail, urgent } if offered(facts, &pin).is_some() => {
            Decision::Notify { pin, detail: line(&detail), urgent }
        }
        // A policy that wants what runs would otherwise have it installed again at every check.
        Decision::Update(plan) if runs(facts, &plan.pin) => Decision::UpToDate,
        Decision::Update(plan) => match refused(facts, &plan.pin) {
            Some((reason, detail)) => Decision::Hold { reason, detail, pin: Some(plan.pin), until: None },
            None if !facts.auto_reinstall && facts.trigger != Trigger::Operator => Decision::Notify {
                pin: plan.pin,
                detail: "an update is wanted, and reinstalling automatically is off".to_owned(),
                urgent: false,
            },
            None => Decision::Update(clipped(plan)),
        },
        Decision::Rollback { pin, detail } if offered(facts, &pin).is_some_and(|c| c.is_last_good) => {
            Decision::Rollback { pin, detail: line(&detail) }
        }
        Decision::Rollback { .. } => Decision::hold(
            HoldReason::PolicyError,
            "the policy wants to go back to what was not the last good revision",
        ),
        Decision::Notify { .. } => {
            Decision::hold(HoldReason::PolicyError, "the policy speaks of a digest that it was not offered")
        }
    };
    let trace = trace.iter().take(VERDICT_TRACE_LINES_MAX).map(|text| line(text)).collect();
    Verdict { decision, trace }
}

fn offered<'a>(facts: &'a Facts, pin: &Digest) -> Option<&'a super::Candidate> {
    facts.candidates.iter().find(|candidate| candidate.pin == *pin)
}

/// Whether all that runs is this candidate.
fn runs(facts: &Facts, pin: &Digest) -> bool {
    let is_it = |digest: &Digest| offered(facts, pin).map_or(digest == pin, |candidate| candidate.is(digest));
    facts.running.unknown == 0 && !facts.running.digests.is_empty() && facts.running.digests.iter().all(is_it)
}

/// Why a candidate cannot be taken, whatever the policy says.
fn refused(facts: &Facts, pin: &Digest) -> Option<(HoldReason, String)> {
    let Some(candidate) = offered(facts, pin) else {
        return Some((HoldReason::PolicyError, "the policy wants a digest that it was not offered".to_owned()));
    };
    if candidate.platform == Signal::Bad {
        return Some((HoldReason::Unverified, "there is no image for this machine".to_owned()));
    }
    if candidate.signature == Signal::Bad {
        return Some((HoldReason::Unverified, "its signature does not hold".to_owned()));
    }
    let asked = facts.trigger == Trigger::Operator;
    if !asked && candidate.quarantined_until.is_some_and(|until| until > facts.now) {
        return Some((HoldReason::Quarantined, failed(candidate.failures)));
    }
    None
}

/// What was turned away from by a person has not failed by itself.
fn failed(times: u32) -> String {
    match times {
        0 => "a person went back from it; `fairlead update resume NAME --digest DIGEST` allows it again".to_owned(),
        1 => "it failed here once".to_owned(),
        times => format!("it failed here {times} times"),
    }
}

fn clipped(plan: Plan) -> Plan {
    let deadline_ms = plan.deadline_ms.clamp(millis(ROLLOUT_DEADLINE_MIN), millis(ROLLOUT_DEADLINE_MAX));
    Plan { deadline_ms, min_ready_ms: plan.min_ready_ms.min(deadline_ms / 2), ..plan }
}

fn latest(now: Timestamp) -> Timestamp {
    now.checked_add(SignedDuration::try_from(UPDATE_HOLD_MAX).unwrap_or_default()).unwrap_or(Timestamp::MAX)
}

/// One line of bounded length, without control characters: it reaches people and logs.
fn line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if line.len() + c.len_utf8() > VERDICT_TRACE_LINE_BYTES_MAX {
            break;
        }
        line.push(c);
    }
    line
}

/// All must agree: the first that does not want an update decides, and of those who wait the one who waits longest. The plan
/// is the strictest in each part; the first one chooses what is updated to.
#[must_use]
pub fn all_of(verdicts: Vec<Verdict>) -> Verdict {
    let mut verdicts = verdicts.into_iter();
    let Some(first) = verdicts.next() else { return Decision::UpToDate.into() };
    verdicts.fold(first, tighten)
}

/// One suffices: the first that wants an update decides; otherwise the first that says anything of a candidate.
#[must_use]
pub fn any_of(verdicts: Vec<Verdict>) -> Verdict {
    let weight = |decision: &Decision| match decision {
        Decision::Rollback { .. } => 4,
        Decision::Update(_) => 3,
        Decision::Notify { .. } => 2,
        Decision::Hold { .. } => 1,
        Decision::UpToDate => 0,
    };
    let mut trace = Vec::new();
    let mut best: Option<Decision> = None;
    for verdict in verdicts {
        trace.extend(verdict.trace);
        if best.as_ref().is_none_or(|best| weight(&verdict.decision) > weight(best)) {
            best = Some(verdict.decision);
        }
    }
    Verdict { decision: best.unwrap_or(Decision::UpToDate), trace }
}

/// What an outer policy (`gate`) leaves of the verdict of an inner one. It can only tighten.
#[must_use]
pub fn tighten(inner: Verdict, gate: Verdict) -> Verdict {
    let mut trace = inner.trace;
    trace.extend(gate.trace);
    let decision = match (inner.decision, gate.decision) {
        (Decision::Update(plan), Decision::Update(stricter)) if plan.pin == stricter.pin => {
            Decision::Update(strictest(plan, &stricter))
        }
        (Decision::Update(plan), Decision::Update(_) | Decision::UpToDate | Decision::Rollback { .. }) => {
            Decision::Hold {
                reason: HoldReason::OutOfRange,
                detail: "an outer policy does not allow this one".to_owned(),
                pin: Some(plan.pin),
                until: None,
            }
        }
        (Decision::Update(_), gate @ (Decision::Hold { .. } | Decision::Notify { .. })) => gate,
        (
            Decision::Hold { reason, detail, pin, until },
            Decision::Hold { reason: outer, detail: why, pin: held, until: later },
        ) => {
            // None waits for the next check, which is sooner than any time that a policy names on purpose.
            if later > until {
                Decision::Hold { reason: outer, detail: why, pin: held.or(pin), until: later }
            } else {
                Decision::Hold { reason, detail, pin: pin.or(held), until }
            }
        }
        (Decision::Rollback { .. }, gate @ Decision::Hold { reason: HoldReason::Frozen, .. }) => gate,
        (inner, _) => inner,
    };
    Verdict { decision, trace }
}

fn strictest(inner: Plan, outer: &Plan) -> Plan {
    let careful = |a: Strategy, b: Strategy| if a == b { a } else { Strategy::Recreate.min_by_order(a, b) };
    Plan {
        pin: inner.pin,
        strategy: careful(inner.strategy, outer.strategy),
        on_failure: if inner.on_failure == OnFailure::RollBack { outer.on_failure } else { inner.on_failure },
        min_ready_ms: inner.min_ready_ms.max(outer.min_ready_ms),
        deadline_ms: inner.deadline_ms.min(outer.deadline_ms),
        drain_ms: inner.drain_ms.max(outer.drain_ms),
    }
}

impl Strategy {
    /// Whoever asks for less at the same time (recreate, then rolling) is heard: it is a property of the server.
    fn min_by_order(self, a: Self, b: Self) -> Self {
        if a == self || b == self { self } else { Self::Rolling }
    }
}

impl Outcome {
    /// Whether a candidate with this outcome is to be left alone for a while.
    #[must_use]
    pub fn blames_candidate(self) -> bool {
        matches!(self, Self::PreflightFailed | Self::RolloutFailed)
    }
}
