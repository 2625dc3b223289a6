//! Follows the guides to the letter: what a reader is told to type is typed here, and what they are shown is in the source.
//!
//! A Markdown comment before a fenced block says what it is: `<!-- run -->` is executed, `<!-- run: fails -->` is executed and
//! must fail, `<!-- from PATH -->` must stand in that file word for word. The commands of one guide run in order in one
//! shell, against a daemon with a throw-away home.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::{Outcome, Plan, Tally};
use crate::workspace;

/// The documents that tell people what to type.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "docs/guides/getting-started.md",
    "docs/guides/secrets.md",
    "docs/guides/containers.md",
    "docs/guides/watching.md",
    "docs/guides/grants.md",
    "docs/guides/writing-a-middleware.md",
    "docs/guides/eras-and-bridges.md",
    "docs/guides/transports/remote.md",
    "docs/guides/transports/sse.md",
    "docs/guides/transports/streamable-http.md",
    "docs/guides/transports/stdio.md",
    "docs/guides/plugins/cache.md",
    "docs/guides/plugins/header-inject.md",
    "docs/guides/plugins/rate-limit.md",
    "docs/guides/plugins/redact.md",
    "docs/guides/plugins/tool-filter.md",
    "docs/guides/plugins/validate.md",
    "docs/guides/tenants-and-chains.md",
    "docs/guides/freshness.md",
    "docs/guides/declarative.md",
    "docs/guides/registry.md",
    "docs/guides/kubernetes.md",
];

/// A fenced block with what the comment before it says.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    says: String,
    text: String,
}

/// Checks every excerpt and runs every command.
pub(crate) fn run(_: &Plan, _: &mut Tally) -> anyhow::Result<Outcome> {
    let root = workspace::root();
    workspace::build("dev", &["fairlead"])?;
    let (mut excerpts, mut commands) = (0, 0);
    for document in DOCUMENTS {
        let text = std::fs::read_to_string(root.join(document)).with_context(|| format!("read {document}"))?;
        let mut script = String::new();
        for block in blocks(&text) {
            match block.says.as_str() {
                "run" => script.push_str(&block.text),
                "run: fails" => {
                    let typed = block.text.trim_end();
                    script.push_str(&format!("if {typed}; then echo 'this was expected to fail' >&2; exit 1; fi\n"));
                }
                says => match says.strip_prefix("from ") {
                    Some(file) => {
                        excerpt(&root, document, file, &block.text)?;
                        excerpts += 1;
                        continue;
                    }
                    None => bail!("{document}: what does `<!-- {says} -->` mean?"),
                },
            }
            commands += 1;
        }
        if !script.is_empty() {
            follow(document, &script)?;
        }
    }
    Ok(Outcome::Passed(format!("{commands} blocks of commands, {excerpts} excerpts")))
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let says = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        let Some(says) = says.filter(|_| lines.peek().is_some_and(|next| next.starts_with("```"))) else { continue };
        let text = lines.by_ref().skip(1).take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
        blocks.push(Block { says: says.to_owned(), text });
    }
    blocks
}

fn excerpt(root: &Path, document: &str, file: &str, text: &str) -> anyhow::Result<()> {
    let source = std::fs::read_to_string(root.join(file)).with_context(|| format!("{document}: read {file}"))?;
    if !source.contains(text) {
        bail!("{document} shows what does not stand in {file}:\n{text}");
    }
    Ok(())
}

fn follow(document: &str, script: &str) -> anyhow::Result<()> {
    let home = tempfile::Builder::new().prefix("fairlead-").tempdir().context("make a throw-away home")?;
    let desk = desk()?;
    let binaries = workspace::target().join("debug");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(binaries).chain(std::env::split_paths(&path)))?;
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command
            .current_dir(desk.path())
            .args(["-eux", "-c", script])
            .stdin(Stdio::null())
            .env("PATH", &path)
            .env("FAIRLEAD_HOME", home.path())
            .env("FAIRLEAD_ADDRESS", "127.0.0.1:0")
            .env("FAIRLEAD_PLUGIN_PATH", workspace::plugins());
        command.status().context("start sh")
    };
    let status = shell(script)?;
    // The daemon was started by the first command; it must not outlive its home.
    let ended = shell("fairlead shutdown")?;
    if !status.success() || !ended.success() {
        bail!("{document}: the commands ended with {status}, `fairlead shutdown` with {ended}");
    }
    Ok(())
}

/// The root of the checkout as somebody finds it who follows a guide there; what they write into it is gone afterwards.
fn desk() -> anyhow::Result<TempDir> {
    let desk = tempfile::Builder::new().prefix("fairlead-").tempdir().context("make a copy of the checkout")?;
    for entry in std::fs::read_dir(workspace::root())? {
        let entry = entry?;
        symlink(entry.path(), desk.path().join(entry.file_name()))?;
    }
    Ok(desk)
}

#[cfg(test)]
mod tests {
    use super::{Block, blocks};

    #[test]
    fn only_blocks_with_a_comment_are_taken() {
        let text = "```console\nno\n```\n<!-- run -->\n```console\none\ntwo\n```\n<!-- a remark -->\n\n<!-- from a.rs -->\n```rust\nx\n```\n";
        let block = |says: &str, text: &str| Block { says: says.to_owned(), text: text.to_owned() };
        assert_eq!(blocks(text), [block("run", "one\ntwo\n"), block("from a.rs", "x\n")]);
    }
}
