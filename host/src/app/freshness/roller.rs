//! Changes what runs on this machine: a candidate beside what runs, and, when it has answered as MCP wants it for long enough,
//! in its place.
//!
//! The new revision is launched with the server's own settings, by digest, and nobody reaches it until it is switched to; so a
//! rollout that fails is not noticed by any client. What a crash leaves of a candidate goes with everything else that an
//! earlier daemon left: it is recorded and labelled as every workload is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fairlead_control::Supervisor;
use fairlead_core::chain::Chain;
use fairlead_core::digest::Digest;
use fairlead_core::freshness::{
    Deployed, Evidence, FreshnessStore as _, Operation, Plan, Running, Signal, Strategy, Subject, Surface, Trial,
    Version, compare,
};
use fairlead_core::name::ServerKey;
use fairlead_core::problem::ProblemKind;
use fairlead_core::server::{ServerSpec, Source};
use fairlead_core::status::{Desired, ServerPhase};
use fairlead_core::store::ServerRecord;
use fairlead_oci::package_version;
use fairlead_proxy::{Examined, ProbeError};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::detector::running_digest;
use super::revision::{Revision, at};
use crate::app::App;
use crate::app::containers::PACKAGE;
use crate::app::managed::{Body, Managed};
use crate::limits::{CANDIDATE_ANSWER_MAX, SERVER_STOP_MAX};
use crate::text;

/// Candidates that are being rolled out, each with the operation that it belongs to.
#[derive(Default)]
pub(crate) struct Rollouts {
    candidates: Mutex<HashMap<ServerKey, (u64, Arc<Candidate>)>>,
}

/// A revision that runs and that nobody reaches yet. Dropping it ends it.
struct Candidate {
    supervisor: Arc<Supervisor>,
    revision: Revision,
    /// When it first answered as it should.
    ready_since: Timestamp,
}

impl Candidate {
    /// Why it is not what it was when it answered.
    fn trouble(&self) -> Option<String> {
        let status = self.supervisor.status().borrow().clone();
        let reason = || status.reason.clone().unwrap_or_else(|| "it ended".to_owned());
        (status.phase != ServerPhase::Running).then(reason)
    }
}

impl Rollouts {
    fn get(&self, key: &ServerKey, operation: u64) -> Option<Arc<Candidate>> {
        let candidates = self.candidates.lock();
        candidates.get(key).filter(|(id, _)| *id == operation).map(|(_, candidate)| Arc::clone(candidate))
    }

    fn put(&self, key: &ServerKey, operation: u64, candidate: &Arc<Candidate>) {
        self.candidates.lock().insert(key.clone(), (operation, Arc::clone(candidate)));
    }

    /// Ends the candidate of a server.
    pub(crate) fn drop_of(&self, key: &ServerKey) {
        let gone = self.candidates.lock().remove(key);
        drop(gone);
    }

    fn all(&self) -> Vec<(ServerKey, u64)> {
        self.candidates.lock().iter().map(|(key, (operation, _))| (key.clone(), *operation)).collect()
    }
}

/// Ends candidates whose operation has ended without them: it was called off, or somebody else changed the server.
pub(super) async fn tidy(app: &App) {
    for (key, operation) in app.freshness.rollouts().all() {
        let record = app.store.load(&key).await;
        if record.is_ok_and(|record| record.live(operation).is_none()) {
            app.freshness.rollouts().drop_of(&key);
        }
    }
}

/// What runs.
pub(super) fn running(app: &App, subject: &Subject) -> Running {
    let seen = app.slots.look(&subject.key, |managed| {
        let version = match &managed.record.spec.source {
            Source::Package(package) => {
                let launched = app.launched_source(managed);
                let resolved = if let Source::Package(launched) = launched { launched.resolved } else { None };
                let version = resolved.or_else(|| app.containers.package_version(&subject.key));
                version.and_then(|version| package_version(package.package.kind(), &version))
            }
            Source::Image(image) => image.reference.tag().and_then(Version::of_tag),
            _ => None,
        };
        (running_digest(app, managed), managed.status().since, version)
    });
    let (digest, since, version) =
        seen.map_or((None, None, None), |(digest, since, version)| (digest, Some(since), version));
    Running {
        reference: subject.reference.clone(),
        pinned: subject.pinned,
        unknown: u32::from(digest.is_none()),
        version,
        digests: digest.into_iter().collect(),
        since,
        health: subject.health,
    }
}

