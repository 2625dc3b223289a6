//! Checks the documentation as a reader would: every relative link leads somewhere, every `cargo xtask` command that is
//! written down exists, and what is made from code is what the code says.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::CommandFactory;

use super::{Outcome, Plan, Tally};
use crate::workspace;

/// Checks every Markdown file of the checkout.
pub(crate) fn run(_: &Plan, _: &mut Tally) -> anyhow::Result<Outcome> {
    let root = workspace::root();
    let mut broken = Vec::new();
    let files = markdown(&root)?;
    for file in &files {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| format!("read {}", file.display()))?;
        for link in links(&text) {
            if !leads_somewhere(&root, file, link) {
                broken.push(format!("{}: the link `{link}` leads nowhere", file.display()));
            }
        }
        for command in xtask_commands(&text) {
            if crate::Cli::command().find_subcommand(command).is_none() {
                broken.push(format!("{}: there is no `cargo xtask {command}`", file.display()));
            }
        }
    }
    for page in crate::docs::stale()? {
        broken.push(format!("{} is out of date: run `cargo xtask docs`", page.path.display()));
    }
    for line in &broken {
        anstream::println!("  {line}");
    }
    Ok(if broken.is_empty() {
        Outcome::Passed(format!("{} files", files.len()))
    } else {
        Outcome::Failed(format!("{} places lead nowhere", broken.len()))
    })
}

fn markdown(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        let path = root.join(&directory);
        for entry in std::fs::read_dir(&path).with_context(|| format!("list {}", path.display()))? {
            let entry = entry.with_context(|| format!("list {}", path.display()))?;
            let name = entry.file_name();
            let hidden = name.to_string_lossy().starts_with('.');
            let file = directory.join(&name);
            if entry.path().is_dir() && !hidden && name != "target" && name != "node_modules" {
                directories.push(file);
            } else if file.extension().is_some_and(|extension| extension == "md") {
                files.push(file);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Targets of `[text](target)`, outside fenced code.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in prose(text) {
        let mut rest = line;
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, remainder)) = after.split_once(')') else { break };
            found.push(target);
            rest = remainder;
        }
    }
    found
}

fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

fn leads_somewhere(root: &Path, file: &Path, link: &str) -> bool {
    let path = link.split('#').next().unwrap_or_default();
    let is_elsewhere = link.contains("://") || link.starts_with("mailto:");
    is_elsewhere || path.is_empty() || root.join(file.parent().unwrap_or(file)).join(path).exists()
}

fn xtask_commands(text: &str) -> impl Iterator<Item = &str> {
    text.split("cargo xtask ").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '-')).unwrap_or(rest.len());
        rest.get(..end).filter(|command| !command.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::{links, xtask_commands};

    #[test]
    fn links_are_found_in_prose_and_not_in_code() {
        let text = "see [a](a.md) and [b](b/c.md#d)\n```text\n[no](no.md)\n```\n[c](c.md)";
        assert_eq!(links(text), ["a.md", "b/c.md#d", "c.md"]);
    }

    #[test]
    fn commands_are_found_wherever_they_are_written() {
        let text = "`cargo xtask demo` or\n    cargo xtask test --quick\nand cargo xtask <command>";
        assert_eq!(xtask_commands(text).collect::<Vec<_>>(), ["demo", "test"]);
    }
}
