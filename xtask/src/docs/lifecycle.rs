//! The page that draws the states of a server, made by running the gate through everything that can happen.

use fairlead_control::lifecycle_diagram;

const HEAD: &str = "# States of a server\n\nMade from the code by `cargo xtask docs`; do not edit. Each arrow is a change that the gate of \
supervision makes of an event, found by trying every event in every state that can be reached.\n\n\
`fairlead status` and `fairlead list` show the state; what a client is told while a server does not run is in \
[supervision](../guides/supervision.md).\n";

/// The page.
pub(crate) fn page() -> String {
    format!("{HEAD}\n```mermaid\n{}```\n", lifecycle_diagram())
}
