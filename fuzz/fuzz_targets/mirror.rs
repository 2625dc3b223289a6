//! Whatever a server lists and a client sends, mirrored arguments are found and compared without a panic; a header that we
//! make agrees with the argument that it was made of, and is fit for a header.
#![no_main]

use fairlead_core::mirror::{decode, encode, mirrors_of};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&str, &str, &str)| {
    let (list, params, header) = data;
    for mirror in mirrors_of(list).values().flatten() {
        let _ = mirror.agrees(params, Some(header));
        if let Some(value) = mirror.value(params) {
            assert!(mirror.agrees(params, Some(&encode(&value))), "{value:?}");
        }
    }
    let encoded = encode(header);
    assert!(encoded.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
    assert_eq!(decode(&encoded).as_deref(), Some(header));
});
