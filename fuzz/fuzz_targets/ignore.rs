//! Whatever an ignore file says and a path is, matching ends soon and does not panic.
#![no_main]

use fairlead_core::ignore::Ignore;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&str, &str, bool)| {
    let (text, path, is_directory) = data;
    let mut ignore = Ignore::default();
    if ignore.add(text).is_ok() && ignore.is_empty() {
        assert!(!ignore.hides(path, is_directory), "nothing hides, so nothing is hidden");
    }
    let _ = ignore.hides(path, is_directory);
});
