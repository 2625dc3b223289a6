//! Every bound of the operator, with the reason for its number.

use std::time::Duration;

/// Length of the name of a server in a cluster: `mcp-<name>-headless` is a DNS label of 63 characters at most.
pub const SERVER_NAME_LENGTH_MAX: usize = 50;

/// Seconds that a pod has to end in (`terminationGracePeriodSeconds`): what Kubernetes gives by default, written down so that
/// it does not depend on a default; a drain of the data plane fits in.
pub const TERMINATION_GRACE_SECS: i64 = 30;

/// The port of a proxy where none is asked for.
pub const PROXY_PORT: u16 = 8080;

/// The port of a proxy at which the cluster asks how it is, and metrics are. No Service leads there.
pub const PROBE_PORT: u16 = 8081;

/// The same where clients have that one.
pub const PROBE_PORT_OTHER: u16 = 8082;

/// Seconds for which a proxy that is told to end serves on, while the cluster tells everybody not to send to it any more. That
/// takes a second or two where nothing is wrong.
pub const PROXY_LEAVE_SECS: u64 = 5;

/// Seconds that requests under way have after that. With the two seconds that ended sessions have it stays below
/// [`TERMINATION_GRACE_SECS`].
pub const PROXY_DRAIN_SECS: u64 = 20;

/// Seconds for which a Service sends one client to one replica: half an hour, as long as people pause in a conversation.
pub const SESSION_AFFINITY_SECS: u32 = 1800;

/// A look at a server that has not changed. Watches are reliable; this one is for what no watch tells.
pub const RESYNC: Duration = Duration::from_secs(600);

/// A look at a server that somebody asks to be what it cannot be (more than one replica over stdio).
pub const CAP_RECHECK: Duration = Duration::from_secs(30);

/// The first wait after a reconcile that failed; each further one doubles it.
pub const RETRY_FIRST: Duration = Duration::from_millis(500);

/// The longest wait after reconciles that failed: an API server that was away for hours is found within minutes.
pub const RETRY_MAX: Duration = Duration::from_secs(120);

/// Events of one server within this time are one reconcile: an apply of ten objects comes back as ten events.
pub const DEBOUNCE: Duration = Duration::from_millis(100);

/// Servers that are reconciled at the same time: enough to hide the latency of an API server, too few to trouble it.
pub const RECONCILES_MAX: u16 = 8;

/// Names of servers that wait for the scheduler, which merges those of one server: a watch that is faster waits.
pub const EVENTS_MAX: usize = 1024;

/// One call of the API server.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// A list or a watch that says nothing for so long is asked for again: an API server sends a bookmark about once a minute, and one
/// that is silent may be gone without a word.
pub const WATCH_SILENCE_MAX: Duration = Duration::from_secs(90);

/// A lease that was not renewed for so long is anybody's. With [`LEASE_RETRY`] it bounds a failover: 17 s.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);

/// A leader that could not renew for so long stops writing: before anyone else may begin.
pub const LEASE_RENEW_MAX: Duration = Duration::from_secs(10);

/// Between two looks at the lease, by its holder and by those who wait.
pub const LEASE_RETRY: Duration = Duration::from_secs(2);

/// One call about the lease: one that hangs leaves time for another before [`LEASE_RENEW_MAX`].
pub const LEASE_CALL_MAX: Duration = Duration::from_secs(3);

/// Memory of a registry server that a node keeps free for it: an empty one, and the copies of a few small registries.
pub const REGISTRY_MEMORY_MIB: u32 = 128;

/// Memory of a registry server above which it is ended: the official registry's copy and index, and the compiler of sources.
pub const REGISTRY_MEMORY_MIB_MAX: u32 = 1024;

/// Registries of one `MCPRegistry`: a limit for the schema, whose rules an API server counts the cost of beforehand.
pub const REGISTRIES_MAX: usize = 64;

/// For how long is believed what the API server said of a token of a registry's client: a right that is taken away, and a token that
/// is revoked, count after this at the latest, and a client that turns pages costs two questions in that time.
pub const REVIEW_KEEP: Duration = Duration::from_secs(10);

