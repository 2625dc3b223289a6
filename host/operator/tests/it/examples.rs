//! The manifests of `deploy/`: what people copy is taken by the API server to the letter, and carried out.

use std::path::{Path, PathBuf};

use fairlead_operator::desired::Resource;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};

use crate::ground::{Ground, resource};

pub(crate) fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

pub(crate) fn read(path: &Path) -> Vec<Value> {
    serde_saphyr::from_multiple(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The resource of an object, its plural as English makes it.
pub(crate) fn of(object: &Value) -> kube::core::ApiResource {
    let api = object["apiVersion"].as_str().unwrap();
    let group = api.rsplit_once('/').map_or("", |(group, _)| group);
    let kind = object["kind"].as_str().unwrap();
    let word = kind.to_lowercase();
    let plural = word.strip_suffix('y').map_or_else(|| format!("{word}s"), |stem| format!("{stem}ies"));
    resource(group, kind, &plural)
}

#[tokio::test]
async fn every_example_is_taken_and_carried_out() {
    let Some((ground, _)) = Ground::new().await else { return };
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(deploy().join("examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{files:?}");
    let params = PatchParams::apply("test").validation_strict();
    for file in files {
        for mut object in read(&file) {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            let kind = object["kind"].as_str().unwrap();
            let is_everywhere = ["Plugin", "Tenant"].contains(&kind) || kind.starts_with("ValidatingAdmission");
            let api: Api<DynamicObject> = match is_everywhere {
                true => Api::all_with(ground.client.clone(), &of(&object)),
                false => Api::namespaced_with(ground.client.clone(), &ground.namespace, &of(&object)),
            };
            if !is_everywhere {
                object["metadata"]["namespace"] = ground.namespace.clone().into();
            }
            api.patch(&name, &params, &Patch::Apply(&object))
                .await
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            if object["kind"] == "MCPServer" {
                ground.there(Resource::Deployment, &name).await;
                let server = ground.observed(&name).await;
                assert_ne!(server["status"]["phase"], "Failed", "{}: {server:#}", file.display());
            }
            if object["kind"] == "MCPRegistry" {
                ground.there(Resource::Deployment, &format!("{name}-registry")).await;
                ground.condition_of(&ground.registries(), &name, "SpecValid", "True", "SpecIsValid").await;
            }
        }
    }
}

#[tokio::test]
async fn the_manifests_of_the_operator_are_taken_to_the_letter() {
    let Some(ground) = Ground::bare().await else { return };
    let params = PatchParams::apply("test").validation_strict();
    let dry = params.clone().dry_run();
    for mut object in read(&deploy().join("operator.yaml")) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let resource = of(&object);
        let api: Api<DynamicObject> = match object["metadata"].get("namespace").is_some() {
            true => {
                // The namespace of the manifest is not there in a dry run; the one of the test enforces the same standard.
                object["metadata"]["namespace"] = json!(ground.namespace);
                Api::namespaced_with(ground.client.clone(), &ground.namespace, &resource)
            }
            false => Api::all_with(ground.client.clone(), &resource),
        };
        // What is in the namespace is made, so that its pods have to be admitted.
        let params = if object["metadata"].get("namespace").is_some() { &params } else { &dry };
        api.patch(&name, params, &Patch::Apply(&object)).await.unwrap_or_else(|error| panic!("{object:#}: {error}"));
    }
    let has_pods = |object: &Value| object["status"]["replicas"] == 2;
    ground.until(&ground.api(Resource::Deployment), "fairlead-operator", "admitted", has_pods).await;
}
