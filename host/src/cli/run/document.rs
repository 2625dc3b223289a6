//! `run --from-config FILE`: a server as a document, Fairlead's own or ToolHive's; and `run --dry-run`, the other way.

use std::path::Path;

use fairlead_core::document::{self, Document, ServerDocument};
use fairlead_core::name::ServerKey;
use fairlead_core::runconfig;
use fairlead_core::status::Desired;
use serde_json::Value;

use super::Args;
use crate::api::types::CreateWorkload;
use crate::cli::output::{Format, Output};
use crate::cli::{Context, Failure};
use crate::yaml;

/// The server of a document. What was not taken over as it is, is told.
pub(super) fn read(args: &Args, file: &Path, output: &Output) -> Result<CreateWorkload, Failure> {
    let text = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())?
    } else {
        std::fs::read_to_string(file).map_err(|error| Failure::new(format!("read `{}`: {error}", file.display())))?
    };
    let refused = |reason: String| Failure::usage(format!("`{}`: {reason}", file.display()));
    let value: Value = yaml::one(&text).map_err(refused)?;
    let (key, spec) = if value.get("apiVersion").is_some() {
        match document::read(&value).map_err(|error| refused(error.to_string()))? {
            Document::Server(ServerDocument { key, spec, .. }) => (key, spec),
            other => return Err(refused(format!("it describes a {}, not a server", other.id().kind))),
        }
    } else {
        let (name, spec, notes) = runconfig::import(&value).map_err(|error| refused(error.to_string()))?;
        for note in notes {
            output.note(&format!("{}: {}", note.pointer, note.reason));
        }
        (ServerKey { tenant: args.tenant.clone(), name }, spec)
    };
    let name = args.name.clone().unwrap_or(key.name);
    Ok(CreateWorkload { name: Some(name), tenant: key.tenant, desired: Desired::Running, spec })
}

/// What would be created, as a document.
pub(super) fn of(create: CreateWorkload) -> Result<ServerDocument, Failure> {
    let name = create.name.or_else(|| crate::app::name_of(&create.spec.source));
    let name = name.ok_or_else(|| Failure::new("no name can be made of this source"))?;
    Ok(ServerDocument::new(ServerKey { tenant: create.tenant, name }, create.spec))
}

/// Prints it.
pub(super) fn print(create: CreateWorkload, context: &Context) -> Result<(), Failure> {
    let value = Document::Server(of(create)?).to_value();
    match context.output.format {
        Format::Json => context.output.json(&value),
        Format::Text => {
            let text = yaml::write(&value).map_err(Failure::new)?;
            context.output.bytes(text.as_bytes())
        }
    }
}
