//! `fairlead convert`: a document of ToolHive's operator as one of ours, and one of ours as one of theirs.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use fairlead_core::document::{self, Document};
use fairlead_core::runconfig::Note;
use fairlead_operator::convert::{Converted, Version, from_toolhive, is_toolhive, to_toolhive};
use serde::Serialize;
use serde_json::Value;

use super::Failure;
use super::output::{Format, Output};
use crate::yaml;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file with documents, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Into what; documents that are of this form already stay as they are
    #[arg(long, value_enum, default_value_t)]
    to: Form,
}

/// A form of documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// Ours, for one machine and for a cluster
    #[default]
    Fairlead,
    /// `toolhive.stacklok.dev/v1beta1`
    Toolhive,
    /// `toolhive.stacklok.dev/v1alpha1`
    ToolhiveV1alpha1,
}

/// The documents in their new form.
#[derive(Debug, Serialize)]
struct Conversion {
    documents: Vec<Value>,
    notes: Vec<Note>,
}

/// Converts.
///
/// # Errors
/// The file cannot be read, or a document in it has no such form.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let text = text(&args.file).map_err(|error| Failure::new(format!("read `{}`: {error}", args.file.display())))?;
    let given = yaml::parse(&text).map_err(|reason| Failure::new(format!("`{}`: {reason}", args.file.display())))?;
    if given.is_empty() {
        return Err(Failure::new(format!("`{}`: there is no document in it", args.file.display())));
    }
    let mut conversion = Conversion { documents: Vec::new(), notes: Vec::new() };
    for value in given {
        let Converted { document, notes } = converted(value, args.to)?;
        conversion.documents.push(document);
        conversion.notes.extend(notes);
    }
    if output.format == Format::Json {
        return output.json(&conversion);
    }
    for note in &conversion.notes {
        output.note(&format!("{}: {}", note.pointer, note.reason));
    }
    let texts: Result<Vec<String>, String> = conversion.documents.iter().map(yaml::write).collect();
    output.bytes(texts.map_err(Failure::new)?.join("---\n").as_bytes())
}

fn text(file: &Path) -> std::io::Result<String> {
    if file != Path::new("-") {
        return std::fs::read_to_string(file);
    }
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

fn converted(value: Value, to: Form) -> Result<Converted, Failure> {
    let failure = |error: &dyn std::error::Error| Failure::chain(error);
    if is_toolhive(&value) {
        return match to {
            Form::Fairlead => from_toolhive(&value).map_err(|error| failure(&error)),
            Form::Toolhive | Form::ToolhiveV1alpha1 => Ok(Converted { document: value, notes: Vec::new() }),
        };
    }
    let read = document::read(&value).map_err(|error| Failure { hint: error.hint(), ..failure(&error) })?;
    let version = match to {
        Form::Fairlead => return Ok(Converted { document: read.to_value(), notes: Vec::new() }),
        Form::Toolhive => Version::V1Beta1,
        Form::ToolhiveV1alpha1 => Version::V1Alpha1,
    };
    match read {
        Document::Server(server) => to_toolhive(&server, version).map_err(|error| failure(&error)),
        other => Err(Failure::new(format!("{}: only a server has a form of ToolHive", other.id()))),
    }
}
