//! A client that speaks only stdio, of the newest era: each line takes a way of its own, and none needs a session.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fairlead_core::chain::Chain;
use fairlead_core::workload::Unavailable;
use fairlead_proxy::{BridgeError, Route, bridge_stdio};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf, duplex, split};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::{FakeServer, HttpServer, PATIENCE, SESSION, Scene, Seen, eventually, route};

const META: &str = "io.modelcontextprotocol";

/// The application at the other end of the pipes.
struct Application {
    stdin: WriteHalf<DuplexStream>,
    stdout: Lines<BufReader<ReadHalf<DuplexStream>>>,
    bridge: JoinSet<Result<(), BridgeError>>,
}

impl Application {
    fn start(url: &str) -> Self {
        let (near, far) = duplex(1 << 16);
        let (stdout, stdin) = split(near);
        let (input, output) = split(far);
        let mut bridge = JoinSet::new();
        let url = url.to_owned();
        bridge.spawn(async move { bridge_stdio(&url, input, output, CancellationToken::new()).await });
        Self { stdin, stdout: BufReader::new(stdout).lines(), bridge }
    }

    async fn say(&mut self, message: Value) {
        self.stdin.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn ask(&mut self, id: &Value, method: &str, mut params: Value) {
        params["_meta"][format!("{META}/protocolVersion")] = json!("2026-07-28");
        params["_meta"][format!("{META}/clientCapabilities")] = json!({});
        self.say(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
    }

    async fn line(&mut self) -> Value {
        let line = timeout(PATIENCE, self.stdout.next_line()).await.expect("a line in time").unwrap();
        serde_json::from_str(&line.expect("the bridge runs")).unwrap()
    }

    /// Closes its output, as an application that ends does.
    async fn end(mut self) {
        self.stdin.shutdown().await.unwrap();
        drop((self.stdin, self.stdout));
        timeout(PATIENCE, self.bridge.join_next()).await.expect("the bridge ends").unwrap().unwrap().unwrap();
    }
}

fn call(tool: &str, arguments: Value) -> Value {
    json!({"name": tool, "arguments": arguments})
}

async fn scene() -> (Scene, Arc<FakeServer>, Application) {
    let (scene, server) = Scene::server(SESSION).await;
    server.modern.store(true, Ordering::SeqCst);
    let application = Application::start(&scene.url("one"));
    (scene, server, application)
}

#[tokio::test]
async fn a_client_of_the_newest_era_is_served_over_stdio() {
    let (_scene, server, mut application) = scene().await;
    application
        .say(json!({"jsonrpc": "2.0", "id": "d", "method": "server/discover", "params": {"_meta": {
        format!("{META}/protocolVersion"): "2026-07-28", format!("{META}/clientCapabilities"): {}}}}))
        .await;
    let found = application.line().await;
    assert_eq!((&found["id"], &found["result"]["supportedVersions"][0]), (&json!("d"), &json!("2026-07-28")));
    for id in [json!(1), json!("1")] {
        application.ask(&id, "tools/call", call("echo", json!({"a": 1}))).await;
        let answer = application.line().await;
        assert_eq!((&answer["id"], &answer["result"]["structuredContent"]), (&id, &json!({"a": 1})));
    }
    application.ask(&json!(2), "no/such", json!({})).await;
    let refused = application.line().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(2), &json!(-32601)));
    let params = json!({"name": "steps", "arguments": {"steps": 2}, "_meta": {"progressToken": "p"}});
    application.ask(&json!(3), "tools/call", params).await;
    for step in 1..=2 {
        assert_eq!(application.line().await["params"]["progress"], step);
    }
    assert_eq!(application.line().await["result"]["content"][0]["text"], "done");
    application.end().await;
    assert!(server.got("\"initialize\"").is_empty(), "there is no session");
}

#[tokio::test]
async fn to_cancel_is_a_word_on_a_pipe_and_the_end_of_a_connection_behind_it() {
    let (_scene, server, mut application) = scene().await;
    application.ask(&json!(1), "tools/call", call("hold", json!({}))).await;
    eventually("it is under way", async || server.got("hold").len() == 1).await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    application.say(cancel).await;
    eventually("the server is told", async || server.got("notifications/cancelled").len() == 1).await;
    application.ask(&json!(2), "tools/call", call("echo", json!({}))).await;
    assert_eq!(application.line().await["id"], 2, "and nothing is said of what was cancelled");
    application.end().await;
}

