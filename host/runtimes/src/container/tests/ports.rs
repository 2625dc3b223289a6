//! Servers that listen on a port: reached from this machine alone, and reaching what their profile says.

use fairlead_core::permission::PermissionProfile;
use fairlead_core::workload::Exit;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::scene::{Bench, Started, launch, skipped, soon};
use super::*;

async fn serve(bench: &Bench, permissions: PermissionProfile) -> Started {
    let launch = Launch { port: Some(8080), ..launch(ImageSource { permissions, ..bench.source(&["serve", "8080"]) }) };
    let mut started = bench.start_launch(&launch).await;
    assert_eq!(started.line().await, "listening\n");
    started
}

async fn answers(address: SocketAddr) {
    let mut stream = soon(TcpStream::connect(address)).await.unwrap();
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

#[tokio::test]
async fn a_closed_network_lets_this_machine_in_and_nothing_out() {
    let Some(bench) = Bench::new().await else { return };
    if !bench.engine.facts().shares_networks {
        return skipped("the networks of this engine are not this machine's").unwrap_or_default();
    }
    let closed = serve(&bench, PermissionProfile::none()).await;
    answers(closed.handle.address().unwrap()).await;
    let inspected = bench.inspect(&closed).await;
    let host = inspected.host_config.unwrap();
    assert_eq!(host.dns, Some(vec!["127.0.0.1".to_owned()]));
    assert!(host.port_bindings.unwrap_or_default().is_empty());
    let network = host.network_mode.unwrap();
    let described = bench.engine.docker().inspect_network(&network, None).await.unwrap();
    assert_eq!(described.internal, Some(true));

    // This machine is the gateway of that network; what listens on its loopback alone, as our own API does, is not there.
    let api = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = described.ipam.and_then(|ipam| ipam.config).into_iter().flatten().find_map(|range| range.gateway);
    let api = format!("{}:{}", gateway.expect("a gateway"), api.local_addr().unwrap().port());

    // Another server, on an open network, is a host that a closed one must not reach; nor is one on a closed one.
    let open = serve(&bench, PermissionProfile::network()).await;
    let networks = bench.inspect(&open).await.network_settings.unwrap().networks.unwrap();
    let neighbour = networks.into_values().find_map(|network| network.ip_address).unwrap();
    for address in [format!("{neighbour}:8080"), closed.handle.address().unwrap().to_string(), api] {
        let permissions = PermissionProfile::none();
        let source = ImageSource { permissions, ..bench.source(&["connect", &address]) };
        for port in [None, Some(1)] {
            let (_, said) = bench.start_launch(&Launch { port, ..launch(source.clone()) }).await.finished().await;
            assert_eq!(said, "out of reach\n", "{address} with port {port:?}");
        }
    }
    let source = ImageSource {
        permissions: PermissionProfile::network(),
        ..bench.source(&["connect", &format!("{neighbour}:8080")])
    };
    let (_, said) = bench.start_launch(&launch(source)).await.finished().await;
    assert_eq!(said, "reached\n", "so that the others were kept from something that is there");

    drop((closed, open));
    soon(bench.runtime.settled()).await;
    assert_eq!(bench.left().await, []);
    assert!(bench.engine.docker().inspect_network(&network, None).await.is_err(), "the network went with its server");
}

#[test]
fn a_closed_network_that_cannot_be_reached_is_refused_with_the_remedy() {
    use fairlead_core::permission::NetworkAccess;

    let error = confinement::network(NetworkAccess::Closed, Some(80), "n", &Facts::default()).unwrap_err();
    assert!(error.to_string().contains("virtual machine"), "{error}");
    assert!(error.hint().unwrap().contains("`network`"));
    assert_eq!(confinement::network(NetworkAccess::Closed, None, "n", &Facts::default()).unwrap(), Network::None);
}
