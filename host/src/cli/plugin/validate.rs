//! `fairlead plugin validate`.

use serde_json::json;

use super::local;
use crate::authoring::lint;
use crate::cli::output::Format;
use crate::cli::{Context, Failure};
use crate::text;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file or the name of an installed plugin; with a configuration that is checked too, as a file or as JSON
    #[arg(value_name = "PLUGIN[=CONFIG]")]
    reference: String,
}

/// Loads a plugin in the real host and says everything that is wrong or odd.
///
/// # Errors
/// It is no plugin for this host, or the configuration is wrong.
pub(super) async fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let (path, config) = local::reference(context, &args.reference)?;
    let (bench, plugin) = local::load(context, &path).await?;
    let mut remarks = lint::remarks(plugin.manifest());
    // Without one, the empty configuration is no claim of anybody's.
    let configured = args.reference.contains('=');
    if configured {
        let warnings = bench.check(&plugin, &config).await.map_err(|error| {
            let failure = Failure::new(text::chain(&error));
            match error.problems() {
                [] => failure,
                _ => failure.hint(format!("`fairlead plugin inspect {}` shows the schema", path.display())),
            }
        })?;
        remarks.extend(warnings);
    }
    let manifest = plugin.manifest();
    let output = &context.output;
    if output.format == Format::Json {
        return output.json(&json!({
            "path": path, "name": manifest.name, "version": manifest.version, "kind": manifest.kind,
            "witVersion": plugin.wit_version(), "digest": plugin.digest().to_string(), "warnings": remarks,
            "configured": configured,
        }));
    }
    for remark in &remarks {
        output.note(&format!("warning: {remark}"));
    }
    let with = if configured { ", and so is the configuration" } else { "" };
    output.line(&format!("{} {} is valid for contract {}{with}", manifest.name, manifest.version, plugin.wit_version()))
}