/// Tokens of which that is remembered: far more clients than a registry has within [`REVIEW_KEEP`].
pub const REVIEWS_KNOWN_MAX: usize = 4096;

/// Tokens that are asked about at the same time: the others wait for their turn, and the API server is not run over.
pub const REVIEWS_AT_ONCE: usize = 16;

/// One question about a token. It is answered within milliseconds; an API server that needs more is in trouble.
pub const REVIEW_CALL_MAX: Duration = Duration::from_secs(3);

/// Both questions, and waiting for a turn: then a client is told that there is no answer.
pub const REVIEW_MAX: Duration = Duration::from_secs(5);

/// A longer token is nobody's: those of service accounts have about one kilobyte, those of identity providers a few.
pub const REVIEW_TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Between two looks at which entries are to be asked for, and of which registries.
pub const REGISTRY_TICK: Duration = Duration::from_secs(5);

/// About how often a registry is asked for an entry that a server names: as often as somebody who took an entry back would look.
pub const REGISTRY_ASK_EVERY: Duration = Duration::from_secs(300);

/// The same after it said nothing.
pub const REGISTRY_ASK_AGAIN: Duration = Duration::from_secs(60);

/// For how long counts what a registry said that says nothing now: the time of three questions, in which it is started anew.
pub const REGISTRY_ANSWER_KEEP: Duration = Duration::from_secs(900);

/// A registry server that started has read its sources after so long; before, what it does not have means nothing.
pub const REGISTRY_SETTLES: Duration = Duration::from_secs(120);

/// Registries that are asked at the same time: each is a connection through the API server.
pub const REGISTRY_ROUNDS_MAX: usize = 8;

/// Entries that a registry is asked for in one conversation: it lets one client ask for a thousand at once.
pub const REGISTRY_ROUND_ENTRIES_MAX: usize = 500;

/// One conversation with a registry; what it did not come to is asked in the next.
pub const REGISTRY_ROUND_MAX: Duration = Duration::from_secs(60);

/// One answer of a registry. It asks the API server itself who asks, which may take [`REVIEW_MAX`].
pub const REGISTRY_CALL_MAX: Duration = Duration::from_secs(10);

/// The length of that answer: the longest entry that comes into a catalogue, and as much again beside it.
pub const REGISTRY_ANSWER_BYTES_MAX: usize = 512 * 1024;

/// For how long the token is good that a registry is shown: the shortest that a cluster gives.
pub const REGISTRY_TOKEN_SECS: i64 = 600;

/// A probe that is not removed ends by itself after so long: a large image is pulled within it, over a slow line as well.
pub const PROBE_TIME_MAX: Duration = Duration::from_secs(300);

/// Between two looks at a probe: as long as the smallest of images takes to be pulled.
pub const PROBE_POLL: Duration = Duration::from_secs(1);

/// A probe that no node takes for so long is given up: the rest of a check is a pull.
pub const PROBE_SCHEDULE_MAX: Duration = Duration::from_secs(60);

/// Between two looks for probes that nobody waits for any more: a crash leaves them.
pub const PROBE_SWEEP: Duration = Duration::from_secs(60);

/// A trial that is not removed ends by itself after so long: it is scheduled, pulled, ready and asked by then, each in its time.
pub const TRIAL_TIME_MAX: Duration = Duration::from_secs(600);

/// Time for the container of a trial to be ready, once it runs: a server that needs longer would keep its clients waiting as long.
pub const TRIAL_READY_MAX: Duration = Duration::from_secs(60);

/// A container that its node cannot make for so long is given up: the node has tried a few times by then, and each was in vain.
pub const TRIAL_MAKE_MAX: Duration = Duration::from_secs(30);

/// Time for a node to tell that a process ended whose connection did: it looks once a second, and a busy one later.
pub const TRIAL_END_MAX: Duration = Duration::from_secs(10);

/// A pod that crashed so often will not come up: once may be a neighbour that was not there yet.
pub const CRASHES_MAX: u64 = 3;

/// Computing time of a probe, in thousandths of a processor: it starts one program that ends.
pub const PROBE_CPU_MILLIS: u32 = 10;

