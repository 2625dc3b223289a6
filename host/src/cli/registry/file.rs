//! Files of entries, without a daemon: are they right, and what would another format make of them.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use fairlead_server_json::{Document, Format as FileFormat, Severity, check, read, write};
use serde_json::json;

use crate::cli::output::Format;
use crate::cli::{Context, Failure};

/// What is checked.
#[derive(Debug, clap::Args)]
pub(crate) struct Validate {
    /// A file of entries in any format, or one `server.json`; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
}

/// What is converted.
#[derive(Debug, clap::Args)]
pub(crate) struct Convert {
    /// A file of entries in any format; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The format to write
    #[arg(long, value_enum, value_name = "FORMAT")]
    to: To,
    /// Where to write it; standard output by default
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write nothing when something would be lost
    #[arg(long)]
    lossless: bool,
}

/// Formats of files.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum To {
    /// The list of the official API
    Official,
    /// The file of the upstream format, as current ToolHive reads it
    Upstream,
    /// The file of earlier ToolHive
    Toolhive,
}

impl From<To> for FileFormat {
    fn from(to: To) -> Self {
        match to {
            To::Official => Self::Official,
            To::Upstream => Self::Upstream,
            To::Toolhive => Self::ToolHive,
        }
    }
}

fn content(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| Failure::new(format!("read `{}`: {error}", file.display())))?;
    Ok(text)
}

/// Checks a file.
///
/// # Errors
/// Something is wrong with it.
pub(super) fn validate(args: &Validate, context: &Context) -> Result<(), Failure> {
    let text = content(&args.file)?;
    let unreadable =
        |error: fairlead_server_json::FormatError| Failure::new(format!("`{}`: {error}", args.file.display()));
    let (format, listing) = read(&text).map_err(unreadable)?;
    let (mut errors, mut warnings) = (listing.refused.len(), 0);
    let mut findings = Vec::new();
    for refused in &listing.refused {
        findings.push(json!({"severity": "error", "pointer": refused.pointer, "reason": refused.reason}));
    }
    for item in &listing.items {
        let entry = Document::of(&item.document).unwrap_or_default();
        for finding in check(&item.document) {
            let severity = match finding.severity {
                Severity::Error => {
                    errors += 1;
                    "error"
                }
                Severity::Warning => {
                    warnings += 1;
                    "warning"
                }
            };
            let called = format!("{}@{}", entry.name, entry.version);
            findings.push(
                json!({"severity": severity, "entry": called, "pointer": finding.pointer, "reason": finding.reason}),
            );
        }
    }
    match context.output.format {
        Format::Json => context.output.json(&json!({
            "format": format.name(), "entries": listing.items.len(), "errors": errors, "warnings": warnings,
            "findings": findings,
        }))?,
        Format::Text => {
            for finding in &findings {
                let text = |field: &str| finding.get(field).and_then(|value| value.as_str()).unwrap_or_default();
                context.output.line(&format!(
                    "{}: {}{}: {}",
                    text("severity"),
                    text("entry"),
                    text("pointer"),
                    text("reason")
                ))?;
            }
            let summary = format!(
                "{} ({}): {} entries, {errors} errors, {warnings} warnings",
                args.file.display(),
                format.name(),
                listing.items.len()
            );
            context.output.line(&summary)?;
        }
    }
    if errors > 0 || (args.strict && warnings > 0) {
        return Err(Failure::new(format!("`{}` is not right", args.file.display())));
    }
    Ok(())
}

/// Converts a file.
///
/// # Errors
/// It cannot be read or written, or something would be lost that must not be.
pub(super) fn convert(args: &Convert, context: &Context) -> Result<(), Failure> {
    let text = content(&args.file)?;
    let (_, listing) = read(&text).map_err(|error| Failure::new(format!("`{}`: {error}", args.file.display())))?;
    let (written, mut losses) = write(args.to.into(), &listing);
    losses.extend(listing.refused);
    for loss in &losses {
        context.output.note(&format!("lost: {} {}", loss.pointer, loss.reason));
    }
    if args.lossless && !losses.is_empty() {
        return Err(Failure::new(format!("{} things cannot be said in this format", losses.len()))
            .hint("leave `--lossless` out to write the rest"));
    }
    match &args.output {
        Some(path) => std::fs::write(path, format!("{written}\n"))
            .map_err(|error| Failure::new(format!("write `{}`: {error}", path.display()))),
        None => context.output.verbatim(&written),
    }
}
