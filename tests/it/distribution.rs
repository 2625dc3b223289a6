//! Plugins in a real OCI registry (Debian's `docker-registry`): the guide to the letter, and what happens when the registry
//! lies, changes its mind or goes away.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fairlead_tests::{Cli, Daemon, Home, Output, binary, eventually};
use serde_json::Value;

/// A registry of its own, on a free port.
pub(crate) struct Registry {
    child: Option<Child>,
    address: String,
    directory: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Registry {
    /// `None` where it is not installed, which CI does not allow.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_in(tempfile::tempdir().unwrap(), "").await
    }

    /// One that gives and takes only with a login, and the directory of a configuration of Docker that has it.
    pub(crate) async fn start_private() -> Option<(Self, PathBuf)> {
        // `user` and `pass?word>>>???`, by bcrypt, as weak as it can be; and as `docker login` writes it.
        const HASH: &str = "user:$2b$04$TBC7QU6XbGaUv0pPLSZ8NOi2IyHsWyDKZWZzMhIgMReC3dKEkeTTu";
        const LOGIN: &str = "dXNlcjpwYXNzP3dvcmQ+Pj4/Pz8=";
        let directory = tempfile::tempdir().unwrap();
        let passwords = directory.path().join("passwords");
        std::fs::write(&passwords, HASH).unwrap();
        let auth = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", passwords.display());
        let registry = Self::start_in(directory, &auth).await?;
        let docker = registry.directory.path().join("docker");
        std::fs::create_dir(&docker).unwrap();
        let config = serde_json::json!({"auths": {registry.address(): {"auth": LOGIN}}});
        std::fs::write(docker.join("config.json"), config.to_string()).unwrap();
        Some((registry, docker))
    }

    async fn start_in(directory: tempfile::TempDir, auth: &str) -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = directory.path().join("config.yml");
        let data = directory.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n{auth}",
            data.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if std::env::var_os("CI").is_none() => {
                eprintln!("skipped: docker-registry is not installed ({error})");
                return None;
            }
            Err(error) => panic!("docker-registry: {error}"),
        };
        let address = format!("localhost:{port}");
        let registry = Self { child: Some(child), address, directory };
        eventually("docker-registry listens", Duration::from_secs(20), async || {
            Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await?)
        })
        .await
        .unwrap();
        Some(registry)
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Something in it.
    pub(crate) fn reference(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// Pushes an image of the engine as somebody who is logged in, and leaves none of that name at the engine. Returns the
    /// reference.
    pub(crate) fn push_logged_in(&self, login: &Path, image: &str, rest: &str) -> String {
        let reference = self.reference(rest);
        for step in [&["tag", image, &*reference][..], &["push", "--quiet", &reference], &["rmi", &reference]] {
            let done = Command::new("docker").env("DOCKER_CONFIG", login).args(step).output().unwrap();
            assert!(done.status.success(), "docker {step:?}: {}", String::from_utf8_lossy(&done.stderr));
        }
        reference
    }

    /// Where it keeps content.
    fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let prefix: String = hex.chars().take(2).collect();
        self.directory.path().join(format!("data/docker/registry/v2/blobs/sha256/{prefix}/{hex}/data"))
    }
}

fn cli(home: &Home) -> Cli {
    Cli::new(home).unwrap()
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {value}")).to_owned()
}

fn told(output: &Output) -> String {
    format!("{}{}", output.stdout, output.stderr)
}

