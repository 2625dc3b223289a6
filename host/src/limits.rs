//! Every bound of the binary, with the reason for its number.

use std::time::Duration;

// === The API ===

/// Body of an API request: a server with a large inline configuration fits many times over.
pub(crate) const API_BODY_BYTES_MAX: usize = 1024 * 1024;

/// An API operation that only reads or changes state.
pub(crate) const API_OPERATION_MAX: Duration = Duration::from_secs(30);

/// A question about plugins: who asks first waits for their compilation, which has two minutes, behind that of another.
pub(crate) const API_PLUGINS_MAX: Duration = Duration::from_secs(4 * 60);

/// An API operation that starts a server: a large image over a slow line is fetched in half an hour at most, and what is
/// waited for then has a bound of its own ([`SERVER_START_MAX`]).
pub(crate) const API_START_MAX: Duration = Duration::from_secs(35 * 60);

/// How long a new server may take until it answers `initialize`: the first run of an `npx` or `uvx` package downloads it.
pub(crate) const SERVER_START_MAX: Duration = Duration::from_secs(180);

/// Between two questions whether a server that listens still answers, unless it is set: a client that meets a silent one gives up
/// after a minute, and a question costs less than a request.
pub(crate) const HEALTH_INTERVAL: Duration = Duration::from_secs(30);

/// Time for the answer, or the interval where that is less: a server that computes on its only thread may be late.
pub(crate) const HEALTH_ANSWER_MAX: Duration = Duration::from_secs(10);

/// Questions in a row without an answer after which a server is ended and launched anew. With the interval it is a minute and a
/// half: what one long computation takes is no reason.
pub(crate) const HEALTH_MISSES_MAX: u32 = 3;

/// Longest path of a Unix socket that every supported system takes (`sun_path` of macOS, with its terminator).
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 103;

/// Whether somebody listens on an existing socket is known at once on one machine.
pub(crate) const SOCKET_PROBE_MAX: Duration = Duration::from_secs(2);

// === The daemon ===

/// How long the command line waits for a daemon that it started.
pub(crate) const DAEMON_START_MAX: Duration = Duration::from_secs(20);

/// How long `shutdown` waits: longer than the daemon takes to drain.
pub(crate) const DAEMON_STOP_MAX: Duration = Duration::from_secs(45);

/// How long the lock of a daemon that is dead may still be held by a process that it was just starting: until that runs its
/// program, which takes a millisecond unless the machine is overloaded.
pub(crate) const LOCK_OF_THE_DEAD_MAX: Duration = Duration::from_secs(5);

/// Connections at the same time at a door over TCP other than the proxy's (management, catalogue, metrics): who scripts or scrapes
/// needs few, and what they hold must not take the file descriptors of the proxy.
pub(crate) const DOOR_CONNECTIONS_MAX: usize = 256;

/// Time for a plugin to say whether an entry is approved: what one page of a source may take.
pub(crate) const APPROVAL_PLUGIN_MAX: Duration = Duration::from_secs(30);

/// Requests that one address may make of the catalogue in a second: a client that follows pages makes ten.
pub(crate) const CATALOGUE_PER_SECOND: f64 = 100.0;

/// Requests that one address may make at once, before it is held to that: thirty thousand entries, page by page.
pub(crate) const CATALOGUE_BURST: f64 = 1_000.0;

/// Addresses that are remembered for it.
pub(crate) const CATALOGUE_VISITORS_MAX: usize = 16 * 1024;

/// Seconds after which somebody should come again about whom a cluster said nothing: an API server is started anew within that.
pub(crate) const CATALOGUE_UNANSWERED_SECS: u64 = 5;

/// Answers of the catalogue that are worth compressing: less fits one packet anyway.
pub(crate) const CATALOGUE_COMPRESS_MIN: usize = 1_024;

/// How often a thing that gives no event is looked at while waiting for it.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long the data plane may take to end: a little longer than it gives the requests under way, and the sessions after them.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(13);

/// How long a stopping server may take in all: stdin closed, asked, killed.
pub(crate) const SERVER_STOP_MAX: Duration = Duration::from_secs(8);

/// Servers that are brought up at the same time when the daemon starts: enough to hide waiting, too few to swamp a laptop.
pub(crate) const STARTS_AT_ONCE_MAX: usize = 8;

/// How long the containers of stopped servers may take to be gone from their engine when the daemon stops; what is left is
/// removed by the next one.
pub(crate) const CONTAINERS_SETTLE_MAX: Duration = Duration::from_secs(5);

