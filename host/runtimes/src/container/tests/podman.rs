//! Podman, really, and beside another engine: only where `FAIRLEAD_TEST_PODMAN` is set, because it makes a storage and an
//! image of its own.

use std::process::{Child, Command, Stdio};

use fairlead_core::permission::PermissionProfile;
use fairlead_core::workload::Exit;

use super::ports::answers;
use super::scene::{Bench, Started, launch, soon};
use super::*;

/// `podman system service` with a storage of its own.
struct Podman {
    child: Child,
    directory: tempfile::TempDir,
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Podman {
    async fn start() -> Option<Self> {
        if std::env::var_os("FAIRLEAD_TEST_PODMAN").is_none() {
            eprintln!("skipped: `FAIRLEAD_TEST_PODMAN` is not set");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        // A machine that is itself a container lets nobody raise limits, nor mount overlays.
        let conf = "[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
                    [containers]\ndefault_ulimits = [\"nofile=1024:20000\", \"nproc=4096:4096\"]\n";
        let storage = format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{root}/graph\"\nrunroot = \"{root}/run\"\n");
        std::fs::write(directory.path().join("containers.conf"), conf).unwrap();
        std::fs::write(directory.path().join("storage.conf"), storage).unwrap();
        let child = Command::new("podman")
            .args(["system", "service", "--time", "0", &format!("unix://{root}/podman.sock")])
            .env("CONTAINERS_CONF", directory.path().join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", directory.path().join("storage.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("podman is installed");
        let podman = Self { child, directory };
        soon(async {
            while tokio::net::UnixStream::connect(podman.directory.path().join("podman.sock")).await.is_err() {
                sleep(ENGINE_POLL_FIRST).await;
            }
        })
        .await;
        Some(podman)
    }

    fn address(&self) -> String {
        format!("unix://{}/podman.sock", self.directory.path().display())
    }

    async fn bench(&self) -> Option<Bench> {
        let variables = [("FAIRLEAD_CONTAINER_ENGINE", &*self.address())];
        Bench::on(Surroundings::below(std::path::Path::new("/"), &variables)).await
    }
}

#[tokio::test]
async fn a_server_lives_on_podman_as_it_does_on_docker() {
    let Some(podman) = Podman::start().await else { return };
    let Some(bench) = podman.bench().await else { return };
    assert_eq!(bench.engine.facts().product, "Podman");
    // Pipes.
    let (exit, said) = bench.start(&["both", "10000"]).await.finished().await;
    assert_eq!((exit, said.len()), (Exit::Code(0), 10_000));
    // Walls.
    let said = bench.look(bench.source(&[]), &["status", "interfaces", "write /x", "write /tmp/x"]).await;
    assert!(said[0].contains("CapEff:0000000000000000") && said[0].contains("NoNewPrivs:1"), "{said:?}");
    assert_eq!(said[1], "interfaces: lo");
    assert!(said[2].contains("read-only") && said[3].ends_with("done"), "{said:?}");
    // Doors: through a porter, and by a port of this machine.
    let open = ImageSource { permissions: PermissionProfile::network(), ..bench.source(&["serve", "8080"]) };
    for source in [bench.source(&["serve", "8080"]), open] {
        let mut started = bench.start_launch(&Launch { port: Some(8080), ..launch(source) }).await;
        assert_eq!(started.line().await, "listening\n");
        answers(started.handle.address().unwrap()).await;
        assert!(soon(started.handle.usage()).await.is_some_and(|usage| usage.processes > 0));
        assert_eq!(soon(started.handle.stop(std::time::Duration::from_secs(5))).await, Exit::Signal(15));
    }
    bench.done().await;
}

#[tokio::test]
async fn two_engines_serve_at_once_and_each_server_stays_on_its_own() {
    let Some(podman) = Podman::start().await else { return };
    let (Some(docker), Some(prepared)) = (Bench::new().await, podman.bench().await) else { return };
    prepared.done().await;
    let both = docker.another(&docker.home);
    let on = async |engine: String| {
        let source = ImageSource { engine: Some(engine), ..docker.source(&["stubborn"]) };
        let mut started = Started::from(soon(both.launch(&launch(source))).await.unwrap());
        started.line().await;
        started
    };
    let (one, two) = (on(docker.engine.address()).await, on(podman.address()).await);
    assert!(one.id.ends_with(&docker.engine.address()) && two.id.ends_with(&podman.address()));
    let mut engines: Vec<String> = soon(both.found()).await.into_iter().map(|found| found.engine).collect();
    engines.sort();
    engines.dedup();
    assert_eq!(engines.len(), 2, "{engines:?}");
    drop(one);
    assert!(soon(both.end_leftover(&two.id)).await, "the other goes on when one is gone");
    drop(two);
    soon(both.settled()).await;
    assert_eq!(soon(both.found()).await, []);
}