#[tokio::test]
async fn a_plugin_is_pushed_installed_elsewhere_by_digest_and_guards_a_server() {
    let Some(mut registry) = Registry::start().await else { return };
    let (author, user) = (Home::new().unwrap(), Home::new().unwrap());
    let reference = registry.reference("team/filter:1");
    let component = binary::plugin("tool-filter").unwrap();
    let component = component.to_str().unwrap();
    let pushed = cli(&author).json(["plugin", "push", component, &reference]).await.unwrap();
    let again = cli(&author).json(["plugin", "push", component, &reference]).await.unwrap();
    assert_eq!(pushed, again, "the same component is the same artifact");

    let pinned = text(&pushed, "/pinned");
    let installed = cli(&user).json(["plugin", "install", &pinned, "--name", "team-filter"]).await.unwrap();
    assert_eq!(text(&installed, "/digest"), text(&pushed, "/digest"));
    assert_eq!(text(&installed, "/source"), pinned);

    // A moved tag: nothing changes for who has it installed, and a new installation says what was there.
    let by_tag = cli(&user).json(["plugin", "install", &reference]).await.unwrap();
    assert_eq!(text(&by_tag, "/name"), "tool-filter");
    let other = binary::plugin("redact").unwrap();
    cli(&author).ok(["plugin", "push", other.to_str().unwrap(), &reference]).await.unwrap();
    let now = cli(&user).json(["plugin", "inspect", "tool-filter"]).await.unwrap();
    assert_eq!(text(&now, "/digest"), text(&pushed, "/digest"), "the tag moved, the plugin did not");

    // The registry goes away: what is installed works, and what is named by digest needs nobody.
    registry.stop();
    cli(&user).ok(["plugin", "install", &pinned, "--name", "once-more"]).await.unwrap();
    let offline = cli(&user).run(["plugin", "install", &reference]).await.unwrap();
    assert!(offline.code == Some(0) && told(&offline).contains("was not asked"), "{}", told(&offline));
    let missing = cli(&author).run(["plugin", "install", &registry.reference("team/none:1")]).await.unwrap();
    assert!(missing.code != Some(0) && told(&missing).contains("cannot be reached"), "{}", told(&missing));

    let daemon = Daemon::start_in(user).await.unwrap();
    let server = binary::test_server().unwrap();
    let config = r#"team-filter@0.1.0={"allow":["echo"]}"#;
    let args = ["run", "--name", "guarded", "--plugin", config, "--", server.to_str().unwrap()];
    daemon.cli().unwrap().ok(args).await.unwrap();
    let client = daemon.client("guarded").await.unwrap();
    let refused = client.call("add", serde_json::json!({"a": 1, "b": 2})).await.unwrap();
    assert!(refused.pointer("/error").is_some(), "{refused}");
}

#[tokio::test]
async fn what_was_changed_in_the_registry_or_on_disk_is_refused() {
    let Some(registry) = Registry::start().await else { return };
    let (author, user) = (Home::new().unwrap(), Home::new().unwrap());
    let reference = registry.reference("team/filter:1");
    let component = binary::plugin("tool-filter").unwrap();
    let pushed = cli(&author).json(["plugin", "push", component.to_str().unwrap(), &reference]).await.unwrap();
    let blob = registry.blob(&text(&pushed, "/digest"));
    let genuine = std::fs::read(&blob).unwrap();
    let mut changed = genuine.clone();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&blob, &changed).unwrap();
    let refused = cli(&user).run(["plugin", "install", &reference]).await.unwrap();
    assert!(refused.code != Some(0) && told(&refused).contains("not what its digest says"), "{}", told(&refused));
    let nothing = cli(&user).run(["plugin", "inspect", "tool-filter@0.1.0"]).await.unwrap();
    assert!(nothing.code != Some(0), "nothing of it was kept");

    std::fs::write(&blob, &genuine).unwrap();
    cli(&user).ok(["plugin", "install", &reference, "--name", "mine"]).await.unwrap();
    let file = text(&cli(&user).json(["plugin", "inspect", "mine"]).await.unwrap(), "/path");
    let another = std::fs::read(binary::plugin("redact").unwrap()).unwrap();
    std::fs::write(&file, another).unwrap();
    let refused = cli(&user).run(["plugin", "inspect", "mine"]).await.unwrap();
    assert!(refused.code != Some(0) && told(&refused).contains("was changed"), "{}", told(&refused));
    cli(&user).ok(["plugin", "install", &reference, "--name", "mine"]).await.unwrap();
    cli(&user).ok(["plugin", "inspect", "mine"]).await.unwrap();
}

#[tokio::test]
async fn the_guide_does_what_it_says() {
    let Some(registry) = Registry::start().await else { return };
    let home = Home::new().unwrap();
    let guide = std::fs::read_to_string(binary::root().join("docs/guides/distributing-plugins.md")).unwrap();
    let guide = guide.replace("localhost:5000", &registry.address);
    let mut script = String::new();
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        let Some(says) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) else { continue };
        let block: Vec<_> = lines.by_ref().skip(1).take_while(|line| *line != "```").collect();
        match says {
            "run" => script += &format!("{}\n", block.join("\n")),
            "run: fails" => script += &format!("if {}; then exit 1; fi\n", block.join("\n")),
            other => panic!("what does `{other}` mean?"),
        }
    }
    assert!(script.contains("plugin rm"));
    let place = tempfile::tempdir().unwrap();
    let programs = binary::fairlead().unwrap().parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(programs).chain(std::env::split_paths(&path))).unwrap();
    let plugins = binary::plugin("redact").unwrap().parent().unwrap().to_owned();
    let output = tokio::process::Command::new("sh")
        .args(["-eux", "-c", &script])
        .current_dir(place.path())
        .env("PATH", path)
        .env("FAIRLEAD_HOME", home.path())
        .env("FAIRLEAD_PLUGIN_PATH", plugins)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(120), output).await.expect("an end in time").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