/// Starts the candidate beside what runs, looks at it as a client does, and ends it.
pub(super) async fn trial(app: &App, subject: &Subject, plan: &Plan) -> Trial {
    let Some(record) = record(app, &subject.key) else { return Trial::PutOff("the server is gone".to_owned()) };
    if strategy(&record.spec, plan) == Strategy::Recreate {
        // There may be only one of it.
        return Trial::Passed(Surface::Unknown);
    }
    let revision = match pinned(app, &record, &plan.pin).await {
        Ok(revision) => revision,
        Err(trial) => return trial,
    };
    let (candidate, examined) = match start(app, &record, revision).await {
        Ok(started) => started,
        Err(why) => return Trial::Failed(why),
    };
    let now = examine_running(app, &record).await;
    candidate.supervisor.shutdown(SERVER_STOP_MAX).await;
    Trial::Passed(match now {
        Some(now) => compare(&now.tools, &examined.tools),
        None => Surface::Unknown,
    })
}

/// What is to be said of a rollout, having done what can be done for it now.
pub(super) async fn settle(app: &App, subject: &Subject, operation: &Operation) -> Evidence {
    let key = &subject.key;
    let deployed = match app.store.deployed(key) {
        Ok(deployed) => deployed,
        Err(error) => {
            tracing::error!(fairlead.server.name = %key, error = text::chain(&error), "what is deployed cannot be read");
            let mark = Some(fairlead_core::freshness::Mark { operation: operation.id, fence: 0 });
            return Evidence {
                mark,
                revision: operation.base,
                running: unknown(subject),
                ready_since: None,
                terminal: None,
            };
        }
    };
    let ours = deployed.mark.is_some_and(|mark| mark.operation == operation.id);
    let in_place = running(app, subject).digests.first() == Some(&operation.plan.pin);
    let terminal = match (ours, in_place, record(app, key)) {
        (true, false, Some(record)) => advance(app, &record, operation).await.err(),
        (true, true, Some(record)) if record.desired == Desired::Running => {
            app.freshness.rollouts().drop_of(key);
            resume(app, key);
            None
        }
        _ => None,
    };
    evidence(app, subject, operation, &deployed, terminal)
}

/// Brings the target into its place, as far as it is.
async fn advance(app: &App, record: &ServerRecord, operation: &Operation) -> Result<(), String> {
    let key = &record.key;
    let recreate = strategy(&record.spec, &operation.plan) == Strategy::Recreate;
    let candidate = match app.freshness.rollouts().get(key, operation.id) {
        Some(candidate) => candidate,
        None => {
            let revision = match pinned(app, record, &operation.plan.pin).await {
                Ok(revision) => revision,
                Err(Trial::Failed(why)) => return Err(why),
                Err(_) => {
                    // That says nothing of the target: it is looked at again until its time is over.
                    tracing::warn!(fairlead.server.name = %key, operation = operation.id, "a rollout cannot go on now");
                    return Ok(());
                }
            };
            if recreate {
                stop(app, key).await;
            }
            let (candidate, _) = start(app, record, revision).await?;
            let candidate = Arc::new(candidate);
            app.freshness.rollouts().put(key, operation.id, &candidate);
            candidate
        }
    };
    if let Some(why) = candidate.trouble() {
        app.freshness.rollouts().drop_of(key);
        return Err(why);
    }
    let min_ready = SignedDuration::from_millis(i64::from(operation.plan.min_ready_ms));
    let well = app.clock.now().duration_since(candidate.ready_since) >= min_ready;
    // The old one is gone already where there may be only one.
    if well || recreate {
        switch(app, key, operation, &candidate).await;
    }
    Ok(())
}

/// Lets clients in. The old revision keeps its sessions for as long as the plan gives them.
async fn switch(app: &App, key: &ServerKey, operation: &Operation, candidate: &Arc<Candidate>) {
    let turn = app.slots.turn(key).await;
    let deployed = app.store.deployed(key).ok().and_then(|deployed| deployed.mark);
    let ours = deployed.is_some_and(|mark| mark.operation == operation.id);
    let Some(record) = turn.record().filter(|record| ours && record.desired == Desired::Running) else { return };
    let route = app.route(&record, &candidate.revision.spec, &candidate.supervisor, no_chain());
    let Some(retiring) = app.proxy.succeed(key, route) else { return };
    let live = app.live(key, Arc::clone(&candidate.supervisor), candidate.revision.digest.clone());
    let mut old = None;
    turn.change(|managed| {
        if let Body::Live(before) = std::mem::replace(&mut managed.body, Body::Live(live)) {
            old = Some(Arc::clone(&before.supervisor));
        }
    });
    app.freshness.rollouts().drop_of(key);
    tracing::info!(
        fairlead.server.name = %key, operation = operation.id, digest = %operation.plan.pin,
        "a server is switched to another revision"
    );
    let drain = Duration::from_millis(u64::from(operation.plan.drain_ms));
    let stop = app.stop.clone();
    app.tasks.spawn(async move {
        tokio::select! {
            () = retiring.drained(drain) => {}
            () = stop.cancelled() => {}
        }
        drop(retiring);
        if let Some(old) = old {
            old.shutdown(SERVER_STOP_MAX).await;
        }
    });
}

