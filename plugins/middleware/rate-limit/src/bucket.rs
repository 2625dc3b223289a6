//! The token bucket, as the generic cell rate algorithm: one number says it all, the time at which the bucket is full again.
//!
//! Each token moves that time on by one interval; a token is there as long as the time lies no further ahead than `burst`
//! intervals. No refill job, no second field to keep consistent.

use fairlead_plugin::Failure;

/// Size and speed of a bucket. Times are microseconds, so that 1,000 requests per second are no rounding error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// A new token each so many microseconds.
    pub interval_us: u64,
    /// Tokens in a full bucket.
    pub burst: u32,
}

/// Whether there was a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// There was; the bucket is full again then.
    Taken {
        /// Microseconds since the epoch.
        full_at_us: u64,
    },
    /// There was none.
    Wait {
        /// Until the next token.
        retry_after_us: u64,
    },
}

impl Bucket {
    /// Takes a token from the bucket that will be full at `full_at_us`.
    #[must_use]
    pub fn take(&self, full_at_us: u64, now_us: u64) -> Answer {
        let capacity = self.interval_us.saturating_mul(u64::from(self.burst));
        // A clock that was set back must not lock everybody out: nothing is ever further ahead than an empty bucket.
        let full_at = full_at_us.clamp(now_us, now_us.saturating_add(capacity));
        let next = full_at.saturating_add(self.interval_us);
        let ahead = next - now_us;
        if ahead <= capacity {
            Answer::Taken { full_at_us: next }
        } else {
            Answer::Wait { retry_after_us: ahead - capacity }
        }
    }
}

/// Reads what is stored; nothing is a full bucket.
pub(crate) fn read(value: Option<&[u8]>) -> Result<u64, Failure> {
    match value {
        None => Ok(0),
        Some(bytes) => bytes
            .try_into()
            .map(u64::from_le_bytes)
            .map_err(|_| Failure::internal("a stored bucket has another length; another plugin's state?")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Bucket};
    use proptest::prelude::*;

    proptest! {
        /// The law of a token bucket: in any window, no more than `burst` plus what the window refills.
        #[test]
        fn no_window_serves_more_than_burst_plus_refill(
            interval_us in 1_u64..10_000,
            burst in 1_u32..20,
            steps in prop::collection::vec(0_u64..5_000, 1..200),
        ) {
            let bucket = Bucket { interval_us, burst };
            let (mut full_at, mut now) = (0, 1_000_000_000_u64);
            let mut taken = Vec::new();
            for step in steps {
                now += step;
                if let Answer::Taken { full_at_us } = bucket.take(full_at, now) {
                    full_at = full_at_us;
                    taken.push(now);
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let served = (last - first + 1) as u64;
                    prop_assert!(served <= u64::from(burst) + (to - from) / interval_us + 1);
                }
            }
        }

        /// Waiting as long as was said is enough, and waiting less is not.
        #[test]
        fn retry_after_is_exact(interval_us in 1_u64..10_000, burst in 1_u32..20, full_at in 0_u64..500_000) {
            let bucket = Bucket { interval_us, burst };
            let now = 200_000;
            if let Answer::Wait { retry_after_us } = bucket.take(full_at, now) {
                let full_at = full_at.min(now + interval_us * u64::from(burst));
                let later = bucket.take(full_at, now + retry_after_us);
                let earlier = bucket.take(full_at, now + retry_after_us - 1);
                prop_assert!(matches!(later, Answer::Taken { .. }), "too long");
                prop_assert!(matches!(earlier, Answer::Wait { .. }), "too short");
            }
        }

        #[test]
        fn a_clock_that_was_set_back_locks_nobody_out(full_at in any::<u64>(), now in 0_u64..u64::MAX / 2) {
            let bucket = Bucket { interval_us: 1_000, burst: 5 };
            if let Answer::Wait { retry_after_us } = bucket.take(full_at, now) {
                prop_assert!(retry_after_us <= 1_000);
            }
        }
    }
}
