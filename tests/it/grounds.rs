//! One document on both grounds: `fairlead apply -f` on a machine and `kubectl apply -f` on a cluster give servers that answer
//! alike. And what only a cluster does: servers that end and come back in their pods, proxies that are told to end.
//!
//! On the cluster everything is real: `kubectl`, API server, controllers, the operator of this build, and a node with a kubelet and
//! containerd, on which `fairlead proxy pod` and the server run. What may differ is said where answers are compared, and nowhere else.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use fairlead_tests::cluster::{Cluster, Running};
use fairlead_tests::engine::Engine;
use fairlead_tests::limits::POD;
use fairlead_tests::pod::Pod;
use fairlead_tests::{Client, Daemon, Reply, binary, eventually, image};
use http::Method;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::process::Child;
use tokio::sync::OnceCell;

use crate::containers::engine;

/// The server.
const NAME: &str = "docs";

/// What differs from one answer to the next wherever it comes from: the moment, the session, and what belongs to a stream; the test
/// server sends every second reply as one, whoever asked for the one before.
const OWN: [&str; 7] = [
    "cache-control",
    "content-length",
    "content-type",
    "date",
    "mcp-session-id",
    "transfer-encoding",
    "x-accel-buffering",
];

/// An answer, as far as it must be the same.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    has_session: bool,
    messages: Vec<String>,
}

/// How a server is spoken to.
#[derive(Debug, Clone, Copy)]
enum Spoken {
    Stdio,
    Http,
}

impl Spoken {
    fn or<T>(self, over_http: T, over_stdio: T) -> T {
        match self {
            Self::Http => over_http,
            Self::Stdio => over_stdio,
        }
    }
}

