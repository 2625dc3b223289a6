//! A circuit breaker as a pure state machine: it is told the time and what happened, and says whether to call.
//!
//! A plugin that fails every time costs each request its deadline. After enough faults it is left alone for a while; then
//! one call is tried, and only its outcome decides. The failure mode of the attachment says what happens meanwhile.

use std::time::{Duration, Instant};

use crate::limits::{
    BREAKER_CALLS_MIN, BREAKER_FAULT_PERCENT_MAX, BREAKER_FAULTS_MAX, BREAKER_OPEN_FIRST, BREAKER_OPEN_MAX,
    BREAKER_WINDOW,
};

/// What a breaker may let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Everything; calls and faults of the current window are counted.
    Closed,
    /// Nothing until then.
    Open { until: Instant },
    /// One call is out; until it is back, nothing. If it never comes back, another may try after then.
    HalfOpen { until: Instant },
}

/// One breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    state: State,
    window_start: Instant,
    calls: u32,
    faults: u32,
    /// How often it has opened since it last closed.
    opened: u32,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { state: State::Closed, window_start: now, calls: 0, faults: 0, opened: 0 }
    }

    /// Whether to call now. In the half-open state this takes the one permission, so ask only to act on it.
    pub fn admit(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until } | State::HalfOpen { until } if now >= until => {
                self.state = State::HalfOpen { until: now + self.pause() };
                true
            }
            State::Open { .. } | State::HalfOpen { .. } => false,
        }
    }

    /// Tells how an admitted call went. True when this opened the breaker.
    pub fn record(&mut self, now: Instant, fault: bool) -> bool {
        match (self.state, fault) {
            (State::Closed, _) => {
                if now.saturating_duration_since(self.window_start) >= BREAKER_WINDOW {
                    (self.window_start, self.calls, self.faults) = (now, 0, 0);
                }
                self.calls = self.calls.saturating_add(1);
                self.faults = self.faults.saturating_add(u32::from(fault));
                let share = u64::from(self.faults) * 100 > u64::from(self.calls) * BREAKER_FAULT_PERCENT_MAX;
                let too_many = self.faults >= BREAKER_FAULTS_MAX && (self.calls < BREAKER_CALLS_MIN || share);
                if fault && too_many {
                    self.open(now);
                }
                fault && too_many
            }
            (State::HalfOpen { .. }, true) => {
                self.open(now);
                true
            }
            (State::HalfOpen { .. }, false) => {
                *self = Self::new(now);
                false
            }
            // A call from before it opened: it has had its say.
            (State::Open { .. }, _) => false,
        }
    }

    /// Whether calls are held back.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed)
    }

    fn open(&mut self, now: Instant) {
        self.opened = self.opened.saturating_add(1);
        self.state = State::Open { until: now + self.pause() };
    }

    fn pause(&self) -> Duration {
        let factor = 2_u32.saturating_pow(self.opened.saturating_sub(1));
        BREAKER_OPEN_FIRST.saturating_mul(factor).min(BREAKER_OPEN_MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(now);
        for _ in 0..BREAKER_FAULTS_MAX {
            assert!(breaker.admit(now));
            breaker.record(now, true);
        }
        breaker
    }

    #[test]
    fn it_opens_after_a_handful_of_faults_and_tries_one_call_later() {
        let start = Instant::now();
        let mut breaker = opened(start);
        assert!(!breaker.admit(start));
        assert!(!breaker.admit(start + BREAKER_OPEN_FIRST - MS));
        assert!(breaker.admit(start + BREAKER_OPEN_FIRST));
        assert!(!breaker.admit(start + BREAKER_OPEN_FIRST), "one at a time");
        breaker.record(start + BREAKER_OPEN_FIRST, false);
        assert!(!breaker.is_open());
    }

    #[test]
    fn the_pause_doubles_up_to_its_cap() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            let pause = Duration::from_secs(expected);
            assert!(!breaker.admit(now + pause - MS));
            now += pause;
            assert!(breaker.admit(now), "{expected}");
            assert!(breaker.record(now, true));
        }
    }

    #[test]
    fn a_small_share_of_faults_in_many_calls_does_not_open_it() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        for call in 0..1_000 {
            breaker.record(now, call >= BREAKER_CALLS_MIN && call % 10 == 0);
        }
        assert!(!breaker.is_open());
        for call in 0..1_000 {
            breaker.record(now, call % 2 == 0);
        }
        assert!(breaker.is_open());
    }

    #[test]
    fn old_faults_are_forgotten() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(now);
        for _ in 0..100 {
            breaker.record(now, true);
            now += BREAKER_WINDOW / 4;
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_trial_that_never_comes_back_does_not_hold_it_open_for_ever() {
        let now = Instant::now() + BREAKER_OPEN_FIRST;
        let mut breaker = opened(now - BREAKER_OPEN_FIRST);
        assert!(breaker.admit(now));
        assert!(breaker.admit(now + BREAKER_OPEN_FIRST));
    }

    proptest! {
        #[test]
        fn it_always_admits_again_after_the_longest_pause(steps in prop::collection::vec((0_u64..5_000, any::<bool>()), 0..200)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(now);
            for (wait, fault) in steps {
                now += Duration::from_millis(wait);
                if breaker.admit(now) {
                    breaker.record(now, fault);
                }
            }
            prop_assert!(breaker.admit(now + BREAKER_OPEN_MAX));
        }
    }
}
