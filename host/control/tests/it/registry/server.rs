//! An OCI registry that is as faulty as it is told to be: real HTTP on loopback, each request answered by a function.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlead_core::image::ImageReference;
use fairlead_oci::{digest_of, media_types};
use parking_lot::Mutex;
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
pub(crate) enum Said {
    /// This one.
    This { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8> },
    /// Half of it, and then the connection ends.
    Half(Vec<u8>),
    /// None: the connection stays open.
    Nothing,
}

pub(crate) fn said(status: u16, headers: Vec<(&'static str, String)>) -> Said {
    Said::This { status, headers, body: Vec::new() }
}

type Script = Arc<dyn Fn(&Asked) -> Said + Send + Sync>;

/// A registry made of one function.
pub(crate) struct Registry {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    script: Arc<Mutex<Script>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Registry {
    pub(crate) async fn new(script: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let this = Arc::new(Self {
            address,
            asked: Arc::default(),
            script: Arc::new(Mutex::new(Arc::new(script))),
            tasks: Mutex::default(),
        });
        this.listen(listener);
        this
    }

    fn listen(&self, listener: TcpListener) {
        let (log, script) = (Arc::clone(&self.asked), Arc::clone(&self.script));
        self.tasks.lock().spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&log), Arc::clone(&script)));
            }
        });
    }

    /// From now on it answers like this.
    pub(crate) fn becomes(&self, script: impl Fn(&Asked) -> Said + Send + Sync + 'static) {
        *self.script.lock() = Arc::new(script);
    }

    /// Nobody listens any more.
    pub(crate) async fn goes_down(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
    }

    /// Somebody does again, at the same address.
    pub(crate) async fn comes_back(&self) {
        self.listen(TcpListener::bind(&self.address).await.unwrap());
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    /// Requests whose line begins like this.
    pub(crate) fn count(&self, begins: &str) -> usize {
        self.asked.lock().iter().filter(|asked| format!("{} {}", asked.method, asked.path).starts_with(begins)).count()
    }

    pub(crate) fn forget(&self) {
        self.asked.lock().clear();
    }

    pub(crate) fn reference(&self, rest: &str) -> ImageReference {
        ImageReference::new(&format!("{}/{rest}", self.address)).unwrap()
    }
}

async fn serve(stream: TcpStream, log: Arc<Mutex<Vec<Asked>>>, script: Arc<Mutex<Script>>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
        return;
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let asked = Asked { method, path, headers };
    log.lock().push(asked.clone());
    let script = Arc::clone(&script.lock());
    let (head, body) = match script(&asked) {
        Said::This { status, headers, body } => {
            let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            (format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n{headers}", body.len()), body)
        }
        Said::Half(body) => (format!("HTTP/1.1 200 x\r\ncontent-length: {}\r\n", body.len() * 2), body),
        Said::Nothing => {
            // Until the other side has had enough.
            let _ = stream.read(&mut [0]).await;
            return;
        }
    };
    let _ = stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).await;
    if asked.method != "HEAD" {
        let _ = stream.write_all(&body).await;
    }
    let _ = stream.shutdown().await;
}

/// What a registry holds: an image with a manifest of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) body: Vec<u8>,
    pub(crate) media_type: &'static str,
}

impl Image {
    /// Images with different numbers have different digests.
    pub(crate) fn number(number: u32) -> Self {
        let body = format!(r#"{{"schemaVersion":2,"layers":[],"annotations":{{"number":"{number}"}}}}"#);
        Self { body: body.into_bytes(), media_type: media_types::MANIFEST }
    }

    /// An index of images for these machines.
    pub(crate) fn index(of: &[(&str, &str)]) -> Self {
        let manifests: Vec<_> = of
            .iter()
            .map(|(architecture, digest)| {
                serde_json::json!({
                    "mediaType": media_types::MANIFEST, "digest": digest, "size": 2,
                    "platform": {"os": "linux", "architecture": architecture},
                })
            })
            .collect();
        let body = serde_json::json!({"schemaVersion": 2, "mediaType": media_types::INDEX, "manifests": manifests});
        Self { body: body.to_string().into_bytes(), media_type: media_types::INDEX }
    }

    pub(crate) fn digest(&self) -> String {
        digest_of(&self.body)
    }

    /// How a sound registry answers a question about a manifest.
    pub(crate) fn told(&self) -> Said {
        let headers = vec![("docker-content-digest", self.digest()), ("content-type", self.media_type.to_owned())];
        Said::This { status: 200, headers, body: self.body.clone() }
    }
}
