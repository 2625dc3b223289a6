//! A registry of a cluster is read by those whom the cluster lets: real tokens of real accounts, a real API server that is asked, and
//! `registry serve` with the arguments that the operator of this build has given it.
//!
//! Between the registry server and the API server stands a relay that can be away or mute.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fairlead_tests::cluster::Cluster;
use fairlead_tests::limits::SETTLE;
use fairlead_tests::{Cli, Daemon, Home, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ok;
use super::served::ask;

/// For how long the registry server believes what the cluster said.
const KEEP: Duration = Duration::from_secs(10);

/// What of it a test counts on while it does other things: half of it.
const SURELY_KEPT: Duration = Duration::from_secs(5);

/// Both questions and a turn, with time for a machine that is busy.
const ANSWERED: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relaying {
    Through,
    Away,
    Mute,
}

/// What stands before the API server.
struct Relay {
    address: String,
    state: watch::Sender<Relaying>,
    _serving: JoinSet<()>,
}

impl Relay {
    async fn before(server: &str) -> Result<Self> {
        let server: Arc<str> = server.trim_start_matches("https://").into();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("https://{}", listener.local_addr()?);
        let (state, seen) = watch::channel(Relaying::Through);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (server, mut seen) = (Arc::clone(&server), seen.clone());
                connections.spawn(async move {
                    let now = *seen.borrow_and_update();
                    // Whatever it was, it ends when something else is wanted.
                    tokio::select! {
                        () = relay(stream, &server, now) => {}
                        _ = seen.changed() => {}
                    }
                });
            }
        });
        Ok(Self { address, state, _serving: serving })
    }
}

async fn relay(mut stream: TcpStream, server: &str, now: Relaying) {
    match now {
        Relaying::Away => {}
        Relaying::Mute => std::future::pending().await,
        Relaying::Through => {
            if let Ok(mut behind) = TcpStream::connect(server).await {
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
            }
        }
    }
}

/// A registry server of a cluster. Dropping it kills it.
struct Served {
    _child: Child,
    url: String,
    log: PathBuf,
}

impl Served {
    /// Starts one as its Deployment says, as its own account, with the file of its `ConfigMap`.
    async fn start(cluster: &Cluster, home: &Home, relay: &Relay) -> Result<Self> {
        let deployment = eventually("the registry server is made", SETTLE, async || {
            cluster.get("deployment/catalogue-registry").await
        });
        let deployment = deployment.await?;
        let arguments = deployment.pointer("/spec/template/spec/containers/0/args").and_then(Value::as_array);
        let arguments: Vec<&str> = arguments.context("arguments")?.iter().filter_map(Value::as_str).collect();
        let config = cluster.get("configmap/catalogue-registry").await?;
        let config = config.pointer("/data/registries.json").and_then(Value::as_str).context("a configuration")?;
        let sources = home.path().join("sources");
        let file = home.path().join("registries.json");
        std::fs::write(&file, config.replace("/etc/fairlead/sources", sources.to_str().context("a path")?))?;
        for name in ["ours", "wild"] {
            std::fs::create_dir_all(sources.join(name))?;
            let servers = cluster.get(&format!("configmap/{name}")).await?;
            let servers = servers.pointer("/data/servers.json").and_then(Value::as_str).context("servers")?;
            std::fs::write(sources.join(name).join("servers.json"), servers)?;
        }
        let token = cluster.kubectl(&["create", "token", "catalogue-registry"], "").await?;
        let kubeconfig = home.path().join("kubeconfig");
        std::fs::write(&kubeconfig, cluster.kubeconfig_of(token.trim(), &relay.address)?.to_string())?;
        let (log, file) = (home.path().join("registry.log"), format!("--file={}", file.display()));
        let mut command = Cli::new(home)?.command();
        command.args(["--format", "json"]);
        command.args(arguments.into_iter().map(|argument| match argument {
            argument if argument.starts_with("--file=") => file.as_str(),
            argument if argument.starts_with("--address=") => "--address=127.0.0.1:0",
            argument => argument,
        }));
        // All that can be said is said, and no token may be among it.
        command.env("KUBECONFIG", kubeconfig).env("FAIRLEAD_LOG", "trace");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(std::fs::File::create(&log)?).kill_on_drop(true);
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        let said = lines.next_line().await?;
        let said = said.with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
        let said: Value = serde_json::from_str(&said)?;
        let url = format!("http://{}", said["registryAddress"].as_str().context("an address")?);
        child.stdout = Some(lines.into_inner().into_inner());
        Ok(Self { _child: child, url, log })
    }

