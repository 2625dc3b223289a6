//! Who says on a cluster what a tag names: a probe where the operator is set to it, and the node where the registry lets nobody in. And
//! what becomes of a server whose probes are not admitted, or that has two pods.
//!
//! The node is played: what a tag names, and which pod comes up, is said by the test.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fairlead_tests::cluster::Cluster;
use fairlead_tests::eventually;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::task::JoinSet;

use crate::distribution::Registry;

/// A check, a probe, a rollout, on a machine that compiles at the same time.
const UPDATE: Duration = Duration::from_secs(120);

/// Since when pods are ready: for long enough.
const SINCE: &str = "2026-01-01T00:00:00Z";

/// How often the operator looks.
const EVERY: (&str, &str) = ("FAIRLEAD_IMAGE_UPDATE_INTERVAL", "2s");

fn digest(number: u8) -> String {
    format!("sha256:{number:064}")
}

/// What the node does.
#[derive(Debug, Default)]
struct Told {
    /// What every tag names.
    tagged: String,
    /// A pod of which nothing is said while it runs this.
    silent: Option<(&'static str, String)>,
    /// What probes were started with.
    probed: BTreeSet<String>,
}

struct Scene {
    cluster: Cluster,
    told: Arc<Mutex<Told>>,
    _operator: Child,
}

impl Scene {
    async fn start(env: &[(&str, &str)]) -> Result<Option<Self>> {
        let Some(cluster) = Cluster::found().await? else { return Ok(None) };
        let env: Vec<_> = env.iter().copied().chain([EVERY]).collect();
        let operator = cluster.operator_with("registry.test/fairlead:1", &[], &env)?;
        let told = Arc::new(Mutex::new(Told { tagged: digest(1), ..Told::default() }));
        Ok(Some(Self { cluster, told, _operator: operator }))
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    async fn create(&self, name: &str, reference: &str, backends: u32) -> Result<()> {
        let server = json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "MCPServer", "metadata": {"name": name}, "spec": {
            "source": {"kind": "image", "reference": reference},
            "transport": {"kind": "streamable-http", "port": 9000},
            "backendReplicas": backends,
            // Nobody answers over MCP on this node, so a probe is all that comes before a rollout.
            "updates": {"check": true, "autoReinstall": true, "singleInstance": true},
        }});
        self.cluster.kubectl(&["create", "-f", "-"], &server.to_string()).await.map(drop)
    }

    /// Plays the node until the story is over.
    async fn plays(&self, story: impl Future<Output = Result<()>>) -> Result<()> {
        let outcome = tokio::select! {
            broke = self.node() => broke,
            outcome = story => outcome,
        };
        let ended = self.cluster.kubectl(&["delete", "mcpserver", "--all", "--timeout=60s"], "").await;
        outcome.and(ended.map(drop))
    }

