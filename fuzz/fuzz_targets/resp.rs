//! However much of a reply of Redis has come, it is the same reply or none yet, and what was taken can be taken away.
#![no_main]

use fairlead_sessions::resp::reply;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(Some((whole, taken))) = reply(data) else { return };
    assert!(taken <= data.len());
    for cut in 0..taken {
        assert_eq!(reply(&data[..cut]), Ok(None), "at {cut}");
    }
    assert_eq!(reply(&data[..taken]), Ok(Some((whole, taken))));
});
