//! `fairlead:host/metrics`.

use super::bindings::{Attributes, metrics};
use crate::state::View;

impl metrics::Host for View<'_> {
    fn add(&mut self, name: String, by: u64, labels: Attributes) {
        self.owner.metrics.add(&name, by, labels);
    }

    fn set(&mut self, name: String, value: f64, labels: Attributes) {
        self.owner.metrics.set(&name, value, labels);
    }

    fn observe(&mut self, name: String, value: f64, labels: Attributes) {
        self.owner.metrics.observe(&name, value, labels);
    }
}
