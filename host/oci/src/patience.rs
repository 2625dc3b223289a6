//! When somebody may be asked: few at a time, and nobody who wants to be left alone.
//!
//! Whoever wants to be left alone, or does not answer, is left alone by everybody who would show it the same credential; when
//! that time is over one asks, and the others wait for what comes of it. Nobody waits long for another's turn: a registry that
//! is slow would otherwise hold up servers whose registry is not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fairlead_core::clock::Clock;
use fairlead_core::freshness::{CheckError, ErrorClass, Unseen};
use fairlead_core::name::TenantName;
use fairlead_core::oci::RegistryError;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::limits::{ANSWERS_KEPT, REGISTRY_BUSY, REGISTRY_PAUSE, REGISTRY_REQUESTS_MAX, REGISTRY_WAIT_MAX};

/// Who is asked, and whose credential it is shown.
pub(crate) type Place = (TenantName, String);

/// Who is being asked, and who is left alone.
pub(crate) struct Patience {
    clock: Arc<dyn Clock>,
    rooms: Mutex<HashMap<String, Arc<Semaphore>>>,
    shut: Mutex<HashMap<Place, Shut>>,
}

/// Somebody who is left alone.
#[derive(Clone, Copy)]
struct Shut {
    until: Timestamp,
    /// One is trying just now. Who comes meanwhile comes again soon, and not when the trial is over whatever becomes of it: a
    /// registry that wanted a second of rest would otherwise get a minute for everybody else.
    tried: bool,
}

impl Patience {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, rooms: Mutex::default(), shut: Mutex::default() }
    }

    /// Asks, when whoever is asked may be.
    pub(crate) async fn ask<T>(
        &self,
        place: Place,
        asking: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, Unseen> {
        let room = self.room(&place.1);
        let Ok(_room) = timeout(REGISTRY_WAIT_MAX, room.acquire()).await else { return Err(self.busy()) };
        let was_shut = self.enter(&place)?;
        let answer = asking.await;
        let pause = match &answer {
            Err(RegistryError::Unreachable { .. }) => Some(REGISTRY_PAUSE),
            Err(RegistryError::RateLimited { retry_after, .. }) => Some(retry_after.unwrap_or(REGISTRY_PAUSE)),
            _ => None,
        };
        match pause {
            Some(pause) => {
                let now = self.clock.now();
                let mut shut = self.shut.lock();
                if shut.len() >= ANSWERS_KEPT {
                    // Whose time is over may be asked in any case.
                    shut.retain(|_, known| known.until > now);
                }
                shut.insert(place, Shut { until: later(now, pause), tried: false });
            }
            None if was_shut => {
                self.shut.lock().remove(&place);
            }
            None => {}
        }
        answer.map_err(|error| {
            let retry_after = match &error {
                RegistryError::RateLimited { retry_after, .. } => *retry_after,
                _ => None,
            };
            Unseen::Failed { error: self.error(class_of(&error), &error), retry_after }
        })
    }

    /// Where those wait who ask somebody. Names are chosen by whoever has servers, so those that nobody waits at are not kept.
    fn room(&self, name: &str) -> Arc<Semaphore> {
        let mut rooms = self.rooms.lock();
        if rooms.len() >= ANSWERS_KEPT && !rooms.contains_key(name) {
            rooms.retain(|_, room| Arc::strong_count(room) > 1);
        }
        Arc::clone(rooms.entry(name.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(REGISTRY_REQUESTS_MAX))))
    }

    /// Whether somebody may be asked. When a time of rest is over, the first who comes may, and for all others it goes on until
    /// that one has an answer.
    fn enter(&self, place: &Place) -> Result<bool, Unseen> {
        let now = self.clock.now();
        let mut shut = self.shut.lock();
        match shut.get(place).copied() {
            Some(Shut { until, tried }) if until > now => {
                Err(Unseen::Deferred(if tried { until.min(later(now, REGISTRY_BUSY)) } else { until }))
            }
            Some(_) => {
                shut.insert(place.clone(), Shut { until: later(now, REGISTRY_PAUSE), tried: true });
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Others are asking there, and it takes long.
    pub(crate) fn busy(&self) -> Unseen {
        Unseen::Deferred(later(self.clock.now(), REGISTRY_BUSY))
    }

    pub(crate) fn failed(&self, class: ErrorClass, error: &(dyn std::error::Error + 'static)) -> Unseen {
        Unseen::Failed { error: self.error(class, error), retry_after: None }
    }

    fn error(&self, class: ErrorClass, error: &(dyn std::error::Error + 'static)) -> CheckError {
        CheckError { class, message: chain(error), at: self.clock.now() }
    }
}

fn class_of(error: &RegistryError) -> ErrorClass {
    match error {
        RegistryError::Unreachable { .. } => ErrorClass::RegistryUnreachable,
        RegistryError::Denied { .. } | RegistryError::Credentials(_) => ErrorClass::RegistryAuth,
        RegistryError::RateLimited { .. } => ErrorClass::RegistryRateLimited,
        RegistryError::NotFound { .. } => ErrorClass::RegistryNotFound,
        RegistryError::Protocol { .. } | RegistryError::Tampered { .. } | RegistryError::TooLarge { .. } => {
            ErrorClass::RegistryProtocol
        }
    }
}

fn later(time: Timestamp, pause: Duration) -> Timestamp {
    time.checked_add(SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX)
}

/// An error with everything below it.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Frozen;

    impl Clock for Frozen {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
    }

    #[tokio::test]
    async fn names_that_nobody_asks_any_more_are_not_kept() {
        let patience = Patience::new(Arc::new(Frozen));
        for number in 0..=ANSWERS_KEPT {
            let place = (TenantName::default(), format!("r{number}.test"));
            assert_eq!(patience.ask(place, async { Ok(number) }).await.ok(), Some(number));
        }
        assert!(patience.rooms.lock().len() < ANSWERS_KEPT, "{}", patience.rooms.lock().len());
    }
}
