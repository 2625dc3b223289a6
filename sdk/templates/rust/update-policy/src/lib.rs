//! {{name}}: takes an update when it is old enough and nothing speaks against it.

use fairlead_plugin::UpdatePolicy;
use fairlead_plugin::policy::{
    Candidate, Decision, Facts, Hold, HoldReason, OnFailure, Plan, Signal, Strategy, Verdict,
};
use fairlead_plugin::prelude::{Deserialize, Failure, JsonSchema, Manifest, schemars};

const HOUR_MS: u64 = 60 * 60 * 1000;

/// The policy: a pure function. It has no clock and no state, the time is in the facts; so every decision can be replayed.
pub struct {{type}};

/// What an operator configures.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Hours since the host first saw a candidate before it is taken.
    #[schemars(range(max = 8760))]
    age_hours: u64,
}

impl UpdatePolicy for {{type}} {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new(
            "{{name}}",
            env!("CARGO_PKG_VERSION"),
            env!("CARGO_PKG_DESCRIPTION"),
        )
    }

    fn validate(config: &Config) -> Result<Vec<String>, String> {
        let warning = "`age_hours` is 0: every update is taken at once".to_owned();
        Ok((config.age_hours == 0)
            .then_some(warning)
            .into_iter()
            .collect())
    }

    fn decide(facts: &Facts, config: &Config) -> Result<Verdict, Failure> {
        let is_new = |candidate: &&Candidate| !facts.running.digests.contains(&candidate.pin);
        let decision = match facts.candidates.iter().find(is_new) {
            None => Decision::UpToDate,
            Some(candidate) => judge(
                candidate,
                facts.now,
                config.age_hours.saturating_mul(HOUR_MS),
            ),
        };
        Ok(Verdict {
            decision,
            trace: Vec::new(),
        })
    }
}

fn judge(candidate: &Candidate, now: u64, age_ms: u64) -> Decision {
    let hold = |reason, detail: &str, until| {
        Decision::Hold(Hold {
            reason,
            detail: detail.to_owned(),
            pin: Some(candidate.pin.clone()),
            until,
        })
    };
    let ripe = candidate.first_seen.saturating_add(age_ms);
    // What is not known is not good, but only what is known to be bad is held here.
    if candidate.signature == Signal::Bad {
        hold(HoldReason::Unverified, "its signature is bad", None)
    } else if now < ripe {
        hold(HoldReason::TooYoung, "it is not old enough", Some(ripe))
    } else {
        Decision::Update(Plan {
            pin: candidate.pin.clone(),
            strategy: Strategy::SurgeThenSwitch,
            on_failure: OnFailure::RollBack,
            min_ready_ms: 10_000,
            deadline_ms: 300_000,
            drain_ms: 30_000,
        })
    }
}

fairlead_plugin::export_update_policy!({{type}});
