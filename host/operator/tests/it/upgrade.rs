//! New definitions over old ones: what was stored under a release before is there afterwards as it was, and can still be written.
//!
//! Definitions belong to the whole cluster, and other tests use ours, so these stand in a group of their own.

use std::path::Path;

use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use serde_json::{Value, json};

use crate::examples::read;
use crate::ground::{Ground, definitions, establish, resource};

/// The definitions of a release, as they were published.
const BEFORE: &str = "tests/fixtures/definitions-0.1.0";

fn before() -> Vec<Value> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(BEFORE);
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().flat_map(|file| read(file)).collect()
}

/// The same under another group, and without the short names, which belong to one definition of a cluster.
fn regrouped(mut definition: Value, group: &str) -> Value {
    let plural = definition["spec"]["names"]["plural"].as_str().unwrap().to_owned();
    definition["metadata"]["name"] = format!("{plural}.{group}").into();
    definition["spec"]["group"] = group.into();
    for field in ["shortNames", "categories"] {
        definition["spec"]["names"].as_object_mut().unwrap().remove(field);
    }
    definition
}

/// One of each kind that was there, with as much in it as there can be.
fn stored() -> Vec<(&'static str, Value)> {
    let digest = format!("sha256:{}", "0".repeat(64));
    let server = json!({
        "source": {"kind": "image", "reference": "registry.test/server:1", "args": ["--stdio"], "pull": "always",
                   "permissions": {"network": {"outbound": {"insecure_allow_all": true}}},
                   "resources": {"memoryBytesMax": 1_073_741_824, "cpuMillisMax": 500, "processesMax": 64}},
        "transport": {"kind": "streamable-http", "port": 9000, "path": "/mcp"},
        "isolation": "shared",
        "env": {"A": "1"},
        "tools": ["search"],
        "plugins": [{"name": "guard", "plugin": "guard", "config": {"deep": {"er": []}}, "grants": [{"name": "kv"}]}],
        "updates": {"check": true, "autoReinstall": false},
        "replicas": 2, "backendReplicas": 1, "proxyPort": 8181, "sessionAffinity": "None",
        "sessionStorage": {"provider": "redis", "address": "redis:6379", "passwordRef": {"name": "r", "key": "p"}},
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
        "volumes": [{"name": "v", "mountPath": "/v", "claim": "c"}],
        "podTemplateSpec": {"spec": {"nodeSelector": {"a": "b"}}},
    });
    let attachment =
        json!({"plugin": "guard", "config": {"any": [1, {"thing": true}]}, "order": 3, "selector": {"groups": ["g"]}});
    vec![
        ("mcpservers", server),
        ("tenants", json!({"description": "a team", "hostAccess": true})),
        ("plugins", json!({"source": "registry.test/guard:1", "digest": digest})),
        ("pluginattachments", attachment),
    ]
}

fn api(ground: &Ground, definition: &Value) -> Api<DynamicObject> {
    let text = |pointer: &str| definition.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let (group, version) = (text("/spec/group"), text("/spec/versions/0/name"));
    let resource = ApiResource {
        api_version: format!("{group}/{version}"),
        group,
        version,
        kind: text("/spec/names/kind"),
        plural: text("/spec/names/plural"),
    };
    match definition["spec"]["scope"] == "Namespaced" {
        true => Api::namespaced_with(ground.client.clone(), &ground.namespace, &resource),
        false => Api::all_with(ground.client.clone(), &resource),
    }
}

#[tokio::test]
async fn what_was_stored_under_the_release_before_is_kept_and_can_be_written_again() {
    let Some(ground) = Ground::bare().await else { return };
    let group = format!("{}.fairlead.test", ground.namespace);
    let before: Vec<Value> = before().into_iter().map(|definition| regrouped(definition, &group)).collect();
    assert!(!before.is_empty());
    for definition in &before {
        establish(&ground.client, definition).await;
    }
    let mut made = Vec::new();
    for (plural, spec) in stored() {
        let definition = before.iter().find(|it| it["spec"]["names"]["plural"] == plural).unwrap();
        let body = json!({"apiVersion": format!("{group}/v1alpha1"), "kind": definition["spec"]["names"]["kind"],
                          "metadata": {"name": "kept", "labels": {"a": "b"}}, "spec": spec});
        let api = api(&ground, definition);
        let created = api.create(&PostParams::default(), &serde_json::from_value(body).unwrap()).await;
        let created = created.unwrap_or_else(|error| panic!("{plural}: {error}"));
        assert_eq!(created.data["spec"], spec, "{plural}: what is compared below was stored");
        made.push((plural, api, created));
    }
    assert_eq!(made.len(), before.len(), "every kind that there was is tried");

    let after: Vec<Value> = definitions().into_iter().map(|definition| regrouped(definition, &group)).collect();
    for definition in &after {
        establish(&ground.client, definition).await;
    }
    for (plural, api, created) in made {
        let there = api.get("kept").await.unwrap_or_else(|error| panic!("{plural}: {error}"));
        assert_eq!(json!(there), json!(created), "{plural}");
        // The rules of today let it be written, too.
        let touch = Patch::Merge(json!({"metadata": {"labels": {"a": "c"}}}));
        let written = api.patch("kept", &PatchParams::default(), &touch).await;
        let written = written.unwrap_or_else(|error| panic!("{plural}: {error}"));
        assert_eq!(written.data["spec"], created.data["spec"], "{plural}");
        api.delete("kept", &DeleteParams::default()).await.unwrap();
    }
    let kind = resource("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions");
    let definitions = Api::<DynamicObject>::all_with(ground.client.clone(), &kind);
    for definition in &after {
        definitions.delete(definition["metadata"]["name"].as_str().unwrap(), &DeleteParams::default()).await.unwrap();
    }
}
