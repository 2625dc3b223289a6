//! How a server stands: whether it is looked after, what it follows, and what is shown of it.

use std::time::Duration;

use fairlead_core::cluster::ClusterSpec;
use fairlead_core::document::ServerDocument;
use fairlead_core::freshness::{Ineligible, Moment, Signal, Standing, Subject, UpdateToggles, UpdateView, reasons};
use fairlead_core::image::{ImageSource, PullPolicy};
use fairlead_core::server::Source;
use fairlead_core::status::{Desired, ServerPhase};
use jiff::Timestamp;
use serde_json::Value;

use crate::desired::{BACKEND, Observed, Server};
use crate::status::Phase;

/// The image that a server follows; `None`: there is none that could be updated here.
pub(crate) fn image(server: &Server) -> Option<&ImageSource> {
    match &server.document.as_ref().ok()?.spec.source {
        Source::Image(image) => Some(image),
        _ => None,
    }
}

/// A server as the engine and its policies see it; `None`: it cannot be read, or is no image.
pub(crate) fn subject(server: &Server, created: Timestamp) -> Option<Subject> {
    let image = image(server)?;
    let document = server.document.as_ref().ok()?;
    let spec = &document.spec;
    let phase = server.status.phase;
    Some(Subject {
        key: document.key.clone(),
        toggles: toggles(server, document),
        against: against(server, document, phase),
        reference: image.reference.to_string(),
        pinned: image.reference.digest().is_some(),
        group: (!spec.group.is_default()).then(|| spec.group.to_string()),
        labels: spec.labels.clone(),
        created,
        // Its proxies know; nobody here asks them.
        sessions: 0,
        health: match phase {
            Phase::Ready => Signal::Good,
            Phase::Failed => Signal::Bad,
            Phase::Pending | Phase::Terminating | Phase::Stopped => Signal::Unknown,
        },
    })
}

/// What a person sees.
pub(crate) fn view(
    server: &Server,
    observed: &Observed,
    phase: Phase,
    interval: Duration,
    now: Timestamp,
) -> Option<UpdateView> {
    let image = image(server)?;
    let document = server.document.as_ref().ok()?;
    let against = against(server, document, phase);
    let moment = Moment { now, since: now, toggles: toggles(server, document), against: &against, interval, spread: 0 };
    let kept = observed.kept.clone().unwrap_or_default().of(image.reference.as_str());
    let mut shown = fairlead_core::freshness::view(&kept.record, &moment);
    if kept.record.operation.is_none() && shown.running.is_empty() {
        // Before the first check, its pods may tell.
        shown.running.clone_from(&observed.running);
    }
    Some(shown)
}

fn toggles(server: &Server, document: &ServerDocument) -> UpdateToggles {
    match &document.spec.updates {
        Some(updates) => updates.toggles(),
        None if server.created_fresh => UpdateToggles::for_new(),
        None => UpdateToggles::default(),
    }
}

fn against(server: &Server, document: &ServerDocument, phase: Phase) -> Vec<Ineligible> {
    let source = &document.spec.source;
    let resolvable = !matches!(source, Source::Image(image) if image.pull == PullPolicy::Never);
    let mut found = reasons(&Standing {
        source,
        resolvable,
        toggles: toggles(server, document),
        desired: if phase == Phase::Stopped { Desired::Stopped } else { Desired::Running },
        phase: match phase {
            Phase::Pending => ServerPhase::Starting,
            Phase::Ready => ServerPhase::Running,
            Phase::Failed => ServerPhase::Failed,
            Phase::Terminating => ServerPhase::Stopping,
            Phase::Stopped => ServerPhase::Stopped,
        },
        manual_reinstall: document.spec.updates.as_ref().is_some_and(|updates| updates.manual_reinstall),
        disabled: false,
    });
    if names_image(&document.cluster) {
        found.insert(0, Ineligible::NotAnArtifact);
    }
    found
}

/// Whether the pod template names the image of the server itself: then the document's is not what runs.
fn names_image(cluster: &ClusterSpec) -> bool {
    let containers = cluster.pod_template_spec.as_ref().and_then(|template| template.pointer("/spec/containers"));
    let mut containers = containers.and_then(Value::as_array).into_iter().flatten();
    containers
        .any(|container| container.get("name").is_some_and(|name| name == BACKEND) && container.get("image").is_some())
}
