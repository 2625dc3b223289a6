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

/// What of this home an engine has.
pub(super) async fn containers(engine: &Engine, home: &str, names: &Names) -> Result<Vec<Found>, ContainerError> {
    let options = ListContainersOptions { all: true, filters: Some(ours(home)), ..ListContainersOptions::default() };
    let listed = engine.ask("list containers", engine.docker().list_containers(Some(options))).await?;
    Ok(listed.into_iter().filter_map(|container| found(engine, container, names)).collect())
}

fn ours(home: &str) -> HashMap<String, Vec<String>> {
    [("label".to_owned(), vec![format!("{}={home}", label::HOME)])].into()
}

fn found(engine: &Engine, container: ContainerSummary, names: &Names) -> Option<Found> {
    let name = container.names?.into_iter().next()?.trim_start_matches('/').to_owned();
    let id = Identity { container: container.id?, socket: engine.socket().to_owned() };
    Some(Found {
        id: id.to_string(),
        server: server(&container.labels.unwrap_or_default()),
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
