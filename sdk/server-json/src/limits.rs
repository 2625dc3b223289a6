//! Bounds of an entry, as the official schema has them, and of what is read at all.

/// Name of a server, `namespace/name`.
pub const SERVER_NAME_BYTES_MAX: usize = 200;

/// The shortest name: a character on each side of the slash.
pub const SERVER_NAME_BYTES_MIN: usize = 3;

/// Version of a server.
pub const SERVER_VERSION_BYTES_MAX: usize = 255;

/// Description and title of the official schema. Longer ones are kept and remarked on: ToolHive's are.
pub const SERVER_TEXT_CHARS_MAX: usize = 100;

/// One `server.json`. The largest of the official registry has 40 KiB; a page of a thousand still fits a guest.
pub const SERVER_JSON_BYTES_MAX: usize = 256 * 1024;

/// Entries that one file may have: more than all public registries have together.
pub const ENTRIES_MAX: usize = 1_000_000;

/// Findings about one entry that are told at once.
pub const FINDINGS_MAX: usize = 32;