#[tokio::test]
async fn a_subscription_lives_beside_calls_and_its_end_is_told() {
    let (_scene, _server, mut application) = scene().await;
    application.ask(&json!(7), "subscriptions/listen", json!({"notifications": {"toolsListChanged": true}})).await;
    let first = application.line().await;
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(first["params"]["_meta"][format!("{META}/subscriptionId")], 7);
    application.ask(&json!(8), "tools/call", call("changed", json!({}))).await;
    let mut told = [application.line().await, application.line().await];
    told.sort_by_key(|message| message["id"].is_null());
    assert_eq!((&told[0]["id"], &told[1]["method"]), (&json!(8), &json!("notifications/tools/list_changed")));
    application.ask(&json!(9), "tools/call", call("crash", json!({}))).await;
    let mut ends = [application.line().await, application.line().await];
    ends.sort_by_key(|message| message["id"].is_null());
    assert_eq!((&ends[0]["id"], &ends[0]["error"]["code"]), (&json!(9), &json!(-32603)));
    assert_eq!((&ends[1]["method"], &ends[1]["params"]["requestId"]), (&json!("notifications/cancelled"), &json!(7)));
    application.end().await;
}

#[tokio::test]
async fn arguments_that_a_tool_wants_repeated_are_repeated() {
    let server = HttpServer::new(|seen: &Seen| {
        let id = serde_json::from_str::<Value>(&seen.body).unwrap()["id"].clone();
        let result = if seen.body.contains("tools/list") {
            let schema =
                json!({"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
            json!({"resultType": "complete", "tools": [{"name": "t", "inputSchema": schema}]})
        } else {
            json!({"resultType": "complete", "content": []})
        };
        HttpServer::json(json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string())
    })
    .await;
    let scene = Scene::new().await;
    scene.publish("one", fairlead_proxy::Wire::Http, server.clone(), Chain::default());
    let mut application = Application::start(&scene.url("one"));
    application.ask(&json!(1), "tools/call", call("t", json!({"region": "eu"}))).await;
    assert_eq!(application.line().await["id"], 1);
    let seen = server.seen.lock().iter().find(|seen| seen.body.contains("tools/call")).cloned().unwrap();
    for (name, value) in [("mcp-param-region", "eu"), ("mcp-name", "t"), ("mcp-method", "tools/call")] {
        assert_eq!(seen.headers[name], value);
    }
    application.end().await;
}

#[tokio::test]
async fn a_client_of_both_eras_learns_that_a_server_is_older_and_begins_a_session() {
    for bridge in [false, true] {
        let (scene, server) = (Scene::new().await, FakeServer::new());
        scene.proxy.publish(Route { bridge, ..route("one", SESSION, server.clone(), Chain::default()) });
        let mut application = Application::start(&scene.url("one"));
        application.ask(&json!(0), "server/discover", json!({})).await;
        let found = application.line().await;
        assert_eq!(found["error"].is_null(), bridge, "{found}");
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "both", "version": "1"}});
        application.say(json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})).await;
        assert_eq!(application.line().await["result"]["serverInfo"]["name"], "fake");
        application.end().await;
    }
}

#[tokio::test]
async fn a_daemon_that_is_back_before_its_server_is_asked_again() {
    let (scene, server) = Scene::server(SESSION).await;
    let mut application = Application::start(&scene.url("one"));
    let params =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "old", "version": "1"}});
    application.say(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})).await;
    assert_eq!(application.line().await["id"], 0);
    // A daemon that was restarted knows no session, and its server is not up yet.
    scene.publish("one", SESSION, server.clone(), Chain::default());
    *server.unavailable.lock() = Some(Unavailable::Failed("not yet".to_owned()));
    let echo =
        |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": call("echo", json!({"a": id}))});
    for id in [1, 2] {
        application.say(echo(id)).await;
        let lost = application.line().await;
        assert_eq!((&lost["id"], &lost["error"]["code"]), (&json!(id), &json!(-32603)), "{lost}");
    }
    *server.unavailable.lock() = None;
    application.say(echo(3)).await;
    let answer = application.line().await;
    assert_eq!((&answer["id"], &answer["result"]["structuredContent"]["a"]), (&json!(3), &json!(3)), "{answer}");
    application.end().await;
}
