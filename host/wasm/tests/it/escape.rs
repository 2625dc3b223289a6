//! Attempts to get out, each refused: to the network, to the state and the secrets of others, and to more of the machine
//! than was given.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fairlead_core::BoxFuture;
use fairlead_core::address::classify;
use fairlead_core::dial::{Admission, DialError, Dialed, Dialer, Endpoint};
use fairlead_core::kv::KvStore;
use fairlead_core::middleware::{Fault, Middleware, Verdict};
use fairlead_core::name::TenantName;
use fairlead_core::secret::{SecretError, SecretSource, SecretValue};
use fairlead_wasm::{Attachment, Compiler, PluginHost, PluginHostConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::{Host, Memory, ask, guest, request};

const SECRET: &str = "hunter2";

/// A network in which names lead where a test says; each answer but the last is given once. Like the dialer of the daemon
/// (which has tests of its own) it looks a name up once and connects to an address that was admitted.
struct Names(Mutex<HashMap<&'static str, Vec<&'static str>>>);

impl Names {
    fn address(&self, host: &str) -> Option<IpAddr> {
        let mut names = self.0.lock().unwrap();
        match names.get_mut(host) {
            Some(answers) if answers.len() > 1 => answers.remove(0).parse().ok(),
            Some(answers) => answers[0].parse().ok(),
            None => host.parse().ok(),
        }
    }
}

impl Dialer for Names {
    fn dial<'a>(&'a self, to: &'a Endpoint, admission: &'a dyn Admission) -> BoxFuture<'a, Result<Dialed, DialError>> {
        Box::pin(async move {
            let host = to.host.clone();
            let Some(address) = self.address(&host) else {
                return Err(DialError::Name { host, reason: "no such name".to_owned() });
            };
            if !admission.admits(address) {
                return Err(DialError::Forbidden { host, class: classify(address) });
            }
            let peer = SocketAddr::new(address, to.port);
            let stream = TcpStream::connect(peer).await;
            let stream = stream.map_err(|source| DialError::Connect { endpoint: to.clone(), source })?;
            Ok(Dialed { stream: Box::new(stream), peer })
        })
    }
}

struct OneSecret;

impl SecretSource for OneSecret {
    fn open(&self, tenant: &TenantName, name: &str) -> Result<Option<SecretValue>, SecretError> {
        Ok((tenant.as_str() == "default" && name == "key").then(|| SecretValue::new(SECRET.as_bytes())))
    }
}

/// A host with a network of its own names.
fn online(names: &[(&'static str, &[&'static str])]) -> Arc<PluginHost> {
    let names = names.iter().map(|(name, answers)| (*name, answers.to_vec())).collect();
    let kv = Arc::new(Memory::default()) as Arc<dyn KvStore>;
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    let dialer = Names(Mutex::new(names));
    PluginHost::new(PluginHostConfig {
        compiler: Compiler::InProcess,
        dialer: Some(Arc::new(dialer)),
        secrets: Some(Arc::new(OneSecret)),
        ..PluginHostConfig::new(cache, kv)
    })
    .unwrap()
}

async fn escapee(host: &PluginHost, grants: &[&str]) -> Arc<dyn Middleware> {
    let plugin = host.load(&guest("escapee")).await.unwrap();
    let grants: Vec<_> = grants.iter().map(|text| fairlead_core::grant::parse(text)).collect();
    let spec = json!({"name": "escapee", "plugin": "escapee", "grants": grants,
        "limits": {"cpuMsMax": 10_000, "wallMsMax": 20_000}});
    let spec = serde_json::from_value(spec).unwrap();
    let attachment = Attachment { tenant: TenantName::default(), place: "server/s".to_owned(), spec };
    host.attach(&plugin, attachment).await.unwrap()
}

