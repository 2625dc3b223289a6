//! What an API server takes and what it refuses, by our schemas and rules alone: no operator runs here.

use fairlead_operator::desired::Resource;
use kube::api::{Api, PostParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};

use crate::ground::{Ground, http, resource, server, stdio, with};

#[tokio::test]
async fn a_document_that_cannot_be_carried_out_is_refused_with_its_reason() {
    let Some(ground) = Ground::bare().await else { return };
    let redis = json!({"sessionStorage": {"provider": "redis"}});
    let volume = json!({"volumes": [{"name": "v", "mountPath": "/v", "claim": "a", "secret": "b"}]});
    for (name, spec, said) in [
        ("a", json!({"source": {"kind": "command", "program": "x"}}), "a cluster runs images"),
        ("a", json!({"source": {"kind": "image"}}), "`reference` may be left out only for"),
        ("a", json!({"source": {"kind": "remote", "url": "https://x", "reference": "y"}}), "`reference` is only for"),
        ("a", with(stdio(), json!({"transport": {"kind": "sse"}})), "`port` may be left out only for"),
        ("a", with(stdio(), json!({"transport": {"kind": "smoke"}})), "Unsupported value"),
        ("a", with(http(), redis), "needs an address"),
        ("a", with(http(), volume), "exactly one of"),
        ("a", with(http(), json!({"replicas": -1})), "greater than or equal to 0"),
        ("a", with(http(), json!({"proxyPort": 70_000})), "less than or equal to 65535"),
        (&"x".repeat(51), stdio(), "at most 50 characters"),
        ("a.b", stdio(), "DNS label"),
    ] {
        let refused = ground.servers().create(&PostParams::default(), &server(name, spec.clone())).await;
        let refused = refused.expect_err(&format!("{spec} was taken")).to_string();
        assert!(refused.contains(said), "{spec}: {refused}");
    }
    let strict = PostParams { dry_run: true, ..PostParams::default() };
    ground.servers().create(&strict, &server(&"x".repeat(50), stdio())).await.unwrap();
}

#[tokio::test]
async fn every_kind_takes_a_document_as_it_is_written_locally() {
    let Some(ground) = Ground::bare().await else { return };
    let digest = format!("sha256:{}", "0".repeat(64));
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    for (kind, plural, namespaced, spec) in [
        ("Tenant", "tenants", false, json!({"description": "a team"})),
        ("Plugin", "plugins", false, json!({"source": "registry.test/guard:1", "digest": digest})),
        (
            "PluginAttachment",
            "pluginattachments",
            true,
            json!({"plugin": "guard", "config": {"any": [1, {"thing": true}]}, "order": 3}),
        ),
    ] {
        let resource = resource("fairlead.dev", kind, plural);
        let api: Api<DynamicObject> = match namespaced {
            true => Api::namespaced_with(ground.client.clone(), &ground.namespace, &resource),
            false => Api::all_with(ground.client.clone(), &resource),
        };
        let body =
            json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": kind, "metadata": {"name": "one"}, "spec": spec});
        let made = api.create(&dry, &serde_json::from_value(body).unwrap()).await.unwrap();
        // Nothing is lost: what a schema does not know would have been pruned.
        assert_eq!(made.data["spec"], spec, "{kind}");
    }
    let spec = json!({
        "source": {"kind": "image", "reference": "registry.test/server:1", "args": ["--stdio"],
                   "permissions": {"network": {"outbound": {"insecure_allow_all": true}}},
                   "resources": {"memoryBytesMax": 1_073_741_824, "cpuMillisMax": 500, "processesMax": 64}},
        "transport": {"kind": "streamable-http", "port": 9000, "path": "/mcp"},
        "isolation": "shared",
        "env": {"A": "1"},
        "tools": ["search"],
        "plugins": [{"name": "guard", "plugin": "guard", "config": {"deep": {"er": []}}, "grants": [{"name": "kv"}]}],
        "updates": {"check": true, "autoReinstall": false},
        "replicas": 2, "backendReplicas": 1,
        "sessionStorage": {"provider": "redis", "address": "redis:6379", "passwordRef": {"name": "r", "key": "p"}},
        "podTemplateSpec": {"spec": {"nodeSelector": {"a": "b"}}},
    });
    let made = ground.servers().create(&dry, &server("one", spec.clone())).await.unwrap();
    assert_eq!(made.data["spec"], spec);
}

#[tokio::test]
async fn a_server_is_scaled_like_a_deployment() {
    let Some((ground, _)) = Ground::new().await else { return };
    ground.create("one", with(http(), json!({"replicas": 1}))).await;
    ground.there(Resource::Deployment, "one").await;
    ground.scale(&ground.servers(), "one", 3).await;
    let is_three = |object: &Value| object["spec"]["replicas"] == 3;
    ground.until(&ground.api(Resource::Deployment), "one", "three", is_three).await;
    let is_counted = |server: &Value| server["status"]["replicas"] == 3;
    ground.until(&ground.servers(), "one", "counted", is_counted).await;
    // What an autoscaler reads.
    let scale = ground.servers().get_scale("one").await.unwrap();
    let status = scale.status.unwrap();
    assert_eq!(status.replicas, 3);
    assert_eq!(status.selector.as_deref(), Some("fairlead.dev/server=one,app.kubernetes.io/component=proxy"));
}
