//! Chains: which middleware sees a message, and in which order.
//!
//! A chain is immutable. An exchange (request, its events, its response) holds one from beginning to end, so swapping a
//! chain never mixes two revisions in one exchange and never loses a request.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::middleware::{Interest, Middleware, Phase, moment};
use crate::name::AttachmentName;
use crate::plugin::FailureMode;

/// At which level a plugin was attached. Levels order the chain: platform outermost, server innermost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// For every server of every tenant.
    Platform,
    /// For every server of one tenant.
    Tenant,
    /// For one server.
    #[default]
    Server,
}

impl Level {
    /// The same word as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Tenant => "tenant",
            Self::Server => "server",
        }
    }
}

/// One middleware in its place.
pub struct Link {
    /// Name of the attachment.
    pub name: AttachmentName,
    /// Where it was attached.
    pub level: Level,
    /// What happens when it is broken.
    pub failure_mode: FailureMode,
    /// Name, version and digest of the plugin, for logs and audit.
    pub revision: Arc<str>,
    /// The thing itself.
    pub middleware: Arc<dyn Middleware>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("name", &self.name)
            .field("level", &self.level)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// Middleware in the order in which a request passes it, outermost first.
#[derive(Debug, Default)]
pub struct Chain {
    links: Vec<Link>,
}

impl Chain {
    /// Orders the links by level; within a level the given order stays.
    #[must_use]
    pub fn new(mut links: Vec<Link>) -> Self {
        links.sort_by_key(|link| link.level);
        Self { links }
    }

    /// The links, outermost first.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Positions of the links that want to see `method` in `phase`, outermost first, whatever the target.
    #[must_use]
    pub fn interested(&self, method: &str, phase: Phase) -> Vec<usize> {
        self.links
            .iter()
            .enumerate()
            .filter(|(_, link)| {
                link.middleware
                    .interests()
                    .iter()
                    .any(|interest| interest.phases.contains(phase) && names(&interest.method, method))
            })
            .map(|(position, _)| position)
            .collect()
    }
}

/// Whether an interest covers a message.
#[must_use]
pub fn covers(interest: &Interest, method: &str, target: Option<&str>, phase: Phase) -> bool {
    interest.phases.contains(phase)
        && names(&interest.method, method)
        && match (&interest.target, target) {
            (None, _) => true,
            (Some(pattern), Some(target)) => glob(pattern, target),
            (Some(_), None) => false,
        }
}

/// Whether the pattern of an interest names a method. The host's own methods are named only by a pattern that begins like
/// them: a plugin that asked for every message of MCP is not asked about what is none.
#[must_use]
pub fn names(pattern: &str, method: &str) -> bool {
    (pattern.starts_with(moment::PREFIX) || !method.starts_with(moment::PREFIX)) && glob(pattern, method)
}

/// Matches a text against a pattern in which `*` stands for any run of characters. Linear in the product of the lengths at
/// worst, without recursion.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if text.get(t) == Some(byte) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    p = at + 1;
                    t = from + 1;
                    star = Some((at, t));
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_none_or(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::{glob, names};

    #[test]
    fn the_hosts_own_methods_are_named_only_on_purpose() {
        for (pattern, method, named) in [
            ("*", "tools/call", true),
            ("*", "fairlead/listen", false),
            ("*/listen", "fairlead/listen", false),
            ("fairlead/*", "fairlead/listen", true),
            ("fairlead/listen", "fairlead/listen", true),
            ("fairlead/*", "tools/call", false),
        ] {
            assert_eq!(names(pattern, method), named, "{pattern} {method}");
        }
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, text, matches) in [
            ("tools/call", "tools/call", true),
            ("tools/*", "tools/call", true),
            ("*/list", "prompts/list", true),
            ("*", "", true),
            ("a*b*c", "a--b-b--c", true),
            ("a*b", "a-b-c", false),
            ("tools/call", "tools/call2", false),
            ("", "x", false),
            ("*/list", "list", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }
}
