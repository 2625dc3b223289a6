//! Tenants: no call of the API crosses a border, no change of one tenant's chain touches another's requests, and what the
//! platform attached stays where it is.

mod borders;
mod many;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use fairlead_tests::{ApiReply, Client, Daemon, Home, api, api_by_token, api_ok};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::scene::{create, fixture, server};

/// Changes of one tenant's chain while the other works.
const CHANGES: u64 = 40;

/// Operations that name no tenant and tell nothing of any. Whatever is not here must not cross a border.
const WITHOUT_TENANT: [&str; 2] = ["getHealth", "getVersion"];

/// Two tenants on one daemon, each with a server, a chain and tokens.
struct Scene {
    daemon: Daemon,
    /// Where the API is reached over TCP.
    address: String,
    tokens: BTreeMap<&'static str, String>,
    /// Id of a token of tenant `blue`.
    foreign_token: String,
}

fn in_tenant(tenant: &str, mut server: Value) -> Value {
    server["tenant"] = tenant.into();
    server
}

fn stamp(name: &str, label: &str, field: &str) -> Value {
    let mut stamp = fixture("stamp", &json!({"label": label, "field": field}));
    stamp["name"] = name.into();
    stamp
}

async fn edit(home: &Home, body: &Value) -> Result<Value> {
    api_ok(home, Method::PATCH, "/chains", Some(body)).await
}

async fn attach(home: &Home, tenant: Option<&str>, attachment: Value) -> Result<Value> {
    let edit_of = json!({"add": {"attachment": attachment}});
    let body = match tenant {
        Some(tenant) => json!({"level": "tenant", "tenant": tenant, "edit": edit_of}),
        None => json!({"level": "platform", "edit": edit_of}),
    };
    edit(home, &body).await
}

impl Scene {
    async fn new() -> Self {
        let daemon = Daemon::start_with(Home::new().unwrap(), &["--api-address", "127.0.0.1:0"]).await.unwrap();
        let home = daemon.home();
        let version = api_ok(home, Method::GET, "/version", None).await.unwrap();
        let address = version["apiAddress"].as_str().unwrap().to_owned();
        for tenant in ["red", "blue"] {
            api_ok(home, Method::POST, "/tenants", Some(&json!({"name": tenant}))).await.unwrap();
            let name = format!("of-{tenant}");
            create(home, &in_tenant(tenant, server(&name, &json!({})))).await.unwrap();
            attach(home, Some(tenant), stamp("mark", tenant, "tenant")).await.unwrap();
        }
        let mut tokens = BTreeMap::new();
        for (name, body) in [
            ("red", json!({"tenant": "red", "role": "admin"})),
            ("red-operator", json!({"tenant": "red", "role": "operator"})),
            ("red-viewer", json!({"tenant": "red", "role": "viewer"})),
            ("platform", json!({"role": "admin"})),
        ] {
            let created = api_ok(home, Method::POST, "/tokens", Some(&body)).await.unwrap();
            tokens.insert(name, created["token"].as_str().unwrap().to_owned());
        }
        let foreign = json!({"tenant": "blue", "role": "admin"});
        let foreign = api_ok(home, Method::POST, "/tokens", Some(&foreign)).await.unwrap();
        let foreign_token = foreign["info"]["id"].as_str().unwrap().to_owned();
        Self { daemon, address, tokens, foreign_token }
    }

    async fn ask(&self, who: Option<&str>, method: &str, path: &str, body: Option<&Value>) -> ApiReply {
        let token = who.map(|who| self.tokens[who].as_str());
        let method = method.to_uppercase().parse().unwrap();
        api_by_token(&self.address, token, method, path, body).await.unwrap()
    }

    /// All that is known of tenant `blue`.
    async fn blue(&self) -> Value {
        let home = self.daemon.home();
        let mut all = Vec::new();
        for path in [
            "/workloads?all=true&tenant=blue",
            "/tokens?tenant=blue",
            "/chains?level=tenant&tenant=blue",
            "/tenants/blue",
            "/secrets?tenant=blue",
            "/groups?tenant=blue",
            "/registries?tenant=blue",
            "/registry/layers?tenant=blue",
            "/registry/reviews?tenant=blue",
        ] {
            all.push(api_ok(home, Method::GET, path, None).await.unwrap());
        }
        Value::from(all)
    }
}

