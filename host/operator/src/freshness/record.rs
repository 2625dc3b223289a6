//! The record of a server's freshness as a cluster keeps it: one `ConfigMap` beside the server, with what is known
//! ([`Freshness`]) and what is to run ([`Deployed`]).
//!
//! Not in the status, which tools that save and restore objects leave out, and not in an annotation, which those that deploy
//! may strip. Both halves are of the reference that the document names: when a person changes that, what was known of the one
//! before is nothing to the new one, and what was deployed has become another, so that an update under way gives way.

use fairlead_core::digest::Digest;
use fairlead_core::document::API_VERSION;
use fairlead_core::freshness::{Deployed, Freshness};
use fairlead_core::image::{ImageReference, ImageSource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::request::Answers;
use crate::desired::Names;

/// What is followed.
const REFERENCE: &str = "reference";

/// What is known.
const RECORD: &str = "record";

/// What is to run.
const DEPLOYED: &str = "deployed";

/// What was answered.
const ANSWERED: &str = "answered";

/// What is kept of one server.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Kept {
    /// The reference that all of it is said of.
    pub reference: String,
    /// What is known.
    pub record: Freshness,
    /// What is to run.
    pub deployed: Deployed,
    /// What people asked for, and what came of it.
    pub answers: Answers,
}

impl Kept {
    /// Reads the `data` of the object.
    ///
    /// # Errors
    /// It was not written by us.
    pub(crate) fn read(data: Option<&Value>) -> Result<Self, serde_json::Error> {
        fn field<T: DeserializeOwned + Default>(data: Option<&Value>, name: &str) -> Result<T, serde_json::Error> {
            let text = data.and_then(|data| data.get(name)).and_then(Value::as_str);
            text.map_or_else(|| Ok(T::default()), serde_json::from_str)
        }
        let reference = data.and_then(|data| data.get(REFERENCE)).and_then(Value::as_str).unwrap_or_default();
        Ok(Self {
            reference: reference.to_owned(),
            record: field(data, RECORD)?,
            deployed: field(data, DEPLOYED)?,
            answers: field(data, ANSWERED)?,
        })
    }

    /// The same, said of this reference: of another one only what was done and what a person wants stays.
    #[must_use]
    pub(crate) fn of(self, reference: &str) -> Self {
        if self.reference == reference {
            return self;
        }
        let Freshness { revision, lease, operation, operations, attempts, hold, last_reinstall, outbox, .. } =
            self.record;
        Self {
            reference: reference.to_owned(),
            record: Freshness {
                // Another record: what was considered on that of the other reference is not written over it.
                revision: revision.saturating_add(1),
                lease,
                operation,
                operations,
                attempts,
                hold,
                last_reinstall,
                outbox,
                ..Freshness::default()
            },
            deployed: Deployed { revision: self.deployed.revision.saturating_add(1), pin: None, mark: None },
            answers: self.answers,
        }
    }

    /// The `data` of the object.
    ///
    /// # Errors
    /// None: all of it can be written.
    pub(crate) fn data(&self) -> Result<Value, serde_json::Error> {
        let mut data = json!({
            REFERENCE: self.reference,
            RECORD: serde_json::to_string(&self.record)?,
            DEPLOYED: serde_json::to_string(&self.deployed)?,
        });
        if let (false, Some(data)) = (self.answers.is_empty(), data.as_object_mut()) {
            data.insert(ANSWERED.to_owned(), serde_json::to_string(&self.answers)?.into());
        }
        Ok(data)
    }

