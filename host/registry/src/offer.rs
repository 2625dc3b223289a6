//! What a registry offers under the name of an entry, read from its answer: for whoever holds a server that runs against it.

use std::collections::BTreeMap;

use fairlead_core::registry::{EntryStatus, Offer, Offered};
use fairlead_server_json::{Document, OFFICIAL, Package};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::launch::image_of;
use crate::limits::{OFFER_BYTES_MAX, OFFERS_MAX};

/// One entry in the official API.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    server: &'a RawValue,
    #[serde(rename = "_meta", default)]
    meta: BTreeMap<String, Value>,
}

/// Reads one entry, as the official API answers for it.
///
/// # Errors
/// It is none.
pub fn read(answer: &str) -> Result<Offered, String> {
    let answer: Answer<'_> = serde_json::from_str(answer).map_err(|error| error.to_string())?;
    let document = Document::of(answer.server.get()).ok_or("its `server` is no object")?;
    let status = match answer.meta.get(OFFICIAL).and_then(|official| official.get("status")) {
        None => EntryStatus::Active,
        Some(status) => EntryStatus::deserialize(status).map_err(|error| format!("its status: {error}"))?,
    };
    let offers = offers(&document);
    Ok(Offered { name: document.name, version: document.version, status, offers })
}

/// What an entry can be run from. What is too long to be shown is nothing that a server could be.
fn offers(document: &Document) -> Vec<Offer> {
    let packages = document.packages.iter().filter_map(of_package);
    let remotes = document.remotes.iter().map(|remote| remote.url.as_str());
    let remotes = remotes.filter(|url| (1..=OFFER_BYTES_MAX).contains(&url.len()));
    packages.chain(remotes.map(|url| Offer::Remote(url.to_owned()))).take(OFFERS_MAX).collect()
}

fn of_package(package: &Package) -> Option<Offer> {
    if package.registry_type == "oci" {
        return image_of(package).ok().map(Offer::Image);
    }
    let named = format!("{} {}", package.registry_type, package.identifier);
    (named.len() <= OFFER_BYTES_MAX).then_some(Offer::Package(named))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(server: &Value, status: &str) -> String {
        json!({"server": server, "_meta": {OFFICIAL: {"status": status}}}).to_string()
    }

    #[test]
    fn an_entry_offers_its_packages_and_its_remotes() {
        let server = json!({"name": "a/b", "version": "1.0.0", "packages": [
            {"registryType": "oci", "identifier": "example.test/b:1"},
            {"registryType": "oci", "identifier": "example.test/c", "version": "2"},
            {"registryType": "oci", "identifier": "no image at all"},
            {"registryType": "npm", "identifier": "@a/b", "version": "1.0.0"},
        ], "remotes": [{"type": "sse", "url": "https://{host}.example.test/sse"}, {"type": "sse", "url": ""}]});
        let offered = read(&answer(&server, "deprecated")).unwrap();
        assert_eq!((offered.name.as_str(), offered.version.as_str()), ("a/b", "1.0.0"));
        assert_eq!(offered.status, EntryStatus::Deprecated);
        let offers: Vec<String> = offered.offers.iter().map(ToString::to_string).collect();
        let expected = [
            "the image `example.test/b:1`",
            "the image `example.test/c:2`",
            "the package `npm @a/b`",
            "the server at `https://{host}.example.test/sse`",
        ];
        assert_eq!(offers, expected);
    }

    #[test]
    fn an_entry_of_which_nothing_else_is_said_is_active_and_what_is_no_entry_is_none() {
        let server = json!({"name": "a/b", "version": "1.0.0"});
        assert_eq!(read(&json!({"server": server}).to_string()).unwrap().status, EntryStatus::Active);
        for wrong in [json!([]), json!({"servers": []}), json!({"server": [1]}), json!({"server": null})] {
            assert!(read(&wrong.to_string()).is_err(), "{wrong}");
        }
        // A word that is not known may mean that it was taken back.
        assert!(read(&answer(&server, "revoked")).is_err());
    }

    #[test]
    fn an_entry_offers_no_more_than_is_kept() {
        let long = "x".repeat(OFFER_BYTES_MAX);
        let mut packages = vec![json!({"registryType": "npm", "identifier": long})];
        packages.extend((0..OFFERS_MAX * 2).map(|n| json!({"registryType": "npm", "identifier": n.to_string()})));
        let server = json!({"name": "a/b", "version": "1.0.0", "packages": packages, "remotes": [{"url": format!("https://{long}")}]});
        let offers = read(&answer(&server, "active")).unwrap().offers;
        assert_eq!(offers.len(), OFFERS_MAX);
        assert!(offers.iter().all(|offer| offer.to_string().len() < OFFER_BYTES_MAX));
    }
}
