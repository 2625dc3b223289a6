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

// Containers

/// Time that a container engine has to say that it is there. It answers from memory, over a socket of this machine.
pub const ENGINE_PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Time that an engine that has answered has to say what it is. One that has just been started looks through its images first, and
/// what it has not said in time is not known of it for as long as it is used.
pub const ENGINE_FACTS_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that an engine has for one request (create, start, inspect, remove): seconds on a machine whose disk is busy with an
/// image; longer means that it hangs.
pub const ENGINE_REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the end of a container is waited for while its engine does not answer: a restart of the engine fits, its end
/// does not.
pub const ENGINE_AWAY_MAX: Duration = Duration::from_secs(30);

/// Containers that are made and started at the same time; the others wait for their turn, in the order in which they came.
/// An engine that is asked for fifty at once starts none of them soon.
pub const LAUNCHES_AT_ONCE_MAX: usize = 8;

/// How long the others wait for one that stands in line before them and is not ready to have its container made. An engine says
/// in milliseconds that it has an image, and makes a container in a tenth of a second, fifty at once on a busy machine in one or
/// two; longer means that it fetches, asks somebody far away, or hangs.
pub const LAUNCH_LINE_PATIENCE: Duration = Duration::from_secs(3);

/// First pause between two questions to an engine that is away; doubled each time.
pub const ENGINE_POLL_FIRST: Duration = Duration::from_millis(50);

/// Longest pause between two questions to an engine that is away.
pub const ENGINE_POLL_MAX: Duration = Duration::from_secs(1);

/// Time from the first order to the kernel's last: a killed container whose engine needs longer to say so is given up.
pub const CONTAINER_KILL_WAIT: Duration = Duration::from_secs(10);

/// How long a container is waited for that its engine says it cannot remove now: somebody else removes it, or it has just been
/// killed. As long as a killed one has to end.
pub const CONTAINER_REMOVAL_MAX: Duration = Duration::from_secs(10);

/// Silence of a pull after which it has failed. Registries and engines report every second or so.
pub const PULL_SILENCE_MAX: Duration = Duration::from_secs(120);

/// A pull in all: a large image over a slow line.
pub const PULL_MAX: Duration = Duration::from_secs(30 * 60);

/// Layers of one image whose progress is kept; engines allow 127.
pub const PULL_LAYERS_MAX: usize = 256;

/// Images that tenants were let have, kept so that a registry is asked once and not with every session. All are asked about
/// anew when there are more, which is more than run on one machine.
pub const IMAGES_ALLOWED_KEPT: usize = 1024;

/// What a tool says of the index that it takes packages from: an address, or a list of a few.
pub const INDEX_BYTES_MAX: usize = 16 * 1024;

/// The start of a tool that says it, on a machine that does other things.
pub const INDEX_TOLD_MAX: Duration = Duration::from_secs(60);

/// The build of an image in all: a large package with native parts, over a slow line.
pub const BUILD_MAX: Duration = Duration::from_secs(30 * 60);

/// Silence of a build after which it has failed: compilers and resolvers say nothing for minutes.
pub const BUILD_SILENCE_MAX: Duration = Duration::from_secs(10 * 60);

/// Last lines of a build that are kept to explain its failure: the summary of npm or pip fits.
pub const BUILD_OUTPUT_LINES_KEPT: usize = 12;

/// The archive with the version of a package: a header, one block, an end.
pub const PACKAGE_VERSION_BYTES_MAX: usize = 64 * 1024;

/// A configuration file of Docker or of its contexts.
pub const ENGINE_CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Entries of one directory that are looked at for sockets (machines of Lima, profiles of Colima, contexts).
pub const ENGINE_DIRECTORY_ENTRIES_MAX: usize = 64;

/// What is quoted from an engine's answer: it reaches a person, and engines quote whole pages of registries.
pub const ENGINE_MESSAGE_BYTES_MAX: usize = 1024;

/// `/tmp` of a container. It counts as memory, so it cannot be large.
pub const CONTAINER_TMP_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Memory of a porter: two threads with small stacks for each connection.
pub const PORTER_MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Threads of a porter: two for each connection, and as many connections as a server has sessions several times over.
pub const PORTER_THREADS_MAX: i64 = 1024;

/// Connections that wait to be taken: more than ever come at once from one proxy.
pub const PORTER_BACKLOG: u32 = 128;

/// Longest pause between two questions of a porter whether its server listens: with that of supervision it is a part of what a
/// `run` takes after its server is ready.
pub const PORTER_POLL_MAX: Duration = Duration::from_millis(25);

/// Bytes on their way through one pipe of a process beside others in a container: what a pipe of the kernel holds, several times,
/// and little enough for a thousand of them.
pub const STEWARD_WINDOW_BYTES: usize = 256 * 1024;

/// One frame of a steward: it sends 32 KiB at most, so a longer one is none.
pub const STEWARD_FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Processes of one container: three threads each in front of them, and the sessions of a server are bounded below that.
pub const STEWARD_SESSIONS_MAX: usize = 1_024;

/// How long a container stays after the last of its sessions: for the next one of a client that opens them one by one.
pub const STEWARD_LINGER: Duration = Duration::from_secs(5);

/// The least memory that engines accept for a container.
pub const CONTAINER_MEMORY_BYTES_MIN: u64 = 6 * 1024 * 1024;

/// An ignore file: as many patterns as are taken, of usual length.
pub const IGNORE_FILE_BYTES_MAX: u64 = 256 * 1024;

/// Entries of all mounts of a server that are looked at for what is hidden: some seconds on a cold disk. A project with its
/// `node_modules` has fewer, and what is hidden as a directory is not looked into.
pub const IGNORE_ENTRIES_MAX: usize = 500_000;

/// What is hidden of the mounts of one server: each is a mount of its own, made by the engine one after the other.
pub const OVERLAYS_MAX: usize = 256;
