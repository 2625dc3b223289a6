//! Changes that go together: all of them are there after a crash, or none.
//!
//! The changes are first written down as one record, which is what makes them happen; then they are carried out, and the
//! record goes. A store that opens and finds the record carries it out again. It does not lean on transactions of the
//! database, whose behaviour under `kill -9` nobody but us would test: one record is there or is not, and that is all that
//! is needed. The record carries the count of changes that it makes, so that it is never carried out twice over newer ones.

use fairlead_core::BoxFuture;
use fairlead_core::policy::{Owner, PolicyKey, PolicyRecord};
use fairlead_core::store::{Change, GroupRecord, PluginRecord, PolicyStore, StoreError};
use fairlead_core::tenant::{PLATFORM_NAMESPACE, TenantRecord, TokenRecord};
use serde::{Deserialize, Serialize};

use super::{META_GENERATION, Seal, SledStore, encode, failed, put, read_all, room, seal};

const META_JOURNAL: &[u8] = b"journal";

/// Changes that were begun.
#[derive(Debug, Serialize, Deserialize)]
struct Journal {
    /// The count of changes when they are done.
    generation: u64,
    changes: Vec<Change>,
}

impl SledStore {
    /// Carries out what an earlier process began.
    pub(super) fn resume(&self) -> Result<(), StoreError> {
        let Some(bytes) = self.meta.get(META_JOURNAL).map_err(failed("read"))? else { return Ok(()) };
        let journal: Journal = serde_json::from_slice(&bytes)
            .map_err(|source| StoreError::Damaged { key: "journal".to_owned(), source })?;
        let mut seal = self.seal.lock();
        let done = self.meta.get(META_GENERATION).map_err(failed("read"))?;
        let done = done.and_then(|bytes| bytes.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes);
        if done < journal.generation {
            tracing::info!(changes = journal.changes.len(), "changes that were begun are carried out");
            self.carry_out(&journal, &mut seal)?;
        }
        Ok(())
    }

    fn write_together(&self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut seal = self.seal.lock();
        room::check(&self.path)?;
        let journal = Journal { generation: seal.generation + 1, changes: changes.to_vec() };
        let bytes = serde_json::to_vec(&journal).map_err(failed("encode a record for"))?;
        self.meta.insert(META_JOURNAL, bytes).map_err(failed("write to"))?;
        // From here on the changes happen, whoever carries them out.
        self.flush_and_sync()?;
        self.carry_out(&journal, &mut seal)
    }

    fn carry_out(&self, journal: &Journal, seal: &mut Seal) -> Result<(), StoreError> {
        for change in &journal.changes {
            self.put_change(change)?;
        }
        self.meta.insert(META_GENERATION, &journal.generation.to_be_bytes()).map_err(failed("write to"))?;
        self.meta.remove(META_JOURNAL).map_err(failed("write to"))?;
        self.flush_and_sync()?;
        let next = Seal { generation: journal.generation, ..seal.clone() };
        seal::write(&self.path, &next).map_err(failed("seal"))?;
        *seal = next;
        Ok(())
    }

    fn flush_and_sync(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(failed("flush"))?;
        self.file.sync_data().map_err(failed("sync"))
    }

    fn put_change(&self, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::PutServer(record) => put(&self.servers, &record.key.to_string(), Some(encode(record)?)),
            Change::RemoveServer(key) => put(&self.servers, &key.to_string(), None),
            Change::PutTenant(record) => put(&self.tenants, record.name.as_str(), Some(encode(record)?)),
            Change::RemoveTenant(name) => put(&self.tenants, name.as_str(), None),
            Change::PutPolicy(record) => put(&self.policies, &policy_key(&record.key()), Some(encode(record)?)),
            Change::RemovePolicy(key) => put(&self.policies, &policy_key(key), None),
            Change::PutToken(record) => put(&self.tokens, &record.id, Some(encode(record)?)),
            Change::RemoveToken(id) => put(&self.tokens, id, None),
            Change::PutPlugin(record) => put(&self.plugins, record.name.as_str(), Some(encode(record)?)),
            Change::RemovePlugin(name) => put(&self.plugins, name.as_str(), None),
            Change::PutGroup(record) => {
                put(&self.groups, &format!("{}/{}", record.tenant, record.name), Some(encode(record)?))
            }
            Change::RemoveGroup { tenant, name } => put(&self.groups, &format!("{tenant}/{name}"), None),
        }
    }
}

