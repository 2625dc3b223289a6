//! A server put together of its parts: plugins, runtime, supervisor, route; and taken apart again when it does not come up.

use std::sync::Arc;
use std::time::Duration;

use fairlead_control::{Ports, Supervisor, SupervisorConfig};
use fairlead_core::chain::Chain;
use fairlead_core::digest::Digest;
use fairlead_core::name::ServerKey;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::server::{ServerSpec, Source};
use fairlead_core::status::{Desired, ServerPhase};
use fairlead_core::store::{ServerRecord, Store as _};
use fairlead_core::workload::{Upstream, WorkloadRuntime};
use fairlead_proxy::{Remote, Replicas, Route};
use tokio_util::task::AbortOnDropHandle;

use super::given_up;
use crate::api::types::Workload;
use crate::app::eras::CachedEras;
use crate::app::freshness::Revision;
use crate::app::managed::{Body, Live, Turn, probe};
use crate::app::operations::Operation;
use crate::app::wire::{wire_of, wire_of_remote};
use crate::app::{App, chain, containers};
use crate::limits::{SERVER_START_MAX, SERVER_STOP_MAX};
use crate::text;

impl App {
    /// Brings back a server of an earlier daemon. What cannot be put together is shown as failed.
    pub(in crate::app) async fn bring_back(&self, turn: Turn, record: ServerRecord) {
        match self.assemble(&turn, &record).await {
            Ok(live) if record.desired == Desired::Running => live.supervisor.start(),
            Ok(_) => {}
            Err(problem) => {
                tracing::warn!(fairlead.server.name = %record.key, reason = problem.detail, "a server cannot be brought back");
            }
        }
    }

    /// The same where something runs that is to end first.
    pub(super) async fn assemble_anew(&self, turn: &Turn, record: &ServerRecord) -> Result<Live, Problem> {
        if let Some(live) = turn.live() {
            live.supervisor.shutdown(SERVER_STOP_MAX).await;
        }
        self.assemble(turn, record).await
    }

    /// Loads plugins, supervises and publishes. A failure is remembered with the server.
    pub(super) async fn assemble(&self, turn: &Turn, record: &ServerRecord) -> Result<Live, Problem> {
        let _gate = self.tenancy.gate.read().await;
        let assembled = async {
            let runtime = self.runtime(&record.spec)?;
            let (chain, links) = self.chain_of(&record.key, &record.spec).await?;
            let remote = self.remote(&record.key, &record.spec).await?;
            let revision = self.revision(record).await?;
            Ok::<_, Problem>((self.put_together(record, revision, runtime, chain, remote), links))
        };
        match assembled.await {
            Ok((live, links)) => {
                turn.change(|managed| {
                    managed.body = Body::Live(live.clone());
                    managed.links = links;
                });
                Ok(live)
            }
            Err(problem) => {
                let reason = format!("{}; `fairlead start {}` tries again", problem.detail, record.key.name);
                turn.change(|managed| managed.body = Body::Broken { reason, since: self.clock.now() });
                Err(problem)
            }
        }
    }

    pub(in crate::app) fn put_together(
        &self,
        record: &ServerRecord,
        revision: Revision,
        runtime: Arc<dyn WorkloadRuntime>,
        chain: Arc<Chain>,
        remote: Option<Arc<Remote>>,
    ) -> Live {
        let supervisor = self.supervisor(&record.key, &revision.spec, runtime);
        let route = self.route(record, &revision.spec, &supervisor, chain);
        self.proxy.publish(Route { remote, ..route });
        self.live(&record.key, supervisor, revision.digest)
    }

    /// The supervisor of a revision of a server.
    pub(in crate::app) fn supervisor(
        &self,
        key: &ServerKey,
        spec: &ServerSpec,
        runtime: Arc<dyn WorkloadRuntime>,
    ) -> Arc<Supervisor> {
        let ports = Ports {
            runtime,
            store: Arc::clone(&self.store) as _,
            clock: Arc::clone(&self.clock),
            logs: Arc::clone(&self.logs) as _,
            secrets: Arc::clone(&self.secrets) as _,
        };
        Supervisor::spawn(SupervisorConfig::new(key.clone(), containers::launched(spec), ports))
    }

