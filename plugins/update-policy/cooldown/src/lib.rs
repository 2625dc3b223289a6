//! Waits: a release that was poisoned is usually found within days.
//!
//! Of all candidates the newest that is old enough is taken, not the newest if it is old enough: a server whose image is
//! released every day would otherwise never be updated. Age is counted from when this host first saw the digest; what the
//! publisher says of it is a claim, and reproducible builds say 1970.

use fairlead_plugin::policy::{Candidate, Decision, Facts, HoldReason, Verdict};
use fairlead_plugin::prelude::{Deserialize, Failure, JsonSchema, Manifest};
use fairlead_plugin::{UpdatePolicy, schemars};

/// Waits for a minimum age.
#[derive(Debug)]
pub struct Cooldown;

/// How long it waits.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Hours since this host first saw the digest.
    hours: u32,
}

impl Config {
    fn old_enough_at(&self, candidate: &Candidate) -> u64 {
        candidate.first_seen.saturating_add(u64::from(self.hours).saturating_mul(3_600_000))
    }
}

impl UpdatePolicy for Cooldown {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("update-cooldown", env!("CARGO_PKG_VERSION"), "waits until a release has been out for a while")
            .attribute("license", env!("CARGO_PKG_LICENSE"))
    }

    fn decide(facts: &Facts, config: &Config) -> Result<Verdict, Failure> {
        let Some(newest) = facts.offered() else { return Ok(Decision::UpToDate.into()) };
        // Newer than what runs: seen after it. What was here before is no update.
        let running = facts.candidates.iter().filter(|known| facts.runs(known)).map(|known| known.first_seen).max();
        let old_enough = facts
            .candidates
            .iter()
            .filter(|known| !facts.runs(known) && running.is_none_or(|running| known.first_seen > running))
            .find(|known| config.old_enough_at(known) <= facts.now);
        Ok(match old_enough {
            Some(candidate) => {
                Verdict::update(candidate).because(format!("it was seen {} hours ago or more", config.hours))
            }
            None => {
                let detail = format!("it is to be out for {} hours", config.hours);
                Verdict::hold(HoldReason::TooYoung, newest, detail).until(config.old_enough_at(newest))
            }
        })
    }
}

fairlead_plugin::export_update_policy!(Cooldown);