/// The document: a server, and perhaps a plugin that guards it.
fn document(spoken: Spoken, image: &str, guard: Option<&Plugin>) -> String {
    let (args, transport, more) = match spoken {
        Spoken::Stdio => ("[]", "{kind: stdio}", ""),
        Spoken::Http => {
            (r#"[--http, "9000"]"#, "{kind: streamable-http, port: 9000}", "\n    TEST_SERVER_HOST: 0.0.0.0")
        }
    };
    let server = format!(
        r#"apiVersion: fairlead.dev/v1alpha1
kind: MCPServer
metadata:
  name: {NAME}
spec:
  source:
    kind: image
    reference: {image}
    pull: never
    args: {args}
  transport: {transport}
  env:
    GREETING: hello{more}
  # A limit is a request as well, and the node has no more processors than this machine.
  podTemplateSpec:
    spec:
      containers:
        - name: mcp
          resources: {{requests: {{cpu: 10m}}}}
"#
    );
    let Some(Plugin { name, file, digest }) = guard else { return server };
    let source = file.display();
    format!(
        r#"{server}  plugins:
    - name: filter
      plugin: {name}
      config: {{allow: [echo, slow, environment]}}
---
apiVersion: fairlead.dev/v1alpha1
kind: Plugin
metadata:
  name: {name}
spec:
  source: {source}
  digest: {digest}
"#
    )
}

/// A plugin at a path, which it has in the image of the proxy as well.
struct Plugin {
    /// Of its own for each test: plugins belong to the whole cluster.
    name: String,
    file: PathBuf,
    digest: String,
}

impl Plugin {
    async fn inspected(daemon: &Daemon, name: String, file: &Path) -> Result<Self> {
        let inspected = daemon.cli()?.json(["plugin", "inspect", file.to_str().context("a path")?]).await?;
        let digest = inspected.get("digest").and_then(Value::as_str).context("a digest")?.to_owned();
        Ok(Self { name, file: file.to_owned(), digest })
    }
}

/// A cluster in which one server was applied, and a machine on which the same may be.
struct Grounds {
    daemon: Daemon,
    engine: Engine,
    cluster: Cluster,
    file: PathBuf,
    _operator: Child,
}

impl Grounds {
    /// `None` where there is no node, or no engine to make images with.
    async fn new(spoken: Spoken, is_guarded: bool) -> Result<Option<Self>> {
        let Some(cluster) = Cluster::with_node().await? else { return Ok(None) };
        let daemon = Daemon::start().await?;
        let Some(engine) = engine(&daemon.cli()?).await else { return Ok(None) };
        let plugin = binary::plugin("tool-filter")?;
        let guard = match is_guarded {
            true => Some(Plugin::inspected(&daemon, format!("filter-{}", cluster.namespace()), &plugin).await?),
            false => None,
        };
        cluster.bring(&engine, &engine.image).await?;
        let image = proxy_image(&cluster, &engine, &plugin).await?;
        let file = daemon.home().path().join("docs.yaml");
        std::fs::write(&file, document(spoken, &engine.image, guard.as_ref()))?;
        let operator = cluster.operator(&image)?;
        Ok(Some(Self { daemon, engine, cluster, file, _operator: operator }))
    }

    async fn apply_here(&self) -> Result<String> {
        self.daemon.cli()?.ok(["apply", "-f", self.file.to_str().context("a path")?]).await?;
        Ok(self.daemon.url(NAME))
    }

    async fn apply_there(&self) -> Result<String> {
        self.cluster.kubectl(&["apply", "-f", self.file.to_str().context("a path")?], "").await?;
        self.half("backend").await?;
        let proxy = self.half("proxy").await?;
        self.cluster.kubectl(&["wait", "--for=condition=Ready", "--timeout=120s", "mcpserver/docs"], "").await?;
        Ok(url(&proxy))
    }

    /// The pod of the server, or that of its proxy.
    async fn half(&self, component: &str) -> Result<Running> {
        self.cluster.ready(&half(component)).await
    }

    async fn finalizers(&self, pod: &Running, names: &[&str]) -> Result<()> {
        let patch = json!({"metadata": {"finalizers": names}}).to_string();
        self.cluster.kubectl(&["patch", "pod", &pod.name, "--type=merge", "-p", &patch], "").await.map(drop)
    }

    async fn done(self) -> Result<()> {
        self.daemon.cli()?.ok(["rm", "--all"]).await?;
        // The operator has to let go of it before it ends itself.
        let file = self.file.to_str().context("a path")?;
        self.cluster.kubectl(&["delete", "-f", file, "--ignore-not-found", "--timeout=30s"], "").await?;
        self.engine.done().await
    }
}

fn half(component: &str) -> String {
    format!("fairlead.dev/server={NAME},app.kubernetes.io/component={component}")
}

pub(crate) fn url(proxy: &Running) -> String {
    format!("http://{}:8080/mcp", proxy.address)
}

/// This build as the image of a proxy on the node, with a plugin at its path as well. All tests here use one.
pub(crate) async fn proxy_image(cluster: &Cluster, engine: &Engine, plugin: &Path) -> Result<String> {
    static IMAGE: OnceCell<String> = OnceCell::const_new();
    let make = async || {
        let image = format!("fairlead-test:{}", std::process::id());
        image::make(engine, &image, &[plugin]).await?;
        cluster.bring(engine, &image).await?;
        engine.forget(&image).await?;
        anyhow::Ok(image)
    };
    IMAGE.get_or_try_init(make).await.cloned()
}

async fn answers_alike(spoken: Spoken) {
    let Some(grounds) = Grounds::new(spoken, true).await.unwrap() else { return };
    let compared = async {
        let (here, there) = tokio::try_join!(grounds.apply_here(), grounds.apply_there())?;
        compare(spoken, Client::new(&here)?, Client::new(&there)?).await
    };
    let compared = compared.await;
    grounds.done().await.unwrap();
    compared.unwrap();
}

#[tokio::test]
async fn one_document_gives_servers_over_http_that_answer_alike_on_a_machine_and_on_a_cluster() {
    answers_alike(Spoken::Http).await;
}

#[tokio::test]
async fn one_document_gives_servers_over_stdio_that_answer_alike_on_a_machine_and_on_a_cluster() {
    answers_alike(Spoken::Stdio).await;
}

#[tokio::test]
async fn a_stdio_server_that_ends_in_its_pod_fails_the_calls_under_way_and_answers_again_when_it_was_started_anew() {
    let Some(grounds) = Grounds::new(Spoken::Stdio, false).await.unwrap() else { return };
    let client = Client::connect(&grounds.apply_there().await.unwrap()).await.unwrap();
    assert!(client.text("environment", json!({"name": "GREETING"})).await.unwrap().contains("hello"));
    let call = async |name: &str, arguments: Value| {
        client.request(&json!(name), "tools/call", json!({"name": name, "arguments": arguments})).await
    };
    let (hanging, crashing) = tokio::try_join!(call("hang", json!({})), call("crash", json!({"code": 3}))).unwrap();
    for reply in [hanging, crashing] {
        let error = reply.response().await.unwrap();
        let message = error.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
        assert!(message.contains("ended"), "{error}");
    }
    let again = eventually("it answers again", POD, async || {
        let client = Client::connect(&url(&grounds.half("proxy").await?)).await?;
        client.call("echo", json!({"n": 1})).await
    });
    assert_eq!(again.await.unwrap()["result"]["structuredContent"], json!({"n": 1}));
    let pods = grounds.cluster.list("pods", &half("backend")).await.unwrap();
    let restarts = pods[0].pointer("/status/containerStatuses/0/restartCount").unwrap();
    assert_eq!(restarts, 1, "the same pod, with another process: {}", pods[0]);
    grounds.done().await.unwrap();
}

#[tokio::test]
async fn a_proxy_whose_pod_is_deleted_finishes_what_it_began_and_the_next_one_finds_the_same_process() {
    let Some(grounds) = Grounds::new(Spoken::Stdio, false).await.unwrap() else { return };
    let one = Client::connect(&grounds.apply_there().await.unwrap()).await.unwrap();
    let process = one.text("process", json!({})).await.unwrap();
    let proxy = grounds.half("proxy").await.unwrap();
    let under_way = one.request(&json!("slow"), "tools/call", slow(60)).await.unwrap();
    // Its object stays, so that it can be seen how it ended.
    grounds.finalizers(&proxy, &["fairlead.dev/test"]).await.unwrap();
    grounds.cluster.kubectl(&["delete", "pod", &proxy.name, "--wait=false"], "").await.unwrap();
    assert_eq!(steps(under_way).await.unwrap(), 60);
    let ended = eventually("its container ends", POD, async || {
        let pod = grounds.cluster.get(&format!("pod/{}", proxy.name)).await?;
        let code = pod.pointer("/status/containerStatuses/0/state/terminated/exitCode").cloned();
        code.with_context(|| format!("{:#}", pod["status"]))
    });
    assert_eq!(ended.await.unwrap(), 0, "137 is a process that was killed");
    grounds.finalizers(&proxy, &[]).await.unwrap();
    let other = Client::connect(&url(&grounds.half("proxy").await.unwrap())).await.unwrap();
    assert_eq!(other.text("process", json!({})).await.unwrap(), process);
    grounds.done().await.unwrap();
}

/// As while one proxy ends and the next has begun: each is told all that the process says. The second is a process of this machine.
#[tokio::test]
async fn two_proxies_at_one_process_give_no_client_what_another_asked_for() {
    let Some(grounds) = Grounds::new(Spoken::Stdio, false).await.unwrap() else { return };
    let one = Client::connect(&grounds.apply_there().await.unwrap()).await.unwrap();
    let map = grounds.cluster.get("configmap/docs-config").await.unwrap();
    let config = serde_json::from_str(map["data"]["server.json"].as_str().unwrap()).unwrap();
    let kubeconfig = grounds.cluster.kubeconfig_path().unwrap();
    let second = Pod::start_with(&config, &[], &[("KUBECONFIG", kubeconfig)]).await.unwrap();
    let other = Client::connect(&second.url()).await.unwrap();
    let ask = async |client: &Client, count| client.request(&json!("slow"), "tools/call", slow(count)).await;
    let (longer, shorter) = tokio::try_join!(ask(&one, 30), ask(&other, 15)).unwrap();
    let counted = tokio::try_join!(steps(longer), steps(shorter)).unwrap();
    assert_eq!(counted, (30, 15), "each has its own progress, and then its own answer");
    grounds.done().await.unwrap();
}

/// A call that takes so many tenths of a second.
fn slow(steps: u32) -> Value {
    json!({"name": "slow", "arguments": {"steps": steps, "step_ms": 100}, "_meta": {"progressToken": 1}})
}

/// How often progress is told before the answer.
async fn steps(mut reply: Reply) -> Result<usize> {
    let mut count = 0;
    while let Some(message) = reply.message().await? {
        if message.get("method") == Some(&json!("notifications/progress")) {
            count += 1;
        } else if message.get("id") == Some(&json!("slow")) {
            ensure!(message.pointer("/result/content/0/text") == Some(&json!("done")), "{message}");
            return Ok(count);
        }
    }
    bail!("the stream ended after {count} steps")
}

async fn compare(spoken: Spoken, here: Client, there: Client) -> Result<()> {
    let mut wrong = Vec::new();
    for question in questions(spoken) {
        let ask =
            async |client, ground| question.ask(client).await.with_context(|| format!("{question:?} on the {ground}"));
        let (one, other) = (ask(&here, "machine").await?, ask(&there, "cluster").await?);
        if one != other || one.status != question.status {
            wrong.push(format!("{question:?}\n  machine: {one:?}\n  cluster: {other:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    for client in [here, there] {
        client.set_session(None);
        // A ground adds variables of its own.
        client.initialize(json!({})).await?;
        let said = client.text("environment", json!({"name": "GREETING"})).await?;
        ensure!(serde_json::from_str::<Value>(&said)?.get("value") == Some(&json!("hello")), "{said}");
    }
    Ok(())
}

/// What is asked at both, and the status that tells that it was understood.
#[derive(Debug)]
struct Question {
    method: Method,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
    status: u16,
}

impl Question {
    fn post(body: impl ToString) -> Self {
        Self { method: Method::POST, headers: Vec::new(), body: body.to_string(), status: 200 }
    }

    /// A call whose arguments are sent as they are written.
    fn call(id: &str, tool: &str, arguments: &str) -> Self {
        Self::post(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},"_meta":{{"progressToken":"p"}}}}}}"#
        ))
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn answered(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Asks it in the session of a client, which begins with the first answer that names one.
    async fn ask(&self, client: &Client) -> Result<Answer> {
        let mut request = client.http(self.method.clone()).header("content-type", "application/json");
        for (name, value) in &self.headers {
            if let Some(headers) = request.headers_mut() {
                headers.insert(*name, value.parse()?);
            }
        }
        let mut reply = client.send(request.body(Full::new(self.body.clone().into()))?).await?;
        let session = reply.header("mcp-session-id").to_owned();
        let mut headers: Vec<_> = reply
            .headers
            .iter()
            .filter(|(name, _)| !OWN.contains(&name.as_str()))
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        headers.sort();
        let status = reply.status.as_u16();
        let mut messages = Vec::new();
        if reply.is_stream() {
            while let Some(event) = reply.event().await? {
                messages.push(event.data);
            }
        } else {
            messages.push(String::from_utf8(reply.bytes().await?.to_vec())?);
        }
        let has_session = !session.is_empty();
        if has_session && client.session().is_none() {
            client.set_session(Some(session));
        }
        Ok(Answer { status, headers, has_session, messages })
    }
}

