//! Python: the simple API, as JSON (PEP 691, PEP 700) where an index has it, and as a page of links (PEP 503) where it has not.
//!
//! Versions are not semantic ones; which of two is newer, and which one pip installs by itself, is said by PEP 440.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use fairlead_core::freshness::Version;
use fairlead_core::oci::RegistryError;
use fairlead_core::package::PackageReference;
use jiff::Timestamp;
use serde::Deserialize;

use super::{Offer, Offered, PackageDetector, PackageIndex, not_there};

const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";

/// What is read of the JSON form.
#[derive(Deserialize)]
struct Document {
    files: Vec<File>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    filename: String,
    /// `false`, `true` or why.
    #[serde(default)]
    yanked: serde_json::Value,
    #[serde(default)]
    upload_time: Option<String>,
}

pub(super) async fn offer(
    detector: &PackageDetector,
    index: &PackageIndex,
    package: &PackageReference,
) -> Result<Offer, RegistryError> {
    let path = format!("/{}/", normalised(package.name()));
    let (kind, body) = detector.get(index, &path, ACCEPT).await?.ok_or_else(|| not_there(package))?;
    let files = if kind.is_some_and(|kind| kind.contains("json")) {
        serde_json::from_slice::<Document>(&body).ok().map(|document| document.files)
    } else {
        Some(links(&String::from_utf8_lossy(&body)))
    };
    let files = files.ok_or_else(|| RegistryError::Protocol {
        registry: index.name().to_owned(),
        reason: format!("what it says of `{package}` is not what an index of Python says"),
    })?;
    Ok(of_files(&files))
}

/// The name under which an index has a package (PEP 503).
fn normalised(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if matches!(c, '-' | '_' | '.') {
            if !text.ends_with('-') {
                text.push('-');
            }
        } else {
            text.push(c.to_ascii_lowercase());
        }
    }
    text
}

/// Versions of which there is a file that was not withdrawn; the newest release, or where there is none the newest at all.
fn of_files(files: &[File]) -> Offer {
    let mut found: BTreeMap<&str, Option<Timestamp>> = BTreeMap::new();
    for file in
        files.iter().filter(|file| matches!(file.yanked, serde_json::Value::Null | serde_json::Value::Bool(false)))
    {
        let Some(version) = version_of(&file.filename) else { continue };
        let uploaded = file.upload_time.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
        let first = found.entry(version).or_insert(uploaded);
        *first = [*first, uploaded].into_iter().flatten().min();
    }
    let parsed = || found.keys().filter_map(|version| Some((PythonVersion::parse(version)?, *version)));
    let newest = parsed().filter(|(version, _)| version.is_release()).max().or_else(|| parsed().max());
    let newest = newest.map(|(_, version)| version.to_owned());
    let versions = found.iter().map(|(version, published)| Offered {
        version: (*version).to_owned(),
        number: PythonVersion::parse(version).and_then(|version| version.number()),
        published: *published,
    });
    Offer { newest, versions: versions.collect() }
}

/// The version in the name of a file: `name-1.2.3-py3-none-any.whl`, `some-name-1.2.3.tar.gz`.
fn version_of(file: &str) -> Option<&str> {
    if let Some(wheel) = file.strip_suffix(".whl") {
        return wheel.split('-').nth(1);
    }
    let stem = [".tar.gz", ".zip", ".tar.bz2"].iter().find_map(|ending| file.strip_suffix(ending))?;
    stem.rsplit_once('-').map(|(_, version)| version)
}

/// The links of a page: their text is the name of a file.
fn links(page: &str) -> Vec<File> {
    let mut files = Vec::new();
    for link in page.split("<a ").skip(1) {
        let Some((attributes, rest)) = link.split_once('>') else { continue };
        let Some((text, _)) = rest.split_once("</a") else { continue };
        let yanked = serde_json::Value::Bool(attributes.contains("data-yanked"));
        files.push(File { filename: text.trim().to_owned(), yanked, upload_time: None });
    }
    files
}

/// A version by PEP 440.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PythonVersion {
    epoch: u64,
    /// Without zeros at the end: `1.0` is `1`.
    release: Vec<u64>,
    /// `a`, `b` or `rc`, and its number.
    pre: Option<(char, u64)>,
    post: Option<u64>,
    dev: Option<u64>,
    local: String,
}

