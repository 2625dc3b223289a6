//! Freshness in a cluster: the engine of every machine, driven by the operator that leads.
//!
//! What is a cluster's own (servers, records, pods) the operator has; here it meets whoever is asked what is newest and whoever
//! decides. The registry is asked without a credential, because the operator reads no Secret: where it does not let us in, the word
//! of a node counts, which has the credentials of the server. What was never seen is marked only after a node could start it, and rolled
//! out only after it has answered like a server.

mod examiner;
mod requests;

use std::sync::Arc;
use std::time::Duration;

use fairlead_control::freshness::{Engine, EngineConfig, EnginePorts};
use fairlead_core::BoxFuture;
use fairlead_core::clock::Clock;
use fairlead_core::freshness::{
    CheckError, Detector, ErrorClass, Facts, Freshness as Record, Observed, Policies, Running, Subject, Unseen,
    UpdatePolicy as _, Verdict,
};
use fairlead_core::image::ImageReference;
use fairlead_core::name::PluginName;
use fairlead_core::store::PluginRecord;
use fairlead_dial::NetDialer;
use fairlead_oci::{InsecureRegistries, OciClient, RegistryDetector, candidate};
use fairlead_operator::controller::{Attached, Examiner, Fleet, Keeper, Unprobed};
use fairlead_operator::limits::PROBE_SWEEP;
use fairlead_wasm::{Compiler, HostError, PluginHost, PluginHostConfig};

use examiner::PodExaminer;
use requests::Requests;

use super::freshness::policies::{self, Follow};
use super::plugins::Plugins;
use super::shelf::Shelf;
use super::tenants::Rules;
use super::{MachineClock, registries};
use crate::config::{Settings, UpdateDetector};
use crate::store::{Scratch, ScratchError};
use crate::text;

/// Why servers cannot be kept fresh.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeeperError {
    /// This program, which compiles plugins, is not found.
    #[error("find this program")]
    Program(#[source] std::io::Error),
    /// There are no plugins.
    #[error("start the plugin host")]
    Plugins(#[from] HostError),
    /// There is no state for plugins.
    #[error(transparent)]
    State(#[from] ScratchError),
}

/// Whoever is asked about the servers of a cluster, whoever leads.
struct ClusterKeeper {
    interval: Duration,
    by: UpdateDetector,
    detector: RegistryDetector,
    registries: Arc<OciClient>,
    plugins: Plugins,
    examiner: Arc<PodExaminer>,
    clock: Arc<dyn Clock>,
    _scratch: Scratch,
}

/// Puts together who keeps the servers of a cluster fresh.
///
/// # Errors
/// Something of the machine is missing.
pub(crate) fn keeper(settings: &Settings) -> Result<Arc<dyn Keeper>, KeeperError> {
    let clock: Arc<dyn Clock> = Arc::new(MachineClock);
    let scratch = Scratch::open(Arc::clone(&clock))?;
    let program = std::env::current_exe().map_err(KeeperError::Program)?;
    let host = PluginHost::new(PluginHostConfig {
        compiler: Compiler::Child { program },
        dialer: Some(Arc::new(NetDialer::new())),
        clock: Arc::clone(&clock),
        ..PluginHostConfig::new(settings.directories.cache.join("components"), Arc::clone(scratch.kv()) as _)
    })?;
    let (interval, registries) = (settings.update_interval, Arc::new(registries(InsecureRegistries::default())));
    Ok(Arc::new(Shared(Arc::new(ClusterKeeper {
        interval,
        by: settings.update_detector,
        detector: RegistryDetector::new(Arc::clone(&registries), Arc::clone(&clock), interval),
        registries,
        plugins: Plugins { host, shelf: Shelf::new(settings) },
        examiner: Arc::default(),
        clock,
        _scratch: scratch,
    }))))
}

/// The keeper, as its engines hold it.
struct Shared(Arc<ClusterKeeper>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterKeeper").field("interval", &self.0.interval).finish_non_exhaustive()
    }
}

impl Keeper for Shared {
    fn keep(&self, fleet: Arc<Fleet>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let clock = Arc::clone(&self.0.clock);
            let asked = Arc::new(Asked { keeper: Arc::clone(&self.0), fleet: Arc::clone(&fleet) });
            // Another one at each start. Whoever leads is alone, so nobody waits for what a dead one held.
            let holder = format!("{}-{}", std::process::id(), clock.now().as_nanosecond());
            let config = EngineConfig { alone: true, ..EngineConfig::new(holder, self.0.interval) };
            let engine = Engine::new(
                config,
                EnginePorts {
                    servers: Arc::clone(&fleet) as _,
                    store: Arc::clone(&fleet) as _,
                    detector: Arc::clone(&asked) as _,
                    policies: asked as _,
                    roller: Arc::clone(&fleet) as _,
                    announcer: Arc::clone(&fleet) as _,
                    clock,
                },
            );
            // Before anybody asks: what is there by now was left by a crash.
            fleet.sweep().await;
            let mut sweep = tokio::time::interval(PROBE_SWEEP);
            let mut requests = Requests::new(Arc::clone(&engine), Arc::clone(&fleet));
            let mut run = std::pin::pin!(Arc::clone(&engine).run());
            loop {
                tokio::select! {
                    () = &mut run => break,
                    changed = fleet.changed() => for key in &changed {
                        engine.touch(key);
                        requests.hear(key);
                    },
                    () = requests.go_on() => {}
                    _ = sweep.tick() => {
                        fleet.sweep().await;
                    }
                }
            }
        })
    }

    fn examiner(&self) -> Arc<dyn Examiner> {
        Arc::clone(&self.0.examiner) as _
    }
}

