//! `fairlead registry serve`: the catalogue and nothing else. No server runs, no socket is opened, no command talks to it: what it
//! reads stands in a file, which is how a cluster says things.
//!
//! It owns the state of its home as a daemon does, so there is one of both. Tokens that were made there are good here; unless it is
//! one of a cluster, which then says itself who may read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use fairlead_core::clock::Clock;
use fairlead_core::name::{RegistryName, TenantName};
use fairlead_core::problem::Problem;
use fairlead_dial::NetDialer;
use fairlead_git::GitClient;
use fairlead_oci::InsecureRegistries;
use fairlead_operator::review::{Reviewer, Verdict};
use fairlead_registry::spec::RegistrySpec;
use fairlead_wasm::{Compiler, PluginHost, PluginHostConfig};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::instance::Lock;
use super::plugins::Plugins;
use super::registries::{Outside, Registries};
use super::shelf::Shelf;
use super::tenants::Tenancy;
use super::{BuildError, MachineClock, listen_for_catalogue, open_when_free, registries};
use crate::api::types::registry::CreateRegistry;
use crate::api::{self, Admission, Gate, Passage, Visitors};
use crate::config::Settings;
use crate::secrets::Providers;
use crate::yaml;

/// What a file says: registries of the tenant `default`, by name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Declared {
    registries: BTreeMap<RegistryName, RegistrySpec>,
}

impl Declared {
    /// Reads a file, in YAML or JSON.
    ///
    /// # Errors
    /// It is none, or says something else.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        yaml::one(&text)
    }
}

/// What a registry server is given.
pub(crate) struct Given {
    /// Its registries; without them, those that were added here.
    pub(crate) declared: Option<Declared>,
    /// Namespace and name of the `MCPRegistry` that it is: then the cluster is asked who may read it.
    pub(crate) reviewed_for: Option<(String, String)>,
}

/// Serves the catalogue until `stop`; `announce` is called once it does.
///
/// # Errors
/// Another process owns the state, or nobody can be listened to.
pub(crate) async fn serve_registries(
    settings: Settings,
    Given { declared, reviewed_for }: Given,
    stop: CancellationToken,
    announce: impl FnOnce(SocketAddr) + Send,
) -> Result<(), BuildError> {
    let directories = &settings.directories;
    let clock: Arc<dyn Clock> = Arc::new(MachineClock);
    let _lock = Lock::take(&directories.lock()).await?;
    let store = open_when_free(&directories.store(), false, &clock).await?;
    let tenancy = Arc::new(Tenancy::load(&*store).await?);
    let secrets = Arc::new(Providers::new(&settings, Arc::clone(&clock)));
    let program = std::env::current_exe().map_err(|source| BuildError::Io { what: "find this program", source })?;
    let host = PluginHost::new(PluginHostConfig {
        secrets: Some(Arc::clone(&secrets) as _),
        compiler: Compiler::Child { program },
        dialer: Some(Arc::new(NetDialer::new())),
        clock: Arc::clone(&clock),
        ..PluginHostConfig::new(directories.cache.join("components"), store.kv() as _)
    })?;
    let outside = Outside {
        plugins: Plugins { host, shelf: Shelf::new(&settings) },
        oci: Arc::new(registries(InsecureRegistries::default())),
        git: Arc::new(GitClient::new(Arc::new(NetDialer::new()), directories.cache.join("git"))),
        secrets: secrets as _,
    };
    let catalogue = Registries::load(directories.registries(), outside, Arc::clone(&clock))
        .map_err(|source| BuildError::Io { what: "read the list of registries", source })?;
    let catalogue = Arc::new(catalogue);
    let wanted = settings.registry_address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    let (listener, address) = listen_for_catalogue(wanted).await?;
    let admission = match reviewed_for {
        Some((namespace, name)) => Admission::Cluster(gate(Reviewer::find(&namespace, &name).await?)),
        None => Admission::Callers {
            callers: Arc::new(move |token| tenancy.caller(token, clock.now())),
            tokens_only: settings.registry_tokens,
        },
    };
    let visitors = Visitors::new(admission);
    let tasks = TaskTracker::new();
    let serving = tasks.spawn(api::serve_catalogue(listener, Arc::clone(&catalogue), visitors, stop.clone()));
    announce(address);
    if let Some(declared) = declared {
        // What was read before is served meanwhile.
        let (catalogue, stop) = (Arc::clone(&catalogue), stop.clone());
        // A source may take its time, and whoever stops this has none.
        tasks.spawn(async move { stop.run_until_cancelled(declare(&catalogue, declared)).await });
    }
    tasks.spawn(Arc::clone(&catalogue).keep_fresh(stop.clone()));
    stop.cancelled().await;
    tasks.close();
    let served = serving.await;
    tasks.wait().await;
    let broken = |source| BuildError::Io { what: "serve the catalogue", source };
    served.map_err(std::io::Error::other).and_then(|served| served).map_err(broken)
}

/// Whom the cluster lets in.
fn gate(reviewer: Reviewer) -> Gate {
    let reviewer = Arc::new(reviewer);
    Arc::new(move |token| {
        let reviewer = Arc::clone(&reviewer);
        Box::pin(async move {
            match reviewer.review(&token).await {
                Verdict::Admitted => Passage::Open,
                Verdict::Refused => Passage::Refused,
                Verdict::Stranger => Passage::Unknown,
                Verdict::Unanswered => Passage::Silent,
            }
        })
    })
}

/// Makes the registries what the file says. One that cannot be used is told, and the others are.
async fn declare(catalogue: &Arc<Registries>, Declared { registries: wanted }: Declared) {
    let tenant = TenantName::default();
    for known in catalogue.list(&tenant) {
        if !wanted.contains_key(&known.name) {
            told(&known.name, catalogue.remove(&tenant, &known.name).await);
        }
    }
    for (name, spec) in wanted {
        let known = catalogue.get(&tenant, &name).ok();
        let request = CreateRegistry { tenant: tenant.clone(), name: name.clone(), spec };
        match known {
            None => told(&name, catalogue.add(request).await),
            // What was read of it stays, whatever becomes of the change.
            Some(known) if known.spec != request.spec => told(&name, catalogue.replace(request).await),
            Some(_) => {}
        }
    }
}

fn told<T>(name: &RegistryName, outcome: Result<T, Problem>) {
    if let Err(problem) = outcome {
        tracing::error!(fairlead.registry = %name, problem.detail, "a registry is not what the file says");
    }
}