/// Memory of a probe.
pub const PROBE_MEMORY_MIB: u32 = 32;

/// A request about updates: an id, a word, a digest, a name and a reason of [`MESSAGE_BYTES_MAX`], escaped.
pub const REQUEST_BYTES_MAX: usize = 4 * 1024;

/// Characters of its id: a UUID and a word before it.
pub const REQUEST_ID_CHARS_MAX: usize = 64;

/// Who asks: `system:serviceaccount:`, a namespace and a name fit.
pub const REQUEST_BY_BYTES_MAX: usize = 320;

/// Answers that are remembered of one server: an annotation that comes back after so many others (a tool that restores it from
/// a repository) is taken for a new one.
pub const ANSWERS_MAX: usize = 32;

/// What is kept of a plan: those of a dozen policies with all that they say.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Requests that are carried out at once: each may ask policies, and reads and writes one record.
pub const REQUESTS_AT_ONCE: usize = 8;

/// For an answer is waited so long: a lead changes hands within 17 s, and policies are compiled and asked after that.
pub const ASK_MAX: Duration = Duration::from_secs(60);

/// Before something is asked, for so long is waited until somebody else has their answer.
pub const ASK_TURN_MAX: Duration = Duration::from_secs(30);

/// Taking a request back is tried for so long: an API server that is replaced is there again by then, and somebody waits for the end of
/// a command that has failed.
pub const ASK_TAKE_BACK_MAX: Duration = Duration::from_secs(20);

/// Between two looks for an answer.
pub const ASK_POLL: Duration = Duration::from_millis(500);

/// How often is asked again when the server was changed by somebody else meanwhile.
pub const ASK_TRIES: u32 = 8;

/// For what a check finds is waited so long; it goes on after that. A probe pulls an image meanwhile.
pub const ASK_CHECK_MAX: Duration = Duration::from_secs(60);

/// Events of one object that may come at once: a server that comes up tells of three or four.
pub const EVENT_BURST: u32 = 10;

/// After that, one for each such time: what changes more often is read in the status.
pub const EVENT_EVERY: Duration = Duration::from_secs(30);

/// What of an object's name is in that of its Events: a moment in hexadecimal digits is added, and 253 characters are possible.
pub const EVENT_NAME_BYTES_MAX: usize = 200;

/// A message in a status: a person reads it in a column.
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// Computing time of a proxy, in thousandths of a processor, that a node keeps free for it.
pub const PROXY_CPU_MILLIS: u32 = 50;

/// Memory of a proxy: what an empty one holds (17 MB) with as much again for its first sessions.
pub const PROXY_MEMORY_MIB: u32 = 64;

/// Memory of a proxy above which it is ended: a thousand sessions and the instances of a chain.
pub const PROXY_MEMORY_MIB_MAX: u32 = 512;

/// Time for the process of a stdio server to be attached to: as long as a pod takes that has its image already. Who opens a session
/// waits for it.
pub const ATTACH_MAX: Duration = Duration::from_secs(60);

/// Time for the connection before to be let go of.
pub const ATTACH_ROOM_MAX: Duration = Duration::from_secs(2);

/// Between two looks whether its container runs.
pub const ATTACH_POLL: Duration = Duration::from_millis(500);

/// When a client should come back that found none.
pub const ATTACH_RETRY: Duration = Duration::from_secs(5);

/// Bytes on their way to or from an attached process: what a Linux pipe holds.
pub const ATTACH_BUFFER_BYTES: usize = 64 * 1024;

/// Time for a connection to the port of a pod: the API server asks a kubelet, and that the runtime of containers.
pub const FORWARD_OPEN_MAX: Duration = Duration::from_secs(15);

/// Time to learn why a connection to the port of a pod ended: whoever broke it knows it already.
pub const FORWARD_END_MAX: Duration = Duration::from_millis(500);

/// Connections to the port of a pod that are carried at the same time: a look at a server has two or three.
pub const FORWARD_CONNECTIONS_MAX: usize = 16;

/// After a connection that could not be taken: this program has too many files open, and some of them are closed meanwhile.
pub const FORWARD_ACCEPT_PAUSE: Duration = Duration::from_millis(100);
