//! Every bound of this crate, with the reason for its number.

use std::time::Duration;

/// Time that the children of an ended process have before they are killed, unless `stop` gave them more. Their parent is
/// gone, so nobody waits for what they do; a second is enough to write a file.
pub const SURVIVORS_GRACE: Duration = Duration::from_secs(1);

/// Time that a leftover of an earlier daemon has between being asked and being killed. Its stdin was closed when that daemon
/// died, so it has had its time already, and the start of this daemon waits for it.
pub const LEFTOVER_GRACE: Duration = Duration::from_secs(2);

/// How long a killed process may take to vanish. The kernel needs milliseconds; longer means that it hangs in a system call
/// that cannot be interrupted (a dead network mount), and nothing helps but not waiting for it.
pub const KILL_WAIT: Duration = Duration::from_secs(2);

/// First pause between two looks at whether a process group is empty, which nothing announces; doubled each time.
pub const GROUP_POLL_FIRST: Duration = Duration::from_millis(2);

/// Longest pause between two looks. Short against the time in which a process id can come round again.
pub const GROUP_POLL_MAX: Duration = Duration::from_millis(50);

/// Time that `ps` has to tell when a process started, where there is no `/proc`.
pub const PS_TIMEOUT: Duration = Duration::from_secs(2);