impl PythonVersion {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let text = text.strip_prefix('v').unwrap_or(&text);
        let (text, local) = text.split_once('+').unwrap_or((text, ""));
        let (epoch, text) = text.split_once('!').unwrap_or(("0", text));
        let mut rest = Reader(text);
        let mut release = vec![rest.number()?];
        while let Some(more) = rest.after_dot() {
            release.push(more);
        }
        while release.len() > 1 && release.last() == Some(&0) {
            release.pop();
        }
        let pre = ["alpha", "beta", "preview", "pre", "rc", "a", "b", "c"].into_iter().find_map(|word| {
            let number = rest.word(word)?;
            let letter = match word {
                "alpha" | "a" => 'a',
                "beta" | "b" => 'b',
                _ => 'r',
            };
            Some((letter, number))
        });
        let post = ["post", "rev", "r"].into_iter().find_map(|word| rest.word(word)).or_else(|| rest.after_dash());
        let dev = rest.word("dev");
        let epoch = epoch.parse().ok()?;
        rest.0.is_empty().then(|| Self { epoch, release, pre, post, dev, local: local.to_owned() })
    }

    /// Neither a pre-release nor one of a developer.
    fn is_release(&self) -> bool {
        self.pre.is_none() && self.dev.is_none()
    }

    /// As policies compare versions; none: it has more parts than they know.
    pub(super) fn number(&self) -> Option<Version> {
        if self.epoch != 0 || self.release.len() > 3 {
            return None;
        }
        let part = |at: usize| self.release.get(at).copied().unwrap_or_default();
        let word = |letter| match letter {
            'a' => "alpha",
            'b' => "beta",
            _ => "rc",
        };
        let pre = self.pre.map(|(letter, number)| format!("{}.{number}", word(letter)));
        let pre = pre.or_else(|| self.dev.map(|number| format!("a.dev.{number}"))).unwrap_or_default();
        let build = self.post.map(|number| format!("post.{number}")).unwrap_or_default();
        Some(Version { major: part(0), minor: part(1), patch: part(2), pre, build })
    }

    /// What is compared: a developer's version stands below the pre-releases, a release above them, what was corrected
    /// afterwards above the release.
    fn order(&self) -> impl Ord + '_ {
        let pre = match (self.pre, self.post, self.dev) {
            (Some((letter, number)), _, _) => (1, letter, number),
            (None, None, Some(_)) => (0, ' ', 0),
            (None, _, _) => (2, ' ', 0),
        };
        let post = self.post.map_or((0, 0), |number| (1, number));
        let dev = self.dev.map_or((1, 0), |number| (0, number));
        (self.epoch, &self.release, pre, post, dev, &self.local)
    }
}

impl Ord for PythonVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for PythonVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What is left to read of a version.
struct Reader<'a>(&'a str);