/// Free space below which `doctor` warns: a compiled plugin and a log file, several times over.
pub(crate) const DISK_FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;

/// How far the clock may be behind what was written last: a file system may round, and machines that share one differ.
pub(crate) const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);

/// How often the log of the daemon tells how far the pull of an image is.
pub(crate) const PULL_REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// Between the end of a data plane that broke off and its next beginning: what breaks again at once must not keep a
/// processor busy, and clients wait for so long without noticing.
pub(crate) const SERVE_AGAIN_PAUSE: Duration = Duration::from_millis(50);

/// Servers of one daemon: each costs some memory and a place in every listing; nobody runs so many on one machine.
pub(crate) const SERVERS_MAX: usize = 1_000;

/// Tenants of one daemon.
pub(crate) const TENANTS_MAX: usize = 1_000;

/// API tokens of one daemon: some for each tenant.
pub(crate) const TOKENS_MAX: usize = 10_000;

/// Attachments of the platform and of all tenants together: a long chain for each tenant.
pub(crate) const POLICIES_MAX: usize = 10_000;

/// Documents that are applied at once: every server of a daemon, with its tenant's chain.
pub(crate) const DOCUMENTS_MAX: usize = 2_000;

/// Documents that are wrong and named, each with what is wrong; with more, the rest is seen at the next try.
pub(crate) const DOCUMENT_PROBLEMS_MAX: usize = 10;

/// Bytes of documents that the command line reads.
pub(crate) const DOCUMENT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How often an `apply` looks again when others changed the same things while it waited for its turn.
pub(crate) const APPLY_TRIES_MAX: usize = 5;

/// Middleware in the chain of one server: each may add its deadline to every request.
pub(crate) const CHAIN_LINKS_MAX: usize = 16;

/// Lines of standard error that are shown when a new server does not come up.
pub(crate) const FAILURE_LOG_LINES: usize = 10;

/// Operations of one tenant that are under way at the same time, those included that wait for their turn at a server: one for each
/// server that a daemon can have.
pub(crate) const OPERATIONS_AT_ONCE_MAX: usize = SERVERS_MAX;

/// Operations that have ended and can still be asked about: what a person did in the last hour.
pub(crate) const OPERATIONS_KEPT: usize = 256;

// === State ===

/// Memory that the database may use for its cache: the state of a daemon is a few megabytes at most.
pub(crate) const STORE_CACHE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// After a session or a connection has ended, until free memory is given back to the system: thousands that end together are
/// one release, and whoever looks ten seconds later sees it.
pub(crate) const MEMORY_RELEASE_AFTER: Duration = Duration::from_secs(5);

/// For how long a daemon waits for the one before to let go of the database: its threads are ending, and have nothing to do.
pub(crate) const STORE_FREE_MAX: Duration = Duration::from_secs(5);

/// How often it looks.
pub(crate) const STORE_FREE_POLL: Duration = Duration::from_millis(20);

/// Free bytes of the disk below which the state store takes no change. A database whose write fails half-way serves nothing
/// any more until the daemon is started anew, so it is not asked; one change takes a segment of 512 KiB and, now and then, a
/// snapshot of a few megabytes at most.
pub(crate) const STORE_ROOM_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// Bytes of the disk that are kept for a start when it is full: opening the database writes a segment and a snapshot.
pub(crate) const STORE_RESERVE_BYTES: u64 = 4 * 1024 * 1024;

/// Plugin state is written behind at this interval: at most so much of it is lost when the machine dies.
pub(crate) const KV_WRITE_BEHIND: Duration = Duration::from_millis(500);

/// Expired plugin state is removed at this interval; reading never returns it, so this only frees memory.
pub(crate) const KV_SWEEP: Duration = Duration::from_secs(30);

/// Entries that are written or swept in one go while the scope is locked: well under a millisecond.
pub(crate) const KV_PART_ENTRIES_MAX: usize = 256;

/// Bytes that an entry costs beside its key and value; counted, so that empty values cannot fill memory.
pub(crate) const KV_ENTRY_OVERHEAD_BYTES: u64 = 64;

// === Secrets ===

/// Memory of one derivation of the key of the store, in KiB: what OWASP asks for with Argon2id and two passes.
pub(crate) const KDF_MEMORY_KIB: u32 = 19 * 1024;

