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
    pub(crate) fn compile(&self) -> Result<Vec<Compiled>, String> {
        if self.custom.len() > CUSTOM_MAX {
            return Err(format!("/custom: at most {CUSTOM_MAX} patterns"));
        }
        let compile = |(index, custom): (usize, &Custom)| {
            Compiled::new(custom).map_err(|error| format!("/custom/{index}/regex: {error}"))
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

/// A custom pattern, ready to search.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) name: String,
    pub(crate) regex: regex_lite::Regex,
    /// Text with which every find begins.
    literal: String,
}

impl Compiled {
    fn new(custom: &Custom) -> Result<Self, String> {
        let regex = regex_lite::RegexBuilder::new(&custom.regex)
            .size_limit(REGEX_BYTES_MAX)
            .build()
            .map_err(|error| error.to_string())?;
        if regex.is_match("") {
            return Err("matches nothing at all, and so everywhere".to_owned());
        }
        Ok(Self { name: custom.name.clone(), regex, literal: literal(&custom.regex).to_owned() })
    }

    /// False when there is certainly no find: to look for a literal costs a hundredth of the regular expression.
    pub(crate) fn may_match(&self, text: &str) -> bool {
        self.literal.is_empty() || text.contains(&self.literal)
    }
}

/// The plain text with which a regular expression begins; empty when in doubt.
fn literal(regex: &str) -> &str {
    let plain = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-' | ':' | '/' | '@' | '=');
    let end = regex.find(|character| !plain(character)).unwrap_or(regex.len());
    let (literal, rest) = regex.split_at_checked(end).unwrap_or_default();
    if regex.contains('|') {
        return "";
    }
    match rest.chars().next() {
        // The last character is optional or repeated.
        Some('?' | '*' | '+' | '{') => {
            literal.char_indices().next_back().and_then(|(last, _)| literal.get(..last)).unwrap_or_default()
        }
        _ => literal,
    }
}

#[cfg(test)]
mod tests {
    use super::{Compiled, Custom, literal};

    #[test]
    fn a_literal_is_only_what_every_find_begins_with() {
        for (regex, expected) in [
            ("TCK-[0-9]{6}", "TCK-"),
            ("key=", "key="),
            ("ab?c", "a"),
            ("a*b", ""),
            ("ab{2}", "a"),
            ("ab|cd", ""),
            ("(ab)", ""),
            ("(?i)ab", ""),
            ("^ab", ""),
            ("\\d+", ""),
            (".", ""),
            ("é+x", ""),
        ] {
            assert_eq!(literal(regex), expected, "{regex}");
        }
    }

    #[test]
    fn the_shortcut_never_hides_a_find() {
        for (regex, text) in
            [("ab?c", "xacx"), ("ab*", "a"), ("(?i)ab", "AB"), ("ab|cd", "cd"), ("a{2}", "aa"), ("x+y", "xxy")]
        {
            let custom = Custom { name: "n".to_owned(), regex: regex.to_owned() };
            let compiled = Compiled::new(&custom).unwrap();
            assert!(compiled.regex.is_match(text) && compiled.may_match(text), "{regex} on {text}");
        }
    }
}
