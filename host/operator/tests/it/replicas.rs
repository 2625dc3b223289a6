//! The promises about replicas and sessions, K1 to K7, each by its name, on a real API server.

use fairlead_operator::desired::Resource;
use serde_json::{Value, json};

use crate::ground::{Ground, http, stdio, with};

fn replicas(object: &Value) -> Option<u64> {
    object.pointer("/spec/replicas").and_then(Value::as_u64)
}

#[tokio::test]
async fn k1_from_nil_to_a_value_and_back_what_others_scale_is_left_alone() {
    let Some((ground, tally)) = Ground::new().await else { return };
    let deployments = ground.api(Resource::Deployment);
    ground.create("one", http()).await;
    ground.there(Resource::Deployment, "one").await;
    // Nil: an autoscaler owns it, also when the operator applies something new.
    ground.scale(&deployments, "one", 5).await;
    ground.change("one", json!({"isolation": "shared", "proxyPort": 8181})).await;
    let is_applied =
        |object: &Value| object.pointer("/spec/template/spec/containers/0/ports/0/containerPort") == Some(&json!(8181));
    let seen = ground.until(&deployments, "one", "applied", is_applied).await;
    assert_eq!(replicas(&seen), Some(5));
    // A value.
    ground.change("one", json!({"replicas": 2})).await;
    ground.until(&deployments, "one", "two", |object| replicas(object) == Some(2)).await;
    ground.scale(&deployments, "one", 4).await;
    ground.until(&deployments, "one", "two again", |object| replicas(object) == Some(2)).await;
    // Nil again: the number that there is stays, and whoever scales is not fought.
    ground.change("one", json!({"replicas": null})).await;
    ground.observed("one").await;
    ground.quiet(&tally).await;
    assert_eq!(replicas(&json!(deployments.get("one").await.unwrap())), Some(2));
    ground.scale(&deployments, "one", 6).await;
    ground.quiet(&tally).await;
    assert_eq!(replicas(&json!(deployments.get("one").await.unwrap())), Some(6));
}

#[tokio::test]
async fn k2_and_k6_reach_the_pods() {
    let Some((ground, _)) = Ground::new().await else { return };
    let storage = json!({"backendReplicas": 2, "sessionStorage": {
        "provider": "redis", "address": "redis:6379", "passwordRef": {"name": "redis", "key": "password"}}});
    ground.create("one", with(http(), storage)).await;
    let proxy = ground.there(Resource::Deployment, "one").await;
    assert_eq!(proxy["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 30);
    let env = proxy["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    let password = json!({"name": "redis", "key": "password"});
    assert!(env.iter().any(|variable| variable["valueFrom"]["secretKeyRef"] == password), "{env:?}");
    let config = ground.there(Resource::ConfigMap, "one-config").await;
    let told: Value = serde_json::from_str(config["data"]["server.json"].as_str().unwrap()).unwrap();
    assert_eq!((&told["backendReplicas"], &told["sessionStorage"]["address"]), (&json!(2), &json!("redis:6379")));
    let backends = ground.api(Resource::StatefulSet);
    let set = ground.until(&backends, "one", "two", |object| replicas(object) == Some(2)).await;
    assert_eq!(set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 30);
}

#[tokio::test]
async fn k3_stdio_is_capped_in_both_ways() {
    let Some((ground, tally)) = Ground::new().await else { return };
    let deployments = ground.api(Resource::Deployment);
    let sets = ground.api(Resource::StatefulSet);
    ground.create("one", with(stdio(), json!({"replicas": 3, "backendReplicas": 2}))).await;
    ground.condition("one", "StdioReplicaCapped", "True", "StdioTransportCapAt1").await;
    ground.until(&deployments, "one", "one", |object| replicas(object) == Some(1)).await;
    ground.until(&sets, "one", "one", |object| replicas(object) == Some(1)).await;
    // Corrected.
    ground.change("one", json!({"replicas": null, "backendReplicas": null})).await;
    ground.condition("one", "StdioReplicaCapped", "False", "StdioReplicaCapNotActive").await;
    ground.quiet(&tally).await;
    // From outside.
    ground.scale(&deployments, "one", 3).await;
    ground.until(&deployments, "one", "one again", |object| replicas(object) == Some(1)).await;
    ground.scale(&sets, "one", 2).await;
    ground.until(&sets, "one", "one again", |object| replicas(object) == Some(1)).await;
    ground.condition("one", "StdioReplicaCapped", "False", "StdioReplicaCapNotActive").await;
}

#[tokio::test]
async fn k4_a_warning_comes_and_goes_and_the_deployment_proceeds() {
    let Some((ground, _)) = Ground::new().await else { return };
    ground.create("one", with(http(), json!({"replicas": 2}))).await;
    ground.condition("one", "SessionStorageWarning", "True", "SessionStorageMissingForReplicas").await;
    ground.until(&ground.api(Resource::Deployment), "one", "two", |object| replicas(object) == Some(2)).await;
    ground.there(Resource::PodDisruptionBudget, "one-proxy").await;
    ground.change("one", json!({"sessionStorage": {"provider": "memory"}})).await;
    ground.condition("one", "SessionStorageWarning", "True", "SessionStorageMissingForReplicas").await;
    ground.change("one", json!({"sessionStorage": {"provider": "redis", "address": "redis:6379"}})).await;
    ground.condition("one", "SessionStorageWarning", "False", "SessionStorageConfigured").await;
    ground.change("one", json!({"replicas": 1})).await;
    ground.condition("one", "SessionStorageWarning", "False", "SessionStorageWarningNotApplicable").await;
    ground.gone(&ground.api(Resource::PodDisruptionBudget), "one-proxy").await;
}

#[tokio::test]
async fn k5_an_update_owns_everything_but_the_count() {
    let Some((ground, _)) = Ground::new().await else { return };
    ground.create("one", with(http(), json!({"replicas": 3}))).await;
    let deployments = ground.api(Resource::Deployment);
    let seen = ground.until(&deployments, "one", "three", |object| replicas(object) == Some(3)).await;
    let applied = |object: &Value| {
        let managers = object["metadata"]["managedFields"].as_array().unwrap().clone();
        managers.into_iter().find(|it| it["manager"] == "fairlead-operator" && it["operation"] == "Apply").unwrap()
    };
    assert!(applied(&seen)["fieldsV1"]["f:spec"].get("f:replicas").is_none(), "{seen:#}");
}