/// Passes of one derivation.
pub(crate) const KDF_PASSES: u32 = 2;

/// Memory that a store may ask for: a file that was tampered with must not take all there is.
pub(crate) const KDF_MEMORY_KIB_MAX: u32 = 256 * 1024;

/// Passes that a store may ask for.
pub(crate) const KDF_PASSES_MAX: u32 = 10;

/// Lanes that a store may ask for.
pub(crate) const KDF_LANES_MAX: u32 = 4;

/// Bytes that are read of a place where a key is kept: two keys, or a long passphrase.
pub(crate) const KEY_MATERIAL_BYTES_MAX: usize = 4 * 1024;

/// How long the keyring may take: it may ask its user to unlock it.
pub(crate) const KEYRING_MAX: Duration = Duration::from_secs(60);

/// Secrets of one tenant: the store is sealed as a whole, so that each change writes all of them.
pub(crate) const SECRETS_MAX: usize = 1_000;

/// How long a program may take for a secret, unless its configuration says otherwise: a vault over the network answers
/// within a second, and a launch must not wait for one that is away.
pub(crate) const PROVIDER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// How long it may be given: a person who is asked for a fingerprint. A launch waits no longer.
pub(crate) const PROVIDER_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// How long the answer of a program is remembered, unless its configuration says otherwise: sessions start processes in
/// bursts, and each would ask again.
pub(crate) const PROVIDER_CACHE_DEFAULT: Duration = Duration::from_secs(300);

// === Client applications ===

/// Configuration file of a client: some keep their whole history in it.
pub(crate) const CLIENT_FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// How often a file is read again that its owner changes meanwhile.
pub(crate) const CLIENT_FILE_TRIES: u32 = 5;

/// How long another of us may hold a client's file: a write takes milliseconds.
pub(crate) const CLIENT_LOCK_MAX: Duration = Duration::from_secs(5);

// === Logs ===

/// Size at which a log file is put aside.
pub(crate) const LOG_FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// Log files that were put aside and are kept.
pub(crate) const LOG_FILES_KEPT: u32 = 3;

/// Lines that a client may ask for from the end of a log.
pub(crate) const LOG_TAIL_LINES_MAX: usize = 100_000;

/// Lines from the end of a log unless the client says how many.
pub(crate) const LOG_TAIL_LINES_DEFAULT: usize = 200;

/// How often a followed log is looked at.
pub(crate) const LOG_FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes of a log that are sent in one chunk.
pub(crate) const LOG_CHUNK_BYTES_MAX: usize = 64 * 1024;

/// Lines that wait to be written: about a second of a server that talks without end.
pub(crate) const LOG_QUEUE_LINES_MAX: usize = 8 * 1024;

/// Log files that are held open at the same time.
pub(crate) const LOG_FILES_OPEN_MAX: usize = 64;

/// After so long without a line all log files are closed.
pub(crate) const LOG_IDLE_MAX: Duration = Duration::from_secs(10);

/// How long a tool that looks after services may take: it waits until the daemon has started or ended.
pub(crate) const SERVICE_TOOL_MAX: Duration = Duration::from_secs(90);

/// How long API requests under way, and the last tasks, may take when the daemon stops; all servers have ended by then.
pub(crate) const API_DRAIN_MAX: Duration = Duration::from_secs(3);

/// How long threads of the runtime may take to end when everything else has.
pub(crate) const RUNTIME_END_MAX: Duration = Duration::from_secs(2);

/// Time of one hook in `fairlead plugin test`. A table says what is decided, not how fast: a busy machine must not fail it.
pub(crate) const CASE_HOOK_MS_MAX: u32 = 5_000;

/// Calls that `fairlead plugin bench` measures on warm instances: enough for a 99.9th percentile.
pub(crate) const BENCH_WARM_CALLS: u32 = 10_000;

/// Calls that it measures with a fresh instance each.
pub(crate) const BENCH_FRESH_CALLS: u32 = 1_000;

/// Bytes of a message that `fairlead plugin run` reads.
pub(crate) const MESSAGE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Size of a component that is installed: what the plugin host reads of one.
pub(crate) const INSTALLED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How long it is believed which eras of MCP a server speaks. Releases that change that are rare, and asking again costs a
/// moment.
pub(crate) const ERAS_KEEP: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Time for one transmission to a collector, and for the last one when the daemon ends.
pub(crate) const OTLP_SEND_MAX: Duration = Duration::from_secs(5);

