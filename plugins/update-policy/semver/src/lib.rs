//! Follows a range of versions, as tags name them. The highest in the range is taken, never a lower one than runs.
//!
//! A tag that is no version (`latest`) is followed by digest only where that is asked for; pre-releases likewise.

mod range;

use std::cmp::Ordering;

use fairlead_plugin::policy::{Candidate, Decision, Facts, HoldReason, Semver as Version, Verdict};
use fairlead_plugin::prelude::{Deserialize, Failure, JsonSchema, Manifest};
use fairlead_plugin::{UpdatePolicy, schemars};

pub use crate::range::Range;

/// Follows a range.
#[derive(Debug)]
pub struct Semver;

/// Which versions are followed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `^1.4`, `~1.4.2`, `1.x`, `>=1.2 <2`, `*`; several ranges with `||`.
    range: String,
    /// Take pre-releases (`1.5.0-rc.1`) too.
    #[serde(default)]
    pre_releases: bool,
    /// When the running tag is no version: follow it by digest.
    #[serde(default)]
    follow_other_tags: bool,
}

impl UpdatePolicy for Semver {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("update-semver", env!("CARGO_PKG_VERSION"), "follows a range of versions")
            .attribute("license", env!("CARGO_PKG_LICENSE"))
    }

    fn validate(config: &Config) -> Result<Vec<String>, String> {
        Range::parse(&config.range).map(|_| Vec::new()).map_err(|error| format!("range: {error}"))
    }

    fn decide(facts: &Facts, config: &Config) -> Result<Verdict, Failure> {
        let range = Range::parse(&config.range).map_err(Failure::Config)?;
        let Some(running) = &facts.running.version else {
            return Ok(match facts.offered() {
                Some(candidate) if config.follow_other_tags => {
                    Verdict::update(candidate).because("the tag is no version and is followed by digest")
                }
                Some(candidate) => Verdict::hold(
                    HoldReason::OutOfRange,
                    candidate,
                    "what runs has no version; see `follow_other_tags`",
                ),
                None => Decision::UpToDate.into(),
            });
        };
        let eligible = |candidate: &&Candidate| {
            candidate.version.as_ref().is_some_and(|version| {
                (config.pre_releases || version.pre.is_empty())
                    && range.contains(version)
                    && compare(version, running) != Ordering::Less
            })
        };
        let best = facts.candidates.iter().filter(eligible).max_by(|a, b| by_version(a, b));
        Ok(match best {
            // The tag of a version was pushed again, or a higher one is there.
            Some(candidate) if !facts.runs(candidate) => {
                Verdict::update(candidate).because(format!("the highest version in {}", config.range))
            }
            Some(_) => Decision::UpToDate.into(),
            None => match facts.offered() {
                Some(candidate) => {
                    Verdict::hold(HoldReason::OutOfRange, candidate, format!("it is not in {}", config.range))
                }
                None => Decision::UpToDate.into(),
            },
        })
    }
}

fn by_version(a: &Candidate, b: &Candidate) -> Ordering {
    match (&a.version, &b.version) {
        (Some(x), Some(y)) => compare(x, y).then(a.first_seen.cmp(&b.first_seen)),
        (x, y) => x.is_some().cmp(&y.is_some()),
    }
}

/// Precedence of versions (Semantic Versioning 2.0, section 11); build metadata does not count.
#[must_use]
pub fn compare(a: &Version, b: &Version) -> Ordering {
    let numbers = (a.major, a.minor, a.patch).cmp(&(b.major, b.minor, b.patch));
    numbers.then_with(|| match (a.pre.is_empty(), b.pre.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => pre_release(&a.pre, &b.pre),
    })
}

fn pre_release(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let ordering = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(x), Some(y)) => match (x.parse::<u64>(), y.parse::<u64>()) {
                (Ok(x), Ok(y)) => x.cmp(&y),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => x.cmp(y),
            },
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
}

fairlead_plugin::export_update_policy!(Semver);
