//! Images in a real registry, signed with OpenSSL in the two forms that cosign writes: what was signed runs, by the digest
//! that was signed, and nothing else does.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use fairlead_tests::{Cli, Daemon, Home};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::containers::engine;
use crate::distribution::Registry;

/// A key pair of OpenSSL.
struct Signer(tempfile::TempDir);

impl Signer {
    fn new() -> Self {
        let signer = Self(tempfile::tempdir().unwrap());
        let key = signer.path("cosign.key");
        openssl(&["genpkey", "-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &key], b"");
        openssl(&["pkey", "-in", &key, "-pubout", "-out", &signer.path("cosign.pub")], b"");
        signer
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// In base64.
    fn sign(&self, message: &[u8]) -> String {
        let signature = openssl(&["dgst", "-sha256", "-sign", &self.path("cosign.key")], message);
        String::from_utf8(openssl(&["base64", "-A"], &signature)).unwrap()
    }
}

fn openssl(args: &[&str], input: &[u8]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("input");
    std::fs::write(&file, input).unwrap();
    let output = Command::new("openssl").args(args).stdin(std::fs::File::open(file).unwrap()).output().unwrap();
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn digest_of(content: &[u8]) -> String {
    let output = openssl(&["dgst", "-sha256", "-r"], content);
    format!("sha256:{}", String::from_utf8(output).unwrap().split_whitespace().next().unwrap())
}

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// An image that was pushed, and where signatures of it go.
struct Pushed<'a> {
    registry: &'a Registry,
    repository: &'static str,
    digest: String,
}

impl<'a> Pushed<'a> {
    fn new(registry: &'a Registry, image: &str, repository: &'static str) -> Self {
        let reference = registry.reference(&format!("{repository}:1"));
        docker(&["tag", image, &reference]);
        docker(&["push", "--quiet", &reference]);
        let named = docker(&["inspect", "--format", "{{range .RepoDigests}}{{println .}}{{end}}", &reference]);
        let known = named.lines().find_map(|line| line.strip_prefix(&format!("{}@", registry.reference(repository))));
        Self { registry, repository, digest: known.unwrap().to_owned() }
    }

    fn reference(&self) -> String {
        self.registry.reference(&format!("{}:1", self.repository))
    }

    /// As cosign 2 does: the text in a layer, the signature in an annotation, the manifest under a tag.
    async fn sign(&self, signer: &Signer, digest: &str) {
        let text = json!({"critical": {
            "identity": {"docker-reference": self.registry.reference(self.repository)},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        }, "optional": null});
        let text = text.to_string().into_bytes();
        let annotations = json!({"dev.cosignproject.cosign/signature": signer.sign(&text)});
        let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
        self.put(&format!("{}.sig", self.digest.replace(':', "-")), kind, text, annotations, None).await;
    }

    /// As cosign 3 does: a statement in an envelope, in a bundle that refers to the image.
    async fn sign_bundle(&self, signer: &Signer) {
        let hex = self.digest.strip_prefix("sha256:").unwrap();
        let kind = "https://sigstore.dev/cosign/sign/v1";
        let statement = json!({"subject": [{"digest": {"sha256": hex}}], "predicateType": kind}).to_string();
        let payload_type = "application/vnd.in-toto+json";
        let message = format!("DSSEv1 {} {payload_type} {} {statement}", payload_type.len(), statement.len());
        let payload = String::from_utf8(openssl(&["base64", "-A"], statement.as_bytes())).unwrap();
        let signatures = json!([{"sig": signer.sign(message.as_bytes())}]);
        let envelope = json!({"payload": payload, "payloadType": payload_type, "signatures": signatures});
        let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
        let bundle = json!({"mediaType": kind, "dsseEnvelope": envelope}).to_string().into_bytes();
        let manifest = self.put("bundle", kind, bundle, json!({}), Some(&self.digest)).await;
        // This registry knows no referrers, as many do not: a tag takes their place.
        let one = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": kind,
            "digest": digest_of(&manifest),
            "size": manifest.len(),
        });
        let index = "application/vnd.oci.image.index.v1+json";
        let listed = json!({"schemaVersion": 2, "mediaType": index, "manifests": [one]}).to_string();
        self.ask(Method::PUT, &format!("manifests/{}", self.digest.replace(':', "-")), index, listed.into()).await;
    }

    async fn put(&self, tag: &str, kind: &str, content: Vec<u8>, annotations: Value, subject: Option<&str>) -> Vec<u8> {
        let layer = json!({"mediaType": kind, "digest": digest_of(&content), "size": content.len(), "annotations": annotations});
        let config =
            json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(b"{}"), "size": 2});
        self.blob(content).await;
        self.blob(b"{}".to_vec()).await;
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        let mut described = json!({"schemaVersion": 2, "mediaType": manifest, "config": config, "layers": [layer]});
        if let Some(subject) = subject {
            described["subject"] = json!({"mediaType": manifest, "digest": subject, "size": 1});
        }
        let described = described.to_string().into_bytes();
        self.ask(Method::PUT, &format!("manifests/{tag}"), manifest, described.clone()).await;
        described
    }

    async fn blob(&self, content: Vec<u8>) {
        let digest = digest_of(&content);
        let location = self.ask(Method::POST, "blobs/uploads/", "application/octet-stream", Vec::new()).await;
        let (_, path) = location.split_once(&format!("/v2/{}/", self.repository)).unwrap();
        self.ask(Method::PUT, &format!("{path}&digest={digest}"), "application/octet-stream", content).await;
    }

    /// Where the answer leads to.
    async fn ask(&self, method: Method, path: &str, kind: &str, body: Vec<u8>) -> String {
        let asked = async {
            let stream = TcpStream::connect(self.registry.address()).await.context("connect to the registry")?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let mut connections = JoinSet::new();
            connections.spawn(connection);
            let request = Request::builder().method(method).uri(format!("/v2/{}/{path}", self.repository));
            let request = request.header("host", self.registry.address()).header("content-type", kind);
            let response = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
            let status = response.status();
            let location =
                response.headers().get("location").and_then(|to| to.to_str().ok()).unwrap_or_default().to_owned();
            let text = response.into_body().collect().await?.to_bytes();
            ensure!(
                matches!(status, StatusCode::CREATED | StatusCode::ACCEPTED),
                "{status}: {}",
                String::from_utf8_lossy(&text)
            );
            Ok::<_, anyhow::Error>(location)
        };
        asked.await.unwrap()
    }
}

