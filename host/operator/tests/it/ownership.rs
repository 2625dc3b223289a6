//! What is the operator's and what is others': owned fields are put back, foreign ones stay, and nothing is left behind.

use fairlead_operator::desired::Resource;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};

use crate::ground::{Ground, http, stdio, with};

#[tokio::test]
async fn owned_fields_are_put_back_and_foreign_ones_are_left_alone() {
    let Some((ground, tally)) = Ground::new().await else { return };
    ground.create("one", http()).await;
    ground.there(Resource::Deployment, "one").await;
    ground.quiet(&tally).await;
    let services = ground.api(Resource::Service);
    let edit = json!({"metadata": {"annotations": {"theirs": "1"}, "labels": {"fairlead.dev/server": "other"}},
                      "spec": {"sessionAffinity": "None", "externalTrafficPolicy": null, "publishNotReadyAddresses": true}});
    services.patch("mcp-one-proxy", &PatchParams::default(), &Patch::Merge(&edit)).await.unwrap();
    let back = |object: &Value| {
        object["spec"]["sessionAffinity"] == "ClientIP" && object["metadata"]["labels"]["fairlead.dev/server"] == "one"
    };
    let seen = ground.until(&services, "mcp-one-proxy", "put back", back).await;
    assert_eq!(seen["metadata"]["annotations"]["theirs"], "1");
    assert_eq!(seen["spec"]["publishNotReadyAddresses"], true);
    // An object that somebody removes comes back, and one whose mark is gone is still ours.
    ground.api(Resource::ConfigMap).delete("one-config", &kube::api::DeleteParams::default()).await.unwrap();
    ground.there(Resource::ConfigMap, "one-config").await;
    let unmark = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}});
    let policies = ground.api(Resource::NetworkPolicy);
    policies.patch("one-backend", &PatchParams::default(), &Patch::Merge(&unmark)).await.unwrap();
    let marked = |object: &Value| object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "fairlead-operator";
    ground.until(&policies, "one-backend", "marked", marked).await;
}

#[tokio::test]
async fn an_object_of_somebody_else_is_never_taken_over() {
    let Some((ground, tally)) = Ground::new().await else { return };
    let theirs =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one-config"}, "data": {"a": "b"}});
    let maps = ground.api(Resource::ConfigMap);
    let theirs: DynamicObject = serde_json::from_value(theirs).unwrap();
    maps.create(&PostParams::default(), &theirs).await.unwrap();
    ground.create("one", http()).await;
    ground.fails(&tally, "a name that is taken").await;
    assert_eq!(maps.get("one-config").await.unwrap().data["data"], json!({"a": "b"}));
}

fn amounts() -> Value {
    let resources = json!({"requests": {"cpu": "1000m", "memory": 67_108_864}, "limits": {"memory": "1024Mi"}});
    json!({"podTemplateSpec": {"spec": {"containers": [{"name": "mcp", "resources": resources}]}}})
}

#[tokio::test]
async fn looking_again_at_what_has_not_changed_writes_nothing() {
    let Some((ground, tally)) = Ground::new().await else { return };
    for (name, spec) in [
        ("one", with(http(), json!({"replicas": 2}))),
        // An API server writes amounts in a form of its own.
        ("two", with(stdio(), amounts())),
        ("three", json!({"source": {"kind": "command", "program": "x"}})),
    ] {
        if name != "three" {
            ground.create(name, spec).await;
        }
    }
    ground.there(Resource::Deployment, "one").await;
    ground.there(Resource::Deployment, "two").await;
    ground.quiet(&tally).await;
    let (looks, writes) = (tally.reconciles(), tally.writes());
    for turn in 0..10 {
        for name in ["one", "two"] {
            let touch = json!({"metadata": {"annotations": {"turn": turn.to_string()}}});
            ground.servers().patch(name, &PatchParams::default(), &Patch::Merge(&touch)).await.unwrap();
        }
        ground.looked(&tally, looks + 2 * (turn + 1)).await;
    }
    ground.quiet(&tally).await;
    assert_eq!((tally.writes(), tally.failures()), (writes, 0), "{tally:?}");
}

#[tokio::test]
async fn a_server_that_is_removed_leaves_nothing_behind() {
    let Some((ground, tally)) = Ground::new().await else { return };
    ground.create("one", with(stdio(), json!({"replicas": 1}))).await;
    ground.create("two", with(http(), json!({"replicas": 2}))).await;
    ground.there(Resource::Deployment, "one").await;
    ground.there(Resource::PodDisruptionBudget, "two-proxy").await;
    ground.quiet(&tally).await;
    let held = json!(ground.servers().get("one").await.unwrap());
    assert_eq!(held["metadata"]["finalizers"], json!(["fairlead.dev/cleanup"]));
    for name in ["one", "two"] {
        ground.delete(name).await;
        ground.gone(&ground.servers(), name).await;
    }
    for resource in Resource::ALL {
        let left = ground.made(resource).await;
        let names: Vec<_> = left.iter().map(|object| object.metadata.name.clone()).collect();
        assert!(names.is_empty(), "{}: {names:?}", resource.kind());
    }
}

#[tokio::test]
async fn a_status_that_cannot_be_written_stops_nothing() {
    let Some(mut ground) = Ground::bare().await else { return };
    // A user who may do everything here but write the status of a server (K7).
    let user = format!("{}-user", ground.namespace);
    let everything = json!([
        {"apiGroups": ["", "apps", "policy", "networking.k8s.io", "rbac.authorization.k8s.io", "coordination.k8s.io"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": ["fairlead.dev"], "resources": ["mcpservers", "mcpservers/finalizers", "mcpregistries"], "verbs": ["*"]},
    ]);
    let read = json!([{"apiGroups": ["fairlead.dev"], "resources": ["plugins", "pluginattachments", "tenants"], "verbs": ["list", "watch"]},
                      {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterrolebindings"], "verbs": ["list", "watch"]}]);
    for (kind, binding, rules, name) in
        [("Role", "RoleBinding", everything, "most"), ("ClusterRole", "ClusterRoleBinding", read, user.as_str())]
    {
        let subject = json!([{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}]);
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "rules": rules});
        let reference = json!({"kind": kind, "name": name, "apiGroup": "rbac.authorization.k8s.io"});
        let bound = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": binding, "metadata": {"name": name},
                           "roleRef": reference, "subjects": subject});
        for (kind, body) in [(kind, role), (binding, bound)] {
            let resource =
                crate::ground::resource("rbac.authorization.k8s.io", kind, &format!("{}s", kind.to_lowercase()));
            let api: kube::Api<DynamicObject> = match kind.starts_with("Cluster") {
                true => kube::Api::all_with(ground.client.clone(), &resource),
                false => kube::Api::namespaced_with(ground.client.clone(), &ground.namespace, &resource),
            };
            api.create(&PostParams::default(), &serde_json::from_value(body).unwrap()).await.unwrap();
        }
    }
    ground.operator_as("one", Some(&user)).await;
    ground.create("one", http()).await;
    ground.there(Resource::Deployment, "one").await;
    let server = json!(ground.servers().get("one").await.unwrap());
    assert!(server.get("status").is_none(), "{server:#}");
}
