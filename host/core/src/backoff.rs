//! When something that failed is tried again: a pure function of how often it failed.

use std::time::Duration;

/// Exponential back-off with a cap and a number of tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// Never longer than this.
    pub max: Duration,
    /// After so many failures in a row it is given up.
    pub failures_max: u32,
    /// A period without failure after which the count starts anew.
    pub healthy_after: Duration,
}

impl Default for Backoff {
    /// One second doubling to five minutes; given up at the tenth failure in a row (eight and a half minutes of waiting in
    /// all); forgotten after twenty seconds of running (Docker forgets after ten). With a minute, what was ended each half
    /// minute was taken for something that cannot run.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            max: Duration::from_secs(300),
            failures_max: 10,
            healthy_after: Duration::from_secs(20),
        }
    }
}

impl Backoff {
    /// How long to wait after the `failures`-th failure in a row, or `None` to give up.
    #[must_use]
    pub fn delay(&self, failures: u32) -> Option<Duration> {
        if failures >= self.failures_max {
            return None;
        }
        let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
        Some(self.first.saturating_mul(factor).min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_its_cap_and_ends() {
        let backoff = Backoff { failures_max: 20, ..Backoff::default() };
        let seconds: Vec<_> = (1..=11).map(|n| backoff.delay(n).map(|d| d.as_secs())).collect();
        let expected = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300].map(Some);
        assert_eq!(seconds, expected);
        assert_eq!(backoff.delay(20), None);
        assert_eq!(backoff.delay(u32::MAX), None);
    }
}
