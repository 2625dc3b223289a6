//! Bounds of building, with the reason for each number.

use std::time::Duration;

/// Time to install a toolchain: some 100 MB from a registry over a slow line.
pub const INSTALL_MAX: Duration = Duration::from_secs(900);

/// Time of one tool. The slowest (componentize-py) needs 15 seconds of processor time, and a machine may be busy.
pub const TOOL_MAX: Duration = Duration::from_secs(600);

/// What is kept of the words of a tool: the end, where the reason stands.
pub const TOOL_WORDS_BYTES_MAX: usize = 16 * 1024;
