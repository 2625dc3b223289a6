//! Servers that speak HTTP: one workload that is kept running, whether anybody asks for it or not.
//!
//! A stdio server is launched for a session; this one is the server itself, with all its sessions inside, so it is started
//! at once and brought back when it ends. The loop looks at where the gate stands, never at how it came there: whatever
//! happened in between, a workload runs exactly while the gate is open, and a new one for each time of starting.

use std::net::SocketAddr;
use std::sync::Arc;

use fairlead_core::logs::LogSource;
use fairlead_core::status::ServerPhase;
use fairlead_core::workload::Unavailable;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::ending::Reason;
use crate::gate::{Event, Prospect};
use crate::limits::{NOT_READY_RETRY, PORT_OPEN_MAX, START_WAIT_MAX};
use crate::lines::Tail;
use crate::readiness;
use crate::server::{Move, Server};
use crate::workload::Held;

/// Where the workload takes connections, while it does.
pub(crate) type Endpoint = watch::Sender<Option<SocketAddr>>;

/// Keeps the workload of `server` running until the supervisor goes.
pub(crate) async fn keep_running(server: Arc<Server>, port: u16, endpoint: Arc<Endpoint>) {
    let mut moves = server.moves.subscribe();
    loop {
        let generation = tokio::select! {
            () = server.closing.cancelled() => return,
            starting = moves.wait_for(|now| now.phase == ServerPhase::Starting) => match starting {
                Ok(now) => now.generation,
                Err(_) => return,
            },
        };
        let Ok(pass) = server.admit() else { continue };
        // A container has its port somewhere else, and the runtime finds a free one for it.
        let is_here = !server.spec.source.is_container();
        if is_here && readiness::listener(&readiness::of_this_machine(port)).await.is_some() {
            server.not_launched(Reason::new(format!("port {port} is taken by another process")), Prospect::Open);
            continue;
        }
        // A failed launch was counted, and the gate is closed: the loop waits for it.
        let Ok(held) = server.launch(pass).await else { continue };
        attend(&server, held, port, generation, &endpoint).await;
        endpoint.send_replace(None);
    }
}

/// Stays with one workload until it has ended.
async fn attend(server: &Arc<Server>, held: Held, port: u16, generation: u64, endpoint: &Endpoint) {
    let Held { stdin, stdout, lease, address, over, number } = held;
    let addresses = address.map_or_else(|| readiness::of_this_machine(port), |address| vec![address]);
    let lines = server.lines(number, Tail::default());
    server.tasks.spawn(lines.drain(Box::new(stdout), LogSource::Stdout));
    let mut moves = server.moves.subscribe();
    let unwanted = moves.wait_for(|now: &Move| !now.is_open() || now.generation != generation);
    tokio::select! {
        () = over.cancelled() => return,
        _ = unwanted => {}
        () = announce(server, port, &addresses, endpoint) => {}
    }
    endpoint.send_replace(None);
    drop((stdin, lease));
    over.cancelled().await;
}

/// Tells where the workload listens once it does. Ready only if it never does.
async fn announce(server: &Server, port: u16, addresses: &[SocketAddr], endpoint: &Endpoint) {
    if let Ok(address) = timeout(PORT_OPEN_MAX, readiness::opened(addresses)).await {
        endpoint.send_replace(Some(address));
        return std::future::pending().await;
    }
    let reason = format!("did not open port {port} within {} s", PORT_OPEN_MAX.as_secs());
    server.apply(Event::NotReady { reason: Reason::new(reason) });
}

/// Waits for the endpoint, as long as a client would.
pub(crate) async fn endpoint(server: &Arc<Server>, port: u16, endpoint: &Endpoint) -> Result<SocketAddr, Unavailable> {
    server.check()?;
    if let Some(address) = *endpoint.borrow() {
        return Ok(address);
    }
    let mut addresses = endpoint.subscribe();
    let mut moves = server.moves.subscribe();
    let wait = async {
        loop {
            server.check()?;
            if let Some(address) = *addresses.borrow_and_update() {
                return Ok(address);
            }
            // The senders live as long as the server that is held here.
            tokio::select! {
                _ = addresses.changed() => {}
                _ = moves.changed() => {}
            }
        }
    };
    timeout(START_WAIT_MAX, wait).await.unwrap_or_else(|_| {
        let reason = format!("it has not opened port {port} yet");
        Err(Unavailable::NotReady { reason, retry_after: NOT_READY_RETRY })
    })
}
