//! Go: the protocol of module proxies (`/@v/list`, `/@latest`, `/@v/<query>.info`).
//!
//! What is installed is the path of a package, and only its module has versions: where a proxy knows no module of the whole path,
//! its parents are asked for, as `go install` does.

use fairlead_core::freshness::Version;
use fairlead_core::oci::RegistryError;
use fairlead_core::package::{LATEST, PackageReference};
use jiff::Timestamp;
use serde::Deserialize;

use super::npm::newest_below;
use super::{Offer, Offered, PackageDetector, PackageIndex, not_there};
use crate::limits::MODULE_PARENTS_MAX;
use crate::versions::compare;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    version: String,
    #[serde(default)]
    time: Option<Timestamp>,
}

pub(super) async fn offer(
    detector: &PackageDetector,
    index: &PackageIndex,
    package: &PackageReference,
) -> Result<Offer, RegistryError> {
    for module in modules(package.name()) {
        let module = escaped(module);
        let Some((_, list)) = detector.get(index, &format!("/{module}/@v/list"), "text/plain").await? else { continue };
        let offer = listed(&String::from_utf8_lossy(&list), package.version());
        if offer.newest.is_some() {
            return Ok(offer);
        }
        // No version was ever tagged, or a branch is followed.
        let query = match package.version() {
            LATEST => format!("/{module}/@latest"),
            query => format!("/{module}/@v/{query}.info"),
        };
        let Some((_, info)) = detector.get(index, &query, "application/json").await? else { continue };
        let info: Info = serde_json::from_slice(&info).map_err(|_| RegistryError::Protocol {
            registry: index.name().to_owned(),
            reason: format!("what it says of `{package}` is not what a proxy of Go says"),
        })?;
        let Info { version, time } = info;
        let found = Offered { number: Version::of_tag(&version), version: version.clone(), published: time };
        return Ok(Offer { newest: Some(version), versions: offer.versions.into_iter().chain([found]).collect() });
    }
    Err(not_there(package))
}

/// The path, and what may be the module that it is in.
fn modules(path: &str) -> impl Iterator<Item = &str> {
    let parents = std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(parent, _)| parent));
    // A host alone is no module.
    parents.take_while(|path| path.contains('/')).take(MODULE_PARENTS_MAX)
}

/// File systems that do not tell letters by their size: `A` is `!a`.
fn escaped(path: &str) -> String {
    path.chars().fold(String::new(), |mut text, c| {
        if c.is_ascii_uppercase() {
            text.push('!');
        }
        text.push(c.to_ascii_lowercase());
        text
    })
}

/// Reads a list. What Go calls the latest is the newest release, then the newest pre-release; versions of modules that do not know
/// of major versions come last.
fn listed(list: &str, wanted: &str) -> Offer {
    let versions: Vec<Offered> = list
        .lines()
        .map(|line| line.split_whitespace().next().unwrap_or_default())
        .filter(|version| version.starts_with('v'))
        .map(|version| Offered { version: version.to_owned(), number: Version::of_tag(version), published: None })
        .filter(|offered| offered.number.is_some())
        .collect();
    let rank = |number: &Version| (number.build != "incompatible", number.pre.is_empty());
    let newest = if wanted == LATEST {
        let numbered = versions.iter().filter_map(|one| Some((one.number.as_ref()?, one)));
        let best = numbered.max_by(|(a, _), (b, _)| rank(a).cmp(&rank(b)).then_with(|| compare(a, b)));
        best.map(|(_, one)| one.version.clone())
    } else {
        newest_below(&versions, wanted)
    };
    Offer { newest, versions }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_latest_is_the_newest_release_and_else_the_newest_there_is() {
        let newest = |list: &str, wanted: &str| listed(list, wanted).newest;
        assert_eq!(newest("v1.2.3\nv1.10.0\nv2.0.0-rc.1\n", LATEST).as_deref(), Some("v1.10.0"));
        assert_eq!(newest("v0.1.0-a\nv0.1.0-b\n", LATEST).as_deref(), Some("v0.1.0-b"));
        assert_eq!(newest("v3.0.0+incompatible\nv1.0.0\n", LATEST).as_deref(), Some("v1.0.0"));
        assert_eq!(newest("v1.2.3\nv1.10.0\nv2.0.0\n", "v1").as_deref(), Some("v1.10.0"));
        assert_eq!(newest("", LATEST), None);
        assert_eq!(newest("nonsense\n\nvx", LATEST), None);
    }

    proptest! {
        #[test]
        fn no_list_breaks_the_reader_and_the_newest_is_one_of_it(
            list in "((v[0-2]\\.[0-2]\\.[0-2](-a\\.[0-2])?|v[0-9]{1,2}(\\.[0-9a-z+-]{1,4}){0,3}|\\PC{0,8})( 2026)?\n){0,6}",
            wanted in "latest|v?[0-2](\\.[0-2]){0,2}|\\PC{0,4}",
        ) {
            let offer = listed(&list, &wanted);
            if wanted == LATEST {
                prop_assert_eq!(offer.newest.is_some(), !offer.versions.is_empty());
            }
            if let Some(newest) = offer.newest {
                let found = offer.versions.iter().find(|one| one.version == newest);
                let found = found.and_then(|one| one.number.clone()).expect("it is one of the list");
                let newer = |one: &Offered| {
                    one.number.as_ref().is_some_and(|number| number.pre.is_empty() && compare(number, &found).is_gt())
                };
                prop_assert!(wanted != LATEST || !offer.versions.iter().any(newer), "{newest} of {list:?}");
            }
        }
    }

    #[test]
    fn a_package_is_looked_for_in_the_modules_that_may_have_it() {
        let all: Vec<_> = modules("example.test/A/tool/cmd/server").collect();
        assert_eq!(all.first(), Some(&"example.test/A/tool/cmd/server"));
        assert_eq!(all.last(), Some(&"example.test/A"));
        assert_eq!(escaped("example.test/Azure/x"), "example.test/!azure/x");
    }
}
