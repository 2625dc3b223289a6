//! Registries of nobody, for tests of this room.

use std::path::Path;
use std::sync::Arc;

use fairlead_core::clock::Clock;
use fairlead_dial::NetDialer;
use fairlead_git::GitClient;
use fairlead_oci::InsecureRegistries;
use fairlead_wasm::{PluginHost, PluginHostConfig};

use super::{Outside, Registries};
use crate::app::plugins::Plugins;
use crate::app::shelf::Shelf;
use crate::config::{Overrides, Settings};
use crate::secrets::Providers;
use crate::store::Scratch;

/// None yet, in this home.
pub(super) fn registries(home: &Path, clock: Arc<dyn Clock>) -> Arc<Registries> {
    let overrides = Overrides { home: Some(home.to_owned()), ..Overrides::default() };
    let settings = Settings::resolve(overrides, &|_| None).unwrap();
    let scratch = Scratch::open(Arc::clone(&clock)).unwrap();
    let config = PluginHostConfig::new(home.join("components"), Arc::clone(scratch.kv()) as _);
    let outside = Outside {
        plugins: Plugins { host: PluginHost::new(config).unwrap(), shelf: Shelf::new(&settings) },
        oci: Arc::new(crate::app::registries(InsecureRegistries::default())),
        git: Arc::new(GitClient::new(Arc::new(NetDialer::new()), home.join("git"))),
        secrets: Arc::new(Providers::new(&settings, Arc::clone(&clock))),
    };
    Arc::new(Registries::load(home.join("registries"), outside, clock).unwrap())
}