/// What is read of a collector's answer: it says how many spans it refused, not more.
pub(crate) const OTLP_ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Between two checks of one server for updates at least: below this, checks would follow one another without a pause.
pub(crate) const UPDATE_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The component of a server whose copy is kept: several interpreters fit.
pub(crate) const SERVER_COMPONENT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Time for a candidate to be launched and to answer as a client wants it. A component that is compiled for the first time on a
/// busy machine has taken half of this, and a good candidate must not be blamed for that.
pub(crate) const CANDIDATE_ANSWER_MAX: Duration = Duration::from_secs(60);

/// The name of a package with its version, as it is kept for its digest: the longest that there can be.
pub(crate) const PACKAGE_NOTE_BYTES_MAX: u64 = 4 * 1024;

/// How often what is kept of earlier revisions is looked through for what nobody speaks of any more.
pub(crate) const REVISIONS_SWEEP: Duration = Duration::from_secs(3600);

/// What is younger than this stays whatever the records say: whoever put it there may not have stored yet what for.
pub(crate) const REVISIONS_GRACE: Duration = Duration::from_secs(3600);

/// Tools of a server elsewhere whose names are remembered, so that a change can be told by name. With more it is only told
/// that they changed.
pub(crate) const TOOLS_REMEMBERED_MAX: usize = 200;

/// How often is looked whether a candidate still belongs to a rollout.
pub(crate) const ROLLOUTS_TIDY: Duration = Duration::from_secs(10);

/// Events of updates that somebody who listens may be behind by.
pub(crate) const UPDATE_EVENTS_MAX: usize = 256;

/// How long a check that a person asked for is waited for; it goes on after that.
pub(crate) const UPDATE_CHECK_WAIT: Duration = Duration::from_secs(25);

/// Servers that are asked at once what they use: each may be a question to an engine, which answers a few at a time.
pub(crate) const USAGES_AT_ONCE_MAX: usize = 16;

// === Hooks ===

/// One post to a receiver, and finding the secret for it: who takes longer is told again.
pub(crate) const HOOK_POST_MAX: Duration = Duration::from_secs(10);

/// After the first failed post; doubled each time.
pub(crate) const HOOK_RETRY_FIRST: Duration = Duration::from_secs(5);

/// Longest pause between two posts, and the longest that a receiver can ask for.
pub(crate) const HOOK_RETRY_MAX: Duration = Duration::from_secs(3_600);

/// Posts of one message to one receiver: with these pauses a day and a half, over a weekend's outage of a small thing.
pub(crate) const HOOK_TRIES_MAX: u32 = 45;

/// Messages that are being posted. What comes after waits in the record of its server.
pub(crate) const HOOK_MESSAGES_MAX: usize = 1_024;

/// Hooks of one configuration.
pub(crate) const HOOKS_MAX: usize = 16;

// === Registries ===

/// Registries of one tenant: each is read by itself and held in memory.
pub(crate) const REGISTRIES_MAX: usize = 64;

/// Registries that are read at the same time: reading one is work for somebody else's machine, checking it is work for ours.
pub(crate) const REGISTRIES_AT_ONCE: usize = 2;

/// How often a registry can be read at most: others pay for it.
pub(crate) const REGISTRY_INTERVAL_MIN: Duration = Duration::from_secs(60);

/// How long it may take until it is seen that a registry is due.
pub(crate) const REGISTRY_LOOK: Duration = Duration::from_secs(10);

/// A file of entries that the daemon reads.
pub(crate) const REGISTRY_FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Those who look through a whole catalogue at the same time: each has a thread to itself meanwhile, and servers want some too.
pub(crate) const CATALOGUE_LOOKS_AT_ONCE: usize = 2;

/// How long somebody waits for a turn to look through a whole catalogue: a hundred thousand entries take about a second.
pub(crate) const CATALOGUE_LOOK_WAIT: Duration = Duration::from_secs(10);

/// How long a catalogue is what it is: rules about the age of entries are applied again then.
pub(crate) const CATALOGUE_KEEP: Duration = Duration::from_secs(600);

// === In a pod ===

/// A secret that a pod has as a file: what an object of a cluster can hold at most.
pub(crate) const POD_SECRET_BYTES_MAX: u64 = 1024 * 1024;

/// Before a server that did not say who it is is asked again: pods come up within seconds of each other.
pub(crate) const POD_ACQUAINTANCE_PAUSE: Duration = Duration::from_secs(1);
