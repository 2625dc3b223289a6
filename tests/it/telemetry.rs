//! Traces and metrics as a collector gets them: a small one of this test, which takes OTLP over HTTP and reads the protocol
//! buffers itself, field by field, so that it shares no code with what sends them.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use fairlead_tests::limits::{EXCHANGE, SETTLE};
use fairlead_tests::{Daemon, Home, Setup, eventually};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::scene::{create, fixture, server};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// What must never be exported.
const SECRET: &str = "a-secret-argument";

/// What a collector got: path and body of each request.
type Got = Arc<Mutex<Vec<(String, Bytes)>>>;

/// A collector of OTLP.
struct Collector {
    url: String,
    got: Got,
    _tasks: JoinSet<()>,
}

impl Collector {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let got = Got::default();
        let mut tasks = JoinSet::new();
        let record = Arc::clone(&got);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let record = Arc::clone(&record);
                let service = service_fn(move |request| take(request, Arc::clone(&record)));
                connections.spawn(async move {
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(Self { url, got, _tasks: tasks })
    }

    fn bodies(&self, path: &str) -> Vec<Bytes> {
        let got = self.got.lock().unwrap_or_else(PoisonError::into_inner);
        got.iter().filter(|(to, _)| to == path).map(|(_, body)| body.clone()).collect()
    }

    /// Everything of one kind, by a path of field numbers.
    fn all(&self, path: &str, fields: &[u32]) -> Vec<Bytes> {
        self.bodies(path).iter().flat_map(|body| within(body, fields)).collect()
    }
}

async fn take(request: Request<Incoming>, record: Got) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let is_protobuf = request.headers().get("content-type").is_some_and(|kind| kind == "application/x-protobuf");
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let path = if is_protobuf { path } else { format!("{path} (no protocol buffers)") };
    record.lock().unwrap_or_else(PoisonError::into_inner).push((path, body));
    Ok(Response::builder().header("content-type", "application/x-protobuf").body(Full::default()).unwrap_or_default())
}

/// A number of variable length, and the rest.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let number = bytes[..length].iter().rev().fold(0, |number, byte| (number << 7) | u64::from(byte & 0x7f));
    Some((number, &bytes[length..]))
}

/// The fields of a message: number, and bytes of its value.
fn fields(message: &Bytes) -> Vec<(u32, Bytes)> {
    let mut found = Vec::new();
    let mut rest = &message[..];
    while !rest.is_empty() {
        let (key, after) = varint(rest).expect("a key");
        let (start, length) = match key & 7 {
            0 => (after, after.len() - varint(after).expect("a number").1.len()),
            1 => (after, 8),
            5 => (after, 4),
            2 => {
                let (length, content) = varint(after).expect("a length");
                (content, usize::try_from(length).expect("a length"))
            }
            kind => panic!("wire type {kind}"),
        };
        found.push((u32::try_from(key >> 3).expect("a field"), message.slice_ref(&start[..length])));
        rest = &start[length..];
    }
    found
}

fn within(message: &Bytes, path: &[u32]) -> Vec<Bytes> {
    let Some((first, rest)) = path.split_first() else { return vec![message.clone()] };
    let here = fields(message).into_iter().filter(|(number, _)| number == first);
    here.flat_map(|(_, value)| within(&value, rest)).collect()
}

