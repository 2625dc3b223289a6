//! Deadlines that cost nothing when they are not needed.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// Runs `work` for at most `time`. Like tokio's `timeout`, but most of what is done under a deadline here is done when it is
/// looked at for the first time, and then no timer is made.
pub(crate) async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut work = pin!(work);
    match std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => timeout(time, work).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_done_in_time_is_given_up() {
        assert_eq!(within(Duration::ZERO, async { 1 }).await, Ok(1));
        let second = Duration::from_secs(1);
        assert!(within(second, std::future::pending::<()>()).await.is_err());
        assert!(within(second, tokio::time::sleep(second / 2)).await.is_ok());
    }
}
