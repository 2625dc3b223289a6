//! What has to be done so that things are as documents say: decided on values, carried out elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Difference, Document, DocumentError, DocumentId, differences};
use crate::cluster::ClusterSpec;

/// What is done about one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is new.
    Create,
    /// It is there and differs.
    Change,
    /// It is there as it shall be.
    Keep,
    /// It shall not be there any more.
    Remove,
}

/// What is done about one document, and what that changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Which.
    pub id: DocumentId,
    /// What.
    pub action: Action,
    /// As it is.
    pub before: Option<Document>,
    /// As it shall be.
    pub after: Option<Document>,
    /// Where the two differ. A document that is new or goes differs as a whole.
    pub differences: Vec<Difference>,
}

impl Step {
    fn new(before: Option<Document>, after: Option<Document>) -> Option<Self> {
        let id = after.as_ref().or(before.as_ref())?.id();
        let (old, new) = (before.as_ref().map(Document::to_value), after.as_ref().map(Document::to_value));
        let (action, differences) = match (&old, &new) {
            (Some(old), Some(new)) => {
                let found = differences(old, new);
                (if found.is_empty() { Action::Keep } else { Action::Change }, found)
            }
            (old, new) => {
                let action = if new.is_some() { Action::Create } else { Action::Remove };
                (action, vec![Difference { pointer: String::new(), before: old.clone(), after: new.clone() }])
            }
        };
        Some(Self { id, action, before, after, differences })
    }
}

/// What has to be done: documents that are wanted in the order in which they can be carried out, then what goes.
///
/// With `prune`, whatever is there, has all of these labels and is not wanted goes; without it nothing ever does.
///
/// # Errors
/// Two documents describe the same thing.
pub fn plan(
    current: &BTreeMap<DocumentId, Document>,
    wanted: Vec<Document>,
    prune: Option<&BTreeMap<String, String>>,
) -> Result<Vec<Step>, DocumentError> {
    let mut by_id = BTreeMap::new();
    for mut document in wanted {
        let id = document.id();
        let known = current.get(&id);
        if let (Document::Server(server), Some(Document::Server(known))) = (&mut document, known) {
            server.adopt(&known.spec);
        }
        if let Document::Server(server) = &mut document {
            // It was checked when it was read, and there is nothing here that it could change.
            *server.cluster = ClusterSpec::default();
        }
        if by_id.insert(id.clone(), document).is_some() {
            return Err(DocumentError::new(&id, "", "is there twice"));
        }
    }
    let named: BTreeSet<DocumentId> = by_id.keys().cloned().collect();
    // The order of kinds is the order in which one may need the other.
    let wanted = by_id.into_iter().filter_map(|(id, after)| Step::new(current.get(&id).cloned(), Some(after)));
    let mut steps: Vec<Step> = wanted.collect();
    if let Some(labels) = prune.filter(|labels| !labels.is_empty()) {
        let marked =
            |document: &Document| labels.iter().all(|(name, value)| document.labels().get(name) == Some(value));
        let gone = current.iter().rev().filter(|(id, document)| !named.contains(id) && marked(document));
        steps.extend(gone.filter_map(|(_, before)| Step::new(Some(before.clone()), None)));
    }
    Ok(steps)
}
