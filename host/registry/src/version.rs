//! Which of two versions is newer: by the rules of semantic versioning where both follow them, by the time of publication where
//! not. A total order on versions and times, so that there is one newest.

use std::cmp::Ordering;

use jiff::Timestamp;

/// Compares two versions with their times of publication.
#[must_use]
pub fn newer(one: (&str, Option<Timestamp>), other: (&str, Option<Timestamp>)) -> Ordering {
    let (a, b) = (Semantic::of(one.0), Semantic::of(other.0));
    let by_version = match (&a, &b) {
        (Some(a), Some(b)) => a.cmp(b),
        // What follows the rules is newer than what does not: it can be compared with its kind.
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => one.1.cmp(&other.1),
    };
    by_version.then_with(|| one.1.cmp(&other.1)).then_with(|| one.0.cmp(other.0))
}

/// `[v]1.2.3[-pre][+build]`; numbers that are missing are zero.
#[derive(Debug, PartialEq, Eq)]
struct Semantic<'a> {
    numbers: [u64; 3],
    pre: Vec<&'a str>,
}

impl<'a> Semantic<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(text, _)| text);
        let (core, pre) =
            text.split_once('-').map_or((text, Vec::new()), |(core, pre)| (core, pre.split('.').collect()));
        let mut numbers = [0; 3];
        let mut given = core.split('.');
        for number in &mut numbers {
            let Some(part) = given.next() else { break };
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            *number = part.parse().ok()?;
        }
        (given.next().is_none() && !pre.contains(&"")).then_some(Self { numbers, pre })
    }
}

impl Ord for Semantic<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let parts = self.pre.iter().zip(&other.pre).map(|(a, b)| identifier(a, b));
                let differs = parts.into_iter().find(|order| order.is_ne());
                differs.unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
            }
        })
    }
}

impl PartialOrd for Semantic<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn identifier(a: &str, b: &str) -> Ordering {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_ordered_as_the_specification_says() {
        let rising = [
            "nightly",
            "0.9",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-rc.2",
            "1.0.0-rc.10",
            "v1.0.0",
            "1.0.1",
            "1.10",
            "2",
        ];
        for pair in rising.windows(2) {
            assert_eq!(newer((pair[0], None), (pair[1], None)), Ordering::Less, "{pair:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(versions in proptest::collection::vec(("[v0-9.a-]{1,8}", proptest::option::of(0_i64..3)), 3)) {
            let of = |at: usize| (versions[at].0.as_str(), versions[at].1.map(|time| Timestamp::from_second(time).unwrap()));
            prop_assert_eq!(newer(of(0), of(1)), newer(of(1), of(0)).reverse());
            if newer(of(0), of(1)).is_le() && newer(of(1), of(2)).is_le() {
                prop_assert!(newer(of(0), of(2)).is_le());
            }
            prop_assert_eq!(newer(of(0), of(1)).is_eq(), of(0) == of(1));
        }
    }
}
