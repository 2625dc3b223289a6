//! Containers that are ours by label: those that this daemon minds, and those that an earlier one left behind.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::ListContainersOptions;
use fairlead_core::name::{ServerKey, ServerName, TenantName};
use parking_lot::Mutex;
use serde::Serialize;

use super::confinement::label;
use super::engine::Engine;
use super::error::ContainerError;
use super::identity::Identity;

/// A container of this daemon's home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// What `end_leftover` understands.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The server that it belongs to; `None` when its labels were tampered with.
    pub server: Option<ServerKey>,
    /// The image, as the engine shows it.
    pub image: String,
    /// Name of the engine.
    pub engine: String,
    /// Whether it runs.
    pub running: bool,
    /// Whether this daemon minds it.
    pub minded: bool,
    /// How it was launched, when a daemon that finds it running can take it over; its porter has the same.
    #[serde(skip)]
    pub mark: Option<String>,
}

/// The names of all containers that this daemon minds, from before they are created.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(Arc<Mutex<HashSet<String>>>);

impl Names {
    pub(super) fn add(&self, name: &str) -> Live {
        self.0.lock().insert(name.to_owned());
        Live { name: name.to_owned(), names: self.clone() }
    }

    fn has(&self, name: &str) -> bool {
        self.0.lock().contains(name)
    }
}

/// Keeps a name among those that are minded.
#[derive(Debug)]
pub(super) struct Live {
    name: String,
    names: Names,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.names.0.lock().remove(&self.name);
    }
}

/// What of this home an engine has; of one server, when one is named.
pub(super) async fn containers(
    engine: &Engine,
    home: &str,
    server: Option<&ServerKey>,
    names: &Names,
) -> Result<Vec<Found>, ContainerError> {
    let filters = Some(ours(home, server));
    let options = ListContainersOptions { all: true, filters, ..ListContainersOptions::default() };
    let listed = engine.ask("list containers", engine.docker().list_containers(Some(options))).await?;
    Ok(listed.into_iter().filter_map(|container| found(engine, container, names)).collect())
}

fn ours(home: &str, server: Option<&ServerKey>) -> HashMap<String, Vec<String>> {
    let of_server = server
        .map(|ServerKey { tenant, name }| [format!("{}={tenant}", label::TENANT), format!("{}={name}", label::SERVER)]);
    let labels = of_server.into_iter().flatten().chain([format!("{}={home}", label::HOME)]);
    [("label".to_owned(), labels.collect())].into()
}

fn found(engine: &Engine, container: ContainerSummary, names: &Names) -> Option<Found> {
    let name = container.names?.into_iter().next()?.trim_start_matches('/').to_owned();
    let id = Identity { container: container.id?, socket: engine.socket().to_owned() };
    let mut labels = container.labels.unwrap_or_default();
    Some(Found {
        id: id.to_string(),
        server: server(&labels),
        mark: labels.remove(label::MARK),
        image: container.image.unwrap_or_default(),
        engine: engine.name().to_owned(),
        running: container.state == Some(ContainerSummaryStateEnum::RUNNING),
        minded: names.has(&name),
        name,
    })
}

fn server(labels: &HashMap<String, String>) -> Option<ServerKey> {
    let tenant = TenantName::new(labels.get(label::TENANT)?).ok()?;
    let name = ServerName::new(labels.get(label::SERVER)?).ok()?;
    Some(ServerKey { tenant, name })
}
