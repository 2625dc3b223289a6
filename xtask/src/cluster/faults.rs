//! `cargo xtask cluster faults`: a thousand servers, ten thousand looks, a bad network, and an API server that is killed again and
//! again. The test is the one of `cargo test` (`host/operator/tests/it/scale.rs`); here it is whole, alone, and with a real end of the
//! API server instead of a played one.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::{Cluster, build, pause};
use crate::{terminal, workspace};

/// What was typed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Servers
    #[arg(long, default_value_t = 1000)]
    servers: u32,
    /// Seconds between two ends of the API server; 0 leaves it running
    #[arg(long, default_value_t = 60)]
    restart_every: u64,
}

/// Runs it.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    build()?;
    workspace::run(workspace::cargo().args(["test", "-p", "fairlead-operator", "--test", "it", "--no-run"]))?;
    let mut cluster = Cluster::start()?;
    let mut test = workspace::cargo();
    test.args(["test", "-p", "fairlead-operator", "--test", "it", "scale::", "--", "--nocapture"]);
    test.env("FAIRLEAD_TEST_SCALE", args.servers.to_string()).envs(cluster.variables());
    let (mut running, began) = (Running::start(&mut test)?, Instant::now());
    let every = Duration::from_secs(args.restart_every);
    let (mut last, mut restarts) = (Instant::now(), 0_u32);
    let status = loop {
        if let Some(status) = running.0.try_wait()? {
            break status;
        }
        if !every.is_zero() && last.elapsed() >= every {
            cluster.restart_api_server()?;
            restarts += 1;
            last = Instant::now();
        }
        pause();
    };
    let good = terminal::GOOD;
    anstream::println!(
        "{good}{} servers{good:#}: {status}, {restarts} new API servers, {:?}",
        args.servers,
        began.elapsed()
    );
    anyhow::ensure!(status.success(), "the test failed");
    Ok(())
}

/// A test that ends with whoever started it.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
