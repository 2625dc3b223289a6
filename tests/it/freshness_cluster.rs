//! Servers of a cluster are kept fresh by the operator of this build: a real OCI registry, a real API server and controllers, a policy
//! of ours as a component. Only the node is played: it says of each pod what a kubelet would, by the image that the pod was admitted
//! with. So nothing can be asked over MCP, and the servers are of those of which there may be only one: a probe is all that comes before
//! their rollout, and readiness judges it. What comes before that of others needs a node (`freshness_node`).

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fairlead_tests::cluster::Cluster;
use fairlead_tests::{Cli, Home, binary, eventually};
use serde_json::{Value, json};

use crate::distribution::Registry;

/// A check, a probe, a rollout, on a machine that compiles at the same time.
const UPDATE: Duration = Duration::from_secs(120);

/// Images are artifacts here: nobody starts them, and a registry does not ask what they are.
const IMAGES: [&str; 3] = ["noop", "observer", "stamp"];

/// Since when pods are ready: for long enough.
const SINCE: &str = "2026-01-01T00:00:00Z";

/// A cluster, an OCI registry, and who types.
pub(crate) struct Scene<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) registry: &'a Registry,
    pub(crate) cli: Cli,
}

impl Scene<'_> {
    pub(crate) fn reference(&self, server: &str) -> String {
        self.registry.reference(&format!("team/{server}:1"))
    }

    /// Pushes an image under the tag of a server: its digest.
    pub(crate) async fn push(&self, server: &str, image: usize) -> Result<String> {
        let component = binary::fixture(IMAGES[image])?;
        let component = component.to_str().context("a path")?;
        let pushed = self.cli.json(["plugin", "push", component, &self.reference(server)]).await?;
        let pinned = pushed.get("pinned").and_then(Value::as_str).context("a reference")?;
        Ok(pinned.split_once('@').context("a digest")?.1.to_owned())
    }

    /// Waits until the freshness of a server is as wanted.
    pub(crate) async fn reaches(&self, server: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        eventually(&format!("{server}: {what}"), UPDATE, async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let seen = self.cluster.get(&format!("mcpserver/{server}")).await?;
            let updates = seen.pointer("/status/updates").context("nothing is said of its freshness")?;
            ensure!(wanted(updates), "{updates:#}");
            Ok(updates.clone())
        })
        .await
    }

    pub(crate) async fn launched(&self, server: &str) -> Result<String> {
        let set = self.cluster.get(&format!("statefulset/{server}")).await?;
        let image = set.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str);
        image.map(str::to_owned).context("an image")
    }
}

