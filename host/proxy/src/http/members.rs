//! A server that is several: one name, an address for each of its pods, and sessions that each of them keeps for itself.
//!
//! A message of a session goes to the address that opened it, and to no other: another pod would not know the session, and
//! whoever has the address of a pod that is gone is somebody else by now. So an address counts only as long as the name leads
//! to it. When it does not any more, the session is over, which is what its client is told.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fairlead_core::BoxFuture;
use parking_lot::Mutex;
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout};

use super::client::{Place, Unreachable};
use crate::limits::{LOOKUP_MAX, MEMBERS_KEEP, MEMBERS_STALE_MAX};
use crate::moments::BySession;

/// Finds all addresses that a name leads to.
pub trait Lookup: Send + Sync {
    /// The addresses, in no particular order.
    fn addresses<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The name service of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct NameService;

impl Lookup for NameService {
    fn addresses<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(lookup_host((host, port)).await?.collect()) })
    }
}

/// What a name led to, and when that was.
struct Found {
    addresses: Vec<SocketAddr>,
    at: Instant,
}

/// The addresses of one server, and where sessions are.
pub(super) struct Members {
    lookup: Arc<dyn Lookup>,
    found: Mutex<Option<Arc<Found>>>,
    /// Held by whoever looks, so that others wait for one answer.
    looking: tokio::sync::Mutex<()>,
    seats: BySession<SocketAddr>,
    turn: AtomicUsize,
}

impl Members {
    pub(super) fn new(lookup: Arc<dyn Lookup>) -> Self {
        Self {
            lookup,
            found: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            seats: BySession::default(),
            turn: AtomicUsize::default(),
        }
    }

    /// The place of a session, or the next in turn for what has none.
    pub(super) async fn seat(&self, place: &Place, session: Option<&[u8]>) -> Result<Arc<Place>, Unreachable> {
        let found = self.found(place).await?;
        let addresses = &found.addresses;
        let address = match session.map(|session| self.seats.get(session)) {
            Some(Some(address)) if addresses.contains(&address) => Some(address),
            // There is only one that can have it.
            Some(None) if addresses.len() == 1 => addresses.first().copied(),
            Some(_) => return Err(Unreachable::Gone),
            None => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                turn.checked_rem(addresses.len()).and_then(|at| addresses.get(at)).copied()
            }
        };
        let address = address.ok_or_else(|| Unreachable::Connect(nowhere()))?;
        Ok(Arc::new(place.pinned(address)))
    }

    /// A session is at this address.
    pub(super) fn learn(&self, session: &[u8], address: SocketAddr) {
        if self.seats.get(session) != Some(address) {
            self.seats.insert(session, address);
        }
    }

    /// Where a session is, as far as that is known.
    pub(super) fn whereabouts(&self, session: &[u8]) -> Option<SocketAddr> {
        self.seats.get(session)
    }

    async fn found(&self, place: &Place) -> Result<Arc<Found>, Unreachable> {
        if let Some(found) = self.known(|found| found.at.elapsed() < MEMBERS_KEEP) {
            return Ok(found);
        }
        let _looking = self.looking.lock().await;
        if let Some(found) = self.known(|found| found.at.elapsed() < MEMBERS_KEEP) {
            return Ok(found);
        }
        let (host, port) = place.name();
        let looked = timeout(LOOKUP_MAX, self.lookup.addresses(host, port)).await;
        match looked.unwrap_or_else(|late| Err(late.into())) {
            Ok(addresses) => {
                let found = Arc::new(Found { addresses, at: Instant::now() });
                *self.found.lock() = Some(Arc::clone(&found));
                Ok(found)
            }
            // A name service that hiccups ends no session.
            Err(error) => self.known(|found| found.at.elapsed() < MEMBERS_STALE_MAX).ok_or(Unreachable::Connect(error)),
        }
    }

    fn known(&self, counts: impl FnOnce(&Found) -> bool) -> Option<Arc<Found>> {
        self.found.lock().clone().filter(|found| counts(found))
    }
}

fn nowhere() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "its name leads nowhere: no pod of it is ready")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what it is told to say.
    #[derive(Default)]
    struct Told(Mutex<Vec<SocketAddr>>, AtomicUsize);

    impl Lookup for Told {
        fn addresses<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            let addresses = self.0.lock().clone();
            Box::pin(async { if addresses.is_empty() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(addresses) } })
        }
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    fn place() -> Place {
        Place::parse("http://docs.team.svc/mcp").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_goes_to_the_address_that_opened_it_and_ends_with_it() {
        let told = Arc::new(Told::default());
        *told.0.lock() = vec![address(1), address(2)];
        let members = Members::new(Arc::clone(&told) as _);
        members.learn(b"s", address(2));
        for _ in 0..3 {
            assert_eq!(members.seat(&place(), Some(b"s")).await.unwrap().address(), Some(address(2)));
        }
        assert!(matches!(members.seat(&place(), Some(b"unknown")).await, Err(Unreachable::Gone)));
        // Somebody else has the address now.
        *told.0.lock() = vec![address(1), address(3)];
        tokio::time::advance(MEMBERS_KEEP).await;
        assert!(matches!(members.seat(&place(), Some(b"s")).await, Err(Unreachable::Gone)));
        *told.0.lock() = vec![address(1)];
        tokio::time::advance(MEMBERS_KEEP).await;
        assert!(members.seat(&place(), Some(b"unknown")).await.is_ok(), "only one can have it");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_session_goes_round_and_a_name_is_looked_up_rarely() {
        let told = Arc::new(Told::default());
        *told.0.lock() = vec![address(1), address(2)];
        let members = Members::new(Arc::clone(&told) as _);
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.extend(members.seat(&place(), None).await.unwrap().address());
        }
        assert_eq!(seen, [address(1), address(2), address(1), address(2)]);
        assert_eq!(told.1.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_service_that_is_silent_for_a_moment_ends_nothing() {
        let told = Arc::new(Told::default());
        *told.0.lock() = vec![address(1), address(2)];
        let members = Members::new(Arc::clone(&told) as _);
        members.learn(b"s", address(1));
        assert!(members.seat(&place(), Some(b"s")).await.is_ok());
        told.0.lock().clear();
        tokio::time::advance(MEMBERS_KEEP).await;
        assert!(members.seat(&place(), Some(b"s")).await.is_ok());
        tokio::time::advance(MEMBERS_STALE_MAX).await;
        assert!(matches!(members.seat(&place(), Some(b"s")).await, Err(Unreachable::Connect(_))));
    }
}
