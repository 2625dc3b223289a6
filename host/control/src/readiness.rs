//! Whether something listens on a port of this machine: all that supervision knows of a network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::limits::{CONNECT_MAX, PORT_POLL_FIRST, PORT_POLL_MAX};

/// Where a server on this machine may listen. Node takes `localhost` for `::1` where there is one.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Where `port` of this machine may be.
pub(crate) fn of_this_machine(port: u16) -> Vec<SocketAddr> {
    LOOPBACK.map(|ip| SocketAddr::new(ip, port)).to_vec()
}

/// The first of these that takes a connection now.
pub(crate) async fn listener(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    for address in addresses {
        if let Ok(Ok(_)) = timeout(CONNECT_MAX, TcpStream::connect(address)).await {
            return Some(*address);
        }
    }
    None
}

/// Waits until one of these takes a connection, for ever if need be.
pub(crate) async fn opened(addresses: &[SocketAddr]) -> SocketAddr {
    let mut pause = PORT_POLL_FIRST;
    loop {
        if let Some(address) = listener(addresses).await {
            return address;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PORT_POLL_MAX);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_port_is_open_while_somebody_listens_on_either_loopback() {
        for ip in LOOPBACK {
            let Ok(socket) = TcpListener::bind((ip, 0)).await else { continue };
            let address = socket.local_addr().unwrap();
            assert_eq!(opened(&of_this_machine(address.port())).await, address);
            drop(socket);
            assert_eq!(listener(&of_this_machine(address.port())).await, None);
        }
    }
}
