//! Policy: plugins that are attached for many servers at once, and which of them are in the chain of one server.
//!
//! A server's own plugins stand in its [`ServerSpec`]. What is here belongs to the platform or to
//! a tenant, and reaches every server below it, unless it is narrowed to some. Levels order the chain, so nothing that a
//! tenant attaches can come before, replace or loosen what the platform attached.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chain::Level;
use crate::limits::ORDER_STEP;
use crate::name::{AttachmentName, GroupName, ServerKey, ServerName, TenantName};
use crate::plugin::{AttachmentSpec, PluginKind};
use crate::server::ServerSpec;

/// To whom an attachment belongs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// The platform: it reaches every tenant.
    Platform,
    /// One tenant.
    Tenant(TenantName),
}

impl Owner {
    /// The level at which the attachments of this owner stand in a chain.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::Platform => Level::Platform,
            Self::Tenant(_) => Level::Tenant,
        }
    }

    /// The place of the state of these attachments, beside the tenant of the server and the name of the attachment.
    #[must_use]
    pub const fn place(&self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Tenant(_) => "tenant",
        }
    }
}

/// Which servers an attachment reaches. Empty: all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// Those of these tenants. Only the platform can say this: what belongs to a tenant stays with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<TenantName>,
    /// Those with these names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerName>,
    /// Those of these groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupName>,
    /// Those with all of these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// What of a server decides whether an attachment reaches it.
#[derive(Debug, Clone, Copy)]
pub struct Reached<'a> {
    /// Tenant and name.
    pub key: &'a ServerKey,
    /// Its group.
    pub group: &'a GroupName,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
}

impl<'a> Reached<'a> {
    /// A server, as it is wanted.
    #[must_use]
    pub fn of(key: &'a ServerKey, spec: &'a ServerSpec) -> Self {
        Self { key, group: &spec.group, labels: &spec.labels }
    }
}

impl Selector {
    /// Whether a server is selected.
    #[must_use]
    pub fn covers(&self, server: Reached<'_>) -> bool {
        let Reached { key, group, labels } = server;
        (self.tenants.is_empty() || self.tenants.contains(&key.tenant))
            && (self.servers.is_empty() || self.servers.contains(&key.name))
            && (self.groups.is_empty() || self.groups.contains(group))
            && self.match_labels.iter().all(|(name, value)| labels.get(name) == Some(value))
    }

    /// Whether every server is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An attachment of the platform or of a tenant, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// To whom it belongs.
    pub owner: Owner,
    /// Its place among the attachments of its owner: the smallest is outermost; of two alike, the one whose name comes
    /// first.
    pub order: i32,
    /// Which servers it reaches.
    #[serde(default)]
    pub selector: Selector,
    /// For selection and display.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Plugin, configuration, grants.
    pub spec: AttachmentSpec,
    /// When it was attached.
    pub created: Timestamp,
}

impl PolicyRecord {
    /// What names it.
    #[must_use]
    pub fn key(&self) -> PolicyKey {
        PolicyKey { owner: self.owner.clone(), name: self.spec.name.clone() }
    }

    /// Whether it reaches a server.
    #[must_use]
    pub fn reaches(&self, server: Reached<'_>) -> bool {
        let within = match &self.owner {
            Owner::Platform => true,
            Owner::Tenant(tenant) => *tenant == server.key.tenant,
        };
        within && self.selector.covers(server)
    }
}

/// Names an attachment of the platform or of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PolicyKey {
    /// To whom it belongs.
    pub owner: Owner,
    /// Its name.
    pub name: AttachmentName,
}

/// All attachments of the platform and of tenants.
pub type Policies = BTreeMap<PolicyKey, PolicyRecord>;

/// The attachments of one owner, outermost first.
#[must_use]
pub fn of_owner<'a>(policies: &'a Policies, owner: &Owner) -> Vec<&'a PolicyRecord> {
    let mut found: Vec<_> = policies.values().filter(|record| record.owner == *owner).collect();
    found.sort_by_key(|record| (record.order, &record.spec.name));
    found
}

