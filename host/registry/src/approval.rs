//! Rules that approve without a person what a person would approve anyway: a new version of an entry that was approved before, in
//! which nothing changed that somebody would look at.

use fairlead_core::document::Difference;
use fairlead_core::registry::EntryStatus;
use fairlead_server_json::Document;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::entry::Entry;
use crate::review::compare;
use crate::rules::{Filter, bare};
use crate::spec::Hook;

/// What may differ from what was approved, unless a rule says otherwise: that it is another version. Of an image its tag may
/// differ too, and not the place that it comes from: what somebody approved is theirs, and not that of whoever has the name now.
const MAY_CHANGE: [&str; 4] = ["/version", "/title", "/description", "/packages/*/version"];

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
    /// new version changes (`/version`, `/title`, `/description`, `/packages/*/version`, and the tag of an image).
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
        let view = after.view();
        let may = |differs: &Difference| match &self.may_change {
            Some(may) => may.iter().any(|pattern| fits(pattern, &differs.pointer)),
            None => MAY_CHANGE.iter().any(|pattern| fits(pattern, &differs.pointer)) || is_other_tag(&view, differs),
        };
        after.status == EntryStatus::Active
            && selected
            && before.name == after.name
            && compare(Some(before), after).iter().all(may)
    }
}

/// Whether it is the same image under another tag or digest. That it is an image still, another difference would say.
fn is_other_tag(after: &Document, differs: &Difference) -> bool {
    let place = differs.pointer.strip_prefix("/packages/").and_then(|rest| rest.strip_suffix("/identifier"));
    let package = place.and_then(|place| place.parse().ok()).and_then(|place: usize| after.packages.get(place));
    let image = |value: &Option<serde_json::Value>| Some(bare(value.as_ref()?.as_str()?).to_owned());
    package.is_some_and(|package| package.registry_type == "oci")
        && matches!((image(&differs.before), image(&differs.after)), (Some(before), Some(after)) if before == after)
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
    fn a_new_version_of_a_package_has_the_name_that_was_approved() {
        let rule: ApprovalRule = serde_json::from_value(json!({"name": "new versions"})).unwrap();
        let of = |version: &str, name: &str| {
            let package = json!({"registryType": "npm", "identifier": name, "version": version});
            entry(version, json!({"name": "a/b", "version": version, "packages": [package]}))
        };
        let fits = |name: &str| rule.fits(&of("1", "@acme/tool"), &of("2", name), Timestamp::UNIX_EPOCH);
        assert!(fits("@acme/tool"));
        for other in ["@evil/tool", "@acme/tool2", "tool"] {
            assert!(!fits(other), "{other}");
        }
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
        for elsewhere in ["y:2", "evil.test/x:2", "x/x:2"] {
            assert!(!fits(&rule, &entry("2", document("2", elsewhere))), "`{elsewhere}` is not what was approved");
        }
        let mut gone = entry("2", document("2", "x:2"));
        gone.status = EntryStatus::Deprecated;
        assert!(!fits(&rule, &gone));
    }
}
