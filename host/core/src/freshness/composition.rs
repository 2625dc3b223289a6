//! Several policies made one, by configuration: a tree whose leaves are attachments and whose branches say how they agree.
//!
//! A tree and no language: what it decides follows from [`all_of`](super::all_of) and [`any_of`](super::any_of), whose laws
//! are tested. Who asks the policies is the engine's side; here is what an operator writes, and what is wrong with it.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{COMPOSITION_DEPTH_MAX, COMPOSITION_POLICIES_MAX};
use crate::name::AttachmentName;

/// How the update policies of one owner decide together. The name of one; `{"allOf": […]}`; `{"anyOf": […]}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "the name of a policy, `{allOf: [...]}` or `{anyOf: [...]}`")]
pub enum Composition {
    /// This one decides.
    Policy(AttachmentName),
    /// Several do.
    Several(Several),
}

/// How several decide.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Several {
    /// All must agree: the first chooses what is updated to, the others can only tighten.
    AllOf(Vec<Composition>),
    /// One suffices: the first that wants an update has it.
    AnyOf(Vec<Composition>),
}

/// What is wrong with a composition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompositionError {
    /// It names what is not attached.
    #[error("the composition names `{0}`, and no update policy of that name is attached")]
    Unknown(AttachmentName),
    /// It leaves out what is attached.
    #[error("the composition leaves out `{0}`, which is attached; detach it or name it")]
    LeftOut(AttachmentName),
    /// One policy stands in two places.
    #[error("the composition names `{0}` twice")]
    Twice(AttachmentName),
    /// A list without policies, which nobody can agree with.
    #[error("a list of policies is empty")]
    Empty,
    /// Too many levels.
    #[error("the composition has more than {COMPOSITION_DEPTH_MAX} levels")]
    TooDeep,
    /// Too many policies.
    #[error("the composition names more than {COMPOSITION_POLICIES_MAX} policies")]
    TooMany,
}

impl Composition {
    /// All of them, in order: what several attached policies mean when nothing else was written.
    #[must_use]
    pub fn all_of(names: impl IntoIterator<Item = AttachmentName>) -> Self {
        Self::Several(Several::AllOf(names.into_iter().map(Self::Policy).collect()))
    }

    /// The policies that it names, in order.
    #[must_use]
    pub fn names(&self) -> Vec<&AttachmentName> {
        match self {
            Self::Policy(name) => vec![name],
            Self::Several(Several::AllOf(parts) | Several::AnyOf(parts)) => {
                parts.iter().flat_map(Self::names).collect()
            }
        }
    }

    /// Whether it is about exactly the policies that are attached, each once, and of a size that people can read.
    ///
    /// # Errors
    /// See [`CompositionError`].
    pub fn check(&self, attached: &BTreeSet<AttachmentName>) -> Result<(), CompositionError> {
        self.shape(COMPOSITION_DEPTH_MAX)?;
        let names = self.names();
        if names.len() > COMPOSITION_POLICIES_MAX {
            return Err(CompositionError::TooMany);
        }
        let mut seen = BTreeSet::new();
        for name in names {
            if !attached.contains(name) {
                return Err(CompositionError::Unknown(name.clone()));
            }
            if !seen.insert(name) {
                return Err(CompositionError::Twice(name.clone()));
            }
        }
        match attached.iter().find(|name| !seen.contains(name)) {
            Some(name) => Err(CompositionError::LeftOut(name.clone())),
            None => Ok(()),
        }
    }

