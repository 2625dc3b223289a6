//! `fairlead:update-policy/policy`: facts go in as values, a verdict comes out.
//!
//! Each decision has an instance of its own: two schedulers that ask with the same facts get the same answer, and no tenant
//! leaves anything behind for another. Of the contract only `log` is there; time is in the facts.

use fairlead_core::digest::Digest;
use fairlead_core::freshness::{self as core, Facts, Plan, Verdict};
use fairlead_core::limits::VERDICT_TRACE_LINES_MAX;
use jiff::Timestamp;
use wasmtime::component::{Component, HasData, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::bindings::policy::exports::fairlead::update_policy::policy as wit;
use super::bindings::policy::fairlead::host::log;
use super::bindings::policy::fairlead::types::types::{Attributes, Failure, Level};
use super::bindings::policy::{UpdatePolicy, UpdatePolicyPre};
use crate::bounds::{self, Bounds};
use crate::fault;
use crate::limits::{
    FAULT_TEXT_BYTES_MAX, HANDLES_MAX, POLICY_CPU_MAX, POLICY_LOGS_MAX, POLICY_MEMORY_BYTES_MAX, POLICY_WALL_MAX,
};
use crate::text::bounded;
use crate::ticker::Ticker;

/// An update policy that is linked and ready to be asked.
pub(crate) struct PreparedPolicy {
    engine: Engine,
    pre: UpdatePolicyPre<Asked>,
}

/// Data of the store of an instance that decides once.
struct Asked {
    bounds: Bounds,
    table: ResourceTable,
    wasi: WasiCtx,
    plugin: String,
    logs: usize,
}

impl WasiView for Asked {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Names [`Asked`] to the linker.
struct Contract;

impl HasData for Contract {
    type Data<'a> = &'a mut Asked;
}

impl log::Host for &mut Asked {
    fn enabled(&mut self, _: Level) -> bool {
        self.logs < POLICY_LOGS_MAX
    }

    fn write(&mut self, level: Level, message: String, _: Attributes) {
        if self.logs >= POLICY_LOGS_MAX {
            return;
        }
        self.logs += 1;
        let message = bounded(message, FAULT_TEXT_BYTES_MAX);
        match level {
            Level::Warn | Level::Error => tracing::warn!(fairlead.plugin.name = self.plugin, "{message}"),
            _ => tracing::debug!(fairlead.plugin.name = self.plugin, "{message}"),
        }
    }
}

impl super::bindings::policy::fairlead::types::types::Host for &mut Asked {}

impl PreparedPolicy {
    pub(crate) fn new(engine: &Engine, component: &Component, wants_wasi: bool) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(engine);
        if wants_wasi {
            wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        }
        UpdatePolicy::add_to_linker::<Asked, Contract>(&mut linker, |asked| asked)?;
        Ok(Self { engine: engine.clone(), pre: UpdatePolicyPre::new(linker.instantiate_pre(component)?)? })
    }

    /// Asks. The error says what is wrong with the policy, in a sentence; it is never a decision.
    pub(crate) async fn decide(
        &self,
        ticker: &Ticker,
        plugin: &str,
        facts: &Facts,
        config: &str,
    ) -> Result<Verdict, String> {
        let asked = Asked {
            bounds: Bounds::new(POLICY_CPU_MAX, POLICY_WALL_MAX, POLICY_MEMORY_BYTES_MAX),
            table: bounds::handles(HANDLES_MAX),
            wasi: WasiCtxBuilder::new().build(),
            plugin: plugin.to_owned(),
            logs: 0,
        };
        let mut store = Store::new(&self.engine, asked);
        Bounds::enforce(&mut store, |asked: &mut Asked| &mut asked.bounds);
        let facts = lower(facts);
        let work = ticker.during(async {
            let policy = self.pre.instantiate_async(&mut store).await?;
            policy.fairlead_update_policy_policy().call_decide(&mut store, &facts, config).await
        });
        match tokio::time::timeout(POLICY_WALL_MAX, work).await {
            Ok(Ok(Ok(verdict))) => lift(verdict),
            Ok(Ok(Err(failure))) => Err(format!("it cannot decide: {}", told(failure))),
            Ok(Err(error)) => Err(format!("it failed: {}", fault::text(&error))),
            Err(_) => Err(format!("it did not answer within {POLICY_WALL_MAX:?}")),
        }
    }
}

fn told(failure: Failure) -> String {
    let (Failure::Config(text)
    | Failure::Upstream(text)
    | Failure::Unavailable(text)
    | Failure::Internal(text)
    | Failure::Other(text)) = failure;
    bounded(text, FAULT_TEXT_BYTES_MAX)
}

// === facts, for the guest ===

fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}

