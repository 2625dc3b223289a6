//! The middleware as plain Rust, without Wasm and without a host: `cargo test`. What runs in the real host is in
//! `cases.json`: `fairlead plugin test`.

use fairlead_plugin::serde_json::json;
use fairlead_plugin::testing::{Case, Expect, Harness};
use {{crate}}::{{type}};

#[test]
fn a_forbidden_word_is_found_wherever_it_stands() {
    let call = |arguments| json!({"name": "note", "arguments": arguments});
    Harness::<{{type}}>::new(json!({"words": ["secret"]})).check([
        Case::new(
            "harmless",
            "tools/call",
            call(json!({"text": "hello"})),
            Expect::Next,
        ),
        Case::new(
            "plain",
            "tools/call",
            call(json!({"text": "a secret"})),
            Expect::Reject(4030),
        ),
        Case::new(
            "in capitals",
            "tools/call",
            call(json!({"text": "A SECRET"})),
            Expect::Reject(4030),
        ),
        Case::new(
            "deep",
            "tools/call",
            call(json!({"list": [{"text": "secrets"}]})),
            Expect::Reject(4030),
        ),
        Case::new("another method", "tools/list", json!({}), Expect::NotCalled),
    ]);
}

#[test]
fn an_empty_word_is_refused() {
    assert!(Harness::<{{type}}>::try_new(json!({"words": [""]})).is_err());
}
