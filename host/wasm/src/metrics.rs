//! Numbers that a plugin reports, kept in memory until somebody reads them.
//!
//! Names and label sets come from a guest, perhaps from arguments of a call: without bounds one plugin could fill the
//! memory of the daemon and every monitoring system behind it. What is over a bound is dropped and counted.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::limits::{METRIC_BUCKETS, METRIC_LABELS_MAX, METRIC_NAMES_MAX, METRIC_SERIES_MAX, METRIC_TEXT_BYTES_MAX};

/// Labels in order of their names.
pub type Labels = Vec<(String, String)>;

/// The metrics of one attachment.
#[derive(Default)]
pub(crate) struct Metrics(Mutex<Registry>);

#[derive(Default)]
struct Registry {
    names: BTreeMap<String, BTreeMap<Labels, Value>>,
    dropped: u64,
}

/// A value of a series.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Only grows.
    Counter(u64),
    /// The last that was set.
    Gauge(f64),
    /// Observations.
    Distribution {
        /// How many were at most as large as each of [`METRIC_BUCKETS`]; the last: all.
        buckets: Vec<u64>,
        /// Their sum.
        sum: f64,
    },
}

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name, without that of the plugin.
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// Value.
    pub value: Value,
}

impl Metrics {
    pub(crate) fn add(&self, name: &str, by: u64, labels: Labels) {
        self.change(
            name,
            labels,
            || Value::Counter(0),
            |value| match value {
                Value::Counter(sum) => {
                    *sum = sum.saturating_add(by);
                    true
                }
                _ => false,
            },
        );
    }

    pub(crate) fn set(&self, name: &str, to: f64, labels: Labels) {
        self.change(
            name,
            labels,
            || Value::Gauge(to),
            |value| match value {
                Value::Gauge(now) => {
                    *now = to;
                    true
                }
                _ => false,
            },
        );
    }

    pub(crate) fn observe(&self, name: &str, observed: f64, labels: Labels) {
        let empty = || Value::Distribution { buckets: vec![0; METRIC_BUCKETS.len() + 1], sum: 0.0 };
        self.change(name, labels, empty, |value| match value {
            Value::Distribution { buckets, sum } if observed.is_finite() => {
                for (count, bound) in buckets.iter_mut().zip(METRIC_BUCKETS.iter().chain(&[f64::INFINITY])) {
                    *count += u64::from(observed <= *bound);
                }
                *sum += observed;
                true
            }
            _ => false,
        });
    }

    /// All series, by name and labels, and how many reports were dropped.
    pub(crate) fn snapshot(&self) -> (Vec<Series>, u64) {
        let registry = self.0.lock();
        let series = registry.names.iter().flat_map(|(name, series)| {
            series.iter().map(|(labels, value)| Series {
                name: name.clone(),
                labels: labels.clone(),
                value: value.clone(),
            })
        });
        (series.collect(), registry.dropped)
    }

    fn change(
        &self,
        name: &str,
        mut labels: Labels,
        new: impl FnOnce() -> Value,
        with: impl FnOnce(&mut Value) -> bool,
    ) {
        labels.sort();
        let mut registry = self.0.lock();
        let fits = registry.admit(name, &labels);
        let changed = fits && {
            let series = registry.names.entry(name.to_owned()).or_default();
            with(series.entry(labels).or_insert_with(new))
        };
        if !changed {
            registry.dropped += 1;
        }
    }
}

impl Registry {
    /// Whether there is room for this series and its texts are fit to be shown.
    fn admit(&self, name: &str, labels: &Labels) -> bool {
        match self.names.get(name) {
            Some(series) if series.contains_key(labels) => return true,
            Some(series) if series.len() >= METRIC_SERIES_MAX => return false,
            None if self.names.len() >= METRIC_NAMES_MAX => return false,
            _ => {}
        }
        let is_name = |text: &str| {
            !text.is_empty()
                && text.len() <= METRIC_TEXT_BYTES_MAX
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        };
        let is_value = |text: &str| text.len() <= METRIC_TEXT_BYTES_MAX && !text.contains(char::is_control);
        is_name(name)
            && labels.len() <= METRIC_LABELS_MAX
            && labels.iter().all(|(name, value)| is_name(name) && is_value(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(value: &str) -> Labels {
        vec![("tool".to_owned(), value.to_owned())]
    }

    #[test]
    fn counters_add_gauges_replace_and_distributions_count() {
        let metrics = Metrics::default();
        metrics.add("calls", 2, label("a"));
        metrics.add("calls", 3, label("a"));
        metrics.set("open", 4.0, vec![]);
        metrics.set("open", 1.5, vec![]);
        metrics.observe("seconds", 0.004, vec![]);
        metrics.observe("seconds", 1e9, vec![]);
        let (series, dropped) = metrics.snapshot();
        assert_eq!(dropped, 0);
        assert_eq!(series[0].value, Value::Counter(5));
        assert_eq!(series[1].value, Value::Gauge(1.5));
        let Value::Distribution { buckets, sum } = &series[2].value else { panic!("{series:?}") };
        assert_eq!((buckets[1], buckets[2], buckets[18], buckets[19]), (0, 1, 1, 2));
        assert!(*sum > 1e8);
    }

    #[test]
    fn names_and_label_sets_are_bounded_and_the_rest_is_counted() {
        let metrics = Metrics::default();
        for n in 0..METRIC_SERIES_MAX + 5 {
            metrics.add("calls", 1, label(&n.to_string()));
        }
        for n in 0..METRIC_NAMES_MAX + 5 {
            metrics.add(&format!("name{n}"), 1, vec![]);
        }
        let (series, dropped) = metrics.snapshot();
        assert_eq!(series.len(), METRIC_SERIES_MAX + METRIC_NAMES_MAX - 1);
        assert_eq!(dropped, 5 + 6);
    }

    #[test]
    fn a_name_keeps_its_kind() {
        let metrics = Metrics::default();
        metrics.add("calls", 1, vec![]);
        metrics.set("calls", 9.0, vec![]);
        assert_eq!(metrics.snapshot().1, 1);
    }

    #[test]
    fn texts_that_no_monitoring_system_takes_are_dropped() {
        let metrics = Metrics::default();
        metrics.add("with space", 1, vec![]);
        metrics.add("ok", 1, label("line\nbreak"));
        metrics.add("ok", 1, label(&"x".repeat(200)));
        assert_eq!(metrics.snapshot(), (vec![], 3));
    }
}
