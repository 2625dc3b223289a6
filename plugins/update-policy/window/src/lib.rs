//! Updates in maintenance windows only, in the time zones that people live in.
//!
//! A window says when an update may *begin*; one that has begun may end after it. The host tells the offset of each time zone
//! that the configuration names under `time-zones`, so the plugin needs no database of them.

use fairlead_plugin::policy::{Decision, Facts, HoldReason, Verdict};
use fairlead_plugin::prelude::{Deserialize, Failure, JsonSchema, Manifest};
use fairlead_plugin::{UpdatePolicy, schemars};

const MINUTE_MS: u64 = 60_000;
const DAY_MINUTES: i64 = 24 * 60;
const WEEK_MINUTES: i64 = 7 * DAY_MINUTES;

/// Updates in windows.
#[derive(Debug)]
pub struct Window;

/// When updates may begin.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The windows; any of them will do.
    windows: Vec<Span>,
    /// The time zone of the windows, as IANA names it; UTC when there is none.
    #[serde(default)]
    time_zones: Vec<String>,
}

/// One window of a week.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// On these days; empty: every day.
    #[serde(default)]
    days: Vec<Day>,
    /// From this time of day (`22:00`).
    from: String,
    /// Until this time of day; one that is not later than `from` is on the next day.
    to: String,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

const DAYS: [Day; 7] = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];

impl Config {
    /// Windows of a week as minutes since Monday midnight: begin and length.
    fn spans(&self) -> Result<Vec<(i64, i64)>, String> {
        let mut spans = Vec::new();
        for (place, window) in self.windows.iter().enumerate() {
            let at = |field, text: &str| {
                minutes(text).ok_or_else(|| format!("windows/{place}/{field}: `{text}` is no time of day like `22:00`"))
            };
            let (from, to) = (at("from", &window.from)?, at("to", &window.to)?);
            let length = if to > from { to - from } else { to - from + DAY_MINUTES };
            for (number, day) in DAYS.iter().enumerate() {
                if window.days.is_empty() || window.days.contains(day) {
                    spans.push((i64::try_from(number).unwrap_or(0) * DAY_MINUTES + from, length));
                }
            }
        }
        Ok(spans)
    }
}

fn minutes(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str, below: i64| {
        let number: i64 = text.parse().ok()?;
        (text.len() == 2 && (0..below).contains(&number)).then_some(number)
    };
    // 24:00 is the end of a day.
    if text == "24:00" { Some(DAY_MINUTES) } else { Some(two(hours, 24)? * 60 + two(minutes, 60)?) }
}

/// Minutes until a window is open: 0 when one is.
#[must_use]
pub fn wait(spans: &[(i64, i64)], minute_of_week: i64) -> Option<i64> {
    let until = |(begin, length): &(i64, i64)| {
        let since = (minute_of_week - begin).rem_euclid(WEEK_MINUTES);
        if since < *length { 0 } else { WEEK_MINUTES - since }
    };
    spans.iter().map(until).min()
}

impl UpdatePolicy for Window {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("update-window", env!("CARGO_PKG_VERSION"), "updates in maintenance windows only")
            .attribute("license", env!("CARGO_PKG_LICENSE"))
    }

    fn validate(config: &Config) -> Result<Vec<String>, String> {
        if config.windows.is_empty() {
            return Err("windows: without a window there is never an update".to_owned());
        }
        if config.time_zones.len() > 1 {
            return Err("time-zones: all windows are in one time zone".to_owned());
        }
        config.spans().map(|_| Vec::new())
    }

    fn decide(facts: &Facts, config: &Config) -> Result<Verdict, Failure> {
        let Some(candidate) = facts.offered() else { return Ok(Decision::UpToDate.into()) };
        let spans = config.spans().map_err(Failure::Config)?;
        let offset = match config.time_zones.first() {
            None => 0,
            Some(zone) => {
                let known = facts.zone_offsets.iter().find(|(name, _)| name == zone);
                let unknown = || Failure::Config(format!("time-zones: the host does not know `{zone}`"));
                i64::from(known.ok_or_else(unknown)?.1)
            }
        };
        let now = i64::try_from(facts.now / MINUTE_MS).unwrap_or(i64::MAX / 2) + offset;
        // The first of January 1970 was a Thursday.
        let minute_of_week = (now + 3 * DAY_MINUTES).rem_euclid(WEEK_MINUTES);
        Ok(match wait(&spans, minute_of_week) {
            Some(0) => Verdict::update(candidate).because("a window is open"),
            wait => {
                let minutes = u64::try_from(wait.unwrap_or(WEEK_MINUTES)).unwrap_or(0);
                let opens = (facts.now / MINUTE_MS).saturating_add(minutes).saturating_mul(MINUTE_MS);
                Verdict::hold(HoldReason::OutsideWindow, candidate, "no window is open").until(opens)
            }
        })
    }
}

fairlead_plugin::export_update_policy!(Window);
