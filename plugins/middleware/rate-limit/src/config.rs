//! The configuration: how many, how fast, and for whom each.

use fairlead_plugin::prelude::*;

use crate::bucket::Bucket;

/// Longest period. State that outlives a day is a quota, which needs a ledger and not a bucket.
const PERIOD_US_MAX: u64 = 24 * 60 * 60 * 1_000_000;

/// A token bucket: `requests` per `per` on average, `burst` at once.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Requests that are served in each period, on average.
    #[schemars(range(min = 1))]
    pub requests: u32,
    /// The period: a number and `ms`, `s`, `m` or `h`, such as `1s` or `5m`; at most 24 hours.
    #[schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$"))]
    pub per: String,
    /// Requests that are served at once after a quiet time; absent: as many as `requests`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub burst: Option<u32>,
    /// What has a bucket of its own. Several together: each combination. Empty: one bucket for all.
    #[serde(default = "each_session")]
    pub by: Vec<By>,
    /// Methods that are counted, as patterns.
    #[serde(default = "tool_calls")]
    pub methods: Vec<String>,
    /// Only requests whose tool, prompt or resource matches this pattern.
    #[serde(default)]
    pub target: Option<String>,
}

/// What has a bucket of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// Each tool (prompt, resource).
    Tool,
    /// Each MCP session. Requests outside of a session share one.
    Session,
    /// Each identity. Requests without one share one.
    Identity,
    /// Each server.
    Server,
}

impl By {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Session => "session",
            Self::Identity => "identity",
            Self::Server => "server",
        }
    }
}

impl Config {
    pub(crate) fn bucket(&self) -> Result<Bucket, String> {
        if self.requests == 0 {
            return Err("/requests: 0 would refuse everything; a filter does that better".to_owned());
        }
        if self.burst == Some(0) {
            return Err("/burst: 0 would refuse everything".to_owned());
        }
        let period_us = period_us(&self.per)
            .ok_or_else(|| format!("/per: `{}` is no period between 1ms and 24h, such as `1s` or `5m`", self.per))?;
        let interval_us = (period_us / u64::from(self.requests)).max(1);
        Ok(Bucket { interval_us, burst: self.burst.unwrap_or(self.requests) })
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.methods.is_empty() {
            warnings.push("/methods is empty: nothing is counted".to_owned());
        }
        if period_us(&self.per).is_some_and(|period| period < u64::from(self.requests)) {
            warnings.push("/requests: more than one in a microsecond is the same as one".to_owned());
        }
        warnings
    }
}

fn period_us(text: &str) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let unit_us: u64 = match unit {
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        _ => return None,
    };
    let period = number.parse::<u64>().ok()?.checked_mul(unit_us)?;
    (1..=PERIOD_US_MAX).contains(&period).then_some(period)
}

fn each_session() -> Vec<By> {
    vec![By::Session]
}

fn tool_calls() -> Vec<String> {
    vec!["tools/call".to_owned()]
}
