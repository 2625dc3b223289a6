//! Engines that are there, that are not, and that only look so.

use std::os::unix::net::UnixListener;
use std::path::Path;

use super::scene::{Bench, soon};
use super::*;

fn engines(root: &Path, variables: &[(&str, &str)]) -> Engines {
    Engines::new(Surroundings::below(root, variables))
}

#[tokio::test]
async fn without_an_engine_it_is_told_where_one_was_looked_for() {
    let machine = tempfile::tempdir().unwrap();
    let error = engines(machine.path(), &[("HOME", "/home/a")]).find(None).await.unwrap_err();
    let ContainerError::NoEngine { tried } = &error else { panic!("{error}") };
    for name in ["podman", "colima", "docker", "docker-desktop", "rancher-desktop", "orbstack"] {
        assert!(tried.iter().any(|tried| tried.name == name && tried.outcome == Outcome::Absent), "{name}");
    }
    assert!(error.to_string().starts_with("no container engine answers ("), "{error}");
    assert!(error.hint().unwrap().contains("FAIRLEAD_CONTAINER_ENGINE"));
}

#[tokio::test]
async fn a_socket_that_nobody_listens_on_is_passed_over_and_reported() {
    let machine = tempfile::tempdir().unwrap();
    let socket = machine.path().join("dead.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let address = format!("unix://{}", socket.display());
    let engines = engines(Path::new("/"), &[("FAIRLEAD_CONTAINER_ENGINE", &address)]);
    let tried = engines.look().await;
    let [Tried { outcome: Outcome::Failing { reason }, .. }] = &tried[..] else { panic!("{tried:?}") };
    assert!(reason.contains("refused"), "{reason}");
    assert!(engines.answering().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_never_answers_holds_up_nothing_for_long() {
    let machine = tempfile::tempdir().unwrap();
    let socket = machine.path().join("mute.sock");
    let _mute = UnixListener::bind(&socket).unwrap();
    let address = format!("unix://{}", socket.display());
    let engines = engines(Path::new("/"), &[("FAIRLEAD_CONTAINER_ENGINE", &address)]);
    let began = Instant::now();
    let tried = engines.look().await;
    let [Tried { outcome: Outcome::Failing { reason }, .. }] = &tried[..] else { panic!("{tried:?}") };
    assert!(reason.contains("did not answer within 2s"), "{reason}");
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
}

#[tokio::test]
async fn a_server_stays_on_its_engine_when_the_search_prefers_another() {
    let Some(bench) = Bench::new().await else { return };
    let machine = tempfile::tempdir().unwrap();
    let link = machine.path().join("another.sock");
    std::os::unix::fs::symlink(bench.engine.socket(), &link).unwrap();
    // Two addresses of one engine stand for two engines.
    let engines = engines(Path::new("/"), &[("FAIRLEAD_CONTAINER_ENGINE", link.to_str().unwrap())]);
    let preferred = soon(engines.find(None)).await.unwrap();
    assert_eq!(preferred.address(), format!("unix://{}", link.display()));
    let own = soon(engines.find(Some(&bench.engine.address()))).await.unwrap();
    assert_eq!(own.address(), bench.engine.address());
    // Looking again neither loses it nor prefers it.
    soon(engines.look()).await;
    assert!(Arc::ptr_eq(&own, &soon(engines.find(Some(&bench.engine.address()))).await.unwrap()));
    assert!(Arc::ptr_eq(&preferred, &soon(engines.find(None)).await.unwrap()));
}

#[tokio::test]
async fn a_name_that_no_engine_has_is_refused_with_what_there_is() {
    let machine = tempfile::tempdir().unwrap();
    let error = engines(machine.path(), &[]).find(Some("colima")).await.unwrap_err();
    assert!(error.to_string().starts_with("container engine `colima` does not answer"), "{error}");
}
