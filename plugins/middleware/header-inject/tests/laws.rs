//! The laws of header injection, run natively.

use fairlead_plugin::Failure;
use fairlead_plugin::prelude::json;
use fairlead_plugin::testing::Harness;
use header_inject::HeaderInject;
use serde_json::Value;

fn inject(headers: Value) -> Result<Harness<HeaderInject>, Failure> {
    Harness::with_secrets(json!({ "headers": headers }), &[("token", "hunter2")])
}

#[test]
fn headers_are_set_on_every_request_and_at_every_moment() {
    let mut plugin = inject(json!([
        {"name": "Authorization", "value": {"from": "secret", "secret": "token", "template": "Bearer {}"}},
        {"name": "X-Team", "value": {"from": "text", "text": "core"}},
        {"name": "X-Server", "value": {"from": "server"}},
    ]))
    .unwrap();
    for method in ["tools/call", "notifications/initialized", "fairlead/listen", "fairlead/session-close"] {
        plugin.request(method, json!({})).expect_next();
        assert_eq!(plugin.upstream_header("authorization").as_deref(), Some("Bearer hunter2"), "{method}");
        assert_eq!(plugin.upstream_header("x-team").as_deref(), Some("core"), "{method}");
        assert_eq!(plugin.upstream_header("x-server").as_deref(), Some("server"), "{method}");
    }
}

#[test]
fn whoever_is_not_known_is_refused_unless_the_header_may_be_missing() {
    let who =
        |missing: &str| inject(json!([{"name": "X-User", "value": {"from": "identity"}, "missing": missing}])).unwrap();
    who("refuse").request("tools/call", json!({})).expect_reject(4030);
    who("skip").request("tools/call", json!({})).expect_next();
    let mut plugin = who("refuse");
    plugin.identity(Some("alice")).request("tools/call", json!({})).expect_next();
    assert_eq!(plugin.upstream_header("x-user").as_deref(), Some("alice"));
}

#[test]
fn a_configuration_that_cannot_work_is_refused_when_it_is_attached() {
    for (headers, part) in [
        (json!([{"name": "Host", "value": {"from": "text", "text": "x"}}]), "belongs to the transport"),
        (json!([{"name": "Mcp-Session-Id", "value": {"from": "text", "text": "x"}}]), "belongs to the transport"),
        (json!([{"name": "a b", "value": {"from": "text", "text": "x"}}]), "is no name"),
        (json!([{"name": "a", "value": {"from": "secret", "secret": "token", "template": "x"}}]), "no `{}`"),
        (json!([{"name": "a", "value": {"from": "secret", "secret": "absent"}}]), "no secret `absent`"),
        (
            json!([{"name": "a", "value": {"from": "text", "text": "x"}}, {"name": "A", "value": {"from": "server"}}]),
            "two headers",
        ),
    ] {
        let Err(Failure::Config(reason)) = inject(headers.clone()) else { panic!("{headers} was taken") };
        assert!(reason.contains(part), "{reason}");
    }
    let ungranted = json!({"headers": [{"name": "a", "value": {"from": "secret", "secret": "token"}}]});
    let Err(Failure::Config(reason)) = Harness::<HeaderInject>::try_new(ungranted) else { panic!("it was taken") };
    assert!(reason.contains("\"scope\":[\"token\"]"), "{reason}");
}
