//! Against the reference implementation (Debian's `docker-registry`), on a free port of this machine.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use fairlead_core::image::ImageReference;
use fairlead_core::oci::{DigestResolver as _, RegistryError};
use fairlead_oci::{Descriptor, Manifest, digest_of, media_types};
use tokio::time::{Instant, sleep};

use crate::support::{anonymous, tenant};

/// A registry of its own, with its storage.
struct Registry {
    child: Child,
    address: String,
    directory: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// `None` where it is not installed, which CI does not allow.
    async fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = directory.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
            directory.path().join("data").display()
        );
        std::fs::File::create(&config).unwrap().write_all(text.as_bytes()).unwrap();
        let spawned = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match spawned {
            Ok(child) => child,
            Err(error) if std::env::var_os("CI").is_none() => {
                eprintln!("skipped: docker-registry is not installed ({error})");
                return None;
            }
            Err(error) => panic!("docker-registry: {error}"),
        };
        let registry = Self { child, address, directory };
        let until = Instant::now() + Duration::from_secs(20);
        while tokio::net::TcpStream::connect(&registry.address).await.is_err() {
            assert!(Instant::now() < until, "docker-registry does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        Some(registry)
    }

    fn reference(&self, rest: &str) -> ImageReference {
        ImageReference::new(&format!("{}/{rest}", self.address)).unwrap()
    }
}

async fn push(registry: &Registry, tag: &str, component: &[u8]) -> (String, Descriptor) {
    let (client, default) = (anonymous(), tenant("default"));
    let reference = registry.reference(&format!("team/plugin:{tag}"));
    let digest = client.push_blob(&default, &reference, Bytes::copy_from_slice(component)).await.unwrap();
    let config = Bytes::from_static(b"{}");
    let config_digest = client.push_blob(&default, &reference, config).await.unwrap();
    let described = |media_type: &str, digest: String, size| Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        platform: None,
        annotations: Default::default(),
    };
    let layer = described(media_types::WASM, digest, u64::try_from(component.len()).unwrap());
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_types::MANIFEST.to_owned(),
        artifact_type: None,
        config: Some(described(media_types::WASM_CONFIG, config_digest, 2)),
        layers: vec![layer.clone()],
        manifests: Vec::new(),
        annotations: Default::default(),
    };
    let bytes = Bytes::from(serde_json::to_vec(&manifest).unwrap());
    let pushed = client.push_manifest(&default, &reference, media_types::MANIFEST, bytes).await.unwrap();
    (pushed, layer)
}

#[tokio::test]
async fn what_is_pushed_is_pulled_by_digest_and_a_moved_tag_moves_nothing_else() {
    let Some(registry) = Registry::start().await else { return };
    let (client, default) = (anonymous(), tenant("default"));
    let first = vec![7; 300_000];
    let (pushed, layer) = push(&registry, "1", &first).await;
    let reference = registry.reference("team/plugin:1");
    let resolved = client.resolve(&default, &reference).await.unwrap();
    assert_eq!((resolved.digest.as_str(), resolved.media_type.as_str()), (pushed.as_str(), media_types::MANIFEST));

    let pinned = registry.reference(&format!("team/plugin@{pushed}"));
    let pulled = client.pull_manifest(&default, &pinned).await.unwrap();
    assert_eq!((&pulled.digest, &pulled.manifest.layers), (&pushed, &vec![layer.clone()]));
    let mut to = std::io::Cursor::new(Vec::new());
    client.pull_blob(&default, &pinned, &layer, &mut to, &|_, _| {}).await.unwrap();
    assert_eq!(to.into_inner(), first);

    let (moved, _) = push(&registry, "1", b"another").await;
    assert_ne!(moved, pushed);
    assert_eq!(client.resolve(&default, &reference).await.unwrap().digest, moved);
    assert_eq!(client.pull_manifest(&default, &pinned).await.unwrap().digest, pushed);
}

#[tokio::test]
async fn a_layer_that_was_changed_in_the_storage_is_refused() {
    let Some(registry) = Registry::start().await else { return };
    let (_, layer) = push(&registry, "1", b"the component").await;
    let hex = layer.digest.strip_prefix("sha256:").unwrap();
    let prefix = hex.get(..2).unwrap();
    let file = registry.directory.path().join(format!("data/docker/registry/v2/blobs/sha256/{prefix}/{hex}/data"));
    assert_eq!(std::fs::read(&file).unwrap(), b"the component");
    std::fs::write(&file, b"the c0mponent").unwrap();
    let mut to = std::io::Cursor::new(Vec::new());
    let reference = registry.reference("team/plugin:1");
    let pulled = anonymous().pull_blob(&tenant("default"), &reference, &layer, &mut to, &|_, _| {}).await;
    assert!(matches!(pulled.unwrap_err(), RegistryError::Tampered { .. }));
    assert_eq!(digest_of(b"the component"), layer.digest);
}
