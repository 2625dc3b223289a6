//! An entry of the catalogue, and the door that one comes in through.

use std::collections::BTreeMap;

use fairlead_core::registry::{EntryStatus, SourceEntry};
use fairlead_server_json::{Document, OFFICIAL, Severity, VIA, check};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::limits::{LABEL_BYTES_MAX, LABELS_MAX, VIA_MAX};

pub use fairlead_server_json::CATALOGUE;

/// One version of one server, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// `namespace/name`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether it may be offered.
    #[serde(default)]
    pub status: EntryStatus,
    /// When it was published, where somebody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Timestamp>,
    /// When it was changed, where somebody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<Timestamp>,
    /// Labels that are no part of the document.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The catalogues that it came through, the first first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<String>,
    /// `server.json`, as its text.
    pub document: String,
}

/// Why an entry did not come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What it is called, as far as it says.
    pub entry: String,
    /// What is wrong.
    pub reason: String,
}

impl Entry {
    /// Checks what a source gave.
    ///
    /// # Errors
    /// It is no entry, or not the one that the source says it is.
    pub fn admit(given: SourceEntry) -> Result<Self, Refused> {
        let SourceEntry { name, version, status, document, published, updated, is_latest: _, mut labels } = given;
        let refused = |reason: String| {
            let called: String = format!("{name}@{version}").chars().take(LABEL_BYTES_MAX).collect();
            Refused { entry: called, reason }
        };
        if let Some(finding) = check(&document).into_iter().find(|finding| finding.severity == Severity::Error) {
            let place = if finding.pointer.is_empty() { String::new() } else { format!("`{}` ", finding.pointer) };
            return Err(refused(format!("{place}{}", finding.reason)));
        }
        let said = Document::of(&document).unwrap_or_default();
        if (said.name.as_str(), said.version.as_str()) != (name.as_str(), version.as_str()) {
            return Err(refused(format!("its document is of `{}@{}`", said.name, said.version)));
        }
        let via: Vec<String> = labels.remove(VIA).iter().flat_map(|via| via.split(',')).map(str::to_owned).collect();
        if via.len() > VIA_MAX {
            return Err(refused(format!("it came through more than {VIA_MAX} catalogues")));
        }
        let long = |text: &String| text.len() > LABEL_BYTES_MAX;
        if labels.len() > LABELS_MAX || labels.iter().any(|(label, value)| long(label) || long(value)) {
            return Err(refused(format!(
                "it has more than {LABELS_MAX} labels, or one longer than {LABEL_BYTES_MAX} bytes"
            )));
        }
        Ok(Self { name, version, status, published, updated, labels, via, document })
    }

    /// What it is called.
    #[must_use]
    pub fn key(&self) -> (&str, &str) {
        (&self.name, &self.version)
    }

    /// A view of its document.
    #[must_use]
    pub fn view(&self) -> Document {
        Document::of(&self.document).unwrap_or_default()
    }

    /// What its document says, whatever order and spaces it was written in: two entries of the same content have the same.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        // Maps of `serde_json` are ordered, so that the text of the value is one for all orders.
        let content: Value = serde_json::from_str(&self.document).unwrap_or_default();
        Sha256::digest(content.to_string()).into()
    }

    /// What stands beside it in an answer of the official API.
    #[must_use]
    pub fn official(&self, is_latest: bool) -> Value {
        let mut official = json!({ "status": self.status.name(), "isLatest": is_latest });
        if let Some(fields) = official.as_object_mut() {
            // The official schema requires a time of publication; where nobody knows one it is the oldest there is.
            let published = self.published.or(self.updated).unwrap_or(Timestamp::UNIX_EPOCH);
            fields.insert("publishedAt".to_owned(), published.to_string().into());
            fields.insert("statusChangedAt".to_owned(), self.updated.unwrap_or(published).to_string().into());
            if let Some(updated) = self.updated {
                fields.insert("updatedAt".to_owned(), updated.to_string().into());
            }
        }
        json!({ OFFICIAL: official })
    }
}

#[cfg(test)]
pub(crate) fn sample(name: &str, version: &str) -> Entry {
    let document = json!({"name": name, "version": version, "description": format!("serves {name}")});
    Entry {
        name: name.to_owned(),
        version: version.to_owned(),
        status: EntryStatus::Active,
        published: None,
        updated: None,
        labels: BTreeMap::new(),
        via: Vec::new(),
        document: document.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(name: &str, document: &str) -> SourceEntry {
        SourceEntry {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            status: EntryStatus::Active,
            document: document.to_owned(),
            published: None,
            updated: None,
            is_latest: true,
            labels: BTreeMap::new(),
        }
    }

    #[test]
    fn an_entry_is_what_its_document_says_or_does_not_come_in() {
        let document = r#"{ "version": "1.0.0", "name":"a/b" }"#;
        assert_eq!(Entry::admit(given("a/b", document)).unwrap().document, document);
        for (name, document) in [("a/c", document), ("a/b", "{}"), ("a/b", "["), ("a/b", r#"{"name":"a/b"}"#)] {
            let refused = Entry::admit(given(name, document)).unwrap_err();
            assert_eq!(refused.entry, format!("{name}@1.0.0"));
        }
    }

    #[test]
    fn the_same_content_has_the_same_fingerprint_however_it_is_written() {
        let one = Entry::admit(given("a/b", r#"{"name":"a/b","version":"1.0.0","x":[1,2]}"#)).unwrap();
        let other = Entry::admit(given("a/b", r#"{ "x": [1, 2], "version":"1.0.0", "name":"a/b"}"#)).unwrap();
        let third = Entry::admit(given("a/b", r#"{"name":"a/b","version":"1.0.0","x":[2,1]}"#)).unwrap();
        assert_eq!(one.fingerprint(), other.fingerprint());
        assert_ne!(one.fingerprint(), third.fingerprint());
    }
}
