//! One revision of a server after another, at one address, with nobody being cut off.
//!
//! The newer one takes every session that begins from now on, and every request without one. A session stays with the
//! revision that it was opened with, because its state is there, until it ends or its time is over; then its client is told
//! what MCP has for it, that there is no such session, and begins another. So a switch is one pointer, and no message is ever
//! between two revisions.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use fairlead_core::name::ServerKey;
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::Proxy;
use crate::limits::{OWNERS_MAX, SUCCESSION_ANSWERS_MAX, SUCCESSION_POLL};
use crate::reply::SESSION_ID;
use crate::route::{Published, Route, Wire};

/// Sessions that an HTTP server opened while the revision before it was still used: their ids are the server's own, and
/// nothing else tells whose they are.
#[derive(Default)]
pub(crate) struct Opened {
    ids: Mutex<HashSet<Box<[u8]>>>,
}

impl Opened {
    fn has(&self, session: &[u8]) -> bool {
        self.ids.lock().contains(session)
    }

    fn add(&self, session: &[u8]) {
        let mut ids = self.ids.lock();
        if ids.len() < OWNERS_MAX {
            ids.insert(session.into());
        }
    }
}

impl Published {
    /// The revision that a request belongs to.
    pub(crate) fn serving(self: &Arc<Self>, headers: &HeaderMap) -> Arc<Self> {
        let before = self.before.load_full();
        let (Some(before), Some(session)) = (before, headers.get(SESSION_ID)) else { return Arc::clone(self) };
        let session = session.as_bytes();
        let kept = std::str::from_utf8(session).is_ok_and(|id| self.sessions.get(id).is_some());
        if kept || self.opened.has(session) {
            return Arc::clone(self);
        }
        before.serving(headers)
    }

    /// The revision at which a client of 2024-11-05 listens.
    pub(crate) fn listened_at(self: &Arc<Self>, listener: &str) -> Arc<Self> {
        match self.before.load_full() {
            Some(before) if !self.listeners.has(listener) => before.listened_at(listener),
            _ => Arc::clone(self),
        }
    }

    /// This revision, and those before it that are used still.
    pub(crate) fn revisions(self: &Arc<Self>) -> impl Iterator<Item = Arc<Self>> + use<> {
        std::iter::successors(Some(Arc::clone(self)), |revision| revision.before.load_full())
    }

    /// Nothing begins here any more: what was kept for another session or request is not needed.
    fn retire(&self) {
        self.elder.retire();
        self.access.close();
    }

    /// The server has opened a session with an id of its own.
    pub(crate) fn has_opened(&self, session: &[u8]) {
        if self.before.load().is_some() {
            self.opened.add(session);
        }
    }

    /// Sessions of this revision and of those before it.
    pub(crate) fn sessions_in_all(&self) -> usize {
        self.sessions.len() + self.before.load().as_ref().map_or(0, |before| before.sessions_in_all())
    }
}

/// A revision that new sessions do not get any more. Dropping this ends those that it has.
pub struct Retiring {
    proxy: Arc<Proxy>,
    old: Arc<Published>,
    new: Weak<Published>,
}

impl std::fmt::Debug for Retiring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Retiring").field("key", &self.old.key).finish_non_exhaustive()
    }
}

impl Retiring {
    /// Ready when nobody uses it any more, or when `within` has passed. An HTTP server keeps its sessions itself, so that
    /// nobody knows whether they are used: then it is always the latter. From then on nothing new gets to it, and what it was
    /// asked before is answered, if that does not take too long.
    pub async fn drained(&self, within: Duration) {
        let end = Instant::now() + within;
        while Instant::now() < end && self.is_used() {
            sleep(SUCCESSION_POLL).await;
        }
        self.detach();
        let end = Instant::now() + SUCCESSION_ANSWERS_MAX;
        while Instant::now() < end && self.is_answering() {
            sleep(SUCCESSION_POLL).await;
        }
    }

    /// Lets nobody get to it any more.
    fn detach(&self) {
        if let Some(new) = self.new.upgrade() {
            let is_old =
                |before: &Option<Arc<Published>>| before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &self.old));
            if is_old(&new.before.load()) {
                new.before.store(None);
            }
        }
    }

    /// Whether somebody waits for it still.
    fn is_answering(&self) -> bool {
        // Whoever is in the middle of an exchange holds the route; one is this.
        Arc::strong_count(&self.old) > 1 || is_busy(&self.old)
    }

    fn is_used(&self) -> bool {
        // The revision before this one is reached through it, and ends with it: two switches may follow each other within the
        // time that the first one gives.
        let is_way = self.old.before.load().is_some();
        // Whoever is in the middle of an exchange holds the route; two are the one after it and this.
        let is_held = Arc::strong_count(&self.old) > 2;
        let keeps_sessions = matches!(self.old.wire(), Wire::Http | Wire::Detect { .. });
        is_way || is_held || keeps_sessions || self.old.sessions.len() > 0
    }
}

/// Whether a session of this revision, or of those before it, waits for an answer.
fn is_busy(revision: &Published) -> bool {
    revision.sessions.all().iter().any(|session| session.pipe.is_busy(session.seat))
        || revision.before.load().as_ref().is_some_and(|before| is_busy(before))
}

impl Drop for Retiring {
    fn drop(&mut self) {
        self.detach();
        self.proxy.end_sessions(&self.old);
    }
}

impl Proxy {
    /// Puts another revision in the place of a server, at once and for good. It has the chain of the one before, whatever the
    /// route says. `None` when no such server is published; then nothing has changed.
    pub fn succeed(self: &Arc<Self>, key: &ServerKey, route: Route) -> Option<Retiring> {
        let (old, new) = self.routes.succeed(key, route)?;
        old.retire();
        Some(Retiring { proxy: Arc::clone(self), old, new: Arc::downgrade(&new) })
    }
}
