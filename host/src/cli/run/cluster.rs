//! `run --on-cluster NAMESPACE`: the same server, as an `MCPServer` of a cluster instead of one of this machine.
//!
//! What an entry becomes, what it asks for and whether it may run is decided where it always is, by the daemon and the layers of the
//! tenant whose catalogue it is. The object says where it came from: `fairlead.dev/registry`, `-entry` with the version, `-layer`
//! and `-fingerprint`. It is made with the rights of whoever types.

use fairlead_core::name::TenantName;
use fairlead_operator::create;
use serde_json::Value;

use super::document;
use crate::api::types::CreateWorkload;
use crate::cli::output::Format;
use crate::cli::{Context, Failure};
use crate::client::Client;

/// Creates it, or prints what would be created.
///
/// # Errors
/// It may not run, or the cluster does not take it.
pub(super) async fn create(
    wanted: CreateWorkload,
    namespace: TenantName,
    is_dry: bool,
    client: &Client,
    context: &Context,
) -> Result<(), Failure> {
    let admitted: CreateWorkload = client.post("/api/v1beta/registry/admission", Some(&wanted)).await?;
    let there = CreateWorkload { tenant: namespace.clone(), ..admitted };
    if is_dry {
        return document::print(there, context);
    }
    let made = create::create(document::of(there)?).await;
    let made = made.map_err(|error| Failure { hint: error.hint(), ..Failure::chain(&error) })?;
    match context.output.format {
        Format::Json => context.output.json(&made),
        Format::Text => {
            let name = made.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            context.output.line(&format!("mcpserver/{name} created in {namespace}"))
        }
    }
}
