//! One document on both grounds: `fairlead apply -f` on a machine and `kubectl apply -f` on a cluster give servers that answer
//! alike.
//!
//! On the cluster everything is real but the node: `kubectl`, API server, controllers, the operator of this build, and from the
//! pods that come of it `fairlead proxy pod` and the server, in containers that the test starts as a kubelet would. What may
//! differ is said where answers are compared, and nowhere else.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use fairlead_tests::cluster::{Cluster, Node};
use fairlead_tests::engine::Engine;
use fairlead_tests::limits::COMMAND;
use fairlead_tests::{Client, Daemon, Home, binary};
use http::Method;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::process::Command;

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

/// The document: a plugin, and a server that it guards.
fn document(image: &str, plugin: &Path, digest: &str) -> String {
    format!(
        r#"apiVersion: fairlead.dev/v1alpha1
kind: Plugin
metadata:
  name: filter
spec:
  source: {plugin}
  digest: {digest}
---
apiVersion: fairlead.dev/v1alpha1
kind: MCPServer
metadata:
  name: {NAME}
spec:
  source:
    kind: image
    reference: {image}
    pull: never
    args: [--http, "9000"]
  transport:
    kind: streamable-http
    port: 9000
  env:
    GREETING: hello
    TEST_SERVER_HOST: 0.0.0.0
  plugins:
    - name: filter
      plugin: filter
      config: {{allow: [echo, slow, environment]}}
"#,
        plugin = plugin.display()
    )
}

#[tokio::test]
async fn one_document_gives_servers_that_answer_alike_on_a_machine_and_on_a_cluster() {
    let Some(cluster) = Cluster::found().await.unwrap() else { return };
    let daemon = Daemon::start().await.unwrap();
    let Some(engine) = engine(&daemon.cli().unwrap()).await else { return };
    let image = format!("fairlead-test:{}", cluster.namespace());
    let plugin = binary::plugin("tool-filter").unwrap();
    fairlead_image(&engine, &image, &plugin, daemon.home()).await.unwrap();
    let mut node = Node::new(&cluster, &engine).await.unwrap();
    let compared = both(&daemon, &cluster, &mut node, &engine, (&image, &plugin)).await;
    node.done().await.unwrap();
    daemon.cli().unwrap().ok(["rm", "--all"]).await.unwrap();
    engine.forget(&image).await.unwrap();
    engine.done().await.unwrap();
    compared.unwrap();
}

/// This build as the image of a proxy, with a plugin at its path. Without debugging information, which a node would pull for
/// minutes.
async fn fairlead_image(engine: &Engine, image: &str, plugin: &Path, home: &Home) -> Result<()> {
    let program: PathBuf = home.path().join("fairlead");
    let mut strip = Command::new("strip");
    let strip = strip.arg("-o").arg(&program).arg(binary::fairlead()?).stdin(Stdio::null()).kill_on_drop(true);
    let status = tokio::time::timeout(COMMAND, strip.status()).await.context("strip does not end")??;
    ensure!(status.success(), "strip: {status}");
    engine.make_of(&program, &[plugin], image, &[], &[]).await?;
    Ok(std::fs::remove_file(program)?)
}

async fn both(
    daemon: &Daemon,
    cluster: &Cluster,
    node: &mut Node<'_>,
    engine: &Engine,
    (image, plugin): (&str, &Path),
) -> Result<()> {
    let cli = daemon.cli()?;
    let inspected = cli.json(["plugin", "inspect", plugin.to_str().context("a path")?]).await?;
    let digest = inspected.get("digest").and_then(Value::as_str).context("a digest")?;
    let file = daemon.home().path().join("docs.yaml");
    std::fs::write(&file, document(&engine.image, plugin, digest))?;
    let file = file.to_str().context("a path")?;

    let _operator = cluster.operator(image)?;
    let here = async {
        cli.ok(["apply", "-f", file]).await?;
        anyhow::Ok(daemon.url(NAME))
    };
    let there = async {
        cluster.kubectl(&["apply", "-f", file], "").await?;
        let half = |component: &str| format!("fairlead.dev/server={NAME},app.kubernetes.io/component={component}");
        node.run(&half("backend")).await?;
        let address = node.run(&half("proxy")).await?;
        cluster.kubectl(&["wait", "--for=condition=Ready", "--timeout=30s", "mcpserver/docs"], "").await?;
        Ok(format!("http://{address}:8080/mcp"))
    };
    let (here, there): (String, String) = tokio::try_join!(here, there)?;
    compare(Client::new(&here)?, Client::new(&there)?).await?;
    // The operator has to let go of it before it ends itself.
    cluster.kubectl(&["delete", "-f", file, "--timeout=30s"], "").await.map(drop)
}

async fn compare(here: Client, there: Client) -> Result<()> {
    let mut wrong = Vec::new();
    for question in questions() {
        let (one, other) = (question.ask(&here).await?, question.ask(&there).await?);
        if one != other || one.status != question.status {
            wrong.push(format!("{question:?}\n  machine: {one:?}\n  cluster: {other:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    for client in [here, there] {
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
fn questions() -> Vec<Question> {
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
        request(0, "tools/list", json!({})).answered(404),
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
        list().with("mcp-protocol-version", "1999-01-01"),
        list().with("origin", "https://elsewhere.example").answered(403),
        list().with("accept", "text/plain"),
        request(10, "server/discover", modern).with("mcp-protocol-version", "2026-07-28"),
        Question { method: Method::GET, headers: Vec::new(), body: String::new(), status: 405 },
        Question { method: Method::PUT, headers: Vec::new(), body: String::new(), status: 405 },
        Question { method: Method::DELETE, headers: Vec::new(), body: String::new(), status: 200 },
        list().answered(404),
    ]
}
