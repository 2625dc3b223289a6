//! The source on this machine, with answers prepared.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use fairlead_plugin::registry::{Answer, Page, Request};
use fairlead_plugin::testing::http;
use fairlead_plugin::{Failure, RegistrySource as _};
use source_json::{Config, Json};

fn source() -> Json {
    Json::new(Config { url: "https://example.test/r.json".to_owned(), token: None }).unwrap()
}

fn request(cursor: Option<&str>, etag: Option<&str>) -> Request {
    Request { cursor: cursor.map(str::to_owned), since: None, limit: 2, etag: etag.map(str::to_owned) }
}

fn page(answer: Result<Answer, Failure>) -> Page {
    match answer.unwrap() {
        Answer::Page(page) => page,
        other => panic!("{other:?}"),
    }
}

const FILE: &str = r#"{"servers": {"a": {"image": "a:1"}, "b": {"image": "b:2"}, "c": {"image": "c:3"}}}"#;

#[test]
fn a_file_is_fetched_once_and_handed_on_page_by_page() {
    let mut source = source();
    http::answer(200, &[("ETag", "\"x\"")], FILE);
    let first = page(source.enumerate(&request(None, None)));
    assert_eq!((first.entries.len(), first.next.as_deref(), first.etag), (2, Some("2"), None));
    assert_eq!(first.entries[0].name, "io.github.stacklok/a");
    let last = page(source.enumerate(&request(Some("2"), None)));
    assert_eq!((last.entries.len(), last.next, last.etag.as_deref()), (1, None, Some("\"x\"")));
    assert_eq!(http::sent().len(), 1);
}

#[test]
fn nothing_changed_when_the_tag_says_so() {
    http::answer(304, &[], "");
    assert!(matches!(source().enumerate(&request(None, Some("\"x\""))), Ok(Answer::Unmodified)));
    let sent = http::sent();
    assert!(sent[0].headers.contains(&("if-none-match".to_owned(), "\"x\"".to_owned())));
}

#[test]
fn an_answer_that_is_none_is_told_apart_from_one_that_comes_later() {
    for (status, body, later) in [(500, "", true), (429, "", true), (404, "", false), (200, "<html>", false)] {
        http::answer(status, &[], body);
        let failure = source().enumerate(&request(None, None)).unwrap_err();
        assert_eq!(matches!(failure, Failure::Unavailable(_)), later, "{status}: {failure:?}");
    }
}
