//! Moments that MCP has no message for, and at which middleware is asked all the same (see
//! [`fairlead_core::middleware::moment`]); and whose session it is.
//!
//! A session belongs to the identity that was established when it was opened. Whoever comes with another one, or with none,
//! is told that there is no such session: to them there is none. A session that was opened by nobody in particular is held
//! by its id alone.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::jsonrpc::INVALID_REQUEST;
use fairlead_core::middleware::{Identity, Rejection};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;

use crate::body::Response;
use crate::chain::{Exchange, Outcome, Provenance};
use crate::limits::OWNERS_MAX;
use crate::reply;
use crate::route::Published;

/// What is told to whoever uses a session that is not theirs, or not there.
pub(crate) const NO_SESSION: &str = "this session does not exist, or has ended: send `initialize` again";

/// Who ends a session, as middleware is told.
pub(crate) const BY_CLIENT: &[u8] = br#"{"by":"client"}"#;
/// The same for all other ends.
pub(crate) const BY_HOST: &[u8] = br#"{"by":"host"}"#;

/// What the chain had to say at a moment.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) identity: Option<Identity>,
    pub(crate) headers: HeaderMap,
}

/// Asks the chain at a moment. `known` is who opened the session, where nobody else will say.
pub(crate) async fn ask(
    route: &Published,
    method: &'static str,
    params: &'static [u8],
    known: Option<&Identity>,
    provenance: impl FnOnce() -> Provenance,
) -> Result<Asked, Rejection> {
    let set = route.chain();
    if !set.wants_request(method) {
        return Ok(Asked { identity: known.cloned(), headers: HeaderMap::new() });
    }
    let mut exchange = Exchange::ambient(set, &route.key, method, provenance()).of(known);
    exchange.moment(&Bytes::from_static(params)).await?;
    Ok(Asked { identity: exchange.identity().cloned(), headers: exchange.upstream_headers() })
}

/// The claim that says who vouches for a subject.
const ISSUER: &str = "iss";

/// Who vouches for somebody: subjects are told apart by it.
pub(crate) fn issuer(identity: &Identity) -> Option<&str> {
    identity.claims.iter().find_map(|(name, value)| (name == ISSUER).then_some(value.as_str()))
}

/// Somebody of whom as much is known as tells them from others.
pub(crate) fn known(subject: &str, issuer: Option<&str>) -> Identity {
    let claims = issuer.map(|issuer| (ISSUER.to_owned(), issuer.to_owned())).into_iter().collect();
    Identity { subject: subject.to_owned(), claims }
}

/// Whether `caller` may use what `owner` opened.
pub(crate) fn is_owner(owner: Option<&Identity>, caller: Option<&Identity>) -> bool {
    match (owner, caller) {
        (None, _) => true,
        (Some(owner), Some(caller)) => owner.subject == caller.subject && issuer(owner) == issuer(caller),
        (Some(owner), None) => {
            tracing::debug!(
                owner = owner.subject,
                "a session of somebody was used by nobody in particular; does the middleware that authenticates ask for \
                 `*` and `fairlead/*`?"
            );
            false
        }
    }
}

/// There is no such session, for whoever asks.
pub(crate) fn no_session(id: Option<&str>) -> Response {
    reply::error(StatusCode::NOT_FOUND, id, INVALID_REQUEST, NO_SESSION)
}

/// The chain does not let it happen.
pub(crate) fn refused(rejection: Rejection) -> Response {
    let outcome = Outcome::Error(rejection);
    let wait = reply::wait_of(&outcome);
    let status = if wait.is_some() { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::FORBIDDEN };
    let mut response = reply::json(status, reply::text_of("null", &outcome));
    reply::retry_after(&mut response, wait);
    response
}

/// What is known by session, and sessions in the order in which it became known.
type Known<T> = (HashMap<Box<[u8]>, T>, VecDeque<Box<[u8]>>);

/// Something that is known of sessions of one HTTP server, whose ids are its own. The oldest is forgotten when there are too
/// many.
pub(crate) struct BySession<T> {
    known: Mutex<Known<T>>,
}

impl<T> Default for BySession<T> {
    fn default() -> Self {
        Self { known: Mutex::default() }
    }
}

impl<T: Clone> BySession<T> {
    pub(crate) fn insert(&self, session: &[u8], what: T) {
        let mut known = self.known.lock();
        let (by_session, order) = &mut *known;
        if by_session.insert(session.into(), what).is_none() {
            order.push_back(session.into());
        }
        while order.len() > OWNERS_MAX {
            if let Some(oldest) = order.pop_front() {
                by_session.remove(&oldest);
            }
        }
    }

    pub(crate) fn get(&self, session: &[u8]) -> Option<T> {
        self.known.lock().0.get(session).cloned()
    }

    fn remove(&self, session: &[u8]) {
        let mut known = self.known.lock();
        if known.0.remove(session).is_some() {
            known.1.retain(|other| **other != *session);
        }
    }
}

/// Who opened the sessions of one HTTP server. Only those that somebody in particular opened are in here, so that a server
/// without authentication costs nothing; one that was forgotten is held by its id alone.
#[derive(Default)]
pub(crate) struct Owners {
    by_session: BySession<Arc<Identity>>,
}

impl Owners {
    /// A session was opened.
    pub(crate) fn insert(&self, session: &[u8], owner: Identity) {
        self.by_session.insert(session, Arc::new(owner));
    }

    pub(crate) fn remove(&self, session: &[u8]) {
        self.by_session.remove(session);
    }

    /// Whether `caller` may use a session.
    pub(crate) fn admit(&self, session: &[u8], caller: Option<&Identity>) -> bool {
        is_owner(self.by_session.get(session).as_deref(), caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(subject: &str) -> Identity {
        Identity { subject: subject.to_owned(), claims: Vec::new() }
    }

    #[test]
    fn a_session_is_its_owners_and_that_of_nobody_is_everybodys() {
        let owners = Owners::default();
        owners.insert(b"s", who("alice"));
        assert!(owners.admit(b"s", Some(&who("alice"))));
        assert!(!owners.admit(b"s", Some(&who("bob"))));
        assert!(!owners.admit(b"s", None));
        assert!(owners.admit(b"open", None));
        assert!(owners.admit(b"open", Some(&who("alice"))));
        owners.remove(b"s");
        assert!(owners.admit(b"s", None));
    }

    #[test]
    fn two_who_are_called_alike_are_two_when_others_vouch_for_them() {
        let from = |issuer: &str, issued: &str| Identity {
            claims: vec![("iat".to_owned(), issued.to_owned()), ("iss".to_owned(), issuer.to_owned())],
            ..who("alice")
        };
        let owner = from("\"https://a.test\"", "1");
        assert!(is_owner(Some(&owner), Some(&from("\"https://a.test\"", "2"))));
        assert!(!is_owner(Some(&owner), Some(&from("\"https://b.test\"", "1"))));
        assert!(!is_owner(Some(&owner), Some(&who("alice"))));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let owners = Owners::default();
        for number in 0..=OWNERS_MAX {
            owners.insert(number.to_string().as_bytes(), who("alice"));
        }
        assert!(owners.admit(b"0", None));
        assert!(!owners.admit(OWNERS_MAX.to_string().as_bytes(), None));
        assert_eq!(owners.by_session.known.lock().1.len(), OWNERS_MAX);
    }
}
