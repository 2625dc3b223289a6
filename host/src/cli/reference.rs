//! The reference page of the command line, made from the parser itself; a test keeps `docs/reference/cli.md` in step.

mod documents;

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use super::output::Output;
use super::{Cli, Failure};
use crate::config::variables;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which page
    #[arg(value_enum, default_value_t)]
    page: Page,
}

/// The pages that the program makes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Page {
    /// The command line
    #[default]
    Cli,
    /// Documents
    Documents,
}

/// Prints a page.
///
/// # Errors
/// Nobody reads.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let text = match args.page {
        Page::Cli => page(),
        Page::Documents => documents::page(),
    };
    output.bytes(text.as_bytes())
}

/// The page.
fn page() -> String {
    let mut text = String::from(
        "# Command line\n\n\
         Made from the program by `fairlead reference`; do not edit.\n\n\
         A command ends with status 0 when it did what was asked, 1 when it failed, 2 when it was not \
         understood, and `serve` with 3 when a daemon runs already.\n",
    );
    let mut root = Cli::command();
    root.build();
    write_command(&mut text, &root, "fairlead");
    text +=
        "\n## Environment variables\n\nA flag goes before a variable, a variable before the configuration file.\n\n";
    text += "| variable | meaning |\n|---|---|\n";
    for variable in variables::ALL {
        let _ = writeln!(text, "| `{}` | {} |", variable.name, variable.meaning);
    }
    text
}

fn write_command(text: &mut String, command: &Command, path: &str) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage: Vec<_> = usage.trim_start_matches("Usage: ").lines().map(str::trim_start).collect();
    let usage = usage.join("\n");
    let _ =
        write!(text, "\n## `{path}`\n\n{about}.\n\n```console\n{usage}\n```\n", about = about.trim_end_matches('.'));
    let top = !path.contains(' ');
    let arguments: Vec<_> = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set() && (top || !argument.is_global_set()))
        .filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
        .collect();
    if !arguments.is_empty() {
        text.push_str("\n| argument | meaning |\n|---|---|\n");
    }
    for argument in arguments {
        let meaning = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "| `{}` | {} |", spelling(argument), cell(&(meaning + &choices(argument))));
    }
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        write_command(text, sub, &format!("{path} {}", sub.get_name()));
    }
}

/// A bar ends a cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn spelling(argument: &clap::Arg) -> String {
    let mut names: Vec<String> = Vec::new();
    names.extend(argument.get_short().map(|short| format!("-{short}")));
    names.extend(argument.get_long().map(|long| format!("--{long}")));
    let value = argument
        .get_num_args()
        .filter(|range| range.takes_values())
        .and_then(|_| argument.get_value_names())
        .map(|values| values.join(" "));
    match (names.is_empty(), value) {
        (true, value) => value.unwrap_or_default(),
        (false, None) => names.join(", "),
        (false, Some(value)) => format!("{} {value}", names.join(", ")),
    }
}

fn choices(argument: &clap::Arg) -> String {
    if argument.get_num_args().is_some_and(|range| !range.takes_values()) {
        return String::new();
    }
    let values: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    let mut text = if values.is_empty() { String::new() } else { format!(": {}", values.join(", ")) };
    let default: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if !default.is_empty() {
        text += &format!(" (default `{}`)", default.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    /// `fairlead reference > docs/reference/cli.md` makes it right again.
    #[test]
    fn the_reference_page_is_what_the_program_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/cli.md");
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(there == super::page(), "{path} is out of date: run `fairlead reference > docs/reference/cli.md`");
    }
}
