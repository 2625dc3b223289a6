//! Servers of a cluster are kept fresh where pods really start: what is newer is tried over MCP beside what runs, and what is bad never
//! comes near a client. Everything is real, as in `grounds`: registry, API server, controllers, kubelet, containerd, and the operator of
//! this build.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fairlead_tests::cluster::Cluster;
use fairlead_tests::engine::Engine;
use fairlead_tests::{Cli, Client, Home, binary, eventually};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::containers::engine;
use crate::distribution::Registry;
use crate::grounds::{proxy_image, url};

/// A check, a probe, two trials, one of which is given up after a minute, and a rollout; beside other tests.
const UPDATE: Duration = Duration::from_secs(180);

struct Scene {
    cluster: Cluster,
    registry: Registry,
    engine: Engine,
}

impl Scene {
    /// Another image under the tag of a server: its digest.
    async fn push(&self, server: &str, version: &str, args: &[&str], env: &[&str]) -> Result<String> {
        let (reference, version) = (self.reference(server), format!("VERSION={version}"));
        let env: Vec<&str> = env.iter().copied().chain([version.as_str()]).collect();
        self.engine.make(&reference, args, &env).await?;
        self.engine.push(&reference).await
    }

    fn reference(&self, server: &str) -> String {
        self.registry.reference(&format!("team/{server}:1"))
    }

    async fn apply(&self, server: &str, is_http: bool) -> Result<()> {
        let (args, transport) = match is_http {
            true => (json!(["--http", "9000"]), json!({"kind": "streamable-http", "port": 9000})),
            false => (json!([]), json!({"kind": "stdio"})),
        };
        // A limit is a request as well, and the node has no more processors than this machine. The server ends when it is killed.
        let template = json!({"spec": {"terminationGracePeriodSeconds": 1, "containers": [
            {"name": "mcp", "resources": {"requests": {"cpu": "10m"}}}]}});
        let document = json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "MCPServer", "metadata": {"name": server}, "spec": {
            "source": {"kind": "image", "reference": self.reference(server), "args": args},
            "transport": transport, "env": {"TEST_SERVER_HOST": "0.0.0.0"}, "podTemplateSpec": template,
        }});
        self.cluster.kubectl(&["apply", "-f", "-"], &document.to_string()).await.map(drop)
    }

    /// Waits until the freshness of a server is as wanted.
    async fn reaches(&self, server: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        eventually(&format!("{server}: {what}"), UPDATE, async || {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let seen = self.cluster.get(&format!("mcpserver/{server}")).await?;
            let updates = seen.pointer("/status/updates").context("nothing is said of its freshness")?;
            ensure!(wanted(updates), "{updates:#}");
            Ok(updates.clone())
        })
        .await
    }

    async fn runs(&self, server: &str, digest: &str) -> Result<Value> {
        let is = |updates: &Value| {
            updates.get("status") == Some(&json!("up_to_date")) && updates.get("running") == Some(&json!([digest]))
        };
        self.reaches(server, &format!("runs {digest}"), is).await
    }

    /// How the last update ended, and why.
    async fn last(&self, server: &str) -> Result<(String, String, String)> {
        let map = self.cluster.get(&format!("configmap/{server}-freshness")).await?;
        let record = map.pointer("/data/record").and_then(Value::as_str).context("a record")?;
        let record: Value = serde_json::from_str(record)?;
        let last = record.pointer("/attempts/0").context("an attempt")?;
        let text = |name: &str| last.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok((text("pin"), text("outcome"), text("detail")))
    }

    /// The pod of a server itself: which one it is, what it runs, and how often it was started anew.
    async fn pod(&self, server: &str) -> Result<(Value, String, Value)> {
        let pods = self.cluster.list("pods", &half(server, "backend")).await?;
        let [pod] = pods.as_slice() else { anyhow::bail!("{} pods of {server}", pods.len()) };
        let at = |pointer: &str| pod.pointer(pointer).cloned().with_context(|| format!("{pointer} in {pod:#}"));
        let image = at("/status/containerStatuses/0/imageID")?.as_str().unwrap_or_default().to_owned();
        Ok((at("/metadata/uid")?, image, at("/status/containerStatuses/0/restartCount")?))
    }

    async fn generation(&self, server: &str) -> Result<Value> {
        let set = self.cluster.get(&format!("statefulset/{server}")).await?;
        set.pointer("/metadata/generation").cloned().context("a generation")
    }

    async fn client(&self, server: &str) -> Result<Client> {
        Client::connect(&url(&self.cluster.ready(&half(server, "proxy")).await?)).await
    }

    async fn version(&self, server: &str) -> Result<String> {
        self.client(server).await?.text("environment", json!({"name": "VERSION"})).await
    }

    /// From its first image to a good second one, which clients then have.
    async fn updated(&self, server: &str, is_http: bool) -> Result<String> {
        let one = self.push(server, "one", &[], &[]).await?;
        self.apply(server, is_http).await?;
        self.runs(server, &one).await?;
        let (first, _, _) = self.pod(server).await?;
        let two = self.push(server, "two", &[], &[]).await?;
        let updates = self.runs(server, &two).await?;
        ensure!(updates.get("lastReinstall").is_some_and(Value::is_string), "{updates:#}");
        ensure!(self.last(server).await?.1 == "succeeded");
        let (second, image, _) = self.pod(server).await?;
        ensure!(first != second && image.ends_with(&two), "{image} is not {two}");
        ensure!(self.version(server).await?.contains("two"));
        Ok(two)
    }

    /// An image that is bad: it is tried, and that is all that becomes of it.
    async fn refused(&self, server: &str, runs: &str, bad: &str, status: &str) -> Result<String> {
        let before = (self.generation(server).await?, self.pod(server).await?);
        let is = |updates: &Value| {
            updates.get("status") == Some(&json!(status)) && updates.get("newest") == Some(&json!(bad))
        };
        let updates = self.reaches(server, &format!("{bad} is {status}"), is).await?;
        ensure!(updates.get("running") == Some(&json!([runs])), "{updates:#}");
        let after = (self.generation(server).await?, self.pod(server).await?);
        ensure!(before == after, "{before:?} became {after:?}");
        let (pin, outcome, detail) = self.last(server).await?;
        ensure!(
            pin == bad && outcome == if status == "rollout_failed" { "preflight-failed" } else { "cancelled" },
            "{outcome}: {detail}"
        );
        Ok(detail)
    }
}

