//! Whatever bytes come, reading an envelope does not panic, accepts only what a general parser accepts, and keeps the text.
#![no_main]

use bytes::Bytes;
use fairlead_core::jsonrpc::{Envelope, Kind, parse_batch};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|data: &[u8]| {
    let raw = Bytes::copy_from_slice(data);
    let _ = parse_batch(&raw);
    let Ok(message) = Envelope::parse(raw.clone()) else { return };
    assert!(serde_json::from_slice::<&RawValue>(data).is_ok(), "accepted what is no JSON");
    assert_eq!(message.rewrite().finish(), raw);
    let _ = (message.target(), message.progress_token(), message.claimed_version(), message.cancelled());
    let changed = Envelope::parse(message.rewrite().id("\"new\"").progress_token("7").params("[]").finish());
    let changed = changed.expect("a change of parts leaves a message");
    assert_eq!(changed.kind(), message.kind());
    assert_eq!(changed.method(), message.method());
    if message.kind() == Kind::Request {
        assert_eq!(changed.id(), Some("\"new\""));
    }
});
