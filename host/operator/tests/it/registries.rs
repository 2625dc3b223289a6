//! An `MCPRegistry`, from its document to a registry server that could start, and to nothing when it goes.

use fairlead_operator::desired::Resource;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};

use crate::ground::Ground;

fn registry(name: &str, spec: &Value) -> DynamicObject {
    let body =
        json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "MCPRegistry", "metadata": {"name": name}, "spec": spec});
    serde_json::from_value(body).unwrap()
}

fn spec() -> Value {
    json!({"registries": {
        "files": {"source": {"kind": "config-map", "name": "servers", "key": "servers.json"}, "layer": "trusted",
                  "rules": {"include": [{"names": ["io.acme/*"]}], "change": [{"labels": {"team": "a"}}]}},
        "upstream": {"source": {"kind": "api", "url": "https://registry.example.test", "token": "secret://kubernetes/up/token"},
                     "intervalSecs": 600},
    }})
}

#[tokio::test]
async fn a_registry_is_refused_where_no_registry_server_could_read_it() {
    let Some(ground) = Ground::bare().await else { return };
    let only = |registry: Value| json!({"registries": {"a": registry}});
    for (name, spec, said) in [
        ("a", json!({"registries": {}}), "should have at least 1 properties"),
        ("a", json!({}), "Required value"),
        ("a", only(json!({"source": {"kind": "file", "path": "/srv/a"}})), "Unsupported value"),
        ("a", only(json!({"source": {"kind": "config-map", "name": "a"}})), "`key` may be left out only for"),
        ("a", only(json!({"source": {"kind": "oci", "reference": "a", "url": "b"}})), "`url` is only for"),
        (
            "a",
            json!({"registries": {"a": {"source": {"kind": "oci", "reference": "a"}}}, "access": "open", "tokens": true}),
            "say two things",
        ),
        ("a", only(json!({"source": {"kind": "json", "url": "a"}, "intervalSecs": -1})), "greater than or equal to 0"),
        (&"x".repeat(51), spec(), "at most 50 characters"),
    ] {
        let refused = ground.registries().create(&PostParams::default(), &registry(name, &spec)).await;
        let refused = refused.expect_err(&format!("{spec} was taken")).to_string();
        assert!(refused.contains(said), "{spec}: {refused}");
    }
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let made = ground.registries().create(&dry, &registry("a", &spec())).await.unwrap();
    // Nothing is lost: what a schema does not know would have been pruned.
    assert_eq!(made.data["spec"], spec());
}

#[tokio::test]
async fn a_registry_is_served_follows_its_document_and_leaves_nothing_behind() {
    let Some((ground, tally)) = Ground::new().await else { return };
    let registries = ground.registries();
    registries.create(&PostParams::default(), &registry("main", &spec())).await.unwrap();
    let deployment = ground.there(Resource::Deployment, "main-registry").await;
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["args"][1], "serve");
    let binding = format!("fairlead.dev:{}:main-registry", ground.namespace);
    let bound = ground.there(Resource::ClusterRoleBinding, &binding).await;
    assert_eq!(bound["subjects"][0]["namespace"], ground.namespace);
    let map = ground.there(Resource::ConfigMap, "main-registry").await;
    assert!(!map["data"]["registries.json"].as_str().unwrap().contains("secret://kubernetes"));
    let seen = ground.condition_of(&registries, "main", "SpecValid", "True", "SpecIsValid").await;
    assert_eq!(seen["status"]["url"], format!("http://main-registry.{}.svc:8080", ground.namespace));
    assert_eq!(seen["status"]["registries"], 2);
    // Its pods are admitted under the restricted standard, and answer.
    let deployments = ground.api(Resource::Deployment);
    ground.until(&deployments, "main-registry", "admitted", |object| object["status"]["replicas"] == 1).await;
    let answers =
        Patch::Merge(json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}));
    let its = ListParams::default().labels("fairlead.dev/registry=main");
    for pod in ground.pods().list(&its).await.unwrap() {
        let name = pod.metadata.name.unwrap();
        ground.pods().patch_status(&name, &PatchParams::default(), &answers).await.unwrap();
    }
    ground.condition_of(&registries, "main", "Ready", "True", "Ready").await;
    ground.quiet(&tally).await;
    let (looks, writes) = (tally.reconciles(), tally.writes());
    let touch = Patch::Merge(json!({"metadata": {"annotations": {"looked": "again"}}}));
    registries.patch("main", &PatchParams::default(), &touch).await.unwrap();
    ground.looked(&tally, looks + 1).await;
    ground.quiet(&tally).await;
    assert_eq!(tally.writes(), writes, "nothing has changed");
    // Somebody scales it: they may, and it is said.
    ground.scale(&deployments, "main-registry", 0).await;
    ground.condition_of(&registries, "main", "Ready", "False", "Stopped").await;
    ground.quiet(&tally).await;
    let stopped = ground.api(Resource::Deployment).get("main-registry").await.unwrap();
    assert_eq!(stopped.data["spec"]["replicas"], 0);
    assert_eq!(tally.failures(), 0, "{tally:?}");
    // A slip ends nothing; what is right again is carried out.
    let change = |spec: Value| Patch::Merge(json!({"spec": spec}));
    let slip = json!({"registries": {"slip": {"source": {"kind": "plugin", "plugin": "x", "config": {"a": "secret://vault/x"}}}}});
    registries.patch("main", &PatchParams::default(), &change(slip)).await.unwrap();
    ground.condition_of(&registries, "main", "SpecValid", "False", "SpecIsInvalid").await;
    assert!(deployments.get_opt("main-registry").await.unwrap().is_some());
    let right = json!({"registries": {"slip": null}, "port": 9090});
    registries.patch("main", &PatchParams::default(), &change(right)).await.unwrap();
    let moved = |object: &Value| object["spec"]["ports"][0]["port"] == 9090;
    ground.until(&ground.api(Resource::Service), "main-registry", "moved", moved).await;
    // Who opens it needs no right over the cluster any more, and has none.
    registries.patch("main", &PatchParams::default(), &change(json!({"access": "open"}))).await.unwrap();
    ground.gone(&ground.api(Resource::ClusterRoleBinding), &binding).await;
    registries.patch("main", &PatchParams::default(), &change(json!({"access": null}))).await.unwrap();
    ground.there(Resource::ClusterRoleBinding, &binding).await;
    registries.delete("main", &DeleteParams::default()).await.unwrap();
    ground.gone(&registries, "main").await;
    for resource in Resource::ALL {
        assert!(ground.made(resource).await.is_empty(), "{}", resource.kind());
    }
}

#[tokio::test]
async fn a_right_over_the_cluster_goes_with_its_registry_though_somebody_took_its_mark_away() {
    let Some(mut ground) = Ground::bare().await else { return };
    ground.operator("one").await;
    let bindings = ground.api(Resource::ClusterRoleBinding);
    let binding = format!("fairlead.dev:{}:brief-registry", ground.namespace);
    ground.registries().create(&PostParams::default(), &registry("brief", &spec())).await.unwrap();
    ground.there(Resource::ClusterRoleBinding, &binding).await;
    ground.kill(0);
    // No watch tells of it now, and nothing of a namespace owns it.
    let unmark = Patch::Merge(json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}));
    bindings.patch(&binding, &PatchParams::default(), &unmark).await.unwrap();
    ground.registries().delete("brief", &DeleteParams::default()).await.unwrap();
    ground.operator("two").await;
    ground.gone(&ground.registries(), "brief").await;
    assert!(bindings.get_opt(&binding).await.unwrap().is_none());
}
