//! How often something may be called.
//!
//! A token bucket in eight bytes (GCRA: the time at which the bucket would be full again), kept in `kv` so that all
//! instances of the attachment share it, and changed by compare-and-set so that no two calls take the same token. A store
//! that cannot be used is a failure: what then happens is the operator's choice (`failureMode`), not this plugin's.

mod bucket;
mod config;
mod key;

use fairlead_plugin::prelude::*;

pub use crate::bucket::{Answer, Bucket};
pub use crate::config::{By, Config};

/// The code of a refusal.
const RATE_LIMITED: i32 = 4290;

/// Somebody else was first so often that something is wrong with the store. Each round that is lost means that another
/// call was served, so with a concurrency of 64 a call needs at most 64.
const ROUNDS_MAX: u32 = 64;

/// The rate limiter.
#[derive(Debug)]
pub struct RateLimit {
    config: Config,
    bucket: Bucket,
}

impl Middleware for RateLimit {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("rate-limit", env!("CARGO_PKG_VERSION"), "limits how often a tool, session or identity is served")
            .interest(Interest::on("*").request())
            .capability("kv", "keeps the buckets, so that all instances share them")
            .attribute("license", env!("CARGO_PKG_LICENSE"))
    }

    fn validate(config: Config) -> Result<Vec<String>, String> {
        config.bucket()?;
        Ok(config.warnings())
    }

    fn new(config: Config) -> Result<Self, Failure> {
        let bucket = config.bucket().map_err(Failure::Config)?;
        Ok(Self { config, bucket })
    }

    fn interests(&self) -> Vec<Interest> {
        let on = |method: &String| {
            let interest = Interest::on(method.as_str()).request();
            match &self.config.target {
                Some(pattern) => interest.target(pattern.as_str()),
                None => interest,
            }
        };
        self.config.methods.iter().map(on).collect()
    }

    fn on_request(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        let key = key::of(&self.config.by, message);
        for _ in 0..ROUNDS_MAX {
            let entry = kv::get(&key)?;
            let (value, version) = match &entry {
                Some(entry) => (Some(entry.value.as_slice()), Some(entry.version)),
                None => (None, None),
            };
            let now_us = clock::now_ms().saturating_mul(1_000);
            match self.bucket.take(bucket::read(value)?, now_us) {
                Answer::Wait { retry_after_us } => return Ok(self.refuse(retry_after_us)),
                Answer::Taken { full_at_us } => {
                    let value = full_at_us.to_le_bytes();
                    let ttl_ms = full_at_us.saturating_sub(now_us).div_ceil(1_000).max(1);
                    if kv::compare_and_set(&key, version, &value, Some(ttl_ms))?.is_some() {
                        return Ok(Verdict::next());
                    }
                }
            }
        }
        Err(Failure::unavailable(format!("a bucket could not be changed in {ROUNDS_MAX} rounds")))
    }
}

impl RateLimit {
    fn refuse(&self, retry_after_us: u64) -> Verdict {
        let milliseconds = retry_after_us.div_ceil(1_000).max(1);
        let Config { requests, per, by, .. } = &self.config;
        let what = by.iter().map(|by| by.word()).collect::<Vec<_>>().join(" and ");
        let scope = if what.is_empty() { String::new() } else { format!(" for each {what}") };
        metrics::add("rejected", 1, &[]);
        Rejection::new(
            RATE_LIMITED,
            format!("rate limit of {requests} per {per}{scope} reached; try again in {milliseconds} ms"),
        )
        .data(json!({ "requests": requests, "per": per, "by": by.iter().map(|by| by.word()).collect::<Vec<_>>() }))
        .retry_after_ms(milliseconds)
        .into()
    }
}

fairlead_plugin::export_middleware!(RateLimit);
