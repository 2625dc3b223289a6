//! Pulls, from a registry of the test's own.

use std::process::Stdio;

use bollard::query_parameters::{PushImageOptions, RemoveImageOptions};
use fairlead_core::image::{ImageReference, PullPolicy};
use fairlead_core::oci::Credential;
use futures_util::StreamExt;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use super::scene::{Bench, build_image, launch, skipped, soon};
use super::*;

/// `user:password`, with a character in it that the two alphabets of base64 write differently.
const CREDENTIALS: (&str, &str) = ("user", "pass?word>>>???");
/// Of the password, by bcrypt, as weak as it can be.
const HASH: &str = "$2b$04$TBC7QU6XbGaUv0pPLSZ8NOi2IyHsWyDKZWZzMhIgMReC3dKEkeTTu";

struct Registry {
    address: String,
    /// Killed when dropped.
    _process: Child,
    _drain: JoinSet<()>,
    _directory: tempfile::TempDir,
}

impl Registry {
    async fn start(bench: &Bench, with_password: bool) -> Option<Self> {
        if !bench.engine.facts().shares_sockets {
            return skipped("the engine does not see the loopback of this machine");
        }
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        std::fs::write(directory.path().join("htpasswd"), format!("{}:{HASH}\n", CREDENTIALS.0)).unwrap();
        let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {root}/htpasswd\n");
        let auth = if with_password { auth.as_str() } else { "" };
        let config = format!(
            "version: 0.1\nlog:\n  level: info\n  formatter: json\nstorage:\n  filesystem:\n    rootdirectory: {root}/data\n\
             http:\n  addr: 127.0.0.1:0\n  secret: test\n{auth}"
        );
        let path = directory.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let spawned = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let Ok(mut process) = spawned else { return skipped("`docker-registry` is not installed") };
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = soon(async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the registry runs");
                let listening =
                    line.split_once("listening on ").and_then(|(_, rest)| rest.split(['"', ',', ' ']).next());
                if let Some(address) = listening {
                    return address.to_owned();
                }
            }
        });
        let address = address.await;
        // What it says later is of no interest, and a full pipe would stop it.
        let mut drain = JoinSet::new();
        drain.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Some(Self { address, _process: process, _drain: drain, _directory: directory })
    }

    /// Puts the fixture there, with a layer that no engine has, and takes it off the engine again.
    async fn push(&self, bench: &Bench, credentials: Option<bollard::auth::DockerCredentials>) -> ImageReference {
        let reference = ImageReference::new(&format!("{}/tests/fixture:1", self.address)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("of"), &self.address).unwrap();
        let recipe = format!("FROM {}\nCOPY of /of\n", bench.source(&[]).reference);
        build_image(&bench.engine, reference.as_str(), &recipe, directory.path()).await;
        let options = PushImageOptions { tag: Some("1".to_owned()), ..PushImageOptions::default() };
        let docker = bench.engine.docker();
        let mut messages = std::pin::pin!(docker.push_image(&reference.repository(), Some(options), credentials));
        while let Some(message) = messages.next().await {
            message.unwrap();
        }
        untag(bench, &reference).await;
        reference
    }
}

/// A bench that is logged in to every registry.
async fn logged_in(bench: &Bench, password: &str) -> Option<Bench> {
    let variables = [("FAIRLEAD_CONTAINER_ENGINE", &*bench.engine.address())];
    let surroundings = Surroundings::below(std::path::Path::new("/"), &variables);
    let credential = Credential::Password { username: CREDENTIALS.0.to_owned(), password: password.to_owned() };
    Bench::logged_in(surroundings, credential).await
}

async fn refused(bench: &Bench, reference: &ImageReference) -> LaunchError {
    let source = ImageSource { pull: PullPolicy::Missing, reference: reference.clone(), ..bench.source(&["echo"]) };
    soon(bench.runtime.launch(&launch(source))).await.unwrap_err()
}

fn as_container_error(error: &LaunchError) -> &ContainerError {
    let LaunchError::Start { source, .. } = error else { panic!("{error}") };
    source.downcast_ref().unwrap()
}

async fn untag(bench: &Bench, reference: &ImageReference) {
    bench.engine.docker().remove_image(reference.as_str(), None::<RemoveImageOptions>, None).await.unwrap();
}

