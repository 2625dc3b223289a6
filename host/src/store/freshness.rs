//! Records of freshness, and what is deployed: written only by compare-and-set, durable before anybody acts on them.
//!
//! Both are compared and written under the one lock under which the store makes all its changes, so that of two who found the
//! same revision one is told that it was late. There is no transaction of the database in it (see `journal`).

use fairlead_core::BoxFuture;
use fairlead_core::freshness::{Deployed, Freshness, FreshnessStore};
use fairlead_core::name::ServerKey;
use fairlead_core::store::StoreError;
use serde::de::DeserializeOwned;

use super::{Envelope, SledStore, encode, failed};

impl SledStore {
    /// What is deployed for a server; nothing in particular when nobody has said so.
    pub(crate) fn deployed(&self, key: &ServerKey) -> Result<Deployed, StoreError> {
        Ok(read(&self.deployed, key)?.unwrap_or_default())
    }

    /// Says durably what is to run, unless somebody did since `revision`: then false.
    pub(crate) fn deploy(&self, key: &ServerKey, revision: u64, next: &Deployed) -> Result<bool, StoreError> {
        let holds = || Ok(self.deployed(key)?.revision == revision);
        self.change_if(holds, &self.deployed, &key.to_string(), Some(encode(next)?))
    }

    /// A server is gone, or another one has its name: nothing of it is known any more.
    pub(crate) fn forget_freshness(&self, key: &ServerKey) -> Result<(), StoreError> {
        for tree in [&self.freshness, &self.deployed] {
            let key = key.to_string();
            let is_there = || tree.contains_key(&key).map_err(failed("read"));
            self.change_if(is_there, tree, &key, None)?;
        }
        Ok(())
    }

    /// The record of a server, for whoever shows it.
    pub(crate) fn freshness(&self, key: &ServerKey) -> Result<Freshness, StoreError> {
        Ok(read(&self.freshness, key)?.unwrap_or_default())
    }
}

impl FreshnessStore for SledStore {
    fn load<'a>(&'a self, key: &'a ServerKey) -> BoxFuture<'a, Result<Freshness, StoreError>> {
        Box::pin(async { self.freshness(key) })
    }

    fn swap<'a>(
        &'a self,
        key: &'a ServerKey,
        revision: u64,
        next: &'a Freshness,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let holds = || Ok(self.freshness(key)?.revision == revision);
            self.change_if(holds, &self.freshness, &key.to_string(), Some(encode(next)?))
        })
    }
}

fn read<T: DeserializeOwned>(tree: &sled::Tree, key: &ServerKey) -> Result<Option<T>, StoreError> {
    let key = key.to_string();
    let Some(bytes) = tree.get(&key).map_err(failed("read"))? else { return Ok(None) };
    let envelope: Envelope<T> = serde_json::from_slice(&bytes).map_err(|source| StoreError::Damaged { key, source })?;
    Ok(Some(envelope.record))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fairlead_core::clock::Clock;
    use fairlead_core::freshness::acquire;
    use fairlead_core::name::{ServerName, TenantName};
    use jiff::Timestamp;

    use super::*;

    struct Frozen;

    impl Clock for Frozen {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
    }

    fn key() -> ServerKey {
        ServerKey { tenant: TenantName::default(), name: ServerName::new("a").unwrap() }
    }

    #[tokio::test]
    async fn of_two_who_found_the_same_record_one_is_too_late_and_the_other_is_there_after_a_restart() {
        let home = tempfile::tempdir().unwrap();
        let open = || SledStore::open(home.path(), Arc::new(Frozen)).unwrap();
        {
            let store = open();
            let found = store.load(&key()).await.unwrap();
            let (mine, _) = acquire(&found, "me", Timestamp::UNIX_EPOCH).unwrap();
            let (theirs, _) = acquire(&found, "they", Timestamp::UNIX_EPOCH).unwrap();
            assert!(store.swap(&key(), found.revision, &mine).await.unwrap());
            assert!(!store.swap(&key(), found.revision, &theirs).await.unwrap());
            let next = Deployed { revision: 1, pin: None, mark: None };
            assert!(store.deploy(&key(), 0, &next).unwrap());
            assert!(!store.deploy(&key(), 0, &next).unwrap());
        }
        let store = open();
        assert_eq!(store.load(&key()).await.unwrap().lease.holder.as_deref(), Some("me"));
        assert_eq!(store.deployed(&key()).unwrap().revision, 1);
        store.forget_freshness(&key()).unwrap();
        assert_eq!(store.load(&key()).await.unwrap(), Freshness::default());
        assert_eq!(store.deployed(&key()).unwrap(), Deployed::default());
    }
}