/// A session from its beginning to after its end: answers, events, errors of the server, refusals of the plugin and of the proxy.
/// What a server over HTTP answers itself, the proxy answers for one over stdio, and it is stricter than the test server.
fn questions(spoken: Spoken) -> Vec<Question> {
    let request = |id: u32, method: &str, params: Value| {
        Question::post(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
    };
    let initialize = json!({"protocolVersion": "2025-11-25", "capabilities": {"sampling": {}},
                            "clientInfo": {"name": "grounds", "version": "1"}});
    let list = || request(2, "tools/list", json!({}));
    let modern = json!({"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                                  "io.modelcontextprotocol/clientInfo": {"name": "grounds", "version": "1"},
                                  "io.modelcontextprotocol/clientCapabilities": {}}});
    vec![
        request(0, "tools/list", json!({})).answered(spoken.or(404, 400)),
        request(1, "initialize", initialize),
        Question::post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).answered(202),
        list(),
        Question::call("3", "echo", r#"{ "n":9007199254740993,"f":1.0,"t":"\u00e9\/é" , "z":[1E+2] }"#),
        Question::call(r#""three""#, "slow", r#"{"steps":3,"step_ms":10}"#),
        // The plugin lets neither through.
        Question::call("4", "big", r#"{"bytes":1}"#),
        Question::call("5", "no-such-tool", "{}"),
        // The server knows neither.
        request(6, "resources/list", json!({})),
        request(7, "no/such", json!({})),
        Question::post("{\"jsonrpc\": \"2.0\", \"id\": 8").answered(400),
        Question::post(json!({"id": 9, "method": "ping"})).answered(400),
        list().with("mcp-session-id", "guessed").answered(404),
        list().with("mcp-protocol-version", "1999-01-01").answered(spoken.or(200, 400)),
        list().with("origin", "https://elsewhere.example").answered(403),
        list().with("accept", "text/plain").answered(spoken.or(200, 406)),
        request(10, "server/discover", modern).with("mcp-protocol-version", "2026-07-28").answered(spoken.or(200, 400)),
        // A stream that stays open is none to compare.
        Question {
            method: spoken.or(Method::GET, Method::PATCH),
            headers: Vec::new(),
            body: String::new(),
            status: 405,
        },
        Question { method: Method::PUT, headers: Vec::new(), body: String::new(), status: 405 },
        Question { method: Method::DELETE, headers: Vec::new(), body: String::new(), status: 200 },
        list().answered(404),
    ]
}
