//! Where registries lie on disk: one file with the list of them, and one with the last good copy of each.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use fairlead_core::name::TenantName;
use fairlead_registry::copy::Copy;
use fairlead_registry::review::Reviews;
use fairlead_registry::spec::{LayerPolicy, RegistryRecord};
use serde::{Deserialize, Serialize};

use crate::{durable, text};

/// Readable by the owner alone: a configuration may name what others need not know.
const MODE: u32 = 0o600;

/// The version of the list.
const FORMAT: u32 = 1;

/// What is in the list.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// What this catalogue is called when its entries travel.
    pub(super) here: String,
    /// In their order.
    pub(super) registries: Vec<RegistryRecord>,
    /// Layers, by tenant.
    pub(super) policies: BTreeMap<TenantName, LayerPolicy>,
    /// Reviews, by tenant.
    pub(super) reviews: BTreeMap<TenantName, Reviews>,
}

#[derive(Serialize, Deserialize)]
struct List {
    format: u32,
    #[serde(default)]
    here: String,
    registries: Vec<RegistryRecord>,
    #[serde(default)]
    policies: BTreeMap<TenantName, LayerPolicy>,
    #[serde(default)]
    reviews: BTreeMap<TenantName, Reviews>,
}

/// The directory.
pub(super) struct Files {
    directory: PathBuf,
}

impl Files {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub(super) fn read_list(&self) -> io::Result<Stored> {
        let bytes = match std::fs::read(self.list()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.named(Stored::default()),
            Err(error) => return Err(error),
        };
        let list: List = serde_json::from_slice(&bytes)?;
        if list.format != FORMAT {
            return Err(io::Error::other(format!(
                "`{}` has format {}, which is not known",
                self.list().display(),
                list.format
            )));
        }
        let List { here, registries, policies, reviews, .. } = list;
        self.named(Stored { here, registries, policies, reviews })
    }

    /// With a name that no other catalogue has, kept before anybody is told.
    fn named(&self, mut stored: Stored) -> io::Result<Stored> {
        if stored.here.is_empty() {
            let mut random = [0; 8];
            getrandom::fill(&mut random).map_err(io::Error::other)?;
            stored.here = random.iter().map(|byte| format!("{byte:02x}")).collect();
            self.write_list(&stored)?;
        }
        Ok(stored)
    }

    pub(super) fn write_list(&self, stored: &Stored) -> io::Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        let list = List {
            format: FORMAT,
            here: stored.here.clone(),
            registries: stored.registries.clone(),
            policies: stored.policies.clone(),
            reviews: stored.reviews.clone(),
        };
        durable::replace(&self.list(), &serde_json::to_vec_pretty(&list)?, MODE)
    }

    /// The last good copy, when there is one that can be read.
    pub(super) fn read_copy(&self, record: &RegistryRecord) -> Option<Copy> {
        let path = self.copy(record);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a copy of a registry cannot be read");
                return None;
            }
        };
        Copy::decode(&bytes)
            .map_err(|error| tracing::warn!(path = %path.display(), error = text::chain(&error), "a copy of a registry makes no sense"))
            .ok()
    }

    pub(super) async fn write_copy(&self, record: &RegistryRecord, copy: Arc<Copy>) -> io::Result<()> {
        let path = self.copy(record);
        let directory = self.directory.clone();
        let written = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(directory)?;
            durable::replace(&path, &copy.encode(), MODE)
        });
        written.await.map_err(io::Error::other)?
    }

    pub(super) fn remove_copy(&self, record: &RegistryRecord) {
        // Nobody reads a copy of a registry that is not in the list.
        let _ = std::fs::remove_file(self.copy(record));
    }

    fn list(&self) -> PathBuf {
        self.directory.join("registries.json")
    }

    /// Names are DNS labels, so `.` stands in none of them.
    fn copy(&self, record: &RegistryRecord) -> PathBuf {
        self.directory.join(format!("{}.{}.jsonl", record.tenant, record.name))
    }
}
