//! Every deadline of the tests, with the reason for its number. They are bounds for a broken run, never the pace of a
//! good one: a two-core machine that compiles at the same time must not reach them.

use std::time::Duration;

/// From `serve` to the line that names its address: opening the store and binding, nothing else.
pub const READY: Duration = Duration::from_secs(30);

/// One command of the command line. `run` waits for a server's first answer, and `npx` installs the server before that.
pub const COMMAND: Duration = Duration::from_secs(200);

/// One command that builds an image first: packages are fetched and some hundred megabytes are written, beside other builds.
pub const IMAGE_COMMAND: Duration = Duration::from_secs(900);

/// One exchange with a server that answers at once.
pub const EXCHANGE: Duration = Duration::from_secs(30);

/// A state that is reached by itself: a restart, an end, memory given back.
pub const SETTLE: Duration = Duration::from_secs(30);

/// A pod, from its document to its being ready: a controller, a kubelet and containerd work for it, one after another, and those of
/// other tests are made at the same time.
pub const POD: Duration = Duration::from_secs(120);

/// How often a state is looked at: below what a person notices, above what keeps a core busy.
pub const POLL: Duration = Duration::from_millis(10);

/// One official client from its start to its report: it waits for a long-running tool on purpose.
pub const OFFICIAL_CLIENT: Duration = Duration::from_secs(120);

/// Installing packages from registries.
pub const INSTALL: Duration = Duration::from_secs(600);

/// One run of the conformance suite.
pub const CONFORMANCE: Duration = Duration::from_secs(240);

/// Bytes of captured output that are shown when a test fails: the end tells, and CI logs are read by people.
pub const SHOWN_BYTES: usize = 16 * 1024;

/// The commands of one guide: they compile the SDK and a plugin, in release mode, the first time from nothing.
pub const GUIDE: Duration = Duration::from_secs(900);

/// A daemon whose test is over, from being asked to its end; then it is killed.
pub const FAREWELL: Duration = Duration::from_secs(10);
