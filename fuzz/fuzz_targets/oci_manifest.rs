//! Whatever an OCI registry calls a manifest or an index, reading it does not panic, and what was read says the same when it is
//! written and read again.
#![no_main]

use fairlead_core::digest::Digest;
use fairlead_core::image::ImageReference;
use fairlead_oci::{Manifest, is_digest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(data) else { return };
    let _ = manifest.is_index();
    for descriptor in manifest.layers.iter().chain(&manifest.manifests).chain(&manifest.config) {
        // What is asked for next is named by what was read.
        let digest = Digest::new(&descriptor.digest);
        assert_eq!(digest.is_ok(), is_digest(&descriptor.digest), "{}", descriptor.digest);
        if let Ok(reference) = ImageReference::new(&format!("example.test/a@{}", descriptor.digest)) {
            assert!(!reference.as_str().contains(char::is_whitespace) && reference.repository() == "example.test/a");
        }
    }
    let text = serde_json::to_vec(&manifest).unwrap();
    assert_eq!(serde_json::from_slice::<Manifest>(&text).unwrap(), manifest);
});
