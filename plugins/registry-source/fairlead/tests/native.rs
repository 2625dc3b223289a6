//! The source on this machine, with answers prepared.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use fairlead_plugin::registry::{Answer, Page, Request, Status};
use fairlead_plugin::serde_json::{from_value, json};
use fairlead_plugin::testing::http;
use fairlead_plugin::{Failure, RegistrySource as _};
use source_fairlead::Fairlead;

fn source(config: fairlead_plugin::serde_json::Value) -> Fairlead {
    Fairlead::new(from_value(config).unwrap()).unwrap()
}

fn request(cursor: Option<&str>, etag: Option<&str>) -> Request {
    Request { cursor: cursor.map(str::to_owned), since: None, limit: 500, etag: etag.map(str::to_owned) }
}

fn page(answer: Result<Answer, Failure>) -> Page {
    match answer.unwrap() {
        Answer::Page(page) => page,
        other => panic!("{other:?}"),
    }
}

fn list(name: &str, layer: &str, next: Option<&str>) -> String {
    json!({
        "servers": [{"server": {"name": name, "version": "1.0.0"}, "_meta": {
            "io.modelcontextprotocol.registry/official": {"status": "deprecated", "publishedAt": "1970-01-01T00:00:00Z"},
            "dev.fairlead/catalogue": {"layer": layer, "labels": {"a": "b", "dev.fairlead/layer": "forged"}, "via": ["x", "y"]},
        }}, 7],
        "metadata": {"nextCursor": next},
    })
    .to_string()
}

#[test]
fn what_a_fairlead_knows_of_an_entry_comes_with_it() {
    let mut source = source(json!({"url": "https://f.example.test/v0.1/", "registry": "below"}));
    http::answer(200, &[("ETag", "W/\"one\"")], list("a/b", "trusted", Some("a/b:1.0.0")));
    http::answer(200, &[("ETag", "W/\"two\"")], list("a/c", "trusted", None));
    let first = page(source.enumerate(&request(None, Some("W/\"zero\""))));
    let mut attributes = first.entries[0].attributes.clone();
    attributes.sort();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(attributes, [pair("a", "b"), pair("dev.fairlead/layer", "trusted"), pair("dev.fairlead/via", "x,y")]);
    assert_eq!((first.entries[0].status, first.entries[0].published_ms), (Status::Deprecated, None));
    assert_eq!(
        (first.entries[1].name.as_str(), first.etag),
        ("/servers/1", None),
        "what is none is named by its place"
    );
    let last = page(source.enumerate(&request(first.next.as_deref(), Some("W/\"zero\""))));
    assert_eq!(last.etag.as_deref(), Some("W/\"one\""), "what changed in the middle is read again");
    let sent = http::sent();
    let base = "https://f.example.test/registry/below/v0.1/servers?include_deleted=true&limit=100";
    assert_eq!((sent[0].url.as_str(), sent[1].url.as_str()), (base, format!("{base}&cursor=a%2Fb%3A1.0.0").as_str()));
    let asked = |at: usize| sent[at].headers.iter().any(|(name, _)| name == "if-none-match");
    assert!(asked(0) && !asked(1));
}

#[test]
fn only_what_stands_in_a_layer_that_is_wanted_comes() {
    let mut source = source(json!({"url": "https://f.example.test", "layers": ["trusted"]}));
    http::answer(200, &[], list("a/b", "community", None));
    let page = page(source.enumerate(&request(None, None)));
    assert_eq!(page.entries.len(), 1, "what is none is told all the same");
}

#[test]
fn nothing_changed_when_the_tag_says_so() {
    http::answer(304, &[], "");
    let mut source = source(json!({"url": "https://f.example.test", "latest": true}));
    assert!(matches!(source.enumerate(&request(None, Some("W/\"x\""))), Ok(Answer::Unmodified)));
    assert!(Fairlead::new(from_value(json!({"url": "https://x.test", "registry": "../y"})).unwrap()).is_err());
}