fn text(message: &Bytes, path: &[u32]) -> String {
    within(message, path).first().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

/// The value of an attribute, as text; empty when there is none.
fn attribute(attributes: &[Bytes], name: &str) -> String {
    attributes.iter().find(|pair| text(pair, &[1]) == name).map(|pair| text(pair, &[2, 1])).unwrap_or_default()
}

fn hex(bytes: &Bytes) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn exporting(url: &str) -> Result<Daemon> {
    let setup = Setup { env: &[("FAIRLEAD_OTLP_ENDPOINT", url)], ..Setup::default() };
    let daemon = Daemon::start_set_up(Home::new()?, &setup).await?;
    let guard = fixture("noop", &json!({}));
    create(daemon.home(), &server("watched", &json!({"plugins": [guard]}))).await?;
    Ok(daemon)
}

#[tokio::test]
async fn a_collector_gets_a_span_of_each_request_and_the_times_and_never_an_argument() {
    let collector = Collector::start().await.unwrap();
    let daemon = exporting(&collector.url).await.unwrap();
    let client = daemon.client("watched").await.unwrap();
    let meta = json!({"traceparent": format!("00-{TRACE}-{PARENT}-01")});
    let params = json!({"name": "echo", "arguments": {"word": SECRET}, "_meta": meta});
    assert!(client.ask("tools/call", params).await.unwrap()["result"].is_object());
    let failed = client.ask("tools/call", json!({"name": "no-such-tool", "arguments": {"word": SECRET}})).await;
    assert!(failed.unwrap()["error"].is_object());
    // Whatever is left is sent at the end.
    let (_home, status) = daemon.terminate().await.unwrap();
    assert!(status.success());

    let spans = collector.all("/v1/traces", &[1, 2, 2]);
    let named = |name: &str| spans.iter().find(|span| text(span, &[5]) == name).context(name.to_owned());
    let span = named("tools/call echo").unwrap();
    assert_eq!(hex(&within(span, &[1])[0]), TRACE, "the trace of its client goes on");
    assert_eq!(hex(&within(span, &[4])[0]), PARENT);
    let attributes = within(span, &[9]);
    for (name, value) in [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.tool.name", "echo"),
        ("mcp.protocol.version", "2025-11-25"),
        ("network.transport", "pipe"),
        ("fairlead.server.name", "watched"),
        ("fairlead.tenant", "default"),
        ("error.type", ""),
    ] {
        assert_eq!(attribute(&attributes, name), value, "{name}");
    }
    let bad = within(named("tools/call no-such-tool").unwrap(), &[9]);
    assert!(!attribute(&bad, "error.type").is_empty(), "it failed");
    assert!(named("initialize").is_ok());
    let resource = collector.all("/v1/traces", &[1, 1, 1]);
    assert_eq!(attribute(&resource, "service.name"), "fairlead");

    let metrics = collector.all("/v1/metrics", &[1, 2, 2]);
    for (name, needed) in [
        ("mcp.server.operation.duration", ["mcp.method.name", "fairlead.server.name"]),
        ("fairlead.middleware.duration", ["fairlead.plugin.name", "fairlead.plugin.phase"]),
    ] {
        let metric = metrics.iter().find(|metric| text(metric, &[1]) == name).context(name).unwrap();
        assert_eq!(text(metric, &[3]), "s", "{name}");
        let points = within(metric, &[9, 1]);
        assert!(!points.is_empty(), "{name}");
        for point in &points {
            let attributes = within(point, &[9]);
            assert!(needed.iter().all(|needed| !attribute(&attributes, needed).is_empty()), "{name}");
            assert_ne!(attribute(&attributes, "gen_ai.tool.name"), "echo", "a client invents names of tools");
        }
    }
    let got = collector.got.lock().unwrap();
    assert!(got.iter().all(|(path, _)| path == "/v1/traces" || path == "/v1/metrics"), "{got:?}");
    let leaks = got.iter().any(|(_, body)| body.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()));
    assert!(!leaks, "an argument was exported");
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_neither_calls_nor_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let daemon = exporting(&format!("http://{}", listener.local_addr().unwrap())).await.unwrap();
    let client = daemon.client("watched").await.unwrap();
    let started = Instant::now();
    for _ in 0..500 {
        assert_eq!(client.text("echo", json!({})).await.unwrap(), "echo");
    }
    assert!(started.elapsed() < EXCHANGE);
    // It is sent to, and silent.
    let mut held = Vec::new();
    let heard = async {
        eventually("something is sent", SETTLE, async || {
            held.push(tokio::time::timeout(Duration::from_secs(20), listener.accept()).await??);
            Ok(())
        })
        .await
    };
    heard.await.unwrap();
    daemon.terminate().await.unwrap();
}
