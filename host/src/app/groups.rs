//! Groups of servers: there by being used, or by being created before anybody uses them.

use std::collections::BTreeMap;

use fairlead_core::name::{GroupName, TenantName};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::store::{Change, GroupRecord, PolicyStore as _};

use super::App;
use super::servers::not_stored;
use crate::api::types::GroupInfo;

impl App {
    /// The groups of a tenant, by name; `default` is always one of them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn groups(&self, tenant: &TenantName) -> Result<Vec<GroupInfo>, Problem> {
        let mut groups: BTreeMap<GroupName, Vec<_>> = [(GroupName::default(), Vec::new())].into();
        for record in self.store.groups().await.map_err(not_stored)? {
            if record.tenant == *tenant {
                groups.entry(record.name).or_default();
            }
        }
        let members = self.slots.look_at_all(|managed| (managed.record.key.clone(), managed.record.spec.group.clone()));
        for (key, group) in members {
            if key.tenant == *tenant {
                groups.entry(group).or_default().push(key.name);
            }
        }
        Ok(groups.into_iter().map(|(name, servers)| GroupInfo { name, tenant: tenant.clone(), servers }).collect())
    }

    /// Creates an empty group.
    ///
    /// # Errors
    /// There is one of this name.
    pub(crate) async fn create_group(&self, tenant: TenantName, name: GroupName) -> Result<GroupInfo, Problem> {
        if self.groups(&tenant).await?.iter().any(|group| group.name == name) {
            return Err(Problem::new(ProblemKind::Conflict, format!("there is a group `{name}` already")).at("/name"));
        }
        let record = GroupRecord { tenant: tenant.clone(), name: name.clone(), created: self.clock.now() };
        self.store.commit(&[Change::PutGroup(record)]).await.map_err(not_stored)?;
        Ok(GroupInfo { name, tenant, servers: Vec::new() })
    }

    /// Removes a group; servers that are in it are then in `default`.
    ///
    /// # Errors
    /// There is none, or it is `default`.
    pub(crate) async fn remove_group(&self, tenant: &TenantName, name: &GroupName) -> Result<(), Problem> {
        if name.is_default() {
            return Err(Problem::new(ProblemKind::Conflict, "the group `default` cannot be removed"));
        }
        let groups = self.groups(tenant).await?;
        let group = groups.into_iter().find(|group| group.name == *name);
        let group = group.ok_or_else(|| Problem::new(ProblemKind::NotFound, format!("there is no group `{name}`")))?;
        for server in group.servers {
            let key = fairlead_core::name::ServerKey { tenant: tenant.clone(), name: server };
            let turn = self.slots.turn(&key).await;
            let Some(mut record) = turn.record().filter(|record| record.spec.group == *name) else { continue };
            record.spec.group = GroupName::default();
            self.store_server(&record).await?;
            turn.change(|managed| managed.record = record);
        }
        let change = Change::RemoveGroup { tenant: tenant.clone(), name: name.clone() };
        self.store.commit(&[change]).await.map_err(not_stored)
    }
}
