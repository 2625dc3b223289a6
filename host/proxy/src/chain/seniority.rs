//! What an outer level has said, no inner level takes back: who calls, attributes, headers for the server.
//!
//! All links of an exchange share their notes. A plugin of the platform reads on the way back what it wrote on the way in, and
//! its headers tell the server whom to believe; if a plugin of a tenant could overwrite them, the tenant would have loosened
//! what it can neither remove nor reorder. Within a level the later link still takes the place of the earlier one.

use fairlead_core::chain::Level;
use fairlead_core::middleware::Notes;

/// Who wrote what in one exchange.
#[derive(Debug, Default)]
pub(super) struct Seniority {
    identity: Option<Level>,
    attributes: Owners,
    headers: Owners,
}

/// The outermost level that has written a name.
#[derive(Debug, Default)]
struct Owners(Vec<(String, Level)>);

impl Seniority {
    /// Where the host says itself who calls, as the outermost level would.
    pub(super) fn knowing() -> Self {
        Self { identity: Some(Level::Platform), ..Self::default() }
    }

    /// Settles what stands after a link of a level has written. `before` is what it was given; none: nothing.
    pub(super) fn settle(&mut self, level: Level, before: Option<&Notes>, after: &mut Notes) {
        let nothing = Notes::default();
        let before = before.unwrap_or(&nothing);
        if before == after {
            return;
        }
        if before.identity != after.identity {
            if self.identity.is_some_and(|owner| owner < level) {
                after.identity.clone_from(&before.identity);
            } else {
                self.identity = Some(level);
            }
        }
        self.attributes.settle(level, &before.attributes, &mut after.attributes);
        self.headers.settle(level, &before.upstream_headers, &mut after.upstream_headers);
    }
}

impl Owners {
    fn settle<V: Clone + PartialEq>(&mut self, level: Level, before: &[(String, V)], after: &mut Vec<(String, V)>) {
        for (name, value) in before.iter().filter(|(name, _)| self.owner(name).is_some_and(|owner| owner < level)) {
            after.retain(|(other, now)| other != name || now == value);
            if !after.iter().any(|(other, _)| other == name) {
                after.push((name.clone(), value.clone()));
            }
        }
        let written: Vec<&String> = after.iter().filter(|pair| !before.contains(pair)).map(|(name, _)| name).collect();
        for name in written {
            match self.0.iter_mut().find(|(known, _)| known == name) {
                Some((_, owner)) => *owner = level.min(*owner),
                None => self.0.push((name.clone(), level)),
            }
        }
    }

    fn owner(&self, name: &str) -> Option<Level> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, owner)| *owner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fairlead_core::middleware::Identity;
    use fairlead_core::secret::SecretValue;
    use proptest::prelude::*;

    use super::*;

    /// One link writes one name.
    type Write = (Level, u8, u8);

    fn writes() -> impl Strategy<Value = Vec<Write>> {
        let level = prop_oneof![Just(Level::Platform), Just(Level::Tenant), Just(Level::Server)];
        proptest::collection::vec((level, 0..3_u8, any::<u8>()), 0..24)
    }

    proptest! {
        #[test]
        fn a_name_has_the_last_value_of_the_outermost_level_that_wrote_it(writes in writes()) {
            let (mut seniority, mut notes) = (Seniority::default(), Notes::default());
            let mut expected: BTreeMap<String, (Level, String)> = BTreeMap::new();
            for (level, name, value) in writes {
                let (name, value) = (name.to_string(), value.to_string());
                let before = notes.clone();
                notes.attributes.retain(|(other, _)| *other != name);
                notes.attributes.push((name.clone(), value.clone()));
                seniority.settle(level, Some(&before), &mut notes);
                // To write what is there already says nothing new, and claims nothing.
                let said_nothing = before.attributes.contains(&(name.clone(), value.clone()));
                match expected.get(&name) {
                    Some((owner, _)) if *owner < level || said_nothing => {}
                    _ => drop(expected.insert(name, (level, value))),
                }
                let found: BTreeMap<_, _> = notes.attributes.iter().cloned().collect();
                prop_assert_eq!(found.len(), notes.attributes.len());
                let stands = expected.iter().map(|(name, (_, value))| (name.clone(), value.clone()));
                prop_assert_eq!(found, stands.collect::<BTreeMap<_, _>>());
            }
        }
    }

    #[test]
    fn whoever_opened_a_session_is_not_replaced_from_within() {
        let caller = |subject: &str| Some(Identity { subject: subject.to_owned(), claims: Vec::new() });
        let known = Notes { identity: caller("red"), ..Notes::default() };
        for (level, then) in [(Level::Server, "red"), (Level::Tenant, "red"), (Level::Platform, "blue")] {
            let mut after = Notes { identity: caller("blue"), ..Notes::default() };
            Seniority::knowing().settle(level, Some(&known), &mut after);
            assert_eq!(after.identity, caller(then), "{level:?}");
        }
    }

    #[test]
    fn a_tenant_changes_neither_identity_nor_header_of_the_platform_and_takes_none_away() {
        let caller = |subject: &str| Some(Identity { subject: subject.to_owned(), claims: Vec::new() });
        let header = |value: &str| ("x-tenant".to_owned(), SecretValue::new(value.as_bytes()));
        let mut seniority = Seniority::default();
        let mut notes = Notes { identity: caller("red"), upstream_headers: vec![header("red")], ..Notes::default() };
        seniority.settle(Level::Platform, None, &mut notes);
        let platform = notes.clone();
        for forged in [
            Notes {
                identity: caller("blue"),
                upstream_headers: vec![header("red"), header("blue")],
                ..Notes::default()
            },
            Notes::default(),
        ] {
            let mut after = forged;
            seniority.settle(Level::Tenant, Some(&platform), &mut after);
            assert_eq!(after, platform);
        }
        // The platform itself has second thoughts as it likes.
        let mut after = Notes { identity: caller("green"), ..Notes::default() };
        seniority.settle(Level::Platform, Some(&platform), &mut after);
        assert_eq!(after.identity, caller("green"));
    }
}
