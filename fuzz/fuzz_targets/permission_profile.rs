//! Whatever a permission profile says, reading it does not panic, it comes back as it was written, and what it grants never
//! reaches beyond what it names.
#![no_main]

use fairlead_core::permission::PermissionProfile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(name) = std::str::from_utf8(data) {
        let _ = PermissionProfile::builtin(name);
    }
    let Ok(profile) = serde_json::from_slice::<PermissionProfile>(data) else { return };
    let text = serde_json::to_string(&profile).expect("a profile is JSON");
    let again: PermissionProfile = serde_json::from_str(&text).expect("what was written is read");
    assert_eq!(again, profile);
    assert_eq!(serde_json::to_string(&again).expect("and written again"), text);
    let Ok(granted) = profile.granted() else { return };
    assert!(granted.mounts.len() <= profile.read.len() + profile.write.len());
    let mut places: Vec<_> = granted.mounts.iter().map(|mount| &mount.target).collect();
    places.sort();
    places.dedup();
    assert_eq!(places.len(), granted.mounts.len(), "no two mounts share a place");
});