    /// What becomes of somebody who asks for all servers with this token.
    async fn answer(&self, token: Option<&str>) -> Result<(u16, String, Vec<u8>)> {
        let header = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        ask(&self.url, "/v0.1/servers", &header).await
    }

    async fn status(&self, token: &str) -> Result<u16> {
        Ok(self.answer(Some(token)).await?.0)
    }
}

/// A token of an account, made for somebody.
async fn token(cluster: &Cluster, account: &str, audience: Option<&str>) -> Result<String> {
    let audience = audience.map(|audience| format!("--audience={audience}"));
    let mut args = vec!["create", "token", account];
    args.extend(audience.as_deref());
    Ok(cluster.kubectl(&args, "").await?.trim().to_owned())
}

/// The same token as it would have been made some time ago, signed by the key of the cluster.
async fn made_ago(cluster: &Cluster, token: &str, seconds: i64) -> Result<String> {
    let (head, rest) = token.split_once('.').context("a token")?;
    let body = rest.split('.').next().context("a token")?;
    let padded = format!("{body}{}", "=".repeat((4 - body.len() % 4) % 4));
    let body = piped("basenc --base64url -d", padded.as_bytes()).await?;
    let mut claims: Value = serde_json::from_slice(&body)?;
    for claim in ["exp", "iat", "nbf"] {
        claims[claim] = (claims[claim].as_i64().context("a moment")? - seconds).into();
    }
    let encode = "basenc --base64url -w0 | tr -d =";
    let body = String::from_utf8(piped(encode, claims.to_string().as_bytes()).await?)?;
    let signed = format!("{head}.{body}");
    let key = cluster.beside_kubeconfig("accounts.key");
    let sign = format!("openssl dgst -sha256 -sign '{}' -binary | {encode}", key.display());
    let signature = String::from_utf8(piped(&sign, signed.as_bytes()).await?)?;
    Ok(format!("{signed}.{signature}"))
}

async fn piped(script: &str, input: &[u8]) -> Result<Vec<u8>> {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    child.stdin.take().context("a pipe")?.write_all(input).await?;
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "{script}: {}", output.status);
    Ok(output.stdout)
}

