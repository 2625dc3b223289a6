//! Whatever text, pointer and value come, a patch does not panic, leaves JSON where there was JSON, and puts the value where
//! it then is found. Input: text, pointer and value, separated by zero bytes; without the last, a removal.
#![no_main]

use fairlead_core::json::{check, find, patch};
use fairlead_core::middleware::PatchOperation;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(input) = std::str::from_utf8(data) else { return };
    let mut parts = input.splitn(3, '\0');
    let text = parts.next().unwrap_or_default();
    let pointer = parts.next().unwrap_or_default().to_owned();
    let value = parts.next().map(ToOwned::to_owned);
    let found = find(text, &pointer);
    let operation = PatchOperation { pointer: pointer.clone(), value: value.clone() };
    let patched = patch(text, &[operation]);
    if check(text).is_err() {
        return;
    }
    assert!(serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok(), "accepted what is no JSON");
    if let Ok(Some(part)) = found {
        check(part).expect("what was found is JSON");
    }
    let Ok(patched) = patched else { return };
    // Only a deep value at a deep place can make it too deep to be read again.
    let Ok(()) = check(&patched) else { return };
    match value {
        None => assert_eq!(
            find(&patched, &pointer).is_ok_and(|found| found.is_some()),
            pointer_is_an_index(&pointer, &patched)
        ),
        Some(_) if pointer.ends_with("/-") => {}
        Some(value) => assert_eq!(find(&patched, &pointer), Ok(Some(value.trim()))),
    }
});

/// After an element was removed, the next one has its index; a member leaves nothing behind.
fn pointer_is_an_index(pointer: &str, patched: &str) -> bool {
    let Some((parent, _)) = pointer.rsplit_once('/') else { return false };
    let in_array = find(patched, parent).ok().flatten().is_some_and(|parent| parent.starts_with('['));
    in_array && find(patched, pointer).is_ok_and(|found| found.is_some())
}
