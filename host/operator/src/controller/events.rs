//! What is told in Events: that the phase changed, or that a condition began or ended to be bad. Once, when it changes, and not
//! more often than a person can read.
//!
//! An Event is for people who run `kubectl describe`; what holds stands in the status. So it is written after everything else,
//! only ever created (a series would need the right to change what was told), and that it fails is no failure.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use fairlead_core::document::API_VERSION;
use fairlead_core::freshness::Message;
use jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::Tally;
use crate::desired::MANAGER;
use crate::limits::{CALL_TIMEOUT, EVENT_BURST, EVENT_EVERY, EVENT_NAME_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::status::{Condition, ConditionType, Phase, Standing, Truth};

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    is_warning: bool,
    reason: String,
    note: String,
}

/// Whoever tells.
pub(super) struct Teller {
    client: Client,
    identity: String,
    /// What was told last of each object, by its uid, and how much more may be.
    books: Mutex<BTreeMap<String, Book>>,
}

#[derive(Debug)]
struct Book {
    left: u32,
    since: Instant,
    last: Vec<Told>,
}

/// What changed between two statuses, as far as it is worth telling.
fn changes(before: &Standing<'_>, after: &Standing<'_>) -> Vec<Told> {
    let mut told = Vec::new();
    let is_failure = after.phase == Phase::Failed;
    let is_other = before.phase != after.phase || (is_failure && before.message != after.message);
    if is_other {
        told.push(Told {
            is_warning: is_failure,
            reason: format!("{:?}", after.phase),
            note: after.message.to_owned(),
        });
    }
    for condition in after.conditions.iter().filter(|condition| condition.kind != ConditionType::Ready) {
        let known = before.conditions.iter().find(|known| known.kind == condition.kind);
        let (was_bad, is_bad) = (known.is_some_and(is_bad), is_bad(condition));
        let is_same = known.is_some_and(|known| known.reason == condition.reason && known.message == condition.message);
        if (was_bad || is_bad) && !is_same {
            let reason = format!("{:?}", condition.reason);
            let note = match condition.message.is_empty() {
                true => format!("{:?} is {:?}", condition.kind, condition.status),
                false => condition.message.clone(),
            };
            told.push(Told { is_warning: is_bad, reason, note });
        }
    }
    told
}

/// Whether somebody has to do something about it.
fn is_bad(condition: &Condition) -> bool {
    let bad = match condition.kind {
        ConditionType::StdioReplicaCapped | ConditionType::SessionStorageWarning => Truth::True,
        _ => Truth::False,
    };
    condition.status == bad
}

impl Teller {
    pub(super) fn new(client: Client, identity: &str) -> Self {
        Self { client, identity: identity.to_owned(), books: Mutex::default() }
    }

    /// Tells what changed, unless it was told just now, or too much was.
    pub(super) async fn tell(
        &self,
        kind: &'static str,
        object: &DynamicObject,
        before: &Standing<'_>,
        after: &Standing<'_>,
        tally: &Tally,
    ) {
        let told = self.allowed(object.metadata.uid.as_deref().unwrap_or_default(), changes(before, after));
        for told in told {
            tally.wrote();
            match timeout(CALL_TIMEOUT, self.write(kind, object, &told)).await {
                Ok(Ok(())) => tally.told(),
                Ok(Err(error)) => tracing::debug!(%error, told.reason, "an event was not written"),
                Err(_) => tracing::debug!(told.reason, "an event was not written in time"),
            }
        }
    }

    /// Tells of an update. True: there is nothing left to tell.
    pub(super) async fn announce(&self, object: &DynamicObject, message: &Message, tally: &Tally) -> bool {
        let reason = if message.urgent { "UpdateFailed" } else { "Update" };
        self.note(object, message.urgent, reason, &message.text, tally).await
    }

    /// Tells something of a server. True: there is nothing left to tell.
    pub(super) async fn note(
        &self,
        object: &DynamicObject,
        is_warning: bool,
        reason: &str,
        text: &str,
        tally: &Tally,
    ) -> bool {
        let mut note = text.to_owned();
        note.truncate(note.floor_char_boundary(MESSAGE_BYTES_MAX));
        let told = vec![Told { is_warning, reason: reason.to_owned(), note }];
        let told = self.allowed(object.metadata.uid.as_deref().unwrap_or_default(), told);
        for told in told {
            tally.wrote();
            match timeout(CALL_TIMEOUT, self.write("MCPServer", object, &told)).await {
                Ok(Ok(())) => tally.told(),
                Ok(Err(_)) | Err(_) => return false,
            }
        }
        true
    }

