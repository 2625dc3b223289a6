//! Whether a server is what its entry says.
//!
//! A server that names the entry it came from is held against the `MCPRegistry`s of its namespace for as long as it lives. What it
//! comes to is a pure judgement (`judge`) of what they answered last; asking stands apart ([`ask`](mod@ask)), and nobody waits for
//! it. It informs and stops nobody: a registry that is away, or a word that is wrong there, would end servers that are well.

pub(crate) mod ask;
pub(crate) mod book;
mod judge;
pub(crate) mod way;

use std::collections::BTreeMap;
use std::fmt;

use fairlead_core::registry::Offered;

pub use ask::{Lease, Reach, Reached};
pub(crate) use judge::{Judgement, is_about, judge};

/// An entry, as a server names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName {
    /// `namespace/name`.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl EntryName {
    /// The longest text that is read: the longest name and version of the official schema.
    const BYTES_MAX: usize = 200 + 1 + 255;

    /// Reads the value of [`ANNOTATION_ENTRY`](fairlead_core::registry::ANNOTATION_ENTRY).
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        // No name has an `@` in it, and a version may.
        let (name, version) = text.split_once('@')?;
        let is_named = name.contains('/') && !version.is_empty() && text.len() <= Self::BYTES_MAX;
        is_named.then(|| Self { name: name.to_owned(), version: version.to_owned() })
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// What a registry says of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It has it.
    Offered(Offered),
    /// It does not have it.
    Missing,
    /// It says nothing, and why.
    Unavailable(String),
}

/// What the registries of a namespace say of one entry, by their names; `None`: it was not asked yet.
pub type Answers = BTreeMap<String, Option<Answer>>;