/// A daemon whose images must be signed with this key.
async fn daemon(registry: &Registry, signer: &Signer) -> (Daemon, Cli) {
    let home = Home::new().unwrap();
    write_config(home.path(), registry, signer).unwrap();
    let daemon = Daemon::start_in(home).await.unwrap();
    let cli = daemon.cli().unwrap();
    (daemon, cli)
}

fn write_config(home: &Path, registry: &Registry, signer: &Signer) -> Result<()> {
    let directory = home.join("config");
    std::fs::create_dir_all(&directory)?;
    let key = format!(
        "[[images.keys]]\nrepository = \"{}\"\nfile = \"{}\"\n",
        registry.reference("*"),
        signer.path("cosign.pub")
    );
    Ok(std::fs::write(directory.join("config.toml"), key)?)
}

const ENABLED: [&str; 2] = ["--image-verification", "enabled"];

#[tokio::test]
async fn what_was_signed_runs_and_nothing_else_does() {
    let Some(mut registry) = Registry::start().await else { return };
    let (ours, theirs) = (Signer::new(), Signer::new());
    let (daemon, cli) = daemon(&registry, &ours).await;
    let Some(engine) = engine(&cli).await else { return };
    let image = engine.image.clone();

    let refused = async |reference: &str, why: &str| {
        let run = cli.run(["run", reference, ENABLED[0], ENABLED[1]]).await.unwrap();
        assert!(run.code == Some(1) && run.stderr.contains(why) && run.stderr.contains("hint:"), "{run}");
    };
    refused(&image, "no key is known for").await;
    let plain = Pushed::new(&registry, &image, "team/plain");
    refused(&plain.reference(), "is not signed").await;
    plain.sign(&theirs, &plain.digest).await;
    refused(&plain.reference(), "none of the keys fits").await;
    plain.sign(&ours, &format!("sha256:{}", "0".repeat(64))).await;
    refused(&plain.reference(), "what was signed is another image").await;
    assert_eq!(cli.json(["list", "--all"]).await.unwrap(), json!([]));

    // Where it is only looked at, it runs, and the log of the daemon says what is wrong.
    cli.ok(["run", &plain.reference(), "--name", "warned"]).await.unwrap();
    let shown = cli.json(["status", "warned"]).await.unwrap();
    assert_eq!(shown["image"]["signedBy"], Value::Null, "{shown}");
    cli.ok(["rm", "warned"]).await.unwrap();

    plain.sign(&ours, &plain.digest).await;
    let bundled = Pushed::new(&registry, &image, "team/bundled");
    bundled.sign_bundle(&ours).await;
    for (name, pushed) in [("simple", &plain), ("bundled", &bundled)] {
        cli.ok(["run", &pushed.reference(), "--name", name, ENABLED[0], ENABLED[1]]).await.unwrap();
        let shown = cli.json(["status", name]).await.unwrap();
        assert_eq!(shown["image"]["signedBy"], "cosign.pub", "{shown}");
        let client = daemon.client(name).await.unwrap();
        assert_eq!(client.text("echo", json!({})).await.unwrap(), "echo");
        let runs = engine.containers(daemon.home()).await.unwrap();
        let ran = runs
            .iter()
            .filter(|one| one["Labels"]["fairlead.dev/server"] == name)
            .all(|one| one["Image"] == one["ImageID"]);
        assert!(ran, "by the id of what was signed: {runs:?}");
    }

    // Without its registry a server starts by the signature that was kept, which is checked again.
    let references = [plain.reference(), bundled.reference()];
    registry.stop();
    cli.ok(["restart", "simple", "bundled"]).await.unwrap();
    let kept = daemon.home().path().join("cache/signatures");
    for entry in std::fs::read_dir(kept).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"signature\":[48,", "\"signature\":[49,", 1)).unwrap();
    }
    let changed = cli.run(["restart", "simple"]).await.unwrap();
    assert_eq!(changed.code, Some(1), "a signature that somebody changed vouches for nothing: {changed}");
    cli.ok(["rm", "simple", "bundled"]).await.unwrap();
    for reference in references {
        docker(&["rmi", "--force", &reference]);
    }
    engine.done().await.unwrap();
}
