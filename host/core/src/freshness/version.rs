//! Versions in tags: read once here, so that no policy needs a reader of its own.

use super::facts::Version;

impl Version {
    /// The version that a tag names: `1.2.3`, `v1.2.3-rc.1`, `2026.11.21`. Tags with fewer numbers (`1`, `1.2`) name lines of
    /// versions, not one, and are none.
    #[must_use]
    pub fn of_tag(tag: &str) -> Option<Self> {
        let text = tag.strip_prefix('v').unwrap_or(tag);
        let (text, build) = text.split_once('+').unwrap_or((text, ""));
        let (numbers, pre) = text.split_once('-').unwrap_or((text, ""));
        let mut parts = numbers.split('.');
        let mut number = || {
            let part = parts.next()?;
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        };
        let (major, minor, patch) = (number()?, number()?, number()?);
        let whole = parts.next().is_none();
        whole.then(|| Self { major, minor, patch, pre: pre.to_owned(), build: build.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_version_is_one() {
        let read = |tag| Version::of_tag(tag).map(|v| (v.major, v.minor, v.patch, v.pre));
        assert_eq!(read("1.2.3"), Some((1, 2, 3, String::new())));
        assert_eq!(read("v1.2.3-rc.1"), Some((1, 2, 3, "rc.1".to_owned())));
        assert_eq!(read("20261121.0.0"), Some((20_261_121, 0, 0, String::new())));
        for tag in ["latest", "1", "1.2", "1.2.3.4", "", "v", "1.x.3", "1..3", "99999999999999999999.0.0"] {
            assert_eq!(read(tag), None, "{tag}");
        }
    }
}
