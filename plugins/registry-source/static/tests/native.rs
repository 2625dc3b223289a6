//! The source on this machine, without Wasm.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use fairlead_plugin::RegistrySource as _;
use fairlead_plugin::registry::{Answer, Request};
use fairlead_plugin::serde_json::{from_value, json};
use source_static::{Config, Static};

fn config(value: fairlead_plugin::serde_json::Value) -> Config {
    from_value(value).unwrap()
}

#[test]
fn what_is_configured_is_what_comes() {
    let given = json!({"servers": [{"name": "a/b", "version": "1.0.0", "description": "x"}]});
    let mut source = Static::new(config(given)).unwrap();
    let request = Request { cursor: None, since: None, limit: 10, etag: None };
    let Answer::Page(page) = source.enumerate(&request).unwrap() else { panic!("no page") };
    assert_eq!((page.entries[0].name.as_str(), page.entries[0].version.as_str(), page.next), ("a/b", "1.0.0", None));
}

#[test]
fn an_entry_that_is_none_is_refused_with_its_place() {
    let error = Static::validate(config(json!({"servers": [{"name": "a/b"}]}))).unwrap_err();
    assert!(error.starts_with("servers/0/version"), "{error}");
}
