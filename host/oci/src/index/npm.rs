//! npm: one document for each package, in a short form that is made for installers (`application/vnd.npm.install-v1+json`).

use std::collections::BTreeMap;

use fairlead_core::freshness::Version;
use fairlead_core::oci::RegistryError;
use fairlead_core::package::PackageReference;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Offer, Offered, PackageDetector, PackageIndex, not_there};
use crate::versions::compare;

const ACCEPT: &str = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8";

/// What is read of the document.
#[derive(Deserialize)]
struct Document {
    #[serde(default, rename = "dist-tags")]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    versions: BTreeMap<String, IgnoredAny>,
}

pub(super) async fn offer(
    detector: &PackageDetector,
    index: &PackageIndex,
    package: &PackageReference,
) -> Result<Offer, RegistryError> {
    // A scope is part of the name: its slash is none of the path.
    let path = format!("/{}", package.name().replace('/', "%2f"));
    let (_, body) = detector.get(index, &path, ACCEPT).await?.ok_or_else(|| not_there(package))?;
    read(&body, package.version()).ok_or_else(|| RegistryError::Protocol {
        registry: index.name().to_owned(),
        reason: format!("what it says of `{package}` is no document of npm"),
    })
}

/// Reads the document; `wanted` is a tag of npm (`latest`, `next`), or the beginning of a version (`1`, `1.4`).
pub(super) fn read(body: &[u8], wanted: &str) -> Option<Offer> {
    let Document { tags, versions } = serde_json::from_slice(body).ok()?;
    let versions: Vec<Offered> = versions
        .into_keys()
        .map(|version| Offered { number: Version::of_tag(&version), version, published: None })
        .collect();
    let newest = tags.get(wanted).cloned().or_else(|| newest_below(&versions, wanted));
    Some(Offer { newest, versions })
}

/// The newest release that begins with these numbers.
pub(super) fn newest_below(versions: &[Offered], wanted: &str) -> Option<String> {
    let wanted = wanted.strip_prefix('v').unwrap_or(wanted);
    let numbers: Option<Vec<u64>> = wanted.split('.').map(|number| number.parse().ok()).collect();
    let numbers = numbers?;
    let begins = |version: &Version| {
        let has = [version.major, version.minor, version.patch];
        version.pre.is_empty() && has.iter().zip(&numbers).all(|(has, wanted)| has == wanted)
    };
    let fitting =
        versions.iter().filter_map(|one| Some((one.number.as_ref()?, one))).filter(|(number, _)| begins(number));
    fitting.max_by(|(a, _), (b, _)| compare(a, b)).map(|(_, one)| one.version.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn no_document_breaks_the_reader_and_numbers_stand_for_a_version_that_is_there(
            versions in proptest::collection::vec("[0-2]\\.[0-2]\\.[0-2]|[0-2]{1,2}(\\.[0-2]{1,2}){0,3}(-[a-z0-9.]{1,4})?|\\PC{0,6}", 0..6),
            tag in "\\PC{0,6}",
            wanted in "v?[0-2](\\.[0-2]){0,2}",
        ) {
            let versions: serde_json::Map<_, _> = versions.into_iter().map(|version| (version, json!({}))).collect();
            let document = json!({"dist-tags": {tag: "1.0.0"}, "versions": versions}).to_string();
            let _ = read(document.as_bytes(), &document);
            if let Some(Offer { newest: Some(newest), versions }) = read(document.as_bytes(), &wanted) {
                prop_assert!(newest == "1.0.0" || versions.iter().any(|one| one.version == newest));
            }
        }
    }

    #[test]
    fn what_a_word_stands_for_is_what_npm_would_install() {
        let document = json!({"name": "a", "dist-tags": {"latest": "1.4.0", "next": "2.0.0-rc.1"},
            "versions": {"1.3.9": {}, "1.4.0": {}, "1.3.10": {"deprecated": "no"}, "2.0.0-rc.1": {}}});
        let newest = |wanted: &str| read(document.to_string().as_bytes(), wanted).unwrap().newest;
        assert_eq!(newest("latest").as_deref(), Some("1.4.0"));
        assert_eq!(newest("next").as_deref(), Some("2.0.0-rc.1"));
        assert_eq!(newest("1.3").as_deref(), Some("1.3.10"), "by number, not by letter");
        assert_eq!(newest("1").as_deref(), Some("1.4.0"));
        assert_eq!(newest("2"), None, "a pre-release is no release");
        assert_eq!(newest("beta"), None);
        for nonsense in ["", "3", "<html>", r#"{"versions": 3}"#] {
            assert_eq!(read(nonsense.as_bytes(), "latest"), None, "{nonsense}");
        }
    }
}
