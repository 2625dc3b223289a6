//! `cargo xtask cluster`: as much of a Kubernetes cluster as a machine runs, for the tests of the operator.
//!
//! etcd is Debian's; `kube-apiserver` and `kube-controller-manager` are built from the Go module `k8s.io/kubernetes`, pinned by
//! `tests/cluster/go.sum`, once for each change of that file. Where root starts it, there is a node as well ([`node`]), and pods
//! run (ADR 0033). Everything lies under `target/cluster`, listens on loopback at ports that were free, and dies with the guard that
//! started it, or with `cluster down`.

mod faults;
mod node;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;

use crate::{go, terminal, workspace};

/// From the start of the API server to its `ok`: four seconds on an idle machine.
const READY: Duration = Duration::from_secs(120);

/// How often it is asked.
const POLL: Duration = Duration::from_millis(200);

/// The programs of the module, and what of it each is.
const PROGRAMS: [&str; 2] = ["kube-apiserver", "kube-controller-manager"];

/// Which of the processes it is: etcd is the first.
const API_SERVER: usize = 1;

/// The controllers that make pods of workloads, tokens of accounts, and take away what belongs to nothing any more.
const CONTROLLERS: &str = "deployment-controller,replicaset-controller,statefulset-controller,garbage-collector-controller,\
namespace-controller,serviceaccount-controller,disruption-controller";

/// Those that a node needs beside them: they tell where pods are, and pods whom to trust.
const NODE_CONTROLLERS: &str = "endpointslice-controller,root-ca-certificate-publisher-controller";

/// Every answered request, without bodies: a test sees there what an operator really asks for.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
"omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}"#;

/// What was typed.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Start a cluster and print how tests find it.
    Up {
        /// Only what needs no privileges: no pod starts
        #[arg(long)]
        without_node: bool,
    },
    /// Stop it.
    Down,
    /// Build its programs, and nothing else.
    Build,
    /// Run the operator with many servers while the network is bad and the API server is started anew again and again.
    Faults(faults::Args),
}

/// Does it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Verb::Build => build(),
        Verb::Up { without_node } => {
            build()?;
            let cluster = if *without_node { Cluster::start() } else { Cluster::start_whole() }?;
            let variables = cluster.variables();
            cluster.leave()?;
            for (name, value) in variables {
                anstream::println!("export {name}={}", value.display());
            }
            Ok(())
        }
        Verb::Down => down(),
        Verb::Faults(args) => faults::run(args),
    }
}

/// What keeps tests from having a cluster; `None`: nothing.
pub(crate) fn missing() -> Option<String> {
    let missing: Vec<&str> = ["go", "etcd", "openssl"].into_iter().filter(|program| !workspace::has(program)).collect();
    (!missing.is_empty()).then(|| format!("{} is missing; tests that need a cluster are skipped", missing.join(", ")))
}

fn directory() -> PathBuf {
    workspace::target().join("cluster")
}

/// What keeps pods from being started in it; `None`: nothing.
pub(crate) fn node_missing() -> Option<String> {
    node::missing().map(|missing| format!("{missing}; tests that need a node are skipped"))
}

/// Builds the programs: those of a node where there can be one.
pub(crate) fn build() -> anyhow::Result<()> {
    let module = go::Module::read("cluster")?;
    let version = module.version("k8s.io/kubernetes")?;
    let (major, minor) = version.trim_start_matches('v').split_once('.').context("a version of Kubernetes")?;
    let minor = minor.split('.').next().unwrap_or_default();
    let told = |name: &str, value: &str| (format!("k8s.io/component-base/version.{name}"), value.to_owned());
    let values = [told("gitVersion", version), told("gitMajor", major), told("gitMinor", minor)];
    let mut packages = PROGRAMS.map(|program| format!("k8s.io/kubernetes/cmd/{program}")).to_vec();
    if node::missing().is_none() {
        packages.extend(node::PROGRAMS.map(str::to_owned));
    }
    module.build(&directory(), &packages, &values)
}

/// A cluster that ends when it is dropped.
pub(crate) struct Cluster {
    run: PathBuf,
    /// Where etcd listens.
    store: u16,
    /// Where the API server listens.
    port: u16,
    /// Where its node is, if it has one.
    place: Option<node::Place>,
    /// In the order in which they were started.
    processes: Vec<Child>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Whoever left it running removes nothing of it.
        if self.processes.is_empty() {
            return;
        }
        for process in self.processes.iter_mut().rev() {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
        if let Err(error) = node::remove_cgroups(&self.run) {
            anstream::eprintln!("{error:#}");
        }
    }
}

