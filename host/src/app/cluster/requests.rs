//! What people ask about updates on a cluster, considered by the engine of whoever leads and answered in the record of the server.
//!
//! Nothing is remembered here but what is to be looked at: what was asked stands in the server, and what was answered in its record.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use fairlead_control::freshness::{CommandError, Considered, Engine};
use fairlead_core::freshness::{Freshness, Trigger};
use fairlead_core::name::ServerKey;
use fairlead_core::store::StoreError;
use fairlead_operator::controller::{Asked, Fleet, Stored};
use fairlead_operator::freshness::{Outcome, Request, Wanted};
use fairlead_operator::limits::{ASK_TRIES, REQUESTS_AT_ONCE, RETRY_FIRST, RETRY_MAX};
use futures_util::FutureExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::app::freshness::refused;
use crate::text;

/// Carries out what is asked.
pub(super) struct Requests {
    engine: Arc<Engine>,
    fleet: Arc<Fleet>,
    /// Servers to be looked at.
    due: BTreeMap<ServerKey, Due>,
    /// Servers that are looked at: one look at a time of each.
    busy: BTreeSet<ServerKey>,
    looks: JoinSet<(ServerKey, u32, Result<(), StoreError>)>,
}

/// When a server is looked at.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: Instant,
    /// Looks that failed in a row.
    failures: u32,
}

impl Requests {
    pub(super) fn new(engine: Arc<Engine>, fleet: Arc<Fleet>) -> Self {
        Self { engine, fleet, due: BTreeMap::new(), busy: BTreeSet::new(), looks: JoinSet::new() }
    }

    /// Something may be asked of a server.
    pub(super) fn hear(&mut self, key: &ServerKey) {
        if self.fleet.asked(key).is_some() {
            self.due.insert(key.clone(), Due { at: Instant::now(), failures: 0 });
        }
    }

    /// Goes on until something has ended or begun. It may be dropped at any point, and asked again.
    pub(super) async fn go_on(&mut self) {
        let next = self.begin();
        let wait = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(ended) = self.looks.join_next() => {
                let Ok((key, failures, looked)) = ended else { return };
                self.busy.remove(&key);
                if let Err(error) = looked {
                    let why = text::chain(&error);
                    tracing::warn!(fairlead.server.name = %key, why, "a request about updates was not answered; again later");
                    let wait = RETRY_FIRST.saturating_mul(1 << failures.min(16)).min(RETRY_MAX);
                    // Whoever asked anew meanwhile is not kept waiting.
                    let failures = failures.saturating_add(1);
                    self.due.entry(key).or_insert(Due { at: Instant::now() + wait, failures });
                }
            }
            () = wait => {}
        }
    }

    /// Begins to look at servers that are due, as many as may be. When the next one is.
    fn begin(&mut self) -> Option<Instant> {
        let now = Instant::now();
        loop {
            let idle = self.due.iter().filter(|(key, _)| !self.busy.contains(*key));
            let (key, due) = idle.min_by_key(|(_, due)| due.at).map(|(key, due)| (key.clone(), *due))?;
            if self.looks.len() >= REQUESTS_AT_ONCE {
                return None;
            }
            if due.at > now {
                return Some(due.at);
            }
            self.due.remove(&key);
            self.busy.insert(key.clone());
            let (engine, fleet) = (Arc::clone(&self.engine), Arc::clone(&self.fleet));
            self.looks.spawn(async move {
                let looked = ended(look(&engine, &fleet, &key)).await;
                (key, due.failures, looked)
            });
        }
    }
}

/// How a look ended. One that panicked has failed: its server would otherwise be held for one that is looked at, and never be again.
async fn ended(look: impl Future<Output = Result<(), StoreError>>) -> Result<(), StoreError> {
    AssertUnwindSafe(look).catch_unwind().await.unwrap_or_else(|_| {
        let panicked = std::io::Error::other("whoever looked has panicked");
        Err(StoreError::Io { operation: "answer", source: Box::new(panicked) })
    })
}

/// Answers what is asked of a server.
async fn look(engine: &Engine, fleet: &Fleet, key: &ServerKey) -> Result<(), StoreError> {
    for _ in 0..ASK_TRIES {
        let Some(asked) = fleet.asked(key) else { return Ok(()) };
        let (next, outcome) = consider(engine, key, &asked).await?;
        match fleet.answer(key, &asked, next, outcome).await? {
            Stored::Yes => {
                engine.touch(key);
                return Ok(());
            }
            Stored::Not => return Ok(()),
            Stored::Conflict => {}
        }
    }
    let busy = std::io::Error::other(CommandError::Busy(key.clone()));
    Err(StoreError::Io { operation: "write", source: Box::new(busy) })
}

/// What comes of it: the next record, if it becomes another, and what is said.
async fn consider(
    engine: &Engine,
    key: &ServerKey,
    asked: &Asked,
) -> Result<(Option<(u64, Freshness)>, Outcome), StoreError> {
    let wanted = match &asked.request {
        Ok(Request { wanted, .. }) => wanted,
        Err(why) => return Ok((None, Outcome::not_understood(why))),
    };
    let considered = match wanted {
        Wanted::Plan(at) => match engine.forecast(key, Trigger::Schedule, *at).await {
            Ok(forecast) => return Ok((None, Outcome::planned(forecast))),
            Err(error) => Err(error),
        },
        Wanted::Wish(wish) => engine.consider(key, wish).await,
    };
    match considered {
        Ok(Considered { revision, next, .. }) => Ok((next.map(|next| (revision, next)), Outcome::Done)),
        Err(CommandError::Store(error)) => Err(error),
        Err(error) => Ok((None, Outcome::refused(refused(&error), key.tenant.as_str()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_that_panics_has_failed_and_is_made_again_like_others() {
        async fn panics() -> Result<(), StoreError> {
            panic!("a mistake of ours")
        }
        assert!(ended(panics()).await.is_err());
        assert!(ended(async { Ok(()) }).await.is_ok());
    }
}
