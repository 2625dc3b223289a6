//! What people want: to see, to look now, to decide themselves, to go back.

use fairlead_control::freshness::replay;
use fairlead_core::freshness::{
    Deployed, Forecast, Hold, Replay, Trigger, UpdateHistory, UpdatePolicy, UpdateSpec, Wish,
};
use fairlead_core::name::{ServerKey, TenantName};
use fairlead_core::plugin::PluginKind;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::server::Source;
use fairlead_core::store::{ServerRecord, Store as _};
use fairlead_core::tenant::Caller;
use jiff::Timestamp;
use tokio::sync::broadcast;

use super::{App, refused};
use crate::api::types::{
    ApproveUpdate, HoldUpdate, PatchWorkload, UpdateEvent, UpdateInfo, UpdatePatch, UpdateTarget, Workload,
};
use crate::app::managed::Turn;
use crate::app::servers::{not_found, not_stored};
use crate::limits::UPDATE_CHECK_WAIT;

impl App {
    /// Everything about the freshness of a server.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn update_info(&self, key: &ServerKey) -> Result<UpdateInfo, Problem> {
        let shown = self.slots.look(key, |managed| self.update_view(managed)).flatten();
        let record = self.store.freshness(key).map_err(not_stored)?;
        Ok(UpdateInfo {
            tenant: key.tenant.clone(),
            server: key.name.clone(),
            view: shown.ok_or_else(|| not_found(key))?,
            candidates: record.candidates,
            history: record.attempts,
            approvals: record.approvals,
        })
    }

    /// What happens to updates from now on.
    pub(crate) fn update_events(&self) -> broadcast::Receiver<UpdateEvent> {
        self.freshness.events()
    }

    /// Looks now what is newest, and says what came of it.
    ///
    /// # Errors
    /// There is no such server.
    pub(crate) async fn check_update(&self, key: &ServerKey) -> Result<UpdateInfo, Problem> {
        let before = self.store.freshness(key).map_err(not_stored)?;
        let looked = (before.check.last_success, before.check.last_failure);
        self.fulfil(key, Wish::Check).await?;
        let end = tokio::time::Instant::now() + UPDATE_CHECK_WAIT;
        while tokio::time::Instant::now() < end {
            let now = self.store.freshness(key).map_err(not_stored)?;
            let is_decided = now.check.decide.is_none_or(|time| time > self.clock.now());
            if (now.check.last_success, now.check.last_failure) != looked && is_decided {
                break;
            }
            if !self.update_info(key)?.view.ineligible.is_empty() {
                break;
            }
            tokio::time::sleep(crate::limits::POLL_INTERVAL).await;
        }
        self.update_info(key)
    }

    /// What all policies would say now, or at another time, without doing it.
    ///
    /// # Errors
    /// There is no such server.
    pub(crate) async fn plan_update(&self, key: &ServerKey, at: Option<Timestamp>) -> Result<Forecast, Problem> {
        let engine = self.freshness.engine().ok_or_else(stopping)?;
        engine.forecast(key, Trigger::Schedule, at).await.map_err(|error| refused(&error))
    }

    /// What the policies of a server would have made of a history, up to now.
    ///
    /// # Errors
    /// There is no such server, or a policy cannot be used.
    pub(crate) async fn replay_updates(&self, key: &ServerKey, history: &UpdateHistory) -> Result<Replay, Problem> {
        let subject = self.slots.look(key, |managed| self.subject(managed)).ok_or_else(|| not_found(key))?;
        let rule = super::policies::rule(self, &subject).await;
        let rule = rule.map_err(|reason| Problem::new(ProblemKind::Conflict, reason))?;
        let policy: &dyn UpdatePolicy = match &rule {
            Some(rule) => rule,
            None => &super::policies::Follow,
        };
        Ok(replay(&subject, history, policy, self.freshness.interval, self.clock.now()).await)
    }

    /// The servers of a tenant, by name.
    pub(crate) fn keys_of(&self, tenant: &TenantName) -> Vec<ServerKey> {
        let keys = self.slots.look_at_all(|managed| managed.record.key.clone());
        keys.into_iter().filter(|key| key.tenant == *tenant).collect()
    }

    /// Updates now: to what the policies choose, or, whatever they say, to a digest that is offered.
    ///
    /// # Errors
    /// There is nothing newer, it is not offered, or another update is under way.
    pub(crate) async fn apply_update(&self, key: &ServerKey, target: UpdateTarget) -> Result<UpdateInfo, Problem> {
        if let Some(pin) = &target.digest {
            let record = self.store.freshness(key).map_err(not_stored)?;
            if let Some(candidate) = record.candidates.iter().find(|candidate| candidate.pin == *pin)
                && let Some(detail) = super::layers::against(self, key, candidate).await
            {
                let hint =
                    "an admin of the tenant says what may run: `fairlead registry layers`, `fairlead registry submit`";
                return Err(Problem::new(ProblemKind::Forbidden, detail).hint(hint));
            }
        }
        self.fulfil(key, Wish::Apply(target.digest)).await
    }

    /// Says yes to a digest, for policies that wait for it.
    ///
    /// # Errors
    /// It is not offered.
    pub(crate) async fn approve_update(&self, key: &ServerKey, request: ApproveUpdate) -> Result<UpdateInfo, Problem> {
        let ApproveUpdate { digest, by } = request;
        self.fulfil(key, Wish::Approve { digest, by }).await
    }

    /// Says no to every update, for a while or until it is taken back.
    ///
    /// # Errors
    /// There is no such server.
    pub(crate) async fn hold_updates(&self, key: &ServerKey, request: HoldUpdate) -> Result<UpdateInfo, Problem> {
        let HoldUpdate { by, reason, until } = request;
        self.fulfil(key, Wish::Hold(Hold { by, reason, until })).await
    }

    /// Takes a no back, and lets a digest be tried again that had failed.
    ///
    /// # Errors
    /// There is no such server.
    pub(crate) async fn resume_updates(&self, key: &ServerKey, target: UpdateTarget) -> Result<UpdateInfo, Problem> {
        self.fulfil(key, Wish::Resume(target.digest)).await
    }

    /// Goes back to what was well before.
    ///
    /// # Errors
    /// There is no such thing, or another update is under way.
    pub(crate) async fn roll_back(&self, key: &ServerKey) -> Result<UpdateInfo, Problem> {
        self.fulfil(key, Wish::RollBack).await
    }

    /// Changes how a server is kept fresh, while it runs.
    ///
    /// # Errors
    /// There is none, nothing is to be changed, or a policy cannot be used.
    pub(crate) async fn patch(
        &self,
        caller: &Caller,
        key: &ServerKey,
        patch: PatchWorkload,
    ) -> Result<Workload, Problem> {
        let PatchWorkload { updates, update_policies } = patch;
        self.keep_plugins_within(caller, update_policies.as_deref().unwrap_or_default())?;
        if updates.as_ref().is_none_or(UpdatePatch::is_empty) && update_policies.is_none() {
            return Err(Problem::new(ProblemKind::Invalid, "nothing is to be changed")
                .hint("name `updates` or `updatePolicies`; `/api/openapi.json` says what is in them"));
        }
        let turn = self.turn_for_existing(key).await?;
        let mut record = turn.record().ok_or_else(|| not_found(key))?;
        if let Some(updates) = updates {
            record.spec.updates = Some(updates.over(record.spec.updates.clone().unwrap_or_default()));
        }
        if let Some(policies) = update_policies {
            for (at, policy) in policies.iter().enumerate() {
                let rules = self.tenancy.rules();
                let plugin = self
                    .plugins
                    .load(&rules.plugins, &policy.plugin)
                    .await
                    .map_err(|problem| problem.at(format!("/updatePolicies/{at}/plugin")))?;
                let usable = self.plugins.host.policy(&plugin, &policy.config).await;
                usable.map_err(|error| {
                    Problem::new(ProblemKind::Invalid, crate::text::chain(&error)).at(format!("/updatePolicies/{at}"))
                })?;
            }
            record.spec.plugins.retain(|plugin| plugin.kind != PluginKind::UpdatePolicy);
            let policies = policies.into_iter();
            record.spec.plugins.extend(policies.map(|mut policy| {
                policy.kind = PluginKind::UpdatePolicy;
                policy
            }));
        }
        crate::app::check::check(&record.spec)?;
        self.store.put_server(&record).await.map_err(not_stored)?;
        turn.change(|managed| managed.record = record);
        drop(turn);
        self.freshness.touch(key);
        self.get(key)
    }

    /// A person has restarted a server: what was marked for that is done, and a component is what its file is now.
    pub(in crate::app) async fn reinstalled(&self, turn: &Turn) -> Result<ServerRecord, Problem> {
        let key = turn.key();
        let mut record = turn.record().ok_or_else(|| not_found(key))?;
        if let Some(updates) = record.spec.updates.as_mut().filter(|updates| updates.manual_reinstall) {
            updates.manual_reinstall = false;
            self.store.put_server(&record).await.map_err(not_stored)?;
            turn.change(|managed| managed.record = record.clone());
        }
        if self.is_built_here(&record) {
            let deployed = self.store.deployed(key).map_err(not_stored)?;
            if deployed.pin.is_some() {
                let next = Deployed { revision: deployed.revision + 1, pin: None, mark: None };
                self.store.deploy(key, deployed.revision, &next).map_err(not_stored)?;
            }
        }
        Ok(record)
    }

    /// A person has changed a server: what was deployed of another source is nothing to it.
    pub(in crate::app) fn redeployed(&self, before: Option<&ServerRecord>, now: &ServerRecord) -> Result<(), Problem> {
        let followed = |record: &ServerRecord| {
            let source = &record.spec.source;
            let built = if let Source::Package(package) = source { package.resolved.clone() } else { None };
            (super::followed(source).reference, built)
        };
        match before {
            None => {
                self.store.forget_freshness(&now.key).map_err(not_stored)?;
                self.pin_first(now)
            }
            Some(before) if followed(before) == followed(now) => Ok(()),
            Some(_) => {
                self.freshness.rollouts().drop_of(&now.key);
                let revision = self.store.deployed(&now.key).map_err(not_stored)?.revision;
                let next = Deployed { revision: revision + 1, pin: None, mark: None };
                self.store.deploy(&now.key, revision, &next).map_err(not_stored)?;
                self.pin_first(now)
            }
        }
    }

    /// Whether a restart takes what is there now: a file that somebody builds, and of which a copy runs.
    pub(in crate::app) fn is_built_here(&self, record: &ServerRecord) -> bool {
        matches!(record.spec.source, Source::Wasm { .. }) && super::is_checked(&record.spec)
    }

    async fn fulfil(&self, key: &ServerKey, wish: Wish) -> Result<UpdateInfo, Problem> {
        let engine = self.freshness.engine().ok_or_else(stopping)?;
        engine.carry_out(key, &wish).await.map_err(|error| refused(&error))?;
        self.update_info(key)
    }
}

impl UpdatePatch {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is said, over what was.
    fn over(self, before: UpdateSpec) -> UpdateSpec {
        UpdateSpec {
            check: self.check.unwrap_or(before.check),
            auto_reinstall: self.auto_reinstall.unwrap_or(before.auto_reinstall),
            single_instance: self.single_instance.unwrap_or(before.single_instance),
            manual_reinstall: self.manual_reinstall.unwrap_or(before.manual_reinstall),
            compose: self.compose.unwrap_or(before.compose),
        }
    }
}

fn stopping() -> Problem {
    Problem::new(ProblemKind::Unavailable, "the daemon is starting or stopping")
}