#[tokio::test]
async fn a_missing_image_is_pulled_once_and_known_by_digest() {
    let Some(bench) = Bench::new().await else { return };
    let Some(registry) = Registry::start(&bench, false).await else { return };
    let reference = registry.push(&bench, None).await;
    let source = ImageSource { pull: PullPolicy::Missing, reference: reference.clone(), ..bench.source(&["echo"]) };
    // Two at once: one pull, two servers.
    let launch = launch(source);
    let both = async { tokio::join!(bench.start_launch(&launch), bench.start_launch(&launch)) };
    let (one, two) = soon(both).await;
    let events = bench.events.taken();
    let running: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            ContainerEvent::Running(running) => Some(running),
            ContainerEvent::Pulling(_) | ContainerEvent::Building(_) => None,
        })
        .collect();
    let digest = running[0].digest.clone().unwrap();
    assert!(digest.starts_with("sha256:"), "{digest}");
    assert_eq!(running.len(), 2);
    assert_eq!(running[0], running[1]);
    assert_eq!(running[0].engine_address, bench.engine.address());
    let last = events.iter().rev().find_map(|event| match event {
        ContainerEvent::Pulling(progress) => Some(progress),
        ContainerEvent::Running(_) | ContainerEvent::Building(_) => None,
    });
    let last = last.expect("the pull was told");
    assert_eq!(last.layers, last.layers_done);
    assert_eq!(bench.inspect(&one).await.image.as_deref(), Some(running[0].id.as_str()));

    // Pinned by that digest it is the same image, and there already.
    let pinned = ImageReference::new(&format!("{}@{digest}", reference.repository())).unwrap();
    let source = ImageSource { pull: PullPolicy::Never, reference: pinned, ..bench.source(&["echo"]) };
    let three = bench.start_launch(&scene::launch(source)).await;
    assert!(matches!(&bench.events.taken()[..], [ContainerEvent::Running(same)] if same.digest == Some(digest)));
    drop((one, two, three));
    soon(bench.runtime.settled()).await;
    untag(&bench, &reference).await;
    bench.done().await;
}

#[tokio::test]
async fn always_asks_the_registry_again() {
    let Some(bench) = Bench::new().await else { return };
    let Some(registry) = Registry::start(&bench, false).await else { return };
    let reference = registry.push(&bench, None).await;
    let source = ImageSource { pull: PullPolicy::Always, reference: reference.clone(), ..bench.source(&["echo"]) };
    drop(bench.start_launch(&launch(source.clone())).await);
    drop(registry);
    let error = soon(bench.runtime.launch(&launch(source))).await.unwrap_err();
    let ContainerError::Pull { message, .. } = as_container_error(&error) else { panic!("{error}") };
    assert!(message.contains("connect"), "{message}");
    soon(bench.runtime.settled()).await;
    untag(&bench, &reference).await;
    bench.done().await;
}

#[tokio::test]
async fn an_image_that_the_registry_does_not_have_was_not_found() {
    let Some(bench) = Bench::new().await else { return };
    let Some(registry) = Registry::start(&bench, false).await else { return };
    let reference = ImageReference::new(&format!("{}/tests/is-not-there:1", registry.address)).unwrap();
    let error = refused(&bench, &reference).await;
    let LaunchError::NotFound { what, hint } = &error else { panic!("{error}") };
    assert_eq!(what, reference.as_str());
    assert!(hint.contains("spelling"), "{hint}");
}

#[tokio::test]
async fn a_private_registry_is_asked_with_what_somebody_shows() {
    let Some(bench) = Bench::new().await else { return };
    let Some(registry) = Registry::start(&bench, true).await else { return };
    let credentials = bollard::auth::DockerCredentials {
        username: Some(CREDENTIALS.0.to_owned()),
        password: Some(CREDENTIALS.1.to_owned()),
        ..Default::default()
    };
    let reference = registry.push(&bench, Some(credentials)).await;

    let error = refused(&bench, &reference).await;
    let LaunchError::NotFound { hint, .. } = &error else { panic!("tried again and again: {error}") };
    assert!(hint.contains("refuses to give") && hint.contains("`docker login`"), "{hint}");

    let Some(wrong) = logged_in(&bench, "wrong").await else { return };
    let server = launch(bench.source(&[])).server;
    let source = ImageSource { pull: PullPolicy::Missing, reference: reference.clone(), ..bench.source(&["echo"]) };
    let error = soon(wrong.runtime.provide(&server, &source)).await.unwrap_err();
    assert!(matches!(error, ContainerError::PullDenied { .. }), "{error}");
    assert!(!engines::chain(&error).contains("wrong"), "{error}");

    let Some(right) = logged_in(&bench, CREDENTIALS.1).await else { return };
    let provided = soon(right.runtime.provide(&server, &source)).await.unwrap();
    assert!(provided.digest.is_some() && !provided.is_root, "{provided:?}");
    drop(right.start_launch(&launch(source.clone())).await);
    assert_eq!(right.events.taken().last(), Some(&ContainerEvent::Running(provided)));

    // What this machine got with its login it keeps from tenants that have none; whoever may see the image has it.
    let of = |tenant: &str| ServerKey { tenant: tenant.parse().unwrap(), ..server.clone() };
    for pull in [PullPolicy::Missing, PullPolicy::Never, PullPolicy::Always] {
        let source = ImageSource { pull, ..source.clone() };
        let error = soon(right.runtime.provide(&of("stranger"), &source)).await.unwrap_err();
        assert!(matches!(error, ContainerError::NotOfTenant { .. }), "{pull:?}: {error}");
    }
    let asked = || right.seen.1.load(std::sync::atomic::Ordering::Relaxed);
    let before = asked();
    for _ in 0..2 {
        soon(right.runtime.provide(&of("friend"), &source)).await.unwrap();
    }
    assert_eq!(asked(), before + 1, "the registry is asked once");
    right.done().await;
    untag(&bench, &reference).await;
}