/// Whoever is asked about the servers of one lead.
struct Asked {
    keeper: Arc<ClusterKeeper>,
    fleet: Arc<Fleet>,
}

impl Detector for Asked {
    fn observe<'a>(
        &'a self,
        subject: &'a Subject,
        running: Running,
        known: &'a Record,
    ) -> BoxFuture<'a, Result<Observed, Unseen>> {
        Box::pin(self.look(subject, running, known))
    }
}

impl Policies for Asked {
    fn decide<'a>(&'a self, subject: &'a Subject, facts: &'a Facts) -> BoxFuture<'a, Verdict> {
        Box::pin(async { self.ask(subject, facts).await.unwrap_or_else(Verdict::policy_error) })
    }
}

impl Asked {
    async fn look(&self, subject: &Subject, running: Running, known: &Record) -> Result<Observed, Unseen> {
        let gone = || self.failed(ErrorClass::Other, "the server is gone".to_owned());
        let reference = self.fleet.image(&subject.key).ok_or_else(gone)?;
        if self.keeper.by == UpdateDetector::Probe {
            return self.by_probe(subject, &reference, running).await;
        }
        let Attached { spec, policies, .. } = self.fleet.attached(&subject.key).ok_or_else(gone)?;
        let rules = Rules { policies, ..Rules::default() };
        let chooses = !policies::plugins_of(&rules, &subject.key, &spec).is_empty();
        match self.keeper.detector.observe(subject, &reference, running.clone(), known, chooses).await {
            Ok(seen) => {
                let runs = |newest: &&fairlead_core::freshness::Candidate| {
                    seen.running.digests.iter().any(|digest| newest.is(digest))
                };
                let newest = seen.candidates.iter().find(|candidate| candidate.pin == seen.newest);
                let is_known = known.candidates.iter().any(|candidate| candidate.pin == seen.newest);
                if !is_known && newest.filter(runs).is_none() {
                    let probe = self.fleet.probe(subject, &reference, Some(&seen.newest)).await;
                    probe.map_err(|error| self.unprobed(&error))?;
                }
                Ok(seen)
            }
            // We may not ask, and the nodes of the server may.
            Err(Unseen::Failed { error, .. }) if error.class == ErrorClass::RegistryAuth => {
                self.by_probe(subject, &reference, running).await
            }
            Err(unseen) => Err(unseen),
        }
    }

    /// Whatever a node makes of the reference now.
    async fn by_probe(
        &self,
        subject: &Subject,
        reference: &ImageReference,
        running: Running,
    ) -> Result<Observed, Unseen> {
        let probed = self.fleet.probe(subject, reference, None).await;
        let newest = probed.map_err(|error| self.unprobed(&error))?;
        let candidates = vec![candidate(&newest, reference.tag(), vec![newest.clone()], self.keeper.clock.now())];
        Ok(Observed { running, newest, candidates, news: None })
    }

    /// Asks all policies that are attached. Their components come from where their `Plugin`s say, each what its digest says.
    async fn ask(&self, subject: &Subject, facts: &Facts) -> Result<Verdict, String> {
        let key = &subject.key;
        let Attached { spec, plugins, policies } = self.fleet.attached(key).ok_or("the server is gone")?;
        let mut rules = Rules { policies, ..Rules::default() };
        for named in policies::plugins_of(&rules, key, &spec) {
            let name = PluginName::new(&named).map_err(|error| error.to_string())?;
            let plugin = plugins.get(&name).ok_or_else(|| format!("there is no Plugin `{name}`"))?.clone();
            let provided = self.keeper.plugins.provide(&self.keeper.registries, &plugin).await;
            let file = provided.map_err(|problem| format!("plugin `{name}`: {}", problem.detail))?;
            let created = self.keeper.clock.now();
            let record = PluginRecord { name: name.clone(), labels: Default::default(), spec: plugin, file, created };
            rules.plugins.insert(name, record);
        }
        Ok(match policies::rule_of(&self.keeper.plugins, &rules, key, &spec).await? {
            Some(rule) => rule.decide(facts).await,
            None => Follow.decide(facts).await,
        })
    }

    fn unprobed(&self, error: &Unprobed) -> Unseen {
        let class = match error {
            Unprobed::Denied(_) => ErrorClass::ProbeDenied,
            Unprobed::Late(_) => ErrorClass::ProbeTimeout,
            Unprobed::Failed(_) => ErrorClass::ProbeFailed,
        };
        self.failed(class, text::chain(error))
    }

    fn failed(&self, class: ErrorClass, message: String) -> Unseen {
        Unseen::Failed { error: CheckError { class, message, at: self.keeper.clock.now() }, retry_after: None }
    }
}
