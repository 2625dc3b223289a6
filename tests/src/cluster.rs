//! The test cluster as a person uses it, by `kubectl`, and the node that it lacks.
//!
//! There is no kubelet ([`Node`] says what of one is played): real controllers make the pods, a real API server has admitted
//! them, and what their containers are started with is read from there and from nowhere else.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::binary;
use crate::engine::Engine;
use crate::limits::{COMMAND, READY, SETTLE};
use crate::mcp::Client;
use crate::wait::eventually;

/// Names the kubeconfig of the test cluster.
const VARIABLE: &str = "FAIRLEAD_TEST_CLUSTER";

/// Who runs in a container whose pod wants anybody but root: an image of a cluster names such a user itself.
const NOBODY: &str = "65532:65532";

/// A namespace of the test cluster, removed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: OsString,
    namespace: String,
    /// Where operators keep what they need no longer than they run.
    home: TempDir,
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
        let cluster = Self { kubeconfig, namespace, home: tempfile::tempdir()? };
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": cluster.namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        cluster.kubectl(&["create", "-f", "-"], &body.to_string()).await?;
        let definitions = output(Command::new(binary::fairlead()?).args(["crd", "--format", "json"])).await?;
        cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &definitions).await?;
        let all = ["wait", "--for=condition=Established", "--timeout=30s", "-f", "-"];
        cluster.kubectl(&all, &definitions).await?;
        Ok(Some(cluster))
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
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("start kubectl")?;
        let mut stdin = child.stdin.take().context("stdin is piped")?;
        let saying = async {
            stdin.write_all(input.as_bytes()).await?;
            drop(stdin);
            anyhow::Ok(child.wait_with_output().await?)
        };
        let output = tokio::time::timeout(COMMAND, saying).await.context("kubectl does not end")??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {}: {said}", args.join(" "), output.status);
        String::from_utf8(output.stdout).context("kubectl prints text")
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

/// A kubelet, as far as a container engine can play one: command, arguments, environment, `ConfigMap`s and empty directories as
/// files, the confinement of the container, readiness probes, and the status of the pod. Names of Services lead to the pods
/// that they select. What a pod asks for beyond that is refused and not passed over.
#[derive(Debug)]
pub struct Node<'a> {
    cluster: &'a Cluster,
    engine: &'a Engine,
    network: String,
    /// What is mounted.
    files: TempDir,
    containers: Vec<String>,
}

impl<'a> Node<'a> {
    /// One without pods.
    ///
    /// # Errors
    /// The engine makes no network.
    pub async fn new(cluster: &'a Cluster, engine: &'a Engine) -> Result<Self> {
        let network = format!("fairlead-test-{}", cluster.namespace);
        let body = json!({"Name": network, "Labels": {"fairlead.dev/test": cluster.namespace}});
        engine.tell(Method::POST, "/networks/create", &body).await?;
        Ok(Self { cluster, engine, network, files: tempfile::tempdir()?, containers: Vec::new() })
    }

    /// Waits for the one pod that has these labels, runs it, and tells the cluster that it is ready: its address.
    ///
    /// # Errors
    /// There is none in time, it asks for what is not played, or does not get ready.
    pub async fn run(&mut self, labels: &str) -> Result<String> {
        let pod = eventually("the cluster makes a pod", SETTLE, async || {
            let pods = self.cluster.list("pods", labels).await?;
            ensure!(pods.len() == 1, "{} of {labels}", pods.len());
            pods.into_iter().next().context("a pod")
        })
        .await?;
        self.start(&pod).await.with_context(|| format!("{pod:#}"))
    }

