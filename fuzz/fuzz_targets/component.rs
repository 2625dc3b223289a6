//! Bytes that somebody calls a component: read for what they are, refused or not, and never more. What is behind it (compile,
//! link, ask) is tried by `damaged_components_are_refused_or_loaded_and_the_host_stays` in `host/wasm/tests`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match fairlead_wasm::kind_of(bytes) {
        Ok(kind) => assert!(!kind.to_string().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty() && !error.hint().is_empty()),
    }
});
