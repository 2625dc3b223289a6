//! What follows when documents are applied: chains are swapped, servers started, replaced, stopped; and all of it taken back
//! when a server does not come up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlead_core::chain::Chain;
use fairlead_core::document::{Action, Document, Step};
use fairlead_core::name::ServerKey;
use fairlead_core::problem::Problem;
use fairlead_core::server::ServerSpec;
use fairlead_core::status::Desired;
use fairlead_core::store::ServerRecord;
use futures_util::future::join_all;
use tokio::sync::RwLockWriteGuard;

use super::resolve::Resolved;
use super::{Rules, all_changes, of_step};
use crate::api::types::ChainLink;
use crate::app::App;
use crate::app::chain::{Builder, place};
use crate::app::managed::{Body, Live, Managed, Turn};
use crate::app::operations::Operation;
use crate::app::tenants::chains::Ready;
use crate::limits::SERVER_STOP_MAX;

/// All that is needed, ready before anything happens.
pub(super) struct Prepared {
    /// Chains of servers that no document speaks of.
    others: Vec<Ready>,
    /// Servers that documents speak of, as they shall be, with their chains.
    servers: Vec<(ServerRecord, Arc<Chain>, Vec<ChainLink>)>,
    /// Servers that go.
    removed: Vec<ServerKey>,
    /// What the rules were.
    before: Rules,
    /// The chains of now: as long as somebody holds them, the way back needs nothing new.
    _way_back: Vec<Arc<Chain>>,
}

impl Prepared {
    pub(super) async fn new(
        app: &App,
        before: &Rules,
        after: &Rules,
        steps: &[Step],
        resolved: &Resolved,
    ) -> Result<Self, Problem> {
        let mut removed = Vec::new();
        let mut spoken_of = BTreeSet::new();
        let mut servers = Vec::new();
        let mut builder = Builder::new(&app.plugins, &app.tenancy.bindings, after);
        for step in steps.iter().filter(|step| step.action != Action::Keep) {
            if let (None, Some(Document::Server(gone))) = (&step.after, &step.before) {
                spoken_of.insert(gone.key.clone());
                removed.push(gone.key.clone());
            }
            let Some(record) = app.record_of(step, resolved) else { continue };
            spoken_of.insert(record.key.clone());
            let built = builder.build(&record.key, &record.spec).await.map_err(|problem| of_step(problem, step))?;
            servers.push((record, built.0, built.1));
        }
        let others = app.prepare_except(before, after, &spoken_of).await?;
        let mut way_back = Vec::new();
        let mut builder = Builder::new(&app.plugins, &app.tenancy.bindings, before);
        for record in
            app.slots.look_at_all(|managed| managed.live().map(|_| managed.record.clone())).into_iter().flatten()
        {
            let concerned = spoken_of.contains(&record.key) || others.iter().any(|ready| *ready.key() == record.key);
            if concerned && let Ok((chain, _)) = builder.build(&record.key, &record.spec).await {
                way_back.push(chain);
            }
        }
        Ok(Self { others, servers, removed, before: before.clone(), _way_back: way_back })
    }
}

/// A server as it was before documents changed it; none: it was not there.
type Earlier = BTreeMap<ServerKey, Option<ServerRecord>>;