impl Cluster {
    /// Starts one, from nothing, without a node. The programs are built.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Self::start_at(None)
    }

    /// Starts one with a node, where this machine can be one.
    pub(crate) fn start_whole() -> anyhow::Result<Self> {
        if let Some(missing) = node_missing() {
            anstream::println!("  {missing}");
            return Self::start();
        }
        Self::start_at(Some(node::Place::free()?))
    }

    fn start_at(place: Option<node::Place>) -> anyhow::Result<Self> {
        down()?;
        let run = directory().join("run");
        if run.exists() {
            fs::remove_dir_all(&run)?;
        }
        fs::create_dir_all(&run)?;
        let [store, peer, port] = free_ports()?;
        let mut cluster = Self { run, store, port, place: place.clone(), processes: Vec::new() };
        let (token, tokens) = (token()?, node::Tokens::new()?);
        cluster.write("tokens.csv", &format!("{token},admin,admin,system:masters\n{}", tokens.lines()))?;
        node::certificate(&cluster.run)?;
        cluster.write("audit-policy.json", AUDIT_POLICY)?;
        workspace::run(
            Command::new("openssl")
                .args(["genrsa", "-out"])
                .arg(cluster.run.join("accounts.key"))
                .arg("2048")
                .stderr(Stdio::null()),
        )?;
        let at = |port: u16| format!("http://127.0.0.1:{port}");
        cluster.spawn(
            "etcd",
            Command::new("etcd").args([
                "--data-dir",
                "etcd",
                "--unsafe-no-fsync",
                "--listen-client-urls",
                &at(store),
                "--advertise-client-urls",
                &at(store),
                "--listen-peer-urls",
                &at(peer),
                "--initial-advertise-peer-urls",
                &at(peer),
                "--initial-cluster",
                &format!("default={}", at(peer)),
            ]),
        )?;
        let api_server = cluster.api_server()?;
        cluster.processes.push(api_server);
        cluster.wait()?;
        let server = format!("https://127.0.0.1:{port}");
        cluster.write("kubeconfig", &kubeconfig(&cluster.run, &server, &token))?;
        let controllers = match &place {
            Some(_) => format!("{CONTROLLERS},{NODE_CONTROLLERS}"),
            None => CONTROLLERS.to_owned(),
        };
        cluster.spawn(
            "kube-controller-manager",
            Command::new(directory().join("bin").join("kube-controller-manager")).args([
                "--kubeconfig",
                "kubeconfig",
                "--leader-elect=false",
                "--secure-port=0",
                "--service-account-private-key-file",
                "accounts.key",
                "--root-ca-file",
                "certificates/apiserver.crt",
                "--controllers",
                &controllers,
                "--kube-api-qps",
                "300",
                "--kube-api-burst",
                "400",
            ]),
        )?;
        if let Some(place) = &place {
            node::start(&mut cluster, place, &tokens)?;
        }
        Ok(cluster)
    }

    /// The variables by which tests find it, and the containerd of its node.
    pub(crate) fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        let node = self.place.as_ref().map(|_| ("FAIRLEAD_TEST_NODE", node::socket(&self.run)));
        [("FAIRLEAD_TEST_CLUSTER", self.run.join("kubeconfig"))].into_iter().chain(node).collect()
    }

    /// Lets it go on; `down` finds it.
    fn leave(mut self) -> anyhow::Result<()> {
        let ids: Vec<String> = self.processes.drain(..).map(|process| process.id().to_string()).collect();
        self.write("processes", &ids.join("\n"))
    }

    /// What only this user may read: a token is among it.
    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(self.run.join(name));
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("write target/cluster/run/{name}"))
    }

    fn spawn(&mut self, name: &str, command: &mut Command) -> anyhow::Result<()> {
        let process = self.start_process(name, command)?;
        self.processes.push(process);
        Ok(())
    }

    fn start_process(&self, name: &str, command: &mut Command) -> anyhow::Result<Child> {
        self.start_with(name, command, |_| {})
    }

    /// Starts a process whose streams are not all as those of others.
    fn start_with(&self, name: &str, command: &mut Command, set: fn(&mut Command)) -> anyhow::Result<Child> {
        use std::os::unix::process::CommandExt as _;
        let log = File::options().create(true).append(true).open(self.run.join(format!("{name}.log")))?;
        // Of a group of its own: Ctrl-C ends the tests first, and then the guard ends it.
        command.current_dir(&self.run).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        set(command);
        command.spawn().with_context(|| format!("start {name}"))
    }

    fn api_server(&self) -> anyhow::Result<Child> {
        let mut command = Command::new(directory().join("bin/kube-apiserver"));
        // Pods find it there.
        let advertised = self.place.as_ref().map_or(Ipv4Addr::LOCALHOST, node::Place::gateway);
        command.args(node::API_SERVER).args([
            "--etcd-servers",
            &format!("http://127.0.0.1:{}", self.store),
            "--secure-port",
            &self.port.to_string(),
            "--bind-address",
            "127.0.0.1",
            "--advertise-address",
            &advertised.to_string(),
            "--cert-dir",
            "certificates",
            "--service-account-issuer",
            "https://kubernetes.default.svc",
            "--service-account-key-file",
            "accounts.key",
            "--service-account-signing-key-file",
            "accounts.key",
            "--token-auth-file",
            "tokens.csv",
            "--authorization-mode",
            "Node,RBAC",
            "--service-cluster-ip-range",
            "10.0.0.0/16",
            "--audit-policy-file",
            "audit-policy.json",
            "--audit-log-path",
            "audit.log",
        ]);
        self.start_process("kube-apiserver", &mut command)
    }

    /// Kills the API server and starts it again, at the same place and with what it had stored.
    fn restart_api_server(&mut self) -> anyhow::Result<()> {
        let process = self.processes.get_mut(API_SERVER).context("the API server was started")?;
        process.kill().context("kill kube-apiserver")?;
        process.wait()?;
        let again = self.api_server()?;
        if let Some(process) = self.processes.get_mut(API_SERVER) {
            *process = again;
        }
        self.wait()
    }

    fn is_alive(&mut self) -> anyhow::Result<()> {
        for process in &mut self.processes {
            if let Some(status) = process.try_wait()? {
                bail!("a part of the cluster ended with {status}; its log is in {}", self.run.display());
            }
        }
        Ok(())
    }

    /// Until the API server says that it is ready. openssl asks, because nothing else here speaks TLS.
    fn wait(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + READY;
        while Instant::now() < end {
            self.is_alive()?;
            let mut ask = Command::new("openssl")
                .args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{}", self.port)])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .context("start openssl")?;
            if let Some(mut question) = ask.stdin.take() {
                let _ = question.write_all(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n");
                let mut answer = String::new();
                // The connection is the server's to close, and it does.
                let _ = ask.stdout.take().map(|mut out| out.read_to_string(&mut answer));
                if answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200") {
                    let _ = ask.kill();
                    let _ = ask.wait();
                    return Ok(());
                }
            }
            let _ = ask.kill();
            let _ = ask.wait();
            pause();
        }
        bail!("the API server was not ready within {READY:?}; its log is in {}", self.run.display())
    }
}

