//! A disk that is full: a small file system in memory is the home of the daemon.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use fairlead_tests::limits::SETTLE;
use fairlead_tests::{Daemon, Home, api, eventually};
use http::Method;
use serde_json::json;
use tokio::time::Instant;

use super::table::Case;
use super::{acknowledged, furnish, serves};
use crate::scene::{SERVER, run_test_server, try_test_server};

/// A file system of its own below a home; taken away when dropped.
struct Disk(PathBuf);

impl Disk {
    /// `None`, and said so, for who may not mount.
    fn mount(home: &Home) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=48m,mode=700", "none"]).arg(home.path());
        if !mount.output().is_ok_and(|output| output.status.success()) {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must be allowed to mount");
            eprintln!("skipped: a disk of its own needs Linux and root");
            return None;
        }
        Some(Self(home.path().to_owned()))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Until not a byte is free.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.ballast()).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

async fn refused(daemon: &Daemon, verb: &[&str]) {
    let output = daemon.cli().unwrap().run(verb).await.unwrap();
    assert_eq!(output.code, Some(1), "{verb:?}: {output}");
    assert!(output.stderr.contains("kept free") && output.stderr.contains("hint:"), "{verb:?}: {output}");
}

#[tokio::test]
async fn a_full_disk_costs_no_server_and_no_record() {
    let home = Home::new().unwrap();
    let Some(disk) = Disk::mount(&home) else { return };
    let mut daemon = Daemon::start_in(home).await.unwrap();
    furnish(&daemon).await;
    let before = acknowledged(daemon.home()).await.unwrap();
    let client = daemon.client(SERVER).await.unwrap();
    let secrets = std::fs::read(disk.0.join("state/secrets.json")).unwrap();

    for killed in [false, true] {
        disk.fill();
        if killed {
            daemon = Daemon::start_in(daemon.kill().unwrap()).await.unwrap();
            // What it had kept for its start is gone as well.
            disk.fill();
        } else {
            assert_eq!(client.text("echo", json!({})).await.unwrap(), "echo", "sessions go on");
        }
        serves(&daemon.url(SERVER)).await;
        let run = try_test_server(&daemon.cli().unwrap(), "new", &[], &[]).await;
        assert!(run.code == Some(1) && run.stderr.contains("kept free"), "{run}");
        for verb in [&["stop", SERVER][..], &["rm", SERVER], &["rm", "stopped"], &["group", "create", "other"]] {
            refused(&daemon, verb).await;
        }
        let secret = json!({"value": "never stored"});
        let reply = api(daemon.home(), Method::PUT, "/secrets/other", Some(&secret)).await.unwrap();
        assert!(reply.status >= 400, "{reply:?}");
        assert_eq!(std::fs::read(disk.0.join("state/secrets.json")).unwrap(), secrets);
        assert_eq!(acknowledged(daemon.home()).await.unwrap(), before, "killed: {killed}");

        disk.empty();
        let begin = Instant::now();
        eventually("changes are taken again", SETTLE, async || daemon.cli()?.ok(["group", "create", "other"]).await)
            .await
            .unwrap();
        serves(&daemon.url(SERVER)).await;
        let took = begin.elapsed();
        let cli = daemon.cli().unwrap();
        run_test_server(&cli, "new", &[], &[]).await;
        cli.ok(["rm", "new"]).await.unwrap();
        cli.ok(["group", "rm", "other"]).await.unwrap();
        assert_eq!(acknowledged(daemon.home()).await.unwrap(), before, "killed: {killed}");
        Case::DiskFull.recovered(took);
    }
    let daemon = Daemon::start_in(daemon.kill().unwrap()).await.unwrap();
    assert_eq!(acknowledged(daemon.home()).await.unwrap(), before);
    leave(daemon, &disk.0).await;
}

/// The daemon goes before the disk does.
async fn leave(daemon: Daemon, mount: &Path) {
    assert!(mount.join("state").exists());
    let (_home, status) = daemon.terminate().await.unwrap();
    assert!(status.success(), "{status}");
}
