//! `fairlead crd`: the custom resources, for a cluster. `deploy/crds/` has the same.

use std::fs;
use std::path::PathBuf;

use fairlead_operator::crd;
use serde_json::json;

use super::Failure;
use super::output::{Format, Output};
use super::registry::cluster::registry_schema;
use crate::yaml;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory for one file of each; without it, all are printed
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Prints the definitions, or writes them.
///
/// # Errors
/// Nobody reads, or the directory cannot be written.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let Some(directory) = &args.directory else {
        return match output.format {
            Format::Json => {
                output.json(&json!({"apiVersion": "v1", "kind": "List", "items": crd::definitions(&registry_schema())}))
            }
            Format::Text => {
                let texts: Vec<String> = files()?.into_iter().map(|(_, text)| text).collect();
                output.bytes(texts.join("---\n").as_bytes())
            }
        };
    };
    fs::create_dir_all(directory).map_err(|error| Failure::new(format!("make `{}`: {error}", directory.display())))?;
    let files = files()?;
    for (name, text) in &files {
        let file = directory.join(name);
        fs::write(&file, text).map_err(|error| Failure::new(format!("write `{}`: {error}", file.display())))?;
    }
    output.note(&format!("{} definitions in `{}`", files.len(), directory.display()));
    Ok(())
}

/// The files: their names and texts.
fn files() -> Result<Vec<(String, String)>, Failure> {
    let kinds = crd::KINDS.iter().zip(crd::definitions(&registry_schema()));
    let file = |(kind, definition): (&crd::Kind, _)| {
        let text = yaml::write(&definition).map_err(Failure::new)?;
        Ok((format!("{}.yaml", kind.plural), text))
    };
    kinds.map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `fairlead crd --directory deploy/crds` makes it right again.
    #[test]
    fn the_files_of_deploy_are_what_the_program_says() {
        let directory = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds"));
        let files = files().unwrap();
        for (name, text) in &files {
            let there = fs::read_to_string(directory.join(name)).unwrap_or_default();
            assert!(there == *text, "{name} is out of date: run `fairlead crd --directory deploy/crds`");
        }
        assert_eq!(fs::read_dir(directory).unwrap().count(), files.len());
    }
}
