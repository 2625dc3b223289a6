//! `fairlead man`: one page for each command, made from the parser itself.

use std::fs;
use std::path::PathBuf;

use clap::{Command, CommandFactory as _};

use super::output::Output;
use super::{Cli, Failure};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory for all pages (`~/.local/share/man/man1`); without it, the first is printed
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Prints a page, or writes all of them.
///
/// # Errors
/// Nobody reads, or the directory cannot be written.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let Some(directory) = &args.directory else {
        let pages = pages()?;
        let first = pages.first().map(|(_, page)| page.as_slice()).unwrap_or_default();
        return output.bytes(first);
    };
    fs::create_dir_all(directory).map_err(|error| Failure::new(format!("make `{}`: {error}", directory.display())))?;
    let pages = pages()?;
    for (name, page) in &pages {
        let file = directory.join(format!("{name}.1"));
        fs::write(&file, page).map_err(|error| Failure::new(format!("write `{}`: {error}", file.display())))?;
    }
    output.note(&format!("{} pages in `{}`", pages.len(), directory.display()));
    Ok(())
}

/// Every page, by the name of its file.
fn pages() -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut root = Cli::command();
    root.build();
    let mut pages = Vec::new();
    add(&mut pages, root, None)?;
    Ok(pages)
}

fn add(pages: &mut Vec<(String, Vec<u8>)>, command: Command, parent: Option<&str>) -> Result<(), Failure> {
    let name = match parent {
        Some(parent) => format!("{parent}-{}", command.get_name()),
        None => command.get_name().to_owned(),
    };
    let visible = command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
    let subs: Vec<Command> = visible.cloned().collect();
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    pages.push((name.clone(), page));
    for sub in subs {
        add(pages, sub, Some(&name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visible(command: &Command, path: &str, found: &mut Vec<String>) {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            let path = format!("{path}-{}", sub.get_name());
            found.push(path.clone());
            visible(sub, &path, found);
        }
    }

    #[test]
    fn every_command_has_a_page_and_a_completion_and_says_what_it_is_for() {
        let mut root = Cli::command();
        root.build();
        let mut commands = vec!["fairlead".to_owned()];
        visible(&root, "fairlead", &mut commands);
        let pages = pages().unwrap();
        let names: Vec<&String> = pages.iter().map(|(name, _)| name).collect();
        assert_eq!(names, commands.iter().collect::<Vec<_>>());
        let mut script = Vec::new();
        clap_complete::generate(clap_complete::Shell::Bash, &mut Cli::command(), "fairlead", &mut script);
        let script = String::from_utf8(script).unwrap();
        for (name, page) in &pages {
            let page = String::from_utf8_lossy(page);
            assert!(page.contains(".SH DESCRIPTION") && page.contains(".SH SYNOPSIS"), "{name}:\n{page}");
            let last = name.rsplit('-').next().unwrap();
            assert!(script.contains(last), "{name} has no completion");
        }
    }

    /// Whoever reads `--help` learns what each argument is.
    #[test]
    fn every_argument_is_explained() {
        fn check(command: &Command, path: &str) {
            assert!(command.get_about().is_some(), "{path} does not say what it does");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{path}: `{}` is not explained", argument.get_id());
            }
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                check(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        let mut root = Cli::command();
        root.build();
        check(&root, "fairlead");
    }
}
