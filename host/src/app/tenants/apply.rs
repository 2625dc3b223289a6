//! `apply`: documents become what is, all of them or none.
//!
//! Everything that can be wrong is found before anything happens: the documents are read, compared with what is, and every
//! plugin, image and chain that they need is made ready. Then one change of the store makes it so, and the effects follow: a
//! daemon that is killed before it comes back as it was, one that is killed after it comes back as it shall be. When a
//! server does not come up then, the change is taken back in the same way.

mod effects;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlead_core::chain::Chain;
use fairlead_core::document::{Action, Document, DocumentError, DocumentId, DocumentKind, Step, plan, read};
use fairlead_core::freshness::UpdateSpec;
use fairlead_core::name::{ServerKey, TenantName};
use fairlead_core::policy::{Owner, PolicyRecord, Reached};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::status::Desired;
use fairlead_core::store::{Change, PluginRecord, ServerRecord};
use fairlead_core::tenant::{Caller, Role, TenantRecord};
use serde_json::{Value, json};

use super::chains::changes;
use super::{Rules, check_count, forget};
use crate::api::types::policy::{Applied, AppliedStep, Apply, DocumentQuery};
use crate::app::chain::Builder;
use crate::app::managed::Turn;
use crate::app::operations::Operation;
use crate::app::{App, check};
use crate::limits::{APPLY_TRIES_MAX, DOCUMENT_PROBLEMS_MAX, DOCUMENTS_MAX};
use effects::Prepared;

impl App {
    /// Makes things as documents say, or tells what that would change.
    ///
    /// # Errors
    /// A document is wrong, is not for those who ask, or cannot be carried out; then everything is as it was.
    pub(crate) async fn apply(
        &self,
        caller: &Caller,
        request: Apply,
        operation: &Operation,
    ) -> Result<Applied, Problem> {
        let mut documents = read_all(&request.documents)?;
        for (at, document) in documents.iter_mut().enumerate() {
            self.admit(caller, request.tenant.as_ref(), document)
                .map_err(|problem| in_document(problem, at, document))?;
        }
        let prune = (!request.prune.is_empty()).then_some(&request.prune);
        let plan_now = |app: &Self| {
            let current = app.current(request.tenant.as_ref());
            let documents = documents.iter().map(|document| with_updates(document, &current)).collect();
            plan(&current, documents, prune).map_err(|error| wrong(&error, "/documents".to_owned()))
        };
        let steps = plan_now(self)?;
        for step in &steps {
            self.admit_step(caller, step)?;
            self.admit_source(step).await?;
        }
        if request.dry_run || steps.iter().all(|step| step.action == Action::Keep) {
            return Ok(told(&steps));
        }
        // What takes long (images, components) is done before anybody else is held up.
        let resolved = self.resolve(&steps, operation).await?;
        let _kept = self.vet_all(&resolved, &steps).await?;
        for _ in 0..APPLY_TRIES_MAX {
            let expected = servers_of(&plan_now(self)?);
            let turns = self.turns(&expected, operation).await;
            let gate = self.tenancy.gate.write().await;
            let steps = plan_now(self)?;
            if !servers_of(&steps).is_subset(&expected) {
                // Somebody else was faster; look again at what is left to do.
                continue;
            }
            let before = self.tenancy.rules();
            let after = self.rules_after(&before, &steps, &resolved)?;
            let prepared = Prepared::new(self, &before, &after, &steps, &resolved).await?;
            self.carry_out(gate, turns, after, prepared, operation).await?;
            tracing::info!(documents = steps.len(), "documents are applied");
            return Ok(told(&steps));
        }
        Err(Problem::new(ProblemKind::Conflict, "others change the same things all the time").hint("apply again"))
    }

    /// What is, as documents, with what else is known as their `status`.
    pub(crate) fn documents(&self, query: &DocumentQuery) -> Vec<Value> {
        let current = self.current(query.tenant.as_ref());
        let wanted = |id: &DocumentId| {
            query.kind.is_none_or(|kind| kind == id.kind) && query.name.as_ref().is_none_or(|name| *name == id.name)
        };
        let shown = current.values().filter(|document| wanted(&document.id()));
        shown.map(|document| with_status(document.to_value(), self.status(document))).collect()
    }

