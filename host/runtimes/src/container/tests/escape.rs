//! From inside a server with a closed network nothing can be reached: each way out is tried, and each is shown to be one by
//! taking it from a server with an open network, where this machine has it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use bollard::models::IpamConfig;
use bollard::query_parameters::InspectNetworkOptions;
use fairlead_core::permission::PermissionProfile;
use tokio::net::{TcpListener, UnixListener};

use super::ports::{answers, serve};
use super::scene::{Bench, launch, skipped, soon};
use super::*;

/// Addresses that lead somewhere from most machines: other hosts, their name servers, what clouds tell their machines.
const ELSEWHERE: &[&str] = &[
    "connect 1.1.1.1:443",
    "connect 8.8.8.8:53",
    "connect 169.254.169.254:80",
    "connect [fd00:ec2::254]:80",
    "connect [2606:4700:4700::1111]:443",
    "connect [fe80::1]:80",
    "connect 192.168.0.1:80",
    "connect 10.0.0.1:80",
    "ask 8.8.8.8:53",
    "ask 127.0.0.11:53",
    "ask [2001:4860:4860::8888]:53",
    "resolve example.com",
    "resolve host.docker.internal",
    "resolve localhost.localdomain.example",
    "socket /var/run/docker.sock",
    "socket /run/docker.sock",
    "socket /run/podman/podman.sock",
];

/// What of `what` a server finds, with a port or without, with a profile.
async fn found(bench: &Bench, permissions: PermissionProfile, port: Option<u16>, what: &[String]) -> Vec<String> {
    let mut source = ImageSource { permissions, ..bench.source(&["look"]) };
    source.args.extend(what.iter().cloned());
    let (_, said) = bench.start_launch(&Launch { port, ..launch(source) }).await.finished().await;
    let found = ["reached", "resolved", "answered"];
    let says = |line: &&str| found.iter().any(|found| line.ends_with(&format!(": {found}")));
    assert_eq!(said.lines().count(), what.len(), "{said}");
    said.lines().filter(says).map(str::to_owned).collect()
}

/// The address of this machine in a network. Of its bridge, an engine does not tell before its second start; it takes the first one.
fn gateway(range: IpamConfig) -> Option<String> {
    range.gateway.or_else(|| {
        let network: Ipv4Addr = range.subnet?.split('/').next()?.parse().ok()?;
        Some(Ipv4Addr::from_bits(network.to_bits() + 1).to_string())
    })
}

#[tokio::test]
async fn from_a_closed_network_nothing_can_be_reached() {
    let Some(bench) = Bench::new().await else { return };
    if !bench.engine.facts().shares_sockets {
        return skipped("this engine has no way into a closed network").unwrap_or_default();
    }
    // What a careless service of this machine does, and what our own API and data plane do.
    let everywhere = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let everywhere_v6 = TcpListener::bind("[::]:0").await.ok();
    let loopback = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let api = directory.path().join("api.sock");
    let _api = UnixListener::bind(&api).unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();

    let bridge = bench.engine.docker().inspect_network("bridge", None::<InspectNetworkOptions>).await.unwrap();
    let gateway = bridge.ipam.and_then(|ipam| ipam.config).into_iter().flatten().find_map(gateway);
    let gateway = gateway.expect("the engine's bridge has a gateway");
    let open = serve(&bench, PermissionProfile::network()).await;
    let networks = bench.inspect(&open).await.network_settings.unwrap().networks.unwrap();
    let neighbour = networks.into_values().find_map(|network| network.ip_address).unwrap();
    let closed = serve(&bench, PermissionProfile::none()).await;
    let door = closed.handle.address().unwrap();
    answers(door).await;

    let way_out = vec![format!("connect {gateway}:{}", port(&everywhere)), format!("connect {neighbour}:8080")];
    let mut tried = way_out.clone();
    tried.extend(ELSEWHERE.iter().map(|what| (*what).to_owned()));
    tried.extend(addresses().into_iter().map(|ip| {
        let listener = if ip.is_ipv6() { everywhere_v6.as_ref().unwrap_or(&everywhere) } else { &everywhere };
        format!("connect {}", SocketAddr::new(ip, port(listener)))
    }));
    tried.push(format!("connect {gateway}:{}", port(&loopback)));
    tried.push(format!("connect 127.0.0.1:{}", port(&loopback)));
    tried.push(format!("connect {door}"));
    tried.push(format!("socket {}", api.display()));

    let from_open = found(&bench, PermissionProfile::network(), None, &way_out).await;
    assert_eq!(
        from_open.len(),
        1,
        "the closed ones are kept from what is there, all from their neighbours: {from_open:?}"
    );
    answers(open.handle.address().unwrap()).await;
    for port in [None, Some(8080)] {
        assert_eq!(found(&bench, PermissionProfile::none(), port, &tried).await, Vec::<String>::new(), "port {port:?}");
    }
    let here = bench.inspect(&closed).await.host_config.unwrap();
    assert_eq!(here.network_mode.as_deref(), Some("none"));
    let interfaces = bench.look(bench.source(&[]), &["interfaces", "default-routes"]).await;
    assert_eq!(interfaces, ["interfaces: lo", "default-routes: 0"]);
    drop((open, closed));
    bench.done().await;
}

