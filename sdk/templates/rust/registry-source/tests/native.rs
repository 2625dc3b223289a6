//! The source as plain Rust, without Wasm and without a host: `cargo test`.

use fairlead_plugin::RegistrySource;
use fairlead_plugin::registry::{Answer, Request};
use fairlead_plugin::serde_json::{from_value, json};
use {{crate}}::{{type}};

fn source(names: &[&str]) -> {{type}} {
    let server = |name: &&str| json!({"name": name, "version": "1.0.0", "description": "x"});
    let servers: Vec<_> = names.iter().map(server).collect();
    {{type}}::new(from_value(json!({"servers": servers})).unwrap()).unwrap()
}

#[test]
fn every_server_comes_exactly_once() {
    let names = ["a.example/one", "a.example/two", "a.example/three"];
    let mut source = source(&names);
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let request = Request {
            cursor,
            since: None,
            limit: 2,
            etag: None,
        };
        let Answer::Page(page) = source.enumerate(&request).unwrap() else {
            panic!("no page")
        };
        seen.extend(page.entries.into_iter().map(|entry| entry.name));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, names);
}

#[test]
fn a_strange_cursor_is_a_failure() {
    let request = Request {
        cursor: Some("x".to_owned()),
        since: None,
        limit: 2,
        etag: None,
    };
    assert!(source(&[]).enumerate(&request).is_err());
}
