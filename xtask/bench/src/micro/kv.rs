//! Plugin state in memory, as far as the measured plugins use it: no quota, no time to live.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fairlead_core::kv::{KvEntry, KvError, KvScope, KvStore};

/// The state.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<HashMap<(KvScope, String), KvEntry>>);

impl Memory {
    fn entries(&self) -> MutexGuard<'_, HashMap<(KvScope, String), KvEntry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, scope: &KvScope, key: &str, value: &[u8]) -> u64 {
        let mut entries = self.entries();
        let entry = entries.entry((scope.clone(), key.to_owned())).or_insert(KvEntry { value: Vec::new(), version: 0 });
        entry.value = value.to_vec();
        entry.version += 1;
        entry.version
    }
}

impl KvStore for Memory {
    fn get(&self, scope: &KvScope, key: &str) -> Result<Option<KvEntry>, KvError> {
        Ok(self.entries().get(&(scope.clone(), key.to_owned())).cloned())
    }

    fn set(&self, scope: &KvScope, key: &str, value: &[u8], _: Option<Duration>) -> Result<u64, KvError> {
        Ok(self.put(scope, key, value))
    }

    fn compare_and_set(
        &self,
        scope: &KvScope,
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        _: Option<Duration>,
    ) -> Result<Option<u64>, KvError> {
        let version = self.get(scope, key)?.map(|entry| entry.version);
        Ok((version == expected).then(|| self.put(scope, key, value)))
    }

    fn increment(&self, _: &KvScope, _: &str, _: i64, _: Option<Duration>) -> Result<i64, KvError> {
        Err(KvError::Unavailable("not used here".to_owned()))
    }

    fn delete(&self, scope: &KvScope, key: &str) -> Result<(), KvError> {
        self.entries().remove(&(scope.clone(), key.to_owned()));
        Ok(())
    }

    fn keys(&self, _: &KvScope, _: &str, _: Option<&str>, _: u32) -> Result<Vec<String>, KvError> {
        Err(KvError::Unavailable("not used here".to_owned()))
    }
}
