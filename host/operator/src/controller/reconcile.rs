//! One look at one server: decide, say, do.
//!
//! In this order on purpose. What is said is said at once, before anything is done, so that a person sees why nothing happens
//! while it does not; and a status that cannot be written is told to the log and stops nothing.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fairlead_core::document::{self, API_VERSION, Document};
use jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::DynamicObject;
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::cache::{Cache, as_document, belongs};
use super::{Tally, servers};
use crate::desired::{
    Decision, FINALIZER, MANAGER, Names, Object, RESTARTED_AT, Resource, Scale, Server, Settings, desired,
};
use crate::limits::{CALL_TIMEOUT, RESYNC, RETRY_FIRST, RETRY_MAX};
use crate::status::ServerStatus;

/// What a look needs.
pub(super) struct Context {
    client: Client,
    settings: Settings,
    tally: Arc<Tally>,
    pub(super) cache: Cache,
    /// Looks that failed in a row, by server.
    failures: Mutex<BTreeMap<String, u32>>,
}

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReconcileError {
    /// The API server refused, or was not reached.
    #[error("{what}")]
    Call {
        /// What was asked of it.
        what: String,
        #[source]
        source: Box<kube::Error>,
    },
    /// It did not answer.
    #[error("{what}: no answer within {}s", CALL_TIMEOUT.as_secs())]
    Deadline {
        /// What was asked of it.
        what: String,
    },
    /// An object has the name that ours should have.
    #[error("{kind} `{name}` belongs to somebody else; remove it, or name the server otherwise")]
    Foreign {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

impl Context {
    pub(super) fn new(client: Client, settings: Settings, tally: Arc<Tally>, cache: Cache) -> Self {
        Self { client, settings, tally, cache, failures: Mutex::default() }
    }

    fn api(&self, resource: Resource, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource.api_resource())
    }

    fn servers(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &servers())
    }

    /// A request that can change something.
    async fn write<T>(
        &self,
        what: String,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ReconcileError> {
        self.tally.writes.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(what, "write");
        within(what, call).await
    }
}

async fn within<T>(what: String, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ReconcileError> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(ReconcileError::Call { what, source: Box::new(source) }),
        Err(_) => Err(ReconcileError::Deadline { what }),
    }
}

/// Looks at one server.
pub(super) async fn reconcile(object: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    context.cache.ready().await;
    let outcome = look(&object, &context).await;
    context.tally.reconciles.fetch_add(1, Ordering::Relaxed);
    if outcome.is_ok() {
        context.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(&object));
    }
    outcome
}

/// When to look again after a failure.
#[expect(clippy::needless_pass_by_value, reason = "the signature that the controller wants")]
pub(super) fn again(object: Arc<DynamicObject>, error: &ReconcileError, context: Arc<Context>) -> Action {
    context.tally.failures.fetch_add(1, Ordering::Relaxed);
    let mut failures = context.failures.lock().unwrap_or_else(PoisonError::into_inner);
    let count = failures.entry(key(&object)).or_default();
    *count = count.saturating_add(1);
    let wait = backoff(*count);
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::warn!(server = key(&object), %error, source, ?wait, "a look failed; it is repeated");
    Action::requeue(wait)
}

fn backoff(failures: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    RETRY_FIRST.saturating_mul(doubled).min(RETRY_MAX)
}

fn key(object: &DynamicObject) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

async fn look(object: &DynamicObject, context: &Context) -> Result<Action, ReconcileError> {
    let server = read(object);
    let names = Names::new(&server.name, &server.namespace);
    let observed = context.cache.observed(&names);
    let decision = desired(&server, &observed, &context.settings, Timestamp::now());
    say(&server, &decision.status, context).await;
    if server.deleting {
        return end(object, context).await;
    }
    if let Some(objects) = &decision.objects {
        hold(object, &server, context).await?;
        for object_wanted in objects {
            apply(object, object_wanted, &server.namespace, context).await?;
        }
        for scale in &decision.scales {
            put(scale, &server.namespace, context).await?;
        }
        prune(object, objects, context).await?;
    }
    Ok(Action::requeue(requeue(&decision)))
}

fn requeue(decision: &Decision) -> Duration {
    decision.requeue.unwrap_or(RESYNC)
}

fn read(object: &DynamicObject) -> Server {
    let document = document::read(&as_document("MCPServer", object)).and_then(|document| match document {
        Document::Server(server) => Ok(server),
        other => Err(document::DocumentError::new(&other.id(), "/kind", "is no MCPServer")),
    });
    let status = object.data.get("status").cloned().unwrap_or_default();
    Server {
        name: object.name_any(),
        namespace: object.namespace().unwrap_or_default(),
        uid: object.uid().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        restarted_at: object.annotations().get(RESTARTED_AT).cloned(),
        document,
        // What another version wrote and this one cannot read is written anew.
        status: serde_json::from_value::<ServerStatus>(status).unwrap_or_default(),
    }
}

