//! `fairlead:host/kv`: the state of the attachment, through the port of the core.
//!
//! The scope comes from the host and is no parameter, so there is nothing to get wrong. Sizes are checked here, before a
//! store sees them.

use std::time::Duration;

use fairlead_core::kv::KvError;
use fairlead_core::limits::{KV_KEY_BYTES_MAX, KV_PAGE_MAX, KV_VALUE_BYTES_MAX};

use super::bindings::kv::{self, Entry, Error};
use crate::state::View;

impl View<'_> {
    fn may(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        if !self.owner.grants.kv {
            return Err(Error::Denied);
        }
        if key.len() > KV_KEY_BYTES_MAX || value.len() > KV_VALUE_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        Ok(())
    }
}

impl kv::Host for View<'_> {
    fn get(&mut self, key: String) -> Result<Option<Entry>, Error> {
        self.may(&key, &[])?;
        let found = self.owner.services.kv.get(&self.owner.scope, &key)?;
        Ok(found.map(|entry| Entry { value: entry.value, version: entry.version }))
    }

    fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> Result<u64, Error> {
        self.may(&key, &value)?;
        Ok(self.owner.services.kv.set(&self.owner.scope, &key, &value, ttl(ttl_ms))?)
    }

    fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Result<Option<u64>, Error> {
        self.may(&key, &value)?;
        Ok(self.owner.services.kv.compare_and_set(&self.owner.scope, &key, expected, &value, ttl(ttl_ms))?)
    }

    fn increment(&mut self, key: String, by: i64, ttl_ms: Option<u64>) -> Result<i64, Error> {
        self.may(&key, &[])?;
        Ok(self.owner.services.kv.increment(&self.owner.scope, &key, by, ttl(ttl_ms))?)
    }

    fn delete(&mut self, key: String) -> Result<(), Error> {
        self.may(&key, &[])?;
        Ok(self.owner.services.kv.delete(&self.owner.scope, &key)?)
    }

    fn keys(&mut self, prefix: String, after: Option<String>, limit: u32) -> Result<Vec<String>, Error> {
        self.may(&prefix, &[])?;
        let limit = limit.min(KV_PAGE_MAX);
        Ok(self.owner.services.kv.keys(&self.owner.scope, &prefix, after.as_deref(), limit)?)
    }
}

fn ttl(ms: Option<u64>) -> Option<Duration> {
    ms.map(Duration::from_millis)
}

impl From<KvError> for Error {
    fn from(error: KvError) -> Self {
        match error {
            KvError::Quota { .. } => Self::Quota(error.to_string()),
            KvError::TooLarge => Self::TooLarge,
            KvError::WrongType => Self::WrongType,
            KvError::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}
