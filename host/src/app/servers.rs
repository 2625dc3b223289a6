//! What can be done with servers. Each operation has its turn at its server, is durable before it takes effect, and runs to
//! its end even if whoever asked for it goes away.

mod assembly;
mod export;
mod plugins;
mod turns;

use std::sync::Arc;

use fairlead_core::freshness::UpdateSpec;
use fairlead_core::name::ServerKey;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::server::{ServerSpec, Source};
use fairlead_core::status::{Desired, ServerPhase};
use fairlead_core::store::{ServerRecord, Store as _, StoreError};

pub(super) use plugins::links_of;
pub(super) use turns::port_of_machine;

use super::managed::{Body, Managed};
use super::operations::Operation;
use super::{App, chain, check};
use crate::api::types::{Build, CreateBuild, CreateWorkload, ListQuery, Workload};
use crate::limits::{SERVER_STOP_MAX, SERVERS_MAX};
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
        let launched = self.launched_source(managed);
        workload.image = self.containers.image(&managed.record.key, &launched);
        if let (Some(ServerSpec { source: Source::Package(shown), .. }), Source::Package(launched)) =
            (&mut workload.spec, launched)
        {
            shown.resolved = launched.resolved;
        }
        if let (Some(image), Source::Image(source)) = (&mut workload.image, &managed.record.spec.source) {
            image.reference = source.reference.to_string();
        }
        workload.updates = self.update_view(managed);
        if workload.status == ServerPhase::Starting && workload.reason.is_none() {
            workload.reason = self.operations.stage(&managed.record.key);
        }
        workload
    }

    /// Creates a server and waits until it answers; one that does not is taken back.
    ///
    /// # Errors
    /// It makes no sense, its name is taken, or it does not come up.
    pub(crate) async fn create(&self, mut request: CreateWorkload, operation: &Operation) -> Result<Workload, Problem> {
        check::check(&request.spec)?;
        self.catalogue.admit(&request.tenant, &request.spec).await?;
        // What is new is kept fresh; what was there before says itself that it is not.
        request.spec.updates.get_or_insert(UpdateSpec::for_new());
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
        // Another server may have had the name.
        self.store.forget_freshness(&key).map_err(not_stored)?;
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
        self.pin_first(&record)?;
        let revision = self.revision(&record).await?;
        let live = self.put_together(&record, revision, runtime, chain, remote);
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
        self.freshness.touch(&record.key);
        self.get(&record.key)
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
        match turn.live() {
            Some(live) => live.supervisor.stop(SERVER_STOP_MAX).await,
            None => self.end_what_is_left(key),
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
        self.want(&turn, Desired::Running).await?;
        let record = self.reinstalled(&turn).await?;
        let live = match turn.live().filter(|_| !self.is_built_here(&record)) {
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
            None => self.assemble_anew(&turn, &record).await?,
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
        match managed {
            Some(Managed { body: Body::Live(live), .. }) => drop(live.supervisor.shutdown(SERVER_STOP_MAX).await),
            _ => self.end_what_is_left(key),
        }
        self.kv.forget(&key.tenant, &chain::place(&key.name));
        self.containers.forget(key);
        self.freshness.rollouts().drop_of(key);
        self.store.forget_freshness(key).map_err(not_stored)?;
        self.logs.remove(key);
        tracing::info!(fairlead.server.name = %key, "a server is removed");
        Ok(())
    }

    /// Ends what an earlier daemon left running for a server that could not be put together, and so takes nothing over.
    fn end_what_is_left(&self, key: &ServerKey) {
        let (runtime, key) = (Arc::clone(self.containers.runtime()), key.clone());
        self.tasks.spawn(async move { runtime.remove_strays(&|other| *other != key).await });
    }

    /// Stores a server.
    pub(super) async fn store_server(&self, record: &ServerRecord) -> Result<(), Problem> {
        self.store.put_server(record).await.map_err(not_stored)
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