    /// What is, within a tenant or everywhere.
    fn current(&self, within: Option<&TenantName>) -> BTreeMap<DocumentId, Document> {
        let rules = self.tenancy.rules();
        let servers = self.slots.look_at_all(|managed| Document::from(&managed.record));
        let tenants = rules.tenants.values().map(Document::from);
        let plugins = rules.plugins.values().map(Document::from);
        let attachments = rules.policies.values().map(Document::from);
        let all = tenants.chain(plugins).chain(attachments).chain(servers);
        let seen = |document: &Document| within.is_none_or(|tenant| document.tenant() == Some(tenant));
        all.filter(seen).map(|document| (document.id(), document)).collect()
    }

    fn status(&self, document: &Document) -> Option<Value> {
        match document {
            Document::Tenant(tenant) => {
                let info = self.tenant(&tenant.name).ok()?;
                Some(json!({"servers": info.servers, "attachments": info.attachments}))
            }
            Document::Server(server) => {
                let workload = self.get(&server.key).ok()?;
                let chain: Vec<_> = workload.chain.iter().map(|link| json!(link)).collect();
                Some(json!({
                    "phase": workload.status, "reason": workload.reason, "url": workload.url,
                    "desired": workload.desired, "chain": chain,
                }))
            }
            Document::Attachment(attachment) => {
                let reached = self.slots.look_at_all(|managed| {
                    let record = self.tenancy.rules();
                    let policy = record.policies.get(&attachment.key())?;
                    policy
                        .reaches(Reached::of(&managed.record.key, &managed.record.spec))
                        .then(|| managed.record.key.to_string())
                });
                Some(json!({"servers": reached.into_iter().flatten().collect::<Vec<_>>()}))
            }
            Document::Plugin(_) => None,
        }
    }

    /// Whether somebody may say this at all; what is left open is said for them.
    fn admit(&self, caller: &Caller, within: Option<&TenantName>, document: &mut Document) -> Result<(), Problem> {
        if within.is_some_and(|tenant| document.tenant() != Some(tenant)) {
            return Err(Problem::new(ProblemKind::NotFound, "there is no such thing"));
        }
        match document {
            Document::Server(server) => {
                check::check(&server.spec)?;
                self.keep_within(caller, &mut server.spec)
            }
            Document::Attachment(attachment) => {
                self.keep_plugins_within(caller, std::slice::from_ref(&attachment.spec))
            }
            Document::Tenant(_) | Document::Plugin(_) => Ok(()),
        }
    }

    /// Whether somebody may change this: what stays as it is needs no role.
    fn admit_step(&self, caller: &Caller, step: &Step) -> Result<(), Problem> {
        let needed = if step.id.kind == DocumentKind::McpServer { Role::Operator } else { Role::Admin };
        if step.action == Action::Keep || caller.role >= needed {
            return Ok(());
        }
        let detail = format!("{} needs the role `{needed}`, and the token has the role `{}`", step.id, caller.role);
        Err(Problem::new(ProblemKind::Forbidden, detail))
    }

    /// Whether the layers that a tenant lets run have what shall run. What runs already goes on, whatever else of it changes.
    async fn admit_source(&self, step: &Step) -> Result<(), Problem> {
        let Some(Document::Server(after)) = &step.after else { return Ok(()) };
        if matches!(&step.before, Some(Document::Server(before)) if before.spec.source == after.spec.source) {
            return Ok(());
        }
        let admitted = self.catalogue.admit(&after.key.tenant, &after.spec).await;
        admitted.map_err(|problem| Problem { detail: format!("{}: {}", step.id, problem.detail), ..problem })
    }

    /// The right to change servers, one after the other in the order of their names, so that two who apply never wait for
    /// each other.
    async fn turns(&self, keys: &BTreeSet<ServerKey>, operation: &Operation) -> Vec<Turn> {
        let mut turns = Vec::new();
        for key in keys {
            // Nobody should have to sit out the start of what is to be changed.
            self.operations.interrupt(key);
            turns.push(self.slots.turn(key).await);
        }
        for key in keys {
            operation.at_work(key);
        }
        turns
    }

