//! Routes: which server answers at which address, and through which chain.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use fairlead_core::chain::Chain;
use fairlead_core::era::EraMemory;
use fairlead_core::name::{ServerKey, ServerName, TenantName};
use fairlead_core::server::Isolation;
use fairlead_core::session::SessionStore;
use fairlead_core::workload::Upstream;
use parking_lot::Mutex;

use crate::chain::ChainSet;
use crate::elder;
use crate::http::{Endpoint, Lookup};
use crate::legacy::Listeners;
use crate::modern::ModernAccess;
use crate::moments::Owners;
use crate::remote::Remote;
use crate::session::Sessions;
use crate::stdio::ServerAccess;
use crate::succession::Opened;

/// How a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// One message per line on a pipe.
    Stdio {
        /// Who shares a process.
        isolation: Isolation,
    },
    /// Streamable HTTP.
    Http,
    /// HTTP+SSE, the transport of 2024-11-05.
    Sse {
        /// Who shares a stream.
        isolation: Isolation,
    },
    /// One of the two over HTTP; the probe finds out which.
    Detect {
        /// Who shares a stream, if it is HTTP+SSE.
        isolation: Isolation,
    },
}

/// A server in the data plane.
pub struct Route {
    /// Its name.
    pub key: ServerKey,
    /// How it speaks.
    pub wire: Wire,
    /// How it is reached.
    pub upstream: Arc<dyn Upstream>,
    /// What its messages pass.
    pub chain: Arc<Chain>,
    /// Which eras of MCP it speaks, as far as that is known.
    pub eras: Arc<dyn EraMemory>,
    /// How it is reached when it runs elsewhere.
    pub remote: Option<Arc<Remote>>,
    /// Whether clients of the newest era are served also where the server speaks the legacy era only.
    pub bridge: bool,
    /// Where it, or this data plane, is one of several.
    pub replicas: Replicas,
}

/// What a route needs where its server, or the data plane itself, is one of several. By default neither is.
#[derive(Clone, Default)]
pub struct Replicas {
    /// Keeps sessions for other data planes of the same server.
    pub sessions: Option<Arc<dyn SessionStore>>,
    /// Finds the addresses of a server that has several, each of which keeps sessions of its own.
    pub members: Option<Arc<dyn Lookup>>,
}

impl std::fmt::Debug for Replicas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sessions, members) = (self.sessions.is_some(), self.members.is_some());
        f.debug_struct("Replicas").field("sessions", &sessions).field("members", &members).finish()
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route").field("key", &self.key).field("wire", &self.wire).finish_non_exhaustive()
    }
}

/// A published route.
pub(crate) struct Published {
    pub(crate) key: Arc<ServerKey>,
    wire: Wire,
    /// What was found out where that was left open: HTTP+SSE.
    is_sse: AtomicBool,
    pub(crate) upstream: Arc<dyn Upstream>,
    chain: ArcSwap<ChainSet>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) access: ServerAccess,
    pub(crate) modern: ModernAccess,
    pub(crate) eras: Arc<dyn EraMemory>,
    pub(crate) endpoint: Endpoint,
    pub(crate) bridge: bool,
    /// Sessions that clients of the newest era borrow.
    pub(crate) elder: elder::Sessions,
    /// Who opened the sessions that the server keeps itself.
    pub(crate) owners: Owners,
    /// The same, where other data planes have to know it as well.
    pub(crate) shared: Option<Arc<dyn SessionStore>>,
    /// Clients of 2024-11-05.
    pub(crate) listeners: Listeners,
    /// The revision before this one, as long as sessions of it are used, and those that were opened since.
    pub(crate) before: ArcSwapOption<Published>,
    pub(crate) opened: Opened,
}

impl Published {
    pub(crate) fn new(route: Route) -> Self {
        Self {
            key: Arc::new(route.key),
            wire: route.wire,
            is_sse: AtomicBool::new(false),
            upstream: route.upstream,
            chain: ArcSwap::new(ChainSet::new(route.chain)),
            sessions: Arc::default(),
            access: ServerAccess::default(),
            modern: ModernAccess::default(),
            eras: route.eras,
            endpoint: Endpoint::new(route.remote, route.replicas.members),
            bridge: route.bridge,
            elder: elder::Sessions::default(),
            owners: Owners::default(),
            shared: route.replicas.sessions,
            listeners: Listeners::default(),
            before: ArcSwapOption::empty(),
            opened: Opened::default(),
        }
    }