    async fn node(&self) -> Result<()> {
        loop {
            for pod in self.cluster.list("pods", "").await? {
                let name = pod.pointer("/metadata/name").and_then(Value::as_str).context("a name")?;
                if let Some(status) = self.status(name, &pod).context("an image")? {
                    let patch = json!({ "status": status }).to_string();
                    // It may have gone meanwhile.
                    let args = ["patch", "pod", name, "--subresource=status", "--type=merge", "-p", &patch];
                    let _ = self.cluster.kubectl(&args, "").await;
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn status(&self, name: &str, pod: &Value) -> Option<Option<Value>> {
        let image = pod.pointer("/spec/containers/0/image")?.as_str()?;
        let is_told = pod.pointer("/status/containerStatuses").is_some();
        if is_told || pod.pointer("/metadata/deletionTimestamp").is_some() {
            return Some(None);
        }
        let mut told = self.told();
        let tagged = told.tagged.clone();
        let (repository, digest) = image.split_once('@').unwrap_or((image, &tagged));
        let is_probe = pod.pointer("/metadata/labels/fairlead.dev~1probe").is_some();
        if told.silent.as_ref().is_some_and(|(pod, silent)| *pod == name && silent == digest) {
            return Some(None);
        }
        if is_probe {
            told.probed.insert(image.to_owned());
        }
        let state = match is_probe {
            true => json!({"terminated": {"exitCode": 0, "reason": "Completed"}}),
            false => json!({"running": {"startedAt": SINCE}}),
        };
        let truth = if is_probe { "False" } else { "True" };
        let is_so = |kind: &str| json!({"type": kind, "status": truth, "lastTransitionTime": SINCE});
        let container = json!({
            "name": pod.pointer("/spec/containers/0/name"), "image": image, "state": state, "ready": !is_probe,
            "imageID": format!("{repository}@{digest}"), "restartCount": 0,
        });
        Some(Some(json!({
            "phase": if is_probe { "Succeeded" } else { "Running" },
            "conditions": [is_so("ContainersReady"), is_so("Ready")],
            "containerStatuses": [container],
        })))
    }

    /// Waits until the freshness of a server is as wanted.
    async fn reaches(&self, server: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        eventually(&format!("{server}: {what}"), UPDATE, async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let updates = self.updates(server).await?;
            ensure!(wanted(&updates), "{updates:#}");
            Ok(updates)
        })
        .await
    }

    async fn updates(&self, server: &str) -> Result<Value> {
        let seen = self.cluster.get(&format!("mcpserver/{server}")).await?;
        seen.pointer("/status/updates").cloned().context("nothing is said of its freshness")
    }

    /// What a server is told to run.
    async fn launched(&self, server: &str) -> Result<String> {
        let set = self.cluster.get(&format!("statefulset/{server}")).await?;
        let image = set.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str);
        image.map(str::to_owned).context("an image")
    }

    /// Pods of a server itself, with what tells each from any other.
    async fn backends(&self, server: &str) -> Result<Vec<(String, String)>> {
        let labels = format!("fairlead.dev/server={server},app.kubernetes.io/component=backend");
        let pods = self.cluster.list("pods", &labels).await?;
        let text =
            |pod: &Value, pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(pods.iter().map(|pod| (text(pod, "/metadata/name"), text(pod, "/metadata/uid"))).collect())
    }

    /// The node's word is all that there is about what this reference names, and it is followed.
    async fn follows_the_node(&self, reference: &str) -> Result<()> {
        self.create("docs", reference, 1).await?;
        self.reaches("docs", "runs what its tag names", |updates| runs(updates, 1)).await?;
        ensure!(self.launched("docs").await? == reference, "nothing was deployed yet");
        self.told().tagged = digest(2);
        let updates = self.reaches("docs", "updated", |updates| runs(updates, 2)).await?;
        ensure!(updates.get("newest") == Some(&json!(digest(2))), "{updates:#}");
        let repository = reference.strip_suffix(":1").context("a tag")?;
        ensure!(self.launched("docs").await? == format!("{repository}@{}", digest(2)));
        let probed = self.told().probed.clone();
        ensure!(probed.contains(reference), "whatever the tag names is asked by the tag: {probed:?}");
        Ok(())
    }
}

fn runs(updates: &Value, number: u8) -> bool {
    updates.get("status") == Some(&json!("up_to_date")) && updates.get("running") == Some(&json!([digest(number)]))
}

/// A registry that knows everybody and lets nobody in: its address, and how often it was asked.
async fn forbidding(tasks: &mut JoinSet<()>) -> Result<(String, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("localhost:{}", listener.local_addr()?.port());
    let asked = Arc::new(AtomicUsize::new(0));
    let heard = Arc::clone(&asked);
    tasks.spawn(async move {
        let denied = json!({"errors": [{"code": "DENIED", "message": "no"}]}).to_string();
        let head = "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\nconnection: close";
        let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{denied}", denied.len());
        while let Ok((mut stream, _)) = listener.accept().await {
            heard.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Ok((address, asked))
}

#[tokio::test]
async fn an_operator_that_is_set_to_probes_asks_no_registry() {
    let Some(scene) = Scene::start(&[("FAIRLEAD_IMAGE_UPDATE_DETECTOR", "probe")]).await.unwrap() else { return };
    // Whoever asked this one would go on with a probe as well.
    let mut tasks = JoinSet::new();
    let (address, asked) = forbidding(&mut tasks).await.unwrap();
    scene.plays(scene.follows_the_node(&format!("{address}/team/docs:1"))).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn where_a_registry_asks_who_we_are_the_word_of_the_node_counts() {
    let Some(scene) = Scene::start(&[]).await.unwrap() else { return };
    let Some((registry, _)) = Registry::start_private().await else { return };
    scene.plays(scene.follows_the_node(&registry.reference("team/docs:1"))).await.unwrap();
}

#[tokio::test]
async fn where_a_registry_lets_nobody_in_the_word_of_the_node_counts() {
    let Some(scene) = Scene::start(&[]).await.unwrap() else { return };
    let mut tasks = JoinSet::new();
    let (address, asked) = forbidding(&mut tasks).await.unwrap();
    scene.plays(scene.follows_the_node(&format!("{address}/team/docs:1"))).await.unwrap();
    assert_ne!(asked.load(Ordering::Relaxed), 0, "it might have let us in");
}

#[tokio::test]
async fn a_probe_that_is_not_admitted_is_told_and_the_server_goes_on() {
    let Some(scene) = Scene::start(&[("FAIRLEAD_IMAGE_UPDATE_DETECTOR", "probe")]).await.unwrap() else { return };
    let story = async {
        let reference = "localhost:1/team/docs:1";
        scene.create("docs", reference, 1).await?;
        scene.reaches("docs", "runs what its tag names", |updates| runs(updates, 1)).await?;
        let before = scene.backends("docs").await?;
        // No controller of quotas runs here; what one would have counted is said.
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": {"hard": {"pods": "2"}}});
        scene.cluster.kubectl(&["create", "-f", "-"], &quota.to_string()).await?;
        let counted = json!({"status": {"hard": {"pods": "2"}, "used": {"pods": "2"}}}).to_string();
        let args = ["patch", "resourcequota", "full", "--subresource=status", "--type=merge", "-p", &counted];
        scene.cluster.kubectl(&args, "").await?;
        // Before it was said, the quota denied too, in other words.
        let is_denied = |updates: &Value| {
            let text = |pointer| updates.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            (text("/status"), text("/lastError/class")) == ("check_failed", "probe_denied")
                && text("/lastError/message").contains("exceeded quota")
        };
        scene.reaches("docs", "denied", is_denied).await?;
        // No probe is left by now that could tell of it.
        scene.told().tagged = digest(2);
        ensure!(scene.launched("docs").await? == reference && scene.backends("docs").await? == before, "it goes on");
        let ready = scene.cluster.get("mcpserver/docs").await?;
        ensure!(ready.pointer("/status/phase") == Some(&json!("Ready")), "{ready:#}");
        // And when there is room again, the check is done.
        scene.cluster.kubectl(&["delete", "resourcequota", "full"], "").await?;
        scene.reaches("docs", "updated", |updates| runs(updates, 2)).await.map(drop)
    };
    scene.plays(story).await.unwrap();
}

#[tokio::test]
async fn an_update_of_a_server_with_two_pods_is_done_when_both_run_it() {
    let Some(scene) = Scene::start(&[("FAIRLEAD_IMAGE_UPDATE_DETECTOR", "probe")]).await.unwrap() else { return };
    let story = async {
        scene.create("docs", "localhost:1/team/docs:1", 2).await?;
        scene.reaches("docs", "runs what its tag names", |updates| runs(updates, 1)).await?;
        let before = scene.backends("docs").await?;
        ensure!(before.len() == 2, "{before:?}");
        // They are exchanged from the last to the first.
        scene.told().silent = Some(("docs-0", digest(2)));
        scene.told().tagged = digest(2);
        let is_other = |after: &[(String, String)]| before.iter().all(|pod| !after.contains(pod));
        eventually("both pods are others", UPDATE, async || {
            let after = scene.backends("docs").await?;
            ensure!(after.len() == 2 && is_other(&after), "{after:?}");
            Ok(())
        })
        .await?;
        // One of them runs it and is ready; as long as nothing is known of the other, nothing is done.
        for _ in 0..10 {
            let updates = scene.updates("docs").await?;
            ensure!(updates.get("status") == Some(&json!("reinstalling")), "{updates:#}");
            ensure!(updates.get("lastReinstall").is_none_or(Value::is_null), "{updates:#}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        scene.told().silent = None;
        let updates = scene.reaches("docs", "updated", |updates| runs(updates, 2)).await?;
        ensure!(updates.get("lastReinstall").is_some_and(Value::is_string), "{updates:#}");
        Ok(())
    };
    scene.plays(story).await.unwrap();
}
