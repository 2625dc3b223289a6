//! A container engine, asked directly: images made of programs that are here, and what runs on it for a home.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::cli::Cli;
use crate::home::Home;
use crate::limits::COMMAND;

/// Who runs in a container of an image that is made here.
const NOBODY: &str = "65532:65532";

/// An engine with one image on it.
#[derive(Debug)]
pub struct Engine {
    /// Where it listens.
    pub socket: PathBuf,
    /// The image.
    pub image: String,
    /// What is in its images.
    program: PathBuf,
}

impl Engine {
    /// The engine that `fairlead doctor` finds first, with a program on it as an image. `None`, and said so, where there is
    /// none; where `CI=true` there must be one.
    ///
    /// # Errors
    /// The engine does not take the image.
    pub async fn found(cli: &Cli, program: &Path) -> Result<Option<Self>> {
        let report = cli.json(["doctor"]).await?;
        let engines = report.get("engines").and_then(Value::as_array).context("engines")?;
        let is = |engine: &&Value| engine.pointer("/outcome/is").is_some_and(|outcome| outcome == "answering");
        let Some(engine) = engines.iter().find(is).filter(|_| cfg!(target_os = "linux")) else {
            ensure!(std::env::var("CI").as_deref() != Ok("true"), "CI must have a container engine: {report}");
            eprintln!("skipped: no container engine answers, or this program is not built for Linux");
            return Ok(None);
        };
        let address = engine.get("address").and_then(Value::as_str).context("an address")?;
        let socket = address.strip_prefix("unix://").context("a socket")?.into();
        Self::at(socket, program).await.map(Some)
    }

    /// The engine behind a socket, with a program on it as an image.
    ///
    /// # Errors
    /// The engine does not take the image.
    pub async fn at(socket: PathBuf, program: &Path) -> Result<Self> {
        // Of its own for each, for each removes it at its end.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let image = format!("fairlead-test-server:{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let engine = Self { socket, image, program: program.to_owned() };
        engine.make(&engine.image, &[], &[]).await?;
        Ok(engine)
    }

    /// The engine behind a socket, as it is.
    #[must_use]
    pub fn behind(socket: PathBuf) -> Self {
        Self { socket, image: String::new(), program: PathBuf::new() }
    }

    /// The program and the libraries that it is linked to, as an image of this name, with arguments and an environment.
    ///
    /// # Errors
    /// The engine does not take it.
    pub async fn make(&self, image: &str, args: &[&str], env: &[&str]) -> Result<()> {
        let root = libraries(&self.program, &[])?;
        std::fs::copy(&self.program, root.path().join("server"))?;
        let command: Vec<String> = ["/server"].iter().chain(args).map(|word| format!("%22{word}%22")).collect();
        let mut changes = format!("&changes=ENTRYPOINT%20%5B{}%5D", command.join(","));
        for variable in env {
            changes += &format!("&changes=ENV%20{variable}");
        }
        // Whoever runs it may ask that it is not root, and then an image has to say who else.
        changes += &format!("&changes=USER%20{NOBODY}");
        self.import(root.path(), image, &changes).await
    }

    /// What a program is linked to as an image without it, to make another one on, with files that are there where they are here.
    ///
    /// # Errors
    /// The engine does not take it.
    pub async fn make_base(&self, program: &Path, files: &[&Path], image: &str) -> Result<()> {
        self.import(libraries(program, files)?.path(), image, "").await
    }

    async fn import(&self, root: &Path, image: &str, changes: &str) -> Result<()> {
        let (name, tag) = image.rsplit_once(':').context("a tag")?;
        let path = format!("/images/create?fromSrc=-&repo={name}&tag={tag}{changes}");
        self.ask(Method::POST, &path, archive(root)?).await.map(drop)
    }

    /// Builds a directory with a `Containerfile` into an image of this name, as an engine without BuildKit does.
    ///
    /// # Errors
    /// A step of it fails; the error has what the engine said.
    pub async fn build(&self, directory: &Path, image: &str, arguments: &Value) -> Result<()> {
        let arguments: String = arguments.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
        // Nothing of it is shared with another test, which removes what it has made.
        let path = format!("/build?dockerfile=Containerfile&t={image}&buildargs={arguments}&nocache=true&forcerm=true");
        let said = self.ask(Method::POST, &path, archive(directory)?).await?;
        let said = String::from_utf8_lossy(&said);
        // It has said that all is well before it begins.
        ensure!(!said.contains(r#""error":"#), "{said}");
        Ok(())
    }

    /// Containers of a daemon's home, running or not.
    ///
    /// # Errors
    /// The engine does not say.
    pub async fn containers(&self, home: &Home) -> Result<Vec<Value>> {
        let home = std::fs::read_to_string(home.path().join("state/home-id"))?;
        let all = self.ask(Method::GET, "/containers/json?all=true", Bytes::new()).await?;
        let all: Vec<Value> = serde_json::from_slice(&all)?;
        let is_ours = |container: &Value| {
            let labels = container.get("Labels").and_then(Value::as_object);
            labels.is_some_and(|labels| labels.values().any(|value| value == home.trim()))
        };
        Ok(all.into_iter().filter(is_ours).collect())
    }

    /// The time of this machine as an engine writes it, which has the same: from when [`starts`](Self::starts) counts.
    ///
    /// # Errors
    /// The clock is before 1970.
    pub fn now() -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        Ok(format!("{}.{:09}", now.as_secs(), now.subsec_nanos()))
    }

    /// How the containers of a home have come up since a moment, from the engine's events.
    ///
    /// # Errors
    /// The engine does not say.
    pub async fn starts(&self, home: &Home, since: &str) -> Result<Starts> {
        let home = std::fs::read_to_string(home.path().join("state/home-id"))?;
        let filters = format!("%7B%22label%22%3A%5B%22fairlead.dev%2Fhome%3D{}%22%5D%7D", home.trim());
        let path = format!("/events?since={since}&until={}&filters={filters}", Self::now()?);
        let events = self.ask(Method::GET, &path, Bytes::new()).await?;
        let (mut under_way, mut at_once_max, mut order) = (0_usize, 0, Vec::new());
        for line in events.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let event: Value = serde_json::from_slice(line)?;
            match event.get("Action").and_then(Value::as_str) {
                Some("create") => {
                    under_way += 1;
                    at_once_max = at_once_max.max(under_way);
                    let server = event.pointer("/Actor/Attributes/fairlead.dev~1server").and_then(Value::as_str);
                    let server = server.context("a container without a server")?.to_owned();
                    if !order.contains(&server) {
                        order.push(server);
                    }
                }
                Some("start") => under_way = under_way.saturating_sub(1),
                _ => {}
            }
        }
        let mut sorted = order.clone();
        sorted.sort();
        let place = |server: &String| sorted.iter().position(|other| other == server).unwrap_or_default();
        let displaced = order.iter().enumerate().map(|(at, server)| place(server).abs_diff(at));
        Ok(Starts { at_once_max, displaced_max: displaced.max().unwrap_or_default() })
    }

