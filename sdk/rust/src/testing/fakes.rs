//! The fakes of `fairlead:host`.
//!
//! The wrappers that a plugin calls are plain functions, so the fakes are reached through a thread-local, into which a
//! harness lends its own for the time of one call: tests run in parallel and never see each other's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Level, Manifest};

/// The fakes' clock starts here: 1 January 2026, noon, UTC.
const START_MS: u64 = 1_767_268_800_000;

/// Bounds of the contract.
const KEY_BYTES_MAX: usize = 512;
const VALUE_BYTES_MAX: usize = 1024 * 1024;
const PAGE_MAX: usize = 1_000;

/// One log record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Severity.
    pub level: Level,
    /// The text.
    pub message: String,
    /// Fields.
    pub fields: Vec<(String, String)>,
}

/// One metric call.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricRecord {
    /// Name without prefix.
    pub name: String,
    /// What was added, set or observed.
    pub value: f64,
    /// Labels.
    pub labels: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
struct Stored {
    value: Vec<u8>,
    version: u64,
    expires_ms: Option<u64>,
}

/// The state of all fakes of one harness.
#[derive(Debug, Default)]
pub(crate) struct Fakes {
    kv: BTreeMap<String, Stored>,
    kv_granted: bool,
    versions: u64,
    now_ms: u64,
    monotonic_ns: u64,
    secrets_granted: bool,
    reveal_granted: bool,
    pub(super) kv_broken: bool,
    pub(super) contention: u32,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) logs: Vec<LogRecord>,
    pub(super) metrics: Vec<MetricRecord>,
}

thread_local! {
    static CURRENT: RefCell<Fakes> = RefCell::new(Fakes { now_ms: START_MS, ..Fakes::default() });
}

impl Fakes {
    /// Fakes that grant what a manifest asks for, and nothing else.
    pub(super) fn new(manifest: &Manifest) -> Self {
        let granted = |name: &str| manifest.capabilities.iter().any(|capability| capability.name == name);
        Self {
            now_ms: START_MS,
            kv_granted: granted("kv"),
            secrets_granted: granted("secrets"),
            reveal_granted: granted("secrets-reveal"),
            ..Self::default()
        }
    }

    /// Grants secrets and puts some there.
    pub(super) fn give_secrets(&mut self, secrets: &[(&str, &str)]) {
        self.secrets_granted |= !secrets.is_empty();
        self.secrets.extend(secrets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    }

    /// Serves the wrappers while `call` runs.
    pub(super) fn lend<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let outside = CURRENT.replace(std::mem::take(self));
        let result = call();
        *self = CURRENT.replace(outside);
        result
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now_ms += u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.monotonic_ns += u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
    }

    pub(super) fn stored(&self, key: &str) -> Option<Vec<u8>> {
        self.kv.get(key).map(|stored| stored.value.clone())
    }

    fn live(&self, key: &str) -> Option<&Stored> {
        self.kv.get(key).filter(|stored| stored.expires_ms.is_none_or(|expires| expires > self.now_ms))
    }

    fn write(&mut self, key: &str, value: &[u8], expires_ms: Option<u64>) -> u64 {
        self.versions += 1;
        let version = self.versions;
        self.kv.insert(key.to_owned(), Stored { value: value.to_vec(), version, expires_ms });
        version
    }

    fn expiry(&self, ttl_ms: Option<u64>) -> Option<u64> {
        ttl_ms.map(|ttl| self.now_ms.saturating_add(ttl))
    }
}

/// Fake of `fairlead:host/log`.
pub(crate) mod log {
    use super::{CURRENT, LogRecord};
    use crate::Level;

    pub(crate) fn enabled(_level: Level) -> bool {
        true
    }

    pub(crate) fn write(level: Level, message: &str, fields: &[(String, String)]) {
        let record = LogRecord { level, message: message.to_owned(), fields: fields.to_vec() };
        CURRENT.with_borrow_mut(|fakes| fakes.logs.push(record));
    }
}

/// Fake of `fairlead:host/clock`.
pub(crate) mod clock {
    use super::CURRENT;

    pub(crate) fn now_ms() -> u64 {
        CURRENT.with_borrow(|fakes| fakes.now_ms)
    }

    pub(crate) fn monotonic_ns() -> u64 {
        CURRENT.with_borrow(|fakes| fakes.monotonic_ns)
    }
}

/// Fake of `fairlead:host/kv`.
pub(crate) mod kv {
    use super::{CURRENT, Fakes, KEY_BYTES_MAX, PAGE_MAX, VALUE_BYTES_MAX};
    use crate::kv::{Entry, Error};

