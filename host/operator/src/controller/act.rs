//! What is done about an object once it is decided: each thing only where it is not so already, and in the order in which one
//! needs the other.

use std::sync::Arc;

use fairlead_core::document::API_VERSION;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::DynamicObject;
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt as _};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Tally;
use super::cache::{Cache, belongs};
use super::subject::Subject;
use crate::desired::{FINALIZER, MANAGER, Object, Resource, Scale};
use crate::freshness::CREATED_FRESH;
use crate::limits::{CALL_TIMEOUT, RETRY_MAX};
use crate::registry::binding_name;

/// Whoever does it, and what they see.
pub(super) struct Hands {
    pub(super) client: Client,
    pub(super) cache: Cache,
    pub(super) tally: Arc<Tally>,
    /// Servers are looked after.
    pub(super) keeps_fresh: bool,
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
    #[error("{kind} `{name}` belongs to somebody else; remove it, or choose another name")]
    Foreign {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

pub(super) async fn within<T>(
    what: String,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ReconcileError> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(ReconcileError::Call { what, source: Box::new(source) }),
        Err(_) => Err(ReconcileError::Deadline { what }),
    }
}

pub(super) fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

impl Hands {
    pub(super) fn api(&self, resource: Resource, namespace: &str) -> Api<DynamicObject> {
        let (client, kind) = (self.client.clone(), resource.api_resource());
        if resource.is_namespaced() {
            Api::namespaced_with(client, namespace, &kind)
        } else {
            Api::all_with(client, &kind)
        }
    }

    fn subjects(&self, subject: Subject, object: &DynamicObject) -> Api<DynamicObject> {
        let namespace = object.namespace().unwrap_or_default();
        Api::namespaced_with(self.client.clone(), &namespace, &subject.resource())
    }

