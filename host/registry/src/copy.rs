//! The last good copy of one registry, and how it lies on disk: lines of JSON, the state first, then the entries, then their
//! number.
//!
//! It is written as a whole and takes the place of the one before in one step, so that a crash leaves either. A file that was
//! cut short has no last line and is none; the next synchronisation begins without it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::entry::{Entry, Refused};

/// Name and version.
pub type EntryKey = (String, String);

/// The version of this file.
const FORMAT: u32 = 1;

/// Where a synchronisation ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Position {
    /// Which source under which configuration the following is of: another one cannot go on from here.
    pub origin: String,
    /// From where what changed can be asked for.
    pub checkpoint: Option<String>,
    /// Entity tag of what was read.
    pub etag: Option<String>,
    /// When this copy was completed.
    pub synced: Option<Timestamp>,
    /// When it was last read from the beginning.
    pub read_whole: Option<Timestamp>,
    /// Entries that were refused then, the first of them.
    pub refused: Vec<Refused>,
    /// How many were.
    pub refused_count: usize,
}

/// What a registry held when it was read last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copy {
    /// Where the synchronisation ended.
    pub position: Position,
    /// The entries. Shared with the catalogue that is made of them.
    pub entries: BTreeMap<EntryKey, Arc<Entry>>,
}

/// Why bytes are no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It ends too early.
    #[error("it was cut short after {0} entries")]
    Short(usize),
    /// A line is not what it should be.
    #[error("line {line} makes no sense")]
    Line {
        /// Which.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It was written by a later version.
    #[error("it has format {0}, which this version does not know")]
    Format(u32),
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    position: Position,
}

#[derive(Serialize, Deserialize)]
struct End {
    end: usize,
}

impl Copy {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut line = |value: Result<Vec<u8>, serde_json::Error>| {
            // Texts and numbers can always be written.
            bytes.extend(value.unwrap_or_default());
            bytes.push(b'\n');
        };
        line(serde_json::to_vec(&Head { format: FORMAT, position: self.position.clone() }));
        for entry in self.entries.values() {
            line(serde_json::to_vec(&**entry));
        }
        line(serde_json::to_vec(&End { end: self.entries.len() }));
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// They are no whole copy.
    pub fn decode(bytes: &[u8]) -> Result<Self, CopyError> {
        let mut lines = bytes.split(|byte| *byte == b'\n').enumerate();
        let wrong = |at: usize| move |source| CopyError::Line { line: at + 1, source };
        let (_, first) = lines.next().ok_or(CopyError::Short(0))?;
        let head: Head = serde_json::from_slice(first).map_err(wrong(0))?;
        if head.format != FORMAT {
            return Err(CopyError::Format(head.format));
        }
        let mut entries = BTreeMap::new();
        for (at, line) in lines {
            if line.starts_with(br#"{"end":"#) {
                let End { end } = serde_json::from_slice(line).map_err(wrong(at))?;
                let whole = end == entries.len();
                return whole.then_some(Self { position: head.position, entries }).ok_or(CopyError::Short(end));
            }
            if line.is_empty() {
                break;
            }
            let entry: Entry = serde_json::from_slice(line).map_err(wrong(at))?;
            entries.insert((entry.name.clone(), entry.version.clone()), Arc::new(entry));
        }
        Err(CopyError::Short(entries.len()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::sample;

    fn copy(names: &[String]) -> Copy {
        let entries = names.iter().map(|name| sample(name, "1.0.0"));
        Copy {
            position: Position { etag: Some("e\n".to_owned()), refused_count: 1, ..Position::default() },
            entries: entries.map(|entry| ((entry.name.clone(), entry.version.clone()), Arc::new(entry))).collect(),
        }
    }

    proptest! {
        #[test]
        fn a_copy_is_read_as_it_was_written_and_no_part_of_it_is_one(names in proptest::collection::vec("[a-z]{1,3}/[a-z]{1,3}", 0..6), cut in 0.0_f64..1.0) {
            let copy = copy(&names);
            let bytes = copy.encode();
            prop_assert_eq!(Copy::decode(&bytes).unwrap(), copy);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short text")]
            let cut = ((bytes.len() - 1) as f64 * cut) as usize;
            // Without the newline at the end everything is there.
            prop_assert!(cut == bytes.len() - 1 || Copy::decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_copy_of_a_later_version_is_not_guessed_at() {
        let text = r#"{"format":2,"position":{}}"#;
        assert!(matches!(Copy::decode(text.as_bytes()), Err(CopyError::Format(2))));
    }
}
