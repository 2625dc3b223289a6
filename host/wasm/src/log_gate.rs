//! How many records of one attachment get through: a guest in a loop must not fill a disk or hide what others say.

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits::LOG_RECORDS_PER_SEC;

/// A bucket of one second's records that fills evenly.
pub(crate) struct LogGate(Mutex<Bucket>);

struct Bucket {
    records: f64,
    filled: Instant,
    unreported: u64,
    dropped: u64,
}

impl LogGate {
    pub(crate) fn new() -> Self {
        let records = f64::from(LOG_RECORDS_PER_SEC);
        Self(Mutex::new(Bucket { records, filled: Instant::now(), unreported: 0, dropped: 0 }))
    }

    /// Lets one record through: how many were dropped since the last one, or `None` to drop this one too.
    pub(crate) fn pass(&self) -> Option<u64> {
        let mut bucket = self.0.lock();
        let now = Instant::now();
        let rate = f64::from(LOG_RECORDS_PER_SEC);
        let more = now.duration_since(bucket.filled).as_secs_f64() * rate;
        bucket.records = (bucket.records + more).min(rate);
        bucket.filled = now;
        if bucket.records < 1.0 {
            bucket.unreported += 1;
            bucket.dropped += 1;
            return None;
        }
        bucket.records -= 1.0;
        Some(std::mem::take(&mut bucket.unreported))
    }

    /// Records that were dropped since the attachment was made.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_to_the_rate_and_counted() {
        let gate = LogGate::new();
        let passed = (0..1_000).filter(|_| gate.pass().is_some()).count();
        assert_eq!(passed, 100);
        assert_eq!(gate.dropped(), 900);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(gate.pass(), Some(900));
        assert_eq!(gate.pass(), Some(0));
    }
}