impl Reader<'_> {
    fn number(&mut self) -> Option<u64> {
        let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.0.split_at_checked(digits)?;
        let number = number.parse().ok()?;
        self.0 = rest;
        Some(number)
    }

    fn after_dot(&mut self) -> Option<u64> {
        let mut ahead = Reader(self.0.strip_prefix('.')?);
        let number = ahead.number()?;
        self.0 = ahead.0;
        Some(number)
    }

    /// `1.0-1`, which is `1.0.post1`.
    fn after_dash(&mut self) -> Option<u64> {
        let mut ahead = Reader(self.0.strip_prefix('-')?);
        let number = ahead.number()?;
        self.0 = ahead.0;
        Some(number)
    }

    /// A word with its number, which is zero when there is none; each may stand behind a separator.
    fn word(&mut self, word: &str) -> Option<u64> {
        let bare = |text: &'_ str| -> usize { usize::from(text.starts_with(['.', '-', '_'])) };
        let start = self.0.get(bare(self.0)..)?;
        let after = start.strip_prefix(word)?;
        let mut ahead = Reader(after.get(bare(after)..)?);
        match ahead.number() {
            Some(number) => {
                self.0 = ahead.0;
                Some(number)
            }
            None => {
                self.0 = after;
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> PythonVersion {
        PythonVersion::parse(text).unwrap_or_else(|| panic!("{text} is none"))
    }

    #[test]
    fn versions_are_in_the_order_of_pep_440() {
        let order = [
            "1.0.dev456",
            "1.0a1",
            "1.0a2.dev456",
            "1.0a12.dev456",
            "1.0a12",
            "1.0b1.dev456",
            "1.0b2",
            "1.0b2.post345.dev456",
            "1.0b2.post345",
            "1.0rc1.dev456",
            "1.0rc1",
            "1.0",
            "1.0+abc.5",
            "1.0.post456.dev34",
            "1.0.post456",
            "1.0.15",
            "1.1.dev1",
            "2026.10.19",
            "1!0.1",
        ];
        assert!(order.map(version).is_sorted_by(|a, b| a < b));
        for (one, other) in
            [("1.0", "1"), ("1.0-rc.1", "1.0rc1"), ("v1.0.0", "1"), ("1.0-1", "1.0.post1"), ("1.0c1", "1.0rc1")]
        {
            assert_eq!(version(one), version(other), "{one}");
        }
        for none in ["", "latest", "1.x", "1..2", "1.0rc1x", "a1"] {
            assert_eq!(PythonVersion::parse(none), None, "{none}");
        }
    }

    #[test]
    fn what_pip_would_install_is_the_newest_release_that_was_not_withdrawn() {
        let document = r#"{"meta": {"api-version": "1.1"}, "name": "a-b", "files": [
            {"filename": "a_b-1.9.0-py3-none-any.whl", "yanked": false, "upload-time": "2026-01-02T00:00:00.000000Z"},
            {"filename": "a-b-1.10.0.tar.gz", "upload-time": "2026-02-02T00:00:00Z"},
            {"filename": "a_b-1.10.0-py3-none-any.whl", "upload-time": "2026-02-01T00:00:00Z"},
            {"filename": "a_b-1.11.0-py3-none-any.whl", "yanked": "broken"},
            {"filename": "a_b-2.0.0rc1-py3-none-any.whl"}, {"filename": "a_b.whl"}, {"filename": "nonsense"}]}"#;
        let offer = of_files(&serde_json::from_str::<Document>(document).unwrap().files);
        assert_eq!(offer.newest.as_deref(), Some("1.10.0"));
        let newest = offer.versions.iter().find(|offered| offered.version == "1.10.0").unwrap();
        assert_eq!(newest.published, Some("2026-02-01T00:00:00Z".parse().unwrap()), "by its first file");
        assert!(offer.versions.iter().all(|offered| offered.version != "1.11.0"));
        let page = r#"<!DOCTYPE html><html><body><a href="x" data-yanked="">a_b-3.0-py3-none-any.whl</a><br>
            <a href="/f/a_b-2.1.tar.gz#sha256=0" data-requires-python="&gt;=3">a_b-2.1.tar.gz</a></body></html>"#;
        assert_eq!(of_files(&links(page)).newest.as_deref(), Some("2.1"));
        let only = [File { filename: "a-1.0a1.tar.gz".to_owned(), yanked: serde_json::Value::Null, upload_time: None }];
        assert_eq!(of_files(&only).newest.as_deref(), Some("1.0a1"), "better than nothing, as pip has it");
        assert_eq!(of_files(&[]).newest, None);
        assert_eq!(normalised("My.Package__name"), "my-package-name");
    }

    #[test]
    fn policies_see_numbers_where_there_are_three() {
        let number = |text: &str| version(text).number().map(|v| (v.major, v.minor, v.patch, v.pre));
        assert_eq!(number("2026.10.19"), Some((2026, 10, 19, String::new())));
        assert_eq!(number("1.2"), Some((1, 2, 0, String::new())));
        assert_eq!(number("1.2rc3"), Some((1, 2, 0, "rc.3".to_owned())));
        assert_eq!(number("1.2.3.4"), None);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "[0-9a-z.!+_-]{0,24}") {
            let _ = PythonVersion::parse(&text);
            let _ = version_of(&text);
            let _ = links(&text);
        }
    }
}
