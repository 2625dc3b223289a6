//! Every bound of this crate, with the reason for its number.

use std::time::Duration;

/// Entries that are asked for in one page: what the official registry gives at most.
pub const PAGE_ENTRIES: u32 = 100;

/// Pages of one synchronisation: with the smallest pages of the official registry, thirty thousand entries fit a tenth.
pub const PAGES_MAX: usize = 20_000;

/// Entries of one registry: five times the largest there is, and what a laptop holds in memory.
pub const REGISTRY_ENTRIES_MAX: usize = 200_000;

/// All documents of one registry.
pub const REGISTRY_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Labels of one entry, and the length of each name and value.
pub const LABELS_MAX: usize = 64;

/// Name or value of a label.
pub const LABEL_BYTES_MAX: usize = 512;

/// Catalogues that an entry may have come through: no hierarchy of people is deeper than this.
pub const VIA_MAX: usize = 16;

/// A cursor, a checkpoint or an entity tag of a source.
pub const CURSOR_BYTES_MAX: usize = 4 * 1024;

/// Refused entries of one synchronisation that are told one by one; more are counted.
pub const PROBLEMS_TOLD_MAX: usize = 20;

/// Time of one page, the source's own waiting included: what the contract says.
pub const PAGE_TIME_MAX: Duration = Duration::from_secs(30);

/// Time of one whole synchronisation. Thirty thousand entries of the official registry, a hundred a page, take a few minutes.
pub const SYNC_TIME_MAX: Duration = Duration::from_secs(1_800);

/// How often a source that can tell what changed is read from the beginning anyway, when it does not tell what was removed.
pub const FULL_SYNC_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Entries of one page of the catalogue, when nobody says how many: as in the official registry.
pub const LISTING_DEFAULT: usize = 30;

/// The most: as in the official registry.
pub const LISTING_MAX: usize = 100;

/// Words of one question.
pub const QUERY_WORDS_MAX: usize = 16;

/// Characters of one word that are indexed: longer ones are not typed.
pub const WORD_CHARS_MAX: usize = 40;

/// Words of one field of an entry that are indexed: descriptions have tens.
pub const FIELD_WORDS_MAX: usize = 400;

/// Words of the index that one typed word may stand for, the nearest first.
pub const EXPANSIONS_MAX: usize = 64;

/// Requests for review that may wait in one tenant.
pub const REVIEWS_OPEN_MAX: usize = 1_000;

/// A reason that somebody gives.
pub const REASON_BYTES_MAX: usize = 2_000;

/// Ways to run it that are read of an entry against which a server is held: entries have one or two, templates a handful.
pub const OFFERS_MAX: usize = 32;

/// One of them: the longest URL that anybody would type.
pub const OFFER_BYTES_MAX: usize = 2_048;
