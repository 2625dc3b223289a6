//! The test cluster as a person uses it, by `kubectl`, and the node on which pods of it start (ADR 0033).

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::binary;
use crate::engine::Engine;
use crate::limits::{COMMAND, POD};
use crate::wait::eventually;

/// Names the kubeconfig of the test cluster.
const VARIABLE: &str = "FAIRLEAD_TEST_CLUSTER";

/// Names the socket of the containerd that its node has.
const NODE: &str = "FAIRLEAD_TEST_NODE";

/// The label of a namespace whose pods are to start.
const WANTED: &str = "fairlead.dev/test-node";

/// A namespace of the test cluster, removed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: OsString,
    namespace: String,
    /// Where operators keep what they need no longer than they run.
    home: TempDir,
    /// Where images are brought to.
    containerd: Option<OsString>,
}

/// A pod that runs.
#[derive(Debug)]
pub struct Running {
    /// Its name.
    pub name: String,
    /// Where it is reached, from this machine as well.
    pub address: String,
}

impl Cluster {
    /// A namespace with our definitions, and with the restricted Pod Security standard enforced. `None`, and said so, where there
    /// is no cluster or no `kubectl`; where `CI=true` there must be both.
    ///
    /// # Errors
    /// The cluster refuses.
    pub async fn found() -> Result<Option<Self>> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let has_kubectl = output(Command::new("kubectl").args(["version", "--client"])).await.is_ok();
        let Some(kubeconfig) = std::env::var_os(VARIABLE).filter(|_| has_kubectl) else {
            ensure!(std::env::var("CI").as_deref() != Ok("true"), "CI must have kubectl, and a cluster in {VARIABLE}");
            eprintln!("skipped: {VARIABLE} is not set (`cargo xtask cluster up`), or there is no kubectl");
            return Ok(None);
        };
        let namespace = format!("it{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let cluster = Self { kubeconfig, namespace, home: tempfile::tempdir()?, containerd: None };
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": cluster.namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        cluster.kubectl(&["create", "-f", "-"], &body.to_string()).await?;
        let definitions = output(Command::new(binary::fairlead()?).args(["crd", "--format", "json"])).await?;
        cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &definitions).await?;
        let all = ["wait", "--for=condition=Established", "--timeout=30s", "-f", "-"];
        cluster.kubectl(&all, &definitions).await?;
        Ok(Some(cluster))
    }

    /// The same, where pods start. `None`, and said so, where nobody may make a node of this machine; where `CI=true` somebody must.
    ///
    /// # Errors
    /// The cluster refuses.
    pub async fn with_node() -> Result<Option<Self>> {
        let Some(containerd) = std::env::var_os(NODE) else {
            ensure!(std::env::var("CI").as_deref() != Ok("true"), "CI must have a node, and its containerd in {NODE}");
            eprintln!("skipped: {NODE} is not set (`cargo xtask cluster up`, as root)");
            return Ok(None);
        };
        let Some(mut cluster) = Self::found().await? else { return Ok(None) };
        cluster.kubectl(&["label", "namespace", &cluster.namespace, &format!("{WANTED}=")], "").await?;
        cluster.containerd = Some(containerd);
        Ok(Some(cluster))
    }

    /// Brings an image from an engine to the node.
    ///
    /// # Errors
    /// One of them refuses.
    pub async fn bring(&self, engine: &Engine, image: &str) -> Result<()> {
        let archive = engine.ask(Method::GET, &format!("/images/{image}/get"), Bytes::new()).await?;
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.containerd.as_ref().context("a node")?);
        command.args(["--namespace", "k8s.io", "images", "import", "-"]);
        say(&mut command, &archive).await.map(drop)
    }

    /// Waits for the one pod that has these labels and is ready.
    ///
    /// # Errors
    /// There is none in time; the error has what there is, and what became of it.
    pub async fn ready(&self, labels: &str) -> Result<Running> {
        let waiting = eventually("a pod is ready", POD, async || {
            let pods = self.list("pods", labels).await?;
            // One that ends, or that the node did not take, is no pod to wait for.
            let lives = |pod: &&Value| {
                pod.pointer("/metadata/deletionTimestamp").is_none()
                    && pod.pointer("/status/phase") != Some(&json!("Failed"))
            };
            let pods: Vec<&Value> = pods.iter().filter(lives).collect();
            ensure!(pods.len() == 1, "{} pods of {labels}", pods.len());
            let pod = pods.first().context("a pod")?;
            let is_ready = list(pod, "/status/conditions").iter().any(|condition| {
                condition.get("type") == Some(&json!("Ready")) && condition.get("status") == Some(&json!("True"))
            });
            ensure!(is_ready, "{:#}", pod.get("status").cloned().unwrap_or_default());
            let text =
                |pointer| pod.pointer(pointer).and_then(Value::as_str).map(str::to_owned).context("a running pod");
            Ok(Running { name: text("/metadata/name")?, address: text("/status/podIP")? })
        });
        match waiting.await {
            Ok(pod) => Ok(pod),
            Err(error) => {
                let events = self.kubectl(&["get", "events"], "").await?;
                let args = ["logs", "--prefix", "--all-containers", "--ignore-errors", "-l", labels];
                let logs = self.kubectl(&args, "").await;
                bail!("{error:#}\n{events}\n{}", logs.unwrap_or_default())
            }
        }
    }

    /// How a program of this machine reaches it, with every right.
    ///
    /// # Errors
    /// The path is no text.
    pub fn kubeconfig_path(&self) -> Result<&str> {
        self.kubeconfig.to_str().context("a path")
    }

    /// Its name.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Types `kubectl` in the namespace, and says `input` to it.
    ///
    /// # Errors
    /// It fails; the error has what it said.
    pub async fn kubectl(&self, args: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", &self.kubeconfig).args(["--namespace", &self.namespace]).args(args);
        say(&mut command, input.as_bytes()).await
    }

    /// One object (`kind/name`).
    ///
    /// # Errors
    /// It is not there.
    pub async fn get(&self, object: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&["get", object, "-o", "json"], "").await?)?)
    }

    /// All objects of a kind with labels (`a=b,c=d`; empty: whatever they have).
    ///
    /// # Errors
    /// The cluster refuses.
    pub async fn list(&self, kind: &str, labels: &str) -> Result<Vec<Value>> {
        let all: Value = serde_json::from_str(&self.kubectl(&["get", kind, "-l", labels, "-o", "json"], "").await?)?;
        Ok(list(&all, "/items").to_vec())
    }

    /// Where its API server is.
    ///
    /// # Errors
    /// The kubeconfig does not say.
    pub fn server(&self) -> Result<String> {
        Ok(text(&self.kubeconfig()?, "/clusters/0/cluster/server")?.to_owned())
    }

    /// A kubeconfig of somebody else, who comes by another way.
    ///
    /// # Errors
    /// That of the cluster cannot be read.
    pub fn kubeconfig_of(&self, token: &str, server: &str) -> Result<Value> {
        let mut config = self.kubeconfig()?;
        *config.pointer_mut("/clusters/0/cluster/server").context("a server")? = server.into();
        *config.pointer_mut("/users/0/user").context("a user")? = json!({"token": token});
        Ok(config)
    }

    /// A file that lies beside the kubeconfig.
    #[must_use]
    pub fn beside_kubeconfig(&self, name: &str) -> PathBuf {
        Path::new(&self.kubeconfig).with_file_name(name)
    }

    fn kubeconfig(&self) -> Result<Value> {
        Ok(serde_json::from_str(&fs::read_to_string(&self.kubeconfig)?)?)
    }

    /// Starts the operator of this very build in the namespace. Dropping it kills it.
    ///
    /// # Errors
    /// It does not start.
    pub fn operator(&self, image: &str) -> Result<Child> {
        self.operator_with(image, &[], &[])
    }

    /// The same, with more arguments and environment.
    ///
    /// # Errors
    /// It does not start.
    pub fn operator_with(&self, image: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Child> {
        let mut command = Command::new(binary::fairlead()?);
        command.args(["operator", "--namespace", &self.namespace, "--lease-namespace", &self.namespace]);
        command.args(["--proxy-image", image]).args(args).env("KUBECONFIG", &self.kubeconfig).env("NO_COLOR", "1");
        // Plugins that it compiles belong to nobody else.
        command.env("FAIRLEAD_HOME", self.home.path()).envs(env.iter().copied());
        // libtest would not keep what it says: a failed test shows the objects instead.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        command.spawn().context("start the operator")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut command = std::process::Command::new("kubectl");
        command.env("KUBECONFIG", &self.kubeconfig).args(["delete", "namespace", &self.namespace, "--wait=false"]);
        let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// Runs a command to its end, and says something to it: what it answers.
async fn say(command: &mut Command, input: &[u8]) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("{command:?} does not start"))?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    let saying = async {
        stdin.write_all(input).await?;
        drop(stdin);
        anyhow::Ok(child.wait_with_output().await?)
    };
    let output = tokio::time::timeout(COMMAND, saying).await.with_context(|| format!("{command:?} does not end"))??;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {said}", output.status);
    String::from_utf8(output.stdout).context("it prints text")
}

async fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(COMMAND, output).await.with_context(|| format!("{command:?} does not end"))??;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'v>(value: &'v Value, pointer: &str) -> Result<&'v str> {
    value.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no {pointer} in {value}"))
}
