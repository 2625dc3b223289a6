//! Every bound of reading a repository, with the reason for its number.

use std::time::Duration;

/// One reading in all: under the 30 seconds of a page, so that it is told what was slow, and not only that something was.
pub const READ_MAX: Duration = Duration::from_secs(25);

/// Time without a byte: what a server may need to put a pack together before the first one.
pub const STALL_MAX: Duration = Duration::from_secs(15);

/// Bytes that a server may send in one reading: a catalogue of a hundred thousand entries, compressed, with room for its
/// neighbours in the repository.
pub const RECEIVED_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Bytes that are sent: what is wanted and what is there, both short because nothing is.
pub const SENT_BYTES_MAX: usize = 256 * 1024;

/// One object, unpacked. A pack of a few kilobytes can hold gigabytes of nothing.
pub const OBJECT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// All files that are handed on.
pub const FILES_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Files that are handed on: one for each entry of the largest catalogue that is kept so.
pub const FILES_MAX: usize = 50_000;

/// Entries of directories that are looked at. A few objects that name each other many times are more directories than anybody can
/// walk; the largest repositories that people work in have a tenth of this.
pub const ENTRIES_MAX: usize = 1_000_000;

/// Directories within directories.
pub const DEPTH_MAX: usize = 16;

/// The head of an answer.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Redirects in a row: a repository that was renamed, and a host that was.
pub const REDIRECTS_MAX: usize = 4;

/// Bytes of an error of a server that are told.
pub const REASON_BYTES_MAX: usize = 300;
