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
use crate::limits::{CALL_TIMEOUT, RETRY_MAX};

/// Whoever does it, and what they see.
pub(super) struct Hands {
    pub(super) client: Client,
    pub(super) cache: Cache,
    pub(super) tally: Arc<Tally>,
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

async fn within<T>(what: String, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ReconcileError> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(ReconcileError::Call { what, source: Box::new(source) }),
        Err(_) => Err(ReconcileError::Deadline { what }),
    }
}

fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

impl Hands {
    fn api(&self, resource: Resource, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource.api_resource())
    }

    fn subjects(&self, subject: Subject, object: &DynamicObject) -> Api<DynamicObject> {
        let namespace = object.namespace().unwrap_or_default();
        Api::namespaced_with(self.client.clone(), &namespace, &subject.resource())
    }

    /// A request that can change something.
    async fn write<T>(
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
            self.finalizers(subject, object, json!([FINALIZER])).await?;
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

    async fn finalizers(
        &self,
        subject: Subject,
        object: &DynamicObject,
        finalizers: Value,
    ) -> Result<(), ReconcileError> {
        let name = object.name_any();
        // With the uid, an apply for an object that has just gone is refused instead of making a new one.
        let metadata =
            json!({"name": name, "namespace": object.namespace(), "uid": object.uid(), "finalizers": finalizers});
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
        if left.is_empty() && has_finalizer(object) {
            self.finalizers(subject, object, json!([])).await?;
            return Ok(Action::await_change());
        }
        for (resource, there) in left {
            self.remove(resource, &there, &namespace).await?;
        }
        // The events of what goes bring the next look; this is for one that is missed.
        Ok(Action::requeue(RETRY_MAX))
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

fn has_finalizer(object: &DynamicObject) -> bool {
    object.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}
