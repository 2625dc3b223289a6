//! Opening the state of the daemon: waited for where the daemon before has not let go of it, put aside where it is damaged and
//! somebody said so, and otherwise refused with the remedy.

use std::path::Path;
use std::sync::Arc;

use fairlead_core::clock::Clock;
use tokio::time::{Instant, sleep};

use super::BuildError;
use crate::limits::{STORE_FREE_MAX, STORE_FREE_POLL};
use crate::store::{OpenError, SledStore};

/// Opens the store. The lock of this home is ours, so whoever holds the database still is the daemon before, whose last thread
/// is about to end.
pub(super) async fn open_when_free(
    path: &Path,
    recover: bool,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<SledStore>, BuildError> {
    let end = Instant::now() + STORE_FREE_MAX;
    loop {
        match open_store(path, recover, clock) {
            Err(BuildError::Store(error)) if error.is_held() && Instant::now() < end => sleep(STORE_FREE_POLL).await,
            opened => return opened,
        }
    }
}

fn open_store(path: &Path, recover: bool, clock: &Arc<dyn Clock>) -> Result<Arc<SledStore>, BuildError> {
    match SledStore::open(path, Arc::clone(clock)) {
        Err(OpenError::Damaged { reason, .. }) if recover => {
            let aside = SledStore::put_aside(path, &**clock).map_err(BuildError::PutAside)?;
            tracing::warn!(reason, aside = ?aside, "the damaged state store was put aside; this one is empty");
            Ok(SledStore::open(path, Arc::clone(clock))?)
        }
        opened => Ok(opened?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::MachineClock;

    fn clock() -> Arc<dyn Clock> {
        Arc::new(MachineClock)
    }

    #[tokio::test]
    async fn a_store_that_the_daemon_before_still_holds_is_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let before = SledStore::open(home.path(), clock()).unwrap();
        let letting_go = async {
            sleep(STORE_FREE_POLL * 3).await;
            drop(before);
        };
        let clock = clock();
        let (opened, ()) = tokio::join!(open_when_free(home.path(), false, &clock), letting_go);
        assert!(opened.is_ok(), "{:?}", opened.err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_somebody_keeps_is_not_waited_for_longer_than_its_time() {
        let home = tempfile::tempdir().unwrap();
        let _kept = SledStore::open(home.path(), clock()).unwrap();
        let start = Instant::now();
        match open_when_free(home.path(), true, &clock()).await {
            Err(BuildError::Store(error)) => assert!(error.is_held(), "{error}"),
            other => panic!("{:?}", other.err()),
        }
        assert!(start.elapsed() >= STORE_FREE_MAX && start.elapsed() < STORE_FREE_MAX * 2);
    }
}
