//! Which of many versions are offered to a policy.

use std::cmp::Ordering;

use fairlead_core::freshness::Version;

use crate::limits::VERSIONS_MAX;

/// By precedence, as far as it matters here: a release stands above its pre-releases, and those in the order of their names.
pub(crate) fn compare(a: &Version, b: &Version) -> Ordering {
    let number = |version: &Version| (version.major, version.minor, version.patch);
    let release = |version: &Version| version.pre.is_empty();
    number(a).cmp(&number(b)).then(release(a).cmp(&release(b))).then_with(|| pre_order(&a.pre, &b.pre))
}

/// `rc.10` stands above `rc.9`: parts that are numbers are compared as such (Semantic Versioning, 11.4).
fn pre_order(a: &str, b: &str) -> Ordering {
    let part = |text: &str| (text.parse::<u64>().map_or((1, 0), |number| (0, number)), text.to_owned());
    a.split('.').map(part).cmp(b.split('.').map(part))
}

/// The newest of those above `followed`, newest first, and the newest release of each line behind them: of each major version,
/// and of each minor one within the followed major version.
pub(crate) fn above<T>(followed: &Version, versions: impl Iterator<Item = (Version, T)>) -> Vec<T> {
    let mut above: Vec<(Version, T)> =
        versions.filter(|(version, _)| compare(version, followed) == Ordering::Greater).collect();
    above.sort_by(|(a, _), (b, _)| compare(b, a));
    let mut lines: Vec<(u64, Option<u64>)> = Vec::new();
    let mut chosen = Vec::new();
    for (at, (version, named)) in above.into_iter().enumerate() {
        let line = (version.major, (version.major == followed.major).then_some(version.minor));
        let leads = version.pre.is_empty() && lines.len() < VERSIONS_MAX && !lines.contains(&line);
        if leads {
            lines.push(line);
        }
        if at < VERSIONS_MAX || leads {
            chosen.push(named);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        Version::of_tag(text).unwrap()
    }

    #[test]
    fn a_line_that_is_followed_has_an_answer_beside_one_with_a_release_every_day() {
        let daily: Vec<String> = (0..40).map(|day| format!("3.0.{day}")).collect();
        let tags = daily.iter().map(String::as_str).chain(["1.4.0", "1.4.9", "1.5.0-rc.1", "2.0.0", "1.2.0", "1.0.0"]);
        let chosen = above(&version("1.2.0"), tags.map(|tag| (version(tag), tag)));
        assert_eq!(chosen.first(), Some(&"3.0.39"));
        assert!(chosen.contains(&"1.4.9") && chosen.contains(&"2.0.0"), "{chosen:?}");
        assert!(!chosen.contains(&"1.2.0") && !chosen.contains(&"1.0.0"), "nothing that is not above: {chosen:?}");
        assert!(chosen.len() <= 2 * VERSIONS_MAX, "{chosen:?}");
    }

    #[test]
    fn a_release_stands_above_its_pre_releases() {
        let order = ["1.0.0-alpha", "1.0.0-rc.9", "1.0.0-rc.10", "1.0.0", "1.0.1"];
        assert!(order.map(version).is_sorted_by(|a, b| compare(a, b) == Ordering::Less));
    }

    proptest! {
        #[test]
        fn what_is_offered_is_above_and_in_order(
            numbers in proptest::collection::vec((0_u64..4, 0_u64..4, 0_u64..20), 0..80),
        ) {
            let followed = version("1.1.5");
            let all = numbers.iter().map(|(a, b, c)| version(&format!("{a}.{b}.{c}")));
            let chosen = above(&followed, all.map(|version| (version.clone(), version)));
            prop_assert!(chosen.iter().all(|version| compare(version, &followed) == Ordering::Greater));
            prop_assert!(chosen.is_sorted_by(|a, b| compare(a, b) != Ordering::Less));
        }
    }
}
