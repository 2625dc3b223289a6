//! The page that draws the state machine of updates, made by running it.

use anyhow::Context;
use fairlead_core::freshness::diagrams;

const HEAD: &str = "# States of an update\n\nMade from the code by `cargo xtask docs`; do not edit. Each arrow is something that \
`core::freshness::step` does with an event, found by trying every event on every kind of record. Two questions are kept apart: \
what is newest (a check), and what is being changed (an operation); neither ever overwrites the other.\n";

/// The page.
pub(crate) fn page() -> anyhow::Result<String> {
    let drawn = diagrams().context("the state machine cannot be drawn")?;
    let mut page = HEAD.to_owned();
    for (title, says, diagram) in [
        (
            "What a server's status says",
            "`disabled` and `not_eligible` are left by whatever made them so; every other status can become these two.",
            &drawn.status,
        ),
        (
            "An operation from its intent to its end",
            "Every phase is stored before its effect. `back_` is the way back to what was well: it needs no trial and cannot be \
             called off.",
            &drawn.operation,
        ),
        (
            "What is done next",
            "What is to be done is read off the record, by whoever holds the lease. So what a crash interrupted is done by the \
             ordinary path.",
            &drawn.turn,
        ),
    ] {
        page.push_str(&format!("\n## {title}\n\n{says}\n\n```mermaid\n{diagram}```\n"));
    }
    Ok(page)
}
