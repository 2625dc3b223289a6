//! Requests whose stream broke off before their answer came.
//!
//! The server may give the answer later, on a stream that the client takes up with `Last-Event-ID`. Middleware that wants to
//! see answers must see that one too, so what it answers is remembered here. An answer to nothing that is known is not let
//! through: otherwise hanging up and coming back would be a way around every guard.

use std::collections::{HashMap, VecDeque};

use fairlead_core::jsonrpc::{Envelope, IdKey};
use parking_lot::Mutex;

use crate::limits::MISSED_MAX;

/// A session and the id of a request in it.
type Key = (Vec<u8>, IdKey);

/// The requests of one route.
#[derive(Default)]
pub(super) struct Missed {
    requests: Mutex<(HashMap<Key, Envelope>, VecDeque<Key>)>,
}

impl Missed {
    pub(super) fn remember(&self, session: &[u8], request: &Envelope) {
        let Some(id) = request.id().and_then(IdKey::of) else { return };
        let key = (session.to_vec(), id);
        let mut requests = self.requests.lock();
        let (by_key, order) = &mut *requests;
        // What it was about is enough; its arguments are not kept.
        if by_key.insert(key.clone(), about(request)).is_none() {
            order.push_back(key);
        }
        while order.len() > MISSED_MAX {
            if let Some(oldest) = order.pop_front() {
                by_key.remove(&oldest);
            }
        }
    }

    pub(super) fn take(&self, session: &[u8], answer: &Envelope) -> Option<Envelope> {
        let key = (session.to_vec(), answer.id().and_then(IdKey::of)?);
        let mut requests = self.requests.lock();
        let request = requests.0.remove(&key)?;
        requests.1.retain(|other| *other != key);
        Some(request)
    }
}

/// The request with nothing but its target for parameters.
pub(super) fn about(request: &Envelope) -> Envelope {
    let target = request.target().map(|target| fairlead_core::json::encode_string(&target));
    let key = if request.method().starts_with("resources/") { "uri" } else { "name" };
    let params = target.map_or_else(|| "{}".to_owned(), |target| format!("{{\"{key}\":{target}}}"));
    let short = request.params().and_then(|_| Envelope::parse(request.rewrite().params(&params).finish()).ok());
    short.unwrap_or_else(|| request.clone())
}