#[expect(clippy::disallowed_methods, reason = "an outer program is polled; there is nothing to be woken by")]
fn pause() {
    std::thread::sleep(POLL);
}

/// Ends what `up` left running: only processes that are still what was started.
fn down() -> anyhow::Result<()> {
    let run = directory().join("run");
    let Ok(ids) = fs::read_to_string(run.join("processes")) else { return Ok(()) };
    for id in ids.lines().rev() {
        let is_ours = fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|directory| directory == run);
        let process = id.parse().ok().and_then(rustix::process::Pid::from_raw);
        if let (true, Some(process)) = (is_ours, process) {
            rustix::process::kill_process(process, rustix::process::Signal::KILL)?;
            anstream::println!("{}ended{:#} process {id}", terminal::GOOD, terminal::GOOD);
        }
    }
    node::remove_cgroups(&run)?;
    fs::remove_file(run.join("processes"))?;
    Ok(())
}

/// How a program reaches an API server, and who it is.
fn kubeconfig(run: &Path, server: &str, token: &str) -> String {
    let cluster = json!({"server": server, "certificate-authority": run.join("certificates/apiserver.crt")});
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    })
    .to_string()
}

/// Ports that nobody has now. Another could take one before it is bound; then the start fails, and says so.
fn free_ports() -> anyhow::Result<[u16; 3]> {
    let held = [listener()?, listener()?, listener()?];
    let [a, b, c] = &held;
    Ok([a.local_addr()?.port(), b.local_addr()?.port(), c.local_addr()?.port()])
}

fn listener() -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a port")
}

fn token() -> anyhow::Result<String> {
    let mut bytes = [0; 24];
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes)).context("read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
