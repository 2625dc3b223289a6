//! The configuration: names as the server gives them on one side, names as the client sees them on the other.

use std::collections::{BTreeMap, BTreeSet};

use fairlead_plugin::pattern::{matches, matches_any};
use fairlead_plugin::prelude::*;

/// Which tools a client sees and may call. Patterns match the names that the server gives; `*` stands for any run of
/// characters.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Only tools that match one of these; absent: all.
    pub allow: Option<Vec<String>>,
    /// Tools that match one of these are hidden and refused, even when `allow` matches.
    pub deny: Vec<String>,
    /// Name that the server gives → name that the client sees and calls.
    pub rename: BTreeMap<String, String>,
    /// Name that the client sees → description that it reads in place of the server's.
    pub descriptions: BTreeMap<String, String>,
}

impl Config {
    /// Whether a tool may be seen and called, by the name that the server gives.
    pub(crate) fn permits(&self, original: &str) -> bool {
        self.allow.as_ref().is_none_or(|allow| matches_any(allow, original)) && !matches_any(&self.deny, original)
    }

    /// The server's name of what the client calls; none when nothing goes by this name.
    pub(crate) fn original<'a>(&'a self, visible: &'a str) -> Option<&'a str> {
        match self.rename.iter().find(|(_, to)| *to == visible) {
            Some((from, _)) => Some(from),
            None => (!self.rename.contains_key(visible)).then_some(visible),
        }
    }

    /// The name under which the client sees a tool; none when another tool was given its name.
    pub(crate) fn visible<'a>(&'a self, original: &'a str) -> Option<&'a str> {
        match self.rename.get(original) {
            Some(to) => Some(to),
            None => (!self.rename.values().any(|to| to == original)).then_some(original),
        }
    }

    /// What a schema cannot say.
    pub(crate) fn check(&self) -> Result<Vec<String>, String> {
        let mut seen = BTreeSet::new();
        for (from, to) in &self.rename {
            if from.is_empty() || to.is_empty() {
                return Err("/rename: a name is empty".to_owned());
            }
            if !seen.insert(to) {
                return Err(format!("/rename: two tools would be called `{to}`; give each a name of its own"));
            }
        }
        let mut warnings = Vec::new();
        if self.allow.as_ref().is_some_and(Vec::is_empty) {
            warnings.push("/allow is empty: no tool can be called; leave it out to allow all".to_owned());
        }
        for from in self.rename.keys().filter(|from| !self.permits(from)) {
            warnings.push(format!("/rename: `{from}` is hidden anyway"));
        }
        for pattern in self.allow.iter().flatten().filter(|allowed| self.deny.iter().any(|deny| matches(deny, allowed)))
        {
            warnings.push(format!("/allow: `{pattern}` is denied by /deny"));
        }
        Ok(warnings)
    }
}
