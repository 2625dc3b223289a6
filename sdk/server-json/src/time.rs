//! Times of registries (RFC 3339), as milliseconds since the Unix epoch: what a source needs of a calendar, and nothing more.

/// Reads `2026-01-02T03:04:05[.678](Z|±hh:mm)`; `None` for anything else, and for times before 1970.
#[must_use]
pub fn millis(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0_i64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    };
    let is = |at: usize, any: &[u8]| bytes.get(at).is_some_and(|byte| any.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut fraction = 0;
    if is(at, b".") {
        let digits = bytes.get(at + 1..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        for place in 0..3 {
            let digit = if place < digits { number(at + 1 + place, at + 2 + place)? } else { 0 };
            fraction = fraction * 10 + digit;
        }
        at += 1 + digits;
    }
    let offset = match bytes.get(at..)? {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let minutes = number(at + 1, at + 3)? * 60 + number(at + 4, at + 6)?;
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute - offset) * 60 + second;
    u64::try_from(seconds * 1_000 + fraction).ok()
}

/// Writes milliseconds since the Unix epoch as `2026-01-02T03:04:05.678Z`.
#[must_use]
pub fn rfc3339(millis: u64) -> String {
    let (seconds, fraction) = (millis / 1_000, millis % 1_000);
    let (minutes, second) = (seconds / 60, seconds % 60);
    let (hours, minute) = (minutes / 60, minutes % 60);
    let (since, hour) = (hours / 24, hours % 24);
    // Howard Hinnant's days to civil: eras of 400 years that begin in March.
    let shifted = since + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let turned = (5 * of_year + 2) / 153;
    let day = of_year - (153 * turned + 2) / 5 + 1;
    let month = if turned < 10 { turned + 3 } else { turned - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let turned = (month + 9) % 12;
    let of_year = (153 * turned + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_in_every_spelling_of_the_standard() {
        for (text, at) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-01-01T12:00:00Z", Some(1_767_268_800_000)),
            ("2026-01-01T12:00:00.5Z", Some(1_767_268_800_500)),
            ("2026-01-01T13:30:00.123456789+01:30", Some(1_767_268_800_123)),
            ("2024-02-29T00:00:00-00:00", Some(1_709_164_800_000)),
            ("2023-02-29T00:00:00Z", None),
            ("2026-01-01", None),
            ("2026-13-01T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("2026-01-01T12:00:00", None),
            ("2026-01-01T12:00:00.Z", None),
            ("2026-01-01T12:00:00Zx", None),
            ("", None),
        ] {
            assert_eq!(millis(text), at, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(at in 0_u64..250_000_000_000_000) {
            prop_assert_eq!(millis(&rfc3339(at)), Some(at));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,32}") {
            let _ = millis(&text);
        }
    }
}