/// Where there may be only one: the old one goes first.
async fn stop(app: &App, key: &ServerKey) {
    let turn = app.slots.turn(key).await;
    if let Some(live) = turn.live() {
        live.supervisor.stop(SERVER_STOP_MAX).await;
    }
}

/// What is in its place runs, if it was stopped for a candidate that then was not well.
fn resume(app: &App, key: &ServerKey) {
    if let Some(live) = app.slots.look(key, Managed::live).flatten()
        && live.supervisor.status().borrow().phase == ServerPhase::Stopped
    {
        live.supervisor.start();
    }
}

fn evidence(
    app: &App,
    subject: &Subject,
    operation: &Operation,
    deployed: &Deployed,
    terminal: Option<String>,
) -> Evidence {
    let key = &subject.key;
    let running = running(app, subject);
    let status = app.slots.look(key, Managed::status);
    let in_place = running.digests.first() == Some(&operation.plan.pin);
    let ready_since = match &status {
        Some(status) if in_place && status.phase == ServerPhase::Running => Some(status.since),
        _ => app.freshness.rollouts().get(key, operation.id).map(|candidate| candidate.ready_since),
    };
    let failed = status.filter(|status| in_place && status.phase == ServerPhase::Failed);
    let terminal = terminal.or_else(|| failed.map(|status| status.reason.unwrap_or_else(|| "it failed".to_owned())));
    Evidence { mark: deployed.mark, revision: deployed.revision, running, ready_since, terminal }
}

fn unknown(subject: &Subject) -> Running {
    Running { reference: subject.reference.clone(), unknown: 1, health: Signal::Unknown, ..Running::default() }
}

fn record(app: &App, key: &ServerKey) -> Option<ServerRecord> {
    app.slots.look(key, |managed| managed.record.clone())
}

fn strategy(spec: &ServerSpec, plan: &Plan) -> Strategy {
    if spec.updates.as_ref().is_some_and(|updates| updates.single_instance) {
        Strategy::Recreate
    } else {
        plan.strategy
    }
}

/// The candidate as it is launched, with its image on the engine.
async fn pinned(app: &App, record: &ServerRecord, pin: &Digest) -> Result<Revision, Trial> {
    let Some(mut source) = at(&record.spec.source, pin, app.freshness.shelf()) else {
        return Err(Trial::Failed("what it comes from has no digest".to_owned()));
    };
    let image = app.containers.provide(&record.key, &mut source).await;
    image.map_err(|problem| match (problem.kind, problem.pointer.as_deref()) {
        // It cannot be built, which may be its own fault: trying again and again would cost a build each time.
        (_, Some(PACKAGE)) => Trial::Failed(problem.detail),
        // No engine, no network, no room: that says nothing of the candidate.
        (ProblemKind::Unavailable, _) => Trial::PutOff(problem.detail),
        _ => Trial::Failed(problem.detail),
    })?;
    Ok(Revision { spec: ServerSpec { source, ..record.spec.clone() }, digest: Some(pin.clone()) })
}

/// Launches a revision that nobody reaches, and comes to it as a client does.
async fn start(app: &App, record: &ServerRecord, revision: Revision) -> Result<(Candidate, Examined), String> {
    let runtime = app.runtime(&revision.spec).map_err(|problem| problem.detail)?;
    let supervisor = app.supervisor(&record.key, &revision.spec, runtime);
    supervisor.start();
    let route = app.route(record, &revision.spec, &supervisor, no_chain());
    match app.proxy.examine(route, CANDIDATE_ANSWER_MAX).await {
        Ok(examined) => {
            supervisor.mark_ready(examined.profile.clone());
            Ok((Candidate { supervisor, revision, ready_since: app.clock.now() }, examined))
        }
        Err(error) => {
            let why = failure(&supervisor, &error);
            supervisor.shutdown(SERVER_STOP_MAX).await;
            Err(why)
        }
    }
}

/// How what runs looks to a client; nothing when it does not say.
async fn examine_running(app: &App, record: &ServerRecord) -> Option<Examined> {
    let live = app.slots.look(&record.key, Managed::live).flatten()?;
    let route = app.route(record, &record.spec, &live.supervisor, no_chain());
    app.proxy.examine(route, CANDIDATE_ANSWER_MAX).await.ok()
}

/// The data plane puts in the chain of the revision before, and a look at a server passes none.
pub(super) fn no_chain() -> Arc<Chain> {
    Arc::new(Chain::new(Vec::new()))
}

/// What a person wants to know: how it ended says more than that it did not answer.
fn failure(supervisor: &Supervisor, error: &ProbeError) -> String {
    let status = supervisor.status().borrow().clone();
    match status.reason {
        Some(reason) => format!("{}; {reason}", text::chain(error)),
        None => text::chain(error),
    }
}
