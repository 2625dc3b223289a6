//! What documents name and this machine has to have before anything happens: components by their digest, images on their
//! engine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fairlead_core::document::{Action, Document, PluginDocument, Step};
use fairlead_core::name::{PluginName, ServerKey};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::server::Source;

use super::of_step;
use crate::app::App;
use crate::app::operations::Operation;
use crate::app::plugins::not_loaded;
use crate::app::servers::port_of_machine;
use crate::limits::SERVERS_MAX;
use crate::private;

/// What was made ready.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Where the components lie that documents pin.
    pub(super) plugins: BTreeMap<PluginName, PathBuf>,
    /// Sources of servers, with what the host fills in.
    pub(super) sources: BTreeMap<ServerKey, Source>,
}

impl App {
    /// Makes ready what documents name.
    pub(super) async fn resolve(&self, steps: &[Step], operation: &Operation) -> Result<Resolved, Problem> {
        let mut resolved = Resolved::default();
        let mut ports = BTreeSet::new();
        let mut new = 0;
        for step in steps.iter().filter(|step| matches!(step.action, Action::Create | Action::Change)) {
            match &step.after {
                Some(Document::Plugin(plugin)) => {
                    let file = self.pin(plugin).await.map_err(|problem| of_step(problem, step))?;
                    resolved.plugins.insert(plugin.name.clone(), file);
                }
                Some(Document::Server(server)) => {
                    let key = &server.key;
                    let mut source = server.spec.source.clone();
                    new += usize::from(step.action == Action::Create);
                    self.runtime(&server.spec)
                        .and_then(|_| self.check_port(key, &server.spec))
                        .map_err(|problem| of_step(problem, step))?;
                    if let Some(port) = port_of_machine(&server.spec).filter(|port| !ports.insert(*port)) {
                        let detail = format!("{}: port {port} belongs to another of these documents", step.id);
                        return Err(Problem::new(ProblemKind::Conflict, detail));
                    }
                    self.check_secrets(key, &server.spec).await.map_err(|problem| of_step(problem, step))?;
                    self.remote(key, &server.spec).await.map_err(|problem| of_step(problem, step))?;
                    self.provide(key, &mut source, operation).await.map_err(|problem| of_step(problem, step))?;
                    resolved.sources.insert(key.clone(), source);
                }
                _ => {}
            }
        }
        if self.slots.len() + new > SERVERS_MAX {
            let detail = format!("there would be more than {SERVERS_MAX} servers, which is the limit");
            return Err(Problem::new(ProblemKind::Conflict, detail));
        }
        Ok(resolved)
    }

    /// Keeps the component that a document pins, so that nothing that happens to its file changes what its name stands for.
    async fn pin(&self, plugin: &PluginDocument) -> Result<PathBuf, Problem> {
        let digits = plugin.spec.digest.trim_start_matches("sha256:");
        let kept = self.pinned.join(format!("{digits}.wasm"));
        if !kept.is_file() {
            let source = &plugin.spec.source;
            let installed = self.plugins.shelf.component(&plugin.spec.digest);
            let file = match Path::new(source).is_absolute() {
                true => self.plugins.shelf.find(source).map_err(|problem| problem.at("/spec/source"))?,
                false if installed.is_file() => installed,
                false => {
                    let detail = format!("nothing from `{source}` with this digest is installed");
                    return Err(Problem::new(ProblemKind::Invalid, detail).at("/spec/source").hint(format!(
                        "fetch it with `fairlead plugin pull {source}`, or give the path of a component"
                    )));
                }
            };
            let loaded = self.plugins.host.load(&file).await.map_err(|error| not_loaded(&error))?;
            let found = loaded.digest().to_string();
            if found != plugin.spec.digest {
                let detail = format!("`{source}` is {found}, and not what the document pins");
                return Err(Problem::new(ProblemKind::Invalid, detail).at("/spec/digest"));
            }
            copy(&file, &kept).map_err(|error| {
                Problem::new(ProblemKind::Internal, format!("the component cannot be kept: {error}"))
            })?;
        }
        let loaded = self.plugins.host.load(&kept).await.map_err(|error| not_loaded(&error))?;
        let found = loaded.digest().to_string();
        if found != plugin.spec.digest {
            let detail = format!("what was kept as {} is {found}", plugin.spec.digest);
            return Err(Problem::new(ProblemKind::Internal, detail)
                .hint(format!("remove `{}`; it was changed by somebody", kept.display())));
        }
        Ok(kept)
    }
}

/// Whole or not at all.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    private::make_for(to)?;
    let directory = to.parent().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    std::io::copy(&mut std::fs::File::open(from)?, file.as_file_mut())?;
    file.as_file().sync_all()?;
    file.persist(to).map(drop).map_err(|error| error.error)
}
