//! Who decides about a server: its own policies, its tenant's, the platform's. They stand in the same lists as middleware, and
//! reach servers by the same rules.
//!
//! The innermost selects; each one further out is shown only what was selected and can make it stricter. So nothing that a
//! tenant attaches loosens what the platform wants, and no two of them ever want different things.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlead_control::freshness::Rule;
use fairlead_core::BoxFuture;
use fairlead_core::freshness::{
    Composition, Decision, Facts, HoldReason, Plan, Subject, Surface, UpdatePolicy, Verdict,
};
use fairlead_core::name::{AttachmentName, ServerKey};
use fairlead_core::plugin::{AttachmentSpec, PluginKind};
use fairlead_core::policy::{Owner, Reached, of_owner};
use fairlead_core::server::ServerSpec;

use super::layers;
use crate::app::App;
use crate::app::plugins::Plugins;
use crate::app::tenants::Rules;

/// Asks all that are attached.
pub(super) async fn decide(app: &App, subject: &Subject, facts: &Facts) -> Verdict {
    let verdict = match rule(app, subject).await {
        Ok(Some(rule)) => rule.decide(facts).await,
        Ok(None) => Follow.decide(facts).await,
        Err(reason) => Verdict::policy_error(reason),
    };
    // Outermost of all: what may not run at all.
    layers::restrict(app, subject, facts, verdict).await
}

/// All that are attached, made one; `None` when nobody has attached any.
pub(super) async fn rule(app: &App, subject: &Subject) -> Result<Option<Rule>, String> {
    match spec_of(app, subject) {
        Some(spec) => rule_of(&app.plugins, &app.tenancy.rules(), &subject.key, &spec).await,
        None => Ok(None),
    }
}

/// The same by rules and plugins that are given, on a machine or in a cluster.
pub(in crate::app) async fn rule_of(
    plugins: &Plugins,
    rules: &Rules,
    key: &ServerKey,
    spec: &ServerSpec,
) -> Result<Option<Rule>, String> {
    let mut layers = Vec::new();
    for Layer { attached, compose } in layers_of(rules, key, spec) {
        if attached.is_empty() {
            continue;
        }
        // The innermost stands last, and chooses.
        let all = || Composition::all_of(attached.iter().rev().map(|spec| spec.name.clone()));
        let composition = compose.unwrap_or_else(all);
        let mut bound: BTreeMap<AttachmentName, Arc<dyn UpdatePolicy>> = BTreeMap::new();
        for spec in &attached {
            bound.insert(spec.name.clone(), usable(plugins, rules, spec).await?);
        }
        layers.push(Rule::bind(&composition, &bound).map_err(|error| error.to_string())?);
    }
    Ok(Rule::layered(layers))
}

/// The policies of one owner that reach a server, outermost first, and how they decide together.
#[derive(Default)]
struct Layer {
    attached: Vec<AttachmentSpec>,
    compose: Option<Composition>,
}

/// Whether somebody decides but the tag.
pub(super) fn is_any(app: &App, subject: &Subject) -> bool {
    let spec = spec_of(app, subject);
    spec.is_some_and(|spec| !plugins_of(&app.tenancy.rules(), &subject.key, &spec).is_empty())
}

/// Which plugins decide about a server.
pub(in crate::app) fn plugins_of(rules: &Rules, key: &ServerKey, spec: &ServerSpec) -> Vec<String> {
    let attached = layers_of(rules, key, spec).into_iter().flat_map(|layer| layer.attached);
    attached.map(|attachment| attachment.plugin).collect()
}

fn spec_of(app: &App, subject: &Subject) -> Option<ServerSpec> {
    app.slots.look(&subject.key, |managed| managed.record.spec.clone())
}

/// The server's own, its tenant's, the platform's.
fn layers_of(rules: &Rules, key: &ServerKey, spec: &ServerSpec) -> [Layer; 3] {
    let own = spec.plugins.iter().filter(|plugin| plugin.kind == PluginKind::UpdatePolicy).cloned().collect();
    let compose = spec.updates.as_ref().and_then(|updates| updates.compose.clone());
    let of = |owner: &Owner| {
        let found = of_owner(&rules.policies, owner)
            .into_iter()
            .filter(|record| record.spec.kind == PluginKind::UpdatePolicy && record.reaches(Reached::of(key, spec)));
        Layer { attached: found.map(|record| record.spec.clone()).collect(), compose: None }
    };
    let tenant = Owner::Tenant(key.tenant.clone());
    [Layer { attached: own, compose }, of(&tenant), of(&Owner::Platform)]
}

/// One policy. One that cannot be used is an error that says why, and so a hold.
async fn usable(plugins: &Plugins, rules: &Rules, spec: &AttachmentSpec) -> Result<Arc<dyn UpdatePolicy>, String> {
    let plugin = plugins.load(&rules.plugins, &spec.plugin).await;
    let plugin = plugin.map_err(|problem| format!("policy `{}`: {}", spec.name, problem.detail))?;
    let policy = plugins.host.policy(&plugin, &spec.config).await;
    policy.map_err(|error| format!("policy `{}`: {}", spec.name, crate::text::chain(&error)))
}

/// What is done when nobody has said anything: the tag is followed, unless calls that work would fail.
pub(in crate::app) struct Follow;

impl UpdatePolicy for Follow {
    fn decide<'a>(&'a self, facts: &'a Facts) -> BoxFuture<'a, Verdict> {
        Box::pin(async { follow(facts) })
    }
}

fn follow(facts: &Facts) -> Verdict {
    let Some(newest) = facts.candidates.iter().find(|candidate| candidate.same_tag) else {
        return Decision::UpToDate.into();
    };
    let running = &facts.running.digests;
    if !running.is_empty() && running.iter().all(|digest| newest.is(digest)) {
        return Decision::UpToDate.into();
    }
    if newest.surface == Surface::Breaking {
        let detail = "a tool is gone or asks for other arguments".to_owned();
        let pin = Some(newest.pin.clone());
        return Decision::Hold { reason: HoldReason::Drift, detail, pin, until: None }.into();
    }
    let trace = vec!["no policy is attached: the tag is followed".to_owned()];
    Verdict { decision: Decision::Update(Plan::to(newest.pin.clone())), trace }
}
