//! Every bound of the core, with the reason for its number. Crates with bounds of their own have a file like this.

use std::time::Duration;

/// A DNS label (RFC 1035 §2.3.4), so that a name fits everywhere.
pub const NAME_LENGTH_MAX: usize = 63;

/// Changes of a character after which a word is no slip of another any more.
pub const SUGGESTION_DISTANCE_MAX: usize = 3;

/// One more change for each so many characters: in `env`, three changes are another word.
pub const SUGGESTION_SHARE: usize = 3;

/// Deepest nesting of JSON that is read. Our scanner pays one bit for a level, so that the bound can lie far above what any
/// program writes (a JavaScript or Python peer parses hundreds of levels) and far below what only an attack does. A
/// multiple of 64.
pub const JSON_DEPTH_MAX: usize = 1024;

/// Changes in one patch: more than any policy makes, and each costs a pass over the payload.
pub const PATCH_OPERATIONS_MAX: usize = 1_000;

/// Attributes that the middleware of one exchange may set together: enough for any policy, too few to fill memory.
pub const ATTRIBUTES_MAX: usize = 64;

/// Length of one attribute (name and value).
pub const ATTRIBUTE_BYTES_MAX: usize = 4 * 1024;

/// Headers that the middleware of one exchange may add to the request to the server.
pub const UPSTREAM_HEADERS_MAX: usize = 32;

/// Length of one of them (name and value): tokens grow to a few KiB, and servers refuse heads above 8 to 16 KiB.
pub const UPSTREAM_HEADER_BYTES_MAX: usize = 8 * 1024;

/// Text of a rejection: it reaches a person, and nobody reads more.
pub const REJECTION_MESSAGE_BYTES_MAX: usize = 1024;

/// Computing time of one hook. A warm hop costs about a microsecond; four orders of magnitude are left for hard cases.
pub const HOOK_CPU_MAX: Duration = Duration::from_millis(10);

/// Time of one hook in all, waiting included. Computing has its own bound; this one is for what a hook waits for, and on an
/// overloaded machine that is its turn on a processor: a tenth of a second is then nothing, and must refuse no message.
pub const HOOK_WALL_MAX: Duration = Duration::from_secs(1);

/// Time to describe, validate or configure a plugin.
pub const CONFIGURE_MAX: Duration = Duration::from_secs(1);

/// Linear memory of one instance. A Rust guest uses about 2 MiB; JavaScript about 10.
pub const PLUGIN_MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Key of a kv entry.
pub const KV_KEY_BYTES_MAX: usize = 512;

/// Value of a kv entry.
pub const KV_VALUE_BYTES_MAX: usize = 1024 * 1024;

/// All keys and values of one attachment: state for policies, not a database.
pub const KV_SCOPE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Keys in one page of a listing.
pub const KV_PAGE_MAX: u32 = 1_000;

/// Faults within [`BREAKER_WINDOW`] that open a circuit breaker: one may be bad luck, five are a pattern.
pub const BREAKER_FAULTS_MAX: u32 = 5;

/// What a circuit breaker remembers.
pub const BREAKER_WINDOW: Duration = Duration::from_secs(10);

/// From so many calls in a window on, the share of faults decides instead of their number.
pub const BREAKER_CALLS_MIN: u32 = 50;

/// The share of faults, in percent, above which a busy breaker opens.
pub const BREAKER_FAULT_PERCENT_MAX: u64 = 20;

/// How long a breaker stays open the first time; doubled each time the trial call fails.
pub const BREAKER_OPEN_FIRST: Duration = Duration::from_secs(1);

/// How long it stays open at most.
pub const BREAKER_OPEN_MAX: Duration = Duration::from_secs(60);

/// Length of an image reference. Docker allows 255 bytes for the name; a tag and a digest come on top.
pub const IMAGE_REFERENCE_BYTES_MAX: usize = 512;

/// Length of a package reference: npm allows 214 bytes for a name; a Go module and a version fit as well.
pub const PACKAGE_REFERENCE_BYTES_MAX: usize = 384;

/// Memory of a container unless its server says otherwise: several times what an interpreter with its libraries needs.
pub const CONTAINER_MEMORY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Computing time of a container unless its server says otherwise: one processor, so that no server starves the others.
pub const CONTAINER_CPU_MILLIS_MAX: u32 = 1_000;

/// Processes and threads of a container unless its server says otherwise: enough for a browser, too few for a fork bomb.
pub const CONTAINER_PROCESSES_MAX: u32 = 512;

/// Arguments of one tool that are repeated in headers. A tool that names more would fill every request's head.
pub const MIRRORS_MAX: usize = 32;

/// Distance between the orders of two attachments that are put one behind the other: room for others in between.
pub const ORDER_STEP: i32 = 10;

/// Name of a secret: a path in somebody's vault is long, and nothing needs more.
pub const SECRET_NAME_BYTES_MAX: usize = 512;

