//! `fairlead export`: a server as a document, for Fairlead, for ToolHive, or for a cluster.

use std::path::PathBuf;

use super::output::Format;
use super::{Context, Failure, OneTarget, workload_path};
use crate::api::types::{ExportFormat, Exported};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: OneTarget,
    /// Where it goes; standard output by default
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// As what
    #[arg(long = "as", value_enum, default_value_t, value_name = "DOCUMENT")]
    document: ExportFormat,
}

/// Exports a server.
///
/// # Errors
/// There is none of that name, or it has no such form.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let client = context.daemon_of(&args.target.name).await?;
    let path = workload_path(&args.target.key(), "/export") + &format!("&as={}", args.document.name());
    let exported: Exported = client.get(&path).await?;
    for note in &exported.notes {
        context.output.note(&format!("{}: {}", note.pointer, note.reason));
    }
    match (&args.file, context.output.format) {
        (Some(file), _) => Ok(std::fs::write(file, &exported.text)?),
        (None, Format::Json) => context.output.json(&exported),
        (None, Format::Text) => context.output.bytes(exported.text.as_bytes()),
    }
}
