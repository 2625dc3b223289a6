//! Servers that listen on a port: reached from this machine alone, and reaching what their profile says.

use fairlead_core::permission::PermissionProfile;
use fairlead_core::workload::Exit;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::confinement::Network;
use super::scene::{Bench, Started, launch, soon};
use super::*;

pub(super) async fn serve(bench: &Bench, permissions: PermissionProfile) -> Started {
    let launch = Launch { port: Some(8080), ..launch(ImageSource { permissions, ..bench.source(&["serve", "8080"]) }) };
    let mut started = bench.start_launch(&launch).await;
    assert_eq!(started.line().await, "listening\n");
    started
}

pub(super) async fn answers(address: SocketAddr) {
    // A port that lets in through a porter opens a moment after that of the server.
    let connected = async {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return stream,
                Err(_) => sleep(ENGINE_POLL_FIRST).await,
            }
        }
    };
    let mut stream = soon(connected).await;
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"hello");
}

#[tokio::test]
async fn a_port_is_published_on_loopback_alone() {
    let Some(bench) = Bench::new().await else { return };
    let started = serve(&bench, PermissionProfile::network()).await;
    let address = started.handle.address().unwrap();
    assert!(address.ip().is_loopback(), "{address}");
    answers(address).await;
    let ports = bench.inspect(&started).await.network_settings.unwrap().ports.unwrap();
    let hosts: Vec<_> = ports.into_values().flatten().flatten().filter_map(|binding| binding.host_ip).collect();
    assert_eq!(hosts, ["127.0.0.1"]);
    assert_eq!(soon(started.handle.stop(std::time::Duration::from_secs(5))).await, Exit::Signal(15));
    bench.done().await;
}

#[test]
fn a_closed_network_that_cannot_be_reached_is_refused_with_the_remedy() {
    use fairlead_core::permission::NetworkAccess;

    let error = confinement::network(NetworkAccess::Closed, Some(80), &Facts::default()).unwrap_err();
    assert!(error.to_string().contains("virtual machine"), "{error}");
    assert!(error.hint().unwrap().contains("`network`"));
    assert_eq!(confinement::network(NetworkAccess::Closed, None, &Facts::default()).unwrap(), Network::None);
}
