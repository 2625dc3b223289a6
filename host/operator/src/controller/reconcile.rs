//! One look at one object: decide, say, do.
//!
//! In this order on purpose. What is said is said at once, before anything is done, so that a person sees why nothing happens
//! while it does not; and a status that cannot be written is told to the log and stops nothing, but the look is repeated for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fairlead_core::document::{self, Document};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::DynamicObject;
use kube::runtime::controller::Action;

use super::act::{Hands, ReconcileError};
use super::approver::Approver;
use super::cache::{Cache, as_document};
use super::events::Teller;
use super::fleet::Changes;
use super::requests;
use super::subject::Subject;
use crate::desired::{Decision, Declared, Names, Observed, RESTARTED_AT, Server, Settings, desired};
use crate::freshness::CREATED_FRESH;
use crate::limits::{RESYNC, RETRY_FIRST, RETRY_MAX};
use crate::registry::{self, Registries, RegistryServer};
use crate::status::Status;

/// What a look needs.
pub(super) struct Context {
    pub(super) hands: Hands,
    pub(super) settings: Settings,
    pub(super) registries: Registries,
    pub(super) teller: Teller,
    /// Servers that stand otherwise than before, for whoever keeps them fresh.
    pub(super) changes: Changes,
    /// What registries say of the entries that servers name.
    pub(super) approver: Approver,
    /// Looks that failed in a row, by object.
    failures: Mutex<BTreeMap<String, u32>>,
}

impl Context {
    pub(super) fn new(
        hands: Hands,
        settings: Settings,
        registries: Registries,
        teller: Teller,
        approver: Approver,
    ) -> Self {
        let (changes, failures) = (Changes::default(), Mutex::default());
        Self { hands, settings, registries, teller, changes, approver, failures }
    }

    pub(super) fn cache(&self) -> &Cache {
        &self.hands.cache
    }
}

/// Looks at one object.
pub(super) async fn reconcile(
    subject: Subject,
    object: Arc<DynamicObject>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    context.cache().ready().await;
    let outcome = match subject {
        Subject::Server => look_at_server(&object, &context).await,
        Subject::Registry => look_at_registry(&object, &context).await,
    };
    context.hands.tally.looked();
    if outcome.is_ok() {
        context.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(subject, &object));
    }
    outcome
}

/// When to look again after a failure.
pub(super) fn again(subject: Subject, object: &DynamicObject, error: &ReconcileError, context: &Context) -> Action {
    context.hands.tally.failed();
    let key = key(subject, object);
    let mut failures = context.failures.lock().unwrap_or_else(PoisonError::into_inner);
    let (servers, registries) = (context.cache().servers.state(), context.cache().registries.state());
    if failures.len() > servers.len() + registries.len() {
        // Of objects that went while they failed: nobody looks at them again.
        let servers = servers.iter().map(|object| self::key(Subject::Server, object));
        let registries = registries.iter().map(|object| self::key(Subject::Registry, object));
        let there: BTreeSet<String> = servers.chain(registries).collect();
        failures.retain(|failed, _| there.contains(failed));
    }
    let count = failures.entry(key.clone()).or_default();
    *count = count.saturating_add(1);
    let wait = backoff(*count);
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::warn!(object = key, %error, source, ?wait, "a look failed; it is repeated");
    Action::requeue(wait)
}

fn backoff(failures: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    RETRY_FIRST.saturating_mul(doubled).min(RETRY_MAX)
}

fn key(subject: Subject, object: &DynamicObject) -> String {
    format!("{} {}/{}", subject.kind(), object.namespace().unwrap_or_default(), object.name_any())
}

async fn look_at_server(object: &DynamicObject, context: &Context) -> Result<Action, ReconcileError> {
    let server = read(object);
    let names = Names::new(&server.name, &server.namespace);
    let answers = context.approver.answers(context.cache(), object);
    let observed = Observed { answers, ..context.cache().observed(&names, &server.uid) };
    let decision = desired(&server, &observed, &context.settings, Timestamp::now());
    if let Ok(document) = &server.document {
        context.changes.see(&document.key, &server.status, requests::trace(object));
    }
    carry_out(Subject::Server, object, &decision, &server.status, context).await
}

async fn look_at_registry(object: &DynamicObject, context: &Context) -> Result<Action, ReconcileError> {
    let server = read_registry(object);
    let observed = context.cache().observed_of_registry(&server.namespace, &server.name);
    let now = Timestamp::now();
    let decision = registry::desired(&server, &observed, &context.settings, &context.registries, now);
    carry_out(Subject::Registry, object, &decision, &server.status, context).await
}

/// Says what is decided, does it, and tells of it.
async fn carry_out<S: Status>(
    subject: Subject,
    object: &DynamicObject,
    decision: &Decision<S>,
    before: &S,
    context: &Context,
) -> Result<Action, ReconcileError> {
    let hands = &context.hands;
    let said = if decision.status == *before { Ok(()) } else { hands.say(subject, object, &decision.status).await };
    if object.metadata.deletion_timestamp.is_some() {
        return hands.end(subject, object).await;
    }
    if let Some(objects) = &decision.objects {
        hands.carry_out(subject, object, objects, &decision.scales).await?;
    }
    said?;
    context.teller.tell(subject.kind(), object, &before.standing(), &decision.status.standing(), &hands.tally).await;
    Ok(Action::requeue(decision.requeue.unwrap_or(RESYNC)))
}

pub(super) fn read(object: &DynamicObject) -> Server {
    let document = document::read(&as_document("MCPServer", object)).and_then(|document| match document {
        Document::Server(server) => Ok(server),
        other => Err(document::DocumentError::new(&other.id(), "/kind", "is no MCPServer")),
    });
    declared(object, document)
}

pub(super) fn read_registry(object: &DynamicObject) -> RegistryServer {
    let spec = object.data.get("spec").cloned().unwrap_or_default();
    declared(object, serde_json::from_value(spec).map_err(|error| error.to_string()))
}

fn declared<D, S: serde::de::DeserializeOwned + Default>(object: &DynamicObject, document: D) -> Declared<D, S> {
    let status = object.data.get("status").cloned().unwrap_or_default();
    Declared {
        name: object.name_any(),
        namespace: object.namespace().unwrap_or_default(),
        uid: object.uid().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        restarted_at: object.annotations().get(RESTARTED_AT).cloned(),
        created_fresh: object.annotations().contains_key(CREATED_FRESH),
        document,
        // What another version wrote and this one cannot read is written anew.
        status: serde_json::from_value(status).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound() {
        assert_eq!(backoff(1), RETRY_FIRST);
        assert_eq!(backoff(3), RETRY_FIRST * 4);
        assert_eq!(backoff(40), RETRY_MAX);
    }
}