/// Value of a secret: a key file or a service account in JSON, several times over.
pub const SECRET_VALUE_BYTES_MAX: usize = 64 * 1024;
/// How long a lease on one server's freshness lasts without being renewed: what a killed daemon holds is free after this.
pub const LEASE_TTL: Duration = Duration::from_secs(60);

/// Between two checks of one server, unless the configuration says otherwise.
pub const UPDATE_CHECK_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// After the first failed check that may go better soon; doubled each time.
pub const CHECK_FAILURE_FIRST: Duration = Duration::from_secs(60);

/// Longest pause after checks that may go better soon.
pub const CHECK_FAILURE_MAX: Duration = Duration::from_secs(60 * 60);

/// Longest pause after checks that were refused: somebody has to change something first.
pub const CHECK_REFUSED_MAX: Duration = Duration::from_secs(6 * 60 * 60);

/// From putting a revision in place to the first look at it that had to wait; doubled each time.
pub const FOLLOW_UP_FIRST: Duration = Duration::from_secs(10);

/// Longest pause between two looks at a rollout.
pub const FOLLOW_UP_MAX: Duration = Duration::from_secs(60);

/// How long a new revision must be well before it counts as such, unless the policy says otherwise.
pub const ROLLOUT_MIN_READY: Duration = Duration::from_secs(5);

/// After which time a rollout has failed, unless the policy says otherwise: Kubernetes' `progressDeadlineSeconds`.
pub const ROLLOUT_DEADLINE: Duration = Duration::from_secs(600);

/// A policy cannot ask for less: a slow pull would fail every rollout. An engine that begins to look gives as much, whenever the
/// deadline was: what was not well before, nobody saw.
pub const ROLLOUT_DEADLINE_MIN: Duration = Duration::from_secs(60);

/// A policy cannot ask for more: nobody should wait longer to learn that it failed.
pub const ROLLOUT_DEADLINE_MAX: Duration = Duration::from_secs(60 * 60);

/// How long sessions of the old revision may go on, unless the policy says otherwise.
pub const ROLLOUT_DRAIN: Duration = Duration::from_secs(60);

/// After the first trial that said nothing of the candidate; doubled each time.
pub const TRIAL_RETRY: Duration = Duration::from_secs(60);

/// Longest pause between two trials that said nothing: each starts what it tries, and room that somebody made is found within it.
pub const TRIAL_RETRY_MAX: Duration = Duration::from_secs(15 * 60);

/// An update whose trials say nothing for so long is called off: nothing else can be done to the server meanwhile. Room that is made
/// by day, or by night, is made by then.
pub const TRIAL_PUT_OFF_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a digest is left alone after its first, second and third failure here; after the fourth, until a person says
/// otherwise. Ends storms of retries.
pub const QUARANTINES: [Duration; 3] =
    [Duration::from_secs(15 * 60), Duration::from_secs(60 * 60), Duration::from_secs(6 * 60 * 60)];

/// A policy cannot wait longer than this without being asked again.
pub const UPDATE_HOLD_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Candidates that are remembered of one server, and that a policy is shown.
pub const CANDIDATES_MAX: usize = 64;

/// How long a person's yes to a digest is good for: a week, so that a maintenance window lies within it.
pub const APPROVAL_KEEPS: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Approvals that are remembered of one server: of few digests by few people. The oldest goes first.
pub const APPROVALS_MAX: usize = 64;

/// Attempts that are remembered of one server, and that a policy is shown.
pub const ATTEMPTS_MAX: usize = 32;

/// Revisions that were well, which a person can go back to.
pub const GOOD_MAX: usize = 8;

/// Messages that wait to be told; the oldest go first when nobody takes them.
pub const MESSAGES_MAX: usize = 64;

/// How often a tag may return to a digest within [`FLIPS_WINDOW`] before nothing follows it any more.
pub const FLIPS_MAX: usize = 3;

/// See [`FLIPS_MAX`].
pub const FLIPS_WINDOW: Duration = Duration::from_secs(60 * 60);

/// Levels of a composition of update policies: more than anybody reads.
pub const COMPOSITION_DEPTH_MAX: usize = 4;

/// Policies in one composition. Each is asked at every decision.
pub const COMPOSITION_POLICIES_MAX: usize = 16;

/// Lines of a policy's trace.
pub const VERDICT_TRACE_LINES_MAX: usize = 32;

/// Length of one of them.
pub const VERDICT_TRACE_LINE_BYTES_MAX: usize = 256;

/// One line of an ignore file: the longest path of Linux.
pub const IGNORE_LINE_BYTES_MAX: usize = 4096;

/// Patterns that hide files of mounts, of all files together: lists that are made for a whole language have a few hundred.
pub const IGNORE_PATTERNS_MAX: usize = 2048;