    /// Brings an image to the OCI registry that its name names, and forgets the name: the digest that it has there.
    ///
    /// # Errors
    /// The engine does not push it.
    pub async fn push(&self, image: &str) -> Result<String> {
        let (name, tag) = image.rsplit_once(':').context("a tag")?;
        let said = self.ask(Method::POST, &format!("/images/{name}/push?tag={tag}"), Bytes::new()).await?;
        let said = String::from_utf8_lossy(&said);
        let pushed = said.lines().find_map(|line| line.split_once("digest: ")?.1.split_whitespace().next());
        let digest = pushed.with_context(|| format!("the engine does not push: {said}"))?.to_owned();
        self.forget(image).await?;
        Ok(digest)
    }

    /// Takes the name of an image away, and with the last one the image.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn forget(&self, image: &str) -> Result<()> {
        self.ask(Method::DELETE, &format!("/images/{image}?force=true"), Bytes::new()).await.map(drop)
    }

    /// Removes the image.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn done(self) -> Result<()> {
        self.forget(&self.image).await
    }

    /// Asks the engine.
    ///
    /// # Errors
    /// It does not answer in time, or refuses.
    pub async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        self.exchange(method, path, "application/x-tar", body).await
    }

    /// Asks the engine in JSON; `null` is nothing, in both directions.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn tell(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let said = self.exchange(method, path, "application/json", body).await?;
        if said.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&said)?) }
    }

    /// What a container has printed.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn log(&self, container: &str) -> Result<String> {
        let path = format!("/containers/{container}/logs?stdout=true&stderr=true");
        Ok(String::from_utf8_lossy(&self.ask(Method::GET, &path, Bytes::new()).await?).into_owned())
    }

    async fn exchange(&self, method: Method, path: &str, kind: &str, body: Bytes) -> Result<Bytes> {
        let exchange = async {
            let stream = UnixStream::connect(&self.socket).await.context("connect to the engine")?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let mut connections = JoinSet::new();
            connections.spawn(connection);
            let request = Request::builder().method(method).uri(path).header("host", "engine");
            // To push, an engine wants to be told that there is nothing to tell.
            let request = request.header("x-registry-auth", "e30=");
            let request = request.header("content-type", kind).body(Full::new(body))?;
            let response = sender.send_request(request).await.context("ask the engine")?;
            let status = response.status();
            let bytes = response.into_body().collect().await?.to_bytes();
            ensure!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&bytes));
            Ok(bytes)
        };
        tokio::time::timeout(COMMAND, exchange).await.context("the engine does not answer")?
    }
}

/// The libraries that a program is linked to, and files, where they are here.
fn libraries(program: &Path, files: &[&Path]) -> Result<TempDir> {
    let root = tempfile::tempdir()?;
    // It becomes `/`, and whoever runs in it is not who made it.
    std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755))?;
    let linked = Command::new("ldd").arg(program).output().context("ldd")?;
    let text = String::from_utf8(linked.stdout)?;
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new);
    for file in libraries.chain(files.iter().copied()) {
        let copy = root.path().join(file.strip_prefix("/")?);
        std::fs::create_dir_all(copy.parent().unwrap_or(Path::new("/")))?;
        std::fs::copy(file, copy)?;
    }
    Ok(root)
}

fn archive(directory: &Path) -> Result<Bytes> {
    let tar = Command::new("tar").arg("-C").arg(directory).args(["-cf", "-", "."]).output()?;
    ensure!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    Ok(tar.stdout.into())
}

/// How containers came up.
#[derive(Debug, Clone, Copy)]
pub struct Starts {
    /// Most that were between their creation and their start at the same moment.
    pub at_once_max: usize,
    /// How far the first container of a server was from its place in the order of names, at most.
    pub displaced_max: usize,
}

/// Ids of containers, as [`Engine::containers`] gives them.
#[must_use]
pub fn ids(containers: &[Value]) -> Vec<String> {
    containers.iter().filter_map(|container| container.get("Id")?.as_str().map(str::to_owned)).collect()
}
