//! A node for the test cluster, so that pods really start: `kubelet`, `kube-proxy` and Debian's containerd.
//!
//! A kubelet takes a machine for its own: mounts, network, settings of the kernel. So it gets one: `unshare` makes namespaces, and
//! `tests/cluster/node.sh` is what runs in them. All of it is gone when `unshare` is, but for cgroups, which are removed by name.
//! From here to the node leads a link with addresses that nobody has (of 198.18.0.0/15, which is for tests); it goes with the node.
//!
//! Pods of a namespace with the label `fairlead.dev/test-node` run there, and nobody else's: other tests say themselves what
//! became of their pods. `tests/cluster/neighbours` gives it those pods, and what else a node has around it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::{Cluster, directory, pause, token};
use crate::workspace;

/// From the first process of a node until it is ready for pods: eight seconds on an idle machine.
const READY: Duration = Duration::from_secs(180);

/// Until the kernel has ended all that ran in a cgroup.
const EMPTY: Duration = Duration::from_secs(20);

/// The programs that it is made of, from the module and from beside it.
pub(super) const PROGRAMS: [&str; 4] =
    ["k8s.io/kubernetes/cmd/kubelet", "k8s.io/kubernetes/cmd/kube-proxy", "./pause", "./neighbours"];

/// What the machine has to have of it.
const TOOLS: [&str; 8] = ["bash", "containerd", "ctr", "ip", "iptables", "mount", "runc", "unshare"];

/// Where Debian has what lays the network of a pod.
const NETWORKS: &str = "/usr/lib/cni";

/// The image that pods begin with.
const PAUSE: &str = "fairlead.test/pause:1";

/// What it is called in the cluster.
const NAME: &str = "test-node";

/// What keeps this machine from being a node; `None`: nothing.
pub(crate) fn missing() -> Option<String> {
    if !cfg!(target_os = "linux") || !rustix::process::geteuid().is_root() {
        return Some("only root makes a node of a machine, and only of Linux".to_owned());
    }
    let mut missing: Vec<&str> = TOOLS.into_iter().filter(|program| !workspace::has(program)).collect();
    if !Path::new(NETWORKS).join("ptp").is_file() {
        missing.push("containernetworking-plugins");
    }
    (!missing.is_empty()).then(|| format!("{} is missing", missing.join(", ")))
}

/// Where a node is, and nothing else of this machine.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The two numbers in the middle of its addresses.
    block: (u8, u8),
}

impl Place {
    /// One that is free now. As with ports, another could take it before it is used; then the start fails, and says so.
    pub(super) fn free() -> anyhow::Result<Self> {
        let routes = Command::new("ip").args(["-4", "route", "show"]).output().context("start ip")?;
        let routes = String::from_utf8_lossy(&routes.stdout).into_owned();
        for _ in 0..64 {
            let random = token()?;
            let number = |at: std::ops::Range<usize>| random.get(at).and_then(|hex| u8::from_str_radix(hex, 16).ok());
            let (Some(a), Some(b)) = (number(0..2), number(2..4)) else { bail!("a token is not hexadecimal") };
            let place = Self { block: (18 + a % 2, b) };
            if !routes.contains(&format!("198.{}.{}.", place.block.0, place.block.1)) {
                return Ok(place);
            }
        }
        bail!("no network of 198.18.0.0/15 is free")
    }

    /// This machine's end of the link.
    pub(super) fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, self.block.0, self.block.1, 1)
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, self.block.0, self.block.1, 2)
    }

    /// The upper half of the block: more than a kubelet takes.
    fn pods(&self) -> String {
        format!("198.{}.{}.128/25", self.block.0, self.block.1)
    }

    fn label(&self) -> String {
        format!("fairlead-{}-{}", self.block.0, self.block.1)
    }
}

/// Who the node and its proxy are, in the words of the API server's file of tokens.
pub(super) struct Tokens {
    node: String,
    proxy: String,
}

impl Tokens {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self { node: token()?, proxy: token()? })
    }

    pub(super) fn lines(&self) -> String {
        format!("{},system:node:{NAME},node,system:nodes\n{},system:kube-proxy,kube-proxy\n", self.node, self.proxy)
    }
}

/// What an API server and the controllers are told beside the rest.
pub(super) const API_SERVER: [&str; 8] = [
    "--kubelet-client-certificate",
    "kubelet-client.crt",
    "--kubelet-client-key",
    "kubelet-client.key",
    "--kubelet-preferred-address-types",
    "InternalIP",
    "--enable-admission-plugins",
    "NodeRestriction",
];

/// The certificate by which a kubelet knows the API server: it is the one that it trusts.
pub(super) fn certificate(run: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=kube-apiserver", "-days", "30"]);
    command.args(["-keyout", "kubelet-client.key", "-out", "kubelet-client.crt"]).current_dir(run);
    workspace::run(command.stderr(Stdio::null()))
}

/// Where containerd listens, for whoever brings images.
pub(super) fn socket(run: &Path) -> PathBuf {
    run.join("containerd.sock")
}

