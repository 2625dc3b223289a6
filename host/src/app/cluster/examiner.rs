//! The look at a server of a cluster that nobody reaches yet: its proxies would come to it as we do, by the same configuration.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use fairlead_core::BoxFuture;
use fairlead_core::chain::Chain;
use fairlead_core::era::Forgetful;
use fairlead_core::freshness::ToolShape;
use fairlead_core::pod::{PodConfig, PodUpstream};
use fairlead_core::server::Isolation;
use fairlead_operator::controller::{Examiner, Reach, Visit};
use fairlead_operator::trial::Unexamined;
use fairlead_proxy::limits::EXAMINED_BYTES_MAX;
use fairlead_proxy::{Lookup, ProbeError, Proxy, ProxyConfig, Replicas, Route, Wire};

use crate::app::pod::Fixed;
use crate::app::wire::wire_of;
use crate::limits::CANDIDATE_ANSWER_MAX;
use crate::text;

/// Comes to servers in pods as a client does.
pub(super) struct PodExaminer {
    proxy: Arc<Proxy>,
}

impl Default for PodExaminer {
    fn default() -> Self {
        // One program for the servers of all: none of them fills its memory.
        let config = ProxyConfig { line_bytes_max: EXAMINED_BYTES_MAX, ..ProxyConfig::default() };
        Self { proxy: Proxy::new(config) }
    }
}

impl Examiner for PodExaminer {
    fn examine(&self, visit: Visit) -> BoxFuture<'_, Result<Vec<ToolShape>, Unexamined>> {
        Box::pin(async move {
            let route = route(visit).ok_or_else(|| Unexamined::Cut("there is no way to it".to_owned()))?;
            let examined = self.proxy.examine(route, CANDIDATE_ANSWER_MAX).await;
            examined.map(|examined| examined.tools).map_err(|error| unexamined(&error))
        })
    }
}

/// The way that its proxies take, to one pod. `None`: they take another.
fn route(Visit { config, reach }: Visit) -> Option<Route> {
    let PodConfig { server: key, upstream, isolation, bridge, .. } = config;
    let (wire, upstream, replicas) = match (upstream, reach) {
        (PodUpstream::Attach { .. }, Reach::Streams(upstream)) => {
            (Wire::Stdio { isolation: Isolation::Shared }, upstream, Replicas::default())
        }
        (PodUpstream::Service { origin, transport }, Reach::Address(address)) => {
            let url = format!("{origin}{}", transport.path()?);
            // It hears the name that it is called by, and some listen to no other.
            let replicas = Replicas { members: Some(Arc::new(Leads(address))), ..Replicas::default() };
            (wire_of(&transport, isolation), Arc::new(Fixed { url }) as _, replicas)
        }
        _ => return None,
    };
    let (chain, eras) = (Arc::new(Chain::new(Vec::new())), Arc::new(Forgetful::default()));
    Some(Route { key, wire, upstream, chain, eras, remote: None, bridge, replicas })
}

/// Leads to one address, whatever the name.
struct Leads(SocketAddr);

impl Lookup for Leads {
    fn addresses<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async { Ok(vec![self.0]) })
    }
}

/// What a server did, told from what was done to the connection.
fn unexamined(error: &ProbeError) -> Unexamined {
    let text = text::chain(error);
    match error {
        ProbeError::Status(401 | 403) => Unexamined::Guarded(text),
        ProbeError::Refused { .. } | ProbeError::Status(_) | ProbeError::Nonsense(_) => Unexamined::Unfit(text),
        ProbeError::Deadline(_) => Unexamined::Silent(text),
        ProbeError::Unknown | ProbeError::Unavailable(_) | ProbeError::Ended | ProbeError::Broken(_) => {
            Unexamined::Cut(text)
        }
    }
}
