//! Chains of the platform and of tenants: shown, and changed while traffic flows.
//!
//! A change is prepared first: every chain that would differ is built anew, with what it has in common with the old one
//! taken over, and if one cannot be built nothing has happened. Then it is stored, and then all of them are swapped. A chain
//! that would not differ is not touched, so nobody's change reaches the servers of another tenant.

use std::collections::BTreeSet;
use std::sync::Arc;

use fairlead_core::chain::{Chain, Level};
use fairlead_core::name::{AttachmentName, ServerKey, TenantName};
use fairlead_core::plugin::AttachmentSpec;
use fairlead_core::policy::{Owner, PolicyKey, PolicyRecord, Position, Reached, Selector, of_owner, orders, placed};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::store::{Change, ServerRecord};
use fairlead_core::tenant::Caller;

use super::Rules;
use crate::api::types::policy::{ChainEdit, ChainEntry, ChainItem, ChainQuery, ChainView, EditChain};
use crate::api::types::{ChainLink, ReplacePlugins};
use crate::app::App;
use crate::app::chain::{Builder, ingredients};
use crate::app::managed::Managed;
use crate::app::servers::not_found;
use crate::limits::POLICIES_MAX;

/// A chain that is ready to serve.
pub(super) struct Ready {
    key: ServerKey,
    chain: Arc<Chain>,
    links: Vec<ChainLink>,
}

impl Ready {
    /// Whose it is.
    pub(super) fn key(&self) -> &ServerKey {
        &self.key
    }
}

impl App {
    /// A chain, as far as somebody may know of it.
    ///
    /// # Errors
    /// There is no such server, or it is not for those who ask.
    pub(crate) fn chain(&self, caller: &Caller, query: &ChainQuery) -> Result<ChainView, Problem> {
        let rules = self.tenancy.rules();
        let entry = |record: &PolicyRecord| {
            let told = caller.is_platform() || record.owner.level() != Level::Platform;
            entry(record.owner.level(), &record.spec, record.selector.clone(), told)
        };
        let view = |tenant, server, links| ChainView { level: query.level, tenant, server, links };
        let all_of = |owner: &Owner| of_owner(&rules.policies, owner).into_iter().map(entry).collect();
        match query.level {
            Level::Platform if !caller.is_platform() => Err(no_platform()),
            Level::Platform => Ok(view(None, None, all_of(&Owner::Platform))),
            Level::Tenant => {
                let links = all_of(&Owner::Tenant(query.tenant.clone()));
                Ok(view(Some(query.tenant.clone()), None, links))
            }
            Level::Server => {
                let key = server_key(&query.tenant, query.server.as_ref())?;
                let spec =
                    self.slots.look(&key, |managed| managed.record.spec.clone()).ok_or_else(|| not_found(&key))?;
                // Of every kind: what stands beside the chain reaches the server as well.
                let owners = [Owner::Platform, Owner::Tenant(key.tenant.clone())];
                let all = owners.iter().flat_map(|owner| of_owner(&rules.policies, owner));
                let reached = Reached::of(&key, &spec);
                let mut links: Vec<_> = all.filter(|record| record.reaches(reached)).map(entry).collect();
                links.extend(spec.plugins.iter().map(|own| self::entry(Level::Server, own, Selector::default(), true)));
                Ok(view(Some(key.tenant), Some(key.name), links))
            }
        }
    }

    /// Changes a chain while it serves.
    ///
    /// # Errors
    /// It is not for those who ask, names what is not there, or cannot be built; then everything stays as it was.
    pub(crate) async fn edit_chain(&self, caller: &Caller, request: EditChain) -> Result<ChainView, Problem> {
        let EditChain { level, tenant, server, edit } = request;
        for attachment in attachments(&edit) {
            self.keep_plugins_within(caller, std::slice::from_ref(attachment))?;
        }
        match level {
            Level::Platform if !caller.is_platform() => return Err(no_platform()),
            Level::Platform => self.edit_policies(Owner::Platform, edit).await?,
            Level::Tenant => {
                self.known_tenant(&tenant)?;
                self.edit_policies(Owner::Tenant(tenant.clone()), edit).await?;
            }
            Level::Server => {
                let key = server_key(&tenant, server.as_ref())?;
                self.edit_own(&key, edit).await?;
            }
        }
        self.chain(caller, &ChainQuery { level, tenant, server })
    }

