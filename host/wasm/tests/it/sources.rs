//! Registry sources: hosted, kept to their kind, and held at arm's length when they are broken.

use std::sync::Arc;

use fairlead_core::name::{AttachmentName, TenantName};
use fairlead_core::registry::{PageRequest, RegistrySource, SourceAnswer, SourceError};
use fairlead_wasm::{AttachError, SourceAttachment};
use serde_json::{Value, json};

use crate::support::Host;

async fn source(host: &Host, name: &str, config: Value, grants: Value) -> Result<Arc<dyn RegistrySource>, AttachError> {
    let attachment = SourceAttachment {
        tenant: TenantName::default(),
        name: AttachmentName::new("r").unwrap(),
        config,
        grants: serde_json::from_value(grants).unwrap(),
    };
    host.host.source(&host.load(name).await, attachment).await
}

fn request(cursor: Option<&str>) -> PageRequest {
    PageRequest { cursor: cursor.map(str::to_owned), limit: 10, ..PageRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_yields_its_pages_and_each_synchronisation_begins_anew() {
    let host = Host::new();
    let source = source(&host, "registry-source", json!({"names": ["a/b", "a/c"]}), json!([])).await.unwrap();
    for _ in 0..2 {
        let mut session = source.open().await.unwrap();
        let SourceAnswer::Page(first) = session.enumerate(&request(None)).await.unwrap() else { panic!() };
        assert_eq!((first.entries[0].name.as_str(), first.next.as_deref()), ("a/b", Some("1")));
        let SourceAnswer::Page(last) = session.enumerate(&request(Some("1"))).await.unwrap() else { panic!() };
        assert_eq!((last.entries[0].document.as_str(), last.next), (r#"{"name":"a/c","version":"1.0.0"}"#, None));
    }
    let mut session = source.open().await.unwrap();
    let wrong = session.enumerate(&request(Some("x"))).await.unwrap_err();
    assert_eq!(wrong, SourceError::Upstream("the cursor is none of mine".to_owned()));
    assert!(session.enumerate(&request(None)).await.is_ok(), "a failure is survived");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_source_is_one_and_only_with_what_it_needs() {
    let host = Host::new();
    let other = source(&host, "tool-filter", json!({}), json!([])).await.err().unwrap();
    assert!(matches!(other, AttachError::NoSource { .. }), "{other}");
    let wrong = source(&host, "source-static", json!({"servers": [{"name": "a"}]}), json!([])).await.err().unwrap();
    assert!(matches!(wrong, AttachError::Refused { .. }), "{wrong}");
    let url = json!({"url": "https://example.test/r.json"});
    let bare = source(&host, "source-json", url.clone(), json!([])).await.err().unwrap();
    assert!(matches!(bare, AttachError::Grants { .. }), "{bare}");
    // Granted another host, and this test host calls nobody at all.
    let grants = json!([{"name": "http", "scope": ["https://other.test"]}]);
    let source = source(&host, "source-json", url, grants).await.unwrap();
    let refused = source.open().await.unwrap().enumerate(&request(None)).await.unwrap_err();
    assert!(matches!(&refused, SourceError::Config(text) if text.contains("not allowed")), "{refused}");
}