impl App {
    /// Makes it so. The turns are held to the end, the gate until everything is published.
    pub(super) async fn carry_out(
        &self,
        gate: RwLockWriteGuard<'_, ()>,
        turns: Vec<Turn>,
        after: Rules,
        prepared: Prepared,
        operation: &Operation,
    ) -> Result<(), Problem> {
        let Prepared { others, servers, removed, before, _way_back } = prepared;
        let record_now = |key: &ServerKey| self.slots.look(key, |managed| managed.record.clone());
        let touched = servers.iter().map(|(record, _, _)| &record.key).chain(&removed);
        let earlier: Earlier = touched.map(|key| (key.clone(), record_now(key))).collect();
        let records: Vec<ServerRecord> = servers.iter().map(|(record, _, _)| record.clone()).collect();
        let changes = all_changes(&before, &after, &records, &removed);
        self.commit(&changes).await?;
        self.tenancy.replace(after.clone());
        self.swap(others);
        for key in &removed {
            self.proxy.withdraw(key);
        }
        let live = |key: &ServerKey| self.slots.look(key, Managed::live).flatten();
        join_all(removed.iter().filter_map(live).map(|live| async move {
            live.supervisor.stop(SERVER_STOP_MAX).await;
        }))
        .await;
        let mut starting = Vec::new();
        for (record, chain, links) in servers {
            let Some(turn) = turns.iter().find(|turn| *turn.key() == record.key) else { continue };
            if let Some(live) = self.converge(turn, &record, chain, links).await {
                starting.push((record.key.clone(), live));
            }
        }
        drop(gate);
        let waits = starting.iter().map(|(key, live)| self.wait_until_up(key, live, operation));
        let failed = join_all(waits).await.into_iter().find_map(Result::err);
        if let Some(problem) = failed.filter(|_| !self.stop.is_cancelled()) {
            self.take_back_all(&turns, &before, &after, &earlier, &removed).await;
            let detail = format!("nothing was changed: {}", problem.detail);
            return Err(Problem { detail, ..problem });
        }
        for key in &removed {
            if let Some(turn) = turns.iter().find(|turn| turn.key() == key) {
                self.bury(turn, key).await;
            }
        }
        self.forget_state(&changes);
        for tenant in before.tenants.keys().filter(|name| !after.tenants.contains_key(*name)) {
            self.forget_state_of(tenant);
            if let Err(problem) = self.forget_possessions_of(tenant).await {
                tracing::error!(fairlead.tenant = %tenant, reason = problem.detail, "what a tenant had is not forgotten");
            }
        }
        Ok(())
    }

    /// Lets a server be as its record says. Gives it back when it has to come up.
    async fn converge(
        &self,
        turn: &Turn,
        record: &ServerRecord,
        chain: Arc<Chain>,
        links: Vec<ChainLink>,
    ) -> Option<Live> {
        let known = turn.slot.managed.lock().as_ref().map(|managed| (managed.record.clone(), managed.live()));
        if let Err(problem) = self.redeployed(known.as_ref().map(|(known, _)| known), record) {
            tracing::error!(fairlead.server.name = %record.key, reason = problem.detail, "what was deployed is not forgotten");
        }
        if let Some((known, Some(live))) = &known {
            if launches_alike(&known.spec, &record.spec) {
                self.proxy.swap_chain(&record.key, chain);
                let mut managed = turn.slot.managed.lock();
                if let Some(managed) = managed.as_mut() {
                    managed.record = record.clone();
                    managed.links = links;
                }
                return None;
            }
            live.supervisor.shutdown(SERVER_STOP_MAX).await;
        }
        let live = match self.assembled(record, chain).await {
            Ok(live) => live,
            Err(problem) => {
                let body = Body::Broken { reason: problem.detail, since: self.clock.now() };
                turn.slot.managed.lock().replace(Managed { record: record.clone(), body, links });
                return None;
            }
        };
        let managed = Managed { record: record.clone(), body: Body::Live(live.clone()), links };
        turn.slot.managed.lock().replace(managed);
        if record.desired == Desired::Stopped {
            return None;
        }
        live.supervisor.start();
        Some(live)
    }

