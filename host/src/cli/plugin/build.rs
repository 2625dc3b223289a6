//! `fairlead plugin build`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::local;
use crate::authoring::build::{self, BuildError, Built};
use crate::cli::output::Format;
use crate::cli::{Context, Failure};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the plugin
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Where the component goes; `NAME.wasm` in the directory unless it is said
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Builds a component and loads it once, so that what a host would refuse is told now.
///
/// # Errors
/// It does not build, or is no plugin for this host.
pub(super) async fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let built = component(&args.directory, args.output.as_deref(), context)?;
    let plugin = local::load(context, &built.path).await?.1;
    let output = &context.output;
    let functions = |name: &str| built.survey.contract.iter().filter(|function| function.interface == name).count();
    if output.format == Format::Json {
        return output.json(&json!({
            "path": built.path, "name": plugin.manifest().name, "kind": plugin.manifest().kind,
            "witVersion": plugin.wit_version(), "sizeBytes": plugin.size(), "digest": plugin.digest().to_string(),
            "imports": plugin.imports(),
        }));
    }
    let manifest = plugin.manifest();
    output.line(&built.path.display().to_string())?;
    output.line(&format!("  {} {} ({})", manifest.name, manifest.version, super::kind(manifest.kind)))?;
    output.line(&format!("  contract  {}", plugin.wit_version()))?;
    output.line(&format!("  size      {} KiB", plugin.size().div_ceil(1024)))?;
    output.line(&format!("  digest    {}", plugin.digest()))?;
    let imports: Vec<String> = match plugin.imports() {
        [] => vec!["nothing".to_owned()],
        imports => imports
            .iter()
            .map(|name| match functions(name) {
                0 => name.clone(),
                1 => format!("{name} (1 function)"),
                count => format!("{name} ({count} functions)"),
            })
            .collect(),
    };
    output.line(&format!("  imports   {}", imports.join("\n            ")))
}

/// Builds the plugin in a directory.
pub(super) fn component(directory: &Path, output: Option<&Path>, context: &Context) -> Result<Built, Failure> {
    let toolchains = &context.settings.toolchains;
    let built = build::build(directory, output, toolchains, &|step| context.output.note(step));
    built.map_err(|error: BuildError| Failure { hint: error.hint(), ..Failure::chain(&error) })
}
