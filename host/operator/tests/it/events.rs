//! What is told in Events: what changed, once.

use kube::Api;
use kube::api::ListParams;
use kube::core::DynamicObject;
use serde_json::{Value, json};

use crate::ground::{Ground, http, resource, with};

impl Ground {
    /// Reason and type of what was told of a server, as far as it was told already.
    async fn told(&self, name: &str) -> Vec<(String, String)> {
        let events: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource("events.k8s.io", "Event", "events"));
        let all = events.list(&ListParams::default()).await.unwrap();
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let ours = all.items.into_iter().map(|event| event.data).filter(|event| {
            event["regarding"]["kind"] == "MCPServer"
                && event["regarding"]["name"] == name
                && event["reportingController"] == "fairlead-operator"
        });
        ours.map(|event| (text(&event, "reason"), text(&event, "type"))).collect()
    }

    pub(crate) async fn until_told(&self, name: &str, reason: &str, kind: &str) {
        let end = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let told = self.told(name).await;
            if told.iter().any(|(is, of)| is == reason && of == kind) {
                return;
            }
            assert!(tokio::time::Instant::now() < end, "{reason} was not told: {told:?}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn what_becomes_of_a_server_is_told_once_when_it_changes() {
    let Some((ground, tally)) = Ground::new().await else { return };
    ground.create("one", with(http(), json!({"replicas": 2}))).await;
    ground.until_told("one", "SessionStorageMissingForReplicas", "Warning").await;
    ground.change("one", json!({"sessionStorage": {"provider": "redis", "address": "redis:6379"}})).await;
    ground.until_told("one", "SessionStorageConfigured", "Normal").await;
    ground.change("one", json!({"env": {"A": "secret://vault/x"}})).await;
    ground.until_told("one", "SpecIsInvalid", "Warning").await;
    ground.until_told("one", "Failed", "Warning").await;
    ground.quiet(&tally).await;
    let told = ground.told("one").await;
    let warnings = told.iter().filter(|(reason, _)| reason == "SessionStorageMissingForReplicas");
    assert_eq!(warnings.count(), 1, "{told:?}");
    assert!(told.len() <= 6, "{told:?}");
}
