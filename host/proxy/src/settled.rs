//! A future that is polled again at once when it has woken itself.
//!
//! The halves of an HTTP connection speak to each other through channels, and each word wakes the task in which it is said.
//! To the scheduler that is a task with more to do: it is queued again, and another thread is woken to help with the queue,
//! which costs more than the word. Here such a wake is a note, and the task goes on by itself until nothing is left to say.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use tokio::task::coop::has_budget_remaining;

use crate::limits::POLLS_IN_A_ROW_MAX;

/// Nobody polls, and nobody has called.
const RESTING: u8 = 0;
/// A poll is under way.
const POLLING: u8 = 1;
/// Somebody has called since the last poll began: it is repeated, or the task was woken.
const CALLED: u8 = 2;

/// Stands for the task while it polls itself.
///
/// Each change of the state is a read as well, in both directions: whoever calls into a poll that is about to be repeated is
/// not heard by name, so that poll must see what was done before the call. A plain store would let it look too early.
#[derive(Default)]
struct Echo {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Wake for Echo {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(CALLED, Ordering::AcqRel) == RESTING {
            self.task.wake();
        }
    }
}

/// Runs `future` in the task that polls this.
pub(crate) async fn settled<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let echo = Arc::new(Echo::default());
    let waker = Waker::from(Arc::clone(&echo));
    std::future::poll_fn(move |context| {
        echo.task.register(context.waker());
        let mut inner = Context::from_waker(&waker);
        for _ in 0..POLLS_IN_A_ROW_MAX {
            echo.state.swap(POLLING, Ordering::AcqRel);
            if let Poll::Ready(output) = future.as_mut().poll(&mut inner) {
                return Poll::Ready(output);
            }
            if echo.state.compare_exchange(POLLING, RESTING, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Poll::Pending;
            }
            if !has_budget_remaining() {
                break;
            }
        }
        // It would go on for ever, or others are due: to the end of the queue.
        echo.state.swap(RESTING, Ordering::AcqRel);
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A future that wakes itself so many times before it is done.
    fn restless(mut times: usize) -> impl Future<Output = ()> {
        std::future::poll_fn(move |context| {
            if times == 0 {
                return Poll::Ready(());
            }
            times -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[test]
    fn what_a_future_says_to_itself_does_not_reach_the_scheduler() {
        let calls = Arc::new(Calls::default());
        let waker = Waker::from(Arc::clone(&calls));
        let done = pin!(settled(restless(POLLS_IN_A_ROW_MAX - 1))).poll(&mut Context::from_waker(&waker));
        assert!(done.is_ready());
        assert_eq!(calls.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_future_that_never_rests_lets_others_have_their_turn() {
        let calls = Arc::new(Calls::default());
        let waker = Waker::from(Arc::clone(&calls));
        let mut future = pin!(settled(restless(usize::MAX)));
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(calls.0.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_call_from_elsewhere_is_heard() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let (answer, ()) = tokio::join!(settled(receiver), async {
            tokio::task::yield_now().await;
            sender.send(7).unwrap();
        });
        assert_eq!(answer, Ok(7));
    }
}
