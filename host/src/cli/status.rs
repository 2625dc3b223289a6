//! `fairlead status`.

use super::output::Format;
use super::{Context, Failure, OneTarget, workload, workload_path};
use crate::api::types::Workload;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: OneTarget,
}

/// Shows one server.
///
/// # Errors
/// There is none of that name, or no daemon.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let client = context.daemon_of(&args.target.name).await?;
    let found: Workload = client.get(&workload_path(&args.target.key(), "")).await?;
    match context.output.format {
        Format::Json => context.output.json(&found),
        Format::Text => context.output.text(&workload::describe(&found)),
    }
}
