//! Tenants and their policies: what the platform and each tenant attached, who may ask for what, and the borders in between.
//!
//! All of it is one value that is replaced as a whole. Whoever builds a chain and publishes it holds the gate for reading
//! meanwhile, whoever changes what chains are made of holds it for writing: otherwise a server that is created beside a new
//! guard would come up without it, and nobody would ever notice.

mod apply;
mod border;
mod chains;
mod explain;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlead_core::name::{PluginName, TenantName};
use fairlead_core::policy::{Owner, Policies, of_owner};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::store::{Change, PluginRecord, PolicyStore, StoreError};
use fairlead_core::tenant::{PLATFORM_NAMESPACE, TenantRecord, TenantSpec, TokenRecord};
use parking_lot::RwLock;

use super::App;
use super::chain::Bindings;
use super::servers::not_stored;
use crate::api::types::policy::{CreateTenant, TenantInfo, TenantList};
use crate::limits::TENANTS_MAX;

/// What the platform and the tenants want.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// Those that were declared.
    pub(super) tenants: BTreeMap<TenantName, TenantRecord>,
    /// Attachments of the platform and of tenants.
    pub(super) policies: Policies,
    /// By id.
    pub(super) tokens: BTreeMap<String, TokenRecord>,
    /// Plugins that go by a name.
    pub(super) plugins: BTreeMap<PluginName, PluginRecord>,
}

/// The rules of now, and the right to build by them or to change them.
pub(super) struct Tenancy {
    rules: RwLock<Arc<Rules>>,
    pub(super) gate: tokio::sync::RwLock<()>,
    pub(super) bindings: Bindings,
    /// One rehearsal at a time: they share the place of their state.
    rehearsing: tokio::sync::Mutex<()>,
}

impl Tenancy {
    /// Reads what is stored.
    pub(super) async fn load(store: &dyn PolicyStore) -> Result<Self, StoreError> {
        let rules = Rules {
            tenants: store.tenants().await?.into_iter().map(|record| (record.name.clone(), record)).collect(),
            policies: store.policies().await?.into_iter().map(|record| (record.key(), record)).collect(),
            tokens: store.tokens().await?.into_iter().map(|record| (record.id.clone(), record)).collect(),
            plugins: store.plugins().await?.into_iter().map(|record| (record.name.clone(), record)).collect(),
        };
        Ok(Self {
            rules: RwLock::new(Arc::new(rules)),
            gate: tokio::sync::RwLock::default(),
            bindings: Bindings::default(),
            rehearsing: tokio::sync::Mutex::default(),
        })
    }

    /// The rules of now.
    pub(super) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read())
    }

    /// For whoever holds the gate for writing and has stored them.
    fn replace(&self, rules: Rules) {
        *self.rules.write() = Arc::new(rules);
    }
}

impl App {
    /// Tenants that were declared, and those that only have servers.
    pub(crate) fn tenants(&self) -> TenantList {
        let rules = self.tenancy.rules();
        let mut names: BTreeSet<TenantName> = rules.tenants.keys().cloned().collect();
        names.extend(self.slots.look_at_all(|managed| managed.record.key.tenant.clone()));
        TenantList { tenants: names.into_iter().map(|name| self.tenant_info(&rules, name)).collect() }
    }