async fn attempt(middleware: &Arc<dyn Middleware>, arguments: Value) -> Value {
    let answer = ask(middleware, request(json!({ "arguments": arguments }))).await.unwrap();
    match answer.verdict {
        Verdict::Respond(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A server that remembers what it was sent and always answers the same.
struct Server {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn new(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&heard), answer.to_owned());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut text = Vec::new();
                let mut buffer = [0; 4096];
                while !text.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut buffer).await {
                        Ok(0) | Err(_) => break,
                        Ok(read) => text.extend_from_slice(&buffer[..read]),
                    }
                }
                log.lock().unwrap().push(String::from_utf8_lossy(&text).into_owned());
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { port, heard, _tasks: tasks }
    }

    async fn hello() -> Self {
        Self::new("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").await
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

fn call(url: &str) -> Value {
    json!({ "try": "call", "url": url })
}

#[tokio::test]
async fn nobody_is_called_without_a_grant() {
    let server = Server::hello().await;
    let host = online(&[]);
    let middleware = escapee(&host, &[]).await;
    let answer = attempt(&middleware, call(&format!("http://127.0.0.1:{}/", server.port))).await;
    assert!(answer["error"].as_str().unwrap().contains("HttpRequestDenied"), "{answer}");
    assert!(server.heard().is_empty());
    assert_eq!(host.metrics()[0].counts.requests_refused, 1);
}

#[tokio::test]
async fn a_granted_host_is_called_with_the_granted_method_and_port_and_no_other() {
    let (server, other) = (Server::hello().await, Server::hello().await);
    let host = online(&[("api.test", &["127.0.0.1"])]);
    let rule = format!("http=GET http://api.test:{}", server.port);
    let middleware = escapee(&host, &[&rule, "http-private=127.0.0.1"]).await;
    let answer = attempt(&middleware, call(&format!("http://api.test:{}/a?b=c", server.port))).await;
    assert_eq!((&answer["status"], &answer["body"]), (&json!(200), &json!("hello")), "{answer}");
    assert!(server.heard()[0].starts_with("GET /a?b=c HTTP/1.1\r\n"), "{:?}", server.heard());
    let post = json!({ "try": "call", "url": format!("http://api.test:{}/", server.port), "method": "POST" });
    let connect = json!({ "try": "call", "url": format!("http://api.test:{}/", server.port), "method": "CONNECT" });
    let refused = [
        post,
        connect,
        call(&format!("http://api.test:{}/", other.port)),
        call(&format!("https://api.test:{}/", server.port)),
        call(&format!("http://127.0.0.1:{}/", server.port)),
        call(&format!("http://api.test@127.0.0.1:{}/", server.port)),
        call(&format!("http://api.test.evil.test:{}/", server.port)),
    ];
    for wish in refused {
        let answer = attempt(&middleware, wish.clone()).await;
        assert!(answer["error"].is_string(), "{wish}: {answer}");
    }
    assert_eq!((server.heard().len(), other.heard().len()), (1, 0));
}

#[tokio::test]
async fn a_granted_name_that_leads_to_a_private_address_is_refused() {
    let server = Server::hello().await;
    for address in ["127.0.0.1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "fd00:ec2::254"] {
        let host = online(&[("api.test", &[address])]);
        let middleware = escapee(&host, &[&format!("http=http://api.test:{}", server.port)]).await;
        let answer = attempt(&middleware, call(&format!("http://api.test:{}/", server.port))).await;
        assert!(answer["error"].as_str().unwrap().contains("DestinationIpProhibited"), "{address}: {answer}");
    }
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn a_name_that_changes_its_mind_between_check_and_call_changes_nothing() {
    let server = Server::hello().await;
    // First an address that is granted and where nobody is, then that of the server, which is not.
    let host = online(&[("api.test", &["127.0.0.9", "127.0.0.1"])]);
    let rule = format!("http=http://api.test:{}", server.port);
    let middleware = escapee(&host, &[&rule, "http-private=127.0.0.9"]).await;
    let url = format!("http://api.test:{}/", server.port);
    let first = attempt(&middleware, call(&url)).await;
    assert!(first["error"].is_string(), "it was resolved once, and nobody is there: {first}");
    let second = attempt(&middleware, call(&url)).await;
    assert!(second["error"].as_str().unwrap().contains("DestinationIpProhibited"), "{second}");
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn a_redirect_leads_nowhere_that_is_not_granted_itself() {
    let inner = Server::hello().await;
    for target in [format!("http://127.0.0.1:{}/", inner.port), format!("http://inner.test:{}/", inner.port)] {
        let redirect =
            format!("HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let outer = Server::new(&redirect).await;
        let host = online(&[("api.test", &["127.0.0.1"]), ("inner.test", &["127.0.0.1"])]);
        let rule = format!("http=http://api.test:{}", outer.port);
        let middleware = escapee(&host, &[&rule, "http-private=127.0.0.1"]).await;
        let url = format!("http://api.test:{}/", outer.port);
        let seen = attempt(&middleware, call(&url)).await;
        assert_eq!(seen["status"], 302, "the host follows nothing: {seen}");
        let followed = attempt(&middleware, json!({ "try": "call", "url": url, "follow": 3 })).await;
        assert!(followed["error"].as_str().unwrap().contains("HttpRequestDenied"), "{followed}");
    }
    assert!(inner.heard().is_empty());
}

#[tokio::test]
async fn a_secret_reaches_the_host_that_may_have_it_and_never_the_guest() {
    let (server, other) = (Server::hello().await, Server::hello().await);
    let host = online(&[("api.test", &["127.0.0.1"]), ("other.test", &["127.0.0.1"])]);
    let rules = format!("http=http://api.test:{},http://other.test:{}", server.port, other.port);
    let middleware = escapee(&host, &[&rules, "http-private=127.0.0.1", "secrets=key@api.test"]).await;
    let wish = |url: String| json!({ "try": "call", "url": url, "secret": "key" });
    let answer = attempt(&middleware, wish(format!("http://api.test:{}/", server.port))).await;
    assert_eq!(answer["status"], 200, "{answer}");
    assert!(!answer.to_string().contains(SECRET), "the guest holds a placeholder: {answer}");
    assert!(server.heard()[0].contains(&format!("authorization: Bearer {SECRET}\r\n")), "{:?}", server.heard());
    let elsewhere = attempt(&middleware, wish(format!("http://other.test:{}/", other.port))).await;
    assert!(elsewhere["error"].as_str().unwrap().contains("HttpRequestDenied"), "{elsewhere}");
    let revealed = attempt(&middleware, json!({ "try": "reveal", "secret": "key" })).await;
    assert!(revealed["revealed"]["Err"].as_str().unwrap().contains("Denied"), "{revealed}");
    // The placeholder of one attachment is nothing in the hands of another.
    let stranger = escapee(&host, &[&rules, "http-private=127.0.0.1"]).await;
    let stolen = json!({ "try": "call", "url": format!("http://api.test:{}/", server.port), "raw": answer["held"] });
    let refused = attempt(&stranger, stolen).await;
    assert!(refused["error"].is_string(), "{refused}");
    // Whether a secret may be sent depends on the address that was reached, so somebody may be called; but nothing is said.
    let said = |server: &Server| server.heard().iter().filter(|text| !text.is_empty()).count();
    assert_eq!((said(&server), said(&other)), (1, 0));
}

#[tokio::test]
async fn an_answer_without_end_does_not_fill_the_memory() {
    let body = "x".repeat(33 * 1024 * 1024);
    let server = Server::new(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    let host = online(&[]);
    let middleware = escapee(&host, &[&format!("http=http://127.0.0.1:{}", server.port)]).await;
    let url = format!("http://127.0.0.1:{}/", server.port);
    let outcome = ask(&middleware, request(json!({ "arguments": call(&url) }))).await;
    match outcome {
        Ok(answer) => assert!(format!("{:?}", answer.verdict).contains("error"), "not the whole of it"),
        Err(fault) => assert!(matches!(fault, Fault::Memory(_) | Fault::Trap(_) | Fault::Deadline(_)), "{fault}"),
    }
    let hello = Server::hello().await;
    let next = escapee(&host, &[&format!("http=http://127.0.0.1:{}", hello.port)]).await;
    assert_eq!(attempt(&next, call(&format!("http://127.0.0.1:{}/", hello.port))).await["status"], 200);
}

#[tokio::test]
async fn the_state_of_another_tenant_is_not_there() {
    let host = Host::new();
    let spec = || json!({"grants": [{"name": "kv"}]});
    let (acme, other) = (
        host.attach_for("acme", "escapee", spec()).await.unwrap(),
        host.attach_for("other", "escapee", spec()).await.unwrap(),
    );
    attempt(&acme, json!({ "try": "keep", "key": "k", "bytes": 10 })).await;
    assert_eq!(attempt(&acme, json!({ "try": "peek", "key": "k" })).await["found"], true);
    for key in ["k", "acme/server/s/escapee/k", "../acme/k", "\0k", "acme\0k"] {
        assert_eq!(attempt(&other, json!({ "try": "peek", "key": key })).await["found"], false, "{key:?}");
    }
    assert_eq!(host.kv.keys().len(), 1);
}

#[tokio::test]
async fn four_gigabytes_at_once_are_refused_and_the_guest_lives() {
    let host = Host::new();
    let middleware = host.attach("escapee", json!({})).await.unwrap();
    let answer = attempt(&middleware, json!({ "try": "grow" })).await;
    assert_eq!(answer["grown"], u32::MAX, "`memory.grow` says no");
    assert!(host.host.metrics()[0].counts.memory_bytes_high_water < 64 * 1024 * 1024);
}

#[tokio::test]
async fn a_stack_without_end_is_a_fault_of_the_guest_alone() {
    let host = Host::new();
    let middleware = host.attach("escapee", json!({"limits": {"cpuMsMax": 10000, "wallMsMax": 10000}})).await.unwrap();
    let noop = host.attach("noop", json!({})).await.unwrap();
    for _ in 0..3 {
        let fault = ask(&middleware, request(json!({ "arguments": { "try": "recurse" } }))).await.unwrap_err();
        assert!(matches!(fault, Fault::Trap(_)), "{fault}");
        ask(&noop, request(json!({}))).await.unwrap();
    }
}

#[tokio::test]
async fn a_flood_of_records_is_cut_and_counted() {
    let host = Host::new();
    let middleware = host.attach("escapee", json!({"limits": {"cpuMsMax": 10000, "wallMsMax": 10000}})).await.unwrap();
    let subscriber = tracing_subscriber();
    let _guard = tracing::subscriber::set_default(subscriber);
    let before = Instant::now();
    attempt(&middleware, json!({ "try": "log", "records": 20_000, "bytes": 100 })).await;
    let most = 100 * (before.elapsed().as_secs() + 2);
    let dropped = host.host.metrics()[0].records_dropped;
    assert!(dropped >= 20_000 - most, "{dropped} of 20,000 were dropped, {most} may pass");
}

/// Somebody who listens, so that records are written at all.
fn tracing_subscriber() -> impl tracing::Subscriber {
    struct All;
    impl tracing::Subscriber for All {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {}
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }
    All
}

#[tokio::test]
async fn handles_without_end_come_to_an_end() {
    let host = online(&[]);
    let middleware = escapee(&host, &["secrets=key"]).await;
    let answer = attempt(&middleware, json!({ "try": "handles" })).await;
    assert!(answer["opened"].as_u64().unwrap() <= 64, "{answer}");
}

/// A component that claims to be a middleware, with `functions` functions in it.
fn large(functions: usize) -> Vec<u8> {
    let body: String = (0..functions).map(|n| format!("(func (result i32) i32.const {n})")).collect();
    let text = format!(
        r#"(component (core module {body}) (instance $empty)
            (export "fairlead:types/manifest@0.1.0" (instance $empty))
            (export "fairlead:middleware/hooks@0.1.0" (instance $empty)))"#
    );
    wat::parse_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_of_100_000_functions_delays_nobody_and_is_refused_for_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::with_cache(directory.path().join("cache"));
    let noop = host.attach("noop", json!({})).await.unwrap();
    let path = directory.path().join("large.wasm");
    std::fs::write(&path, large(100_000)).unwrap();
    let loading = host.host.load(&path);
    tokio::pin!(loading);
    let (mut longest, mut calls) = (Duration::ZERO, 0);
    let error = loop {
        tokio::select! {
            biased;
            loaded = &mut loading => break loaded.unwrap_err(),
            () = tokio::task::yield_now() => {
                let before = Instant::now();
                ask(&noop, request(json!({}))).await.unwrap();
                longest = longest.max(before.elapsed());
                calls += 1;
            }
        }
    };
    assert!(crate::support::chain(&error).contains("does not fit the contract"), "{}", crate::support::chain(&error));
    assert!(
        calls > 100 && longest < Duration::from_secs(2),
        "{calls} calls while it compiled, the longest {longest:?}"
    );
}

/// Damages real components at random and loads them. `FAIRLEAD_FUZZ_SECS` says for how long; a second without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_components_are_refused_or_loaded_and_the_host_stays() {
    let seconds = std::env::var("FAIRLEAD_FUZZ_SECS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let directory = tempfile::tempdir().unwrap();
    let host = Host::with_cache(directory.path().join("cache"));
    let noop = host.attach("noop", json!({})).await.unwrap();
    let seeds: Vec<_> =
        ["noop", "wasip2-noop", "wrong-world", "update-policy"].map(|name| std::fs::read(guest(name)).unwrap()).into();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ std::process::id() as u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below.max(1) as u64) as usize
    };
    let until = Instant::now() + Duration::from_secs(seconds);
    let (mut tried, mut loaded) = (0_u64, 0_u64);
    while Instant::now() < until {
        let mut bytes = seeds[next(seeds.len())].clone();
        // Mostly near the beginning, where types, imports and exports are; code follows.
        let reach = if next(2) == 0 { bytes.len().min(4096) } else { bytes.len() };
        for _ in 0..=next(6) {
            let at = next(reach.min(bytes.len()));
            match next(4) {
                0 => bytes[at] ^= 1 << next(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][next(5)],
                2 => {
                    let length = next(64).min(bytes.len() - at);
                    bytes.drain(at..at + length);
                }
                _ => {
                    let from = next(bytes.len());
                    let part = bytes[from..bytes.len().min(from + next(64))].to_vec();
                    bytes.splice(at..at, part);
                }
            }
            if bytes.len() < 16 {
                break;
            }
        }
        let path = directory.path().join("damaged.wasm");
        std::fs::write(&path, &bytes).unwrap();
        tried += 1;
        loaded += u64::from(host.host.load(&path).await.is_ok());
        if tried % 64 == 0 {
            ask(&noop, request(json!({}))).await.unwrap();
        }
    }
    ask(&noop, request(json!({}))).await.unwrap();
    eprintln!("{tried} damaged components in {seconds} s: {loaded} loaded, the rest refused");
    assert!(tried > 0);
}
