//! Lets one server of a group go first; the others follow after it has been well for a while.
//!
//! The first goes at once, so this policy is usually asked together with one that waits or wants a person.

use fairlead_plugin::policy::{Candidate, Decision, Facts, HoldReason, Peer, Signal, Verdict};
use fairlead_plugin::prelude::{Deserialize, Failure, JsonSchema, Manifest};
use fairlead_plugin::{UpdatePolicy, schemars};

/// Lets one go first.
#[derive(Debug)]
pub struct Canary;

/// Who goes first, and how long the others wait.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Names of the servers that go first.
    first: Vec<String>,
    /// Minutes for which every one of them must have been well with the new digest.
    minutes: u32,
}

fn runs(peer: &Peer, candidate: &Candidate) -> bool {
    !peer.digests.is_empty()
        && peer.digests.iter().all(|digest| *digest == candidate.pin || candidate.digests.contains(digest))
}

impl UpdatePolicy for Canary {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("update-canary", env!("CARGO_PKG_VERSION"), "lets one server of a group go first")
            .attribute("license", env!("CARGO_PKG_LICENSE"))
    }

    fn validate(config: &Config) -> Result<Vec<String>, String> {
        if config.first.is_empty() {
            return Err("first: name the server that goes first".to_owned());
        }
        Ok(Vec::new())
    }

    fn decide(facts: &Facts, config: &Config) -> Result<Verdict, Failure> {
        let Some(candidate) = facts.offered() else { return Ok(Decision::UpToDate.into()) };
        if config.first.contains(&facts.workload.server) {
            return Ok(Verdict::update(candidate).because("this server goes first"));
        }
        let wait = u64::from(config.minutes).saturating_mul(60_000);
        let mut until = 0;
        for name in &config.first {
            let Some(first) = facts.peers.iter().find(|peer| peer.server == *name) else {
                let detail = format!("`{name}` goes first, and is not in this group");
                return Ok(Verdict::hold(HoldReason::CoolingDown, candidate, detail));
            };
            if !runs(first, candidate) {
                let detail = format!("`{name}` goes first");
                return Ok(Verdict::hold(HoldReason::CoolingDown, candidate, detail));
            }
            if first.health != Signal::Good {
                let detail = format!("`{name}` went first and is not well");
                return Ok(Verdict::hold(HoldReason::CoolingDown, candidate, detail));
            }
            until = until.max(first.since.unwrap_or(facts.now).saturating_add(wait));
        }
        if until > facts.now {
            let detail = format!("those who went first are to be well for {} minutes", config.minutes);
            return Ok(Verdict::hold(HoldReason::CoolingDown, candidate, detail).until(until));
        }
        Ok(Verdict::update(candidate).because(format!("{} went first and is well", config.first.join(", "))))
    }
}

fairlead_plugin::export_update_policy!(Canary);