    /// The object. It goes with the server; but it is no part of what is applied, so it is not controlled by it.
    ///
    /// # Errors
    /// None: all of it can be written.
    pub(crate) fn object(&self, names: &Names<'_>, uid: &str) -> Result<Value, serde_json::Error> {
        let owner = json!({"apiVersion": API_VERSION, "kind": "MCPServer", "name": names.name, "uid": uid});
        Ok(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": names.freshness(),
                "namespace": names.namespace,
                "labels": names.labels(None),
                "ownerReferences": [owner],
            },
            "data": self.data()?,
        }))
    }

    /// Whether a person has named another reference since the update under way was intended. It gives way when it is applied.
    #[must_use]
    pub(crate) fn is_superseded(&self) -> bool {
        let operation = self.record.operation.as_ref();
        self.deployed.mark.is_none() && operation.is_some_and(|operation| operation.base != self.deployed.revision)
    }

    /// What is launched instead of what the document names; `None`: nothing else was deployed.
    #[must_use]
    pub(crate) fn launched(&self, image: &ImageSource) -> Option<ImageReference> {
        let pin = self.deployed.pin.as_ref().filter(|_| self.reference == image.reference.as_str())?;
        pinned(&image.reference, pin)
    }
}

/// The same repository, at a digest.
pub(crate) fn pinned(reference: &ImageReference, pin: &Digest) -> Option<ImageReference> {
    ImageReference::new(&format!("{}@{pin}", reference.repository())).ok()
}

#[cfg(test)]
mod tests {
    use fairlead_core::freshness::{Found, Mark};

    use super::*;
    use crate::freshness::request::{Answer, Outcome};

    fn digest(number: u8) -> Digest {
        Digest::new(&format!("sha256:{number:064}")).unwrap()
    }

    fn kept() -> Kept {
        let mut record = Freshness { revision: 7, operations: 3, good: vec![digest(1)], ..Freshness::default() };
        record.check.found = Found::Stale;
        record.check.newest = Some(digest(2));
        let deployed = Deployed { revision: 4, pin: Some(digest(1)), mark: Some(Mark { operation: 3, fence: 9 }) };
        let answer = Answer::new(r#"{"id": "1", "do": "check"}"#, Outcome::Done, jiff::Timestamp::UNIX_EPOCH);
        Kept { reference: "r.test/s:1".to_owned(), record, deployed, answers: Answers::default().with(answer) }
    }

    #[test]
    fn what_is_kept_comes_back_and_what_is_no_record_is_not_taken_for_one() {
        let object = kept().object(&Names::new("docs", "team"), "u-1").unwrap();
        assert_eq!(Kept::read(object.get("data")).unwrap(), kept());
        assert_eq!(Kept::read(None).unwrap(), Kept::default());
        assert!(Kept::read(Some(&json!({"record": "no"}))).is_err());
        // It is told from what is applied, and goes with its server.
        let owner = &object["metadata"]["ownerReferences"][0];
        assert_eq!((&owner["uid"], owner.get("controller")), (&json!("u-1"), None));
    }

    #[test]
    fn a_person_who_names_another_reference_has_changed_what_is_deployed() {
        let (before, after) = (kept(), kept().of("r.test/s:2"));
        assert_eq!(before.clone().of("r.test/s:1"), before);
        assert_eq!((after.deployed.revision, after.deployed.pin, after.deployed.mark), (5, None, None));
        // Whoever works on it is still who they were, and nothing of the other image is known.
        assert_eq!((after.record.revision, after.record.operations), (8, 3));
        assert_eq!((after.record.check.newest, after.record.good), (None, Vec::new()));
        assert_eq!(after.answers, before.answers, "what was done once is not done again");
        // Asked for twice it is the same, so that two who read it mean one thing.
        assert_eq!(kept().of("r.test/s:2").of("r.test/s:2"), kept().of("r.test/s:2"));
    }

    #[test]
    fn what_is_launched_is_a_digest_and_only_of_what_the_document_names() {
        let image = |reference: &str| ImageSource::new(ImageReference::new(reference).unwrap());
        let launched = kept().launched(&image("r.test/s:1")).unwrap();
        assert_eq!(launched.as_str(), format!("r.test/s@{}", digest(1)));
        assert_eq!(kept().launched(&image("r.test/s:2")), None);
    }
}
