//! What is said of a server, as it comes up, fails and goes.

use fairlead_operator::desired::Resource;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::ground::{Ground, http, resource, with};

impl Ground {
    /// Says of every pod of a half of a server what a kubelet would.
    async fn pods_say(&self, component: &str, status: &Value) {
        let mine = ListParams::default().labels(&format!("app.kubernetes.io/component={component}"));
        let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let pods = self.pods().list(&mine).await.unwrap();
            for pod in &pods.items {
                let name = pod.metadata.name.clone().unwrap();
                self.pods()
                    .patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": status})))
                    .await
                    .unwrap();
            }
            if !pods.items.is_empty() {
                return;
            }
            assert!(tokio::time::Instant::now() < end, "no pod of {component}: it was not admitted");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

fn answering() -> Value {
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": null})
}

#[tokio::test]
async fn a_server_whose_pods_answer_is_ready_and_its_pods_are_admitted_under_the_restricted_standard() {
    let Some((ground, _)) = Ground::new().await else { return };
    ground.create("one", http()).await;
    ground.condition("one", "Ready", "False", "NotReady").await;
    ground.pods_say("proxy", &answering()).await;
    ground.pods_say("backend", &answering()).await;
    let server = ground.condition("one", "Ready", "True", "Ready").await;
    assert_eq!(server["status"]["phase"], "Ready");
    assert_eq!(server["status"]["message"], "MCP server is running");
    let url = format!("http://mcp-one-proxy.{}.svc:8080/mcp", ground.namespace);
    assert_eq!(server["status"]["url"], url.as_str());
    for kind in ["SpecValid", "PodTemplateValid", "PermissionProfileValid", "PluginsResolved"] {
        let conditions = server["status"]["conditions"].as_array().unwrap();
        assert!(conditions.iter().any(|it| it["type"] == kind && it["status"] == "True"), "{kind}");
    }
    // A pod that does not come up.
    let crash = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}],
                       "containerStatuses": [{"name": "mcp", "image": "x", "imageID": "", "ready": false, "restartCount": 3,
                                              "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]});
    ground.pods_say("backend", &crash).await;
    let is_failed = |server: &Value| server["status"]["phase"] == "Failed";
    let server = ground.until(&ground.servers(), "one", "failed", is_failed).await;
    assert_eq!(server["status"]["message"], "pod `one-0`: CrashLoopBackOff");
    // None at all.
    ground.change("one", json!({"replicas": 0})).await;
    ground.condition("one", "Ready", "False", "Stopped").await;
}

#[tokio::test]
async fn a_slip_in_a_document_is_said_and_ends_nothing_that_runs() {
    let Some((ground, tally)) = Ground::new().await else { return };
    ground.create("one", http()).await;
    ground.there(Resource::Deployment, "one").await;
    ground.quiet(&tally).await;
    for (change, back, kind, reason) in [
        (
            json!({"podTemplateSpec": {"spec": {"containers": [{}]}}}),
            json!({"podTemplateSpec": null}),
            "PodTemplateValid",
            "InvalidPodTemplateSpec",
        ),
        (json!({"env": {"A": "secret://vault/x"}}), json!({"env": null}), "SpecValid", "SpecIsInvalid"),
        (
            json!({"source": {"permissions": {"read": ["/srv"]}}}),
            json!({"source": {"permissions": null}}),
            "PermissionProfileValid",
            "PermissionProfileNotEnforceable",
        ),
    ] {
        ground.change("one", change).await;
        let server = ground.condition("one", kind, "False", reason).await;
        assert_eq!(server["status"]["phase"], "Failed", "{kind}");
        assert!(ground.api(Resource::StatefulSet).get_opt("one").await.unwrap().is_some(), "{kind}");
        ground.change("one", back).await;
        let valid = |server: &Value| server["status"]["phase"] == "Pending";
        ground.until(&ground.servers(), "one", "well again", valid).await;
    }
}

#[tokio::test]
async fn a_guard_is_waited_for_and_pinned_when_it_comes() {
    let Some((ground, _)) = Ground::new().await else { return };
    let guard = format!("guard-{}", ground.namespace);
    ground.create("one", with(http(), json!({"plugins": [{"name": "own", "plugin": guard}]}))).await;
    ground.condition("one", "PluginsResolved", "False", "PluginNotFound").await;
    assert!(ground.api(Resource::Deployment).get_opt("one").await.unwrap().is_none());
    let digest = format!("sha256:{}", "1".repeat(64));
    let plugin = json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "Plugin", "metadata": {"name": guard},
                        "spec": {"source": "registry.test/guard:1", "digest": digest}});
    let plugins = kube::Api::<kube::core::DynamicObject>::all_with(
        ground.client.clone(),
        &resource("fairlead.dev", "Plugin", "plugins"),
    );
    plugins.create(&PostParams::default(), &serde_json::from_value(plugin).unwrap()).await.unwrap();
    ground.condition("one", "PluginsResolved", "True", "AllPluginsResolved").await;
    let config = ground.there(Resource::ConfigMap, "one-config").await;
    assert!(config["data"]["server.json"].as_str().unwrap().contains(&digest));
    // An attachment of the namespace reaches it.
    let attachment = json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "PluginAttachment", "metadata": {"name": "theirs"}, "spec": {"plugin": guard}});
    let attachments = kube::Api::<kube::core::DynamicObject>::namespaced_with(
        ground.client.clone(),
        &ground.namespace,
        &resource("fairlead.dev", "PluginAttachment", "pluginattachments"),
    );
    attachments.create(&PostParams::default(), &serde_json::from_value(attachment).unwrap()).await.unwrap();
    let both = |config: &Value| {
        let told: Value = serde_json::from_str(config["data"]["server.json"].as_str().unwrap_or("null")).unwrap();
        told["chain"].as_array().is_some_and(|chain| chain.len() == 2 && chain[0]["level"] == "tenant")
    };
    ground.until(&ground.api(Resource::ConfigMap), "one-config", "both", both).await;
    plugins.delete(&guard, &kube::api::DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn what_a_tenant_says_holds_for_its_servers_and_follows_it() {
    let Some((ground, _)) = Ground::new().await else { return };
    let tenants = kube::Api::<kube::core::DynamicObject>::all_with(
        ground.client.clone(),
        &resource("fairlead.dev", "Tenant", "tenants"),
    );
    ground.create("one", with(http(), json!({"replicas": 2}))).await;
    ground.condition("one", "SessionStorageWarning", "True", "SessionStorageMissingForReplicas").await;
    let redis =
        json!({"sessionStorage": {"provider": "redis", "address": "redis:6379"}, "imagePullSecrets": ["registry"]});
    let tenant = json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": ground.namespace},
                        "spec": {"defaults": redis}});
    tenants.create(&PostParams::default(), &serde_json::from_value(tenant).unwrap()).await.unwrap();
    ground.condition("one", "SessionStorageWarning", "False", "SessionStorageConfigured").await;
    let pulls =
        |object: &Value| object["spec"]["template"]["spec"]["imagePullSecrets"] == json!([{"name": "registry"}]);
    ground.until(&ground.api(Resource::StatefulSet), "one", "pulls", pulls).await;
    tenants.delete(&ground.namespace, &kube::api::DeleteParams::default()).await.unwrap();
    ground.condition("one", "SessionStorageWarning", "True", "SessionStorageMissingForReplicas").await;
}
