//! What is to be replaced in one string.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use fairlead_plugin::pattern::matches_any;

use crate::builtin::Scanner;
use crate::config::{Compiled, Config};

/// The name under which a find by the name of its field goes.
const FIELD: &str = "field";

/// Everything that is looked for, ready to search.
#[derive(Debug)]
pub(crate) struct Finder {
    scanner: Scanner,
    custom: Vec<Compiled>,
    fields: Vec<String>,
    replacement: String,
}

/// How often each pattern was found.
pub(crate) type Counts<'a> = BTreeMap<Cow<'a, str>, u64>;

impl Finder {
    pub(crate) fn new(config: &Config) -> Result<Self, String> {
        Ok(Self {
            scanner: Scanner::new(&config.patterns),
            custom: config.compile()?,
            fields: config.fields.clone(),
            replacement: config.replacement.clone(),
        })
    }

    /// The string without what was found in it; none when nothing was. `field` is the name of the field it stands in.
    pub(crate) fn redact<'a>(&'a self, field: Option<&str>, text: &str, counts: &mut Counts<'a>) -> Option<String> {
        if let Some(field) = field
            && !self.fields.is_empty()
            && !text.is_empty()
            && matches_any(&self.fields, field)
        {
            *counts.entry(Cow::Borrowed(FIELD)).or_default() += 1;
            return Some(self.replaced(FIELD));
        }
        let mut finds: Vec<(Range<usize>, Cow<'a, str>)> = Vec::new();
        self.scanner.scan(text, |pattern, span| finds.push((span, Cow::Borrowed(pattern.name()))));
        for custom in self.custom.iter().filter(|custom| custom.may_match(text)) {
            for captures in custom.regex.captures_iter(text) {
                let Some(span) = captures.name("secret").or_else(|| captures.get(0)) else { continue };
                if !span.is_empty() {
                    finds.push((span.range(), Cow::Borrowed(&custom.name)));
                }
            }
        }
        if finds.is_empty() {
            return None;
        }
        finds.sort_by_key(|(span, _)| (span.start, std::cmp::Reverse(span.end)));
        Some(self.replace(text, finds, counts))
    }

    fn replace<'a>(&self, text: &str, finds: Vec<(Range<usize>, Cow<'a, str>)>, counts: &mut Counts<'a>) -> String {
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        for (span, name) in finds {
            if span.start >= done {
                out.push_str(text.get(done..span.start).unwrap_or_default());
                out.push_str(&self.replaced(&name));
                *counts.entry(name).or_default() += 1;
            }
            // One that overlaps the one before leaves nothing of itself behind.
            done = done.max(span.end);
        }
        out.push_str(text.get(done..).unwrap_or_default());
        out
    }

    fn replaced(&self, name: &str) -> String {
        self.replacement.replace("{name}", name)
    }
}
