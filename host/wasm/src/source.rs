//! Registry sources in use: a plugin with configuration and grants behind core's port.
//!
//! Each synchronisation has an instance of its own, for as long as it takes and not longer; so a source may hold what it read
//! between two pages, and nothing of one synchronisation reaches the next but what the contract names. Whatever goes wrong with
//! the guest is an error of this synchronisation; the catalogue keeps what it had.

use std::sync::Arc;
use std::time::Instant;

use fairlead_core::BoxFuture;
use fairlead_core::grant::{self, Grants};
use fairlead_core::kv::KvScope;
use fairlead_core::limits::{CONFIGURE_MAX, PLUGIN_MEMORY_BYTES_MAX};
use fairlead_core::name::{AttachmentName, TenantName};
use fairlead_core::plugin::Capability;
use fairlead_core::registry::{
    PageRequest, RegistrySource, SourceAnswer, SourceEntry, SourceError, SourceFeatures, SourceSession,
};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use wasmtime::Store;

use crate::attach::{AttachError, check_config};
use crate::audit::ComponentKind;
use crate::bounds::{Bounds, Time};
use crate::fault;
use crate::host::PluginHost;
use crate::limits::{REQUESTS_AT_ONCE, SOURCE_CPU_MAX, SOURCE_WALL_MAX};
use crate::log_gate::LogGate;
use crate::metrics::Metrics;
use crate::owner::{Counts, Owner};
use crate::placeholders::Placeholders;
use crate::plugin::Plugin;
use crate::slots::Slot;
use crate::state::State;
use crate::v0_1::Source;

/// A source put to use: for whom, and with what.
#[derive(Debug, Clone)]
pub struct SourceAttachment {
    /// The tenant whose registry it is.
    pub tenant: TenantName,
    /// Name of the registry; the scope of the plugin's state.
    pub name: AttachmentName,
    /// Its configuration.
    pub config: Value,
    /// What it was given.
    pub grants: Vec<Capability>,
}

/// A source with configuration and grants.
struct Configured {
    host: Arc<PluginHost>,
    plugin: Arc<Plugin>,
    owner: Arc<Owner>,
    config: String,
}

impl RegistrySource for Configured {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn SourceSession>, SourceError>> {
        Box::pin(async {
            let session = self.host.engines().ticker.during(self.begin()).await?;
            Ok(Box::new(session) as Box<dyn SourceSession>)
        })
    }
}

impl Configured {
    async fn begin(&self) -> Result<Session, SourceError> {
        let until = tokio::time::Instant::now() + CONFIGURE_MAX;
        let broken = |text: String| SourceError::Fault(format!("cannot be started: {text}"));
        let prepared = self.plugin.source().ok_or_else(|| broken("it is no registry source".to_owned()))?;
        let slot = self.host.slots().take(&self.owner.scope.tenant, until).await;
        let slot = slot.ok_or_else(|| broken("there are too many instances of plugins".to_owned()))?;
        let bounds = Bounds::new(CONFIGURE_MAX, CONFIGURE_MAX, PLUGIN_MEMORY_BYTES_MAX);
        let engine = &self.host.engines().plugins;
        let mut store = Store::new(engine, State::new(Arc::clone(&self.owner), bounds));
        Bounds::enforce(&mut store, |state: &mut State| &mut state.bounds);
        let made = timeout_at(until, async {
            let source = prepared.instantiate(&mut store).await?;
            let features = source.configure(&mut store, &self.config).await?;
            Ok((source, features))
        });
        match made.await {
            Ok(Ok((source, features))) => {
                let features = features?;
                self.owner.counts.created();
                let (host, owner) = (Arc::clone(&self.host), Arc::clone(&self.owner));
                Ok(Session { host, owner, features, instance: Some((store, source)), _slot: slot })
            }
            Ok(Err(error)) => {
                let fault = fault::of(&error, &mut store.data_mut().bounds);
                self.owner.counts.fault(&fault);
                Err(broken(fault.to_string()))
            }
            Err(_) => Err(broken(format!("no answer within {CONFIGURE_MAX:?}"))),
        }
    }
}

/// One synchronisation. The slot is given free after the store is gone: fields drop in this order.
struct Session {
    host: Arc<PluginHost>,
    owner: Arc<Owner>,
    features: SourceFeatures,
    /// None after a fault.
    instance: Option<(Store<State>, Source)>,
    _slot: Slot,
}

