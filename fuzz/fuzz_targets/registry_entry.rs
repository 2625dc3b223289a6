//! Whatever a page of a registry holds: what is admitted can be kept, merged, found, asked about and launched without a panic, and
//! a copy is read as it was written.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlead_core::name::{LayerName, RegistryName};
use fairlead_core::registry::{EntryStatus, SourceEntry};
use fairlead_registry::copy::Copy;
use fairlead_registry::entry::Entry;
use fairlead_registry::launch::launch;
use fairlead_registry::listing::Query;
use fairlead_registry::merge::{Catalogue, Part};
use fairlead_registry::review::{compare, unpinned};
use fairlead_registry::rules::Rules;
use fairlead_registry::search::Index;
use fairlead_server_json::{Document, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok((_, listing)) = read(text) else { return };
    let admitted = listing.items.iter().filter_map(|item| {
        let document = Document::of(&item.document).unwrap_or_default();
        let given = SourceEntry {
            name: document.name,
            version: document.version,
            status: EntryStatus::Active,
            document: item.document.clone(),
            published: None,
            updated: None,
            is_latest: false,
            labels: BTreeMap::new(),
        };
        Entry::admit(given).ok()
    });
    let entries = admitted.map(|entry| ((entry.name.clone(), entry.version.clone()), Arc::new(entry))).collect();
    let copy = Copy { entries, ..Copy::default() };
    assert_eq!(Copy::decode(&copy.encode()).unwrap(), copy);
    let rules = Rules::default();
    let (Ok(registry), layer) = (RegistryName::new("r"), LayerName::trusted()) else { return };
    let part = Part { registry, layer, rules: &rules, copy: &copy, here: "here" };
    let catalogue = Catalogue::merge(&[part], &[], jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(catalogue.len(), copy.entries.len());
    let _ = Query { search: Some("a".to_owned()), ..Query::default() }.page(&catalogue);
    let _ = Index::of(&catalogue).search(&catalogue, "abcd efgh", 10, &|_| true);
    for merged in catalogue.iter() {
        let _ = (unpinned(&merged.entry), compare(None, &merged.entry));
        for way in [None, Some("oci"), Some("npm"), Some("pypi"), Some("go"), Some("remote")] {
            let _ = launch(merged, way, &BTreeMap::new());
        }
    }
});
