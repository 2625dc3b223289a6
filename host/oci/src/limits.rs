//! Every bound of the registry client, with the reason for its number.

use std::time::Duration;

/// A manifest or an index. The specification asks registries to take at least 4 MiB, and nobody takes more.
pub const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// An answer of a token service, or the text of an error.
pub const ANSWER_BYTES_MAX: u64 = 256 * 1024;

/// Head of an answer: redirects to object stores carry signed addresses of several KiB.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Time for a request without content to be answered.
pub const REQUEST_MAX: Duration = Duration::from_secs(20);

/// Time for one blob or manifest in all: 64 MiB over a line of 2 Mbit/s.
pub const TRANSFER_MAX: Duration = Duration::from_secs(300);

/// Time without a single byte after which a transfer has died.
pub const STALL_MAX: Duration = Duration::from_secs(20);

/// Redirects of one request. Registries make one, to the store of their blobs.
pub const REDIRECTS_MAX: usize = 4;

/// What is taken off the life of a token, for the time that a request is on its way.
pub const TOKEN_MARGIN: Duration = Duration::from_secs(10);

/// Life of a token that does not say how long it lives (distribution specification, token authentication).
pub const TOKEN_LIFE_DEFAULT: Duration = Duration::from_secs(60);

/// Longest life of a token that is believed.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(3600);

/// Tokens that are kept.
pub const TOKENS_MAX: usize = 1_024;

/// Longest `Retry-After` that is believed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// What is kept of what a registry says about an error.
pub const REASON_BYTES_MAX: usize = 240;

/// Time for a credential helper: some ask a person for a fingerprint.
pub const CREDENTIAL_HELPER_MAX: Duration = Duration::from_secs(20);

/// Answer of a credential helper. The largest tokens have a few KiB.
pub const CREDENTIAL_HELPER_BYTES_MAX: u64 = 64 * 1024;

/// A file of credentials.
pub const AUTH_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// One signature of an image with what it is of: a text of some hundred bytes, or a bundle of a few KiB.
pub const SIGNATURE_BYTES_MAX: u64 = 256 * 1024;

/// Signatures of one image that are looked at: every release of a tool that signs again adds one.
pub const SIGNATURES_MAX: usize = 32;

/// Requests of the freshness of images at one registry at the same time: enough for a thousand servers in a minute, and few
/// enough that nobody there takes it for an attack.
pub const REGISTRY_REQUESTS_MAX: usize = 4;

/// How long a check waits for its turn at a registry, or for the answer that another server asked for. Longer than a healthy
/// registry takes; workers wait here, and there are few.
pub const REGISTRY_WAIT_MAX: Duration = Duration::from_secs(1);

/// When a check whose turn did not come is made.
pub const REGISTRY_BUSY: Duration = Duration::from_secs(5);

/// How long a registry that does not answer is left alone, and one that wants patience and does not say how long.
pub const REGISTRY_PAUSE: Duration = Duration::from_secs(60);

/// Answers of registries that are remembered: one for each reference that somebody follows. Those that nobody waits for go
/// first.
pub const ANSWERS_KEPT: usize = 4_096;

/// Tags of one repository that are read, where a policy chooses among versions.
pub const TAGS_MAX: usize = 1_000;

/// Tags are listed at every so many checks: six hours at the usual interval. A person who asks for a check has them listed then.
pub const TAGS_EVERY: u32 = 24;

/// Versions above the followed one that are offered to a policy: the newest, and as many again that are the newest of their line,
/// so that a policy that stays with `1.x` has an answer where `3.x` has a release every day.
pub const VERSIONS_MAX: usize = 8;

/// What an index says of one package. The largest lists of versions on npm have ten MiB in their short form.
pub const INDEX_ANSWER_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Parts of the path of a Go module that may name a package in it: `example.test/module/cmd/server`.
pub const MODULE_PARENTS_MAX: usize = 4;
