//! The time of day, as a port: decisions take it as an argument, adapters ask this.

use jiff::Timestamp;

/// Tells the time. Durations are measured with tokio's clock, which tests can pause; this one is for points in time that
/// are stored or shown.
pub trait Clock: Send + Sync {
    /// Now, UTC.
    fn now(&self) -> Timestamp;
}