    /// The rules as they shall be.
    fn rules_after(&self, before: &Rules, steps: &[Step], resolved: &resolve::Resolved) -> Result<Rules, Problem> {
        let mut rules = before.clone();
        let now = self.clock.now();
        for step in steps {
            match (&step.after, &step.before) {
                (Some(Document::Tenant(wanted)), _) => {
                    let created = match rules.tenants.get(&wanted.name) {
                        Some(known) => known.created,
                        None => {
                            check_count(&rules)?;
                            now
                        }
                    };
                    let (name, labels, spec) = (wanted.name.clone(), wanted.labels.clone(), wanted.spec.clone());
                    rules.tenants.insert(name.clone(), TenantRecord { name, labels, spec, created });
                }
                (Some(Document::Plugin(wanted)), _) => {
                    let known = rules.plugins.get(&wanted.name);
                    let created = known.map_or(now, |known| known.created);
                    let file = resolved.plugins.get(&wanted.name).cloned().or(known.map(|known| known.file.clone()));
                    let (name, labels, spec) = (wanted.name.clone(), wanted.labels.clone(), wanted.spec.clone());
                    let file = file.unwrap_or_default();
                    rules.plugins.insert(name.clone(), PluginRecord { name, labels, spec, file, created });
                }
                (Some(Document::Attachment(wanted)), _) => {
                    let key = wanted.key();
                    let created = rules.policies.get(&key).map_or(now, |known| known.created);
                    let record = PolicyRecord {
                        owner: wanted.owner.clone(),
                        order: wanted.order,
                        selector: wanted.selector.clone(),
                        labels: wanted.labels.clone(),
                        spec: wanted.spec.clone(),
                        created,
                    };
                    rules.policies.insert(key, record);
                }
                (None, Some(Document::Tenant(gone))) => {
                    let _ = forget(&mut rules, &gone.name);
                }
                (None, Some(Document::Plugin(gone))) => {
                    rules.plugins.remove(&gone.name);
                }
                (None, Some(Document::Attachment(gone))) => {
                    rules.policies.remove(&gone.key());
                }
                _ => {}
            }
        }
        self.whole(before, &rules, steps)?;
        Ok(rules)
    }

    /// Whether the rules hang together: no attachment of a tenant that is not there, no servers of one that goes.
    fn whole(&self, before: &Rules, after: &Rules, steps: &[Step]) -> Result<(), Problem> {
        let mut with_servers: BTreeSet<TenantName> = BTreeSet::from([TenantName::default()]);
        let gone = |key: &ServerKey| {
            steps.iter().any(|step| {
                step.action == Action::Remove
                    && matches!(&step.before, Some(Document::Server(server)) if server.key == *key)
            })
        };
        let stays = self.slots.look_at_all(|managed| managed.record.key.clone());
        let stays: Vec<_> = stays.into_iter().filter(|key| !gone(key)).collect();
        for name in before.tenants.keys().filter(|name| !after.tenants.contains_key(*name)) {
            if let Some(server) = stays.iter().find(|key| key.tenant == *name) {
                let detail = format!("Tenant `{name}` has the server `{}`, which stays", server.name);
                return Err(Problem::new(ProblemKind::Conflict, detail));
            }
        }
        with_servers.extend(stays.into_iter().map(|key| key.tenant));
        with_servers.extend(steps.iter().filter_map(|step| match &step.after {
            Some(Document::Server(server)) => Some(server.key.tenant.clone()),
            _ => None,
        }));
        for step in steps.iter().filter(|step| step.action == Action::Create) {
            if let Some(Document::Attachment(attachment)) = &step.after
                && let Owner::Tenant(tenant) = &attachment.owner
                && !after.tenants.contains_key(tenant)
                && !with_servers.contains(tenant)
            {
                let detail = format!("{}: there is no tenant `{tenant}`", step.id);
                return Err(Problem::new(ProblemKind::Invalid, detail)
                    .hint(format!("declare it with a Tenant document, or with `fairlead tenant create {tenant}`")));
            }
        }
        Ok(())
    }

    /// Attachments that reach nobody yet must be right as well. Gives the chains of servers, which are found again for as
    /// long as somebody holds them.
    async fn vet_all(&self, resolved: &resolve::Resolved, steps: &[Step]) -> Result<Vec<Arc<Chain>>, Problem> {
        let rules = self.rules_after(&self.tenancy.rules(), steps, resolved)?;
        for step in steps.iter().filter(|step| matches!(step.action, Action::Create | Action::Change)) {
            if let Some(Document::Attachment(attachment)) = &step.after {
                let vetted = self.vet(&rules, &attachment.owner, &attachment.spec).await;
                vetted.map_err(|problem| of_step(problem, step))?;
            }
        }
        let mut kept = Vec::new();
        let mut builder = Builder::new(&self.plugins, &self.tenancy.bindings, &rules);
        for step in steps.iter().filter(|step| matches!(step.action, Action::Create | Action::Change)) {
            if let Some(Document::Server(server)) = &step.after {
                let built = builder.build(&server.key, &server.spec).await.map_err(|problem| of_step(problem, step))?;
                kept.push(built.0);
            }
        }
        Ok(kept)
    }

