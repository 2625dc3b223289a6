//! The supervisor with processes that the test plays, on a clock that only moves when everybody waits.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;

use fairlead_core::logs::LogSource;
use fairlead_core::workload::{Exit, LaunchError};
use jiff::Timestamp;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::*;
use crate::fake::{FakeProcess, World, spec, stdio};
use crate::limits::LAUNCH_MAX;

mod failures;
mod http;
mod sessions;
mod stopping;
mod stories;

const LONG: Duration = Duration::from_secs(600);

fn profile() -> ServerProfile {
    ServerProfile {
        protocol_version: "2025-11-25".to_owned(),
        name: "a".to_owned(),
        version: "1".to_owned(),
        capabilities: vec!["tools".to_owned()],
    }
}

fn started(world: &World) -> Arc<Supervisor> {
    let supervisor = Supervisor::spawn(world.config(stdio()));
    supervisor.start();
    supervisor
}

/// A session with its process.
async fn session(world: &World, supervisor: &Supervisor) -> (StdioConnection, FakeProcess) {
    let connection = supervisor.open_stdio().await.unwrap();
    (connection, world.runtime.next().await)
}

/// The process answers and the session reads it: it has come up.
async fn speak(connection: &mut StdioConnection, process: &mut FakeProcess) {
    process.say("{}").await;
    connection.stdout.read_exact(&mut [0; 2]).await.unwrap();
}

async fn phase(supervisor: &Supervisor, phase: ServerPhase) -> ServerStatus {
    phase_within(supervisor, phase, LONG).await
}

async fn phase_within(supervisor: &Supervisor, phase: ServerPhase, within: Duration) -> ServerStatus {
    let mut status = supervisor.status();
    let reached = status.wait_for(|status| status.phase == phase);
    timeout(within, reached).await.unwrap_or_else(|_| panic!("never {phase:?}")).unwrap().clone()
}

/// Waits until every workload has ended and its end was counted.
async fn at_rest(supervisor: &Supervisor) {
    timeout(LONG, supervisor.server.live.subscribe().wait_for(|live| *live == 0)).await.unwrap().unwrap();
}
