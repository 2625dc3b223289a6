//! What the commands of the author's loop share: a plugin, loaded in this process, without a daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fairlead_wasm::{Compiler, Plugin};
use serde_json::Value;

use super::absolute;
use crate::app::installed::genuine;
use crate::app::plugins::not_loaded;
use crate::app::shelf::Shelf;
use crate::authoring::message::Message;
use crate::authoring::workbench::Workbench;
use crate::cli::run::grants::parse_plugin;
use crate::cli::{Context, Failure};
use crate::yaml;

/// `PLUGIN` or `PLUGIN=CONFIG`, as `fairlead run --plugin` takes it: the file and the configuration.
pub(super) fn reference(context: &Context, typed: &str) -> Result<(PathBuf, Value), Failure> {
    let (reference, config) = parse_plugin(typed)?;
    Ok((file(context, &reference)?, config))
}

/// The file of a plugin.
pub(super) fn file(context: &Context, reference: &str) -> Result<PathBuf, Failure> {
    Ok(Shelf::new(&context.settings).find(&absolute(reference)?)?)
}

/// A host and the plugin in it. Compiled code is kept where the daemon keeps it.
pub(super) async fn load(context: &Context, path: &Path) -> Result<(Workbench, Arc<Plugin>), Failure> {
    let program = std::env::current_exe()?;
    let cache = context.settings.directories.cache.join("components");
    let bench = Workbench::open(Some(&cache), Compiler::Child { program }).map_err(|error| Failure::chain(&error))?;
    let path = std::path::absolute(path)?;
    let plugin = bench.load(&path).await.map_err(|error| not_loaded(&error))?;
    genuine(&path, &plugin)?;
    Ok((bench, plugin))
}

/// A message that somebody wrote down.
pub(super) fn message(text: &str, origin: &str) -> Result<Message, Failure> {
    yaml::one(text).map_err(|reason| {
        Failure::new(format!("{origin} is no message: {reason}"))
            .hint(r#"such as {"method": "tools/call", "params": {"name": "echo", "arguments": {}}}"#)
    })
}
