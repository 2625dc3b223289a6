//! The Helm chart: what it renders is taken by the API server to the letter, and it asks for the rights of the plain manifests.
//!
//! Helm itself renders it, from `FAIRLEAD_TEST_HELM` (`cargo xtask test` builds one) or the path; without one these tests say so and are
//! skipped.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};

use crate::examples::{deploy, of};
use crate::ground::Ground;
use crate::rights::{Right, manifest, rights};

/// The release of every test here.
const RELEASE: &str = "guard";

fn helm() -> Option<PathBuf> {
    let named = std::env::var_os("FAIRLEAD_TEST_HELM").map(PathBuf::from);
    let found = named.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|directory| directory.join("helm")).find(|file| file.is_file())
    });
    if found.is_none() {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "skipped: there is no `helm`; name one in FAIRLEAD_TEST_HELM");
    }
    found
}

fn run(helm: &PathBuf, args: &[&str]) -> String {
    let output = Command::new(helm).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn rendered(helm: &PathBuf, namespace: &str, values: &[&str]) -> Vec<Value> {
    let chart = deploy().join("helm/fairlead");
    let mut args = vec!["template", RELEASE, chart.to_str().unwrap(), "--namespace", namespace];
    for value in values {
        args.extend(["--set", value]);
    }
    let text = run(helm, &args);
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    objects.into_iter().filter(|object| !object.is_null()).collect()
}

fn all_rights(objects: &[Value]) -> BTreeSet<Right> {
    let roles = objects.iter().filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("Role")));
    roles.flat_map(rights).collect()
}

#[test]
fn the_chart_asks_for_the_rights_of_the_manifests_wherever_it_looks() {
    let Some(helm) = helm() else { return };
    run(&helm, &["lint", "--strict", deploy().join("helm/fairlead").to_str().unwrap()]);
    let mut wanted = rights(&manifest("ClusterRole", "fairlead-operator"));
    wanted.extend(rights(&manifest("Role", "fairlead-operator")));
    let (everywhere, one) =
        (rendered(&helm, "system", &[]), rendered(&helm, "system", &["scope.namespace=team", "crds.install=false"]));
    assert_eq!(all_rights(&everywhere), wanted);
    // What has no namespace is nobody's who looks at one.
    wanted.retain(|(_, resource, _)| {
        !["clusterrolebindings", "subjectaccessreviews", "tokenreviews"].contains(&resource.as_str())
    });
    assert_eq!(all_rights(&one), wanted);
    // With one namespace, nothing that is written is written elsewhere.
    let cluster = one.iter().find(|object| object["kind"] == "ClusterRole").unwrap();
    assert!(rights(cluster).iter().all(|(_, _, verb)| verb == "list" || verb == "watch"), "{cluster:#}");
    let namespaced = one.iter().filter(|object| object["kind"] == "Role" && object["metadata"]["namespace"] == "team");
    assert_eq!(namespaced.count(), 1);
    assert!(one.iter().all(|object| object["kind"] != "CustomResourceDefinition"));
    // The definitions are those of `deploy/crds`, and stay when the release goes.
    let definitions: Vec<&Value> = everywhere.iter().filter(|it| it["kind"] == "CustomResourceDefinition").collect();
    assert_eq!(definitions.len(), crate::ground::definitions().len());
    for definition in crate::ground::definitions() {
        let there = definitions.iter().find(|it| it["metadata"]["name"] == definition["metadata"]["name"]).unwrap();
        assert_eq!(there["spec"], definition["spec"]);
        assert_eq!(there["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
}

#[test]
fn a_value_that_means_nothing_is_refused() {
    let Some(helm) = helm() else { return };
    let chart = deploy().join("helm/fairlead");
    for value in [
        "replica=2",
        "image.digest=latest",
        "port=80",
        "leaderElection.leaseName=",
        "updates.interval=often",
        "updates.detector=guess",
    ] {
        let output = Command::new(&helm).args(["template", RELEASE, chart.to_str().unwrap(), "--set", value]).output();
        assert!(!output.unwrap().status.success(), "{value} was taken");
    }
}

#[tokio::test]
async fn what_the_chart_renders_is_taken_to_the_letter_and_its_pods_are_admitted() {
    let Some(helm) = helm() else { return };
    let Some(ground) = Ground::bare().await else { return };
    let digest = format!("image.digest=sha256:{}", "0".repeat(64));
    let team = format!("scope.namespace={}", ground.namespace);
    for values in [
        vec![],
        vec![team.as_str(), "metrics.service=true", "podLabels.a=b", "podAnnotations.c=d", "nodeSelector.disk=ssd"],
        vec![
            digest.as_str(),
            "image.pullSecrets[0].name=registry",
            "serviceAccount.annotations.role=x",
            "crds.keep=false",
            "updates.interval=6h",
            "updates.detector=probe",
        ],
    ] {
        let params = PatchParams::apply("test").force().validation_strict();
        for object in rendered(&helm, &ground.namespace, &values) {
            let name = object["metadata"]["name"].as_str().unwrap();
            let is_namespaced = object["metadata"].get("namespace").is_some();
            // What has no namespace is shared with other tests, so it is only tried.
            let (api, params): (Api<DynamicObject>, _) = match is_namespaced {
                true => (Api::namespaced_with(ground.client.clone(), &ground.namespace, &of(&object)), params.clone()),
                false => (Api::all_with(ground.client.clone(), &of(&object)), params.clone().dry_run()),
            };
            api.patch(name, &params, &Patch::Apply(&object))
                .await
                .unwrap_or_else(|error| panic!("{object:#}: {error}"));
        }
        let deployments = ground.api(fairlead_operator::desired::Resource::Deployment);
        // A pod that is not admitted is not counted.
        let has_pods = |object: &Value| object["status"]["replicas"] == json!(2);
        ground.until(&deployments, RELEASE, "admitted", has_pods).await;
        // Nothing starts them, so none would ever take the place of those: the next values begin anew.
        deployments.delete(RELEASE, &DeleteParams::foreground()).await.unwrap();
        ground.gone(&deployments, RELEASE).await;
    }
}
