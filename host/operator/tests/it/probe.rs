//! A probe of a real server: admitted where the server's own pods are, known by its check, and told by the words of a kubelet.

use fairlead_operator::desired::Resource;
use fairlead_operator::probe::{Question, Sighting, sighting};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::ground::{Ground, http, with};

#[tokio::test]
async fn a_probe_is_admitted_like_the_pods_of_its_server_and_asked_once_for_each_check() {
    let Some((ground, tally)) = Ground::new().await else { return };
    let template =
        json!({"spec": {"nodeSelector": {"pool": "mcp"}, "tolerations": [{"key": "mcp", "operator": "Exists"}]}});
    let own = json!({"imagePullSecrets": ["registry"], "podTemplateSpec": template});
    ground.create("one", with(http(), own)).await;
    let set = ground.there(Resource::StatefulSet, "one").await;
    let server = ground.servers().get("one").await.unwrap();
    let question = Question {
        server: "one",
        namespace: &ground.namespace,
        uid: server.metadata.uid.as_deref().unwrap(),
        template: &set["spec"]["template"],
        container: "mcp",
        reference: "registry.test/server:1",
        check: "check-1",
    };
    ground.quiet(&tally).await;
    let looks = tally.reconciles();
    let pod = serde_json::from_value(question.pod()).unwrap();
    let made = ground.pods().create(&PostParams::default(), &pod).await.unwrap();
    assert_eq!(sighting(&json!(made)), Sighting::Waiting);
    let again = ground.pods().create(&PostParams::default(), &pod).await.unwrap_err();
    assert!(matches!(again, kube::Error::Api(status) if status.code == 409), "the same check, the same pod");
    let digest = format!("sha256:{}", "b".repeat(64));
    let status = json!({"phase": "Failed", "containerStatuses": [{
        "name": "probe", "image": "registry.test/server:1", "imageID": format!("registry.test/server@{digest}"), "ready": false,
        "restartCount": 0, "state": {"terminated": {"exitCode": 128, "reason": "StartError"}}}]});
    let name = question.pod_name();
    ground.pods().patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await.unwrap();
    let told = json!(ground.pods().get(&name).await.unwrap());
    assert_eq!(sighting(&told), Sighting::Found(digest));
    ground.pods().delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap();
    ground.gone(&ground.pods(), &name).await;
    // The server never took it for a pod of its own.
    ground.quiet(&tally).await;
    assert_eq!(tally.reconciles(), looks);
    let server = ground.servers().get("one").await.unwrap();
    assert_eq!(server.data["status"]["phase"], "Pending");
}
