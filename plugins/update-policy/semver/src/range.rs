//! Ranges of versions, in the notation that package managers share: `^1.4`, `~1.4.2`, `1.x`, `>=1.2 <2`, `*`, `||`.
//!
//! Own code, because a library for it is larger than the whole plugin, and the notation is forty lines.

use fairlead_plugin::policy::Semver as Version;

use crate::compare;

/// Versions from `low` up to, and without, `high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    low: (u64, u64, u64),
    high: Option<(u64, u64, u64)>,
}

/// A range: any of these, each of which is all of those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range(Vec<Vec<Span>>);

impl Range {
    /// Reads a range.
    ///
    /// # Errors
    /// The text says which part is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let any = text.split("||").map(|all| {
            let parts = all.split([' ', ',']).filter(|part| !part.is_empty());
            let spans: Vec<Span> = parts.map(span).collect::<Result<_, _>>()?;
            if spans.is_empty() {
                Err(format!("`{text}` has an empty part; `*` means every version"))
            } else {
                Ok(spans)
            }
        });
        any.collect::<Result<_, _>>().map(Self)
    }

    /// Whether a version is in it. A pre-release belongs to the release before which it comes.
    #[must_use]
    pub fn contains(&self, version: &Version) -> bool {
        let holds = |span: &Span| {
            let (major, minor, patch) = span.low;
            let low = Version { major, minor, patch, pre: String::new(), build: String::new() };
            let reached = if version.pre.is_empty() {
                compare(version, &low).is_ge()
            } else {
                (version.major, version.minor, version.patch) >= span.low
            };
            reached && span.high.is_none_or(|high| (version.major, version.minor, version.patch) < high)
        };
        self.0.iter().any(|all| all.iter().all(holds))
    }
}

fn span(part: &str) -> Result<Span, String> {
    let operators = [">=", "<=", ">", "<", "=", "^", "~"];
    let (operator, rest) = operators
        .iter()
        .find_map(|operator| part.strip_prefix(operator).map(|rest| (*operator, rest)))
        .unwrap_or(("", part));
    let numbers = numbers(rest.trim_start_matches('v')).ok_or_else(|| format!("`{part}` is no range of versions"))?;
    let low = (numbers[0].unwrap_or(0), numbers[1].unwrap_or(0), numbers[2].unwrap_or(0));
    let next = above(numbers);
    let span = |low, high| Span { low, high };
    Ok(match operator {
        ">=" => span(low, None),
        "<" => span((0, 0, 0), Some(low)),
        // Above, or up to and with, everything that the written part stands for.
        ">" => match next {
            Some(next) => span(next, None),
            None => return Err(format!("`{part}`: nothing is above every version")),
        },
        "<=" => span((0, 0, 0), next),
        "^" => span(low, caret(numbers)),
        "~" => span(low, if numbers[1].is_some() { Some((low.0, low.1.saturating_add(1), 0)) } else { next }),
        _ => span(low, next),
    })
}

/// The first version above all that begin like this.
fn above(numbers: [Option<u64>; 3]) -> Option<(u64, u64, u64)> {
    match numbers {
        [Some(major), Some(minor), Some(patch)] => Some((major, minor, patch.saturating_add(1))),
        [Some(major), Some(minor), None] => Some((major, minor.saturating_add(1), 0)),
        [Some(major), None, _] => Some((major.saturating_add(1), 0, 0)),
        [None, ..] => None,
    }
}

/// The first version that may break what this one promised: the leftmost number that is not zero goes up.
fn caret(numbers: [Option<u64>; 3]) -> Option<(u64, u64, u64)> {
    match numbers {
        [Some(0), Some(0), Some(patch)] => Some((0, 0, patch.saturating_add(1))),
        [Some(0), Some(minor), _] => Some((0, minor.saturating_add(1), 0)),
        _ => above([numbers[0], None, None]),
    }
}

fn numbers(text: &str) -> Option<[Option<u64>; 3]> {
    let mut numbers = [None; 3];
    if text.is_empty() {
        return None;
    }
    let mut open = false;
    for (place, part) in text.split('.').enumerate() {
        let number = numbers.get_mut(place)?;
        if matches!(part, "*" | "x" | "X") {
            open = true;
        } else if open {
            return None;
        } else {
            *number = Some(part.parse().ok()?);
        }
    }
    Some(numbers)
}
