//! `apply`, `diff` and `get`: applying twice changes nothing, a difference is exact, a failed apply leaves nothing half done,
//! and a daemon that is killed in the middle comes back with the old or the new.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use fairlead_tests::limits::SETTLE;
use fairlead_tests::{Client, Daemon, Home, api, api_ok, binary, eventually};
use http::Method;
use serde_json::{Value, json};

/// Kills in the middle of an apply.
const KILLS: u64 = 12;

/// Within this time an apply of these documents is over.
const APPLY_MAX: Duration = Duration::from_millis(120);

fn document(kind: &str, name: &str, namespace: Option<&str>, spec: Value) -> Value {
    let mut metadata = json!({"name": name, "labels": {"app": "test"}});
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

fn server(name: &str, generation: &str) -> Value {
    let source = json!({"kind": "command", "program": binary::test_server().unwrap()});
    document("MCPServer", name, Some("red"), json!({"source": source, "env": {"GENERATION": generation}}))
}

fn attachment(name: &str, label: &str) -> Value {
    let plugin = binary::fixture("stamp").unwrap();
    document(
        "PluginAttachment",
        name,
        Some("red"),
        json!({"plugin": plugin, "config": {"label": label, "field": name}}),
    )
}

/// Ten documents: a tenant, three attachments, six servers.
fn ten(generation: &str) -> Vec<Value> {
    let mut documents = vec![document("Tenant", "red", None, json!({"description": generation}))];
    documents.extend((0..3).map(|number| attachment(&format!("mark-{number}"), generation)));
    documents.extend((0..6).map(|number| server(&format!("s{number}"), generation)));
    documents
}

async fn apply(home: &Home, body: &Value) -> Result<Vec<String>> {
    let applied = api_ok(home, Method::POST, "/documents/apply", Some(body)).await?;
    let steps = applied["steps"].as_array().unwrap().iter();
    Ok(steps.map(|step| step["action"].as_str().unwrap().to_owned()).collect())
}

/// What is, without what nobody asked for.
async fn documents(home: &Home) -> Result<Vec<Value>> {
    let list = api_ok(home, Method::GET, "/documents", None).await?;
    let mut documents = list["documents"].as_array().unwrap().clone();
    for document in &mut documents {
        document.as_object_mut().unwrap().remove("status");
    }
    Ok(documents)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applying_twice_changes_nothing_and_what_is_printed_can_be_applied() {
    let daemon = Daemon::start().await.unwrap();
    let home = daemon.home();
    let wanted = json!({"documents": ten("one")});
    assert_eq!(apply(home, &wanted).await.unwrap(), ["create"; 10]);
    assert_eq!(apply(home, &wanted).await.unwrap(), ["keep"; 10]);
    let client = Client::connect(&daemon.tenant_url("red", "s3")).await.unwrap();
    let stamped = client.call("echo", json!({})).await.unwrap();
    assert_eq!(stamped.pointer("/result/_meta/mark-0"), Some(&json!("one")), "{stamped}");

    // What is printed, with its status, changes nothing when it is applied.
    let cli = daemon.cli().unwrap();
    let printed = cli.ok(["get", "-o", "yaml"]).await.unwrap().stdout;
    let file = home.path().join("printed.yaml");
    std::fs::write(&file, &printed).unwrap();
    let applied = cli.ok(["apply", "-f", file.to_str().unwrap()]).await.unwrap().stdout;
    assert_eq!(applied.lines().filter(|line| line.ends_with(" unchanged")).count(), 10, "{applied}");
    assert_eq!(cli.ok(["diff", "-f", file.to_str().unwrap(), "--exit-code"]).await.unwrap().stdout, "");

    // A difference is exact: one label of one attachment, one variable of one server, and nothing else.
    let mut changed = ten("one");
    changed[1]["spec"]["config"]["label"] = "two".into();
    changed[9]["spec"]["env"]["MORE"] = "x".into();
    let dry = json!({"documents": changed, "dryRun": true});
    let told = api_ok(home, Method::POST, "/documents/apply", Some(&dry)).await.unwrap();
    let differences: Vec<_> =
        told["steps"].as_array().unwrap().iter().filter_map(|step| step.get("differences")).collect();
    assert_eq!(
        differences,
        [
            &json!([{"pointer": "/spec/config/label", "before": "one", "after": "two"}]),
            &json!([{"pointer": "/spec/env/MORE", "after": "x"}]),
        ]
    );
    assert_eq!(documents(home).await.unwrap().len(), 10);

    // Sessions of a server whose launch stays the same outlive a change of its chain.
    apply(home, &json!({"documents": changed})).await.unwrap();
    let stamped = client.call("echo", json!({})).await.unwrap();
    assert!(stamped.get("error").is_none(), "{stamped}");

    // Nor does it change anything for a daemon that has read all of it again.
    let daemon = Daemon::start_in(daemon.kill().unwrap()).await.unwrap();
    let home = daemon.home();
    assert_eq!(apply(home, &json!({"documents": changed})).await.unwrap(), ["keep"; 10]);

    // Pruning takes what is marked and not named, and nothing else.
    let rest = json!({"documents": [changed[0], changed[5]], "prune": {"app": "test"}});
    apply(home, &rest).await.unwrap();
    assert_eq!(documents(home).await.unwrap().len(), 2);
    let gone = api(home, Method::GET, "/workloads/s3?tenant=red", None).await.unwrap();
    assert_eq!(gone.status, 404, "{gone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_apply_of_ten_documents_leaves_nothing_half_done() {
    let daemon = Daemon::start().await.unwrap();
    let home = daemon.home();
    let before = vec![
        document("Tenant", "red", None, json!({"description": "before"})),
        server("s0", "before"),
        attachment("mark-0", "before"),
    ];
    apply(home, &json!({"documents": before})).await.unwrap();
    let known = documents(home).await.unwrap();
    let client = Client::connect(&daemon.tenant_url("red", "s0")).await.unwrap();
    let broken = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut documents = ten("after");
        change(&mut documents);
        json!({"documents": documents})
    };
    let wrong: Vec<(&str, Value)> = vec![
        ("an unknown field", broken(&|all| all[9]["spec"]["tols"] = json!([]))),
        ("a configuration that misses its schema", broken(&|all| all[3]["spec"]["config"]["label"] = json!(1))),
        ("a plugin that is not there", broken(&|all| all[2]["spec"]["plugin"] = "/no/such.wasm".into())),
        (
            "a grant that is missing",
            broken(&|all| {
                all[2]["spec"] = json!({"plugin": binary::fixture("counter").unwrap()});
            }),
        ),
        ("a command that is not there", broken(&|all| all[8]["spec"]["source"]["program"] = "/no/such/command".into())),
        ("a command that ends", broken(&|all| all[9]["spec"]["source"]["program"] = "false".into())),
        ("the same twice", broken(&|all| all.push(server("s0", "again")))),
    ];
    for (what, body) in wrong {
        let reply = api(home, Method::POST, "/documents/apply", Some(&body)).await.unwrap();
        assert!(reply.status >= 400, "{what}: {reply:?}");
        assert_eq!(documents(home).await.unwrap(), known, "{what}");
        let listed = api_ok(home, Method::GET, "/workloads?all=true", None).await.unwrap();
        assert_eq!(listed["workloads"].as_array().unwrap().len(), 1, "{what}: {listed}");
        // The server serves again, through the chain that it had.
        let stamp = eventually(what, SETTLE, async || {
            let client = Client::connect(&daemon.tenant_url("red", "s0")).await?;
            let answer = client.call("echo", json!({})).await?;
            answer.pointer("/result/_meta/mark-0").cloned().ok_or_else(|| anyhow::anyhow!("{answer}"))
        });
        assert_eq!(stamp.await.unwrap(), "before", "{what}");
    }
    drop(client);
    // What was refused is still what is stored.
    let home = daemon.kill().unwrap();
    let daemon = Daemon::start_in(home).await.unwrap();
    assert_eq!(documents(daemon.home()).await.unwrap(), known);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_an_apply_leaves_the_old_or_the_new() {
    let seed = u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos());
    println!("seed {seed}");
    let daemon = Daemon::start().await.unwrap();
    apply(daemon.home(), &json!({"documents": ten("0")})).await.unwrap();
    let mut home = daemon.kill().unwrap();
    let mut generation = "0".to_owned();
    let (mut olds, mut news) = (0, 0);
    for round in 1..=KILLS {
        let daemon = Daemon::start_in(home).await.unwrap();
        let next = round.to_string();
        let wanted = json!({"documents": ten(&next)});
        let after = APPLY_MAX * u32::try_from(round).unwrap() / u32::try_from(KILLS).unwrap();
        let after = after.saturating_sub(Duration::from_micros(seed % 5_000));
        // Now and then it is waited for: what was answered must be there, however slow the machine is.
        let waits = round % 4 == 0;
        tokio::select! {
            biased;
            // This is the point of the test: a time that nothing in the daemon can know.
            () = tokio::time::sleep(after), if !waits => {}
            applied = apply(daemon.home(), &wanted) => drop(applied.unwrap()),
        }
        let killed = daemon.kill().unwrap();
        let daemon = Daemon::start_in(killed).await.unwrap();
        let found = generation_of(&documents(daemon.home()).await.unwrap()).unwrap();
        assert!(
            found == next || found == generation && !waits,
            "{found} is not {next}, and before it was {generation}"
        );
        if found == next {
            news += 1
        } else {
            olds += 1
        }
        generation = found;
        // And what is stored serves.
        let client =
            eventually("s5", SETTLE, async || Client::connect(&daemon.tenant_url("red", "s5")).await).await.unwrap();
        let stamped = client.call("echo", json!({})).await.unwrap();
        assert_eq!(stamped.pointer("/result/_meta/mark-0"), Some(&json!(generation)), "{stamped}");
        home = daemon.kill().unwrap();
    }
    println!("{olds} old, {news} new");
}

/// Which of the sets is there: all ten of one, or none.
fn generation_of(documents: &[Value]) -> Result<String> {
    ensure!(documents.len() == 10, "there are {} documents", documents.len());
    let mut found = documents.iter().map(|document| {
        let spec = &document["spec"];
        [&spec["description"], &spec["config"]["label"], &spec["env"]["GENERATION"]]
            .into_iter()
            .find_map(Value::as_str)
            .unwrap_or("none")
            .to_owned()
    });
    let first = found.next().unwrap_or_default();
    ensure!(found.all(|other| other == first), "half done: {documents:?}");
    Ok(first)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_is_what_its_digest_says_whatever_becomes_of_its_file() {
    let daemon = Daemon::start().await.unwrap();
    let home = daemon.home();
    let file = home.path().join("guard.wasm");
    std::fs::copy(binary::fixture("stamp").unwrap(), &file).unwrap();
    let cli = daemon.cli().unwrap();
    let digest = cli.json(["plugin", "inspect", file.to_str().unwrap()]).await.unwrap()["digest"].clone();
    let plugin = |digest: &Value| document("Plugin", "guard", None, json!({"source": file, "digest": digest}));
    let attached =
        document("PluginAttachment", "mark", Some("red"), json!({"plugin": "guard", "config": {"label": "x"}}));
    let tenant = document("Tenant", "red", None, json!({}));
    let wrong = json!({"documents": [plugin(&json!(format!("sha256:{}", "0".repeat(64))))]});
    let reply = api(home, Method::POST, "/documents/apply", Some(&wrong)).await.unwrap();
    assert_eq!(reply.status, 422, "{reply:?}");
    let all = json!({"documents": [tenant, plugin(&digest), attached, server("s0", "x")]});
    apply(home, &all).await.unwrap();
    // Another component in the place of the file changes nothing.
    std::fs::copy(binary::fixture("trapping").unwrap(), &file).unwrap();
    api_ok(home, Method::POST, "/workloads/s0/restart?tenant=red", None).await.unwrap();
    let client = Client::connect(&daemon.tenant_url("red", "s0")).await.unwrap();
    let stamped = client.call("echo", json!({})).await.unwrap();
    assert_eq!(stamped.pointer("/result/_meta/stamp"), Some(&json!("x")), "{stamped}");
    // What was kept and then changed by somebody is refused, and never attached.
    let kept = std::fs::read_dir(home.path().join("data/components")).unwrap().next().unwrap().unwrap().path();
    std::fs::copy(binary::fixture("trapping").unwrap(), kept).unwrap();
    let reply = api(home, Method::POST, "/workloads/s0/restart?tenant=red", None).await.unwrap();
    assert!(reply.status >= 400 && reply.body["detail"].as_str().unwrap().contains("pinned"), "{reply:?}");
}
