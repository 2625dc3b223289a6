//! `fairlead inspect`: everything that the daemon knows of servers, as JSON.

use super::{Context, Failure, Target, workload_path};
use crate::api::types::Workload;
use fairlead_core::name::ServerKey;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
}

/// Prints them.
///
/// # Errors
/// One of them is not there.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let (client, names) = args.target.servers(context).await?;
    let mut found = Vec::new();
    for name in names {
        let key = ServerKey { tenant: args.target.tenant.clone(), name };
        found.push(client.get::<Workload>(&workload_path(&key, "")).await?);
    }
    context.output.json(&found)
}
