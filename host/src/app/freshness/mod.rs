//! Freshness in this daemon: the engine of `control`, with what it needs of this machine.
//!
//! The engine knows servers, records and the order of steps; here is what each step means where servers are containers and
//! components: whom to ask ([`detector`]), who decides ([`policies`]), how one revision takes the place of another
//! ([`roller`]), and what is launched at all ([`revision`]).

mod commands;
mod detector;
mod elsewhere;
mod layers;
pub(super) mod policies;
mod revision;
mod roller;
mod shelf;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use fairlead_control::freshness::{Engine, EngineConfig, EnginePorts};
use fairlead_core::BoxFuture;
use fairlead_core::clock::Clock;
use fairlead_core::dial::Dialer;
use fairlead_core::freshness::{
    Announcer, Deployed, Detector, Evidence, Facts, Freshness as Record, Message, Moment, Observed, Operation, Plan,
    Policies, Roller, Running, Servers, Signal, Standing, Subject, Trial, Unseen, UpdateView, Verdict, reasons, view,
};
use fairlead_core::image::PullPolicy;
use fairlead_core::name::ServerKey;
use fairlead_core::problem::Problem;
use fairlead_core::server::{ServerSpec, Source};
use fairlead_core::status::ServerPhase;
use fairlead_core::store::{ServerRecord, StoreError};
use fairlead_oci::{OciClient, PackageDetector, RegistryDetector};
use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::App;
use super::managed::{Body, Managed};
use super::servers::not_stored;
use crate::api::types::UpdateEvent;
use crate::config::{Build, Settings, UpdateDetector};
use crate::hooks::{Hooks, Telling};
use crate::limits::{REVISIONS_GRACE, REVISIONS_SWEEP, ROLLOUTS_TIDY, UPDATE_EVENTS_MAX};
use crate::telemetry::UpdateMetrics;
use crate::text;
pub(crate) use revision::Revision;
use revision::{at, followed, wanted};
use roller::Rollouts;
use shelf::RevisionShelf;

/// What the daemon has for the freshness of its servers.
pub(super) struct Freshness {
    interval: Duration,
    by: UpdateDetector,
    detector: RegistryDetector,
    packages: PackageDetector,
    /// With what packages are built: the index that is asked is the one that they come from.
    build: Build,
    shelf: RevisionShelf,
    rollouts: Rollouts,
    events: broadcast::Sender<UpdateEvent>,
    metrics: Option<UpdateMetrics>,
    hooks: Arc<Hooks>,
    /// There as long as the daemon serves: the engine holds the application, which holds this.
    engine: Mutex<Option<Arc<Engine>>>,
}

impl Freshness {
    /// Nothing is looked at yet. `indexes` reaches indexes of packages.
    pub(super) fn new(
        settings: &Settings,
        registries: Arc<OciClient>,
        indexes: Arc<dyn Dialer>,
        clock: Arc<dyn Clock>,
        metrics: Option<UpdateMetrics>,
        hooks: Arc<Hooks>,
    ) -> Self {
        let interval = settings.update_interval;
        Self {
            interval,
            by: settings.update_detector,
            detector: RegistryDetector::new(registries, Arc::clone(&clock), interval),
            packages: PackageDetector::new(indexes, clock, interval),
            build: settings.build.clone(),
            shelf: RevisionShelf::new(settings.directories.data.join("server-components")),
            rollouts: Rollouts::default(),
            events: broadcast::channel(UPDATE_EVENTS_MAX).0,
            metrics,
            hooks,
            engine: Mutex::default(),
        }
    }

    pub(super) fn rollouts(&self) -> &Rollouts {
        &self.rollouts
    }

    fn shelf(&self) -> &RevisionShelf {
        &self.shelf
    }

    /// A server has appeared or changed.
    pub(super) fn touch(&self, key: &ServerKey) {
        if let Some(engine) = &*self.engine.lock() {
            engine.touch(key);
        }
    }

    /// What happens from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<UpdateEvent> {
        self.events.subscribe()
    }

    fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.lock().clone()
    }
}

/// Keeps servers fresh (`check_mcp_image_updates`) until the daemon stops.
pub(super) async fn keep_fresh(app: Arc<App>) {
    let local = Arc::new(Local(Arc::clone(&app)));
    let ports = EnginePorts {
        servers: Arc::clone(&local) as _,
        store: Arc::clone(&app.store) as _,
        detector: Arc::clone(&local) as _,
        policies: Arc::clone(&local) as _,
        roller: Arc::clone(&local) as _,
        announcer: local as _,
        clock: Arc::clone(&app.clock),
    };
    // Another one at each start: what the one before held is free when its time is over, and never taken for ours.
    let holder = format!("{}-{}", std::process::id(), app.clock.now().as_nanosecond());
    let config = EngineConfig { alone: true, ..EngineConfig::new(holder, app.freshness.interval) };
    let engine = Engine::new(config, ports);
    *app.freshness.engine.lock() = Some(Arc::clone(&engine));
    let mut tidy = tokio::time::interval(ROLLOUTS_TIDY);
    let mut sweep = tokio::time::interval(REVISIONS_SWEEP);
    let mut run = std::pin::pin!(Arc::clone(&engine).run());
    loop {
        tokio::select! {
            () = &mut run => break,
            () = app.stop.cancelled() => {
                engine.stop();
                run.await;
                break;
            }
            _ = tidy.tick() => roller::tidy(&app).await,
            _ = sweep.tick() => sweep_shelf(&app).await,
        }
    }
    app.freshness.engine.lock().take();
    app.freshness.hooks.close().await;
}