/// What a session is asked.
enum Question<'a> {
    Page(&'a PageRequest),
    Entry(SourceEntry),
}

/// What it says.
enum Said {
    Page(SourceAnswer),
    Entry(Option<SourceEntry>),
}

impl Session {
    /// Asks the instance; after a fault there is none any more.
    async fn ask(&mut self, question: Question<'_>) -> Result<Said, SourceError> {
        let Some((mut store, source)) = self.instance.take() else {
            return Err(SourceError::Fault("is broken".to_owned()));
        };
        self.owner.counts.call();
        let time = Time::new(SOURCE_CPU_MAX, SOURCE_WALL_MAX);
        store.data_mut().bounds.time = time;
        store.set_epoch_deadline(1);
        let work = async {
            Ok(match question {
                Question::Page(request) => source.enumerate(&mut store, request).await?.map(Said::Page),
                Question::Entry(entry) => source.transform(&mut store, entry).await?.map(Said::Entry),
            })
        };
        match timeout_at(time.until(), self.host.engines().ticker.during(work)).await {
            Ok(Ok(answer)) => {
                self.owner.counts.memory(store.data().bounds.memory.bytes());
                self.instance = Some((store, source));
                answer
            }
            Ok(Err(error)) => {
                let fault = fault::of(&error, &mut store.data_mut().bounds);
                self.owner.counts.fault(&fault);
                self.owner.counts.retired();
                Err(SourceError::Fault(fault.to_string()))
            }
            Err(_) => {
                self.owner.counts.retired();
                Err(SourceError::Deadline(SOURCE_WALL_MAX.as_secs()))
            }
        }
    }
}

impl SourceSession for Session {
    fn features(&self) -> SourceFeatures {
        self.features
    }

    fn enumerate<'a>(&'a mut self, request: &'a PageRequest) -> BoxFuture<'a, Result<SourceAnswer, SourceError>> {
        Box::pin(async move {
            match self.ask(Question::Page(request)).await? {
                Said::Page(answer) => Ok(answer),
                Said::Entry(_) => Err(SourceError::Fault("answered another question".to_owned())),
            }
        })
    }

    fn transform(&mut self, entry: SourceEntry) -> BoxFuture<'_, Result<Option<SourceEntry>, SourceError>> {
        Box::pin(async move {
            match self.ask(Question::Entry(entry)).await? {
                Said::Entry(entry) => Ok(entry),
                Said::Page(_) => Err(SourceError::Fault("answered another question".to_owned())),
            }
        })
    }
}

/// Checks configuration and grants, and makes a source of the plugin.
pub(crate) async fn source(
    host: &Arc<PluginHost>,
    plugin: &Arc<Plugin>,
    attachment: SourceAttachment,
) -> Result<Arc<dyn RegistrySource>, AttachError> {
    let SourceAttachment { tenant, name, config, grants } = attachment;
    let manifest = plugin.manifest();
    let called = || manifest.name.clone();
    if plugin.source().is_none() {
        let kind = ComponentKind::Plugin(manifest.kind).to_string();
        return Err(AttachError::NoSource { plugin: called(), kind });
    }
    let (config, warnings) = check_config(host, plugin, &config).await?;
    for warning in warnings {
        tracing::warn!(fairlead.plugin.name = manifest.name, fairlead.registry = %name, "{warning}");
    }
    let missing = grant::missing(&manifest.capabilities, &grants);
    if !missing.is_empty() {
        return Err(AttachError::Grants { plugin: called(), missing });
    }
    let grants = Grants::of(&grants).map_err(|error| AttachError::Grant { plugin: called(), error })?;
    let owner = Owner {
        grants,
        requests: Arc::new(Semaphore::new(REQUESTS_AT_ONCE)),
        scope: KvScope { tenant, place: "registry".to_owned(), attachment: name },
        plugin: called(),
        services: host.services().clone(),
        gate: LogGate::new(),
        metrics: Metrics::default(),
        counts: Counts::default(),
        placeholders: Placeholders::default(),
        born: Instant::now(),
    };
    Ok(Arc::new(Configured { host: Arc::clone(host), plugin: Arc::clone(plugin), owner: Arc::new(owner), config }))
}
