//! Time zones, with the database built in.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Tool;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Now {
    /// IANA name of a time zone, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    zone: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Convert {
    /// A time without offset (`2026-03-29T02:30`, read in `from`) or with one (`2026-03-29T00:30Z`).
    time: String,
    /// Time zone in which `time` is meant.
    #[serde(default = "utc")]
    from: String,
    /// Time zone to show it in.
    to: String,
}

#[derive(Serialize, JsonSchema)]
struct Moment {
    /// RFC 9557, such as `2026-03-29T03:30:00+02:00[Europe/Berlin]`.
    time: String,
    /// Milliseconds since 1970-01-01 UTC.
    unix_ms: i64,
    /// Day of the week, in English.
    weekday: String,
    /// Whether daylight saving time is in effect.
    daylight_saving: bool,
}

impl From<Zoned> for Moment {
    fn from(zoned: Zoned) -> Self {
        Self {
            unix_ms: zoned.timestamp().as_millisecond(),
            weekday: format!("{:?}", zoned.weekday()),
            daylight_saving: zoned.time_zone().to_offset_info(zoned.timestamp()).dst().is_dst(),
            time: zoned.to_string(),
        }
    }
}

fn utc() -> String {
    "UTC".to_owned()
}

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| format!("no time zone `{name}`: use an IANA name such as `Europe/Berlin`"))
}

fn convert(input: &Convert) -> Result<Moment, String> {
    let (from, to) = (zone(&input.from)?, zone(&input.to)?);
    if let Ok(instant) = input.time.parse::<Timestamp>() {
        return Ok(instant.to_zoned(to).into());
    }
    let civil: DateTime = input.time.parse().map_err(|error| format!("time `{}`: {error}", input.time))?;
    let zoned = civil.to_zoned(from).map_err(|error| format!("time `{}`: {error}", input.time))?;
    Ok(zoned.with_time_zone(to).into())
}

pub(super) fn tools() -> Vec<Tool> {
    vec![
        Tool::new("time_now", "Time now", "The current time in a time zone.", |input: Now, _| {
            Ok(Moment::from(Timestamp::now().to_zoned(zone(&input.zone)?)))
        }),
        Tool::new(
            "time_convert",
            "Convert a time",
            "Shows a time of one time zone in another.",
            |input: Convert, _| convert(&input),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(time: &str, from: &str, to: &str) -> Result<Moment, String> {
        convert(&Convert { time: time.into(), from: from.into(), to: to.into() })
    }

    #[test]
    fn a_time_keeps_its_instant_in_another_zone() {
        let moment = converted("2026-07-01T12:00", "Europe/Berlin", "America/New_York").unwrap();
        assert_eq!(moment.time, "2026-07-01T06:00:00-04:00[America/New_York]");
        assert!(moment.daylight_saving);
        assert_eq!(moment.weekday, "Wednesday");
    }

    #[test]
    fn an_offset_in_the_time_wins_over_the_zone() {
        let moment = converted("2026-01-01T00:00Z", "Asia/Tokyo", "UTC").unwrap();
        assert_eq!(moment.time, "2026-01-01T00:00:00+00:00[UTC]");
    }

    #[test]
    fn what_is_no_time_or_zone_is_named() {
        assert!(converted("soon", "UTC", "UTC").unwrap_err_text().contains("soon"));
        assert!(converted("2026-01-01T00:00", "UTC", "Mars").unwrap_err_text().contains("Mars"));
    }

    trait ErrorText {
        fn unwrap_err_text(self) -> String;
    }

    impl ErrorText for Result<Moment, String> {
        fn unwrap_err_text(self) -> String {
            self.err().unwrap()
        }
    }
}
