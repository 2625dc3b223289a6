//! Follows a tag: what it names now is taken at once.

use fairlead_plugin::policy::{Decision, Facts, Verdict};
use fairlead_plugin::prelude::{Deserialize, Failure, JsonSchema, Manifest};
use fairlead_plugin::{UpdatePolicy, schemars};

/// Follows a tag.
#[derive(Debug)]
pub struct Digest;

/// What it takes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Take it even if a tool is gone or asks for other arguments.
    #[serde(default)]
    breaking: bool,
}

impl UpdatePolicy for Digest {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("update-digest", env!("CARGO_PKG_VERSION"), "takes what the followed tag names")
            .attribute("license", env!("CARGO_PKG_LICENSE"))
    }

    fn decide(facts: &Facts, config: &Config) -> Result<Verdict, Failure> {
        Ok(match facts.offered() {
            None => Decision::UpToDate.into(),
            Some(candidate) if config.breaking => {
                Verdict::update_whatever_breaks(candidate).because("the tag names another digest")
            }
            Some(candidate) => Verdict::update(candidate).because("the tag names another digest"),
        })
    }
}

fairlead_plugin::export_update_policy!(Digest);
