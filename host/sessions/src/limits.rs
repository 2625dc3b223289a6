//! Every bound of sessions in Redis, with the reason for its number.

use std::time::Duration;

/// One question to Redis, waiting for a connection included. It answers within a millisecond; a client that waits for more is
/// better told so.
pub const CALL_MAX: Duration = Duration::from_secs(1);

/// A value in Redis: a record has some hundred bytes, what a request was about a few thousand at most. No more is ever asked for, so a
/// value that somebody else put there costs no memory.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// A session that nobody used for so long is forgotten. The server behind ends its sessions itself, and far sooner; this is so
/// that what nobody ends does not stay for ever.
pub const SESSION_KEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// For how long a replica believes what it has read of a session: a client that works asks Redis once in that time, and a
/// Redis that is away for a moment is not noticed by it.
pub const KNOWN_KEEP: Duration = Duration::from_secs(10);

/// Sessions that a replica knows by that: far more than one works on within [`KNOWN_KEEP`].
pub const KNOWN_MAX: usize = 16 * 1024;

/// How long is remembered what a request was about whose stream broke off: clients come back within a second, or after their
/// machine has slept.
pub const EXPECTED_KEEP: Duration = Duration::from_secs(60 * 60);