/// Takes away what was kept of revisions that no record speaks of any more.
async fn sweep_shelf(app: &App) {
    let mut wanted = HashSet::new();
    for key in app.slots.look_at_all(|managed| managed.record.key.clone()) {
        let (Ok(deployed), Ok(record)) = (app.store.deployed(&key), app.store.freshness(&key)) else {
            // What cannot be read may speak of anything.
            return;
        };
        wanted.extend(deployed.pin);
        wanted.extend(record.spoken_of().cloned());
        wanted.extend(app.slots.look(&key, |managed| detector::running_digest(app, managed)).flatten());
    }
    let shelf = app.freshness.shelf.clone();
    let swept = tokio::task::spawn_blocking(move || shelf.sweep(&wanted, REVISIONS_GRACE)).await;
    match swept.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
        Ok(0) => {}
        Ok(gone) => tracing::info!(gone, "what was kept of earlier revisions is removed"),
        Err(error) => tracing::warn!(%error, "what was kept of earlier revisions cannot be looked through"),
    }
}

impl App {
    /// What is launched of a server: what is deployed, or what it follows.
    pub(super) async fn revision(&self, record: &ServerRecord) -> Result<Revision, Problem> {
        let deployed = self.store.deployed(&record.key).map_err(not_stored)?;
        let freshness = self.store.freshness(&record.key).map_err(not_stored)?;
        let mut digest = wanted(&deployed, &freshness);
        if digest.is_none() {
            let (shelf, source, checked) =
                (self.freshness.shelf.clone(), record.spec.source.clone(), is_checked(&record.spec));
            let kept = tokio::task::spawn_blocking(move || match &source {
                // What is wrong with the file is said by whoever launches it.
                Source::Wasm { path, .. } if checked => shelf.keep(path).ok(),
                Source::Package(package) => {
                    let named = package.package.at(package.resolved.as_deref()?).ok()?;
                    shelf.note(&named).ok()
                }
                _ => None,
            });
            digest = kept.await.ok().flatten();
        }
        let source = digest.as_ref().and_then(|digest| at(&record.spec.source, digest, &self.freshness.shelf));
        Ok(match source {
            Some(source) => Revision { spec: ServerSpec { source, ..record.spec.clone() }, digest },
            None => Revision { spec: record.spec.clone(), digest: None },
        })
    }

    /// A server that is created is what its tag names at that moment, and stays that until something newer has passed its
    /// trial: an engine that has lost the image would otherwise fetch whatever the tag names by then.
    pub(super) fn pin_first(&self, record: &ServerRecord) -> Result<(), Problem> {
        let Source::Image(image) = &record.spec.source else { return Ok(()) };
        if !is_checked(&record.spec) || image.pull == PullPolicy::Always || image.reference.digest().is_some() {
            return Ok(());
        }
        let Some(digest) = self.containers.digest(&record.key, &record.spec.source) else { return Ok(()) };
        let revision = self.store.deployed(&record.key).map_err(not_stored)?.revision;
        let next = Deployed { revision: revision + 1, pin: Some(digest), mark: None };
        self.store.deploy(&record.key, revision, &next).map(drop).map_err(not_stored)
    }

    /// The source of a server as it was launched, where that is known.
    pub(super) fn launched_source(&self, managed: &Managed) -> Source {
        let source = &managed.record.spec.source;
        let digest = managed.live().and_then(|live| live.digest);
        digest.and_then(|digest| at(source, &digest, &self.freshness.shelf)).unwrap_or_else(|| source.clone())
    }

    /// The freshness of a server, as it is shown; nothing for one that is not stored yet.
    pub(super) fn update_view(&self, managed: &Managed) -> Option<UpdateView> {
        if matches!(managed.body, Body::Preparing) {
            return None;
        }
        let record = self.store.freshness(&managed.record.key).ok()?;
        let subject = self.subject(managed);
        let mut shown = view(&record, &self.moment(&subject));
        if record.operation.is_none() && shown.running.is_empty() {
            // Before the first check, the engine that launched it may know.
            shown.running.extend(detector::running_digest(self, managed));
        }
        Some(shown)
    }

