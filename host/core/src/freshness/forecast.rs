//! What would be done with a verdict: the same step that the engine takes, on a copy that nobody stores.
//!
//! No second set of rules. A plan that were computed in another way than it is carried out would be right until the day on
//! which somebody needs it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::Trigger;
use super::record::{Direction, Freshness, Phase};
use super::step::{Event, Moment, acquire, step};
use super::verdict::{Decision, HoldReason, Plan, Verdict};
use super::{Ineligible, UpdateStatus, view};
use crate::digest::Digest;
use crate::name::{ServerKey, ServerName, TenantName};

/// What would happen to one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Forecast {
    /// Whose server.
    pub tenant: TenantName,
    /// Its name.
    pub server: ServerName,
    /// When.
    pub at: Timestamp,
    /// Where it stands now.
    pub status: UpdateStatus,
    /// What runs.
    pub running: Vec<Digest>,
    /// What the tag names.
    pub newest: Option<Digest>,
    /// What would happen.
    pub effect: Effect,
    /// How the policy came to its verdict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<String>,
}

/// What would happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "kind")]
pub enum Effect {
    /// Nothing: the server is not looked after.
    NotEligible {
        /// Why.
        reasons: Vec<Ineligible>,
    },
    /// Nothing new: this goes on.
    UnderWay {
        /// To what.
        pin: Digest,
        /// Forward or back.
        direction: Direction,
        /// How far it is.
        phase: Phase,
    },
    /// Nothing: what runs is what should run.
    Nothing,
    /// Nothing now.
    Hold {
        /// Why.
        reason: HoldReason,
        /// In a sentence.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
        /// What is held back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pin: Option<Digest>,
        /// Until then; none: until the next check.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// People are told.
    Notify {
        /// Of what.
        pin: Digest,
    },
    /// An update.
    Update(Plan),
    /// The way back.
    Rollback {
        /// To what.
        pin: Digest,
    },
}

/// What the policy would be asked about: nothing, when the server is not looked after or something is under way.
#[must_use]
pub fn settled(record: &Freshness, at: &Moment<'_>, trigger: Trigger) -> Option<Effect> {
    if let Some(operation) = &record.operation {
        return Some(Effect::UnderWay {
            pin: operation.plan.pin.clone(),
            direction: operation.direction,
            phase: operation.phase,
        });
    }
    // A person may ask for what the schedule would not do; but not for a server that is out of service.
    let out = if trigger == Trigger::Operator { at.called_off() } else { !at.against.is_empty() };
    out.then(|| Effect::NotEligible { reasons: at.against.to_vec() })
}

/// What `verdict` would lead to. It has been [admitted](super::admit).
#[must_use]
pub fn effect(record: &Freshness, verdict: &Verdict, at: &Moment<'_>, trigger: Trigger) -> Effect {
    if let Some(effect) = settled(record, at, trigger) {
        return effect;
    }
    let mut copy = record.clone();
    copy.check.asked = Some(trigger);
    copy.lease = super::Lease::default();
    copy.outbox.clear();
    let Some((copy, fence)) = acquire(&copy, "nobody", at.now) else { return Effect::Nothing };
    let Ok(next) = step(&copy, fence, Event::Decided(Box::new(verdict.clone()), 0), at) else {
        return Effect::Nothing;
    };
    if let Some(operation) = next.operation {
        return match operation.direction {
            Direction::Forward => Effect::Update(operation.plan),
            Direction::Back => Effect::Rollback { pin: operation.plan.pin },
        };
    }
    match next.check.verdict.map(|verdict| verdict.decision) {
        Some(Decision::Hold { reason, detail, pin, until }) => Effect::Hold { reason, detail, pin, until },
        Some(Decision::Update(Plan { pin, .. }) | Decision::Notify { pin, .. }) => Effect::Notify { pin },
        _ => Effect::Nothing,
    }
}

impl Forecast {
    /// Puts together what is shown.
    #[must_use]
    pub fn new(key: ServerKey, record: &Freshness, at: &Moment<'_>, effect: Effect, trace: Vec<String>) -> Self {
        Self {
            tenant: key.tenant,
            server: key.name,
            at: at.now,
            status: view(record, at).status,
            running: record.check.running.digests.clone(),
            newest: record.check.newest.clone(),
            effect,
            trace,
        }
    }
}
