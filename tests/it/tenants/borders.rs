//! What each tenant keeps for itself, thing by thing: counts, logs, secrets, sessions, operations, and where its plugins call.

use std::collections::BTreeSet;

use fairlead_tests::{Client, Daemon, Home, Setup, api_ok, binary};
use http::Method;
use serde_json::{Value, json};

use super::{Scene, attach, edit, in_tenant};
use crate::containers::engine;
use crate::distribution::Registry;
use crate::scene::{create, fixture, server};

/// Two tenants, each with a server of the same name.
async fn twins() -> Daemon {
    let daemon = Daemon::start().await.unwrap();
    for tenant in ["red", "blue"] {
        api_ok(daemon.home(), Method::POST, "/tenants", Some(&json!({"name": tenant}))).await.unwrap();
        create(daemon.home(), &in_tenant(tenant, server("s", &json!({})))).await.unwrap();
    }
    daemon
}

fn counter(name: &str) -> Value {
    let mut counter = fixture("counter", &json!({"key": name}));
    counter["name"] = name.into();
    counter["grants"] = json!([{"name": "kv"}]);
    counter
}

/// The number that the next call would get from each counter in the chain of a tenant's server.
async fn next(home: &Home, tenant: &str) -> Vec<u64> {
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}});
    let body = json!({"tenant": tenant, "server": "s", "request": request});
    let told = api_ok(home, Method::POST, "/chains/explain", Some(&body)).await.unwrap();
    // The first counter sets `_meta`, the others a field of it.
    let count = |link: &Value| {
        let value = link.pointer("/asked/0/detail/0/value")?;
        value.get("count").unwrap_or(value).as_u64()
    };
    told["links"].as_array().unwrap().iter().map(|link| count(link).unwrap_or_else(|| panic!("{link}"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plugin_counts_is_counted_for_each_tenant_whoever_attached_it() {
    let daemon = twins().await;
    let home = daemon.home();
    attach(home, None, counter("of-platform")).await.unwrap();
    for tenant in ["red", "blue"] {
        attach(home, Some(tenant), counter("of-tenant")).await.unwrap();
    }
    let red = Client::connect(&daemon.tenant_url("red", "s")).await.unwrap();
    for _ in 0..3 {
        red.call("echo", json!({})).await.unwrap();
    }
    assert_eq!(next(home, "red").await, [4, 4]);
    assert_eq!(next(home, "blue").await, [1, 1], "what one tenant does is counted for the other");

    // A tenant that comes back under the name of one that was forgotten finds nothing of it.
    api_ok(home, Method::DELETE, "/workloads/s?tenant=red", None).await.unwrap();
    api_ok(home, Method::DELETE, "/tenants/red", None).await.unwrap();
    api_ok(home, Method::POST, "/tenants", Some(&json!({"name": "red"}))).await.unwrap();
    create(home, &in_tenant("red", server("s", &json!({})))).await.unwrap();
    attach(home, Some("red"), counter("of-tenant")).await.unwrap();
    assert_eq!(next(home, "red").await, [1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_secrets_and_sessions_of_one_name_are_two_in_two_tenants() {
    let daemon = twins().await;
    let cli = daemon.cli().unwrap();
    let clients = [
        Client::connect(&daemon.tenant_url("red", "s")).await.unwrap(),
        Client::connect(&daemon.tenant_url("blue", "s")).await.unwrap(),
    ];
    for (client, words) in clients.iter().zip(["written by red", "written by blue"]) {
        client.text("say", json!({"text": words})).await.unwrap();
    }
    for (tenant, own, other) in [("red", "written by red", "by blue"), ("blue", "written by blue", "by red")] {
        let log = fairlead_tests::eventually("the log", fairlead_tests::limits::SETTLE, async || {
            let log = cli.ok(["logs", "s", "--tenant", tenant]).await?.stdout;
            anyhow::ensure!(log.contains(own), "{log}");
            Ok(log)
        });
        let log = log.await.unwrap();
        assert!(!log.contains(other), "{tenant}: {log}");
    }

    // A secret is found by the tenant that has it, and by nobody else under its name.
    let body = json!({"value": "only-for-blue"});
    api_ok(daemon.home(), Method::PUT, "/secrets/key?tenant=blue", Some(&body)).await.unwrap();
    let wants = json!({"env": {"KEY": "secret://store/key"}});
    let with_secret = |tenant: &str| in_tenant(tenant, server("with-secret", &wants));
    let refused = create(daemon.home(), &with_secret("red")).await.unwrap_err().to_string();
    assert!(refused.contains("key") && !refused.contains("only-for-blue"), "{refused}");
    create(daemon.home(), &with_secret("blue")).await.unwrap();
    let has_it = Client::connect(&daemon.tenant_url("blue", "with-secret")).await.unwrap();
    assert!(has_it.text("environment", json!({"name": "KEY"})).await.unwrap().contains("only-for-blue"));

    // A session belongs to one server of one tenant: elsewhere its id means as much as any other word.
    let [red, blue] = clients;
    let mut answers = Vec::new();
    for session in [blue.session().unwrap(), "nobody".to_owned()] {
        red.set_session(Some(session.clone()));
        let reply = red.request(&json!(7), "tools/call", json!({"name": "process"})).await.unwrap();
        let status = reply.status;
        answers.push((status, reply.text().await.unwrap().replace(&session, "SESSION")));
    }
    assert_eq!(answers[0].0, 404, "{answers:?}");
    assert_eq!(answers[0], answers[1], "an answer tells whether a session is there");
    assert!(blue.call("echo", json!({})).await.unwrap().get("error").is_none(), "the session of the other is harmed");

    // The same of servers: one of another tenant is as unknown as one that nobody has.
    let mut answers = Vec::new();
    for name in ["with-secret", "no-such-one"] {
        let client = Client::new(&daemon.tenant_url("red", name)).unwrap();
        let reply = client.request(&json!(1), "ping", json!({})).await.unwrap();
        let status = reply.status;
        answers.push((status, reply.text().await.unwrap().replace(name, "NAME")));
    }
    assert_eq!(answers[0].0, 404, "{answers:?}");
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_are_seen_by_those_whose_they_are() {
    let scene = Scene::new().await;
    let all = scene.ask(Some("platform"), "get", "/api/v1beta/operations", None).await.body;
    let all = all["operations"].as_array().unwrap().clone();
    let of = |tenant: &str| -> BTreeSet<String> {
        let its = all.iter().filter(|one| one["tenant"] == tenant);
        its.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    let seen = scene.ask(Some("red-viewer"), "get", "/api/v1beta/operations", None).await.body;
    let seen: BTreeSet<String> =
        seen["operations"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    assert!(!seen.is_empty() && seen == of("red"), "{seen:?}");
    let own = seen.first().unwrap().clone();
    let foreign = of("blue").pop_first().unwrap();
    for (method, rest) in [("get", ""), ("get", "/events"), ("post", "/cancel")] {
        let ask =
            async |id: &str| scene.ask(Some("red"), method, &format!("/api/v1beta/operations/{id}{rest}"), None).await;
        assert_ne!(ask(&own).await.status, 404, "{method} {rest}");
        let (there, nowhere) = (ask(&foreign).await, ask("op-0000000000000000").await);
        assert_eq!((there.status, &there.body), (404, &nowhere.body), "{method} {rest}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tenant_attaches_calls_neither_this_machine_nor_its_network() {
    let scene = Scene::new().await;
    let home = scene.daemon.home();
    for grant in [
        json!({"name": "http", "scope": [format!("http://{}", scene.daemon.address())]}),
        json!({"name": "http", "scope": ["https://[::ffff:127.0.0.1]"]}),
        json!({"name": "http-private", "scope": ["10.0.0.0/8"]}),
    ] {
        let attachment = json!({"name": "probe", "plugin": "redact", "grants": [grant]});
        let spec = json!({"source": {"kind": "image", "reference": "example.test/a"}, "plugins": [attachment]});
        let document = json!({
            "apiVersion": "fairlead.dev/v1alpha1", "kind": "PluginAttachment", "metadata": {"name": "probe", "namespace": "red"},
            "spec": {"plugin": "redact", "grants": [grant]},
        });
        let add = json!({"add": {"attachment": attachment}});
        for (method, path, body) in [
            ("patch", "chains", json!({"level": "tenant", "edit": add})),
            ("patch", "chains", json!({"level": "server", "server": "of-red", "edit": add})),
            ("put", "workloads/of-red/plugins", json!({"plugins": [attachment]})),
            ("post", "workloads", json!({"name": "new", "spec": spec})),
            ("post", "documents/apply", json!({"documents": [document]})),
        ] {
            let reply = scene.ask(Some("red"), method, &format!("/api/v1beta/{path}"), Some(&body)).await;
            assert_eq!(reply.status, 403, "{method} {path} {grant}: {reply:?}");
        }
    }
    // Metrics tell of all tenants: they are nowhere that a tenant comes.
    assert_eq!(scene.ask(Some("red"), "get", "/metrics", None).await.status, 404);
    let shown = api_ok(home, Method::GET, "/chains?level=tenant&tenant=red", None).await.unwrap();
    assert_eq!(shown["links"].as_array().unwrap().len(), 1, "{shown}");
}

#[tokio::test]
async fn what_this_machine_is_logged_in_with_is_not_for_other_tenants() {
    let Some((registry, login)) = Registry::start_private().await else { return };
    let setup = Setup { env: &[("DOCKER_CONFIG", login.to_str().unwrap())], ..Setup::default() };
    let daemon = Daemon::start_set_up(Home::new().unwrap(), &setup).await.unwrap();
    let cli = daemon.cli().unwrap();
    let Some(engine) = engine(&cli).await else { return };
    let reference = registry.push_logged_in(&login, &engine.image, "team/private:1");
    api_ok(daemon.home(), Method::POST, "/tenants", Some(&json!({"name": "red"}))).await.unwrap();
    let refused = async |pull: &str| {
        let said = cli.run(["run", &reference, "--name", "s", "--tenant", "red", "--pull", pull]).await.unwrap();
        assert!(said.code == Some(1) && said.stderr.contains("is not for tenant `red`"), "{pull}: {said}");
    };
    refused("missing").await;
    // The engine has it now, which changes nothing.
    cli.ok(["run", &reference, "--name", "s"]).await.unwrap();
    for pull in ["missing", "never", "always"] {
        refused(pull).await;
    }
    cli.ok(["rm", "s"]).await.unwrap();
    engine.forget(&reference).await.unwrap();
    engine.done().await.unwrap();
}

#[tokio::test]
async fn what_nobody_would_ask_in_a_chain_is_refused_with_the_place_where_it_goes() {
    let daemon = Daemon::start().await.unwrap();
    let source = binary::plugin("source-json").unwrap();
    let cli = daemon.cli().unwrap();
    let said = cli.run(["chain", "add", source.to_str().unwrap(), "--grant", "http"]).await.unwrap();
    assert!(said.code == Some(1) && said.stderr.contains("stands in no chain"), "{said}");
    assert!(said.stderr.contains("fairlead registry add"), "{said}");
    // A policy does, at each level.
    let policy = binary::plugin("update-cooldown").unwrap();
    let attachment =
        |name: &str| json!({"name": name, "kind": "update-policy", "plugin": policy, "config": {"hours": 72}});
    create(daemon.home(), &server("s", &json!({}))).await.unwrap();
    attach(daemon.home(), None, attachment("of-platform")).await.unwrap();
    attach(daemon.home(), Some("default"), attachment("of-tenant")).await.unwrap();
    let of_server = json!({"level": "server", "server": "s", "edit": {"add": {"attachment": attachment("of-server")}}});
    edit(daemon.home(), &of_server).await.unwrap();
    let shown = api_ok(daemon.home(), Method::GET, "/chains?level=server&server=s", None).await.unwrap();
    let shown: Vec<_> = shown["links"].as_array().unwrap().iter().map(|link| &link["level"]).collect();
    assert_eq!(shown, ["platform", "tenant", "server"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_comes_back_finds_no_secret_no_group_no_registry_and_no_review() {
    let daemon = Daemon::start().await.unwrap();
    let home = daemon.home();
    let ask = async |method: Method, path: &str, body: Value| {
        let body = (!body.is_null()).then_some(body);
        api_ok(home, method, path, body.as_ref()).await.unwrap_or_else(|error| panic!("{path}: {error:#}"))
    };
    let offered = json!({"name": "a.b/tool", "version": "1.0.0", "description": "d",
        "remotes": [{"type": "streamable-http", "url": "https://example.test/mcp"}]});
    let source = json!({"kind": "plugin", "plugin": "source-static", "config": {"servers": [offered]}});
    // The other tenant, and the one that is always there, keep what is theirs.
    for tenant in ["red", "blue"] {
        let of = |path: &str| format!("{path}?tenant={tenant}");
        ask(Method::POST, "/tenants", json!({"name": tenant})).await;
        ask(Method::PUT, &of("/secrets/key"), json!({"value": "of before"})).await;
        ask(Method::POST, "/groups", json!({"tenant": tenant, "name": "work"})).await;
        ask(Method::POST, "/registries", json!({"tenant": tenant, "name": "mine", "spec": {"source": source}})).await;
        ask(Method::PUT, &of("/registry/layers"), json!({"layers": ["trusted", "community"], "run": ["trusted"]}))
            .await;
        ask(Method::POST, "/registry/reviews", json!({"tenant": tenant, "entry": "tool", "reason": "r"})).await;
        let yes = json!({"tenant": tenant, "to": "approved", "reason": "r"});
        ask(Method::POST, "/registry/reviews/1", yes).await;
    }
    let known = async |tenant: &str| {
        let mut found = Vec::new();
        for (path, list) in [
            ("/secrets", "/secrets"),
            ("/groups", "/groups"),
            ("/registries", "/registries"),
            ("/registry/reviews", "/reviews"),
            ("/registry/audit", "/steps"),
            ("/registry/servers", "/entries"),
            ("/registry/layers", "/run"),
        ] {
            let told = ask(Method::GET, &format!("{path}?tenant={tenant}"), Value::Null).await;
            found.push(told.pointer(list).and_then(Value::as_array).map_or(0, Vec::len));
        }
        found
    };
    let all = [1, 2, 1, 1, 2, 1, 1];
    assert_eq!(known("red").await, all);
    ask(Method::DELETE, "/tenants/red", Value::Null).await;
    ask(Method::POST, "/tenants", json!({"name": "red"})).await;
    // The group `default` is always there.
    assert_eq!(known("red").await, [0, 1, 0, 0, 0, 0, 0]);
    assert_eq!(known("blue").await, all);
    let daemon = Daemon::start_in(daemon.kill().unwrap()).await.unwrap();
    let left = api_ok(daemon.home(), Method::GET, "/registry/reviews?tenant=red", None).await.unwrap();
    assert_eq!(left["reviews"], json!([]), "it was there after a kill");
}