/// A registry, its operator, and accounts: one that may read it and one that may not.
async fn scene(cluster: &Cluster) -> Result<Child> {
    let operator = cluster.operator_with("registry.test/fairlead:1", &["--bind-reviewers"], &[])?;
    let servers = |name: &str| {
        let image = format!("example.test/{name}:1.0.0");
        let one =
            json!({"image": image, "transport": "streamable-http", "target_port": 8080, "description": "a server"});
        let data = json!({"servers.json": json!({"servers": {name: one}}).to_string()});
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": if name == "weather" { "ours" } else { "wild" }},
               "data": data})
    };
    let source = |name: &str, layer: &str| json!({"source": {"kind": "config-map", "name": name, "key": "servers.json"}, "layer": layer});
    let may = json!({"apiGroups": ["fairlead.dev"], "resources": ["mcpregistries/entries"],
                     "resourceNames": ["catalogue"], "verbs": ["get"]});
    let rbac = "rbac.authorization.k8s.io";
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        servers("weather"),
        servers("gamble"),
        {"apiVersion": "fairlead.dev/v1alpha1", "kind": "MCPRegistry", "metadata": {"name": "catalogue"}, "spec": {"registries":
            {"ours": source("ours", "trusted"), "wild": source("wild", "community")}}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "other"}},
        {"apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": {"name": "readers"}, "rules": [may]},
        {"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": {"name": "readers"},
         "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "readers"},
         "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": cluster.namespace()}]},
    ]});
    cluster.kubectl(&["apply", "-f", "-"], &objects.to_string()).await?;
    Ok(operator)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_of_a_cluster_is_read_by_whom_the_cluster_lets_and_by_nobody_when_it_is_silent() -> Result<()> {
    let Some(cluster) = Cluster::found().await? else { return Ok(()) };
    let mut operator = scene(&cluster).await?;
    let relay = Relay::before(&cluster.server()?).await?;
    let home = Home::new()?;
    let served = Served::start(&cluster, &home, &relay).await?;
    let namespace = cluster.namespace().to_owned();
    let audience = format!("catalogue-registry.{namespace}.svc");
    let here = Some(audience.as_str());

    // Who looks whether it is alive need not say who they are; everybody else does.
    assert_eq!(ask(&served.url, "/health", "").await?.0, 200);
    let (status, head, _) = served.answer(None).await?;
    assert!(status == 401 && head.contains("www-authenticate: bearer"), "{status}: {head}");

    let reader = token(&cluster, "reader", here).await?;
    eventually("the file is read, and whoever may read it does", SETTLE, async || {
        let (status, _, page) = served.answer(Some(&reader)).await?;
        let page = String::from_utf8_lossy(&page).into_owned();
        ensure!(status == 200 && page.contains("io.github.stacklok/weather"), "{status}: {page}");
        Ok(())
    })
    .await?;
    let other = token(&cluster, "other", here).await?;
    let (status, _, said) = served.answer(Some(&other)).await?;
    assert_eq!(status, 403);
    assert!(String::from_utf8_lossy(&said).contains("mcpregistries/entries"), "{said:?}");

    // A token for the API server, for another registry, of long ago, of nobody.
    let elsewhere = format!("other-registry.{namespace}.svc");
    let strangers = [
        token(&cluster, "reader", None).await?,
        token(&cluster, "reader", Some(&elsewhere)).await?,
        made_ago(&cluster, &reader, 2 * 60 * 60).await?,
        format!("{reader}x"),
        "nobody".to_owned(),
    ];
    for (index, stranger) in strangers.iter().enumerate() {
        assert_eq!(served.status(stranger).await?, 401, "{index}");
    }
    // So the key was the right one, and it was the time that was wrong.
    let again = made_ago(&cluster, &reader, 1).await?;
    assert_eq!(served.status(&again).await?, 200);

    // What was said counts for its time, and no longer.
    let kept = token(&cluster, "reader", here).await?;
    let asked = Instant::now();
    assert_eq!(served.status(&kept).await?, 200);
    cluster.kubectl(&["delete", "rolebinding", "readers"], "").await?;
    let status = served.status(&kept).await?;
    assert!(status == 200 || asked.elapsed() > SURELY_KEPT, "the cluster is asked each time: {status}");
    eventually("the right is gone", KEEP + SETTLE, async || {
        let status = served.status(&kept).await?;
        ensure!(status == 403, "{status}");
        Ok(())
    })
    .await?;
    assert!(asked.elapsed() < KEEP * 2, "{:?}", asked.elapsed());

    // An API server that is away, or says nothing: it is nobody's token that is wrong.
    for state in [Relaying::Away, Relaying::Mute] {
        relay.state.send_replace(state);
        let fresh = token(&cluster, "other", here).await?;
        let asked = Instant::now();
        let (status, head, said) = served.answer(Some(&fresh)).await?;
        assert_eq!(status, 503, "{state:?}: {}", String::from_utf8_lossy(&said));
        assert!(head.contains("retry-after:") && !head.contains("www-authenticate"), "{head}");
        assert!(asked.elapsed() < ANSWERED, "{state:?}: {:?}", asked.elapsed());
        relay.state.send_replace(Relaying::Through);
        eventually("it is asked again", SETTLE, async || {
            let status = served.status(&fresh).await?;
            ensure!(status == 403, "{status}");
            Ok(())
        })
        .await?;
    }

    let log = std::fs::read_to_string(&served.log)?;
    assert!(log.contains("nobody is let in") && log.contains("tells again"), "it is told");
    for token in [&reader, &other, &again, &kept].into_iter().chain(&strangers[..3]) {
        let signature = token.rsplit('.').next().context("a signature")?;
        assert!(!log.contains(signature), "a token is in the log");
    }
    only_reviews(&cluster).await?;
    cluster.kubectl(&["delete", "mcpregistry", "catalogue", "--timeout=30s"], "").await?;
    let binding = format!("fairlead.dev:{namespace}:catalogue-registry");
    assert!(cluster.get(&format!("clusterrolebinding/{binding}")).await.is_err(), "the right outlives the registry");
    operator.kill().await?;
    Ok(())
}

