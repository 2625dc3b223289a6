//! A registry that does as it is told, and a client for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fairlead_core::BoxFuture;
use fairlead_core::clock::Clock;
use fairlead_core::dial::Anywhere;
use fairlead_core::image::ImageReference;
use fairlead_core::name::TenantName;
use fairlead_core::oci::{Credential, CredentialError, CredentialSource};
use fairlead_dial::NetDialer;
use fairlead_oci::{InsecureRegistries, OciClient, OciClientConfig};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn said(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Said {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Said { status, headers, body: body.to_vec() }
}

type Script = Arc<dyn Fn(&Asked) -> Said + Send + Sync>;

/// A registry made of one function.
pub(crate) struct Scripted {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

impl Scripted {
    pub(crate) async fn new(script: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, script): (_, Script) = (Arc::clone(&asked), Arc::new(script));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&log), Arc::clone(&script)));
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Method and path of everything, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect()
    }

    pub(crate) fn reference(&self, rest: &str) -> ImageReference {
        ImageReference::new(&format!("{}/{rest}", self.address)).unwrap()
    }
}

async fn serve(stream: TcpStream, log: Arc<Mutex<Vec<Asked>>>, script: Script) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
        return;
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::<String, String>::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let Some((name, value)) = line.trim().split_once(':') else { break };
        let value = value.trim();
        headers
            .entry(name.to_ascii_lowercase())
            .and_modify(|known| *known = format!("{known}, {value}"))
            .or_insert_with(|| value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let asked = Asked { method, path, headers };
    log.lock().unwrap().push(asked.clone());
    let said = script(&asked);
    let mut head = format!("HTTP/1.1 {} x\r\nconnection: close\r\n", said.status);
    for (name, value) in &said.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !said.headers.iter().any(|(name, _)| name == "content-length") {
        head += &format!("content-length: {}\r\n", said.body.len());
    }
    head += "\r\n";
    let _ = stream.write_all(head.as_bytes()).await;
    if asked.method != "HEAD" {
        let _ = stream.write_all(&said.body).await;
    }
    let _ = stream.shutdown().await;
}

/// Credentials by tenant.
pub(crate) struct ByTenant(pub(crate) Vec<(&'static str, Credential)>);

impl CredentialSource for ByTenant {
    fn find<'a>(&'a self, tenant: &'a TenantName, _: &'a str) -> BoxFuture<'a, Result<Credential, CredentialError>> {
        let found = self.0.iter().find(|(name, _)| *name == tenant.as_str());
        Box::pin(async move { Ok(found.map_or(Credential::Anonymous, |(_, credential)| credential.clone())) })
    }
}

struct Then;

impl Clock for Then {
    fn now(&self) -> jiff::Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }
}

pub(crate) fn client(credentials: ByTenant) -> OciClient {
    OciClient::new(OciClientConfig {
        dialer: Arc::new(NetDialer::new()),
        admission: Arc::new(Anywhere),
        credentials: Arc::new(credentials),
        insecure: InsecureRegistries::default(),
        clock: Arc::new(Then),
    })
}

pub(crate) fn anonymous() -> OciClient {
    client(ByTenant(Vec::new()))
}

pub(crate) fn password(username: &str) -> Credential {
    Credential::Password { username: username.to_owned(), password: "p".to_owned() }
}

pub(crate) fn tenant(name: &str) -> TenantName {
    TenantName::new(name).unwrap()
}