/// The middleware that reaches a server, outermost first: the platform's, then the tenant's.
#[must_use]
pub fn reaching<'a>(policies: &'a Policies, server: Reached<'_>) -> Vec<&'a PolicyRecord> {
    let mut found: Vec<_> = policies
        .values()
        .filter(|record| record.spec.kind == PluginKind::Middleware && record.reaches(server))
        .collect();
    found.sort_by_key(|record| (record.owner.level(), record.order, &record.spec.name));
    found
}

/// Where an attachment is put among others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Position {
    /// Outermost.
    First,
    /// Innermost.
    Last,
    /// Just outside of another.
    Before(AttachmentName),
    /// Just inside of another.
    After(AttachmentName),
}

/// The names of a chain with one of them at a position, whether it was there before or not; `None` when the position names
/// something that is not there.
#[must_use]
pub fn placed(names: &[AttachmentName], name: &AttachmentName, position: &Position) -> Option<Vec<AttachmentName>> {
    let mut others: Vec<AttachmentName> = names.iter().filter(|other| *other != name).cloned().collect();
    let find = |wanted: &AttachmentName| others.iter().position(|other| other == wanted);
    let at = match position {
        Position::First => 0,
        Position::Last => others.len(),
        Position::Before(other) => find(other)?,
        Position::After(other) => find(other)? + 1,
    };
    others.insert(at, name.clone());
    Some(others)
}