/// The account of the registry server may ask who its clients are, and nothing that an account with no rights may not.
async fn only_reviews(cluster: &Cluster) -> Result<()> {
    let rights = async |account: &str| -> Result<Vec<String>> {
        let user = format!("--as=system:serviceaccount:{}:{account}", cluster.namespace());
        let groups = ["--as-group=system:serviceaccounts", "--as-group=system:authenticated"];
        let mut args = vec!["auth", "can-i", "--list", "--no-headers", user.as_str()];
        args.extend(groups);
        let mut lines: Vec<String> = cluster.kubectl(&args, "").await?.lines().map(str::to_owned).collect();
        lines.sort();
        Ok(lines)
    };
    let (mut its, anybodys) = (rights("catalogue-registry").await?, rights("default").await?);
    its.retain(|right| !anybodys.contains(right));
    let mut named: Vec<String> =
        its.iter().map(|right| right.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    named.sort();
    assert_eq!(
        named,
        [
            "subjectaccessreviews.authorization.k8s.io [] [] [create]",
            "tokenreviews.authentication.k8s.io [] [] [create]"
        ]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_a_registry_of_a_cluster_becomes_a_server_there_that_says_where_it_came_from() -> Result<()> {
    let Some(cluster) = Cluster::found().await? else { return Ok(()) };
    let mut operator = scene(&cluster).await?;
    let relay = Relay::before(&cluster.server()?).await?;
    let home = Home::new()?;
    let served = Served::start(&cluster, &home, &relay).await?;
    let namespace = cluster.namespace().to_owned();
    let here = format!("catalogue-registry.{namespace}.svc");

    // A machine that reads the registry of the cluster, and what is trusted there.
    let daemon = Daemon::start().await?;
    let kubeconfig = cluster.beside_kubeconfig("kubeconfig");
    let cli = daemon.cli()?.env("KUBECONFIG", kubeconfig.to_str().context("a path")?);
    crate::secrets::set(&cli, "catalogue", &token(&cluster, "reader", Some(&here)).await?).await;
    let trusted = daemon.home().path().join("trusted.json");
    std::fs::write(&trusted, json!({"include": [{"matchLabels": {"dev.fairlead/layer": "trusted"}}]}).to_string())?;
    let (trusted, url) = (trusted.to_str().context("a path")?, format!("fairlead+{}", served.url));
    eventually("the registry is read", SETTLE, async || {
        let args = ["--format", "json", "registry", "add", "all", &url, "--token", "catalogue"];
        let _ = cli.run(args).await?;
        let listed = cli.run(["registry", "refresh", "all", "--format", "json"]).await?;
        let listed: Value = serde_json::from_str(&listed.stdout)?;
        ensure!(listed.pointer("/0/entries") == Some(&json!(2)), "{listed}");
        Ok(())
    })
    .await?;
    let added = ["registry", "add", "team", &url, "--token", "catalogue", "--rules", trusted, "--layer", "trusted"];
    let _ = ok(&cli, &added).await;
    let _ = ok(&cli, &["registry", "layers", "--order", "trusted,community", "--run", "trusted"]).await;

    let run = ["run", "registry://weather", "--on-cluster", &namespace];
    let made = ok(&cli, &run).await;
    let there = cluster.get("mcpserver/weather").await?;
    assert_eq!(made["metadata"]["uid"], there["metadata"]["uid"]);
    assert_eq!(there["spec"]["source"]["reference"], "example.test/weather:1.0.0");
    let annotations = &there["metadata"]["annotations"];
    let entry = ok(&cli, &["registry", "entry", "weather"]).await;
    let named =
        format!("{}@{}", entry["name"].as_str().context("a name")?, entry["version"].as_str().context("a version")?);
    assert_eq!(annotations["fairlead.dev/registry-entry"], named);
    assert_eq!(annotations["fairlead.dev/registry"], "team");
    assert_eq!(annotations["fairlead.dev/registry-layer"], "trusted");
    let fingerprint = annotations["fairlead.dev/registry-fingerprint"].as_str().context("a fingerprint")?;
    assert!(fingerprint.starts_with("sha256:") && fingerprint.len() == 71, "{fingerprint}");
    eventually("the operator carries it out", SETTLE, async || cluster.get("deployment/weather").await).await?;

    // One is there; what is not trusted is not made, under whatever name it comes; nothing is made for a look.
    let again = cli.run(run).await?;
    assert!(again.code != Some(0) && again.stderr.contains("there is a server `weather`"), "{again}");
    for (source, said) in
        [("registry://gamble", "only entries of `trusted` may run"), ("example.test/gamble:1.0.0", "only entries of")]
    {
        let refused = cli.run(["run", source, "--on-cluster", &namespace]).await?;
        assert!(refused.code != Some(0) && refused.stderr.contains(said), "{source}: {refused}");
    }
    let dry =
        cli.run(["run", "registry://weather", "--name", "other", "--on-cluster", &namespace, "--dry-run"]).await?;
    assert!(dry.stdout.contains(&format!("namespace: {namespace}")) && dry.stdout.contains(&named), "{dry}");
    assert_eq!(cluster.list("mcpservers", "").await?.len(), 1);
    let nowhere = cli.run(["run", "registry://weather", "--on-cluster", "no-such-place"]).await?;
    assert!(nowhere.code != Some(0) && nowhere.stderr.contains("no namespace `no-such-place`"), "{nowhere}");
    for object in ["mcpserver/weather", "mcpregistry/catalogue"] {
        cluster.kubectl(&["delete", object, "--timeout=30s"], "").await?;
    }
    operator.kill().await?;
    Ok(())
}
