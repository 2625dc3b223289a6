//! Rules of one registry: which of its entries are taken, and how they are changed on the way.
//!
//! Applied to the copy whenever the catalogue is computed, not when it is fetched: a changed rule needs no network, and an age
//! is that of today. Without a rule an entry passes byte for byte; a rule that changes a document writes it anew.

use std::collections::BTreeMap;

use fairlead_core::chain::glob;
use fairlead_core::permission::{self, PermissionProfile};
use fairlead_core::registry::EntryStatus;
use fairlead_server_json::{Document, is_server_name};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::entry::{CATALOGUE, Entry};

/// Filters and changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Rules {
    /// Only entries that one of these selects; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<Filter>,
    /// And of those, none that one of these selects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Filter>,
    /// Changes, one after the other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub change: Vec<Change>,
}

/// Selects entries that fit every field that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Filter {
    /// Names, with `*` for any run of characters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Tags, one of which it has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Transports, one of which it speaks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transports: Vec<String>,
    /// Types of packages, one of which it has; `remote` for a server that runs elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub package_types: Vec<String>,
    /// What it may stand for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<EntryStatus>,
    /// Labels, all of which it has.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Published at least so many days ago. An entry whose age nobody knows does not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_age_days: Option<u32>,
    /// Published or changed at most so many days ago. An entry whose age nobody knows does not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_days: Option<u32>,
}

/// One change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// Of which entries; absent: of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Filter>,
    /// Another beginning of the name, such as another namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rename: Option<Rename>,
    /// Labels to put on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Labels to take off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove_labels: Vec<String>,
    /// Digests by image without tag or digest: an image that is named here is pinned to its digest.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pin: BTreeMap<String, String>,
    /// The permission profile of entries that have none of their own: `none`, `network` or a whole one.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "profile")]
    #[schemars(with = "Option<Value>")]
    pub permissions: Option<PermissionProfile>,
}

/// Another beginning of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rename {
    /// What it begins with.
    pub from: String,
    /// What it begins with instead.
    pub to: String,
}

fn profile<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<PermissionProfile>, D::Error> {
    permission::named_or_whole(deserializer).map(Some)
}

impl Rules {
    /// Whether every entry passes as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The entry as the rules leave it; `None` when they leave it out.
    #[must_use]
    pub fn apply(&self, entry: &Entry, now: Timestamp) -> Option<Entry> {
        let mut entry = entry.clone();
        if self.is_empty() {
            return Some(entry);
        }
        let view = entry.view();
        let selected = |filters: &[Filter]| filters.iter().any(|filter| filter.selects(&entry, &view, now));
        if (!self.include.is_empty() && !selected(&self.include)) || selected(&self.exclude) {
            return None;
        }
        for change in &self.change {
            change.apply(&mut entry, now);
        }
        Some(entry)
    }
}

impl Filter {
    /// Whether an entry fits every field that is given.
    #[must_use]
    pub fn selects(&self, entry: &Entry, view: &Document, now: Timestamp) -> bool {
        let any =
            |wanted: &[String], has: &[&str]| wanted.is_empty() || wanted.iter().any(|it| has.contains(&it.as_str()));
        let tags = view.tags();
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        let days = |since: Timestamp| now.duration_since(since).as_hours() / 24;
        let published = entry.published.map(days);
        let changed = entry.updated.or(entry.published).map(days);
        (self.names.is_empty() || self.names.iter().any(|pattern| glob(pattern, &entry.name)))
            && any(&self.tags, &tags)
            && any(&self.transports, &view.transports())
            && any(&self.package_types, &view.package_types())
            && (self.statuses.is_empty() || self.statuses.contains(&entry.status))
            && self.match_labels.iter().all(|(label, value)| entry.labels.get(label) == Some(value))
            && self.min_age_days.is_none_or(|least| published.is_some_and(|age| age >= i64::from(least)))
            && self.max_age_days.is_none_or(|most| changed.is_some_and(|age| age <= i64::from(most)))
    }
}

impl Change {
    fn apply(&self, entry: &mut Entry, now: Timestamp) {
        if self.when.as_ref().is_some_and(|when| !when.selects(entry, &entry.view(), now)) {
            return;
        }
        entry.labels.extend(self.labels.clone());
        entry.labels.retain(|label, _| !self.remove_labels.contains(label));
        if self.rename.is_none() && self.pin.is_empty() && self.permissions.is_none() {
            return;
        }
        let Ok(mut document) = serde_json::from_str::<Value>(&entry.document) else { return };
        let before = document.clone();
        if let Some(Rename { from, to }) = &self.rename
            && let Some(rest) = entry.name.strip_prefix(from.as_str())
        {
            let name = format!("{to}{rest}");
            // A rule that makes no name changes none: the entry stays what it was.
            if is_server_name(&name)
                && let Some(fields) = document.as_object_mut()
            {
                fields.insert("name".to_owned(), name.as_str().into());
                entry.name = name;
            }
        }
        self.pin(&mut document);
        self.permit(entry, &mut document);
        if document != before {
            entry.document = document.to_string();
        }
    }