    /// Makes everything as it was. What others changed meanwhile stays as they made it.
    async fn take_back_all(
        &self,
        turns: &[Turn],
        before: &Rules,
        after: &Rules,
        earlier: &Earlier,
        withdrawn: &[ServerKey],
    ) {
        let gate = self.tenancy.gate.write().await;
        let now = self.tenancy.rules();
        let restored = restored(&now, before, after);
        let put: Vec<ServerRecord> = earlier.values().flatten().cloned().collect();
        let removed: Vec<ServerKey> =
            earlier.iter().filter(|(_, record)| record.is_none()).map(|(key, _)| key.clone()).collect();
        if let Err(problem) = self.commit(&all_changes(&now, &restored, &put, &removed)).await {
            tracing::error!(reason = problem.detail, "what was applied cannot be taken back");
            return;
        }
        let spoken_of = earlier.keys().cloned().collect();
        match self.prepare_except(&now, &restored, &spoken_of).await {
            Ok(ready) => self.swap(ready),
            Err(problem) => tracing::error!(reason = problem.detail, "a chain cannot be put back"),
        }
        let mut builder = Builder::new(&self.plugins, &self.tenancy.bindings, &restored);
        for turn in turns {
            let key = turn.key();
            match earlier.get(key) {
                Some(Some(record)) => match builder.build(key, &record.spec).await {
                    Ok((chain, links)) if withdrawn.contains(key) => self.restore(turn, record, chain, links).await,
                    Ok((chain, links)) => {
                        self.converge(turn, record, chain, links).await;
                    }
                    Err(problem) => {
                        tracing::error!(fairlead.server.name = %key, reason = problem.detail, "a server cannot be put back");
                    }
                },
                Some(None) => {
                    self.proxy.withdraw(key);
                    self.bury(turn, key).await;
                }
                None => {}
            }
        }
        self.tenancy.replace(restored);
        drop(gate);
    }

    async fn assembled(&self, record: &ServerRecord, chain: Arc<Chain>) -> Result<Live, Problem> {
        let runtime = self.runtime(&record.spec)?;
        let remote = self.remote(&record.key, &record.spec).await?;
        let revision = self.revision(record).await?;
        Ok(self.put_together(record, revision, runtime, chain, remote))
    }

    async fn restore(&self, turn: &Turn, record: &ServerRecord, chain: Arc<Chain>, links: Vec<ChainLink>) {
        let live = turn.slot.managed.lock().as_ref().and_then(Managed::live);
        if let Some(live) = live {
            live.supervisor.shutdown(SERVER_STOP_MAX).await;
        }
        let Ok(live) = self.assembled(record, chain).await else { return };
        let managed = Managed { record: record.clone(), body: Body::Live(live.clone()), links };
        turn.slot.managed.lock().replace(managed);
        if record.desired == Desired::Running {
            live.supervisor.start();
        }
    }

    /// Ends a server that is not stored any more, and forgets what it left.
    async fn bury(&self, turn: &Turn, key: &ServerKey) {
        let managed = turn.slot.managed.lock().take();
        if let Some(Managed { body: Body::Live(live), .. }) = managed {
            live.supervisor.shutdown(SERVER_STOP_MAX).await;
        }
        self.kv.forget(&key.tenant, &place(&key.name));
        self.containers.forget(key);
        self.freshness.rollouts().drop_of(key);
        if let Err(error) = self.store.forget_freshness(key) {
            tracing::warn!(fairlead.server.name = %key, %error, "how fresh a server was is not forgotten");
        }
        self.logs.remove(key);
    }
}

/// Whether a server that runs can go on: only its chain, its labels and what nobody launches differ.
fn launches_alike(a: &ServerSpec, b: &ServerSpec) -> bool {
    let bare = |spec: &ServerSpec| ServerSpec {
        plugins: Vec::new(),
        tools: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        group: Default::default(),
        updates: None,
        ..spec.clone()
    };
    bare(a) == bare(b)
}

/// The rules of now without what was applied, as far as nobody else has changed it since.
fn restored(now: &Rules, before: &Rules, after: &Rules) -> Rules {
    fn back<K: Ord + Clone, V: PartialEq + Clone>(
        now: &mut BTreeMap<K, V>,
        before: &BTreeMap<K, V>,
        after: &BTreeMap<K, V>,
    ) {
        let touched: BTreeSet<K> =
            before.keys().chain(after.keys()).filter(|key| before.get(*key) != after.get(*key)).cloned().collect();
        for key in touched {
            if now.get(&key) == after.get(&key) {
                match before.get(&key) {
                    Some(value) => now.insert(key, value.clone()),
                    None => now.remove(&key),
                };
            }
        }
    }
    let mut rules = now.clone();
    back(&mut rules.tenants, &before.tenants, &after.tenants);
    back(&mut rules.policies, &before.policies, &after.policies);
    back(&mut rules.tokens, &before.tokens, &after.tokens);
    back(&mut rules.plugins, &before.plugins, &after.plugins);
    rules
}
