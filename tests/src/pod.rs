//! `fairlead proxy pod` as plain processes of this machine, with what stands around it in a cluster: servers that listen, and a
//! Redis.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use http::{Method, Request};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::binary;
use crate::home::Home;
use crate::limits::{READY, SETTLE};
use crate::mcp::Client;
use crate::process::terminate;
use crate::wait::eventually;

/// A data plane of one server. Dropping it kills it, and shows what it printed.
#[derive(Debug)]
pub struct Pod {
    child: Child,
    address: String,
    probes: String,
    home: Home,
}

impl Pod {
    /// Starts one on a configuration.
    ///
    /// # Errors
    /// It does not get ready in time; the error has what it said.
    pub async fn start(config: &Value) -> Result<Self> {
        Self::start_with(config, &[], &[]).await
    }

    /// The same, with more arguments and environment.
    ///
    /// # Errors
    /// It does not get ready in time; the error has what it said.
    pub async fn start_with(config: &Value, args: &[&str], env: &[(&str, &str)]) -> Result<Self> {
        let home = Home::new()?;
        let mut file = NamedTempFile::new_in(home.path()).context("write the configuration")?;
        file.write_all(config.to_string().as_bytes())?;
        let (_, file) = file.keep().context("keep the configuration")?;
        let (stdout, stderr) = (output_of(&home, "stdout"), output_of(&home, "stderr"));
        let mut child = Command::new(binary::fairlead()?)
            .args(["proxy", "pod", "--address", "127.0.0.1:0", "--probe-address", "127.0.0.1:0", "--format", "json"])
            .arg("--file")
            .arg(file)
            .args(args)
            .env("FAIRLEAD_HOME", home.path())
            .env("NO_COLOR", "1")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&stdout)?)
            .stderr(std::fs::File::create(&stderr)?)
            .kill_on_drop(true)
            .spawn()
            .context("start the pod")?;
        let told = eventually("the pod is ready", READY, async || {
            let line = std::fs::read_to_string(&stdout)?;
            if let Some(line) = line.lines().next() {
                return Ok(Ok(serde_json::from_str::<Value>(line)?));
            }
            if let Some(status) = child.try_wait()? {
                return Ok(Err(status));
            }
            bail!("it has not named its address")
        });
        let said = || std::fs::read_to_string(&stderr).unwrap_or_default();
        let told = told.await?.map_err(|status| anyhow::anyhow!("the pod ended at its start: {status}\n{}", said()))?;
        let text = |name: &str| told.get(name).and_then(Value::as_str).map(str::to_owned).context("an address");
        Ok(Self { child, address: text("address")?, probes: text("probeAddress")?, home })
    }

    /// Where clients find the server.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// What it says at a path of its probes: status and text.
    ///
    /// # Errors
    /// It says nothing.
    pub async fn probe(&self, path: &str) -> Result<(u16, String)> {
        let client = Client::new(&format!("http://{}{path}", self.probes))?;
        let reply = client.send(client.http(Method::GET).body(Full::default())?).await?;
        let status = reply.status.as_u16();
        Ok((status, String::from_utf8_lossy(&reply.bytes().await?).into_owned()))
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Errors
    /// The operating system refuses.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("kill the pod")
    }

    /// Asks it to end.
    ///
    /// # Errors
    /// It has ended already.
    pub fn ask_to_end(&self) -> Result<()> {
        terminate(self.child.id().context("it has ended")?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        tokio::time::timeout(SETTLE, self.child.wait()).await.context("the pod does not end")?.context("wait for it")
    }

    /// What it has printed to standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(output_of(&self.home, "stderr")).unwrap_or_default()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        println!("{}", self.stderr());
    }
}

/// A plugin as the operator pins it: an attachment whose `plugin` is a path becomes a link with the digest of what lies there.
///
/// # Errors
/// Nothing lies there.
pub async fn link(attachment: &Value) -> Result<Value> {
    let path = attachment.get("plugin").and_then(Value::as_str).context("the path of a plugin")?;
    let sum = Command::new("sha256sum").arg(path).output().await.context("sha256sum")?;
    let sum = String::from_utf8(sum.stdout)?;
    let digest = format!("sha256:{}", sum.split(' ').next().unwrap_or_default());
    let name = Path::new(path).file_stem().and_then(|stem| stem.to_str()).context("a name")?;
    let mut pinned = attachment.clone();
    pinned.as_object_mut().context("an attachment")?.insert("plugin".to_owned(), name.into());
    Ok(serde_json::json!({"level": "server", "attachment": pinned, "source": path, "digest": digest}))
}

