//! Servers that run elsewhere: real TLS, real redirects, a real forward proxy, all on loopback.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fairlead_core::BoxFuture;
use fairlead_core::chain::Chain;
use fairlead_core::era::Forgetful;
use fairlead_core::name::TenantName;
use fairlead_core::remote::{ProxyChoice, Reach, RemoteSource};
use fairlead_core::secret::{SecretError, SecretReference, SecretValue, Secrets};
use fairlead_proxy::{EnvironmentProxies, ProbeError, Remote, RemoteError, Route, Wire};
use http::Method;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::support::{At, HttpServer, Scene, Seen, key};

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#;

/// Secrets that a test may change.
#[derive(Default)]
struct Vault(Mutex<BTreeMap<String, String>>);

impl Secrets for Vault {
    fn resolve<'a>(
        &'a self,
        _: &'a TenantName,
        reference: &'a SecretReference,
    ) -> BoxFuture<'a, Result<SecretValue, SecretError>> {
        let found = self.0.lock().get(reference.name().as_str()).map(|value| SecretValue::new(value.as_bytes()));
        Box::pin(async move { found.ok_or_else(|| SecretError::Absent(reference.clone())) })
    }
}

/// Ends TLS in front of a server, under a certificate of an authority that nobody knows.
struct TlsDoor {
    url: String,
    authority: PathBuf,
    _directory: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

impl TlsDoor {
    async fn before(address: String) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let own = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&own, &issuer).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let authority = directory.path().join("ca.pem");
        std::fs::write(&authority, issuer.pem()).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/mcp", listener.local_addr().unwrap().port());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, address) = (acceptor.clone(), address.clone());
                connections.spawn(async move {
                    let Ok(mut near) = acceptor.accept(stream).await else { return };
                    let mut far = TcpStream::connect(address).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { url, authority, _directory: directory, _tasks: tasks }
    }
}

fn source(url: &str, headers: &[(&str, &str)]) -> RemoteSource {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    RemoteSource { headers: headers.collect(), proxy: ProxyChoice::Direct, ..RemoteSource::new(url) }
}

fn remote(source: &RemoteSource, vault: &Arc<Vault>) -> Result<Remote, RemoteError> {
    Remote::new(source, &EnvironmentProxies::default(), &TenantName::default(), Arc::clone(vault) as _)
}

async fn publish(source: &RemoteSource, vault: &Arc<Vault>) -> Scene {
    let scene = Scene::new().await;
    let remote = Some(Arc::new(remote(source, vault).unwrap()));
    let upstream = Arc::new(At(source.url.clone()));
    scene.proxy.publish(Route {
        key: key("one"),
        wire: Wire::Http,
        upstream,
        chain: Arc::new(Chain::default()),
        remote,
        bridge: false,
        eras: Arc::new(Forgetful::default()),
        replicas: fairlead_proxy::Replicas::default(),
    });
    scene
}

fn address(server: &HttpServer) -> String {
    server.url.trim_start_matches("http://").trim_end_matches("/mcp").to_owned()
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_followed_there_by_a_server_of_the_outside() {
    let server = HttpServer::new(|_: &Seen| HttpServer::json(ANSWER)).await;
    let url = server.url.replace("127.0.0.1", "localhost");
    let vault = Arc::default();
    for (reach, status) in [(Reach::Any, 200), (Reach::Public, 503)] {
        let scene = publish(&RemoteSource { reach, ..source(&url, &[]) }, &vault).await;
        assert_eq!(scene.stranger().post(LIST).await.status, status, "{reach:?}");
    }
    assert_eq!(server.connections.load(std::sync::atomic::Ordering::Relaxed), 1, "it was not even connected to");
}

#[tokio::test]
async fn tls_needs_an_authority_that_is_trusted() {
    let server = HttpServer::new(|_: &Seen| HttpServer::json(ANSWER)).await;
    let door = TlsDoor::before(address(&server)).await;
    let vault = Arc::default();
    let trusting = RemoteSource { ca_file: Some(door.authority.clone()), ..source(&door.url, &[]) };
    let scene = publish(&trusting, &vault).await;
    for _ in 0..3 {
        assert_eq!(scene.stranger().post(LIST).await.text().await, ANSWER);
    }
    assert_eq!(server.connections.load(std::sync::atomic::Ordering::Relaxed), 1, "the connection is used again");
    assert!(!server.seen.lock()[0].headers.contains_key("x-forwarded-for"), "it does not learn who asks");

    // Under another name than its certificate's, and without its authority.
    for url in [door.url.replace("localhost", "127.0.0.1"), door.url.clone()] {
        let trust = (url != door.url).then(|| door.authority.clone());
        let scene = publish(&RemoteSource { ca_file: trust, ..source(&url, &[]) }, &vault).await;
        let reply = scene.stranger().post(LIST).await;
        assert_eq!(reply.status, 503, "{url}");
        let error = scene.proxy.probe(&key("one"), Duration::from_secs(10)).await.unwrap_err();
        let ProbeError::Broken(source) = &error else { panic!("{error}") };
        assert!(fairlead_text(&**source).contains("certificate"), "{}", fairlead_text(&**source));
    }
    assert_eq!(server.seen.lock().len(), 3);
}

fn fairlead_text(error: &(dyn std::error::Error + 'static)) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

#[tokio::test]
async fn a_file_without_certificates_is_refused_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, "no certificate").unwrap();
    for ca_file in [file, directory.path().join("nowhere.pem")] {
        let source = RemoteSource { ca_file: Some(ca_file), ..source("https://a.test/", &[]) };
        assert!(matches!(remote(&source, &Arc::default()), Err(RemoteError::CaFile { .. })));
    }
}

#[tokio::test]
async fn secrets_are_put_into_headers_when_a_request_leaves() {
    let server = HttpServer::new(|seen: &Seen| match seen.headers["authorization"].to_str() {
        Ok("Bearer new") => HttpServer::json(ANSWER),
        _ => HttpServer::reply(401, &[], ""),
    })
    .await;
    let vault = Arc::new(Vault::default());
    vault.0.lock().insert("token".to_owned(), "old".to_owned());
    let headers = [("authorization", "Bearer ${secret://store/token}"), ("x-team", "core")];
    let scene = publish(&source(&server.url, &headers), &vault).await;
    let client = scene.stranger();
    let theirs = [("x-team", "theirs")];
    assert_eq!(client.send(client.request(Method::POST, &theirs, LIST)).await.status, 401);
    // A refusal makes the host ask for the secret again.
    vault.0.lock().insert("token".to_owned(), "new".to_owned());
    assert_eq!(client.send(client.request(Method::POST, &theirs, LIST)).await.text().await, ANSWER);
    for seen in &*server.seen.lock() {
        assert_eq!(seen.headers["x-team"], "core");
    }
    let scene = publish(&source(&server.url, &[("authorization", "secret://store/absent")]), &vault).await;
    let reply = scene.stranger().post(LIST).await;
    assert_eq!(reply.status, 503);
    assert_eq!(server.seen.lock().len(), 2, "nothing leaves without its secret");
}

#[tokio::test]
async fn a_redirect_is_followed_at_home_and_nowhere_else() {
    let elsewhere = HttpServer::new(|_: &Seen| HttpServer::json(ANSWER)).await;
    let (told, far) = (Arc::new(Mutex::new(String::new())), elsewhere.url.clone());
    let location = Arc::clone(&told);
    let server = HttpServer::new(move |seen: &Seen| match seen.path.as_str() {
        "/mcp/" => HttpServer::json(ANSWER),
        "/round" => HttpServer::reply(307, &[("location", "/round")], ""),
        _ => HttpServer::reply(308, &[("location", location.lock().as_str())], ""),
    })
    .await;
    let vault = Arc::new(Vault::default());
    let scene = publish(&source(&server.url, &[("authorization", "Bearer x")]), &vault).await;
    "/mcp/".clone_into(&mut told.lock());
    assert_eq!(scene.stranger().post(LIST).await.text().await, ANSWER);
    assert_eq!(server.seen.lock()[1].body, LIST, "the message goes along");
    for there in [far, "//127.0.0.1:1/mcp".to_owned(), "/round".to_owned(), "https://localhost/mcp".to_owned()] {
        told.lock().clone_from(&there);
        assert_eq!(scene.stranger().post(LIST).await.status, 503, "{there}");
    }
    assert!(elsewhere.seen.lock().is_empty());
}

/// A forward proxy that keeps what it was asked.
async fn forward_proxy() -> (String, Arc<Mutex<Vec<String>>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            connections.spawn(async move {
                let mut head = Vec::new();
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    let mut piece = [0; 1024];
                    let read = near.read(&mut piece).await.unwrap();
                    head.extend_from_slice(&piece[..read]);
                }
                let text = String::from_utf8_lossy(&head).into_owned();
                seen.lock().push(text.clone());
                let first: Vec<&str> = text.split(' ').take(2).collect();
                if first[0] == "CONNECT" {
                    let mut far = TcpStream::connect(first[1]).await.unwrap();
                    near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                } else {
                    let reply = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{ANSWER}",
                        ANSWER.len()
                    );
                    near.write_all(reply.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (url, heads, tasks)
}

#[tokio::test]
async fn a_forward_proxy_opens_a_tunnel_for_tls_and_forwards_what_is_plain() {
    let server = HttpServer::new(|_: &Seen| HttpServer::json(ANSWER)).await;
    let door = TlsDoor::before(address(&server)).await;
    let (url, heads, _tasks) = forward_proxy().await;
    let vault = Arc::default();
    let through = ProxyChoice::Url { url };
    let tunnelled = RemoteSource {
        ca_file: Some(door.authority.clone()),
        proxy: through.clone(),
        ..source(&door.url, &[("authorization", "Bearer x")])
    };
    let scene = publish(&tunnelled, &vault).await;
    assert_eq!(scene.stranger().post(LIST).await.text().await, ANSWER);
    let head = heads.lock().remove(0);
    assert!(head.starts_with("CONNECT localhost:"), "{head}");
    assert!(!head.contains("Bearer"), "the proxy sees no header of the request: {head}");

    let plain = RemoteSource { proxy: through, ..source("http://mcp.test/v1?x=1", &[]) };
    let scene = publish(&plain, &vault).await;
    assert_eq!(scene.stranger().post(LIST).await.text().await, ANSWER);
    let head = heads.lock().remove(0);
    assert!(head.starts_with("POST http://mcp.test/v1?x=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("host: mcp.test\r\n"), "{head}");
}

#[tokio::test]
async fn a_server_that_wants_to_know_who_calls_says_so_to_whoever_adds_it() {
    let server = HttpServer::new(|_: &Seen| HttpServer::reply(401, &[("www-authenticate", "Bearer")], "")).await;
    let scene = publish(&source(&server.url, &[]), &Arc::default()).await;
    let error = scene.proxy.probe(&key("one"), Duration::from_secs(10)).await.unwrap_err();
    assert!(error.to_string().contains("401") && error.to_string().contains("--header-secret"), "{error}");
    let reply = scene.stranger().post(json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string()).await;
    assert_eq!((reply.status.as_u16(), reply.headers["www-authenticate"].to_str().unwrap()), (401, "Bearer"));
}
