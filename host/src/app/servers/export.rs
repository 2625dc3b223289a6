//! A server as a document: ours, one for a cluster, or that of ToolHive.

use fairlead_core::document::{Document, ServerDocument};
use fairlead_core::name::ServerKey;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::runconfig;
use fairlead_core::server::Source;

use super::not_found;
use crate::api::types::{ExportFormat, ExportNote, Exported};
use crate::app::App;
use crate::yaml;

impl App {
    /// A server as a document.
    ///
    /// # Errors
    /// There is none, or it has no such form.
    pub(crate) fn export(&self, key: &ServerKey, format: ExportFormat) -> Result<Exported, Problem> {
        let mut spec = self.slots.look(key, |managed| managed.record.spec.clone()).ok_or_else(|| not_found(key))?;
        match format {
            ExportFormat::Runconfig => {
                let exported = runconfig::export(&key.name, &spec);
                let (text, notes) =
                    exported.map_err(|error| Problem::new(ProblemKind::Invalid, error.reason).at(error.pointer))?;
                let note = |note: runconfig::Note| ExportNote { pointer: note.pointer, reason: note.reason };
                return Ok(Exported { text, notes: notes.into_iter().map(note).collect() });
            }
            ExportFormat::K8s => match &mut spec.source {
                Source::Image(source) => source.engine = None,
                Source::Package(source) => source.engine = None,
                Source::Remote(_) => {}
                Source::Command { .. } | Source::Wasm { .. } => {
                    return Err(Problem::new(
                        ProblemKind::Invalid,
                        "a cluster has no command and no file of this machine",
                    )
                    .at("/spec/source"));
                }
            },
            ExportFormat::Yaml => {}
        }
        let document = Document::Server(ServerDocument::new(key.clone(), spec)).to_value();
        let text = yaml::write(&document).map_err(|reason| Problem::new(ProblemKind::Internal, reason))?;
        Ok(Exported { text, notes: Vec::new() })
    }
}