/// One operation of the API, called so that it reaches for tenant `tenant`.
fn across(scene: &Scene, tenant: &str, path: &str, operation: &Value) -> (String, Option<Value>) {
    let id = operation["operationId"].as_str().unwrap();
    let server = format!("of-{tenant}");
    let path = path
        .replace("{tenant}", tenant)
        .replace("{name}", &server)
        .replace("{id}", &scene.foreign_token)
        .replace("{entry}", "anything")
        .replace("{group}", "default");
    assert!(!path.contains('{'), "{id} has a parameter in its path that this test does not know: {path}");
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    let names: BTreeSet<&str> =
        parameters.iter().filter(|one| one["in"] == "query").map(|one| one["name"].as_str().unwrap()).collect();
    let path = if names.contains("tenant") { format!("{path}?tenant={tenant}") } else { path };
    let spec = json!({"source": {"kind": "image", "reference": "example.test/a"}});
    let document = json!({
        "apiVersion": "fairlead.dev/v1alpha1", "kind": "MCPServer",
        "metadata": {"name": server, "namespace": tenant}, "spec": spec,
    });
    let remove = json!({"remove": {"name": "mark"}});
    let body = operation.get("requestBody").map(|_| match id {
        "createWorkload" | "admitServer" => json!({"name": "new", "tenant": tenant, "spec": spec}),
        "createTenant" => json!({"name": "green"}),
        "createGroup" => json!({"name": "new", "tenant": tenant}),
        "createToken" => json!({"tenant": tenant, "role": "viewer"}),
        "editChain" => json!({"level": "tenant", "tenant": tenant, "edit": remove}),
        "explainChain" => json!({"tenant": tenant, "server": server, "request": {"method": "tools/list"}}),
        "refreshRegistry" => json!({"tenant": tenant}),
        "planEntry" | "submitReview" => json!({"tenant": tenant, "entry": "anything"}),
        "decideReview" => json!({"tenant": tenant, "to": "approved"}),
        "applyDocuments" => json!({"documents": [document]}),
        // What is for the platform alone is not there for a tenant, whatever its body says.
        // The query says whose it is, and is looked at before the body.
        _ if names.contains("tenant") => json!({}),
        _ if operation["x-fairlead-access"]["of"] == "platform" => json!({"tenant": tenant, "name": server}),
        _ => panic!("{id} is new: say here how it would reach for another tenant"),
    });
    (path, body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_across_the_border_finds_nothing_and_changes_nothing() {
    let scene = Scene::new().await;
    let before = scene.blue().await;
    let document = scene.ask(Some("red"), "get", "/api/openapi.json", None).await.body;
    let mut tried = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            if WITHOUT_TENANT.contains(&id) {
                continue;
            }
            let (there, body) = across(&scene, "blue", path, operation);
            let reply = scene.ask(Some("red"), method, &there, body.as_ref()).await;
            assert_eq!(reply.status, 404, "{id}: {method} {there} {body:?} → {reply:?}");
            assert_eq!(reply.content_type, "application/problem+json", "{id}");
            // What exists and what does not look the same from outside.
            let (nowhere, body) = across(&scene, "green", path, operation);
            let other = scene.ask(Some("red"), method, &nowhere, body.as_ref()).await;
            assert_eq!((other.status, &other.body), (404, &reply.body), "{id} tells whether something is there");
            tried += 1;
        }
    }
    assert!(tried >= 20, "only {tried} operations were tried");
    assert_eq!(scene.blue().await, before, "something was changed");

    // A platform chain and another tenant's, asked for by level.
    let platform = json!({"level": "platform", "edit": {"set": {"attachments": []}}});
    assert_eq!(scene.ask(Some("red"), "patch", "/api/v1beta/chains", Some(&platform)).await.status, 404);
    assert_eq!(scene.ask(Some("red"), "get", "/api/v1beta/chains?level=platform", None).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_sees_its_own_tenant_and_may_what_its_role_says() {
    let scene = Scene::new().await;
    let listed = |reply: &ApiReply, list: &str, field: &str| -> BTreeSet<String> {
        let items = reply.body[list].as_array().unwrap().iter();
        items.map(|item| item.pointer(field).and_then(Value::as_str).unwrap_or("none").to_owned()).collect()
    };
    let red = BTreeSet::from(["red".to_owned()]);
    let servers = scene.ask(Some("red-viewer"), "get", "/api/v1beta/workloads", None).await;
    assert_eq!(listed(&servers, "workloads", "/tenant"), red);
    let documents = scene.ask(Some("red-viewer"), "get", "/api/v1beta/documents", None).await;
    assert_eq!(listed(&documents, "documents", "/metadata/namespace"), red);
    let tokens = scene.ask(Some("red"), "get", "/api/v1beta/tokens", None).await;
    assert_eq!(listed(&tokens, "tokens", "/tenant"), red);
    let all = scene.ask(Some("platform"), "get", "/api/v1beta/workloads", None).await;
    assert_eq!(listed(&all, "workloads", "/tenant").len(), 2);

    let restart = "/api/v1beta/workloads/of-red/restart";
    let chain = json!({"level": "tenant", "edit": {"move": {"name": "mark", "position": "first"}}});
    for (who, method, path, body, status) in [
        (None, "get", "/api/v1beta/workloads", None, 401),
        (None, "get", "/health", None, 204),
        (Some("red-viewer"), "post", restart, None, 403),
        (Some("red-operator"), "post", restart, None, 200),
        (Some("red-operator"), "patch", "/api/v1beta/chains", Some(&chain), 403),
        (Some("red"), "patch", "/api/v1beta/chains", Some(&chain), 200),
        (Some("red-operator"), "get", "/api/v1beta/tokens", None, 403),
        (Some("red"), "post", "/api/v1beta/shutdown", None, 404),
    ] {
        let reply = scene.ask(who, method, path, body).await;
        assert_eq!(reply.status, status, "{who:?} {method} {path}: {reply:?}");
    }

    // A command and a file of this machine would be a way around every border.
    let command = json!({"name": "shell", "spec": {"source": {"kind": "command", "program": "sh"}}});
    let reply = scene.ask(Some("red"), "post", "/api/v1beta/workloads", Some(&command)).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    let file = json!({"level": "tenant", "edit": {"add": {"attachment": {"name": "x", "plugin": "/etc/passwd"}}}});
    assert_eq!(scene.ask(Some("red"), "patch", "/api/v1beta/chains", Some(&file)).await.status, 403);
    assert_eq!(scene.ask(Some("red"), "get", "/api/v1beta/plugins?ref=/etc/passwd", None).await.status, 404);

    // So would a server elsewhere whose name leads here, and a forward proxy that stands here.
    let remote = |name: &str, mut source: Value| {
        source["kind"] = "remote".into();
        json!({"name": name, "desired": "stopped", "spec": {"source": source}})
    };
    let here = remote("here", json!({"url": "http://127.0.0.1:9/mcp"}));
    let proxy = json!({"url": "http://mcp.example.test/mcp", "proxy": {"kind": "url", "url": "http://127.0.0.1:9"}});
    for body in [here, remote("through", proxy)] {
        assert_eq!(scene.ask(Some("red"), "post", "/api/v1beta/workloads", Some(&body)).await.status, 403, "{body}");
    }
    let elsewhere = remote("elsewhere", json!({"url": "http://mcp.example.test/mcp", "reach": "any"}));
    let reply = scene.ask(Some("red"), "post", "/api/v1beta/workloads", Some(&elsewhere)).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let documents = scene.ask(Some("red"), "get", "/api/v1beta/documents?tenant=red", None).await.body.to_string();
    assert!(documents.contains(r#""reach":"public""#), "{documents}");

    // So would a plugin that a rule of approval asks: those are given by the platform, and kept by whoever has them.
    let layers = "/api/v1beta/registry/layers";
    let rule =
        |plugin: &str| json!({"layers": ["trusted"], "approvals": [{"name": "r", "plugin": {"plugin": plugin}}]});
    let (given, other) = (rule("guard"), rule("/etc/passwd"));
    for (who, path, body, status) in [
        ("red", layers, &given, 403),
        ("platform", "/api/v1beta/registry/layers?tenant=red", &given, 200),
        ("red", layers, &given, 200),
        ("red", layers, &other, 403),
        ("red-operator", layers, &given, 403),
    ] {
        let reply = scene.ask(Some(who), "put", path, Some(body)).await;
        assert_eq!(reply.status, status, "{who} {body}: {reply:?}");
    }

    // A name that somebody only says is nobody's: an approval counts whose it is.
    let hold = "/api/v1beta/workloads/of-red/updates/hold";
    let held = scene.ask(Some("red-operator"), "post", hold, Some(&json!({"by": "owner", "reason": "r"}))).await;
    let operator = scene.tokens["red-operator"].split('_').nth(1).unwrap();
    assert!(held.body.to_string().contains(&format!(r#""by":"token {operator}""#)), "{held:?}");

    // A withdrawn token is none.
    let id = scene.tokens["red-viewer"].split('_').nth(1).unwrap();
    assert_eq!(scene.ask(Some("red"), "delete", &format!("/api/v1beta/tokens/{id}"), None).await.status, 204);
    assert_eq!(scene.ask(Some("red-viewer"), "get", "/api/v1beta/workloads", None).await.status, 401);
    // What is kept of tokens is none of them.
    let store = std::fs::read(scene.daemon.home().path().join("state/store/sled/db")).unwrap();
    for token in scene.tokens.values() {
        let secret = token.rsplit('_').next().unwrap().as_bytes();
        assert!(!store.windows(secret.len()).any(|window| window == secret));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_one_chain_under_load_never_touch_a_request_of_the_other() {
    let daemon = Daemon::start().await.unwrap();
    let home = daemon.home();
    for tenant in ["red", "blue"] {
        api_ok(home, Method::POST, "/tenants", Some(&json!({"name": tenant}))).await.unwrap();
        create(home, &in_tenant(tenant, server("s", &json!({})))).await.unwrap();
        attach(home, Some(tenant), stamp("mark", &format!("{tenant}-0"), "stamp")).await.unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for tenant in ["red", "blue", "blue"] {
        let client = Client::connect(&daemon.tenant_url(tenant, "s")).await.unwrap();
        load.spawn(calls(client, tenant, Arc::clone(&done)));
    }
    for change in 1..=CHANGES {
        let attachment = stamp("mark", &format!("red-{change}"), "stamp");
        let set = json!({"set": {"attachments": [{"attachment": attachment}]}});
        edit(home, &json!({"level": "tenant", "tenant": "red", "edit": set})).await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    while let Some(outcome) = load.join_next().await {
        let (tenant, stamps) = outcome.unwrap().unwrap();
        seen.entry(tenant).or_default().extend(stamps);
    }
    assert_eq!(seen["blue"], BTreeSet::from(["blue-0".to_owned()]), "a request of blue met another chain");
    assert!(seen["red"].len() > 1 && seen["red"].iter().all(|stamp| stamp.starts_with("red-")), "{:?}", seen["red"]);
}

/// Calls until it is done; every call must succeed.
async fn calls(
    client: Client,
    tenant: &'static str,
    done: Arc<AtomicBool>,
) -> Result<(&'static str, BTreeSet<String>)> {
    let mut stamps = BTreeSet::new();
    while !done.load(Ordering::SeqCst) {
        let response = client.call("echo", json!({})).await?;
        ensure!(response.get("error").is_none(), "{response}");
        let stamp = response.pointer("/result/_meta/stamp").and_then(Value::as_str);
        stamps.insert(stamp.with_context(|| format!("no stamp in {response}"))?.to_owned());
    }
    Ok((tenant, stamps))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_platform_is_outermost_and_no_tenant_removes_reorders_or_loosens_it() {
    let scene = Scene::new().await;
    let home = scene.daemon.home();
    attach(home, None, stamp("guard", "platform", "platform")).await.unwrap();
    // A server that is created now has it as well, and the name can be used again further in.
    create(home, &in_tenant("red", server("later", &json!({"plugins": [stamp("guard", "own", "own")]}))))
        .await
        .unwrap();
    for (path, names) in [
        ("/workloads/of-red?tenant=red", vec![("platform", "guard"), ("tenant", "mark")]),
        ("/workloads/later?tenant=red", vec![("platform", "guard"), ("tenant", "mark"), ("server", "guard")]),
    ] {
        let shown = api_ok(home, Method::GET, path, None).await.unwrap();
        let chain = shown["chain"].as_array().unwrap().iter();
        let chain: Vec<_> =
            chain.map(|link| (link["level"].as_str().unwrap(), link["name"].as_str().unwrap())).collect();
        assert_eq!(chain, names, "{path}");
    }
    for edit in [
        json!({"remove": {"name": "guard"}}),
        json!({"move": {"name": "guard", "position": "last"}}),
        json!({"add": {"attachment": stamp("outer", "x", "x"), "position": {"before": "guard"}}}),
    ] {
        let body = json!({"level": "tenant", "edit": edit});
        let reply = scene.ask(Some("red"), "patch", "/api/v1beta/chains", Some(&body)).await;
        assert!(matches!(reply.status, 403 | 404 | 422), "{edit}: {reply:?}");
    }
    // Even by a tenant's own hand nothing gets in front of it.
    let first = json!({"add": {"attachment": stamp("first", "x", "x"), "position": "first"}});
    edit(home, &json!({"level": "tenant", "tenant": "red", "edit": first})).await.unwrap();
    let shown = api_ok(home, Method::GET, "/workloads/of-red?tenant=red", None).await.unwrap();
    assert_eq!(shown.pointer("/chain/0/level"), Some(&json!("platform")), "{shown}");
    // The tenant sees that it is there, and not how it is configured.
    let seen = scene.ask(Some("red"), "get", "/api/v1beta/chains?level=server&server=of-red", None).await;
    assert_eq!(seen.body.pointer("/links/0/name"), Some(&json!("guard")), "{seen:?}");
    assert_eq!(seen.body.pointer("/links/0/config"), None, "{seen:?}");
    let client = Client::connect(&scene.daemon.tenant_url("red", "of-red")).await.unwrap();
    let response = client.call("echo", json!({})).await.unwrap();
    assert_eq!(response.pointer("/result/_meta/platform"), Some(&json!("platform")), "{response}");

    // All of it is there after a crash.
    let home = scene.daemon.kill().unwrap();
    let daemon = Daemon::start_in(home).await.unwrap();
    let chain =
        api_ok(daemon.home(), Method::GET, "/chains?level=server&tenant=red&server=of-red", None).await.unwrap();
    let names: Vec<_> = chain["links"].as_array().unwrap().iter().map(|link| link["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["guard", "first", "mark"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explanation_tells_who_says_what_and_has_no_effect() {
    let daemon = Daemon::start().await.unwrap();
    let home = daemon.home();
    let counter = json!({
        "name": "counter", "plugin": fairlead_tests::binary::fixture("counter").unwrap(), "config": {},
        "grants": [{"name": "kv"}],
    });
    let filter = json!({"name": "filter", "plugin": fairlead_tests::binary::plugin("tool-filter").unwrap(),
        "config": {"deny": ["crash"]}});
    create(home, &server("s", &json!({"plugins": [counter, filter]}))).await.unwrap();
    let client = daemon.client("s").await.unwrap();
    client.call("echo", json!({})).await.unwrap();
    let call = |tool: &str| {
        let request =
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}});
        json!({"server": "s", "request": request, "answer": {"result": {"content": []}}})
    };
    let explain = async |body: Value| api_ok(home, Method::POST, "/chains/explain", Some(&body)).await.unwrap();
    // What it says is what the next call would meet: one was counted, so this is the second. And it stays the second.
    for _ in 0..3 {
        let told = explain(call("echo")).await;
        assert_eq!(told["reachesServer"], true, "{told}");
        assert_eq!(told.pointer("/links/0/asked/0/verdict"), Some(&json!("edit")), "{told}");
        assert!(told["params"].to_string().contains('2') && !told["params"].to_string().contains('3'), "{told}");
        assert!(told.pointer("/links/0/asked/0/micros").and_then(Value::as_f64).unwrap() > 0.0, "{told}");
    }
    let told = explain(call("crash")).await;
    assert_eq!(told["reachesServer"], false, "{told}");
    assert_eq!(told.pointer("/links/1/asked/0/verdict"), Some(&json!("reject")), "{told}");
    assert_eq!(told.pointer("/answer/error/code"), Some(&json!(4030)), "{told}");
    let reply =
        api(home, Method::POST, "/chains/explain", Some(&json!({"server": "s", "request": {"x": 1}}))).await.unwrap();
    assert_eq!(reply.status, 422, "{reply:?}");
}
