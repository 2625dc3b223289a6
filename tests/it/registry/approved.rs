//! A server of a cluster is held against its entry: the registry server of this build in a pod that really runs, asked by an operator
//! that is nobody but the account of `deploy/operator.yaml`. Each right that this needs is taken away, and the condition says so.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use fairlead_tests::cluster::Cluster;
use fairlead_tests::limits::{POD, SETTLE};
use fairlead_tests::{Daemon, binary, eventually};
use serde_json::{Value, json};
use tokio::process::Child;

use crate::containers::engine;
use crate::grounds::proxy_image;

const URL: &str = "https://docs.example.test/mcp";

const CONDITION: &str = "RegistryEntryApproved";

/// More than one look at what is to be asked, and what a cluster needs to see another right.
const ASKED: std::time::Duration = SETTLE;

/// An operator under the manifest, in the namespace of a test.
struct Manifest {
    /// Its one role for the whole cluster, under a name of its own.
    role: String,
    rules: Value,
    _operator: Child,
}

impl Manifest {
    async fn start(cluster: &Cluster, home: &Path, image: &str) -> Result<Self> {
        let namespace = cluster.namespace();
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/operator.yaml"))?;
        let text = text.replace("fairlead-system", namespace);
        // One object after another.
        let printed = cluster.kubectl(&["create", "--dry-run=client", "-o", "json", "-f", "-"], &text).await?;
        let objects = serde_json::Deserializer::from_str(&printed).into_iter::<Value>();
        let role = format!("{namespace}-operator");
        let (mut list, mut rules) = (Vec::new(), Value::Null);
        for object in objects {
            let mut object = object?;
            match object["kind"].as_str().unwrap_or_default() {
                "Namespace" | "Deployment" => continue,
                "ClusterRole" => {
                    rules = object["rules"].clone();
                    object["metadata"]["name"] = role.clone().into();
                }
                "ClusterRoleBinding" => {
                    object["metadata"]["name"] = role.clone().into();
                    object["roleRef"]["name"] = role.clone().into();
                }
                _ => {}
            }
            list.push(object);
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": list});
        cluster.kubectl(&["apply", "-f", "-"], &list.to_string()).await?;
        let token = cluster.kubectl(&["create", "token", "fairlead-operator", "--duration=1h"], "").await?;
        let kubeconfig = home.join("operator-kubeconfig");
        std::fs::write(&kubeconfig, cluster.kubeconfig_of(token.trim(), &cluster.server()?)?.to_string())?;
        let kubeconfig = kubeconfig.to_str().context("a path")?;
        let operator = cluster.operator_with(image, &["--bind-reviewers"], &[("KUBECONFIG", kubeconfig)])?;
        Ok(Self { role, rules, _operator: operator })
    }

    /// Takes a verb away from what it may do, or gives all back.
    async fn without(&self, cluster: &Cluster, taken: Option<(&str, &str)>) -> Result<()> {
        let mut rules = self.rules.clone();
        if let Some((resource, verb)) = taken {
            let mut left = Vec::new();
            for rule in rules.as_array().context("rules")? {
                let others = without(&rule["resources"], resource);
                let is_its = others.len() < rule["resources"].as_array().map_or(0, Vec::len);
                if !is_its {
                    left.push(rule.clone());
                    continue;
                }
                for (resources, verbs) in
                    [(others, rule["verbs"].clone()), (vec![resource.into()], without(&rule["verbs"], verb).into())]
                {
                    if !resources.is_empty() && verbs != json!([]) {
                        left.push(json!({"apiGroups": rule["apiGroups"], "resources": resources, "verbs": verbs}));
                    }
                }
            }
            rules = left.into();
        }
        let patch = json!({ "rules": rules }).to_string();
        cluster.kubectl(&["patch", "clusterrole", &self.role, "--type=merge", "-p", &patch], "").await.map(drop)
    }
}

fn without(list: &Value, gone: &str) -> Vec<Value> {
    list.as_array().into_iter().flatten().filter(|it| *it != gone).cloned().collect()
}

/// A server that runs nowhere, and names the entry that it came from.
async fn create(cluster: &Cluster, name: &str, entry: &str, url: &str) -> Result<()> {
    let server = json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "MCPServer",
                        "metadata": {"name": name, "annotations": {"fairlead.dev/registry-entry": entry}},
                        "spec": {"source": {"kind": "remote", "url": url}, "replicas": 0}});
    cluster.kubectl(&["create", "-f", "-"], &server.to_string()).await.map(drop)
}

async fn judged(cluster: &Cluster, name: &str, status: &str, reason: &str, said: &str) -> Result<()> {
    eventually(&format!("{name} is {reason}"), ASKED, async || {
        let server = cluster.get(&format!("mcpserver/{name}")).await?;
        let conditions = server.pointer("/status/conditions").and_then(Value::as_array);
        let condition = conditions.into_iter().flatten().find(|it| it["type"] == CONDITION).context("nothing yet")?;
        let is_so = condition["status"] == status && condition["reason"] == reason;
        ensure!(is_so && condition["message"].as_str().is_some_and(|text| text.contains(said)), "{condition}");
        Ok(())
    })
    .await
}