    /// A misspelt tenant must not get a chain that nobody ever passes.
    fn known_tenant(&self, tenant: &TenantName) -> Result<(), Problem> {
        let is_default = *tenant == TenantName::default();
        if is_default { Ok(()) } else { self.tenant(tenant).map(drop) }
    }

    /// Changes the plugins of one server.
    async fn edit_own(&self, key: &ServerKey, edit: ChainEdit) -> Result<(), Problem> {
        let spec = self.slots.look(key, |managed| managed.record.spec.clone()).ok_or_else(|| not_found(key))?;
        let was = spec.plugins.clone();
        let names: Vec<_> = was.iter().map(|own| own.name.clone()).collect();
        let find = |name: &AttachmentName| was.iter().find(|own| own.name == *name).cloned();
        let mut plugins: Vec<AttachmentSpec> = match edit {
            ChainEdit::Add { attachment, position, selector } => {
                no_selector(&selector)?;
                new_name(&names, &attachment.name)?;
                let position = position.unwrap_or(Position::Last);
                let sequence = sequence(&names, &attachment.name, &position)?;
                sequence.iter().filter_map(|name| find(name).or_else(|| Some((*attachment).clone()))).collect()
            }
            ChainEdit::Remove { name } => {
                known_name(&names, &name)?;
                was.iter().filter(|own| own.name != name).cloned().collect()
            }
            ChainEdit::Move { name, position } => {
                known_name(&names, &name)?;
                sequence(&names, &name, &position)?.iter().filter_map(find).collect()
            }
            ChainEdit::Set { attachments } => {
                for item in &attachments {
                    no_selector(&item.selector)?;
                }
                attachments.into_iter().map(|item| item.attachment).collect()
            }
        };
        plugins.dedup_by(|a, b| a.name == b.name);
        self.replace_plugins_unless_changed(key, &was, ReplacePlugins { plugins, tools: None }).await
    }

    /// Changes the attachments of the platform or of a tenant.
    async fn edit_policies(&self, owner: Owner, edit: ChainEdit) -> Result<(), Problem> {
        // Compilation takes long; whoever starts a server should not have to wait for it at the gate.
        for attachment in attachments(&edit) {
            self.vet(&self.tenancy.rules(), &owner, attachment).await?;
        }
        let _gate = self.tenancy.gate.write().await;
        let before = self.tenancy.rules();
        let mut after = Rules::clone(&before);
        self.apply_edit(&mut after, &owner, edit)?;
        let changes = changes(&before, &after);
        let ready = self.prepare(&before, &after).await?;
        self.commit(&changes).await?;
        self.tenancy.replace(after);
        tracing::info!(?owner, changes = changes.len(), servers = ready.len(), "a chain is changed");
        self.swap(ready);
        self.forget_state(&changes);
        Ok(())
    }

    /// Whether an attachment can be put to use by those whom it reaches.
    pub(super) async fn vet(&self, rules: &Rules, owner: &Owner, spec: &AttachmentSpec) -> Result<(), Problem> {
        let tenant = match owner {
            Owner::Platform => TenantName::default(),
            Owner::Tenant(tenant) => tenant.clone(),
        };
        Builder::new(&self.plugins, &self.tenancy.bindings, rules).vet(owner, &tenant, spec).await
    }