    fn shape(&self, levels: usize) -> Result<(), CompositionError> {
        let Self::Several(Several::AllOf(parts) | Several::AnyOf(parts)) = self else { return Ok(()) };
        let levels = levels.checked_sub(1).ok_or(CompositionError::TooDeep)?;
        if parts.is_empty() {
            return Err(CompositionError::Empty);
        }
        parts.iter().try_for_each(|part| part.shape(levels))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::{Decision, HoldReason, Plan, Verdict, all_of, any_of};
    use super::*;
    use crate::digest::Digest;

    fn names(texts: &[&str]) -> BTreeSet<AttachmentName> {
        texts.iter().map(|text| AttachmentName::new(text).unwrap()).collect()
    }

    #[test]
    fn it_is_written_as_a_name_or_as_a_tree_of_names() {
        let written = json!({"allOf": ["window", {"anyOf": ["approval", "cooldown"]}]});
        let read: Composition = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        assert_eq!(
            read.names().iter().map(|name| name.as_str()).collect::<Vec<_>>(),
            ["window", "approval", "cooldown"]
        );
        assert_eq!(read.check(&names(&["approval", "cooldown", "window"])), Ok(()));
        let error = serde_json::from_value::<Composition>(json!({"oneOf": ["a"]})).unwrap_err();
        assert!(error.to_string().contains("`{anyOf: [...]}`"), "{error}");
    }

    #[test]
    fn what_it_names_is_what_is_attached_each_once() {
        let check = |written, attached: &[&str]| {
            serde_json::from_value::<Composition>(written).unwrap().check(&names(attached))
        };
        let name = |text| AttachmentName::new(text).unwrap();
        assert_eq!(check(json!("a"), &["a"]), Ok(()));
        assert_eq!(check(json!("a"), &[]), Err(CompositionError::Unknown(name("a"))));
        assert_eq!(check(json!("a"), &["a", "b"]), Err(CompositionError::LeftOut(name("b"))));
        assert_eq!(check(json!({"anyOf": ["a", "a"]}), &["a"]), Err(CompositionError::Twice(name("a"))));
        assert_eq!(check(json!({"allOf": []}), &[]), Err(CompositionError::Empty));
        let mut deep = json!("a");
        for _ in 0..=COMPOSITION_DEPTH_MAX {
            deep = json!({"allOf": [deep]});
        }
        assert_eq!(check(deep, &["a"]), Err(CompositionError::TooDeep));
    }

    fn digest(number: u8) -> Digest {
        Digest::new(&format!("sha256:{number:064}")).unwrap()
    }

    fn verdicts() -> impl Strategy<Value = Vec<Verdict>> {
        let until = proptest::option::of(0_i64..1_000)
            .prop_map(|seconds| seconds.map(|seconds| jiff::Timestamp::from_second(seconds).unwrap()));
        let reason = prop_oneof![Just(HoldReason::TooYoung), Just(HoldReason::Frozen), Just(HoldReason::PolicyError)];
        let hold = (reason, until).prop_map(|(reason, until)| Decision::Hold {
            reason,
            detail: String::new(),
            pin: None,
            until,
        });
        let update = (0_u8..2, 1_u32..4, 1_u32..4).prop_map(|(pin, ready, deadline)| {
            Decision::Update(Plan { min_ready_ms: ready, deadline_ms: deadline, ..Plan::to(digest(pin)) })
        });
        let other = prop_oneof![
            Just(Decision::UpToDate),
            (0_u8..2).prop_map(|pin| Decision::Notify { pin: digest(pin), detail: String::new(), urgent: false }),
            (0_u8..2).prop_map(|pin| Decision::Rollback { pin: digest(pin), detail: String::new() }),
        ];
        proptest::collection::vec(prop_oneof![hold, update, other].prop_map(Verdict::from), 0..6)
    }

    fn updates(verdict: &Verdict) -> Option<&Plan> {
        match &verdict.decision {
            Decision::Update(plan) => Some(plan),
            _ => None,
        }
    }

    proptest! {
        #[test]
        fn all_of_updates_exactly_when_each_of_them_wants_this_very_update(all in verdicts()) {
            let said = all_of(all.clone());
            let plans: Vec<_> = all.iter().filter_map(updates).collect();
            let agreed = !all.is_empty() && plans.len() == all.len() && plans.iter().all(|plan| plan.pin == plans[0].pin);
            prop_assert_eq!(updates(&said).is_some(), agreed);
            if let Some(plan) = updates(&said) {
                prop_assert_eq!(plan.min_ready_ms, plans.iter().map(|plan| plan.min_ready_ms).max().unwrap());
                prop_assert_eq!(plan.deadline_ms, plans.iter().map(|plan| plan.deadline_ms).min().unwrap());
            }
        }

        #[test]
        fn a_hold_wins_in_all_of(all in verdicts(), at in 0_usize..6) {
            let hold = Decision::hold(HoldReason::Frozen, "no");
            let mut all = all;
            all.insert(at.min(all.len()), hold.into());
            let said = all_of(all).decision;
            prop_assert!(!matches!(said, Decision::Update(_) | Decision::Rollback { .. }), "{:?}", said);
        }

        #[test]
        fn one_more_policy_never_makes_all_of_bolder(all in verdicts(), more in verdicts()) {
            let without = all_of(all.clone());
            let with = all_of([all.clone(), more].concat());
            if !all.is_empty() && updates(&without).is_none() {
                prop_assert!(updates(&with).is_none());
            }
        }

        #[test]
        fn any_of_updates_when_one_of_them_wants_to_and_nobody_wants_back(all in verdicts()) {
            let back = all.iter().any(|verdict| matches!(verdict.decision, Decision::Rollback { .. }));
            let first = all.iter().find_map(updates);
            let said = any_of(all.clone());
            prop_assert_eq!(updates(&said), if back { None } else { first });
        }

        #[test]
        fn a_composition_of_one_is_that_one(all in verdicts()) {
            for verdict in all {
                prop_assert_eq!(&all_of(vec![verdict.clone()]), &verdict);
                prop_assert_eq!(&any_of(vec![verdict.clone()]), &verdict);
            }
        }

        #[test]
        fn what_is_nested_decides_as_what_is_flat(all in verdicts(), more in verdicts()) {
            if !all.is_empty() {
                let nested = all_of([vec![all_of(all.clone())], more.clone()].concat());
                prop_assert_eq!(nested, all_of([all.clone(), more.clone()].concat()));
            }
            let nested = any_of([vec![any_of(all.clone())], more.clone()].concat());
            prop_assert_eq!(nested.decision, any_of([all, more].concat()).decision);
        }

        #[test]
        fn no_outside_text_makes_reading_a_composition_fail_badly(text in "[\\[\\]{}\":,a-zA-Z]{0,64}") {
            let _ = serde_json::from_str::<Composition>(&text);
        }
    }
}
