//! When each server is due. In memory only: it is made again from the records, and one that is wrong costs one look.

use std::collections::{BTreeSet, HashMap};

use fairlead_core::name::ServerKey;
use jiff::Timestamp;

/// Servers by the time of their next turn.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    order: BTreeSet<(Timestamp, ServerKey)>,
    times: HashMap<ServerKey, Timestamp>,
}

impl Agenda {
    /// Sets or moves the turn of a server.
    pub(super) fn set(&mut self, key: &ServerKey, time: Timestamp) {
        if let Some(before) = self.times.insert(key.clone(), time) {
            self.order.remove(&(before, key.clone()));
        }
        self.order.insert((time, key.clone()));
    }

    /// Moves the turn of a server, but only to an earlier time.
    pub(super) fn hasten(&mut self, key: &ServerKey, time: Timestamp) {
        if self.times.get(key).is_none_or(|before| *before > time) {
            self.set(key, time);
        }
    }

    /// Forgets a server.
    pub(super) fn remove(&mut self, key: &ServerKey) {
        if let Some(before) = self.times.remove(key) {
            self.order.remove(&(before, key.clone()));
        }
    }

    /// Takes the next server that is due.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<ServerKey> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.times.remove(&key);
        Some(key)
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.order.first().map(|(time, _)| *time)
    }

    /// Those that are here.
    pub(super) fn keys(&self) -> Vec<ServerKey> {
        self.times.keys().cloned().collect()
    }

    /// Whether a server has a turn.
    pub(super) fn contains(&self, key: &ServerKey) -> bool {
        self.times.contains_key(key)
    }
}
