//! `fairlead plugin run`.

use std::io::Read as _;
use std::path::PathBuf;

use fairlead_core::plugin::{InstanceModel, PluginLimits};
use serde_json::json;

use super::local;
use crate::authoring::message::Word;
use crate::authoring::outcome::{self, Outcome, ask};
use crate::authoring::workbench::Setting;
use crate::cli::output::Format;
use crate::cli::{Context, Failure};
use crate::limits::MESSAGE_BYTES_MAX;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file or the name of an installed plugin, and its configuration, as a file or as JSON
    #[arg(value_name = "PLUGIN[=CONFIG]")]
    reference: String,
    /// The message; standard input unless it is said
    #[arg(value_name = "FILE")]
    message: Option<PathBuf>,
    /// When the plugin is asked; follows from the message unless it is said
    #[arg(long, value_enum)]
    phase: Option<Word>,
}

/// Asks a plugin about one message.
///
/// # Errors
/// The plugin or the message is wrong, or the plugin made no decision. A rejection is a decision.
pub(super) async fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let (path, config) = local::reference(context, &args.reference)?;
    let mut text = String::new();
    let origin = match &args.message {
        Some(file) => {
            let opened =
                std::fs::File::open(file).and_then(|file| file.take(MESSAGE_BYTES_MAX).read_to_string(&mut text));
            opened.map_err(|error| Failure::new(format!("read `{}`: {error}", file.display())))?;
            format!("`{}`", file.display())
        }
        None => {
            std::io::stdin().lock().take(MESSAGE_BYTES_MAX).read_to_string(&mut text)?;
            "standard input".to_owned()
        }
    };
    let mut message = local::message(&text, &origin)?;
    message.phase = args.phase.or(message.phase);
    let (bench, plugin) = local::load(context, &path).await?;
    let setting = Setting {
        tenant: message.tenant.clone(),
        place: "run".to_owned(),
        config,
        instances: InstanceModel::Warm,
        limits: PluginLimits::default(),
    };
    let middleware = bench.attach(&plugin, setting).await.map_err(|error| Failure::chain(&error))?;
    let (outcome, elapsed) = ask(&*middleware, &message).await.map_err(Failure::new)?;
    for line in bench.heard() {
        context.output.note(&format!("log: {line}"));
    }
    let micros = elapsed.as_secs_f64() * 1e6;
    match context.output.format {
        Format::Json => context.output.json(&json!({"outcome": outcome, "micros": micros}))?,
        Format::Text => tell(context, &outcome, micros)?,
    }
    match outcome.verdict {
        outcome::Word::Fault => Err(Failure::new(format!("the plugin {}", outcome.message.unwrap_or_default()))),
        _ => Ok(()),
    }
}

fn tell(context: &Context, outcome: &Outcome, micros: f64) -> Result<(), Failure> {
    let output = &context.output;
    output.line(&format!("{} ({micros:.1} µs)", outcome.verdict.text()))?;
    if let (Some(code), Some(message)) = (outcome.code, &outcome.message) {
        output.line(&format!("  {code}: {message}"))?;
    }
    if let Some(retry) = outcome.retry_after_ms {
        output.line(&format!("  again after {retry} ms"))?;
    }
    if let Some(identity) = &outcome.identity {
        output.line(&format!("  identity {identity}"))?;
    }
    for (name, value) in &outcome.attributes {
        output.line(&format!("  {name}={value}"))?;
    }
    for value in [&outcome.data, &outcome.payload].into_iter().flatten() {
        output.line(&serde_json::to_string_pretty(value).map_err(|error| Failure::chain(&error))?)?;
    }
    Ok(())
}