/// Numbers that look random and are the same in each run.
#[derive(Debug)]
pub struct Dice(AtomicU64);

impl Dice {
    /// Begins at a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A number below `sides`.
    #[must_use]
    pub fn throw(&self, sides: usize) -> usize {
        // SplitMix64.
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from(mixed >> 33).unwrap_or_default().checked_rem(sides).unwrap_or_default()
    }
}

/// A load balancer that sends each request wherever it likes.
#[derive(Debug)]
pub struct Balancer {
    url: String,
    _serving: JoinSet<()>,
}

impl Balancer {
    /// One in front of pods.
    ///
    /// # Errors
    /// There is no port.
    pub async fn before(pods: &[Pod]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/mcp", listener.local_addr()?);
        let addresses: Arc<[String]> = pods.iter().map(|pod| pod.address.clone()).collect();
        let client = HttpClient::builder(TokioExecutor::new()).build_http::<Incoming>();
        let dice = Arc::new(Dice::new(3));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (addresses, client, dice) = (Arc::clone(&addresses), client.clone(), Arc::clone(&dice));
                let service = service_fn(move |mut request: Request<Incoming>| {
                    let address = addresses.get(dice.throw(addresses.len())).cloned().unwrap_or_default();
                    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                    let uri = format!("http://{address}{path}").parse();
                    let client = client.clone();
                    async move {
                        *request.uri_mut() = uri?;
                        Ok::<_, anyhow::Error>(client.request(request).await?)
                    }
                });
                connections.spawn(async move {
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { url, _serving: serving })
    }

    /// Where clients come.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn output_of(home: &Home, name: &str) -> PathBuf {
    home.logs().join(name)
}

/// The test server on a port, which nobody supervises. Dropping it ends it.
#[derive(Debug)]
pub struct Backend {
    _child: Child,
    port: u16,
}

impl Backend {
    /// Starts one that speaks streamable HTTP.
    ///
    /// # Errors
    /// It does not listen in time.
    pub async fn start(port: u16) -> Result<Self> {
        let program = binary::test_server()?;
        let child = started(Command::new(program).args(["--http", &port.to_string()]))?;
        listens(port).await?;
        Ok(Self { _child: child, port })
    }

    /// How a configuration names it.
    #[must_use]
    pub fn upstream(&self) -> Value {
        let transport = serde_json::json!({"kind": "streamable-http", "port": self.port, "path": "/mcp"});
        serde_json::json!({"kind": "service", "origin": format!("http://127.0.0.1:{}", self.port), "transport": transport})
    }
}

/// A real Redis, which writes down what it is told. Dropping it ends it.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    directory: TempDir,
    port: u16,
    is_encrypted: bool,
}

/// Its password.
const PASSWORD: &str = "not a secret";

impl Redis {
    /// Starts one on a port. `None`, and said so, where this machine has none; where `CI=true` it must.
    ///
    /// # Errors
    /// It does not listen in time.
    pub async fn start(port: u16) -> Result<Option<Self>> {
        Self::start_with(port, tempfile::tempdir()?, false).await
    }

