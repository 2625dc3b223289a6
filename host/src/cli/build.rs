//! `fairlead build`: an image of a package, without running it.

use std::path::PathBuf;

use fairlead_core::image::{ImageReference, PullPolicy};
use fairlead_core::package::PackageReference;
use http::Method;

use super::output::Format;
use super::{Context, Failure, operate};
use crate::api::types::{Build, CreateBuild};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The package: `npx://name[@version]`, `uvx://name[@version]` or `go://module[@version]`
    #[arg(value_name = "PACKAGE")]
    package: PackageReference,
    /// Another name for the image
    #[arg(long, short, value_name = "IMAGE", conflicts_with = "output")]
    tag: Option<ImageReference>,
    /// Write the recipe to a file, `-` for standard output, and build nothing
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Image to build on; by default the one that is configured for packages of this kind
    #[arg(long, value_name = "IMAGE")]
    base_image: Option<ImageReference>,
    /// Build it even if it was built before, with the newest version that fits
    #[arg(long)]
    fresh: bool,
    /// Container engine: its name or its address; by default the first that answers
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
}

/// Builds and prints the name of the image.
///
/// # Errors
/// It does not build.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    let shown = format!("building {}", args.package);
    let request = CreateBuild {
        package: args.package,
        base: args.base_image,
        pull: if args.fresh { PullPolicy::Always } else { PullPolicy::Missing },
        engine: args.engine,
        tag: args.tag,
        dry_run: args.output.is_some(),
    };
    let place = (Method::POST, "/api/v1beta/builds");
    let built: Build = operate::carry_out(&client, place, Some(&request), (&shown, context)).await?;
    if let (Some(file), Some(recipe)) = (&args.output, &built.recipe) {
        if file.as_os_str() == "-" {
            return context.output.bytes(recipe.as_bytes());
        }
        return Ok(std::fs::write(file, recipe)?);
    }
    if context.output.format == Format::Json {
        return context.output.json(&built);
    }
    if !built.fresh {
        context.output.note("it was built before; `--fresh` builds it again");
    }
    context.output.line(&built.image.map(|image| image.reference).unwrap_or_default())
}