    fn with<T>(key: &str, value: &[u8], work: impl FnOnce(&mut Fakes) -> Result<T, Error>) -> Result<T, Error> {
        CURRENT.with_borrow_mut(|fakes| {
            if !fakes.kv_granted {
                return Err(Error::Denied);
            }
            if fakes.kv_broken {
                return Err(Error::Unavailable("broken by the test".to_owned()));
            }
            if key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
                return Err(Error::TooLarge);
            }
            work(fakes)
        })
    }

    pub(crate) fn get(key: &str) -> Result<Option<Entry>, Error> {
        with(key, &[], |fakes| {
            Ok(fakes.live(key).map(|stored| Entry { value: stored.value.clone(), version: stored.version }))
        })
    }

    pub(crate) fn set(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<u64, Error> {
        with(key, value, |fakes| {
            let expires = fakes.expiry(ttl_ms);
            Ok(fakes.write(key, value, expires))
        })
    }

    pub(crate) fn compare_and_set(
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        ttl_ms: Option<u64>,
    ) -> Result<Option<u64>, Error> {
        with(key, value, |fakes| {
            if fakes.contention > 0 {
                fakes.contention -= 1;
                return Ok(None);
            }
            if fakes.live(key).map(|stored| stored.version) != expected {
                return Ok(None);
            }
            let expires = fakes.expiry(ttl_ms);
            Ok(Some(fakes.write(key, value, expires)))
        })
    }

    pub(crate) fn increment(key: &str, by: i64, ttl_ms: Option<u64>) -> Result<i64, Error> {
        with(key, &[], |fakes| {
            let (old, expires) = match fakes.live(key) {
                Some(stored) => {
                    let bytes = stored.value.as_slice().try_into().map_err(|_| Error::WrongType)?;
                    (i64::from_le_bytes(bytes), stored.expires_ms)
                }
                None => (0, fakes.expiry(ttl_ms)),
            };
            let sum = old.checked_add(by).ok_or(Error::WrongType)?;
            fakes.write(key, &sum.to_le_bytes(), expires);
            Ok(sum)
        })
    }

    pub(crate) fn delete(key: &str) -> Result<(), Error> {
        with(key, &[], |fakes| {
            fakes.kv.remove(key);
            Ok(())
        })
    }

    pub(crate) fn keys(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, Error> {
        with(prefix, &[], |fakes| {
            let wanted = |key: &&String| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after);
            let limit = PAGE_MAX.min(limit as usize);
            let live = fakes.kv.keys().filter(wanted).filter(|key| fakes.live(key).is_some());
            Ok(live.take(limit).cloned().collect())
        })
    }
}

/// What stands for a secret in a header; the real one cannot be guessed.
pub(super) fn placeholder(secret: &str) -> String {
    format!("<secret:{secret}>")
}

/// Fake of `fairlead:host/secrets`.
pub(crate) mod secrets {
    use super::{CURRENT, placeholder};
    use crate::secrets::Error;

    /// A secret by name.
    #[derive(Debug)]
    pub(crate) struct Secret(String);

    impl Secret {
        pub(crate) fn as_header(&self, template: &str) -> String {
            template.replace("{}", &placeholder(&self.0))
        }

        pub(crate) fn reveal(&self) -> Result<Vec<u8>, Error> {
            CURRENT.with_borrow(|fakes| {
                if !fakes.reveal_granted {
                    return Err(Error::Denied);
                }
                fakes.secrets.get(&self.0).map(|value| value.clone().into_bytes()).ok_or(Error::NotFound)
            })
        }
    }

    pub(crate) fn open(name: &str) -> Result<Secret, Error> {
        CURRENT.with_borrow(|fakes| {
            if !fakes.secrets_granted && !fakes.reveal_granted {
                return Err(Error::Denied);
            }
            fakes.secrets.get(name).map(|_| Secret(name.to_owned())).ok_or(Error::NotFound)
        })
    }
}

/// Fake of `fairlead:host/metrics`.
pub(crate) mod metrics {
    use super::{CURRENT, MetricRecord};

    fn record(name: &str, value: f64, labels: &[(String, String)]) {
        let record = MetricRecord { name: name.to_owned(), value, labels: labels.to_vec() };
        CURRENT.with_borrow_mut(|fakes| fakes.metrics.push(record));
    }

    #[allow(clippy::cast_precision_loss, reason = "counts of a test")]
    pub(crate) fn add(name: &str, by: u64, labels: &[(String, String)]) {
        record(name, by as f64, labels);
    }

    pub(crate) fn set(name: &str, value: f64, labels: &[(String, String)]) {
        record(name, value, labels);
    }

    pub(crate) fn observe(name: &str, value: f64, labels: &[(String, String)]) {
        record(name, value, labels);
    }
}