    /// The same, which speaks nothing but TLS. Its certificate is for `name`, and signed by [`Self::authority`].
    ///
    /// # Errors
    /// It does not listen in time, or there is no openssl.
    pub async fn start_encrypted(port: u16, name: &str) -> Result<Option<Self>> {
        let directory = tempfile::tempdir()?;
        // Two of one name would be told apart by their signatures only.
        let (name, authority) = (format!("subjectAltName={name}"), format!("/CN=authority of {port}"));
        openssl(
            directory.path(),
            &["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
            &["-subj", &authority, "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"],
        )
        .await?;
        openssl(
            directory.path(),
            &["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
            &["-subj", "/CN=redis", "-addext", &name, "-keyout", "redis.key", "-out", "redis.csr"],
        )
        .await?;
        openssl(
            directory.path(),
            &["x509", "-req", "-in", "redis.csr", "-copy_extensions", "copy", "-days", "2"],
            &["-CA", "ca.pem", "-CAkey", "ca.key", "-out", "redis.pem"],
        )
        .await?;
        Self::start_with(port, directory, true).await
    }

    /// The certificate of whoever signed that of an encrypted one.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    async fn start_with(port: u16, directory: TempDir, is_encrypted: bool) -> Result<Option<Self>> {
        match spawned(directory.path(), port, is_encrypted) {
            Ok(child) => {
                listens(port).await?;
                Ok(Some(Self { child, directory, port, is_encrypted }))
            }
            Err(error) => {
                ensure!(std::env::var("CI").as_deref() != Ok("true"), "CI must have a redis-server: {error:#}");
                eprintln!("skipped: there is no redis-server here ({error:#})");
                Ok(None)
            }
        }
    }

    /// How a configuration names it.
    #[must_use]
    pub fn storage(&self) -> Value {
        serde_json::json!({"provider": "redis", "address": format!("127.0.0.1:{}", self.port), "db": 2, "keyPrefix": "test:"})
    }

    /// What a data plane needs beside that.
    #[must_use]
    pub fn env(&self) -> [(&'static str, &'static str); 1] {
        [("FAIRLEAD_SESSION_STORAGE_PASSWORD", PASSWORD)]
    }

    /// Makes every value longer than so many bytes, as somebody might who has the password as well.
    ///
    /// # Errors
    /// It does not answer, or is an encrypted one.
    pub async fn lengthen(&self, bytes: usize) -> Result<()> {
        ensure!(!self.is_encrypted, "nobody here speaks TLS");
        let script = format!(
            "for _, k in ipairs(redis.call('keys', '*')) do redis.call('setrange', k, {bytes}, 'x') end return 7"
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let said = format!("AUTH \"{PASSWORD}\"\r\nSELECT 2\r\nEVAL \"{script}\" 0\r\n");
        stream.write_all(said.as_bytes()).await?;
        let mut answers = [0; 14];
        tokio::time::timeout(SETTLE, stream.read_exact(&mut answers)).await.context("no answer")??;
        ensure!(answers == *b"+OK\r\n+OK\r\n:7\r\n", "{}", String::from_utf8_lossy(&answers));
        Ok(())
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Errors
    /// The operating system refuses.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("kill redis-server")
    }

    /// Starts it again, with what it had written down.
    ///
    /// # Errors
    /// It does not listen in time.
    pub async fn start_again(&mut self) -> Result<()> {
        self.child = spawned(self.directory.path(), self.port, self.is_encrypted)?;
        listens(self.port).await
    }

    /// All that it has written down, as bytes.
    ///
    /// # Errors
    /// Nothing can be read.
    pub fn written(&self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut open = vec![self.directory.path().to_owned()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory)?.flatten() {
                if entry.file_type()?.is_dir() {
                    open.push(entry.path());
                } else {
                    all.extend(std::fs::read(entry.path())?);
                }
            }
        }
        Ok(all)
    }
}

async fn openssl(directory: &Path, what: &[&str], how: &[&str]) -> Result<()> {
    let output = Command::new("openssl").args(what).args(how).current_dir(directory).output();
    let output =
        tokio::time::timeout(SETTLE, output).await.context("openssl does not end")?.context("start openssl")?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn spawned(directory: &Path, port: u16, is_encrypted: bool) -> Result<Child> {
    let (mut command, port) = (Command::new("redis-server"), port.to_string());
    command.args(["--bind", "127.0.0.1", "--requirepass", PASSWORD]);
    if is_encrypted {
        command.args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"]);
        for (name, file) in [("cert", "redis.pem"), ("key", "redis.key"), ("ca-cert", "ca.pem")] {
            command.arg(format!("--tls-{name}-file")).arg(directory.join(file));
        }
    } else {
        command.args(["--port", &port]);
    }
    command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir"]).arg(directory);
    started(&mut command)
}

fn started(command: &mut Command) -> Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().with_context(|| format!("start {command:?}"))
}

async fn listens(port: u16) -> Result<()> {
    let what = format!("somebody listens on {port}");
    eventually(&what, READY, async || Ok(TcpStream::connect(("127.0.0.1", port)).await.map(drop)?)).await
}