    /// The one that comes after `before`: with its chain, and what that has counted.
    pub(crate) fn after(before: &Arc<Self>, route: Route) -> Self {
        let next = Self { elder: elder::Sessions::after(&before.elder), ..Self::new(route) };
        next.chain.store(before.chain());
        next.before.store(Some(Arc::clone(before)));
        next
    }

    /// How the server speaks, as far as that is known.
    pub(crate) fn wire(&self) -> Wire {
        match self.wire {
            Wire::Detect { isolation } if self.is_sse.load(Ordering::Acquire) => Wire::Sse { isolation },
            wire => wire,
        }
    }

    /// It was found out how the server speaks.
    pub(crate) fn found(&self, is_sse: bool) {
        self.is_sse.store(is_sse, Ordering::Release);
    }

    /// Whether that had to be found out.
    pub(crate) fn is_detected(&self) -> bool {
        matches!(self.wire, Wire::Detect { .. })
    }

    /// The chain of now. Whoever begins an exchange keeps it to the end.
    pub(crate) fn chain(&self) -> Arc<ChainSet> {
        self.chain.load_full()
    }

    /// Also where sessions of the revision before are still served: they are guarded like all others.
    fn use_chain(&self, chain: &Arc<ChainSet>) {
        self.chain.store(Arc::clone(chain));
        if let Some(before) = &*self.before.load() {
            before.use_chain(chain);
        }
    }
}

type ByName = HashMap<TenantName, HashMap<ServerName, Arc<Published>>>;

/// All routes. Read for each request, without a lock; changed rarely.
#[derive(Default)]
pub(crate) struct Routes {
    current: ArcSwap<ByName>,
    writing: Mutex<()>,
}

impl Routes {
    /// Looked up by text, so that a request allocates nothing to find its server.
    pub(crate) fn find(&self, tenant: &str, server: &str) -> Option<Arc<Published>> {
        self.current.load().get(tenant)?.get(server).cloned()
    }

    pub(crate) fn get(&self, key: &ServerKey) -> Option<Arc<Published>> {
        self.find(key.tenant.as_str(), key.name.as_str())
    }

    /// Puts a route in; gives back the one whose place it took.
    pub(crate) fn insert(&self, route: Arc<Published>) -> Option<Arc<Published>> {
        let _writing = self.writing.lock();
        let mut routes = ByName::clone(&self.current.load());
        let key = &route.key;
        let old = routes.entry(key.tenant.clone()).or_default().insert(key.name.clone(), Arc::clone(&route));
        self.current.store(Arc::new(routes));
        old
    }

    /// Puts a revision into the place of the one before it: both of them, or nothing when there is none.
    pub(crate) fn succeed(&self, key: &ServerKey, route: Route) -> Option<(Arc<Published>, Arc<Published>)> {
        let _writing = self.writing.lock();
        let mut routes = ByName::clone(&self.current.load());
        let place = routes.get_mut(&key.tenant)?.get_mut(&key.name)?;
        let old = Arc::clone(place);
        let new = Arc::new(Published::after(&old, route));
        *place = Arc::clone(&new);
        self.current.store(Arc::new(routes));
        Some((old, new))
    }

    /// Gives a route another chain. Not while it is being succeeded: the revision after would be left with the chain of before.
    pub(crate) fn swap_chain(&self, key: &ServerKey, chain: Arc<Chain>) -> bool {
        let _writing = self.writing.lock();
        let route = self.get(key);
        if let Some(route) = &route {
            route.use_chain(&ChainSet::new(chain));
        }
        route.is_some()
    }

    pub(crate) fn remove(&self, key: &ServerKey) -> Option<Arc<Published>> {
        let _writing = self.writing.lock();
        let mut routes = ByName::clone(&self.current.load());
        let servers = routes.get_mut(&key.tenant)?;
        let old = servers.remove(&key.name)?;
        if servers.is_empty() {
            routes.remove(&key.tenant);
        }
        self.current.store(Arc::new(routes));
        Some(old)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Published>> {
        self.current.load().values().flat_map(HashMap::values).cloned().collect()
    }
}
