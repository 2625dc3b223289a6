//! Whatever a RunConfig says, reading it does not panic, and after one round trip not a byte changes.
#![no_main]

use fairlead_core::package::PackageReference;
use fairlead_core::runconfig::{export, import};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = PackageReference::new(text);
    }
    let Ok(document) = serde_json::from_slice(data) else { return };
    let Ok((name, spec, _)) = import(&document) else { return };
    let Ok((first, _)) = export(&name, &spec) else { return };
    let again = serde_json::from_str(&first).expect("an export is JSON");
    let (name, spec, _) = import(&again).expect("what was exported is imported");
    assert_eq!(export(&name, &spec).expect("and exported again").0, first);
});
