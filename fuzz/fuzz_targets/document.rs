//! Whatever JSON comes, reading a document does not panic, and what is read is written so that it is read as the same.
#![no_main]

use fairlead_core::document::{differences, read};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    match read(&value) {
        Ok(document) => {
            let written = document.to_value();
            let again = read(&written).expect("what was written is a document");
            assert_eq!(again, document);
            assert!(differences(&written, &again.to_value()).is_empty());
        }
        Err(error) => {
            assert!(error.pointer.is_empty() || error.pointer.starts_with('/'));
            let _ = (error.to_string(), error.hint());
        }
    }
});
