//! `fairlead plugin new`.

use std::path::PathBuf;

use fairlead_core::plugin::PluginKind;
use serde_json::json;

use crate::authoring::language::Language;
use crate::authoring::sdk::Sdk;
use crate::authoring::template::{Template, TemplateError};
use crate::cli::output::{Format, Output};
use crate::cli::{Context, Failure};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the plugin; also of its package and of its directory
    name: String,
    /// What it decides about
    #[arg(long, value_enum, default_value_t)]
    kind: Kind,
    /// Language
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
    /// SDK to use: a checkout of Fairlead, or an SDK in it. Without it, that of the checkout around, or a copy in `.fairlead`
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

/// The kinds, as they are typed.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Kind {
    /// What a message may do
    #[default]
    Middleware,
    /// Where servers come from
    RegistrySource,
    /// When a newer version is taken
    UpdatePolicy,
}

impl From<Kind> for PluginKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Middleware => Self::Middleware,
            Kind::RegistrySource => Self::RegistrySource,
            Kind::UpdatePolicy => Self::UpdatePolicy,
        }
    }
}

/// Writes a plugin.
///
/// # Errors
/// The name is none, something is there already, or there is no SDK where the user says.
pub(super) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let template = Template::new(&args.name, args.kind.into(), args.lang)?;
    let directory = std::path::absolute(&args.name)?;
    let sdk = match &args.sdk {
        None => Sdk::around(&directory),
        Some(path) => Sdk::named(path).ok_or_else(|| {
            Failure::new(format!("there is no SDK in `{}`", path.display()))
                .hint("name a checkout of Fairlead, or leave `--sdk` out for the copy that this program carries")
        })?,
    };
    let files = template.write(&directory, &sdk)?;
    tell(&context.output, args, &files, &sdk)
}

fn tell(output: &Output, args: &Args, files: &[PathBuf], sdk: &Sdk) -> Result<(), Failure> {
    let name = &args.name;
    if output.format == Format::Json {
        return output.json(&json!({"name": name, "files": files, "sdk": sdk.path(args.lang)}));
    }
    for file in files {
        output.line(&format!("{name}/{}", file.display()))?;
    }
    output.note(&format!("next: cd {name} && fairlead plugin build && fairlead plugin test"));
    Ok(())
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Self {
        let failure = Self::chain(&error);
        match error {
            TemplateError::Name { .. } => {
                Self::usage(failure.message).hint("lower-case letters, digits and `-`, such as `no-secrets`")
            }
            TemplateError::Exists(_) => failure.hint("choose another name, or remove what is there"),
            TemplateError::Write { .. } => failure,
        }
    }
}