    fn pin(&self, document: &mut Value) {
        let packages = document.get_mut("packages").and_then(Value::as_array_mut);
        for package in packages.into_iter().flatten().filter(|it| it.get("registryType") == Some(&json!("oci"))) {
            let Some(image) = package.get("identifier").and_then(Value::as_str) else { continue };
            let bare = bare(image);
            let Some(pinned) = self.pin.get(bare).map(|digest| format!("{bare}@{digest}")) else { continue };
            if let Some(fields) = package.as_object_mut() {
                fields.insert("identifier".to_owned(), pinned.into());
            }
        }
    }

    fn permit(&self, entry: &Entry, document: &mut Value) {
        let Some(permissions) = &self.permissions else { return };
        if crate::launch::profile_of(&entry.view()).is_some() {
            return;
        }
        let Some(fields) = document.as_object_mut() else { return };
        let meta = fields.entry("_meta").or_insert_with(|| json!({}));
        if let Some(meta) = meta.as_object_mut() {
            meta.insert(CATALOGUE.to_owned(), json!({ "permissions": permissions }));
        }
    }
}

/// An image without tag and digest.
pub(crate) fn bare(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    match name.get(last..).and_then(|last| last.find(':')) {
        Some(colon) => name.get(..last + colon).unwrap_or(name),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::sample;

    fn rules(value: Value) -> Rules {
        serde_json::from_value(value).unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn an_entry_is_taken_when_it_is_included_and_not_excluded() {
        let passes = |value, entry: &Entry| rules(value).apply(entry, now()).is_some();
        let mut entry = sample("io.acme/a", "1.0.0");
        entry.labels.insert("team".to_owned(), "x".to_owned());
        entry.published = Some("2026-11-11T12:00:00Z".parse().unwrap());
        for (value, taken) in [
            (json!({}), true),
            (json!({"include": [{"names": ["io.acme/*"]}]}), true),
            (json!({"include": [{"names": ["io.other/*"]}]}), false),
            (json!({"include": [{"names": ["io.other/*"]}, {"matchLabels": {"team": "x"}}]}), true),
            (json!({"include": [{"names": ["io.acme/*"], "matchLabels": {"team": "y"}}]}), false),
            (json!({"exclude": [{"names": ["*/a"]}]}), false),
            (json!({"exclude": [{"statuses": ["deprecated", "deleted"]}]}), true),
            (json!({"include": [{"minAgeDays": 10}]}), true),
            (json!({"include": [{"minAgeDays": 11}]}), false),
            (json!({"include": [{"maxAgeDays": 9}]}), false),
            (json!({"include": [{"transports": ["stdio"]}]}), false),
        ] {
            assert_eq!(passes(value.clone(), &entry), taken, "{value}");
        }
        assert!(!passes(json!({"include": [{"minAgeDays": 1}]}), &sample("a/b", "1")), "an unknown age is no age");
    }

    #[test]
    fn changes_rename_relabel_pin_and_give_a_profile() {
        let mut entry = sample("io.acme/a", "1.0.0");
        entry.document = json!({
            "name": "io.acme/a", "version": "1.0.0",
            "packages": [{"registryType": "oci", "identifier": "host.test:5000/x/y:1.2"}],
        })
        .to_string();
        let changed = rules(json!({"change": [
            {"rename": {"from": "io.acme/", "to": "corp/"}, "labels": {"a": "1", "b": "2"}, "removeLabels": ["b"]},
            {"when": {"names": ["corp/*"]}, "pin": {"host.test:5000/x/y": "sha256:00"}, "permissions": "network"},
            {"when": {"names": ["nobody/*"]}, "labels": {"c": "3"}},
        ]}))
        .apply(&entry, now())
        .unwrap();
        assert_eq!((changed.name.as_str(), changed.view().name.as_str()), ("corp/a", "corp/a"));
        assert_eq!(changed.labels.into_iter().collect::<Vec<_>>(), [("a".to_owned(), "1".to_owned())]);
        let view = Document::of(&changed.document).unwrap();
        assert_eq!(view.packages[0].identifier, "host.test:5000/x/y@sha256:00");
        assert_eq!(crate::launch::profile_of(&view), Some(Ok(PermissionProfile::network())));
    }

    #[test]
    fn an_image_is_bare_without_tag_and_digest() {
        for image in ["h:5000/a/b", "h:5000/a/b:1", "h:5000/a/b@sha256:0", "h:5000/a/b:1@sha256:0"] {
            assert_eq!(bare(image), "h:5000/a/b");
        }
    }

    proptest! {
        #[test]
        fn without_a_rule_that_changes_it_a_document_passes_byte_for_byte(spaces in " {0,5}", include in any::<bool>()) {
            let mut entry = sample("a/b", "1.0.0");
            entry.document = format!("{{{spaces}\"name\":\"a/b\",{spaces}\"version\":\"1.0.0\"}}");
            let rules = if include { rules(json!({"include": [{"names": ["a/*"]}], "change": [{"labels": {"x": "y"}}]})) } else { Rules::default() };
            prop_assert_eq!(rules.apply(&entry, now()).unwrap().document, entry.document);
        }

        #[test]
        fn a_filter_that_was_applied_changes_nothing_when_applied_again(names in proptest::collection::vec("[ab]/[ab*]", 0..3), entry in "[ab]/[ab]") {
            let rules = Rules { exclude: vec![Filter { names, ..Filter::default() }], ..Rules::default() };
            if let Some(once) = rules.apply(&sample(&entry, "1"), now()) {
                prop_assert_eq!(rules.apply(&once, now()), Some(once));
            }
        }
    }
}
