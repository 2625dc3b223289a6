//! What happens on the way to a running container, for whoever watches.

use std::collections::HashMap;

use bollard::models::CreateImageInfo;
use fairlead_core::name::ServerKey;
use serde::Serialize;

use crate::limits::PULL_LAYERS_MAX;

/// Hears of launches. Called from the task that launches, so it must return at once.
pub trait ContainerObserver: Send + Sync {
    /// Something happened on the way.
    fn observe(&self, server: &ServerKey, event: ContainerEvent);
}

/// Watches nothing.
impl ContainerObserver for () {
    fn observe(&self, _server: &ServerKey, _event: ContainerEvent) {}
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerEvent {
    /// The image is being pulled.
    Pulling(PullProgress),
    /// An image is being built of a package.
    Building(BuildProgress),
    /// The container runs.
    Running(ProvidedImage),
}

/// How far a pull is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PullProgress {
    /// The image.
    pub reference: String,
    /// Layers that are known of so far.
    pub layers: usize,
    /// Those that are there.
    pub layers_done: usize,
    /// Bytes to download, as far as is known.
    pub bytes: u64,
    /// Bytes downloaded.
    pub bytes_done: u64,
}

/// How far the build of an image is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildProgress {
    /// The package.
    pub package: String,
    /// The step that is under way, from 1.
    pub step: u32,
    /// Steps in all.
    pub steps: u32,
    /// What was said last.
    pub line: String,
}

/// An image that an engine has, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProvidedImage {
    /// As the server names it.
    pub reference: String,
    /// The engine's own id of the image.
    pub id: String,
    /// Name of the key with which somebody signed it.
    pub signed_by: Option<String>,
    /// Digest of its manifest in the registry that it came from; `None` for an image that was built here.
    pub digest: Option<String>,
    /// Whether it runs as root, unless its server says otherwise. Without capabilities that is little more than a name,
    /// and yet more than nothing.
    pub is_root: bool,
    /// Name of the engine.
    pub engine: String,
    /// Address of the engine: what a server keeps to stay on it.
    pub engine_address: String,
}

/// Adds up what an engine says of the single layers.
#[derive(Debug)]
pub(super) struct Layers {
    reference: String,
    layers: HashMap<String, Layer>,
}

#[derive(Debug, Default)]
struct Layer {
    bytes: u64,
    bytes_done: u64,
    done: bool,
}

impl Layers {
    pub(super) fn of(reference: &str) -> Self {
        Self { reference: reference.to_owned(), layers: HashMap::new() }
    }

    /// Takes in one message; `None` when it is not about a layer.
    pub(super) fn take_in(&mut self, message: &CreateImageInfo) -> Option<PullProgress> {
        let id = message.id.as_deref()?;
        let status = message.status.as_deref()?;
        let room = self.layers.len() < PULL_LAYERS_MAX || self.layers.contains_key(id);
        // "Pulling from" has the tag where a layer would stand.
        if status.starts_with("Pulling from") || !room {
            return None;
        }
        let layer = self.layers.entry(id.to_owned()).or_default();
        match status {
            "Downloading" => {
                let detail = message.progress_detail.as_ref();
                let bytes = |of: fn(&bollard::models::ProgressDetail) -> Option<i64>| {
                    detail.and_then(of).and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default()
                };
                layer.bytes = layer.bytes.max(bytes(|detail| detail.total));
                layer.bytes_done = layer.bytes_done.max(bytes(|detail| detail.current));
            }
            "Download complete" | "Verifying Checksum" | "Extracting" => layer.bytes_done = layer.bytes,
            "Pull complete" | "Already exists" => {
                layer.bytes_done = layer.bytes;
                layer.done = true;
            }
            _ => {}
        }
        Some(PullProgress {
            reference: self.reference.clone(),
            layers: self.layers.len(),
            layers_done: self.layers.values().filter(|layer| layer.done).count(),
            bytes: self.layers.values().map(|layer| layer.bytes).sum(),
            bytes_done: self.layers.values().map(|layer| layer.bytes_done).sum(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_add_up_and_never_go_back() {
        let mut layers = Layers::of("a");
        let progress = [
            r#"{"id":"latest","status":"Pulling from a"}"#,
            r#"{"id":"x","status":"Pulling fs layer"}"#,
            r#"{"id":"y","status":"Already exists"}"#,
            r#"{"id":"x","status":"Downloading","progressDetail":{"current":40,"total":100}}"#,
            r#"{"id":"x","status":"Downloading","progressDetail":{"current":30,"total":100}}"#,
            r#"{"id":"x","status":"Pull complete"}"#,
            r#"{"status":"Status: Downloaded newer image for a"}"#,
        ]
        .map(|message| layers.take_in(&serde_json::from_str(message).unwrap()));
        let numbers = progress.map(|p| p.map(|p| (p.layers, p.layers_done, p.bytes, p.bytes_done)));
        let expected = [
            None,
            Some((1, 0, 0, 0)),
            Some((2, 1, 0, 0)),
            Some((2, 1, 100, 40)),
            Some((2, 1, 100, 40)),
            Some((2, 2, 100, 100)),
            None,
        ];
        assert_eq!(numbers, expected);
    }
}