    fn apply_edit(&self, rules: &mut Rules, owner: &Owner, edit: ChainEdit) -> Result<(), Problem> {
        let known: Vec<PolicyRecord> = of_owner(&rules.policies, owner).into_iter().cloned().collect();
        let names: Vec<_> = known.iter().map(|record| record.spec.name.clone()).collect();
        let order =
            |name: &AttachmentName| known.iter().find(|record| record.spec.name == *name).map(|found| found.order);
        let key = |name: &AttachmentName| PolicyKey { owner: owner.clone(), name: name.clone() };
        match edit {
            ChainEdit::Add { attachment, position, selector } => {
                new_name(&names, &attachment.name)?;
                check_owner(owner, &selector)?;
                if rules.policies.len() >= POLICIES_MAX {
                    let detail = format!("there are {POLICIES_MAX} attachments, which is the limit");
                    return Err(Problem::new(ProblemKind::Conflict, detail));
                }
                let name = attachment.name.clone();
                let sequence = sequence(&names, &name, &position.unwrap_or(Position::Last))?;
                let record = self.policy(owner, *attachment, selector);
                rules.policies.insert(key(&name), record);
                number(rules, owner, sequence.into_iter().map(|name| (name.clone(), order(&name))).collect());
            }
            ChainEdit::Remove { name } => {
                known_name(&names, &name)?;
                rules.policies.remove(&key(&name));
            }
            ChainEdit::Move { name, position } => {
                known_name(&names, &name)?;
                let sequence = sequence(&names, &name, &position)?;
                let numbered = |other: AttachmentName| {
                    let known = if other == name { None } else { order(&other) };
                    (other, known)
                };
                number(rules, owner, sequence.into_iter().map(numbered).collect());
            }
            ChainEdit::Set { attachments } => {
                rules.policies.retain(|key, _| key.owner != *owner);
                let mut sequence = Vec::new();
                for ChainItem { attachment, selector } in attachments {
                    check_owner(owner, &selector)?;
                    let name = attachment.name.clone();
                    let mut record = self.policy(owner, attachment, selector);
                    if let Some(known) = known.iter().find(|known| known.spec.name == name) {
                        (record.created, record.labels) = (known.created, known.labels.clone());
                    }
                    if rules.policies.insert(key(&name), record).is_some() {
                        return Err(Problem::new(
                            ProblemKind::Invalid,
                            format!("there are two plugins named `{name}`"),
                        ));
                    }
                    sequence.push((name.clone(), order(&name)));
                }
                number(rules, owner, sequence);
            }
        }
        Ok(())
    }

    fn policy(&self, owner: &Owner, spec: AttachmentSpec, selector: Selector) -> PolicyRecord {
        PolicyRecord {
            owner: owner.clone(),
            order: 0,
            selector,
            labels: Default::default(),
            spec,
            created: self.clock.now(),
        }
    }

    /// Builds every chain that differs under other rules. Nothing is changed yet.
    pub(super) async fn prepare(&self, before: &Rules, after: &Rules) -> Result<Vec<Ready>, Problem> {
        self.prepare_except(before, after, &BTreeSet::new()).await
    }

    /// The same without some servers, whose chains somebody else builds.
    pub(super) async fn prepare_except(
        &self,
        before: &Rules,
        after: &Rules,
        except: &BTreeSet<ServerKey>,
    ) -> Result<Vec<Ready>, Problem> {
        let live = self.slots.look_at_all(|managed| managed.live().is_some().then(|| managed.record.clone()));
        let mut builder = Builder::new(&self.plugins, &self.tenancy.bindings, after);
        let mut ready = Vec::new();
        for ServerRecord { key, spec, .. } in live.into_iter().flatten().filter(|record| !except.contains(&record.key))
        {
            let of_the_server = |problem: Problem| Problem { pointer: None, ..problem };
            if ingredients(before, &key, &spec).ok() == Some(ingredients(after, &key, &spec).map_err(of_the_server)?) {
                continue;
            }
            let (chain, links) = builder.build(&key, &spec).await.map_err(of_the_server)?;
            ready.push(Ready { key, chain, links });
        }
        Ok(ready)
    }

    /// Lets chains serve that are ready.
    pub(super) fn swap(&self, ready: Vec<Ready>) {
        for Ready { key, chain, links } in ready {
            self.proxy.swap_chain(&key, chain);
            self.slots.change(&key, |managed: &mut Managed| managed.links = links);
        }
    }

    /// What an attachment kept goes with it.
    pub(super) fn forget_state(&self, changes: &[Change]) {
        for change in changes {
            if let Change::RemovePolicy(key) = change {
                let tenant = match &key.owner {
                    Owner::Platform => None,
                    Owner::Tenant(tenant) => Some(tenant),
                };
                self.kv.forget_attachment(tenant, key.owner.place(), &key.name);
            }
        }
    }
}

