//! Rules that approve without a person what a person would approve anyway: a new version of an entry that was approved before, in
//! which nothing changed that somebody would look at.

use fairlead_core::registry::EntryStatus;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::entry::Entry;
use crate::review::compare;
use crate::rules::Filter;
use crate::spec::Hook;

/// What may differ from what was approved, unless a rule says otherwise: that it is another version.
const MAY_CHANGE: [&str; 5] = ["/version", "/title", "/description", "/packages/*/version", "/packages/*/identifier"];

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApprovalRule {
    /// What it is called where it is told who approved.
    pub name: String,
    /// Of which entries; absent: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Filter>,
    /// Pointers into the document, with `*` for one part: only there it may differ from what was approved before. Absent: what a
    /// new version changes (`/version`, `/title`, `/description`, `/packages/*/version`, `/packages/*/identifier`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_change: Option<Vec<String>>,
    /// A registry source that has the last word: it approves by returning the entry as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Hook>,
}

impl ApprovalRule {
    /// Whether it approves an entry after one that was approved, as far as the plugin does not mind.
    #[must_use]
    pub fn fits(&self, before: &Entry, after: &Entry, now: Timestamp) -> bool {
        let selected = self.when.as_ref().is_none_or(|when| when.selects(after, &after.view(), now));
        let may = |pointer: &str| match &self.may_change {
            Some(may) => may.iter().any(|pattern| fits(pattern, pointer)),
            None => MAY_CHANGE.iter().any(|pattern| fits(pattern, pointer)),
        };
        after.status == EntryStatus::Active
            && selected
            && before.name == after.name
            && compare(Some(before), after).iter().all(|difference| may(&difference.pointer))
    }
}

/// Whether a pointer is what a pattern says, part by part.
fn fits(pattern: &str, pointer: &str) -> bool {
    let (mut wanted, mut has) = (pattern.split('/'), pointer.split('/'));
    loop {
        match (wanted.next(), has.next()) {
            (None, None) => return true,
            (Some(wanted), Some(has)) if wanted == "*" || wanted == has => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::entry::sample;

    fn entry(version: &str, document: Value) -> Entry {
        let mut entry = sample("a/b", version);
        entry.document = document.to_string();
        entry
    }

    fn document(version: &str, image: &str) -> Value {
        json!({"name": "a/b", "version": version, "packages": [{"registryType": "oci", "identifier": image,
            "environmentVariables": [{"name": "A"}]}]})
    }

    #[test]
    fn a_new_version_is_approved_when_nothing_else_is_new() {
        let rule: ApprovalRule = serde_json::from_value(json!({"name": "new versions"})).unwrap();
        let before = entry("1", document("1", "x@sha256:0"));
        let fits = |rule: &ApprovalRule, after: &Entry| rule.fits(&before, after, Timestamp::UNIX_EPOCH);
        assert!(fits(&rule, &entry("2", document("2", "x:2"))));
        let mut asks = document("2", "x:2");
        asks["packages"][0]["environmentVariables"][0]["isSecret"] = json!(true);
        assert!(!fits(&rule, &entry("2", asks.clone())), "it asks for something else");
        let mut more = document("2", "x:2");
        more["remotes"] = json!([{"type": "sse", "url": "https://x.test"}]);
        assert!(!fits(&rule, &entry("2", more)));
        let anything = json!({"name": "r", "mayChange": ["/version", "/packages/*/identifier", "/packages/*/environmentVariables/*/isSecret"]});
        assert!(fits(&serde_json::from_value(anything).unwrap(), &entry("2", asks)));
        let other = json!({"name": "r", "when": {"names": ["c/*"]}});
        assert!(!fits(&serde_json::from_value(other).unwrap(), &entry("2", document("2", "x:2"))));
        let mut gone = entry("2", document("2", "x:2"));
        gone.status = EntryStatus::Deprecated;
        assert!(!fits(&rule, &gone));
    }
}
