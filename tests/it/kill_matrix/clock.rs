//! Clocks that jump and machines that sleep.
//!
//! The daemon gets a clock of its own: a library that is loaded before the system's shifts what it is told is the time by
//! the seconds that stand in a file. Nothing in the daemon knows of it, and no other process notices.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fairlead_tests::limits::SETTLE;
use fairlead_tests::process::{children, pause, resume};
use fairlead_tests::{Daemon, Home, Setup, eventually};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::table::Case;
use super::{acknowledged, furnish, serves};
use crate::scene::{SERVER, run_test_server};

/// Seconds of a year.
const YEAR: i64 = 365 * 24 * 3600;

/// How long the machine sleeps. That this time passes is what is tested.
const NAP: Duration = Duration::from_secs(2);

/// Shifts the time of day, and leaves alone the clocks that nobody can set.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static long shift(void) {
    char text[32] = {0};
    const char *path = getenv("FAKE_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    long count = read(file, text, sizeof text - 1);
    close(file);
    return count > 0 ? atol(text) : 0;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    long failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += shift();
    return (int)failed;
}
"#;

/// A clock that can be set; in a directory of its own.
struct Clock {
    directory: tempfile::TempDir,
}

impl Clock {
    /// `None`, and said so, where there is no C compiler.
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("clock.c");
        std::fs::write(&source, SHIM).unwrap();
        let library = directory.path().join("clock.so");
        let compiler = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output();
        if cfg!(not(target_os = "linux")) || compiler.is_err() {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must have a C compiler");
            eprintln!("skipped: a clock of its own needs Linux and a C compiler");
            return None;
        }
        let compiled = compiler.unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let clock = Self { directory };
        clock.shift(0);
        Some(clock)
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("shift")
    }

    /// Sets it: so many seconds from the time that it is.
    fn shift(&self, seconds: i64) {
        let beside = self.directory.path().join("next");
        std::fs::write(&beside, seconds.to_string()).unwrap();
        std::fs::rename(beside, self.file()).unwrap();
    }

    async fn daemon(&self, home: Home) -> Daemon {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let (library, file) = (text(&self.directory.path().join("clock.so")), text(&self.file()));
        let env = [("LD_PRELOAD", library.as_str()), ("FAKE_CLOCK", file.as_str())];
        Daemon::start_set_up(home, &Setup { env: &env, ..Setup::default() }).await.unwrap()
    }
}

async fn year(daemon: &Daemon, name: &str) -> i16 {
    let shown: Value = daemon.cli().unwrap().json(["status", name]).await.unwrap();
    shown["created"].as_str().unwrap().split('-').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_clock_that_jumps_changes_nothing_but_dates() {
    let Some(clock) = Clock::new() else { return };
    let mut daemon = clock.daemon(Home::new().unwrap()).await;
    furnish(&daemon).await;
    let before = acknowledged(daemon.home()).await.unwrap();
    let now = year(&daemon, SERVER).await;
    let mut longest = Duration::ZERO;
    for (round, years) in [10, -10, 0].into_iter().enumerate() {
        let client = daemon.client(SERVER).await.unwrap();
        clock.shift(years * YEAR);
        let begin = Instant::now();
        assert_eq!(client.text("echo", json!({})).await.unwrap(), "echo", "the session goes on");
        serves(&daemon.url(SERVER)).await;
        longest = longest.max(begin.elapsed());
        assert_eq!(acknowledged(daemon.home()).await.unwrap(), before, "{years} years");

        // Everything that is done at the new time works, and waits are not measured with this clock.
        let name = format!("made-{round}");
        let cli = daemon.cli().unwrap();
        run_test_server(&cli, &name, &["--isolation", "shared"], &[]).await;
        let seen = i64::from(year(&daemon, &name).await) - i64::from(now);
        assert!((seen - years).abs() <= 1, "the clock was really set: {seen} years from now");
        let crash = daemon.client(&name).await.unwrap().call("crash", json!({"code": 3})).await.unwrap();
        assert!(crash["error"].is_object(), "{crash}");
        serves(&daemon.url(&name)).await;
        for verb in ["stop", "start", "restart", "rm"] {
            cli.ok([verb, &name]).await.unwrap();
        }
        let home = daemon.kill().unwrap();
        daemon = clock.daemon(home).await;
        serves(&daemon.url(SERVER)).await;
        assert_eq!(acknowledged(daemon.home()).await.unwrap(), before, "after a restart at {years} years");
    }
    Case::ClockJumps.recovered(longest);
}

#[tokio::test]
async fn a_machine_that_slept_goes_on_where_it_was() {
    let Some(clock) = Clock::new() else { return };
    let daemon = clock.daemon(Home::new().unwrap()).await;
    furnish(&daemon).await;
    let before = acknowledged(daemon.home()).await.unwrap();
    let client = daemon.client(SERVER).await.unwrap();
    let under_way = client.text("slow", json!({"steps": 5, "step_ms": 100}));
    let nap = async {
        let servers = running(&daemon).await;
        pause(daemon.pid()).unwrap();
        servers.iter().for_each(|server| pause(*server).unwrap());
        clock.shift(8 * 3600);
        // A night, as far as the clock is concerned.
        tokio::time::sleep(NAP).await;
        servers.iter().for_each(|server| resume(*server).unwrap());
        resume(daemon.pid()).unwrap();
        Instant::now()
    };
    let (answered, woken) = tokio::join!(under_way, nap);
    assert_eq!(answered.unwrap(), "done");
    assert_eq!(client.text("echo", json!({})).await.unwrap(), "echo", "its session is still there");
    serves(&daemon.url(SERVER)).await;
    let took = woken.elapsed();
    assert_eq!(acknowledged(daemon.home()).await.unwrap(), before);
    Case::MachineSleeps.recovered(took);
}

#[tokio::test]
async fn servers_that_stood_still_are_neither_killed_nor_forgotten() {
    let daemon = Daemon::start().await.unwrap();
    furnish(&daemon).await;
    let before = acknowledged(daemon.home()).await.unwrap();
    let client = daemon.client(SERVER).await.unwrap();
    let servers = running(&daemon).await;
    servers.iter().for_each(|server| pause(*server).unwrap());
    let under_way = client.text("echo", json!({}));
    let nap = async {
        tokio::time::sleep(NAP).await;
        let now = daemon.cli().unwrap().json(["status", SERVER]).await.unwrap();
        assert_eq!(now["status"], "running", "{now}");
        servers.iter().for_each(|server| resume(*server).unwrap());
        Instant::now()
    };
    let (answered, woken) = tokio::join!(under_way, nap);
    assert_eq!(answered.unwrap(), "echo");
    assert_eq!(running(&daemon).await, servers, "the same processes");
    assert_eq!(acknowledged(daemon.home()).await.unwrap(), before);
    Case::ServersSleep.recovered(woken.elapsed());
}

/// The processes of its servers.
async fn running(daemon: &Daemon) -> Vec<u32> {
    eventually("its servers run", SETTLE, async || {
        let servers = children(daemon.pid());
        anyhow::ensure!(!servers.is_empty());
        Ok(servers)
    })
    .await
    .unwrap()
}
