//! Between whoever owns a workload and the task that minds it: orders one way, the end the other.
//!
//! An order is a point in time: asked to end now, made to end then. An earlier one replaces a later one, so that a second,
//! less patient `stop` is heard. The end stays readable, because many wait for it and some ask twice.

use std::time::Duration;

use fairlead_core::BoxFuture;
use fairlead_core::workload::Exit;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// The side of the owner.
#[derive(Debug)]
pub(crate) struct Owner {
    kill_at: watch::Sender<Option<Instant>>,
    ended: watch::Receiver<Option<Exit>>,
}

/// The side of the minding task.
#[derive(Debug)]
pub(crate) struct Charge {
    kill_at: watch::Receiver<Option<Instant>>,
    ended: watch::Sender<Option<Exit>>,
}

/// Both sides.
pub(crate) fn pair() -> (Owner, Charge) {
    let (give_orders, take_orders) = watch::channel(None);
    let (give_end, take_end) = watch::channel(None);
    (Owner { kill_at: give_orders, ended: take_end }, Charge { kill_at: take_orders, ended: give_end })
}

impl Owner {
    /// As `WorkloadHandle::wait`.
    pub(crate) fn wait(&self) -> BoxFuture<'_, Exit> {
        let mut ended = self.ended.clone();
        Box::pin(async move {
            match ended.wait_for(Option::is_some).await {
                Ok(exit) => exit.clone().unwrap_or_else(given_up),
                Err(_) => given_up(),
            }
        })
    }

    /// As `WorkloadHandle::stop`; `kill_wait` is how long a killed workload may take to vanish.
    pub(crate) fn stop(&self, grace: Duration, kill_wait: Duration) -> BoxFuture<'_, Exit> {
        let kill_at = Instant::now() + grace;
        self.kill_at.send_if_modified(|order| {
            let sooner = order.is_none_or(|order| kill_at < order);
            if sooner {
                *order = Some(kill_at);
            }
            sooner
        });
        Box::pin(async move {
            match timeout(grace + kill_wait, self.wait()).await {
                Ok(exit) => exit,
                Err(_) => Exit::Fault("was killed and is still there".to_owned()),
            }
        })
    }
}

impl Charge {
    /// The next order: when to kill. `None` when nobody is left to give one.
    pub(crate) async fn order(&mut self) -> Option<Instant> {
        self.kill_at.changed().await.ok()?;
        *self.kill_at.borrow_and_update()
    }

    /// Tells the end.
    pub(crate) fn ended(&self, exit: Exit) {
        self.ended.send_replace(Some(exit));
    }
}

/// The end of a workload whose task, or whose owner, went first: the daemon is going down, and it was killed.
pub(crate) fn given_up() -> Exit {
    Exit::Fault("was given up".to_owned())
}

/// Ready at a point in time; never, without one.
pub(crate) async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_earlier_order_replaces_a_later_one_and_not_the_other_way_round() {
        let (owner, mut charge) = pair();
        let now = Instant::now();
        let wait = Duration::ZERO;
        let patient = owner.stop(Duration::from_secs(9), wait);
        assert_eq!(charge.order().await, Some(now + Duration::from_secs(9)));
        let hasty = owner.stop(Duration::from_secs(1), wait);
        let slow = owner.stop(Duration::from_secs(5), wait);
        assert_eq!(charge.order().await, Some(now + Duration::from_secs(1)));
        charge.ended(Exit::Code(3));
        assert_eq!(tokio::join!(patient, hasty, slow), (Exit::Code(3), Exit::Code(3), Exit::Code(3)));
        assert_eq!(owner.wait().await, Exit::Code(3));
        drop(owner);
        assert_eq!(charge.order().await, None);
    }

    #[tokio::test]
    async fn an_owner_whose_task_is_gone_waits_for_nothing() {
        let (owner, charge) = pair();
        drop(charge);
        assert_eq!(owner.wait().await, given_up());
    }
}
