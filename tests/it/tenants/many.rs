//! Many attachments of many tenants in one daemon: what each costs, and that a request pays for its own chain only.
//! `FAIRLEAD_TENANTS=100` makes it a thousand of a hundred.

use std::time::{Duration, Instant};

use fairlead_tests::limits::SETTLE;
use fairlead_tests::{Client, Daemon, api_ok, binary, eventually};
use http::Method;
use serde_json::{Value, json};

/// Tenants, unless it is said: each has a process of its own.
const TENANTS: usize = 20;

/// Attachments of each.
const EACH: usize = 10;

/// Parts in which they are applied, to see whether the last costs more than the first.
const PARTS: usize = 4;

fn document(kind: &str, name: &str, namespace: Option<&str>, spec: Value) -> Value {
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// A tenant with ten attachments and a server.
fn tenant(number: usize) -> Vec<Value> {
    let name = format!("tenant-{number}");
    let source = json!({"kind": "command", "program": binary::test_server().unwrap()});
    let mut documents = vec![
        document("Tenant", &name, None, json!({})),
        document("MCPServer", "s", Some(&name), json!({"source": source})),
    ];
    let plugin = binary::fixture("noop").unwrap();
    let attachment =
        |number| document("PluginAttachment", &format!("a{number}"), Some(&name), json!({"plugin": plugin}));
    documents.extend((0..EACH).map(attachment));
    documents
}

/// Resident memory of a process, in bytes.
fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_attachments_cost_what_the_first_did_and_a_request_passes_those_of_its_tenant() {
    let tenants = std::env::var("FAIRLEAD_TENANTS").map_or(TENANTS, |text| text.parse().unwrap());
    let daemon = Daemon::start().await.unwrap();
    let mut parts = Vec::new();
    for part in 0..PARTS {
        let numbers = part * tenants / PARTS..(part + 1) * tenants / PARTS;
        let wanted = json!({"documents": numbers.flat_map(tenant).collect::<Vec<_>>()});
        let (began, memory) = (Instant::now(), resident(daemon.pid()));
        api_ok(daemon.home(), Method::POST, "/documents/apply", Some(&wanted)).await.unwrap();
        parts.push((began.elapsed(), resident(daemon.pid()).saturating_sub(memory)));
    }
    for (time, bytes) in &parts {
        eprintln!(
            "a quarter: {time:?}, {} KiB of memory for each attachment",
            bytes / 1024 * PARTS as u64 / (tenants * EACH) as u64
        );
    }
    let (first, last) = (parts[0].0, parts[PARTS - 1].0);
    assert!(last < first * 4 + Duration::from_secs(5), "the last quarter took {last:?}, the first {first:?}");

    // In the chain of one stand its own ten, and nobody else's.
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}});
    let explain = json!({"tenant": "tenant-7", "server": "s", "request": request});
    let told = api_ok(daemon.home(), Method::POST, "/chains/explain", Some(&explain)).await.unwrap();
    assert_eq!(told["links"].as_array().unwrap().len(), EACH);

    let home = daemon.kill().unwrap();
    let began = Instant::now();
    let daemon = Daemon::start_in(home).await.unwrap();
    let started = began.elapsed();
    let last = daemon.tenant_url(&format!("tenant-{}", tenants - 1), "s");
    let client = eventually("the last", SETTLE, async || Client::connect(&last).await).await.unwrap();
    client.text("echo", json!({})).await.unwrap();
    eprintln!("after a crash it answers in {started:?}, the last server in {:?}", began.elapsed());
}
