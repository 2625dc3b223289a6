//! Policies bound to a composition: asked in the order in which it names them, and made one verdict.
//!
//! In *all of*, the first chooses what is updated to and the others are asked about that candidate alone: two that choose for
//! themselves may choose two things, and the result would be nobody's intent. The same rule puts the policies of a server,
//! its group, its tenant and the platform together, innermost first.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlead_core::BoxFuture;
use fairlead_core::digest::Digest;
use fairlead_core::freshness::{
    Composition, CompositionError, Decision, Facts, Several, UpdatePolicy, Verdict, any_of, tighten,
};
use fairlead_core::name::AttachmentName;

/// What decides about a server: a policy, or several that agree in some way.
#[derive(Clone)]
pub enum Rule {
    /// This one decides.
    Policy(Arc<dyn UpdatePolicy>),
    /// All must agree; the first chooses.
    AllOf(Vec<Rule>),
    /// One suffices.
    AnyOf(Vec<Rule>),
}

impl Rule {
    /// Puts policies where a composition names them.
    ///
    /// # Errors
    /// The composition does not fit what is attached.
    pub fn bind(
        composition: &Composition,
        attached: &BTreeMap<AttachmentName, Arc<dyn UpdatePolicy>>,
    ) -> Result<Self, CompositionError> {
        composition.check(&attached.keys().cloned().collect())?;
        Self::place(composition, attached)
    }

    fn place(
        composition: &Composition,
        attached: &BTreeMap<AttachmentName, Arc<dyn UpdatePolicy>>,
    ) -> Result<Self, CompositionError> {
        let all = |parts: &[Composition]| -> Result<Vec<Self>, CompositionError> {
            parts.iter().map(|part| Self::place(part, attached)).collect()
        };
        Ok(match composition {
            Composition::Policy(name) => {
                let policy = attached.get(name).ok_or_else(|| CompositionError::Unknown(name.clone()))?;
                Self::Policy(Arc::clone(policy))
            }
            Composition::Several(Several::AllOf(parts)) => Self::AllOf(all(parts)?),
            Composition::Several(Several::AnyOf(parts)) => Self::AnyOf(all(parts)?),
        })
    }

    /// Puts the rules of several owners together: `inner` first, then who may only tighten, from the inside out. `None`
    /// when nobody has one.
    #[must_use]
    pub fn layered(innermost_first: Vec<Self>) -> Option<Self> {
        let mut rules = innermost_first;
        match rules.len() {
            0 | 1 => rules.pop(),
            _ => Some(Self::AllOf(rules)),
        }
    }

    async fn all_of(rules: &[Self], facts: &Facts) -> Verdict {
        let Some((first, gates)) = rules.split_first() else { return Decision::UpToDate.into() };
        let mut verdict = first.decide(facts).await;
        let narrowed = match &verdict.decision {
            // Nobody can make an update of this, so nobody else is asked.
            Decision::UpToDate => return verdict,
            decision => decision.pin().map(|pin| about(facts, pin)),
        };
        for gate in gates {
            verdict = tighten(verdict, gate.decide(narrowed.as_ref().unwrap_or(facts)).await);
        }
        verdict
    }
}

impl UpdatePolicy for Rule {
    fn decide<'a>(&'a self, facts: &'a Facts) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            match self {
                Self::Policy(policy) => policy.decide(facts).await,
                Self::AllOf(rules) => Self::all_of(rules, facts).await,
                Self::AnyOf(rules) => {
                    let mut said = Vec::with_capacity(rules.len());
                    for rule in rules {
                        said.push(rule.decide(facts).await);
                    }
                    any_of(said)
                }
            }
        })
    }
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Policy(_) => f.write_str("Policy"),
            Self::AllOf(rules) => f.debug_tuple("AllOf").field(rules).finish(),
            Self::AnyOf(rules) => f.debug_tuple("AnyOf").field(rules).finish(),
        }
    }
}

/// The facts, with one candidate and what runs.
fn about(facts: &Facts, pin: &Digest) -> Facts {
    let mut facts = facts.clone();
    let running = std::mem::take(&mut facts.running.digests);
    facts.candidates.retain(|known| known.pin == *pin || running.iter().any(|digest| known.is(digest)));
    facts.running.digests = running;
    facts
}
