//! `fairlead compile-component`: what the daemon starts to compile a component in a process that may use only so much
//! memory and time. Not for people.

use std::path::PathBuf;

use super::Failure;

/// What the daemon typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The component
    input: PathBuf,
    /// Where the compiled artifact goes
    output: PathBuf,
}

/// Compiles.
///
/// # Errors
/// It is no component, or cannot be written.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    fairlead_wasm::compile_child(&args.input, &args.output).map_err(|error| Failure::chain(&error))
}
