//! `fairlead:host/clock`.

use super::bindings::clock;
use crate::state::View;

impl clock::Host for View<'_> {
    fn now_ms(&mut self) -> u64 {
        u64::try_from(self.owner.services.clock.now().as_millisecond()).unwrap_or(0)
    }

    fn monotonic_ns(&mut self) -> u64 {
        u64::try_from(self.owner.born.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