fn digests(digests: &[Digest]) -> Vec<String> {
    digests.iter().map(ToString::to_string).collect()
}

fn pairs(map: &std::collections::BTreeMap<String, String>) -> Attributes {
    map.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn signal(signal: core::Signal) -> wit::Signal {
    match signal {
        core::Signal::Unknown => wit::Signal::Unknown,
        core::Signal::Good => wit::Signal::Good,
        core::Signal::Bad => wit::Signal::Bad,
    }
}

fn surface(surface: core::Surface) -> wit::Surface {
    match surface {
        core::Surface::Unknown => wit::Surface::Unknown,
        core::Surface::Same => wit::Surface::Same,
        core::Surface::Additive => wit::Surface::Additive,
        core::Surface::Breaking => wit::Surface::Breaking,
    }
}

fn trigger(trigger: core::Trigger) -> wit::Trigger {
    match trigger {
        core::Trigger::Schedule => wit::Trigger::Schedule,
        core::Trigger::Webhook => wit::Trigger::Webhook,
        core::Trigger::Operator => wit::Trigger::Operator,
        core::Trigger::Retry => wit::Trigger::Retry,
    }
}

/// A trial that was not passed is told as a rollout that failed: the contract has no word of its own for it.
fn outcome(outcome: core::Outcome) -> wit::Outcome {
    match outcome {
        core::Outcome::InProgress => wit::Outcome::InProgress,
        core::Outcome::Succeeded => wit::Outcome::Succeeded,
        core::Outcome::Cancelled => wit::Outcome::Cancelled,
        core::Outcome::ApplyFailed => wit::Outcome::ApplyFailed,
        core::Outcome::PreflightFailed | core::Outcome::RolloutFailed | core::Outcome::RollbackFailed => {
            wit::Outcome::RolloutFailed
        }
        core::Outcome::Superseded => wit::Outcome::Superseded,
        core::Outcome::RolledBack => wit::Outcome::RolledBack,
    }
}

fn version(version: &core::Version) -> wit::Semver {
    let core::Version { major, minor, patch, pre, build } = version.clone();
    wit::Semver { major, minor, patch, pre, build }
}

fn candidate(candidate: &core::Candidate) -> wit::Candidate {
    wit::Candidate {
        tag: candidate.tag.clone(),
        same_tag: candidate.same_tag,
        version: candidate.version.as_ref().map(version),
        pin: candidate.pin.to_string(),
        digests: digests(&candidate.digests),
        first_seen: millis(candidate.first_seen),
        last_seen: millis(candidate.last_seen),
        pushed: candidate.pushed.map(millis),
        created_claimed: candidate.created_claimed.map(millis),
        platform: signal(candidate.platform),
        signature: signal(candidate.signature),
        provenance: signal(candidate.provenance),
        tool_surface: surface(candidate.surface),
        missing_settings: candidate.missing_settings.clone(),
        failures: candidate.failures,
        quarantined_until: candidate.quarantined_until.map(millis),
        is_last_good: candidate.is_last_good,
        attributes: pairs(&candidate.attributes),
    }
}

fn lower(facts: &Facts) -> wit::Facts {
    let core::WorkloadFacts { key, tenant, server, group, labels, created, sessions } = &facts.workload;
    let running = &facts.running;
    wit::Facts {
        now: millis(facts.now),
        seed: facts.seed,
        interval_ms: facts.interval_ms,
        trigger: trigger(facts.trigger),
        workload: wit::Workload {
            key: key.clone(),
            tenant: tenant.clone(),
            server: server.clone(),
            group: group.clone(),
            labels: pairs(labels),
            created: millis(*created),
            sessions: *sessions,
        },
        running: wit::Running {
            reference: running.reference.clone(),
            pinned: running.pinned,
            digests: digests(&running.digests),
            version: running.version.as_ref().map(version),
            since: running.since.map(millis),
            health: signal(running.health),
        },
        candidates: facts.candidates.iter().map(candidate).collect(),
        truncated: facts.truncated,
        history: facts
            .history
            .iter()
            .map(|attempt| wit::Attempt {
                pin: attempt.pin.to_string(),
                trigger: trigger(attempt.trigger),
                outcome: outcome(attempt.outcome),
                started: millis(attempt.started),
                ended: attempt.ended.map(millis),
            })
            .collect(),
        approvals: facts
            .approvals
            .iter()
            .map(|approval| wit::Approval {
                pin: approval.pin.to_string(),
                by: approval.by.clone(),
                at: millis(approval.at),
                expires: millis(approval.expires),
            })
            .collect(),
        peers: facts
            .peers
            .iter()
            .map(|peer| wit::Peer {
                server: peer.server.clone(),
                digests: digests(&peer.digests),
                since: peer.since.map(millis),
                health: signal(peer.health),
            })
            .collect(),
        auto_reinstall: facts.auto_reinstall,
        zone_offsets: facts.zone_offsets.clone(),
        attributes: pairs(&facts.attributes),
    }
}

// === the verdict, for the host ===

fn pin(text: &str) -> Result<Digest, String> {
    Digest::new(text).map_err(|_| format!("it names `{}`, which is no digest", bounded(text.to_owned(), 100)))
}

fn time(millis: u64) -> Timestamp {
    i64::try_from(millis).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok()).unwrap_or(Timestamp::MAX)
}

