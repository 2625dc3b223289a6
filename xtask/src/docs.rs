//! `cargo xtask docs`: writes the reference pages that are made from code, or checks that they are up to date.
//!
//! Made, not written: a page that somebody has to remember is wrong within a month. `docs/reference/cli.md` is made by the
//! program itself and checked by a test of its own.

mod lifecycle;
mod limits;
mod updates;

use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::workspace;

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail when a page is out of date.
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let stale = stale()?;
    if args.check && !stale.is_empty() {
        let names: Vec<String> = stale.iter().map(|page| page.path.display().to_string()).collect();
        bail!("out of date: {}; run `cargo xtask docs`", names.join(", "));
    }
    for Page { path, text } in stale {
        let file = workspace::root().join(&path);
        std::fs::write(&file, text).with_context(|| format!("write {}", path.display()))?;
        anstream::println!("written: {}", path.display());
    }
    Ok(())
}

/// A page as it should be.
pub(crate) struct Page {
    /// From the root of the checkout.
    pub(crate) path: PathBuf,
    text: String,
}

/// The pages that are not as they should be.
pub(crate) fn stale() -> anyhow::Result<Vec<Page>> {
    let pages = [
        Page { path: "docs/reference/limits.md".into(), text: limits::page()? },
        Page { path: "docs/reference/server-states.md".into(), text: lifecycle::page() },
        Page { path: "docs/reference/update-states.md".into(), text: updates::page()? },
    ];
    let is_stale = |page: &Page| {
        let there = std::fs::read_to_string(workspace::root().join(&page.path)).unwrap_or_default();
        there != page.text
    };
    Ok(pages.into_iter().filter(is_stale).collect())
}