impl PolicyStore for SledStore {
    fn tenants(&self) -> BoxFuture<'_, Result<Vec<TenantRecord>, StoreError>> {
        Box::pin(async { read_all(&self.tenants) })
    }

    fn policies(&self) -> BoxFuture<'_, Result<Vec<PolicyRecord>, StoreError>> {
        Box::pin(async { read_all(&self.policies) })
    }

    fn tokens(&self) -> BoxFuture<'_, Result<Vec<TokenRecord>, StoreError>> {
        Box::pin(async { read_all(&self.tokens) })
    }

    fn groups(&self) -> BoxFuture<'_, Result<Vec<GroupRecord>, StoreError>> {
        Box::pin(async { read_all(&self.groups) })
    }

    fn plugins(&self) -> BoxFuture<'_, Result<Vec<PluginRecord>, StoreError>> {
        Box::pin(async { read_all(&self.plugins) })
    }

    fn commit<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { self.write_together(changes) })
    }
}

fn policy_key(key: &PolicyKey) -> String {
    let owner = match &key.owner {
        Owner::Platform => PLATFORM_NAMESPACE,
        Owner::Tenant(tenant) => tenant.as_str(),
    };
    format!("{owner}/{}", key.name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use fairlead_core::clock::Clock;
    use fairlead_core::name::TenantName;
    use fairlead_core::tenant::TenantSpec;
    use jiff::Timestamp;

    use super::*;

    struct Frozen;

    impl Clock for Frozen {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
    }

    fn open(path: &Path) -> Arc<SledStore> {
        SledStore::open(path, Arc::new(Frozen)).unwrap()
    }

    fn tenant(name: &str) -> TenantRecord {
        TenantRecord {
            name: TenantName::new(name).unwrap(),
            labels: Default::default(),
            spec: TenantSpec::default(),
            created: Timestamp::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn changes_that_go_together_are_there_after_a_restart() {
        let home = tempfile::tempdir().unwrap();
        {
            let store = open(home.path());
            let changes = [Change::PutTenant(tenant("a")), Change::PutTenant(tenant("b"))];
            store.commit(&changes).await.unwrap();
            let changes = [Change::RemoveTenant(tenant("a").name), Change::PutTenant(tenant("c"))];
            store.commit(&changes).await.unwrap();
        }
        assert_eq!(open(home.path()).tenants().await.unwrap(), [tenant("b"), tenant("c")]);
    }

    #[tokio::test]
    async fn what_was_begun_is_ended_by_the_next_start_and_only_once() {
        let home = tempfile::tempdir().unwrap();
        let journal = {
            let store = open(home.path());
            store.commit(&[Change::PutTenant(tenant("a"))]).await.unwrap();
            // As a process leaves it that is killed between the record and what it says.
            let changes = vec![Change::PutTenant(tenant("b")), Change::RemoveTenant(tenant("a").name)];
            let journal = serde_json::to_vec(&Journal { generation: 2, changes }).unwrap();
            store.meta.insert(META_JOURNAL, journal.clone()).unwrap();
            store.db.flush().unwrap();
            journal
        };
        {
            let store = open(home.path());
            assert_eq!(store.tenants().await.unwrap(), [tenant("b")]);
            store.commit(&[Change::PutTenant(tenant("a"))]).await.unwrap();
            // A record that outlived what it says changes nothing that came later.
            store.meta.insert(META_JOURNAL, journal).unwrap();
            store.db.flush().unwrap();
        }
        assert_eq!(open(home.path()).tenants().await.unwrap(), [tenant("a"), tenant("b")]);
    }
}