/// One write for all that is said, and none when it was said before.
async fn say(server: &Server, status: &ServerStatus, context: &Context) {
    if *status == server.status {
        return;
    }
    let api = context.servers(&server.namespace);
    let patch = Patch::Merge(json!({"metadata": {"uid": server.uid}, "status": status}));
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let written = context.write("write the status".to_owned(), api.patch_status(&server.name, &params, &patch)).await;
    if let Err(error) = written {
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(server = server.name, namespace = server.namespace, %error, source, "the status was not written");
    }
}

/// Makes sure that a server does not go before what belongs to it.
async fn hold(object: &DynamicObject, server: &Server, context: &Context) -> Result<(), ReconcileError> {
    if object.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(());
    }
    finalizers(object, &server.namespace, json!([FINALIZER]), context).await
}

async fn finalizers(
    object: &DynamicObject,
    namespace: &str,
    finalizers: Value,
    context: &Context,
) -> Result<(), ReconcileError> {
    let name = object.name_any();
    // With the uid, an apply for a server that has just gone is refused instead of making a new one.
    let body = json!({
        "apiVersion": API_VERSION,
        "kind": "MCPServer",
        "metadata": {"name": name, "namespace": namespace, "uid": object.uid(), "finalizers": finalizers},
    });
    let params = PatchParams::apply(MANAGER).force();
    let api = context.servers(namespace);
    context.write(format!("hold MCPServer `{name}`"), api.patch(&name, &params, &Patch::Apply(&body))).await?;
    Ok(())
}

/// Removes what belongs to a server that goes, and lets it go when nothing is left.
async fn end(object: &DynamicObject, context: &Context) -> Result<Action, ReconcileError> {
    let namespace = object.namespace().unwrap_or_default();
    let left = context.cache.belonging(object);
    if left.is_empty() && object.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers(object, &namespace, json!([]), context).await?;
        return Ok(Action::await_change());
    }
    for (resource, there) in left {
        remove(resource, &there, &namespace, context).await?;
    }
    // The events of what goes bring the next look; this is for one that is missed.
    Ok(Action::requeue(RETRY_MAX))
}

async fn remove(
    resource: Resource,
    there: &DynamicObject,
    namespace: &str,
    context: &Context,
) -> Result<(), ReconcileError> {
    if there.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let name = there.name_any();
    let preconditions = Preconditions { uid: there.uid(), resource_version: None };
    let params = DeleteParams::background().preconditions(preconditions);
    let api = context.api(resource, namespace);
    let removed = context.write(format!("remove {} `{name}`", resource.kind()), api.delete(&name, &params)).await;
    match removed {
        Err(ReconcileError::Call { source, .. }) if is(&source, &[404, 409]) => Ok(()),
        removed => removed.map(drop),
    }
}

fn is(error: &kube::Error, codes: &[u16]) -> bool {
    matches!(error, kube::Error::Api(status) if codes.contains(&status.code))
}

/// Applies an object, unless it is there as it shall be.
async fn apply(
    server: &DynamicObject,
    object: &Object,
    namespace: &str,
    context: &Context,
) -> Result<(), ReconcileError> {
    let api = context.api(object.resource, namespace);
    let kind = object.resource.kind();
    let there = match context.cache.find(object.resource, namespace, &object.name) {
        Some(there) => Some(there),
        // Not marked as ours, perhaps because somebody took the mark away.
        None => within(format!("look for {kind} `{}`", object.name), api.get_opt(&object.name)).await?.map(Arc::new),
    };
    if let Some(there) = there {
        if !belongs(&there, server) {
            return Err(ReconcileError::Foreign { kind, name: object.name.clone() });
        }
        if serde_json::to_value(&*there).is_ok_and(|there| object.is_in(&there)) {
            return Ok(());
        }
    }
    let params = PatchParams::apply(MANAGER).force().validation_strict();
    let body = Patch::Apply(&object.body);
    let what = format!("apply {kind} `{}`", object.name);
    context.write(what, api.patch(&object.name, &params, &body)).await.map(drop)
}

/// Writes a replica count, unless it is the one that there is.
async fn put(scale: &Scale, namespace: &str, context: &Context) -> Result<(), ReconcileError> {
    let there = context.cache.find(scale.resource, namespace, &scale.name);
    let replicas = there.as_ref().and_then(|there| there.data.pointer("/spec/replicas")).and_then(Value::as_u64);
    if replicas == Some(scale.replicas.into()) {
        return Ok(());
    }
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"spec": {"replicas": scale.replicas}}));
    let api = context.api(scale.resource, namespace);
    let what = format!("scale {} `{}` to {}", scale.resource.kind(), scale.name, scale.replicas);
    context.write(what, api.patch_scale(&scale.name, &params, &patch)).await.map(drop)
}

/// Removes what belongs to a server and is not wanted any more.
async fn prune(server: &DynamicObject, wanted: &[Object], context: &Context) -> Result<(), ReconcileError> {
    let namespace = server.namespace().unwrap_or_default();
    for (resource, there) in context.cache.belonging(server) {
        let is_wanted = wanted.iter().any(|object| object.resource == resource && object.name == there.name_any());
        if !is_wanted {
            remove(resource, &there, &namespace, context).await?;
        }
    }
    Ok(())
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
