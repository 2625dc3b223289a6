//! What can be done with servers. Each operation has its turn at its server, is durable before it takes effect, and runs to
//! its end even if whoever asked for it goes away.

use std::sync::Arc;
use std::time::Duration;

use fairlead_control::{Ports, Supervisor, SupervisorConfig};
use fairlead_core::chain::Chain;
use fairlead_core::document::{Document, ServerDocument};
use fairlead_core::name::ServerKey;
use fairlead_core::plugin::AttachmentSpec;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::remote::RemoteTransport;
use fairlead_core::runconfig;
use fairlead_core::server::{ServerSpec, Source, Transport};
use fairlead_core::status::{Desired, ServerPhase};
use fairlead_core::store::{ServerRecord, Store as _, StoreError};
use fairlead_core::workload::{Upstream, WorkloadRuntime};
use fairlead_proxy::{Remote, Route, Wire};
use tokio_util::task::AbortOnDropHandle;

use super::chain::Builder;
use super::eras::CachedEras;
use super::managed::{Body, Live, Managed, Turn, probe};
use super::operations::Operation;
use super::{App, chain, check, containers, naming};
use crate::api::types::{
    Build, ChainLink, CreateBuild, CreateWorkload, ExportFormat, ExportNote, Exported, ListQuery, ReplacePlugins,
    Workload,
};
use crate::limits::{SERVER_START_MAX, SERVER_STOP_MAX, SERVERS_MAX};
use crate::text;

impl App {
    /// Servers that match, by tenant and name.
    #[must_use]
    pub(crate) fn list(&self, query: &ListQuery) -> Vec<Workload> {
        let labels: Vec<(&str, &str)> = query
            .labels
            .as_deref()
            .unwrap_or_default()
            .split(',')
            .filter(|label| !label.is_empty())
            .map(|label| label.split_once('=').unwrap_or((label, "")))
            .collect();
        let all = self.slots.look_at_all(|managed| self.view(managed, false));
        all.into_iter()
            .filter(|workload| query.tenant.as_ref().is_none_or(|tenant| *tenant == workload.tenant))
            .filter(|workload| query.group.as_ref().is_none_or(|group| *group == workload.group))
            .filter(|workload| query.all || workload.desired == Desired::Running)
            .filter(|workload| {
                labels.iter().all(|(key, value)| workload.labels.get(*key).is_some_and(|known| known == value))
            })
            .collect()
    }