fn half(server: &str, component: &str) -> String {
    format!("fairlead.dev/server={server},app.kubernetes.io/component={component}")
}

/// A client that calls again and again, and is not to notice anything.
struct Caller {
    tasks: JoinSet<Result<()>>,
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Caller {
    async fn start(client: Client) -> Self {
        let (stop, calls) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut tasks = JoinSet::new();
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&calls));
        tasks.spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let answer = client.call("echo", json!({"a": 1})).await?;
                ensure!(answer.get("result").is_some(), "{answer}");
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        });
        Self { tasks, stop, calls }
    }

    async fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_next().await.context("a client")??.context("a call failed")?;
        let calls = self.calls.load(Ordering::Relaxed);
        ensure!(calls > 10, "{calls} calls");
        Ok(())
    }
}

/// One that crashes, and one that lacks a tool.
async fn over_stdio(scene: &Scene) -> Result<()> {
    let two = scene.updated("piped", false).await?;
    let caller = Caller::start(scene.client("piped").await?).await;
    let three = scene.push("piped", "three", &["--fail"], &[]).await?;
    let why = scene.refused("piped", &two, &three, "rollout_failed").await?;
    ensure!(why.contains("exited with status 7"), "{why}");
    let five = scene.push("piped", "five", &[], &["TEST_SERVER_WITHOUT=echo"]).await?;
    let why = scene.refused("piped", &two, &five, "update_available").await?;
    ensure!(why.contains("a tool is gone"), "{why}");
    caller.end().await
}

/// One that listens and does not speak MCP there, and one that lacks a tool.
async fn over_http(scene: &Scene) -> Result<()> {
    let two = scene.updated("web", true).await?;
    let caller = Caller::start(scene.client("web").await?).await;
    let four = scene.push("web", "four", &["--sse", "9000"], &[]).await?;
    let why = scene.refused("web", &two, &four, "rollout_failed").await?;
    ensure!(why.contains("HTTP status 400"), "{why}");
    let five = scene.push("web", "five", &[], &["TEST_SERVER_WITHOUT=echo"]).await?;
    let updates = scene.reaches("web", "held", |updates| updates.get("held") == Some(&json!("drift"))).await?;
    ensure!(updates.get("newest") == Some(&json!(five)), "{updates:#}");
    scene.refused("web", &two, &five, "update_available").await?;
    caller.end().await
}

/// One that reads, and never answers.
async fn in_silence(scene: &Scene) -> Result<()> {
    let one = scene.push("quiet", "one", &[], &[]).await?;
    scene.apply("quiet", false).await?;
    scene.runs("quiet", &one).await?;
    let caller = Caller::start(scene.client("quiet").await?).await;
    let six = scene.push("quiet", "six", &["--mute"], &[]).await?;
    let why = scene.refused("quiet", &one, &six, "rollout_failed").await?;
    ensure!(why.contains("no answer"), "{why}");
    caller.end().await
}

#[tokio::test]
async fn a_newer_image_is_tried_over_mcp_and_rolled_out_and_bad_ones_never_reach_a_client_of_the_cluster() {
    let Some(cluster) = Cluster::with_node().await.unwrap() else { return };
    let Some(registry) = Registry::start().await else { return };
    let home = Home::new().unwrap();
    let Some(engine) = engine(&Cli::new(&home).unwrap()).await else { return };
    let plugin = binary::plugin("tool-filter").unwrap();
    let image = proxy_image(&cluster, &engine, &plugin).await.unwrap();
    let env = [("FAIRLEAD_IMAGE_UPDATE_INTERVAL", "2s")];
    let _operator = cluster.operator_with(&image, &[], &env).unwrap();
    let scene = Scene { cluster, registry, engine };
    let shown = tokio::try_join!(over_stdio(&scene), over_http(&scene), in_silence(&scene));
    let left = scene.cluster.list("pods", "fairlead.dev/probe").await;
    let all = ["delete", "mcpserver", "--all", "--timeout=60s"];
    let gone = scene.cluster.kubectl(&all, "").await;
    scene.engine.done().await.unwrap();
    shown.unwrap();
    gone.unwrap();
    assert_eq!(left.unwrap(), Vec::<Value>::new(), "no probe and no trial is left");
}