/// Orders that put attachments into a sequence and change as few of those that exist as possible.
#[must_use]
pub fn orders(sequence: &[(AttachmentName, Option<i32>)]) -> Vec<(AttachmentName, i32)> {
    // What exists and is in order keeps its number, if there is room for the newcomer; otherwise all are numbered anew.
    let kept = (0..sequence.len()).map(|at| {
        let (name, order) = sequence.get(at)?;
        let before = sequence.get(..at)?.iter().rev().find_map(|(_, order)| *order);
        let after = sequence.get(at + 1..)?.iter().find_map(|(_, order)| *order);
        let order = match (order, before, after) {
            (Some(order), _, _) => *order,
            (None, None, None) => 0,
            (None, Some(before), None) => before.checked_add(ORDER_STEP)?,
            (None, None, Some(after)) => after.checked_sub(ORDER_STEP)?,
            (None, Some(before), Some(after)) => before.midpoint(after),
        };
        Some((name.clone(), order))
    });
    let kept: Option<Vec<_>> = kept.collect();
    let rises = |all: &Vec<(AttachmentName, i32)>| all.is_sorted_by(|(_, a), (_, b)| a < b);
    kept.filter(rises).unwrap_or_else(|| {
        let numbers = (0_i32..).map(|number| number.saturating_mul(ORDER_STEP));
        sequence.iter().map(|(name, _)| name.clone()).zip(numbers).collect()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> AttachmentName {
        AttachmentName::new(text).unwrap()
    }

    fn record(owner: Owner, text: &str, order: i32, selector: Selector) -> PolicyRecord {
        PolicyRecord {
            owner,
            order,
            selector,
            labels: BTreeMap::new(),
            spec: AttachmentSpec::new(name(text), "p"),
            created: Timestamp::UNIX_EPOCH,
        }
    }

    fn key(tenant: &str, server: &str) -> ServerKey {
        ServerKey { tenant: TenantName::new(tenant).unwrap(), name: ServerName::new(server).unwrap() }
    }

    fn tenant(text: &str) -> Owner {
        Owner::Tenant(TenantName::new(text).unwrap())
    }

    fn names(policies: &Policies, key: &ServerKey) -> Vec<String> {
        let (group, labels) = (GroupName::default(), BTreeMap::new());
        let server = Reached { key, group: &group, labels: &labels };
        reaching(policies, server).iter().map(|record| record.spec.name.to_string()).collect()
    }

    #[test]
    fn the_platform_comes_first_whatever_a_tenant_says_and_a_tenant_reaches_only_itself() {
        let all = [
            record(tenant("red"), "outer", i32::MIN, Selector::default()),
            record(Owner::Platform, "guard", i32::MAX, Selector::default()),
            record(tenant("blue"), "other", 0, Selector::default()),
            record(tenant("red"), "inner", 5, Selector::default()),
        ];
        let policies: Policies = all.into_iter().map(|record| (record.key(), record)).collect();
        assert_eq!(names(&policies, &key("red", "a")), ["guard", "outer", "inner"]);
        assert_eq!(names(&policies, &key("blue", "a")), ["guard", "other"]);
        assert_eq!(names(&policies, &key("green", "a")), ["guard"]);
    }

    #[test]
    fn a_selector_narrows_by_tenant_name_group_and_label() {
        let labels: BTreeMap<_, _> = [("team".to_owned(), "a".to_owned())].into();
        let group = GroupName::new("tools").unwrap();
        let covers = |value: serde_json::Value| {
            let selector: Selector = serde_json::from_value(value).unwrap();
            selector.covers(Reached { key: &key("red", "x"), group: &group, labels: &labels })
        };
        assert!(covers(serde_json::json!({})));
        assert!(covers(
            serde_json::json!({"tenants": ["blue", "red"], "servers": ["x"], "matchLabels": {"team": "a"}})
        ));
        assert!(!covers(serde_json::json!({"tenants": ["blue"]})));
        assert!(!covers(serde_json::json!({"servers": ["y"]})));
        assert!(covers(serde_json::json!({"groups": ["others", "tools"]})));
        assert!(!covers(serde_json::json!({"groups": ["others"]})));
        assert!(!covers(serde_json::json!({"matchLabels": {"team": "b"}})));
        assert!(!covers(serde_json::json!({"matchLabels": {"other": "a"}})));
    }

    #[test]
    fn a_newcomer_between_two_changes_neither() {
        let at = |order| Some(order);
        assert_eq!(orders(&[(name("a"), at(0)), (name("n"), None), (name("b"), at(10))])[1].1, 5);
        assert_eq!(orders(&[(name("a"), at(7)), (name("n"), None)])[1].1, 7 + ORDER_STEP);
        // No room: all are numbered anew, in the same sequence.
        let anew = orders(&[(name("a"), at(0)), (name("n"), None), (name("b"), at(1))]);
        assert_eq!(anew.iter().map(|(_, order)| *order).collect::<Vec<_>>(), [0, ORDER_STEP, 2 * ORDER_STEP]);
    }

    proptest! {
        #[test]
        fn orders_always_rise_in_the_sequence_asked_for(given in proptest::collection::vec(proptest::option::of(any::<i32>()), 0..8)) {
            let sequence: Vec<_> = given.iter().enumerate().map(|(at, order)| (name(&format!("n{at}")), *order)).collect();
            let numbered = orders(&sequence);
            prop_assert_eq!(numbered.len(), sequence.len());
            prop_assert!(numbered.iter().zip(&sequence).all(|((a, _), (b, _))| a == b));
            prop_assert!(numbered.is_sorted_by(|(_, a), (_, b)| a < b));
        }

        #[test]
        fn putting_one_in_its_place_keeps_the_others_in_theirs(count in 1_usize..6, moved in 0_usize..6, before in 0_usize..6) {
            let all: Vec<_> = (0..count).map(|at| name(&format!("n{at}"))).collect();
            let moved = name(&format!("n{moved}"));
            let target = name(&format!("n{before}"));
            let result = placed(&all, &moved, &Position::Before(target.clone()));
            let there = all.contains(&target) && target != moved;
            prop_assert_eq!(result.is_some(), there);
            if let Some(result) = result {
                let at = result.iter().position(|other| *other == moved).unwrap();
                prop_assert_eq!(&result[at + 1], &target);
                let rest: Vec<_> = result.iter().filter(|other| **other != moved).collect();
                let expected: Vec<_> = all.iter().filter(|other| **other != moved).collect();
                prop_assert_eq!(rest, expected);
            }
        }
    }
}
