//! The configuration: what to look for, where, and what to do about it.

use fairlead_plugin::prelude::*;

use crate::builtin::Builtin;

/// Custom patterns. Each costs a pass over every string, within the computing time of the hook.
const CUSTOM_MAX: usize = 32;

/// Memory that one compiled custom pattern may take.
const REGEX_BYTES_MAX: usize = 256 * 1024;

/// What to look for in the strings of arguments, results and events, and what to do about it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Built-in patterns.
    pub patterns: Vec<Builtin>,
    /// Patterns of your own.
    pub custom: Vec<Custom>,
    /// Fields whose string value is replaced whatever it is, as patterns over the name: `password`, `*_secret`.
    pub fields: Vec<String>,
    /// Where to look.
    pub places: Vec<Place>,
    /// Only tools, prompts and resources that match one of these. Events have no target and are always looked at.
    pub targets: Vec<String>,
    /// What to do about a find.
    pub action: Action,
    /// What takes the place of a find; `{name}` is the name of the pattern.
    pub replacement: String,
}

/// A pattern of your own.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// Name, for the replacement and for metrics.
    pub name: String,
    /// Regular expression (syntax of the Rust crate `regex-lite`). A group named `secret` limits what is replaced.
    pub regex: String,
}

/// Where to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// What a client sends to a tool or a prompt.
    Arguments,
    /// What comes back, errors included.
    Results,
    /// What a server sends on a stream: log messages, progress, sampling and elicitation.
    Events,
}

/// What to do about a find.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Replace it.
    #[default]
    Redact,
    /// Refuse the message. An event is dropped.
    Reject,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            patterns: Builtin::SECRETS.to_vec(),
            custom: Vec::new(),
            fields: Vec::new(),
            places: vec![Place::Arguments, Place::Results, Place::Events],
            targets: Vec::new(),
            action: Action::Redact,
            replacement: "[redacted: {name}]".to_owned(),
        }
    }
}

impl Config {
    /// Compiles the custom patterns.
    pub(crate) fn compile(&self) -> Result<Vec<(String, regex_lite::Regex)>, String> {
        if self.custom.len() > CUSTOM_MAX {
            return Err(format!("/custom: at most {CUSTOM_MAX} patterns"));
        }
        let compile = |(index, custom): (usize, &Custom)| {
            let regex = regex_lite::RegexBuilder::new(&custom.regex)
                .size_limit(REGEX_BYTES_MAX)
                .build()
                .map_err(|error| format!("/custom/{index}/regex: {error}"))?;
            if regex.is_match("") {
                return Err(format!("/custom/{index}/regex: matches nothing at all, and so everywhere"));
            }
            Ok((custom.name.clone(), regex))
        };
        self.custom.iter().enumerate().map(compile).collect()
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.patterns.is_empty() && self.custom.is_empty() && self.fields.is_empty() {
            warnings.push("nothing to look for: /patterns, /custom and /fields are empty".to_owned());
        }
        if self.places.is_empty() {
            warnings.push("/places is empty: nothing is looked at".to_owned());
        }
        warnings
    }

    pub(crate) fn looks_at(&self, place: Place) -> bool {
        self.places.contains(&place)
    }
}
