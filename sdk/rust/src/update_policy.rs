//! The trait of an update policy, and the macro that makes a component of one.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::policy::{Candidate, Decision, Facts, Hold, HoldReason, OnFailure, Plan, Strategy, Surface, Verdict};
use crate::{Failure, Manifest};

/// Decides whether, when and how a newer artifact replaces the running one.
///
/// A pure function of facts: the same facts always give the same decision, so that a decision can be replayed. It has no
/// clock and no state; the time is in the facts.
pub trait UpdatePolicy: Sized + 'static {
    /// The configuration. Its JSON Schema goes into the manifest.
    type Config: DeserializeOwned + JsonSchema;

    /// Name and version. Must not call anything of the host.
    fn manifest() -> Manifest;

    /// Checks what a schema cannot say, and warns.
    ///
    /// # Errors
    /// The text says which field is wrong and what would be right.
    fn validate(config: &Self::Config) -> Result<Vec<String>, String> {
        let _ = config;
        Ok(Vec::new())
    }

    /// Decides.
    ///
    /// # Errors
    /// When the policy cannot decide; the host then holds.
    fn decide(facts: &Facts, config: &Self::Config) -> Result<Verdict, Failure>;
}

impl Facts {
    /// What there is to decide about: what the followed tag names, or, when this policy is asked after another one has chosen,
    /// what that one chose. `None`: what runs is what should run.
    #[must_use]
    pub fn offered(&self) -> Option<&Candidate> {
        let newest = self.candidates.iter().find(|candidate| candidate.same_tag).or(self.candidates.first())?;
        (!self.runs(newest)).then_some(newest)
    }

    /// Whether every live replica runs this candidate, under whichever of its digests.
    #[must_use]
    pub fn runs(&self, candidate: &Candidate) -> bool {
        let is = |digest: &String| *digest == candidate.pin || candidate.digests.contains(digest);
        !self.running.digests.is_empty() && self.running.digests.iter().all(is)
    }
}

impl Plan {
    /// To a digest, with the host's defaults: the new one is started beside the old one, and the old one comes back if the new
    /// one is not well.
    #[must_use]
    pub fn to(pin: impl Into<String>) -> Self {
        Self {
            pin: pin.into(),
            strategy: Strategy::SurgeThenSwitch,
            on_failure: OnFailure::RollBack,
            min_ready_ms: 5_000,
            deadline_ms: 600_000,
            drain_ms: 60_000,
        }
    }
}

impl Verdict {
    /// Take this candidate, unless its trial has shown that a tool is gone or asks for other arguments: then it is held back,
    /// because calls that work would fail. Whoever wants it all the same says [`update_whatever_breaks`](Self::update_whatever_breaks).
    #[must_use]
    pub fn update(candidate: &Candidate) -> Self {
        if candidate.tool_surface == Surface::Breaking {
            return Self::hold(HoldReason::Drift, candidate, "a tool is gone or asks for other arguments");
        }
        Self::update_whatever_breaks(candidate)
    }

    /// Take this candidate, even if calls that work now will fail.
    #[must_use]
    pub fn update_whatever_breaks(candidate: &Candidate) -> Self {
        Decision::Update(Plan::to(candidate.pin.as_str())).into()
    }

    /// Do not take this candidate now.
    #[must_use]
    pub fn hold(reason: HoldReason, candidate: &Candidate, detail: impl Into<String>) -> Self {
        let pin = Some(candidate.pin.clone());
        Decision::Hold(Hold { reason, detail: detail.into(), pin, until: None }).into()
    }

    /// Asks again then (milliseconds since the Unix epoch), for a hold; nothing else has an end.
    #[must_use]
    pub fn until(mut self, millis: u64) -> Self {
        if let Decision::Hold(hold) = &mut self.decision {
            hold.until = Some(millis);
        }
        self
    }

    /// Adds a line that tells people how it was reached.
    #[must_use]
    pub fn because(mut self, line: impl Into<String>) -> Self {
        self.trace.push(line.into());
        self
    }
}

impl From<Decision> for Verdict {
    fn from(decision: Decision) -> Self {
        Self { decision, trace: Vec::new() }
    }
}

/// Makes the component export an [`UpdatePolicy`]. Once in a crate, at its root.
#[macro_export]
macro_rules! export_update_policy {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "the canonical ABI is exported by symbol name")]
        const _: () = {
            type Guest = $crate::__private::UpdatePolicyGuest<$plugin>;
            $crate::bindings::exports::fairlead::types::manifest::__export_fairlead_types_manifest_0_1_0_cabi!(
                Guest with_types_in $crate::bindings::exports::fairlead::types::manifest
            );
            $crate::bindings::exports::fairlead::update_policy::policy::__export_fairlead_update_policy_policy_0_1_0_cabi!(
                Guest with_types_in $crate::bindings::exports::fairlead::update_policy::policy
            );
            #[used]
            #[unsafe(link_section = "component-type:fairlead:worlds/update-policy")]
            static WORLD: [u8; $crate::__private::world::UPDATE_POLICY.len()] = $crate::__private::world::UPDATE_POLICY;
        };
    };
}
