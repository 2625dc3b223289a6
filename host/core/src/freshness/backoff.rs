//! When to look again: pure functions of the record, with the jitter taken from the server so that two schedulers agree.

use std::time::Duration;

use jiff::Timestamp;

use super::after;
use super::operation::deadline;
use super::record::{ErrorClass, Operation};
use super::step::Moment;
use crate::limits::{
    CHECK_FAILURE_FIRST, CHECK_FAILURE_MAX, CHECK_REFUSED_MAX, FOLLOW_UP_FIRST, FOLLOW_UP_MAX, TRIAL_RETRY,
    TRIAL_RETRY_MAX,
};

/// One interval on, give or take a tenth of it.
pub(super) fn next_check(at: &Moment<'_>) -> Timestamp {
    after(at.now, around(at.interval, at.spread, 10))
}

/// After the `failures`-th failed check in a row. What the OCI registry asked for is never undercut.
pub(super) fn after_failure(
    failures: u32,
    class: ErrorClass,
    retry_after: Option<Duration>,
    at: &Moment<'_>,
) -> Timestamp {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
    let pause = if class.is_transient() {
        CHECK_FAILURE_FIRST.saturating_mul(factor).min(CHECK_FAILURE_MAX)
    } else {
        at.interval.saturating_mul(factor).min(CHECK_REFUSED_MAX.max(at.interval))
    };
    after(at.now, around(pause, at.spread, 4).max(retry_after.unwrap_or_default()))
}

/// After the `tries`-th trial in a row that said nothing: doubling, for each of them starts what it tries.
pub(super) fn next_trial(tries: u32, at: &Moment<'_>) -> Timestamp {
    let factor = 2_u32.saturating_pow(tries.saturating_sub(1).min(16));
    after(at.now, TRIAL_RETRY.saturating_mul(factor).min(TRIAL_RETRY_MAX))
}

/// Between two looks at a rollout: doubling, but never long past the moment at which it will have been well for long enough.
pub(super) fn next_look(
    operation: &Operation,
    ready_since: Option<Timestamp>,
    min_ready: Duration,
    at: &Moment<'_>,
) -> Timestamp {
    let factor = 2_u32.saturating_pow(operation.looks.saturating_sub(1).min(16));
    let pause = FOLLOW_UP_FIRST.saturating_mul(factor).min(FOLLOW_UP_MAX);
    let mut next = after(at.now, around(pause, at.spread, 5));
    if let Some(since) = ready_since {
        next = next.min(after(since, min_ready).max(at.now));
    }
    deadline(operation, at).map_or(next, |deadline| next.min(deadline))
}

/// A duration give or take its `share`-th part; `spread` (0..1000) says which.
fn around(duration: Duration, spread: u16, share: u32) -> Duration {
    let part = duration / share;
    let offset = part.saturating_mul(2).mul_f64(f64::from(spread.min(999)) / 1000.0);
    duration.saturating_sub(part).saturating_add(offset)
}
