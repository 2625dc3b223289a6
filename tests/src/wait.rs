//! Waiting for a state, by looking at it until a deadline. Never for a time.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::limits::POLL;

/// Looks until `look` gives something, at most for `deadline`.
///
/// # Errors
/// The deadline passed; the error says what was waited for and what `look` saw last.
pub async fn eventually<T, F>(what: &str, deadline: Duration, mut look: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<T>,
{
    let end = tokio::time::Instant::now() + deadline;
    loop {
        let seen = match look().await {
            Ok(found) => return Ok(found),
            Err(seen) => seen,
        };
        if tokio::time::Instant::now() >= end {
            bail!("{what}: not within {deadline:?}; last seen: {seen:#}");
        }
        tokio::time::sleep(POLL).await;
    }
}