    /// How a revision of a server is reached: `spec` as it is launched.
    pub(in crate::app) fn route(
        &self,
        record: &ServerRecord,
        spec: &ServerSpec,
        supervisor: &Arc<Supervisor>,
        chain: Arc<Chain>,
    ) -> Route {
        let wire = match &record.spec.source {
            Source::Remote(remote) => wire_of_remote(remote.transport, record.spec.isolation),
            _ => wire_of(&record.spec.transport, record.spec.isolation),
        };
        let upstream = Arc::clone(supervisor) as Arc<dyn Upstream>;
        let eras = Arc::new(CachedEras::of(&self.eras, spec));
        let (key, bridge) = (record.key.clone(), record.spec.bridge);
        Route { key, wire, upstream, chain, eras, remote: None, bridge, replicas: Replicas::default() }
    }

    /// A revision that clients reach.
    pub(in crate::app) fn live(&self, key: &ServerKey, supervisor: Arc<Supervisor>, digest: Option<Digest>) -> Live {
        // A server elsewhere is somebody else's to look after.
        let listens = supervisor.listens();
        let interval = self.health_interval.filter(|_| listens);
        let prober = probe(Arc::clone(&supervisor), Arc::clone(&self.proxy), key.clone(), interval);
        let prober = AbortOnDropHandle::new(self.tasks.spawn(prober));
        Live { supervisor, prober: Arc::new(prober), digest }
    }

    pub(super) async fn take_back(&self, turn: &Turn, key: &ServerKey, live: Live) {
        self.proxy.withdraw(key);
        turn.slot.managed.lock().take();
        live.supervisor.shutdown(SERVER_STOP_MAX).await;
        self.kv.forget(&key.tenant, &chain::place(&key.name));
        self.containers.forget(key);
        self.logs.forget(key);
        if let Err(error) = self.store.remove_server(key).await {
            tracing::error!(fairlead.server.name = %key, error = text::chain(&error), "a server that did not come up stays stored");
        }
    }

    /// Waits until a server is up that is there to stay; one that is given up is stopped.
    pub(super) async fn come_up(&self, turn: &Turn, live: &Live, operation: &Operation) -> Result<Workload, Problem> {
        let up = self.wait_until_up(turn.key(), live, operation).await;
        if operation.cancelled().is_cancelled() && up.is_err() {
            self.want(turn, Desired::Stopped).await?;
            live.supervisor.stop(SERVER_STOP_MAX).await;
        }
        up?;
        self.get(turn.key())
    }

    /// Ready when the server has answered, or its first try has failed.
    pub(in crate::app) async fn wait_until_up(
        &self,
        key: &ServerKey,
        live: &Live,
        operation: &Operation,
    ) -> Result<(), Problem> {
        operation.tell("waiting until it answers");
        let mut status = live.supervisor.status();
        let decided = status.wait_for(|status| !matches!(status.phase, ServerPhase::Starting | ServerPhase::Stopping));
        let reason = tokio::select! {
            () = self.stop.cancelled() => "the daemon is stopping".to_owned(),
            () = operation.cancelled().cancelled() => return Err(given_up()),
            () = tokio::time::sleep(SERVER_START_MAX + Duration::from_secs(5)) => {
                format!("it did not answer `initialize` within {} s", SERVER_START_MAX.as_secs())
            }
            decided = decided => match decided {
                Ok(status) if status.phase == ServerPhase::Running => return Ok(()),
                Ok(status) => status.reason.clone().unwrap_or_else(|| "it was stopped meanwhile".to_owned()),
                Err(_) => "it was removed meanwhile".to_owned(),
            },
        };
        let again = format!("; `fairlead start {}` tries again", key.name);
        let reason = reason.strip_suffix(&again).unwrap_or(&reason);
        let mut detail = format!("`{}` did not come up: {reason}", key.name);
        for line in self.logs.recent(key) {
            detail += &format!("\n  | {line}");
        }
        let log = self.logs.path(key);
        Err(Problem::new(ProblemKind::Unavailable, detail).hint(format!("its log is `{}`", log.display())))
    }

    pub(in crate::app) fn runtime(&self, spec: &ServerSpec) -> Result<Arc<dyn WorkloadRuntime>, Problem> {
        self.runtimes.iter().find(|runtime| runtime.supports(&spec.source)).map(Arc::clone).ok_or_else(|| {
            Problem::new(ProblemKind::Unavailable, "nothing here runs such a source")
                .at("/spec/source")
                .hint("a Wasm component and a local command always work")
        })
    }
}
