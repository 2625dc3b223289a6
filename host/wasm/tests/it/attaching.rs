//! What is checked before a plugin sees its first message.

use fairlead_core::middleware::Verdict;
use fairlead_wasm::AttachError;
use serde_json::json;

use crate::support::{Host, ask, attribute, request};

#[tokio::test]
async fn no_configuration_is_an_empty_one() {
    let host = Host::new();
    for spec in [json!({}), json!({"config": null}), json!({"config": {}})] {
        let middleware = host.attach("noop", spec).await.unwrap();
        assert_eq!(ask(&middleware, request(json!({}))).await.unwrap().verdict, Verdict::Next);
    }
}

#[tokio::test]
async fn a_configuration_that_misses_the_schema_is_refused_with_place_and_reason() {
    let host = Host::new();
    let error = host.attach("trapping", json!({"config": {"on": ["request", "midnight"]}})).await.err().unwrap();
    let problems = error.problems();
    assert_eq!(problems.len(), 1, "{error}");
    assert_eq!(problems[0].pointer, "/on/1");
    assert!(problems[0].reason.contains("midnight"), "{error}");
    assert!(error.to_string().starts_with("configuration of `trapping` is wrong at `/on/1`: "), "{error}");

    let error = host.attach("noop", json!({"config": {"colour": 1}})).await.err().unwrap();
    assert!(error.to_string().contains("colour"), "{error}");
    let error = host.attach("stamp", json!({})).await.err().unwrap();
    assert!(error.to_string().contains("label"), "{error}");
}

#[tokio::test]
async fn a_missing_grant_is_named_with_what_to_add() {
    let host = Host::new();
    let error = host.attach("counter", json!({})).await.err().unwrap();
    assert!(matches!(&error, AttachError::Grants { missing, .. } if missing[0].name == "kv"), "{error}");
    assert_eq!(error.hint().unwrap(), r#"add to the attachment: "grants": [{"name":"kv"}]"#);
    assert!(host.attach("counter", json!({"grants": [{"name": "kv"}]})).await.is_ok());
}

#[tokio::test]
async fn state_belongs_to_tenant_place_and_attachment() {
    let host = Host::new();
    let spec = |name: &str| json!({"name": name, "grants": [{"name": "kv"}]});
    let one = host.attach_for("acme", "counter", spec("a")).await.unwrap();
    let other = host.attach_for("acme", "counter", spec("b")).await.unwrap();
    let elsewhere = host.attach_for("emca", "counter", spec("a")).await.unwrap();
    for count in ["1", "2"] {
        assert_eq!(attribute(&ask(&one, request(json!({}))).await.unwrap(), "count"), count);
    }
    assert_eq!(attribute(&ask(&other, request(json!({}))).await.unwrap(), "count"), "1");
    assert_eq!(attribute(&ask(&elsewhere, request(json!({}))).await.unwrap(), "count"), "1");
    let scopes: std::collections::BTreeSet<_> = host.kv.keys().into_iter().map(|(scope, _)| scope).collect();
    assert_eq!(scopes.into_iter().collect::<Vec<_>>(), ["acme/server/s/a", "acme/server/s/b", "emca/server/s/a"]);
}

#[tokio::test]
async fn a_plugin_that_fails_while_it_is_configured_is_not_attached() {
    let host = Host::new();
    for (name, config, says) in [
        ("trapping", json!({"on": ["configure"]}), "could not be instantiated: trapped"),
        ("trapping", json!({"on": ["validate"]}), "trapped"),
        ("looping", json!({"configure": true}), "could not be instantiated: did not answer within 1000 ms"),
    ] {
        let error = host.attach(name, json!({"config": config})).await.err().unwrap();
        assert!(matches!(error, AttachError::Instance { .. }), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_limit_out_of_range_is_refused_with_the_range() {
    let host = Host::new();
    let error = host.attach("noop", json!({"limits": {"memoryBytesMax": 1}})).await.err().unwrap();
    assert_eq!(error.to_string(), "limit `memoryBytesMax` is 1, possible is 65536 to 67108864");
}

#[tokio::test]
async fn configuration_narrows_what_a_plugin_is_called_for() {
    let host = Host::new();
    let middleware = host.attach("observer", json!({"config": {"methods": ["tools/call"]}})).await.unwrap();
    let methods: Vec<_> = middleware.interests().iter().map(|interest| interest.method.as_str()).collect();
    assert_eq!(methods, ["tools/call"]);
}