    /// A request that can change something.
    pub(super) async fn write<T>(
        &self,
        what: String,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ReconcileError> {
        self.tally.wrote();
        tracing::debug!(what, "write");
        within(what, call).await
    }

    /// One write for all that is said.
    pub(super) async fn say(
        &self,
        subject: Subject,
        object: &DynamicObject,
        status: &impl Serialize,
    ) -> Result<(), ReconcileError> {
        let status = serde_json::to_value(status).unwrap_or_default();
        let status = instead_of(object.data.get("status"), status);
        let patch = Patch::Merge(json!({"metadata": {"uid": object.uid()}, "status": status}));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let (api, name) = (self.subjects(subject, object), object.name_any());
        let written = self.write("write the status".to_owned(), api.patch_status(&name, &params, &patch)).await;
        // Told here as well: another failure of the same look would hide it.
        written.map(drop).inspect_err(|error| {
            let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(kind = subject.kind(), name, %error, source, "the status was not written");
        })
    }

    /// Makes what belongs to an object what it shall be.
    pub(super) async fn carry_out(
        &self,
        subject: Subject,
        object: &DynamicObject,
        objects: &[Object],
        scales: &[Scale],
    ) -> Result<(), ReconcileError> {
        // So that it does not go before what belongs to it.
        if !has_finalizer(object) {
            self.hold(subject, object, json!([FINALIZER])).await?;
        }
        let namespace = object.namespace().unwrap_or_default();
        for wanted in objects {
            self.apply(object, wanted, &namespace).await?;
        }
        for scale in scales {
            self.put(scale, &namespace).await?;
        }
        for (resource, there) in self.cache.belonging(object) {
            let is_wanted = objects.iter().any(|it| it.resource == resource && it.name == there.name_any());
            if !is_wanted {
                self.remove(resource, &there, &namespace).await?;
            }
        }
        Ok(())
    }

    /// Holds an object, or lets it go. Whoever is held for the first time is new to an operator that keeps servers fresh.
    async fn hold(&self, subject: Subject, object: &DynamicObject, finalizers: Value) -> Result<(), ReconcileError> {
        let name = object.name_any();
        // With the uid, an apply for an object that has just gone is refused instead of making a new one.
        let mut metadata =
            json!({"name": name, "namespace": object.namespace(), "uid": object.uid(), "finalizers": finalizers});
        if let (true, Subject::Server, Some(metadata)) = (self.keeps_fresh, subject, metadata.as_object_mut()) {
            metadata.insert("annotations".to_owned(), json!({CREATED_FRESH: "true"}));
        }
        let body = json!({"apiVersion": API_VERSION, "kind": subject.kind(), "metadata": metadata});
        let params = PatchParams::apply(MANAGER).force();
        let api = self.subjects(subject, object);
        let what = format!("hold {} `{name}`", subject.kind());
        self.write(what, api.patch(&name, &params, &Patch::Apply(&body))).await.map(drop)
    }

    /// Removes what belongs to an object that goes, and lets it go when nothing is left.
    pub(super) async fn end(&self, subject: Subject, object: &DynamicObject) -> Result<Action, ReconcileError> {
        let namespace = object.namespace().unwrap_or_default();
        let left = self.cache.belonging(object);
        if left.is_empty()
            && let Some((resource, there)) = self.unseen(subject, object).await?
        {
            // No event tells that it is gone, so nothing waits for one.
            self.remove(resource, &there, &namespace).await?;
        }
        if left.is_empty() && has_finalizer(object) {
            self.hold(subject, object, json!([])).await?;
            return Ok(Action::await_change());
        }
        for (resource, there) in left {
            self.remove(resource, &there, &namespace).await?;
        }
        // The events of what goes bring the next look; this is for one that is missed.
        Ok(Action::requeue(RETRY_MAX))
    }

    /// What nothing would take away any more, if no watch has told of it yet: the cluster takes away what is in a namespace only.
    async fn unseen(
        &self,
        subject: Subject,
        object: &DynamicObject,
    ) -> Result<Option<(Resource, Arc<DynamicObject>)>, ReconcileError> {
        let resource = Resource::ClusterRoleBinding;
        if subject != Subject::Registry || !self.cache.watches(resource) {
            return Ok(None);
        }
        let namespace = object.namespace().unwrap_or_default();
        let name = binding_name(&namespace, &object.name_any());
        let what = format!("look for {} `{name}`", resource.kind());
        let there = within(what, self.api(resource, &namespace).get_opt(&name)).await?;
        Ok(there.filter(|there| belongs(there, object)).map(|there| (resource, Arc::new(there))))
    }

    async fn remove(&self, resource: Resource, there: &DynamicObject, namespace: &str) -> Result<(), ReconcileError> {
        if there.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let name = there.name_any();
        let preconditions = Preconditions { uid: there.uid(), resource_version: None };
        let params = DeleteParams::background().preconditions(preconditions);
        let api = self.api(resource, namespace);
        let removed = self.write(format!("remove {} `{name}`", resource.kind()), api.delete(&name, &params)).await;
        match removed {
            Err(ReconcileError::Call { source, .. }) if is_gone(&source) => Ok(()),
            removed => removed.map(drop),
        }
    }

    /// Applies an object, unless it is there as it shall be.
    async fn apply(&self, owner: &DynamicObject, object: &Object, namespace: &str) -> Result<(), ReconcileError> {
        let api = self.api(object.resource, namespace);
        let kind = object.resource.kind();
        let there = match self.cache.find(object.resource, namespace, &object.name) {
            Some(there) => Some(there),
            // Not marked as ours, perhaps because somebody took the mark away.
            None => {
                let what = format!("look for {kind} `{}`", object.name);
                within(what, api.get_opt(&object.name)).await?.map(Arc::new)
            }
        };
        if let Some(there) = there {
            if !belongs(&there, owner) {
                return Err(ReconcileError::Foreign { kind, name: object.name.clone() });
            }
            if serde_json::to_value(&*there).is_ok_and(|there| object.is_in(&there)) {
                return Ok(());
            }
        }
        let params = PatchParams::apply(MANAGER).force().validation_strict();
        let body = Patch::Apply(&object.body);
        let what = format!("apply {kind} `{}`", object.name);
        self.write(what, api.patch(&object.name, &params, &body)).await.map(drop)
    }

    /// Writes a replica count, unless it is the one that there is.
    async fn put(&self, scale: &Scale, namespace: &str) -> Result<(), ReconcileError> {
        let there = self.cache.find(scale.resource, namespace, &scale.name);
        let replicas = there.as_ref().and_then(|there| there.data.pointer("/spec/replicas")).and_then(Value::as_u64);
        if replicas == Some(scale.replicas.into()) {
            return Ok(());
        }
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"spec": {"replicas": scale.replicas}}));
        let api = self.api(scale.resource, namespace);
        let what = format!("scale {} `{}` to {}", scale.resource.kind(), scale.name, scale.replicas);
        self.write(what, api.patch_scale(&scale.name, &params, &patch)).await.map(drop)
    }
}

/// A value to be merged into another so that nothing of that is left: what is not in it is taken away.
fn instead_of(before: Option<&Value>, mut after: Value) -> Value {
    if let (Some(Value::Object(before)), Value::Object(after)) = (before, &mut after) {
        for (name, before) in before {
            let value = after.remove(name).map_or(Value::Null, |value| instead_of(Some(before), value));
            after.insert(name.clone(), value);
        }
    }
    after
}

fn has_finalizer(object: &DynamicObject) -> bool {
    object.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_any_more_is_taken_away() {
        let before = json!({"a": 1, "gone": {"x": 1}, "held": {"by": "me", "until": "then"}, "list": [1, 2]});
        let after = json!({"a": 2, "held": {"by": "me"}, "list": [1], "new": true});
        let expected = json!({"a": 2, "gone": null, "held": {"by": "me", "until": null}, "list": [1], "new": true});
        assert_eq!(instead_of(Some(&before), after), expected);
        assert_eq!(instead_of(None, json!({"a": 1})), json!({"a": 1}));
    }
}