/// A registry with entries of each status; `late-…` are for servers that come later.
async fn catalogue(cluster: &Cluster) -> Result<()> {
    let entry = |name: &str, status: &str| {
        let remotes = json!([{"type": "streamable-http", "url": URL}]);
        json!({"server": {"name": format!("io.acme/{name}"), "version": "1.0.0", "description": name, "remotes": remotes},
               "_meta": {"io.modelcontextprotocol.registry/official": {"status": status, "isLatest": true}}})
    };
    let mut servers = vec![entry("docs", "active"), entry("old", "deprecated"), entry("gone", "deleted")];
    servers.extend((0..TAKEN.len()).map(|index| entry(&format!("late-{index}"), "active")));
    let data = json!({"servers.json": json!({"servers": servers, "metadata": {"count": servers.len()}}).to_string()});
    let source = json!({"source": {"kind": "config-map", "name": "servers", "key": "servers.json"}});
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "servers"}, "data": data},
        {"apiVersion": "fairlead.dev/v1alpha1", "kind": "MCPRegistry", "metadata": {"name": "catalogue"},
         "spec": {"registries": {"ours": source}}},
    ]});
    cluster.kubectl(&["apply", "-f", "-"], &objects.to_string()).await?;
    cluster.ready("fairlead.dev/registry=catalogue").await.map(drop)
}

/// What is taken away, and what is said then.
const TAKEN: [(&str, &str, &str); 3] = [
    ("mcpregistries/entries", "get", "(status 403)"),
    ("pods/portforward", "create", "does not forward its port"),
    ("pods/portforward", "get", "does not forward its port"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_a_cluster_is_held_against_its_entry_by_an_operator_with_no_right_too_many() -> Result<()> {
    let Some(cluster) = Cluster::with_node().await? else { return Ok(()) };
    let daemon = Daemon::start().await?;
    let Some(engine) = engine(&daemon.cli()?).await else { return Ok(()) };
    let image = proxy_image(&cluster, &engine, &binary::plugin("tool-filter")?).await?;
    let manifest = Manifest::start(&cluster, daemon.home().path(), &image).await?;
    let outcome = held(&cluster, &manifest).await;
    cluster.kubectl(&["delete", "mcpservers,mcpregistries", "--all", "--timeout=60s"], "").await?;
    for kind in ["clusterrole", "clusterrolebinding"] {
        cluster.kubectl(&["delete", kind, &manifest.role], "").await?;
    }
    engine.done().await?;
    outcome
}

async fn held(cluster: &Cluster, manifest: &Manifest) -> Result<()> {
    catalogue(cluster).await?;
    let (docs, elsewhere) = ("io.acme/docs@1.0.0", "https://elsewhere.example.test/mcp");
    create(cluster, "docs", docs, URL).await?;
    create(cluster, "other", docs, elsewhere).await?;
    create(cluster, "old", "io.acme/old@1.0.0", URL).await?;
    create(cluster, "gone", "io.acme/gone@1.0.0", URL).await?;
    eventually("the registry has read its source", POD, async || {
        judged(cluster, "docs", "True", "EntryApproved", "`catalogue`").await
    })
    .await?;
    judged(cluster, "other", "False", "EntryDiffers", elsewhere).await?;
    judged(cluster, "old", "False", "EntryWithdrawn", "is deprecated").await?;
    judged(cluster, "gone", "False", "EntryWithdrawn", "is deleted").await?;
    // It informs, and stops nobody.
    for name in ["docs", "other", "old", "gone"] {
        cluster.get(&format!("deployment/{name}")).await?;
    }
    for (index, (resource, verb, said)) in TAKEN.into_iter().enumerate() {
        manifest.without(cluster, Some((resource, verb))).await?;
        let (name, entry) = (format!("late-{index}"), format!("io.acme/late-{index}@1.0.0"));
        create(cluster, &name, &entry, URL).await?;
        judged(cluster, &name, "Unknown", "RegistryUnavailable", said)
            .await
            .with_context(|| format!("{resource} {verb}"))?;
    }
    // What was known counts meanwhile, and all is asked anew when the registry changes.
    judged(cluster, "docs", "True", "EntryApproved", "`catalogue`").await?;
    manifest.without(cluster, None).await?;
    let touch = json!({"spec": {"service": {"annotations": {"touched": "yes"}}}}).to_string();
    cluster.kubectl(&["patch", "mcpregistry", "catalogue", "--type=merge", "-p", &touch], "").await?;
    for index in 0..TAKEN.len() {
        judged(cluster, &format!("late-{index}"), "True", "EntryApproved", "`catalogue`").await?;
    }
    Ok(())
}