    async fn start(&mut self, pod: &Value) -> Result<String> {
        let name = text(pod, "/metadata/name")?;
        let [container] = list(pod, "/spec/containers") else { bail!("not one container") };
        let container_name = text(container, "/name")?;
        let id = self.create(pod, container).await?;
        self.containers.push(id.clone());
        self.engine.tell(Method::POST, &format!("/containers/{id}/start"), &Value::Null).await?;
        let seen = self.engine.tell(Method::GET, &format!("/containers/{id}/json"), &Value::Null).await?;
        let address = text(&seen, &format!("/NetworkSettings/Networks/{}/IPAddress", self.network))?.to_owned();
        let ready = eventually("the pod is ready", READY, async || is_ready(container, &address).await).await;
        if let Err(error) = ready {
            bail!("{error:#}: {}", self.engine.log(&id).await?);
        }
        let mut pod = pod.clone();
        let field = pod.as_object_mut().context("a pod")?;
        field.insert(
            "status".to_owned(),
            json!({
                "phase": "Running",
                "podIP": address,
                "conditions": [{"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": container_name, "ready": true, "restartCount": 0, "image": "", "imageID": "",
                                       "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
            }),
        );
        let path = format!("/api/v1/namespaces/{}/pods/{name}/status", self.cluster.namespace);
        // As it was read; somebody may have written to it since.
        if let Some(metadata) = pod.pointer_mut("/metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
        }
        self.cluster.kubectl(&["replace", "--raw", &path, "-f", "-"], &pod.to_string()).await?;
        Ok(address)
    }

    async fn create(&self, pod: &Value, container: &Value) -> Result<String> {
        let security = container.get("securityContext").cloned().unwrap_or_default();
        let (binds, tmpfs) = self.mounts(pod, container).await?;
        let is_not_root = pod.pointer("/spec/securityContext/runAsNonRoot") == Some(&json!(true));
        let body = json!({
            "Image": text(container, "/image")?,
            "Entrypoint": container.get("command"),
            "Cmd": container.get("args"),
            "Env": environment(container)?,
            "User": if is_not_root { NOBODY } else { "" },
            "Labels": {"fairlead.dev/test": self.cluster.namespace},
            "HostConfig": {
                "NetworkMode": self.network,
                "ReadonlyRootfs": security.get("readOnlyRootFilesystem"),
                "CapDrop": security.pointer("/capabilities/drop"),
                "SecurityOpt": ["no-new-privileges"],
                "Memory": container.pointer("/resources/limits/memory").map(memory).transpose()?,
                "Binds": binds,
                "Tmpfs": tmpfs,
            },
            "NetworkingConfig": {"EndpointsConfig": {&self.network: {"Aliases": self.names(pod).await?}}},
        });
        let made = self.engine.tell(Method::POST, "/containers/create", &body).await?;
        Ok(text(&made, "/Id")?.to_owned())
    }

    /// Names that lead to a pod: those of the Services that select it.
    async fn names(&self, pod: &Value) -> Result<Vec<String>> {
        let services = self.cluster.list("services", "").await?;
        let selects = |service: &&Value| {
            let selector = service.pointer("/spec/selector").and_then(Value::as_object);
            selector.is_some_and(|selector| {
                selector.iter().all(|(name, value)| {
                    pod.pointer("/metadata/labels").and_then(|labels| labels.get(name)) == Some(value)
                })
            })
        };
        let name = |service: &Value| Ok(format!("{}.{}.svc", text(service, "/metadata/name")?, self.cluster.namespace));
        services.iter().filter(selects).map(name).collect()
    }

    /// Volumes of a pod where its container has them: directories of this machine, and room in memory.
    async fn mounts(&self, pod: &Value, container: &Value) -> Result<(Vec<String>, BTreeMap<String, &'static str>)> {
        let (mut binds, mut tmpfs) = (Vec::new(), BTreeMap::new());
        for mount in list(container, "/volumeMounts") {
            let (name, path) = (text(mount, "/name")?, text(mount, "/mountPath")?);
            let volume = list(pod, "/spec/volumes").iter().find(|volume| volume.get("name") == mount.get("name"));
            let volume = volume.with_context(|| format!("no volume {name}"))?;
            if volume.get("emptyDir").is_some() {
                tmpfs.insert(path.to_owned(), "rw,exec,mode=1777,size=1g");
            } else if let Some(map) = volume.pointer("/configMap/name").and_then(Value::as_str) {
                let directory = self.files.path().join(text(pod, "/metadata/name")?).join(name);
                fs::create_dir_all(&directory)?;
                let map = self.cluster.get(&format!("configmap/{map}")).await?;
                for (file, content) in map.get("data").and_then(Value::as_object).into_iter().flatten() {
                    fs::write(directory.join(file), content.as_str().context("text")?)?;
                }
                readable(self.files.path())?;
                binds.push(format!("{}:{path}:ro", directory.display()));
            } else {
                bail!("the volume {name} is not played: {volume}");
            }
        }
        Ok((binds, tmpfs))
    }

    /// Ends all that runs on it.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn done(self) -> Result<()> {
        for id in &self.containers {
            self.engine.tell(Method::DELETE, &format!("/containers/{id}?force=true&v=true"), &Value::Null).await?;
        }
        self.engine.tell(Method::DELETE, &format!("/networks/{}", self.network), &Value::Null).await.map(drop)
    }
}

async fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(COMMAND, output).await.with_context(|| format!("{command:?} does not end"))??;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn environment(container: &Value) -> Result<Vec<String>> {
    let variable = |variable: &Value| {
        ensure!(variable.get("valueFrom").is_none(), "a variable from elsewhere is not played: {variable}");
        let value = variable.get("value").and_then(Value::as_str).unwrap_or_default();
        Ok(format!("{}={}", text(variable, "/name")?, value.replace("$$(", "$(")))
    };
    list(container, "/env").iter().map(variable).collect()
}

/// What a readiness probe asks; without one a container is ready as soon as it runs.
async fn is_ready(container: &Value, address: &str) -> Result<()> {
    let Some(probe) = container.get("readinessProbe") else { return Ok(()) };
    let port = |kind: &str| probe.pointer(&format!("/{kind}/port")).and_then(Value::as_u64);
    if let Some(port) = port("httpGet") {
        let client = Client::new(&format!("http://{address}:{port}{}", text(probe, "/httpGet/path")?))?;
        let reply = client.listen().await?;
        ensure!(reply.status.is_success(), "{}", reply.status);
    } else if let Some(port) = port("tcpSocket") {
        TcpStream::connect(format!("{address}:{port}")).await?;
    } else {
        bail!("this probe is not played: {probe}");
    }
    Ok(())
}

/// Bytes of a quantity in the form that an operator of ours writes it in.
fn memory(quantity: &Value) -> Result<u64> {
    let text = quantity.as_str().context("a quantity")?;
    let (number, shift) = match text.split_at_checked(text.len().saturating_sub(2)) {
        Some((number, "Ki")) => (number, 10),
        Some((number, "Mi")) => (number, 20),
        Some((number, "Gi")) => (number, 30),
        _ => (text, 0),
    };
    Ok(number.parse::<u64>().with_context(|| format!("the quantity {text} is not played"))? << shift)
}

/// Makes all below a directory readable for whoever runs in a container, as a kubelet does.
fn readable(path: &Path) -> Result<()> {
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            readable(&entry?.path())?;
        }
    }
    Ok(())
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'v>(value: &'v Value, pointer: &str) -> Result<&'v str> {
    value.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no {pointer} in {value}"))
}