    fn moment<'a>(&self, subject: &'a Subject) -> Moment<'a> {
        let (now, interval) = (self.clock.now(), self.freshness.interval);
        Moment { now, since: now, toggles: subject.toggles, against: &subject.against, interval, spread: 0 }
    }

    /// A server, as the engine and its policies see it.
    fn subject(&self, managed: &Managed) -> Subject {
        let ServerRecord { key, spec, desired, created } = &managed.record;
        let updates = spec.updates.clone().unwrap_or_default();
        let followed = followed(&spec.source);
        let phase = managed.status().phase;
        let against = reasons(&Standing {
            source: &spec.source,
            resolvable: followed.resolvable,
            toggles: updates.toggles(),
            desired: *desired,
            phase,
            manual_reinstall: updates.manual_reinstall,
            disabled: false,
        });
        let sessions = self.proxy.sessions(key).unwrap_or_default();
        Subject {
            key: key.clone(),
            toggles: updates.toggles(),
            against,
            reference: followed.reference,
            pinned: followed.pinned,
            group: (!spec.group.is_default()).then(|| spec.group.to_string()),
            labels: spec.labels.clone(),
            created: *created,
            sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
            health: match phase {
                ServerPhase::Running => Signal::Good,
                ServerPhase::Failed | ServerPhase::BackingOff => Signal::Bad,
                _ => Signal::Unknown,
            },
        }
    }
}

fn is_checked(spec: &ServerSpec) -> bool {
    spec.updates.as_ref().is_some_and(|updates| updates.check)
}

/// This machine, as the engine sees it.
struct Local(Arc<App>);

impl Servers for Local {
    fn keys(&self) -> Vec<ServerKey> {
        self.0.slots.look_at_all(|managed| managed.record.key.clone())
    }

    fn subject(&self, key: &ServerKey) -> Option<Subject> {
        self.0.slots.look(key, |managed| self.0.subject(managed))
    }
}

impl Detector for Local {
    fn observe<'a>(
        &'a self,
        subject: &'a Subject,
        running: Running,
        known: &'a Record,
    ) -> BoxFuture<'a, Result<Observed, Unseen>> {
        Box::pin(async {
            let seen = detector::look(&self.0, subject, running, known).await;
            if let Some(metrics) = &self.0.freshness.metrics {
                metrics.checked(&subject.key, &seen);
            }
            seen
        })
    }
}

impl Policies for Local {
    fn decide<'a>(&'a self, subject: &'a Subject, facts: &'a Facts) -> BoxFuture<'a, Verdict> {
        Box::pin(policies::decide(&self.0, subject, facts))
    }
}

impl Roller for Local {
    fn running<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Running> {
        Box::pin(async { roller::running(&self.0, subject) })
    }

    fn trial<'a>(&'a self, subject: &'a Subject, plan: &'a Plan) -> BoxFuture<'a, Trial> {
        Box::pin(roller::trial(&self.0, subject, plan))
    }

    fn deployed<'a>(&'a self, key: &'a ServerKey) -> BoxFuture<'a, Result<Deployed, StoreError>> {
        Box::pin(async { self.0.store.deployed(key) })
    }

    fn deploy<'a>(
        &'a self,
        key: &'a ServerKey,
        revision: u64,
        next: &'a Deployed,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move { self.0.store.deploy(key, revision, next) })
    }

    fn settle<'a>(&'a self, subject: &'a Subject, operation: &'a Operation) -> BoxFuture<'a, Evidence> {
        Box::pin(roller::settle(&self.0, subject, operation))
    }
}

impl Announcer for Local {
    fn announce<'a>(&'a self, key: &'a ServerKey, message: &'a Message) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let (app, of) = (Arc::downgrade(&self.0), key.clone());
            // The message leaves the record when all have it; until then it is offered again at each turn.
            let touch = move || app.upgrade().into_iter().for_each(|app| app.freshness.touch(&of));
            let telling = self.0.freshness.hooks.tell(key, message, touch);
            if matches!(telling, Telling::UnderWay | Telling::Done) {
                return telling == Telling::Done;
            }
            let Message { topic, text, urgent, at } = message.clone();
            let event = UpdateEvent { tenant: key.tenant.clone(), server: key.name.clone(), topic, text, urgent, at };
            if urgent {
                tracing::warn!(fairlead.server.name = %key, "{}", event.text);
            } else {
                tracing::info!(fairlead.server.name = %key, "{}", event.text);
            }
            if let Some(metrics) = &self.0.freshness.metrics {
                metrics.announced(key, &message.topic);
            }
            // Nobody may be listening; it stands in the history all the same.
            let _ = self.0.freshness.events.send(event);
            telling == Telling::Unwanted
        })
    }
}

/// An error of the engine, for whoever asked.
pub(super) fn refused(error: &fairlead_control::freshness::CommandError) -> Problem {
    use fairlead_control::freshness::CommandError;
    use fairlead_core::freshness::Refused;
    use fairlead_core::problem::ProblemKind;
    match error {
        CommandError::NoServer(key) => super::servers::not_found(key),
        CommandError::Declined(problem) => problem.clone(),
        CommandError::Refused(Refused::NothingToGoBackTo) => {
            Problem::new(ProblemKind::Conflict, error.to_string()).hint(
                "`fairlead update history` shows what was done; `fairlead update apply` takes any revision that is offered, \
                 with `--digest`",
            )
        }
        CommandError::Refused(_) | CommandError::Busy(_) => Problem::new(ProblemKind::Conflict, error.to_string()),
        CommandError::Store(_) => Problem::new(ProblemKind::Internal, text::chain(error)),
    }
}
