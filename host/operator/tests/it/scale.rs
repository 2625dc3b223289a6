//! Many servers, and an API server that throttles, conflicts, does not answer and goes away: what comes of it is what was
//! decided, and a look at what has not changed writes nothing.
//!
//! A few servers by default. `cargo xtask cluster faults` takes a thousand, ten looks at each, and really starts the API server
//! anew meanwhile; only there memory is held to a bound, because other tests share this process otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fairlead_core::document::{self, Document};
use fairlead_operator::desired::{Names, Observed, Resource, Server, Workload, desired};
use futures_util::{StreamExt as _, stream};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::faulty::{Faults, Proxy};
use crate::ground::{self, Ground, http, server, stdio, with};

/// How many servers; more than a handful means the whole test.
const VARIABLE: &str = "FAIRLEAD_TEST_SCALE";

/// Servers of the short form.
const FEW: usize = 12;

/// Requests of the test itself that are under way at once.
const AT_ONCE: usize = 16;

/// What came back, of each kind of object, by name.
type There = BTreeMap<Resource, BTreeMap<String, Value>>;

struct Size {
    servers: usize,
    turns: u64,
    settle: Duration,
    is_whole: bool,
}

impl Size {
    fn read() -> Self {
        match std::env::var(VARIABLE).ok().map(|count| count.parse().unwrap()) {
            Some(servers) => Self { servers, turns: 10, settle: Duration::from_secs(1800), is_whole: true },
            // More than the longest wait after failures.
            None => Self { servers: FEW, turns: 2, settle: Duration::from_secs(240), is_whole: false },
        }
    }
}

fn name(index: usize) -> String {
    format!("s{index:04}")
}

fn spec(index: usize) -> Value {
    let remote = json!({"source": {"kind": "remote", "url": "https://mcp.example.test/mcp"},
                        "transport": {"kind": "streamable-http", "port": 443}});
    match index % 4 {
        0 => stdio(),
        1 => with(http(), json!({"replicas": 0, "backendReplicas": 0})),
        2 => remote,
        _ => with(http(), json!({"replicas": 2, "backendReplicas": 1})),
    }
}

/// Again until it is done: the API server may be away, and what was asked may have been done before it went.
async fn insist<T>(what: &str, call: impl AsyncFn() -> Result<T, kube::Error>) -> Option<T> {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        match call().await {
            Ok(done) => return Some(done),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return None,
            Err(error) => assert!(Instant::now() < end, "{what}: {error}"),
        }
        sleep(Duration::from_millis(200)).await;
    }
}

impl Ground {
    async fn each(&self, servers: impl Iterator<Item = usize>, act: impl AsyncFn(String, usize)) {
        let act = &act;
        stream::iter(servers).map(|index| act(name(index), index)).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    async fn list(&self, resource: Option<Resource>) -> BTreeMap<String, Value> {
        let (api, params) = match resource {
            None => (self.servers(), ListParams::default()),
            Some(resource) => (self.api(resource), self.ours(resource)),
        };
        let list = insist("list", async || api.list(&params).await).await.unwrap();
        let named = list.items.into_iter().map(|object| {
            let name = object.metadata.name.clone().unwrap();
            let mut object = json!(object);
            // What is the same for all elements of a list stands at none of them.
            if let Some(resource) = resource {
                let (group, version) = resource.api();
                let api = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
                (object["apiVersion"], object["kind"]) = (api.into(), resource.kind().into());
            }
            (name, object)
        });
        named.collect()
    }

    /// Everything that is not as it is decided; empty in the end.
    async fn differences(&self) -> Vec<String> {
        let servers = self.list(None).await;
        let mut there = There::new();
        for resource in Resource::ALL {
            there.insert(resource, self.list(Some(resource)).await);
        }
        let mut wrong = Vec::new();
        let mut wanted: BTreeSet<(Resource, String)> = BTreeSet::new();
        for (name, object) in &servers {
            let Some(server) = read(object) else {
                wrong.push(format!("{name}: it cannot be read"));
                continue;
            };
            let names = Names::new(&server.name, &server.namespace);
            let workload = |resource: Resource, name: &str| there[&resource].get(name).map(workload);
            let observed = Observed {
                proxy: workload(Resource::Deployment, &names.deployment()),
                backend: workload(Resource::StatefulSet, &names.stateful_set()),
                ..Observed::default()
            };
            let decision = desired(&server, &observed, &ground::settings(), jiff::Timestamp::now());
            for object in decision.objects.unwrap() {
                let as_decided = there[&object.resource].get(&object.name).is_some_and(|there| object.is_in(there));
                if !as_decided {
                    wrong.push(format!("{name}: {} `{}`", object.resource.kind(), object.name));
                }
                wanted.insert((object.resource, object.name));
            }
            for scale in decision.scales {
                let count = there[&scale.resource].get(&scale.name).map(|object| &object["spec"]["replicas"]);
                if count != Some(&json!(scale.replicas)) {
                    wrong.push(format!("{name}: {count:?} replicas, not {}", scale.replicas));
                }
            }
            if decision.status != server.status {
                wrong.push(format!("{name}: its status"));
            }
        }
        for (resource, objects) in &there {
            let left = objects.keys().filter(|name| !wanted.contains(&(*resource, (*name).clone())));
            wrong.extend(left.map(|name| format!("{} `{name}` belongs to nobody", resource.kind())));
        }
        wrong
    }

    async fn as_decided(&self, size: &Size) {
        let end = Instant::now() + size.settle;
        loop {
            let wrong = self.differences().await;
            if wrong.is_empty() {
                return;
            }
            let some: Vec<&String> = wrong.iter().take(10).collect();
            assert!(Instant::now() < end, "{} differences: {some:#?}", wrong.len());
            sleep(Duration::from_secs(1)).await;
        }
    }
}

fn read(object: &Value) -> Option<Server> {
    let metadata = &object["metadata"];
    let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
    let document = json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "MCPServer", "spec": object["spec"],
                          "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]}});
    let Ok(Document::Server(document)) = document::read(&document) else { return None };
    Some(Server {
        name: text("name"),
        namespace: text("namespace"),
        uid: text("uid"),
        generation: metadata["generation"].as_i64()?,
        deleting: metadata.get("deletionTimestamp").is_some(),
        restarted_at: None,
        created_fresh: false,
        document: Ok(document),
        status: serde_json::from_value(object["status"].clone()).unwrap_or_default(),
    })
}

fn workload(object: &Value) -> Workload {
    let count = |pointer: &str| object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0).try_into().unwrap();
    Workload {
        wanted: count("/spec/replicas"),
        replicas: count("/status/replicas"),
        ready: count("/status/readyReplicas"),
        is_current: object.pointer("/status/observedGeneration") == object.pointer("/metadata/generation"),
    }
}