/// Starts one and waits until it is ready.
pub(super) fn start(cluster: &mut Cluster, place: &Place, tokens: &Tokens) -> anyhow::Result<()> {
    let run = cluster.run.clone();
    cluster.write("cgroup", &place.label())?;
    let server = format!("https://{}:{}", place.gateway(), cluster.port);
    for (name, token) in [("node", &tokens.node), ("proxy", &tokens.proxy)] {
        cluster.write(&format!("{name}.kubeconfig"), &super::kubeconfig(&run, &server, token))?;
    }
    cluster.write("containerd.toml", &containerd(&run, place))?;
    fs::create_dir_all(run.join("registries/_default"))?;
    let mirror = format!("[host.\"http://{}:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n", place.gateway());
    cluster.write("registries/_default/hosts.toml", &mirror)?;
    fs::create_dir_all(run.join("networks"))?;
    cluster.write("networks/10-pods.conflist", &network(&run, place).to_string())?;
    cluster.write("resolv.conf", "")?;
    cluster.write("kubelet.json", &kubelet(&run, place).to_string())?;

    let mut process = namespaces(cluster, place)?;
    let linked = link(&mut process, place);
    cluster.processes.push(process);
    linked?;
    cluster.spawn(
        "neighbours",
        Command::new(directory().join("bin/neighbours"))
            .args(["--kubeconfig", "kubeconfig", "--node", NAME, "--ready", "node-is-ready"])
            .args(["--link", &place.gateway().to_string(), "--port", &cluster.port.to_string()]),
    )?;
    let end = Instant::now() + READY;
    while !run.join("node-is-ready").exists() {
        cluster.is_alive()?;
        ensure!(Instant::now() < end, "the node was not ready within {READY:?}; its logs are in {}", run.display());
        pause();
    }
    Ok(())
}

/// The first process of a node, which waits for its link.
fn namespaces(cluster: &Cluster, place: &Place) -> anyhow::Result<Child> {
    let script = workspace::root().join("tests/cluster/node.sh");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--mount-proc", "--net", "--ipc", "--pid", "--fork", "--kill-child", "--", "bash"]);
    command.arg(script).env("NODE_PROGRAMS", directory().join("bin")).env("NODE_NAME", NAME).env("NODE_PAUSE", PAUSE);
    command.env("NODE_ADDRESS", place.address().to_string()).env("NODE_GATEWAY", place.gateway().to_string());
    command.env("NODE_CGROUP", place.label());
    // What is behind this machine's way out is no way for a node: all that it asks is on the link.
    for variable in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env_remove(variable);
    }
    cluster.start_with("node", &mut command, |command| {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
    })
}

/// Lays the link as soon as there is a network to lay it to, and lets the node go on.
fn link(process: &mut Child, place: &Place) -> anyhow::Result<()> {
    let mut said = String::new();
    BufReader::new(process.stdout.take().context("it is piped")?).read_line(&mut said)?;
    ensure!(!said.is_empty(), "the namespaces of the node cannot be made; `node.log` has why");
    let (device, id) = (format!("fl{}-{}", place.block.0, place.block.1), process.id().to_string());
    let [gateway, address] = [place.gateway(), place.address()].map(|address| address.to_string());
    let link = ["link", "add", &device, "type", "veth", "peer", "name", "uplink", "netns", &id];
    let ours = ["address", "add", &format!("{gateway}/30"), "dev", &device];
    let up = ["link", "set", &device, "up"];
    let pods = ["route", "add", &place.pods(), "via", &address];
    for args in [&link[..], &ours, &up, &pods] {
        workspace::run(Command::new("ip").args(args))?;
    }
    let mut go_on = process.stdin.take().context("it is piped")?;
    Ok(go_on.write_all(b"\n")?)
}

/// Removes the cgroups of a node whose processes were ended.
pub(super) fn remove_cgroups(run: &Path) -> anyhow::Result<()> {
    let Ok(name) = fs::read_to_string(run.join("cgroup")) else { return Ok(()) };
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let end = Instant::now() + EMPTY;
    for top in hierarchies.map(|path| path.join(&name)).chain([root.join(&name)]) {
        while top.is_dir() && !remove_tree(&top) {
            ensure!(Instant::now() < end, "processes of a node do not end: {}", top.display());
            pause();
        }
    }
    Ok(fs::remove_file(run.join("cgroup"))?)
}

/// The kernel removes a cgroup without children and processes; its files are no obstacle.
fn remove_tree(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok()
}

fn containerd(run: &Path, place: &Place) -> String {
    let (run, socket, address) = (run.display(), socket(run), place.address());
    format!(
        r#"version = 2
root = "{run}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  stream_server_address = "{address}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{NETWORKS}"
    conf_dir = "{run}/networks"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{run}/registries"
"#,
        socket = socket.display()
    )
}

/// Each pod has a link of its own to the node, and nothing but the node between it and others.
fn network(run: &Path, place: &Place) -> Value {
    json!({"cniVersion": "0.4.0", "name": "pods", "plugins": [{
        "type": "ptp",
        "ipam": {"type": "host-local", "ranges": [[{"subnet": place.pods()}]], "routes": [{"dst": "0.0.0.0/0"}],
                 "dataDir": run.join("addresses")},
    }]})
}

fn kubelet(run: &Path, place: &Place) -> Value {
    // A full disk of a developer is no reason to end tests.
    let never = json!({"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
                       "imagefs.available": "0%", "imagefs.inodesFree": "0%"});
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": place.address().to_string(),
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": false},
                           "x509": {"clientCAFile": run.join("kubelet-client.crt")}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": format!("unix://{}", socket(run).display()),
        "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{}", place.label()), "failCgroupV1": false, "failSwapOn": false,
        "clusterDNS": [place.gateway().to_string()], "clusterDomain": "cluster.local", "resolvConf": run.join("resolv.conf"),
        "evictionHard": never, "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
        "makeIPTablesUtilChains": false, "podLogsDir": run.join("logs"), "volumePluginDir": run.join("volume-plugins"),
        // A restarted container comes back in the time of a test, and not of a night.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "2s"},
    })
}