    /// One server.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn get(&self, key: &ServerKey) -> Result<Workload, Problem> {
        self.slots.look(key, |managed| self.view(managed, true)).ok_or_else(|| not_found(key))
    }

    fn view(&self, managed: &Managed, with_spec: bool) -> Workload {
        let mut workload = managed.view(self.address, with_spec);
        workload.image = self.containers.image(&managed.record.key, &managed.record.spec.source);
        if workload.status == ServerPhase::Starting && workload.reason.is_none() {
            workload.reason = self.operations.stage(&managed.record.key);
        }
        workload
    }

    /// Creates a server and waits until it answers; one that does not is taken back.
    ///
    /// # Errors
    /// It makes no sense, its name is taken, or it does not come up.
    pub(crate) async fn create(&self, request: CreateWorkload, operation: &Operation) -> Result<Workload, Problem> {
        check::check(&request.spec)?;
        let runtime = self.runtime(&request.spec)?;
        if self.slots.len() >= SERVERS_MAX {
            let detail = format!("there are {SERVERS_MAX} servers, which is the limit");
            return Err(Problem::new(ProblemKind::Conflict, detail).hint("remove some with `fairlead rm`"));
        }
        let turn = tokio::select! {
            turn = self.turn_for_new(&request) => turn?,
            () = operation.cancelled().cancelled() => return Err(given_up()),
        };
        let key = turn.key().clone();
        operation.at_work(&key);
        self.check_port(&key, &request.spec)?;
        self.check_secrets(&key, &request.spec).await?;
        // A plugin that cannot be attached is found before an image is fetched.
        let first = self.chain_of(&key, &request.spec).await?;
        if request.desired == Desired::Stopped {
            let record = ServerRecord { key, spec: request.spec, desired: Desired::Stopped, created: self.clock.now() };
            self.store_server(&record).await?;
            let managed = Managed { record: record.clone(), body: Body::Waiting, links: Vec::new() };
            turn.slot.managed.lock().replace(managed);
            // What it lacks to run, a secret for example, is told when it is started.
            let _ = self.assemble(&turn, &record).await;
            return self.get(&record.key);
        }
        let remote = self.remote(&key, &request.spec).await?;
        let mut record = ServerRecord { key, spec: request.spec, desired: Desired::Running, created: self.clock.now() };
        // Shown from now on: fetching and building take minutes, and whoever stops it must find it.
        turn.slot.managed.lock().replace(Managed { record: record.clone(), body: Body::Preparing, links: Vec::new() });
        let prepared = async {
            self.provide(&record.key, &mut record.spec.source, operation).await?;
            let gate = self.tenancy.gate.read().await;
            let built = self.chain_of(&record.key, &record.spec).await?;
            self.store.put_server(&record).await.map_err(not_stored)?;
            Ok::<_, Problem>((gate, built))
        };
        let (gate, (chain, links)) = match prepared.await {
            Ok(prepared) => prepared,
            Err(problem) => {
                turn.slot.managed.lock().take();
                self.containers.forget(&record.key);
                return Err(problem);
            }
        };
        drop(first);
        let live = self.put_together(&record, runtime, chain, remote);
        turn.change(|managed| *managed = Managed { record: record.clone(), body: Body::Live(live.clone()), links });
        drop(gate);
        live.supervisor.start();
        tracing::info!(fairlead.server.name = %record.key, "a server is created");
        if let Err(problem) = self.wait_until_up(&record.key, &live, operation).await {
            if !self.stop.is_cancelled() {
                self.take_back(&turn, &record.key, live).await;
            }
            return Err(problem);
        }
        self.get(&record.key)
    }

    /// The chain of a server by the rules of now. Whoever publishes it holds the gate.
    async fn chain_of(&self, key: &ServerKey, spec: &ServerSpec) -> Result<(Arc<Chain>, Vec<ChainLink>), Problem> {
        let rules = self.tenancy.rules();
        Builder::new(&self.plugins, &self.tenancy.bindings, &rules).build(key, spec).await
    }

    pub(super) async fn provide(
        &self,
        key: &ServerKey,
        source: &mut Source,
        operation: &Operation,
    ) -> Result<(), Problem> {
        tokio::select! {
            provided = self.containers.provide(key, source) => provided,
            () = operation.cancelled().cancelled() => Err(given_up()),
            () = self.stop.cancelled() => Err(Problem::new(ProblemKind::Unavailable, "the daemon is stopping")),
        }
    }

    /// Builds an image of a package.
    ///
    /// # Errors
    /// It cannot be built.
    pub(crate) async fn build(&self, request: CreateBuild, operation: &Operation) -> Result<Build, Problem> {
        let key = operation.without_server()?;
        tokio::select! {
            built = self.containers.build(&key, request) => built,
            () = operation.cancelled().cancelled() => Err(given_up()),
            () = self.stop.cancelled() => Err(Problem::new(ProblemKind::Unavailable, "the daemon is stopping")),
        }
    }

    /// Starts a server that was stopped or has failed, and waits until it answers.
    ///
    /// # Errors
    /// There is none, or it does not come up; it is then tried again later.
    pub(crate) async fn start(&self, key: &ServerKey, operation: &Operation) -> Result<Workload, Problem> {
        let turn = self.turn_of(key, operation).await?;
        let record = self.want(&turn, Desired::Running).await?;
        let live = match turn.live() {
            Some(live) => live,
            None => self.assemble(&turn, &record).await?,
        };
        live.supervisor.start();
        self.come_up(&turn, &live, operation).await
    }

    /// Waits until a server is up that is there to stay; one that is given up is stopped.
    async fn come_up(&self, turn: &Turn, live: &Live, operation: &Operation) -> Result<Workload, Problem> {
        let up = self.wait_until_up(turn.key(), live, operation).await;
        if operation.cancelled().is_cancelled() && up.is_err() {
            self.want(turn, Desired::Stopped).await?;
            live.supervisor.stop(SERVER_STOP_MAX).await;
        }
        up?;
        self.get(turn.key())
    }

    /// Stops a server; it stays stopped.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn stop(&self, key: &ServerKey, operation: &Operation) -> Result<Workload, Problem> {
        let before = self.get(key)?;
        let interrupted = self.operations.interrupt(key);
        let turn = match self.turn_of(key, operation).await {
            // What was interrupted was its creation, which has taken it back.
            Err(problem) if interrupted && problem.kind == ProblemKind::NotFound => {
                let reason = Some("it had not come up yet and is not kept".to_owned());
                return Ok(Workload { status: ServerPhase::Stopped, desired: Desired::Stopped, reason, ..before });
            }
            turn => turn?,
        };
        self.want(&turn, Desired::Stopped).await?;
        if let Some(live) = turn.live() {
            live.supervisor.stop(SERVER_STOP_MAX).await;
        }
        tracing::info!(fairlead.server.name = %key, "a server is stopped");
        self.get(key)
    }

    /// Stops and starts a server, with its plugins as their files are now.
    ///
    /// # Errors
    /// There is none, or it does not come up.
    pub(crate) async fn restart(&self, key: &ServerKey, operation: &Operation) -> Result<Workload, Problem> {
        let turn = self.turn_of(key, operation).await?;
        let record = self.want(&turn, Desired::Running).await?;
        let live = match turn.live() {
            Some(live) => {
                let first = self.chain_of(key, &record.spec).await?;
                live.supervisor.stop(SERVER_STOP_MAX).await;
                let _gate = self.tenancy.gate.read().await;
                let (chain, links) = self.chain_of(key, &record.spec).await?;
                drop(first);
                self.proxy.swap_chain(key, chain);
                turn.change(|managed| managed.links = links);
                live
            }
            None => self.assemble(&turn, &record).await?,
        };
        live.supervisor.start();
        self.come_up(&turn, &live, operation).await
    }

    /// Stops a server and forgets it, its log and the state of its plugins.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn remove(&self, key: &ServerKey, operation: &Operation) -> Result<(), Problem> {
        let interrupted = self.operations.interrupt(key);
        let turn = match self.turn_of(key, operation).await {
            // What was interrupted was its creation, which has taken it back.
            Err(problem) if interrupted && problem.kind == ProblemKind::NotFound => return Ok(()),
            turn => turn?,
        };
        self.store.remove_server(key).await.map_err(not_stored)?;
        self.proxy.withdraw(key);
        let managed = turn.slot.managed.lock().take();
        if let Some(Managed { body: Body::Live(live), .. }) = managed {
            live.supervisor.shutdown(SERVER_STOP_MAX).await;
        }
        self.kv.forget(&key.tenant, &chain::place(&key.name));
        self.containers.forget(key);
        self.logs.remove(key);
        tracing::info!(fairlead.server.name = %key, "a server is removed");
        Ok(())
    }

    /// Replaces the plugins of a server while it runs: the new ones are ready before the old ones go, and no request is lost.
    ///
    /// # Errors
    /// There is none, or a plugin cannot be attached; then everything stays as it was.
    pub(crate) async fn replace_plugins(&self, key: &ServerKey, request: ReplacePlugins) -> Result<Workload, Problem> {
        let turn = self.turn_for_existing(key).await?;
        let record = turn.record().ok_or_else(|| not_found(key))?;
        self.change_plugins(&turn, record, request).await?;
        self.get(key)
    }

    /// The same for somebody who made the new ones of the old ones, if those are still the ones.
    pub(super) async fn replace_plugins_unless_changed(
        &self,
        key: &ServerKey,
        was: &[AttachmentSpec],
        request: ReplacePlugins,
    ) -> Result<(), Problem> {
        let turn = self.turn_for_existing(key).await?;
        let record = turn.record().ok_or_else(|| not_found(key))?;
        if record.spec.plugins != was {
            let detail = format!("somebody else has changed the chain of `{}` at the same time", key.name);
            return Err(Problem::new(ProblemKind::Conflict, detail).hint("try again"));
        }
        self.change_plugins(&turn, record, request).await
    }

    async fn change_plugins(
        &self,
        turn: &Turn,
        mut record: ServerRecord,
        request: ReplacePlugins,
    ) -> Result<(), Problem> {
        record.spec.plugins = request.plugins;
        if let Some(tools) = request.tools {
            record.spec.tools = tools;
        }
        // The body of this request has the plugins at its root.
        let at_root = |mut problem: Problem| {
            problem.pointer = problem.pointer.map(|pointer| pointer.trim_start_matches("/spec").to_owned());
            problem
        };
        check::check(&record.spec).map_err(at_root)?;
        let _gate = self.tenancy.gate.read().await;
        let (chain, links) = self.chain_of(&record.key, &record.spec).await.map_err(at_root)?;
        self.store.put_server(&record).await.map_err(not_stored)?;
        self.proxy.swap_chain(&record.key, chain);
        turn.change(|managed| {
            managed.record = record;
            managed.links = links;
        });
        Ok(())
    }

    /// Brings back a server of an earlier daemon. What cannot be put together is shown as failed.
    pub(super) async fn bring_back(&self, turn: Turn, record: ServerRecord) {
        match self.assemble(&turn, &record).await {
            Ok(live) if record.desired == Desired::Running => live.supervisor.start(),
            Ok(_) => {}
            Err(problem) => {
                tracing::warn!(fairlead.server.name = %record.key, reason = problem.detail, "a server cannot be brought back");
            }
        }
    }

    /// Loads plugins, supervises and publishes. A failure is remembered with the server.
    async fn assemble(&self, turn: &Turn, record: &ServerRecord) -> Result<Live, Problem> {
        let _gate = self.tenancy.gate.read().await;
        let assembled = async {
            let runtime = self.runtime(&record.spec)?;
            let (chain, links) = self.chain_of(&record.key, &record.spec).await?;
            let remote = self.remote(&record.key, &record.spec).await?;
            Ok::<_, Problem>((self.put_together(record, runtime, chain, remote), links))
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

    pub(super) fn put_together(
        &self,
        record: &ServerRecord,
        runtime: Arc<dyn WorkloadRuntime>,
        chain: Arc<Chain>,
        remote: Option<Arc<Remote>>,
    ) -> Live {
        let ports = Ports {
            runtime,
            store: Arc::clone(&self.store) as _,
            clock: Arc::clone(&self.clock),
            logs: Arc::clone(&self.logs) as _,
            secrets: Arc::clone(&self.secrets) as _,
        };
        let supervisor =
            Supervisor::spawn(SupervisorConfig::new(record.key.clone(), containers::launched(&record.spec), ports));
        let isolation = record.spec.isolation;
        let wire = match (&record.spec.source, &record.spec.transport) {
            (Source::Remote(remote), _) => match remote.transport {
                RemoteTransport::Auto => Wire::Detect { isolation },
                RemoteTransport::StreamableHttp => Wire::Http,
                RemoteTransport::Sse => Wire::Sse { isolation },
            },
            (_, Transport::Stdio) => Wire::Stdio { isolation },
            (_, Transport::StreamableHttp { .. }) => Wire::Http,
            (_, Transport::Sse { .. }) => Wire::Sse { isolation },
        };
        let upstream = Arc::clone(&supervisor) as Arc<dyn Upstream>;
        self.proxy.publish(Route {
            key: record.key.clone(),
            wire,
            upstream,
            chain,
            eras: Arc::new(CachedEras::of(&self.eras, &record.spec)),
            remote,
        });
        let prober = probe(Arc::clone(&supervisor), Arc::clone(&self.proxy), record.key.clone());
        let prober = AbortOnDropHandle::new(self.tasks.spawn(prober));
        Live { supervisor, prober: Arc::new(prober) }
    }

    async fn take_back(&self, turn: &Turn, key: &ServerKey, live: Live) {
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

    /// Ready when the server has answered, or its first try has failed.
    pub(super) async fn wait_until_up(
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

    /// The turn of an operation at a server that is there; while it waits for it, it can be given up.
    async fn turn_of(&self, key: &ServerKey, operation: &Operation) -> Result<Turn, Problem> {
        operation.tell("waiting for its turn");
        let turn = tokio::select! {
            turn = self.turn_for_existing(key) => turn?,
            () = operation.cancelled().cancelled() => return Err(given_up()),
        };
        operation.at_work(key);
        Ok(turn)
    }

    /// A server as a document.
    ///
    /// # Errors
    /// There is none, or it has no such form.
    pub(crate) fn export(&self, key: &ServerKey, format: ExportFormat) -> Result<Exported, Problem> {
        let mut spec = self.slots.look(key, |managed| managed.record.spec.clone()).ok_or_else(|| not_found(key))?;
        let internal = |error: &dyn std::fmt::Display| Problem::new(ProblemKind::Internal, error.to_string());
        match format {
            ExportFormat::Runconfig => {
                let exported = runconfig::export(&key.name, &spec);
                let (text, notes) =
                    exported.map_err(|error| Problem::new(ProblemKind::Invalid, error.reason).at(error.pointer))?;
                let note = |note: runconfig::Note| ExportNote { pointer: note.pointer, reason: note.reason };
                return Ok(Exported { text, notes: notes.into_iter().map(note).collect() });
            }
            ExportFormat::K8s => match &mut spec.source {
                Source::Image(source) => source.engine = None,
                Source::Package(source) => source.engine = None,
                Source::Remote(_) => {}
                Source::Command { .. } | Source::Wasm { .. } => {
                    return Err(Problem::new(
                        ProblemKind::Invalid,
                        "a cluster has no command and no file of this machine",
                    )
                    .at("/spec/source"));
                }
            },
            ExportFormat::Yaml => {}
        }
        let document = Document::Server(ServerDocument { key: key.clone(), spec }).to_value();
        let text = serde_saphyr::to_string(&document).map_err(|error| internal(&error))?;
        Ok(Exported { text, notes: Vec::new() })
    }

    /// Stores a server.
    pub(super) async fn store_server(&self, record: &ServerRecord) -> Result<(), Problem> {
        self.store.put_server(record).await.map_err(not_stored)
    }

    /// Stores whether it should run, if that is new.
    async fn want(&self, turn: &Turn, desired: Desired) -> Result<ServerRecord, Problem> {
        let mut record = turn.record().ok_or_else(|| not_found(turn.key()))?;
        if record.desired != desired {
            record.desired = desired;
            self.store.put_server(&record).await.map_err(not_stored)?;
            turn.change(|managed| managed.record = record.clone());
        }
        Ok(record)
    }

    pub(super) fn runtime(&self, spec: &ServerSpec) -> Result<Arc<dyn WorkloadRuntime>, Problem> {
        self.runtimes.iter().find(|runtime| runtime.supports(&spec.source)).map(Arc::clone).ok_or_else(|| {
            Problem::new(ProblemKind::Unavailable, "nothing here runs such a source")
                .at("/spec/source")
                .hint("a Wasm component and a local command always work")
        })
    }

    /// Two servers cannot listen on one port of this machine; each container has ports of its own.
    pub(super) fn check_port(&self, key: &ServerKey, spec: &ServerSpec) -> Result<(), Problem> {
        let Some(wanted) = port_of_machine(spec) else { return Ok(()) };
        let holders = self.slots.look_at_all(|managed| {
            let record = &managed.record;
            (port_of_machine(&record.spec) == Some(wanted) && record.key != *key).then(|| record.key.clone())
        });
        match holders.into_iter().flatten().next() {
            None => Ok(()),
            Some(holder) => {
                let detail = format!("port {wanted} belongs to server `{holder}`");
                Err(Problem::new(ProblemKind::Conflict, detail)
                    .at("/spec/transport/port")
                    .hint("let the server listen on another port and name that with `--target-port`"))
            }
        }
    }

    async fn turn_for_new(&self, request: &CreateWorkload) -> Result<Turn, Problem> {
        let key = |name| ServerKey { tenant: request.tenant.clone(), name };
        if let Some(name) = &request.name {
            let key = key(name.clone());
            let turn = self.slots.turn(&key).await;
            if turn.record().is_some() {
                return Err(Problem::new(ProblemKind::Conflict, format!("there is a server `{name}` already"))
                    .at("/name")
                    .hint(format!("choose another name with `--name`, or remove it with `fairlead rm {name}`")));
            }
            return Ok(turn);
        }
        // There are more candidates than servers.
        for name in naming::candidates(&request.spec.source) {
            let key = key(name);
            if self.slots.is_taken(&key) {
                continue;
            }
            let turn = self.slots.turn(&key).await;
            if turn.record().is_none() {
                return Ok(turn);
            }
        }
        Err(Problem::new(ProblemKind::Conflict, "no name is free"))
    }

    async fn turn_for_existing(&self, key: &ServerKey) -> Result<Turn, Problem> {
        // Looking first keeps a wrong name from making a place.
        self.slots.look(key, |_| ()).ok_or_else(|| not_found(key))?;
        let turn = self.slots.turn(key).await;
        if turn.record().is_none() {
            return Err(not_found(key));
        }
        Ok(turn)
    }
}

impl Turn {
    pub(super) fn record(&self) -> Option<ServerRecord> {
        self.slot.managed.lock().as_ref().map(|managed| managed.record.clone())
    }

    fn live(&self) -> Option<Live> {
        self.slot.managed.lock().as_ref().and_then(Managed::live)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Managed)) {
        if let Some(managed) = self.slot.managed.lock().as_mut() {
            change(managed);
        }
    }
}

/// What is shown of a chain.
pub(super) fn links_of(chain: &Chain) -> Vec<ChainLink> {
    let shown = |link: &fairlead_core::chain::Link| ChainLink {
        level: link.level,
        name: link.name.to_string(),
        revision: link.revision.to_string(),
    };
    chain.links().iter().map(shown).collect()
}

pub(super) fn port_of_machine(spec: &ServerSpec) -> Option<u16> {
    match &spec.source {
        Source::Command { .. } | Source::Wasm { .. } => spec.transport.port(),
        Source::Image(_) | Source::Package(_) | Source::Remote(_) => None,
    }
}

fn given_up() -> Problem {
    Problem::new(ProblemKind::Conflict, "it was given up")
}

pub(super) fn not_found(key: &ServerKey) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("there is no server `{}` in tenant `{}`", key.name, key.tenant))
        .hint("`fairlead list --all` shows what there is")
}

pub(super) fn not_stored(error: StoreError) -> Problem {
    let chain = text::chain(&error);
    tracing::error!(error = chain, "the state store does not take a change");
    Problem::new(ProblemKind::Internal, format!("it could not be stored: {chain}"))
        .hint("check that the disk is not full; the log of the daemon says more")
}
