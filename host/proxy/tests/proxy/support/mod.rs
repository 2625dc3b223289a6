//! A proxy to test, clients for it, servers behind it.

mod client;
mod http_server;
mod legacy;
mod links;
mod server;

use std::sync::Arc;
use std::time::Duration;

use fairlead_core::chain::Chain;
use fairlead_core::era::Forgetful;
use fairlead_core::name::{ServerKey, ServerName, TenantName};
use fairlead_core::server::Isolation;
use fairlead_core::workload::Upstream;
use fairlead_proxy::{Proxy, ProxyConfig, Route, Wire};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use client::{Client, Reply};
pub(crate) use http_server::{HttpServer, Seen};
pub(crate) use legacy::{At, LegacyClient};
pub(crate) use links::{Scripted, link, rejection};
pub(crate) use server::FakeServer;

/// Nothing in these tests takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const SESSION: Wire = Wire::Stdio { isolation: Isolation::Session };
pub(crate) const SHARED: Wire = Wire::Stdio { isolation: Isolation::Shared };

/// A proxy that listens.
pub(crate) struct Scene {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinSet<std::io::Result<()>>,
}

pub(crate) fn key(name: &str) -> ServerKey {
    ServerKey { tenant: TenantName::default(), name: ServerName::new(name).unwrap() }
}

pub(crate) fn route(name: &str, wire: Wire, upstream: Arc<dyn Upstream>, chain: Chain) -> Route {
    Route {
        key: key(name),
        wire,
        upstream,
        chain: Arc::new(chain),
        eras: Arc::new(Forgetful::default()),
        remote: None,
        bridge: false,
        replicas: fairlead_proxy::Replicas::default(),
    }
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(ProxyConfig::default()).await
    }

    pub(crate) async fn with(config: ProxyConfig) -> Self {
        let proxy = Proxy::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let mut serving = JoinSet::new();
        let (served, token) = (Arc::clone(&proxy), stop.clone());
        serving.spawn(async move { served.serve(listener, token).await });
        Self { proxy, address, stop, serving }
    }

    pub(crate) fn publish(&self, name: &str, wire: Wire, upstream: Arc<dyn Upstream>, chain: Chain) {
        self.proxy.publish(route(name, wire, upstream, chain));
    }

    /// A server behind one of ours, without middleware.
    pub(crate) async fn server(wire: Wire) -> (Self, Arc<FakeServer>) {
        let scene = Self::new().await;
        let server = FakeServer::new();
        scene.publish("one", wire, server.clone(), Chain::default());
        (scene, server)
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/s/{name}/mcp", self.address)
    }

    /// A client without a session.
    pub(crate) fn stranger(&self) -> Client {
        Client::new(&self.url("one"))
    }

    /// A client that has initialised.
    pub(crate) async fn client(&self) -> Client {
        let client = self.stranger();
        client.initialize("2025-11-25").await;
        client
    }
}

/// Waits, with patience, until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
