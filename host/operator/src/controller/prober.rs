//! Probes: pods that tell what a reference names, or that a digest can be had, where the server's own pods would be.
//!
//! One is removed whatever it told. What a crash leaves is known by its label and by nobody waiting for it, and is swept; and where
//! nobody sweeps either, it ends by itself.

use std::collections::BTreeSet;

use fairlead_core::digest::Digest;
use fairlead_core::freshness::Subject;
use fairlead_core::image::ImageReference;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::act::{ReconcileError, is_gone, within};
use super::fleet::Fleet;
use crate::desired::{BACKEND, Names};
use crate::freshness::pinned;
use crate::limits::{PROBE_POLL, PROBE_SCHEDULE_MAX, PROBE_TIME_MAX};
use crate::probe::{PROBES, Question, Sighting, sighting};

/// Why a probe told nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unprobed {
    /// The cluster takes none.
    #[error("a probe cannot be started: {0}")]
    Denied(String),
    /// It did not start in time.
    #[error("a probe did not start in time: {0}")]
    Late(String),
    /// What it was to start cannot be.
    #[error("a probe failed: {0}")]
    Failed(String),
}

/// Those that somebody waits for: namespace and name.
#[derive(Debug, Default)]
pub(super) struct Probes(Mutex<BTreeSet<(String, String)>>);

/// One of them, for as long as it is waited for.
pub(super) struct Waiting<'a> {
    probes: &'a Probes,
    which: (String, String),
}

impl Probes {
    /// Says that somebody waits for one, for as long as what is returned is kept.
    pub(super) fn wait(&self, namespace: &str, name: &str) -> Waiting<'_> {
        let which = (namespace.to_owned(), name.to_owned());
        self.0.lock().insert(which.clone());
        Waiting { probes: self, which }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.probes.0.lock().remove(&self.which);
    }
}

impl Fleet {
    /// Has a node of the server start what its reference names, or a digest of the same repository, and tells what that is.
    ///
    /// # Errors
    /// No node did.
    pub async fn probe(
        &self,
        subject: &Subject,
        reference: &ImageReference,
        pin: Option<&Digest>,
    ) -> Result<Digest, Unprobed> {
        let names = Names::new(subject.key.name.as_str(), subject.key.tenant.as_str());
        let missing = || Unprobed::Denied("the server has no pods yet".to_owned());
        let object = self.object(&subject.key).ok_or_else(missing)?;
        let template = self.context.cache().template(&names).ok_or_else(missing)?;
        let asked = match pin {
            Some(pin) => pinned(reference, pin).ok_or_else(missing)?.to_string(),
            None => reference.to_string(),
        };
        let question = Question {
            server: names.name,
            namespace: names.namespace,
            uid: object.metadata.uid.as_deref().unwrap_or_default(),
            template: &template,
            container: BACKEND,
            reference: &asked,
            // One answer for each thing that is asked: there never are two probes of one server for the same.
            check: &asked,
        };
        let name = question.pod_name();
        let _waiting = self.probes.wait(names.namespace, &name);
        let api = self.pods(Some(names.namespace));
        let told = self.ask(&api, &question).await;
        if let Err(error) = self.remove(&api, &name).await {
            tracing::warn!(fairlead.server.name = %subject.key, probe = name, %error, "a probe was not removed; it is swept");
        }
        Digest::new(&told?).map_err(|error| Unprobed::Failed(error.to_string()))
    }

    async fn ask(&self, api: &Api<DynamicObject>, question: &Question<'_>) -> Result<String, Unprobed> {
        let name = question.pod_name();
        let pod = serde_json::from_value(question.pod()).map_err(|error| Unprobed::Denied(error.to_string()))?;
        let params = PostParams::default();
        match self.context.hands.write(format!("start probe `{name}`"), api.create(&params, &pod)).await {
            Ok(_) => {}
            // Whoever asked the same before did not live to hear it.
            Err(ReconcileError::Call { source, .. }) if is_there(&source) => {}
            Err(error) => return Err(Unprobed::Denied(reason(&error))),
        }
        let begun = Instant::now();
        let mut unscheduled = None;
        loop {
            let seen = within(format!("look at probe `{name}`"), api.get_opt(&name)).await;
            match seen {
                Ok(Some(pod)) => match sighting(&json!(pod)) {
                    Sighting::Found(digest) => return Ok(digest),
                    Sighting::Failed(why) => return Err(Unprobed::Failed(why)),
                    Sighting::Unscheduled(why) if begun.elapsed() >= PROBE_SCHEDULE_MAX => {
                        return Err(Unprobed::Late(why));
                    }
                    Sighting::Unscheduled(why) => unscheduled = Some(why),
                    Sighting::Waiting => unscheduled = None,
                },
                Ok(None) => return Err(Unprobed::Denied("somebody removed it".to_owned())),
                Err(error) => tracing::debug!(probe = name, %error, "a probe cannot be looked at"),
            }
            if begun.elapsed() >= PROBE_TIME_MAX {
                let late = unscheduled.unwrap_or_else(|| format!("not within {} s", PROBE_TIME_MAX.as_secs()));
                return Err(Unprobed::Late(late));
            }
            sleep(PROBE_POLL).await;
        }
    }

    /// Removes probes that nobody waits for. Says how many that were.
    pub async fn sweep(&self) -> usize {
        let api = self.pods(self.namespace.as_deref());
        let params = ListParams::default().labels(PROBES);
        let found = match within("look for probes".to_owned(), api.list(&params)).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(error = reason(&error), "probes cannot be looked for");
                return 0;
            }
        };
        let mut swept = 0;
        for pod in found {
            let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
            // What somebody else keeps from going is not removed again each time.
            let is_going = pod.metadata.deletion_timestamp.is_some();
            if is_going || self.probes.0.lock().contains(&(namespace.clone(), name.clone())) {
                continue;
            }
            match self.remove(&self.pods(Some(&namespace)), &name).await {
                Ok(()) => swept += 1,
                Err(error) => tracing::warn!(probe = name, error = reason(&error), "a probe was not removed"),
            }
        }
        if swept > 0 {
            tracing::info!(swept, "probes that nobody waits for are removed");
        }
        swept
    }

    pub(super) async fn remove(&self, api: &Api<DynamicObject>, name: &str) -> Result<(), ReconcileError> {
        let params = DeleteParams::background().grace_period(0);
        let removed = self.context.hands.write(format!("remove probe `{name}`"), api.delete(name, &params)).await;
        match removed {
            Err(ReconcileError::Call { source, .. }) if is_gone(&source) => Ok(()),
            removed => removed.map(drop),
        }
    }

    pub(super) fn pods(&self, namespace: Option<&str>) -> Api<DynamicObject> {
        let pods = ApiResource {
            group: String::new(),
            version: "v1".to_owned(),
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            plural: "pods".to_owned(),
        };
        let client = self.context.hands.client.clone();
        match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &pods),
            None => Api::all_with(client, &pods),
        }
    }
}

fn is_there(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// With what the API server said.
pub(super) fn reason(error: &ReconcileError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
