//! Waits for a person. Their yes is to a digest, not to a tag: what is pushed under the same tag after it needs another one.

use fairlead_plugin::policy::{Decision, Facts, HoldReason, Verdict};
use fairlead_plugin::prelude::{Deserialize, Failure, JsonSchema, Manifest};
use fairlead_plugin::{UpdatePolicy, schemars};

/// Waits for a person.
#[derive(Debug)]
pub struct Approval;

/// Whose yes is enough.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who may say yes; empty: everybody who may approve updates.
    #[serde(default)]
    by: Vec<String>,
    /// How many of them have to.
    #[serde(default = "one")]
    count: usize,
}

fn one() -> usize {
    1
}

impl UpdatePolicy for Approval {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("update-approval", env!("CARGO_PKG_VERSION"), "waits for a person to say yes to a digest")
            .attribute("license", env!("CARGO_PKG_LICENSE"))
    }

    fn validate(config: &Config) -> Result<Vec<String>, String> {
        if config.count == 0 {
            return Err("count: nobody would have to say yes; leave the policy away instead".to_owned());
        }
        if !config.by.is_empty() && config.by.len() < config.count {
            return Err(format!("count: {} people cannot give {} approvals", config.by.len(), config.count));
        }
        Ok(Vec::new())
    }

    fn decide(facts: &Facts, config: &Config) -> Result<Verdict, Failure> {
        let Some(candidate) = facts.offered() else { return Ok(Decision::UpToDate.into()) };
        let mut by: Vec<&str> = facts
            .approvals
            .iter()
            .filter(|approval| approval.pin == candidate.pin && approval.expires > facts.now)
            .map(|approval| approval.by.as_str())
            .filter(|by| config.by.is_empty() || config.by.iter().any(|allowed| allowed == by))
            .collect();
        by.sort_unstable();
        by.dedup();
        if by.len() >= config.count {
            // They were shown what differs.
            return Ok(Verdict::update_whatever_breaks(candidate).because(format!("approved by {}", by.join(", "))));
        }
        let detail = format!("{} of {} approvals; `fairlead update approve` gives one", by.len(), config.count);
        Ok(Verdict::hold(HoldReason::AwaitingApproval, candidate, detail))
    }
}

fairlead_plugin::export_update_policy!(Approval);
