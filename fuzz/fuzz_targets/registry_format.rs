//! Whatever a file of registry entries says, reading it does not panic; and once it was written in its own format, reading and
//! writing it again changes nothing.
#![no_main]

use fairlead_server_json::{Document, check, read, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = check(text);
    if let Some(document) = Document::of(text) {
        let _ = (document.tags(), document.transports(), document.package_types());
    }
    let Ok((format, listing)) = read(text) else { return };
    let (first, _) = write(format, &listing);
    let Ok((again, listing)) = read(&first) else { return };
    assert_eq!(again, format, "it is still of its format");
    assert_eq!(write(format, &listing).0, first);
});
