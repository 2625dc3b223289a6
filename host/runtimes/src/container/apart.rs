//! The network of servers that may reach everything but each other: one for all of them on an engine.
//!
//! On the engine's own bridge every container is a neighbour of every other, so a server that may reach the network could
//! reach all that listen there, past the guards of their proxy, and those of other tenants. One network for each server
//! would keep them apart as well and take one of about thirty that an engine has to give. This one is found by its label, by
//! every daemon on the engine, and stays: what it costs is a bridge.

use std::collections::HashMap;

use bollard::models::{Network as EngineNetwork, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;

use super::confinement::{Network, label};
use super::engine::{Engine, PODMAN};
use super::error::ContainerError;
use super::images::Images;

/// What it is called, for people.
const NAME: &str = "fairlead";

/// What keeps its containers from each other, in Docker's words. Podman has none for it.
const APART: (&str, &str) = ("com.docker.network.bridge.enable_icc", "false");

/// The same network, with the engine's own bridge replaced by the one where servers are apart.
pub(super) async fn apart(engine: &Engine, images: &Images, network: Network) -> Result<Network, ContainerError> {
    if network != Network::Open(None) || engine.facts().product == PODMAN {
        return Ok(network);
    }
    let turn = images.turn(format!("{} {NAME}", engine.address()));
    let _turn = turn.lock().await;
    let id = match known(engine).await? {
        Some(id) => id,
        None => create(engine).await?,
    };
    Ok(Network::Open(Some(id)))
}

/// By id: two daemons that make it at once make two of one name, and all agree on the older.
async fn known(engine: &Engine) -> Result<Option<String>, ContainerError> {
    let filters = [("label".to_owned(), vec![format!("{}={NAME}", label::NETWORK)])].into();
    let options = ListNetworksOptions { filters: Some(filters) };
    let mut found = engine.ask("list networks", engine.docker().list_networks(Some(options))).await?;
    found.retain(keeps_apart);
    let age =
        |network: &EngineNetwork| (network.created.clone().map(|created| created.to_string()), network.id.clone());
    Ok(found.into_iter().min_by_key(age).and_then(|network| network.id))
}

/// Whether it still is what it was made as: a label is soon given.
fn keeps_apart(network: &EngineNetwork) -> bool {
    let (option, value) = APART;
    network.options.as_ref().and_then(|options| options.get(option)).is_some_and(|set| set == value)
}

async fn create(engine: &Engine) -> Result<String, ContainerError> {
    let pair = |name: &str, value: &str| -> HashMap<String, String> { [(name.to_owned(), value.to_owned())].into() };
    let request = NetworkCreateRequest {
        name: NAME.to_owned(),
        driver: Some("bridge".to_owned()),
        options: Some(pair(APART.0, APART.1)),
        labels: Some(pair(label::NETWORK, NAME)),
        ..NetworkCreateRequest::default()
    };
    Ok(engine.ask("create network", engine.docker().create_network(request)).await?.id)
}