    /// The record of a server as a document wants it.
    fn record_of(&self, step: &Step, resolved: &resolve::Resolved) -> Option<ServerRecord> {
        let Some(Document::Server(wanted)) = &step.after else { return None };
        let known = self.slots.look(&wanted.key, |managed| managed.record.clone());
        let mut spec = wanted.spec.clone();
        if let Some(source) = resolved.sources.get(&wanted.key) {
            spec.source = source.clone();
        }
        Some(ServerRecord {
            key: wanted.key.clone(),
            spec,
            desired: known.as_ref().map_or(Desired::Running, |known| known.desired),
            created: known.map_or_else(|| self.clock.now(), |known| known.created),
        })
    }
}

/// A document that does not say how its server is kept fresh leaves that as it is; a server that is new is kept fresh.
fn with_updates(document: &Document, current: &BTreeMap<DocumentId, Document>) -> Document {
    let mut document = document.clone();
    let before = current.get(&document.id()).cloned();
    if let Document::Server(server) = &mut document
        && server.spec.updates.is_none()
    {
        server.spec.updates = match before {
            Some(Document::Server(before)) => before.spec.updates,
            _ => Some(UpdateSpec::for_new()),
        };
    }
    document
}

fn read_all(values: &[Value]) -> Result<Vec<Document>, Problem> {
    if values.len() > DOCUMENTS_MAX {
        let detail = format!("there are {} documents, at most {DOCUMENTS_MAX} can be applied at once", values.len());
        return Err(Problem::new(ProblemKind::Invalid, detail).at("/documents"));
    }
    let mut documents = Vec::new();
    let mut problems: Vec<(usize, DocumentError)> = Vec::new();
    for (at, value) in values.iter().enumerate() {
        match read(value) {
            Ok(document) => documents.push(document),
            Err(error) => problems.push((at, error)),
        }
    }
    let Some((at, first)) = problems.first() else { return Ok(documents) };
    let mut problem = wrong(first, format!("/documents/{at}{}", first.pointer));
    let others = problems.iter().skip(1).take(DOCUMENT_PROBLEMS_MAX - 1);
    for (_, error) in others {
        problem.detail += &format!("\n{error}");
        problem.detail += &error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    }
    Err(problem)
}

fn wrong(error: &DocumentError, pointer: String) -> Problem {
    let problem = Problem::new(ProblemKind::Invalid, error.to_string()).at(pointer);
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

fn in_document(problem: Problem, at: usize, document: &Document) -> Problem {
    if problem.kind == ProblemKind::NotFound {
        return problem;
    }
    let pointer = problem.pointer.clone().unwrap_or_default();
    let place = if pointer.is_empty() { String::new() } else { format!("`{pointer}`: ") };
    let detail = format!("{}: {place}{}", document.id(), problem.detail);
    Problem { detail, ..problem }.at(format!("/documents/{at}{pointer}"))
}

fn of_step(problem: Problem, step: &Step) -> Problem {
    let place = problem.pointer.as_deref().map(|pointer| match step.id.kind {
        DocumentKind::PluginAttachment => format!("`/spec{pointer}`: "),
        _ => format!("`{pointer}`: "),
    });
    Problem {
        detail: format!("{}: {}{}", step.id, place.unwrap_or_default(), problem.detail),
        pointer: None,
        ..problem
    }
}

fn servers_of(steps: &[Step]) -> BTreeSet<ServerKey> {
    let changed = steps.iter().filter(|step| step.action != Action::Keep);
    let key = |step: &Step| match step.after.as_ref().or(step.before.as_ref()) {
        Some(Document::Server(server)) => Some(server.key.clone()),
        _ => None,
    };
    changed.filter_map(key).collect()
}

fn told(steps: &[Step]) -> Applied {
    let told =
        |step: &Step| AppliedStep { id: step.id.clone(), action: step.action, differences: step.differences.clone() };
    Applied { steps: steps.iter().map(told).collect() }
}

fn with_status(mut document: Value, status: Option<Value>) -> Value {
    if let (Some(fields), Some(status)) = (document.as_object_mut(), status) {
        fields.insert("status".to_owned(), status);
    }
    document
}

/// All that has to be stored, of the rules and of servers.
fn all_changes(before: &Rules, after: &Rules, put: &[ServerRecord], removed: &[ServerKey]) -> Vec<Change> {
    let mut all = changes(before, after);
    all.extend(put.iter().map(|record| Change::PutServer(Box::new(record.clone()))));
    all.extend(removed.iter().map(|key| Change::RemoveServer(key.clone())));
    all
}