#[tokio::test]
async fn servers_with_an_open_network_do_not_reach_each_other() {
    let Some(bench) = Bench::new().await else { return };
    if bench.engine.facts().product == engine::PODMAN {
        return skipped("Podman keeps no two containers of a network apart").unwrap_or_default();
    }
    // On a network that somebody made for them they do, so that it is the network that keeps them apart.
    let name = format!("fairlead-{}", bench.home);
    let request = bollard::models::NetworkCreateRequest { name: name.clone(), ..Default::default() };
    bench.engine.docker().create_network(request).await.unwrap();
    let own = format!(r#"{{"network":{{"mode":"{name}","outbound":{{"insecure_allow_all":true}}}}}}"#);
    let own: PermissionProfile = serde_json::from_str(&own).unwrap();
    for (profile, reached) in [(own, 1), (PermissionProfile::network(), 0)] {
        let neighbour = serve(&bench, profile.clone()).await;
        let networks = bench.inspect(&neighbour).await.network_settings.unwrap().networks.unwrap();
        let address = networks.into_values().find_map(|network| network.ip_address).unwrap();
        let there = found(&bench, profile, None, &[format!("connect {address}:8080")]).await;
        assert_eq!(there.len(), reached, "{there:?}");
        answers(neighbour.handle.address().unwrap()).await;
        drop(neighbour);
        soon(bench.runtime.settled()).await;
    }
    bench.engine.docker().remove_network(&name).await.unwrap();
    bench.done().await;
}

#[tokio::test]
async fn a_server_that_listens_is_let_in_to_only_when_it_does_and_leaves_no_porter() {
    let Some(bench) = Bench::new().await else { return };
    if !bench.engine.facts().shares_sockets {
        return skipped("this engine has no way into a closed network").unwrap_or_default();
    }
    let silent = Launch { port: Some(8080), ..launch(bench.source(&["stubborn"])) };
    let mut silent = bench.start_launch(&silent).await;
    assert_eq!(silent.line().await, "ready\n");
    let refused = tokio::net::TcpStream::connect(silent.handle.address().unwrap()).await;
    assert!(refused.is_err(), "nobody listens in there");
    let serving = serve(&bench, PermissionProfile::none()).await;
    for _ in 0..3 {
        answers(serving.handle.address().unwrap()).await;
    }
    drop((silent, serving));
    soon(bench.runtime.settled()).await;
    bench.done().await;
}

/// Every address of this machine that others could use.
fn addresses() -> Vec<std::net::IpAddr> {
    // Connecting a datagram socket sends nothing; it only tells which address would be used.
    ["198.51.100.1:9", "[2001:db8::1]:9"]
        .iter()
        .filter_map(|to| {
            let local = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(local).ok()?;
            socket.connect(to).ok()?;
            Some(socket.local_addr().ok()?.ip())
        })
        .collect()
}