/// Memory of this process that is there, in MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn told(size: &Size, what: &str) {
    if size.is_whole {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_faults_every_server_becomes_what_is_decided_and_then_nothing_is_written() {
    let Some(mut ground) = Ground::bare().await else { return };
    let size = Size::read();
    let count = u64::try_from(size.servers).unwrap();
    let began = Instant::now();
    let proxy =
        Proxy::start(ground::config(None).await.unwrap(), Faults { hangs_watches: size.is_whole, ..Faults::MANY })
            .await;
    let tally = ground.operator_behind("one", &proxy);
    // They come, change and go, while the API server is there and while it is not.
    let half = size.servers / 2;
    let servers = ground.servers();
    let create = async |name: String, index: usize| {
        let wanted = server(&name, spec(index));
        insist(&name, async || servers.create(&PostParams::default(), &wanted).await).await;
    };
    ground.each(0..half, &create).await;
    proxy.restart(Duration::from_secs(2));
    ground.each(half..size.servers, &create).await;
    let change = Patch::Merge(json!({"spec": {"proxyPort": 8181}}));
    ground
        .each((0..size.servers).step_by(3), async |name, _| {
            insist(&name, async || servers.patch(&name, &PatchParams::default(), &change).await).await;
        })
        .await;
    ground
        .each((0..size.servers).skip(9).step_by(10), async |name, _| {
            insist(&name, async || servers.delete(&name, &DeleteParams::default()).await).await;
        })
        .await;
    ground.as_decided(&size).await;
    let left: Vec<usize> = (0..size.servers).filter(|index| index % 10 != 9).collect();
    assert_eq!(ground.list(None).await.len(), left.len(), "who is removed is gone");
    let look_at_all = async |turn: String| {
        let looks = tally.reconciles();
        let touch = Patch::Merge(json!({"metadata": {"annotations": {"turn": turn}}}));
        ground
            .each(left.iter().copied(), async |name, _| {
                insist(&name, async || servers.patch(&name, &PatchParams::default(), &touch).await).await;
            })
            .await;
        let end = Instant::now() + size.settle;
        while tally.reconciles() < looks + u64::try_from(left.len()).unwrap() {
            assert!(Instant::now() < end, "{tally:?}");
            sleep(Duration::from_millis(50)).await;
        }
    };
    // A look that met a fault is repeated after up to two minutes: until all were looked at in peace, some have things to do.
    let end = Instant::now() + size.settle;
    for turn in 0.. {
        let before = (tally.writes(), tally.failures());
        look_at_all(format!("settling-{turn}")).await;
        ground.quiet(&tally).await;
        if (tally.writes(), tally.failures()) == before {
            break;
        }
        assert!(Instant::now() < end, "it never comes to rest: {tally:?}");
    }
    ground.as_decided(&size).await;
    let (seen, settled) = (proxy.seen(), began.elapsed());
    told(&size, &format!("{count} servers as decided after {settled:?}: {tally:?}, {seen:?}"));
    // Twelve objects at most, each looked for and applied, and some ten writes of status, counts and finalizers.
    assert!(seen.requests <= 100 * count, "{} requests for {count} servers", seen.requests);

    // From here on nothing changes.
    let (unchanged, writes, mut memory) = (Instant::now(), tally.writes(), 0);
    for turn in 0..size.turns {
        let looks = look_at_all(turn.to_string());
        if turn == 1 {
            proxy.restart(Duration::from_secs(1));
        }
        looks.await;
        if turn == 0 {
            memory = resident_mib();
        }
    }
    ground.quiet(&tally).await;
    let after = proxy.seen();
    let (memory_after, asked) = (resident_mib(), after.requests - seen.requests);
    told(&size, &format!("{tally:?}, {asked} more requests, memory {memory} to {memory_after} MiB"));
    assert_eq!((tally.writes() - writes, after.writes - seen.writes), (0, 0), "{tally:?}");
    // Watches that begin again, each once for every time away and a few times for faults.
    let most = 400 + 5 * unchanged.elapsed().as_secs();
    assert!(asked <= most, "{asked} requests to see that nothing changed, and {most} are many");
    ground.as_decided(&size).await;
    if size.is_whole {
        assert!(tally.reconciles() >= size.turns * count, "{tally:?}");
        assert!(memory_after <= memory + memory / 10 + 16, "memory grew from {memory} to {memory_after} MiB");
    }
}