fn reason(reason: wit::HoldReason) -> core::HoldReason {
    match reason {
        wit::HoldReason::TooYoung => core::HoldReason::TooYoung,
        wit::HoldReason::OutsideWindow => core::HoldReason::OutsideWindow,
        wit::HoldReason::AwaitingApproval => core::HoldReason::AwaitingApproval,
        wit::HoldReason::Frozen => core::HoldReason::Frozen,
        wit::HoldReason::OutOfRange => core::HoldReason::OutOfRange,
        wit::HoldReason::Quarantined => core::HoldReason::Quarantined,
        wit::HoldReason::Drift => core::HoldReason::Drift,
        wit::HoldReason::Unverified => core::HoldReason::Unverified,
        wit::HoldReason::Capacity => core::HoldReason::Capacity,
        wit::HoldReason::CoolingDown => core::HoldReason::CoolingDown,
        wit::HoldReason::Ambiguous => core::HoldReason::Ambiguous,
        wit::HoldReason::Other => core::HoldReason::Other,
    }
}

fn plan(plan: wit::Plan) -> Result<Plan, String> {
    Ok(Plan {
        pin: pin(&plan.pin)?,
        strategy: match plan.strategy {
            wit::Strategy::SurgeThenSwitch => core::Strategy::SurgeThenSwitch,
            wit::Strategy::Rolling => core::Strategy::Rolling,
            wit::Strategy::Recreate => core::Strategy::Recreate,
        },
        on_failure: match plan.on_failure {
            wit::OnFailure::RollBack => core::OnFailure::RollBack,
            wit::OnFailure::Leave => core::OnFailure::Leave,
            wit::OnFailure::ScaleToZero => core::OnFailure::ScaleToZero,
        },
        min_ready_ms: plan.min_ready_ms,
        deadline_ms: plan.deadline_ms,
        drain_ms: plan.drain_ms,
    })
}

fn lift(verdict: wit::Verdict) -> Result<Verdict, String> {
    let text = |text| bounded(text, FAULT_TEXT_BYTES_MAX);
    let decision = match verdict.decision {
        wit::Decision::UpToDate => core::Decision::UpToDate,
        wit::Decision::Hold(hold) => core::Decision::Hold {
            reason: reason(hold.reason),
            detail: text(hold.detail),
            pin: hold.pin.as_deref().map(pin).transpose()?,
            until: hold.until.map(time),
        },
        wit::Decision::Notify(notice) => {
            core::Decision::Notify { pin: pin(&notice.pin)?, detail: text(notice.detail), urgent: notice.urgent }
        }
        wit::Decision::Update(update) => core::Decision::Update(plan(update)?),
        wit::Decision::Rollback(revert) => {
            core::Decision::Rollback { pin: pin(&revert.pin)?, detail: text(revert.detail) }
        }
    };
    let trace = verdict.trace.into_iter().take(VERDICT_TRACE_LINES_MAX).map(text).collect();
    Ok(Verdict { decision, trace })
}
