//! `fairlead completion`.

use clap::CommandFactory as _;

use super::output::Output;
use super::{Cli, Failure};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Prints the script.
///
/// # Errors
/// Nobody reads.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fairlead", &mut script);
    output.bytes(&script)
}