/// What has to be stored so that the rules are others. Tokens are not among it.
pub(super) fn changes(before: &Rules, after: &Rules) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, tenant) in &after.tenants {
        if before.tenants.get(name) != Some(tenant) {
            changes.push(Change::PutTenant(tenant.clone()));
        }
    }
    for (name, plugin) in &after.plugins {
        if before.plugins.get(name) != Some(plugin) {
            changes.push(Change::PutPlugin(plugin.clone()));
        }
    }
    for (key, policy) in &after.policies {
        if before.policies.get(key) != Some(policy) {
            changes.push(Change::PutPolicy(Box::new(policy.clone())));
        }
    }
    let gone = before.policies.keys().filter(|key| !after.policies.contains_key(*key));
    changes.extend(gone.map(|key| Change::RemovePolicy(key.clone())));
    let gone = before.plugins.keys().filter(|name| !after.plugins.contains_key(*name));
    changes.extend(gone.map(|name| Change::RemovePlugin(name.clone())));
    let gone = before.tokens.keys().filter(|id| !after.tokens.contains_key(*id));
    changes.extend(gone.map(|id| Change::RemoveToken(id.clone())));
    let gone = before.tenants.keys().filter(|name| !after.tenants.contains_key(*name));
    changes.extend(gone.map(|name| Change::RemoveTenant(name.clone())));
    changes
}

fn number(rules: &mut Rules, owner: &Owner, sequence: Vec<(AttachmentName, Option<i32>)>) {
    for (name, order) in orders(&sequence) {
        if let Some(record) = rules.policies.get_mut(&PolicyKey { owner: owner.clone(), name }) {
            record.order = order;
        }
    }
}

fn attachments(edit: &ChainEdit) -> Vec<&AttachmentSpec> {
    match edit {
        ChainEdit::Add { attachment, .. } => vec![attachment],
        ChainEdit::Set { attachments } => attachments.iter().map(|item| &item.attachment).collect(),
        ChainEdit::Remove { .. } | ChainEdit::Move { .. } => Vec::new(),
    }
}

fn entry(level: Level, spec: &AttachmentSpec, selector: Selector, with_config: bool) -> ChainEntry {
    ChainEntry {
        level,
        name: spec.name.clone(),
        kind: spec.kind,
        plugin: spec.plugin.clone(),
        selector,
        failure_mode: spec.failure_mode,
        grants: spec.grants.clone(),
        config: with_config.then(|| spec.config.clone()),
    }
}

fn server_key(tenant: &TenantName, server: Option<&fairlead_core::name::ServerName>) -> Result<ServerKey, Problem> {
    let name = server
        .cloned()
        .ok_or_else(|| Problem::new(ProblemKind::BadRequest, "the chain of a server needs its name").at("/server"))?;
    Ok(ServerKey { tenant: tenant.clone(), name })
}

fn sequence(
    names: &[AttachmentName],
    name: &AttachmentName,
    position: &Position,
) -> Result<Vec<AttachmentName>, Problem> {
    placed(names, name, position).ok_or_else(|| {
        let other = match position {
            Position::Before(other) | Position::After(other) => other.as_str(),
            Position::First | Position::Last => "",
        };
        let detail = format!("the position names `{other}`, which is not in this chain");
        Problem::new(ProblemKind::Invalid, detail).hint("`fairlead chain show` shows what is")
    })
}

fn new_name(names: &[AttachmentName], name: &AttachmentName) -> Result<(), Problem> {
    if names.contains(name) {
        let detail = format!("there is a plugin `{name}` in this chain already");
        return Err(Problem::new(ProblemKind::Conflict, detail).hint("give this one another name with `--name`"));
    }
    Ok(())
}

fn known_name(names: &[AttachmentName], name: &AttachmentName) -> Result<(), Problem> {
    if names.contains(name) {
        return Ok(());
    }
    let detail = format!("there is no plugin `{name}` in this chain");
    let hint =
        "`fairlead chain show` shows what is; what stands at another level is changed there, by those whose it is";
    Err(Problem::new(ProblemKind::NotFound, detail).hint(hint))
}

fn check_owner(owner: &Owner, selector: &Selector) -> Result<(), Problem> {
    if matches!(owner, Owner::Tenant(_)) && !selector.tenants.is_empty() {
        let detail = "only the platform selects tenants; what belongs to a tenant stays with it";
        return Err(Problem::new(ProblemKind::Invalid, detail));
    }
    Ok(())
}

fn no_selector(selector: &Selector) -> Result<(), Problem> {
    if selector.is_empty() {
        return Ok(());
    }
    Err(Problem::new(ProblemKind::Invalid, "a plugin of one server selects no others"))
}

fn no_platform() -> Problem {
    Problem::new(ProblemKind::NotFound, "there is no such chain")
}
