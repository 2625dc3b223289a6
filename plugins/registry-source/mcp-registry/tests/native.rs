//! The source on this machine, with answers prepared.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use fairlead_plugin::registry::{Answer, Page, Request, Status};
use fairlead_plugin::testing::http;
use fairlead_plugin::{Failure, RegistrySource as _};
use source_mcp_registry::{Config, McpRegistry};

fn source(url: &str) -> McpRegistry {
    McpRegistry::new(Config { url: url.to_owned(), versions: false, token: None }).unwrap()
}

fn request(cursor: Option<&str>, since: Option<&str>) -> Request {
    Request { cursor: cursor.map(str::to_owned), since: since.map(str::to_owned), limit: 500, etag: None }
}

fn page(answer: Result<Answer, Failure>) -> Page {
    match answer.unwrap() {
        Answer::Page(page) => page,
        other => panic!("{other:?}"),
    }
}

fn list(name: &str, status: &str, updated: &str, next: &str) -> String {
    format!(
        r#"{{"servers": [{{"server": {{"name": "{name}", "version": "1.0.0"}}, "_meta": {{"io.modelcontextprotocol.registry/official":
        {{"status": "{status}", "isLatest": true, "publishedAt": "2026-01-01T00:00:00Z", "updatedAt": "{updated}"}}}}}}],
        "metadata": {{"count": 1, "nextCursor": "{next}"}}}}"#
    )
}

#[test]
fn pages_are_followed_and_the_newest_change_becomes_the_checkpoint() {
    let mut source = source("https://r.example.test/v0.1/");
    http::answer(200, &[], list("a/b", "active", "2026-01-01T12:01:00Z", "a/b:1.0.0"));
    http::answer(200, &[], list("a/c", "deleted", "2026-01-01T12:00:30Z", ""));
    let first = page(source.enumerate(&request(None, None)));
    assert_eq!((first.next.as_deref(), first.checkpoint), (Some("a/b:1.0.0"), None));
    let last = page(source.enumerate(&request(first.next.as_deref(), None)));
    assert_eq!(last.entries[0].status, Status::Deleted);
    assert_eq!((last.next, last.checkpoint.as_deref()), (None, Some("2026-01-01T12:00:00.000Z")));
    let urls: Vec<_> = http::sent().into_iter().map(|sent| sent.url).collect();
    assert_eq!(
        urls,
        [
            "https://r.example.test/v0.1/servers?limit=100&version=latest",
            "https://r.example.test/v0.1/servers?limit=100&version=latest&cursor=a%2Fb%3A1.0.0",
        ]
    );
}

#[test]
fn a_checkpoint_that_is_not_understood_means_to_start_again() {
    http::answer(400, &[], "{}");
    let since = request(None, Some("2026-01-01T00:00:00.000Z"));
    assert!(matches!(source("https://r.example.test").enumerate(&since), Ok(Answer::Resync(_))));
    http::answer(400, &[], "{}");
    assert!(matches!(source("https://r.example.test").enumerate(&request(None, None)), Err(Failure::Upstream(_))));
}

#[test]
fn a_file_of_another_format_is_no_registry() {
    http::answer(200, &[], r#"{"servers": {}}"#);
    assert!(source("https://r.example.test").enumerate(&request(None, None)).is_err());
}
