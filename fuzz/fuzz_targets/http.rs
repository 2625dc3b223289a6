//! Whatever bytes a client sends to the listener: nothing panics, each answer is HTTP, and a connection whose client has
//! said everything comes to its end.

#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use fairlead_core::BoxFuture;
use fairlead_core::chain::Chain;
use fairlead_core::era::Forgetful;
use fairlead_core::name::{ServerKey, ServerName, TenantName};
use fairlead_core::server::Isolation;
use fairlead_core::workload::{StdioConnection, Unavailable, Upstream};
use fairlead_proxy::{Proxy, ProxyConfig, Replicas, Route, Wire};
use libfuzzer_sys::fuzz_target;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A server that is never there: what gets as far as this was a message.
struct Nobody;

impl Upstream for Nobody {
    fn open_stdio(&self) -> BoxFuture<'_, Result<StdioConnection, Unavailable>> {
        Box::pin(async { Err(Unavailable::Stopped) })
    }

    fn http_endpoint(&self) -> BoxFuture<'_, Result<String, Unavailable>> {
        Box::pin(async { Err(Unavailable::Stopped) })
    }
}

/// The listener, started once.
static ADDRESS: LazyLock<SocketAddr> = LazyLock::new(|| {
    // A panic in a task would be caught by the runtime, and nobody would know.
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        std::process::abort();
    }));
    let (told, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let config = ProxyConfig { body_bytes_max: 64 * 1024, ..ProxyConfig::default() };
            let proxy = Proxy::new(config);
            for (name, wire) in [("p", Wire::Stdio { isolation: Isolation::default() }), ("h", Wire::Http)] {
                let key = ServerKey { tenant: TenantName::default(), name: ServerName::new(name).unwrap() };
                let chain = Arc::new(Chain::new(Vec::new()));
                proxy.publish(Route {
                    key,
                    wire,
                    upstream: Arc::new(Nobody),
                    chain,
                    eras: Arc::new(Forgetful::default()),
                    remote: None,
                    bridge: name == "p",
                    replicas: Replicas::default(),
                });
            }
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            proxy.serve(listener, CancellationToken::new()).await.unwrap();
        });
    });
    address.recv().unwrap()
});

/// Time for an answer: far beyond what any takes, and below the deadlines of the listener.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first byte says what stands before the rest, so that the fuzzer need not find out how HTTP begins.
fn prelude(kind: u8, rest: &[u8]) -> Vec<u8> {
    let path = if kind & 1 == 0 { "/s/p/mcp" } else { "/s/h/mcp" };
    let head = "Host: localhost\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n";
    match kind >> 1 & 3 {
        0 => Vec::new(),
        1 => format!("POST {path} HTTP/1.1\r\n{head}Content-Length: {}\r\n\r\n", rest.len()).into_bytes(),
        2 => format!("POST {path} HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes(),
        _ => format!("GET {path} HTTP/1.1\r\n{head}").into_bytes(),
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    let mut stream = TcpStream::connect(*ADDRESS).expect("the listener is there");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // The proxy may refuse and hang up while the rest is being sent.
    let _ = stream.write_all(&[&prelude(*kind, rest), rest].concat());
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection hangs: {error}"),
    }
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{:?}", String::from_utf8_lossy(&answer));
});