    /// What may be told of an object now.
    fn allowed(&self, uid: &str, told: Vec<Told>) -> Vec<Told> {
        if told.is_empty() {
            return told;
        }
        let now = Instant::now();
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        // Who was told nothing of for so long has the whole measure again, and needs no book.
        books.retain(|_, book| now.duration_since(book.since) < EVENT_EVERY * EVENT_BURST);
        let book =
            books.entry(uid.to_owned()).or_insert_with(|| Book { left: EVENT_BURST, since: now, last: Vec::new() });
        // What was seen is older than what was written, at times: then the same change is seen twice.
        if book.last == told {
            return Vec::new();
        }
        let earned = now.duration_since(book.since).as_secs() / EVENT_EVERY.as_secs();
        let earned = u32::try_from(earned).unwrap_or(EVENT_BURST);
        if earned > 0 {
            book.left = book.left.saturating_add(earned).min(EVENT_BURST);
            book.since = now;
        }
        let most = usize::try_from(book.left).unwrap_or_default();
        book.last.clone_from(&told);
        let allowed: Vec<Told> = told.into_iter().take(most).collect();
        book.left = book.left.saturating_sub(u32::try_from(allowed.len()).unwrap_or(u32::MAX));
        allowed
    }

    async fn write(&self, kind: &'static str, object: &DynamicObject, told: &Told) -> Result<(), kube::Error> {
        let namespace = object.namespace().unwrap_or_default();
        let now = Timestamp::now();
        let mut name = object.name_any();
        name.truncate(EVENT_NAME_BYTES_MAX);
        let event = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": format!("{name}.{:x}", now.as_nanosecond()), "namespace": namespace},
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
            "type": if told.is_warning { "Warning" } else { "Normal" },
            "reason": told.reason,
            "note": told.note,
            "action": "Reconcile",
            "reportingController": MANAGER,
            "reportingInstance": self.identity,
            "regarding": {
                "apiVersion": API_VERSION, "kind": kind, "namespace": namespace,
                "name": object.name_any(), "uid": object.uid(), "resourceVersion": object.resource_version(),
            },
        });
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &events());
        let event = serde_json::from_value(event).map_err(kube::Error::SerdeError)?;
        api.create(&PostParams::default(), &event).await.map(drop)
    }
}

fn events() -> ApiResource {
    ApiResource {
        group: "events.k8s.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "events.k8s.io/v1".to_owned(),
        kind: "Event".to_owned(),
        plural: "events".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Finding, Reason};

    fn standing(phase: Phase, conditions: &[Condition]) -> Standing<'_> {
        Standing { phase, message: "so it is", conditions }
    }

    fn condition(kind: ConditionType, status: bool, reason: Reason) -> Condition {
        Finding::new(kind, status, reason, "").since(&[], 1, Timestamp::UNIX_EPOCH)
    }

    fn reasons(before: &Standing<'_>, after: &Standing<'_>) -> Vec<(String, bool)> {
        changes(before, after).into_iter().map(|told| (told.reason, told.is_warning)).collect()
    }

    #[test]
    fn what_is_as_it_should_be_is_told_only_when_it_was_not() {
        let good = [condition(ConditionType::PluginsResolved, true, Reason::AllPluginsResolved)];
        let bad = [condition(ConditionType::PluginsResolved, false, Reason::PluginNotFound)];
        let new = standing(Phase::Pending, &[]);
        assert!(reasons(&new, &standing(Phase::Pending, &good)).is_empty());
        let missing = [("PluginNotFound".to_owned(), true)];
        assert_eq!(reasons(&new, &standing(Phase::Pending, &bad)), missing);
        assert!(reasons(&standing(Phase::Pending, &bad), &standing(Phase::Pending, &bad)).is_empty());
        let found = [("Ready".to_owned(), false), ("AllPluginsResolved".to_owned(), false)];
        assert_eq!(reasons(&standing(Phase::Pending, &bad), &standing(Phase::Ready, &good)), found);
        let failed = [("Failed".to_owned(), true)];
        assert_eq!(reasons(&standing(Phase::Ready, &good), &standing(Phase::Failed, &good)), failed);
        let warned = [condition(ConditionType::SessionStorageWarning, true, Reason::SessionStorageMissingForReplicas)];
        assert_eq!(reasons(&new, &standing(Phase::Pending, &warned)).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_object_is_told_of_no_more_often_than_people_read_and_others_are_not_kept_waiting() {
        let teller = Teller::new(nobody(), "one");
        let told = |note: u32| vec![Told { is_warning: false, reason: "Ready".to_owned(), note: note.to_string() }];
        let count = |uid: &str, notes: std::ops::Range<u32>| {
            notes.map(|note| teller.allowed(uid, told(note)).len()).sum::<usize>()
        };
        let burst = usize::try_from(EVENT_BURST).unwrap();
        assert_eq!(count("a", 0..100), burst);
        assert_eq!(count("b", 0..1), 1);
        assert_eq!(teller.allowed("b", told(0)).len(), 0, "the same again");
        tokio::time::advance(EVENT_EVERY).await;
        assert_eq!(count("a", 100..200), 1);
        tokio::time::advance(EVENT_EVERY * EVENT_BURST).await;
        assert_eq!(count("a", 200..300), burst);
        assert!(teller.books.lock().unwrap().len() <= 2);
    }

    /// A client of nobody.
    fn nobody() -> Client {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        Client::try_from(config).unwrap()
    }
}