/// Says of every pod what a kubelet would: `tagged` is what tags named when it pulled them, and what `crashes` does so.
pub(crate) async fn node(cluster: &Cluster, tagged: &str, crashes: &str, probed: &mut BTreeSet<String>) -> Result<()> {
    loop {
        for pod in cluster.list("pods", "").await? {
            let image = pod.pointer("/spec/containers/0/image").and_then(Value::as_str).context("an image")?;
            let is_told = pod.pointer("/status/containerStatuses").is_some();
            if is_told || pod.pointer("/metadata/deletionTimestamp").is_some() {
                continue;
            }
            let (repository, digest) = image.split_once('@').unwrap_or((image, tagged));
            let is_probe = pod.pointer("/metadata/labels/fairlead.dev~1probe").is_some();
            let crashes = digest == crashes && !is_probe;
            if is_probe {
                probed.insert(digest.to_owned());
            }
            let state = match (is_probe, crashes) {
                (true, _) => json!({"terminated": {"exitCode": 0, "reason": "Completed"}}),
                (_, true) => json!({"waiting": {"reason": "CrashLoopBackOff"}}),
                _ => json!({"running": {"startedAt": SINCE}}),
            };
            let is_ready = !is_probe && !crashes;
            let truth = if is_ready { "True" } else { "False" };
            let is_so = |kind: &str| json!({"type": kind, "status": truth, "lastTransitionTime": SINCE});
            let container = json!({
                "name": pod.pointer("/spec/containers/0/name"), "image": image, "state": state, "ready": is_ready,
                "imageID": format!("{repository}@{digest}"), "restartCount": if crashes { 3 } else { 0 },
            });
            let status = json!({"status": {
                "phase": if is_probe { "Succeeded" } else { "Running" },
                "conditions": [is_so("ContainersReady"), is_so("Ready")],
                "containerStatuses": [container],
            }});
            let name = pod.pointer("/metadata/name").and_then(Value::as_str).context("a name")?;
            let status = status.to_string();
            // It may have gone meanwhile.
            let _ = cluster
                .kubectl(&["patch", "pod", name, "--subresource=status", "--type=merge", "-p", &status], "")
                .await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn an_image_pushed_under_the_same_tag_is_probed_rolled_out_and_confirmed_and_a_bad_one_is_taken_back() {
    let Some(cluster) = Cluster::found().await.unwrap() else { return };
    let Some(registry) = Registry::start().await else { return };
    let home = Home::new().unwrap();
    let scene = Scene { cluster: &cluster, registry: &registry, cli: Cli::new(&home).unwrap() };
    let first = scene.push("good", 0).await.unwrap();
    assert_eq!(scene.push("bad", 0).await.unwrap(), first, "the same image");
    let env = [("FAIRLEAD_IMAGE_UPDATE_INTERVAL", "2s")];
    let _operator = cluster.operator_with("registry.test/fairlead:1", &[], &env).unwrap();
    cluster.kubectl(&["apply", "-f", "-"], &document(&scene).await.unwrap()).await.unwrap();
    let (good, bad) = (binary::fixture(IMAGES[1]).unwrap(), binary::fixture(IMAGES[2]).unwrap());
    assert_ne!(std::fs::read(good).unwrap(), std::fs::read(bad).unwrap());
    // What the last image is, is known before it is pushed to whoever takes it for good.
    let crashes = scene.push("elsewhere", 2).await.unwrap();
    let mut probed = BTreeSet::new();
    tokio::select! {
        broke = node(&cluster, &first, &crashes, &mut probed) => broke.unwrap(),
        shown = shown(&scene, &first) => shown.unwrap(),
    }
    assert!(probed.contains(&crashes) && !probed.contains(&first) && probed.len() == 2, "{probed:?}");
    let name = format!("policy-{}", cluster.namespace());
    cluster.kubectl(&["delete", "mcpserver", "--all", "--timeout=60s"], "").await.unwrap();
    cluster.kubectl(&["delete", "plugin.fairlead.dev", &name], "").await.unwrap();
}

/// Two servers that follow their tags, as a policy of ours has it.
async fn document(scene: &Scene<'_>) -> Result<String> {
    let plugin = binary::plugin("update-digest")?;
    let inspected = scene.cli.json(["plugin", "inspect", plugin.to_str().context("a path")?]).await?;
    let digest = inspected.get("digest").and_then(Value::as_str).context("a digest")?;
    let policy = format!("policy-{}", scene.cluster.namespace());
    let mut objects =
        vec![json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "Plugin", "metadata": {"name": policy},
                                  "spec": {"source": plugin, "digest": digest}})];
    for name in ["good", "bad"] {
        objects.push(json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "MCPServer", "metadata": {"name": name},
        "spec": {
            "source": {"kind": "image", "reference": scene.reference(name)},
            "transport": {"kind": "streamable-http", "port": 9000},
            "updates": {"check": true, "autoReinstall": true, "singleInstance": true},
            "plugins": [{"name": "follow", "kind": "update-policy", "plugin": policy}],
        }}));
    }
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())
}

async fn shown(scene: &Scene<'_>, first: &str) -> Result<()> {
    let runs = |updates: &Value, digest: &str| {
        updates.get("status") == Some(&json!("up_to_date")) && updates.get("running") == Some(&json!([digest]))
    };
    for server in ["good", "bad"] {
        scene.reaches(server, "runs what its tag names", |updates| runs(updates, first)).await?;
        ensure!(scene.launched(server).await? == scene.reference(server));
    }
    let second = scene.push("good", 1).await?;
    scene.push("bad", 2).await?;
    let updates = scene.reaches("good", "updated", |updates| runs(updates, &second)).await?;
    ensure!(updates.get("lastReinstall").is_some_and(Value::is_string), "{updates:#}");
    let repository = scene.registry.reference("team/good");
    ensure!(scene.launched("good").await? == format!("{repository}@{second}"));
    let is_back = |updates: &Value| {
        updates.get("status") == Some(&json!("rollout_failed")) && updates.get("running") == Some(&json!([first]))
    };
    scene.reaches("bad", "taken back", is_back).await?;
    let repository = scene.registry.reference("team/bad");
    ensure!(scene.launched("bad").await? == format!("{repository}@{first}"));
    let left = scene.cluster.list("pods", "fairlead.dev/probe").await?;
    ensure!(left.is_empty(), "{left:#?}");
    Ok(())
}