    /// One tenant.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn tenant(&self, name: &TenantName) -> Result<TenantInfo, Problem> {
        let list = self.tenants().tenants;
        list.into_iter().find(|tenant| tenant.name == *name).ok_or_else(|| no_tenant(name))
    }

    /// Declares a tenant.
    ///
    /// # Errors
    /// There is one already, or there are too many.
    pub(crate) async fn create_tenant(&self, request: CreateTenant) -> Result<TenantInfo, Problem> {
        let CreateTenant { name, description, host_access, labels } = request;
        let _gate = self.tenancy.gate.write().await;
        let mut rules = Rules::clone(&self.tenancy.rules());
        if name.as_str() == PLATFORM_NAMESPACE {
            let detail = format!("`{PLATFORM_NAMESPACE}` is the namespace of the platform, not a tenant");
            return Err(Problem::new(ProblemKind::Invalid, detail).at("/name"));
        }
        if rules.tenants.contains_key(&name) {
            let detail = format!("there is a tenant `{name}` already");
            return Err(Problem::new(ProblemKind::Conflict, detail)
                .at("/name")
                .hint("`fairlead tenant list` shows what there is; `fairlead apply` changes one"));
        }
        check_count(&rules)?;
        let spec = TenantSpec { description, host_access, ..TenantSpec::default() };
        let record = TenantRecord { name: name.clone(), labels, spec, created: self.clock.now() };
        self.commit(&[Change::PutTenant(record.clone())]).await?;
        rules.tenants.insert(name.clone(), record);
        self.tenancy.replace(rules);
        tracing::info!(fairlead.tenant = %name, "a tenant is created");
        self.tenant(&name)
    }

    /// Forgets a tenant, with its chain, its tokens, what its plugins kept, its secrets, its groups, its registries and reviews.
    ///
    /// # Errors
    /// There is none, or it has servers.
    pub(crate) async fn remove_tenant(&self, name: &TenantName) -> Result<(), Problem> {
        let _gate = self.tenancy.gate.write().await;
        let mut rules = Rules::clone(&self.tenancy.rules());
        let info = self.tenant(name)?;
        if info.servers > 0 {
            let detail = format!("tenant `{name}` has {} servers", info.servers);
            return Err(Problem::new(ProblemKind::Conflict, detail)
                .hint(format!("remove them first; `fairlead list --all --tenant {name}` shows them")));
        }
        let changes = forget(&mut rules, name);
        // First: a tenant that is gone with what it had left behind would leave it to whoever has its name next.
        self.forget_possessions_of(name).await?;
        self.commit(&changes).await?;
        self.tenancy.replace(rules);
        self.forget_state_of(name);
        tracing::info!(fairlead.tenant = %name, "a tenant is removed");
        Ok(())
    }

    /// Several changes as one.
    async fn commit(&self, changes: &[Change]) -> Result<(), Problem> {
        self.store.commit(changes).await.map_err(not_stored)
    }

    fn forget_state_of(&self, name: &TenantName) {
        for owner in [Owner::Platform, Owner::Tenant(name.clone())] {
            self.kv.forget(name, owner.place());
        }
    }

    /// Forgets what a tenant had beside its rules. `default` keeps it: that one is there whether somebody declares it or not.
    async fn forget_possessions_of(&self, name: &TenantName) -> Result<(), Problem> {
        if *name == TenantName::default() {
            return Ok(());
        }
        self.catalogue.forget(name).await?;
        for secret in self.secrets.list(name.clone()).await?.into_keys() {
            self.secrets.remove(name.clone(), secret).await?;
        }
        let groups = self.store.groups().await.map_err(not_stored)?.into_iter().filter(|group| group.tenant == *name);
        let gone: Vec<Change> =
            groups.map(|group| Change::RemoveGroup { tenant: group.tenant, name: group.name }).collect();
        self.commit(&gone).await
    }

    fn tenant_info(&self, rules: &Rules, name: TenantName) -> TenantInfo {
        let servers = self.slots.look_at_all(|managed| managed.record.key.tenant == name);
        let servers = servers.into_iter().filter(|is_its| *is_its).count();
        let record = rules.tenants.get(&name);
        let spec = record.map(|record| record.spec.clone()).unwrap_or_default();
        TenantInfo {
            description: spec.description,
            host_access: spec.host_access,
            labels: record.map(|record| record.labels.clone()).unwrap_or_default(),
            servers,
            attachments: of_owner(&rules.policies, &Owner::Tenant(name.clone())).len(),
            created: record.map(|record| record.created),
            name,
        }
    }
}

/// Takes a tenant and all that hangs on it out of the rules.
fn forget(rules: &mut Rules, name: &TenantName) -> Vec<Change> {
    let mut changes = Vec::new();
    rules.policies.retain(|key, _| {
        let stays = key.owner != Owner::Tenant(name.clone());
        if !stays {
            changes.push(Change::RemovePolicy(key.clone()));
        }
        stays
    });
    rules.tokens.retain(|id, token| {
        let stays = token.tenant.as_ref() != Some(name);
        if !stays {
            changes.push(Change::RemoveToken(id.clone()));
        }
        stays
    });
    if rules.tenants.remove(name).is_some() {
        changes.push(Change::RemoveTenant(name.clone()));
    }
    changes
}

fn check_count(rules: &Rules) -> Result<(), Problem> {
    if rules.tenants.len() >= TENANTS_MAX {
        let detail = format!("there are {TENANTS_MAX} tenants, which is the limit");
        return Err(Problem::new(ProblemKind::Conflict, detail).hint("remove some with `fairlead tenant rm`"));
    }
    Ok(())
}

fn no_tenant(name: &TenantName) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("there is no tenant `{name}`"))
        .hint("`fairlead tenant list` shows what there is")
}
