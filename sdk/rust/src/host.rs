//! What the host offers, one module for each interface of `fairlead:host`. Natively the fakes of [`crate::testing`] serve
//! them.

#[cfg(target_family = "wasm")]
use crate::bindings::fairlead::host as imp;
#[cfg(not(target_family = "wasm"))]
use crate::testing::host as imp;

/// Structured log records. Never put a secret or the arguments of a call into one.
pub mod log {
    use super::imp::log as imp;
    use crate::Level;

    /// False when a record of this level would be dropped.
    #[must_use]
    pub fn enabled(level: Level) -> bool {
        imp::enabled(level)
    }

    /// Writes one record with fields.
    pub fn write(level: Level, message: &str, fields: &[(String, String)]) {
        imp::write(level, message, fields);
    }

    /// Writes a record of level debug.
    pub fn debug(message: &str) {
        imp::write(Level::Debug, message, &[]);
    }

    /// Writes a record of level info.
    pub fn info(message: &str) {
        imp::write(Level::Info, message, &[]);
    }

    /// Writes a record of level warn.
    pub fn warn(message: &str) {
        imp::write(Level::Warn, message, &[]);
    }

    /// Writes a record of level error.
    pub fn error(message: &str) {
        imp::write(Level::Error, message, &[]);
    }
}

/// Time.
pub mod clock {
    use super::imp::clock as imp;

    /// Milliseconds since the Unix epoch, UTC.
    #[must_use]
    pub fn now_ms() -> u64 {
        imp::now_ms()
    }

    /// Nanoseconds since an arbitrary point, never going back.
    #[must_use]
    pub fn monotonic_ns() -> u64 {
        imp::monotonic_ns()
    }
}

/// Small state that outlives an instance, scoped by the host to (tenant, attachment). Needs the capability `kv`.
pub mod kv {
    use super::imp::kv as imp;

    pub use crate::bindings::fairlead::host::kv::{Entry, Error};

    /// Reads a value and its version.
    ///
    /// # Errors
    /// As in the contract.
    pub fn get(key: &str) -> Result<Option<Entry>, Error> {
        imp::get(key)
    }

    /// Writes a value and returns its version.
    ///
    /// # Errors
    /// As in the contract.
    pub fn set(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<u64, Error> {
        imp::set(key, value, ttl_ms)
    }

    /// Writes only if the version is still `expected`; none comes back if somebody else was first.
    ///
    /// # Errors
    /// As in the contract.
    pub fn compare_and_set(
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        ttl_ms: Option<u64>,
    ) -> Result<Option<u64>, Error> {
        imp::compare_and_set(key, expected, value, ttl_ms)
    }

    /// Adds to a counter and returns the sum. Only a new or expired counter takes `ttl_ms`.
    ///
    /// # Errors
    /// As in the contract.
    pub fn increment(key: &str, by: i64, ttl_ms: Option<u64>) -> Result<i64, Error> {
        imp::increment(key, by, ttl_ms)
    }

    /// Removes a value.
    ///
    /// # Errors
    /// As in the contract.
    pub fn delete(key: &str) -> Result<(), Error> {
        imp::delete(key)
    }

    /// One page of the keys that start with `prefix`, in order.
    ///
    /// # Errors
    /// As in the contract.
    pub fn keys(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, Error> {
        imp::keys(prefix, after, limit)
    }
}

/// Secrets by reference. Needs the capability `secrets`.
pub mod secrets {
    use super::imp::secrets as imp;

    pub use crate::bindings::fairlead::host::secrets::Error;

    /// A secret that the plugin may use but not see.
    #[derive(Debug)]
    pub struct Secret(imp::Secret);

    impl Secret {
        /// A placeholder for a header such as `Bearer {}`; the host puts the value in when the request leaves.
        #[must_use]
        pub fn as_header(&self, template: &str) -> String {
            self.0.as_header(template)
        }

        /// The value itself. Needs the capability `secrets-reveal`.
        ///
        /// # Errors
        /// As in the contract.
        pub fn reveal(&self) -> Result<Vec<u8>, Error> {
            self.0.reveal()
        }
    }

    /// Opens a secret by name.
    ///
    /// # Errors
    /// As in the contract.
    pub fn open(name: &str) -> Result<Secret, Error> {
        imp::open(name).map(Secret)
    }
}

/// Metrics. The host prefixes the name with that of the plugin.
pub mod metrics {
    use super::imp::metrics as imp;

    /// Adds to a counter.
    pub fn add(name: &str, by: u64, labels: &[(String, String)]) {
        imp::add(name, by, labels);
    }

    /// Sets a gauge.
    pub fn set(name: &str, value: f64, labels: &[(String, String)]) {
        imp::set(name, value, labels);
    }

    /// Records one observation of a distribution.
    pub fn observe(name: &str, value: f64, labels: &[(String, String)]) {
        imp::observe(name, value, labels);
    }
}
