//! What is remembered of candidates: when each was first seen here, whether it failed here, which digests mean the same.

use jiff::Timestamp;

use super::after;
use super::facts::{Candidate, Signal, Surface};
use super::record::Freshness;
use crate::digest::Digest;
use crate::limits::{CANDIDATES_MAX, QUARANTINES};

/// Takes in what a check found. What is recorded here (first seen, failures, surface) stays.
pub(super) fn merge(record: &mut Freshness, found: Vec<Candidate>, newest: &Digest, now: Timestamp) {
    for known in &mut record.candidates {
        known.same_tag = known.pin == *newest;
    }
    for mut candidate in found {
        candidate.same_tag = candidate.pin == *newest;
        candidate.last_seen = now;
        match record.candidates.iter_mut().find(|known| known.pin == candidate.pin) {
            Some(known) => {
                candidate.first_seen = known.first_seen;
                candidate.failures = known.failures;
                candidate.quarantined_until = known.quarantined_until;
                candidate.is_last_good = known.is_last_good;
                if candidate.surface == Surface::Unknown {
                    candidate.surface = known.surface;
                }
                *known = candidate;
            }
            None => {
                candidate.first_seen = now;
                record.candidates.push(candidate);
            }
        }
    }
    record.candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.first_seen));
    if record.candidates.len() > CANDIDATES_MAX {
        let keeps = |candidate: &Candidate| {
            candidate.same_tag || candidate.is_last_good || candidate.quarantined_until.is_some_and(|until| until > now)
        };
        let mut room = CANDIDATES_MAX.saturating_sub(record.candidates.iter().filter(|c| keeps(c)).count());
        record.candidates.retain(|candidate| {
            keeps(candidate) || {
                let fits = room > 0;
                room = room.saturating_sub(1);
                fits
            }
        });
    }
}

/// Whether `digest` means what `pin` names.
pub(super) fn means(record: &Freshness, pin: &Digest, digest: &Digest) -> bool {
    pin == digest || record.candidates.iter().any(|known| known.pin == *pin && known.is(digest))
}

/// Whether any of `digests` means what `pin` names.
pub(super) fn mean(record: &Freshness, pin: &Digest, digests: &[Digest]) -> bool {
    digests.iter().any(|digest| means(record, pin, digest))
}

/// What was first seen after `since` and may be had instead of `pin`, the newest of it.
pub(super) fn newer<'a>(record: &'a Freshness, pin: &Digest, since: Timestamp) -> Option<&'a Digest> {
    let running = &record.check.running.digests;
    let may_be_had = |known: &&Candidate| {
        let is_other = !known.is(pin) && !running.iter().any(|digest| known.is(digest));
        let is_refused = known.platform == Signal::Bad || known.signature == Signal::Bad;
        known.first_seen > since && is_other && !is_refused && known.quarantined_until.is_none()
    };
    record.candidates.iter().find(may_be_had).map(|known| &known.pin)
}

/// For people: its version, where it has one, and its digest.
pub(super) fn named(record: &Freshness, pin: &Digest) -> String {
    match record.candidates.iter().find(|known| known.pin == *pin).and_then(|known| known.tag.as_ref()) {
        Some(tag) => format!("{tag} ({pin})"),
        None => pin.to_string(),
    }
}

/// It failed here: left alone for longer each time, and in the end until a person says otherwise.
pub(super) fn blame(record: &mut Freshness, pin: &Digest, now: Timestamp) {
    for known in record.candidates.iter_mut().filter(|known| known.pin == *pin) {
        let pause = usize::try_from(known.failures).ok().and_then(|failures| QUARANTINES.get(failures));
        known.quarantined_until = Some(pause.map_or(Timestamp::MAX, |pause| after(now, *pause)));
        known.failures = known.failures.saturating_add(1);
    }
}

/// A person turned away from what runs: only a person takes it again.
pub(super) fn shun(record: &mut Freshness, digests: &[Digest]) {
    for known in &mut record.candidates {
        if digests.iter().any(|digest| known.is(digest)) {
            known.quarantined_until = Some(Timestamp::MAX);
        }
    }
}

/// It may be tried again.
pub(super) fn pardon(record: &mut Freshness, pin: &Digest) {
    for known in record.candidates.iter_mut().filter(|known| known.pin == *pin) {
        known.failures = 0;
        known.quarantined_until = None;
    }
}

/// Whether it is known that its tools break what clients do.
pub(super) fn breaks(record: &Freshness, pin: &Digest) -> bool {
    record.candidates.iter().any(|known| known.pin == *pin && known.surface == Surface::Breaking)
}

/// How its tools differ.
pub(super) fn note_surface(record: &mut Freshness, pin: &Digest, surface: Surface) {
    for known in record.candidates.iter_mut().filter(|known| known.pin == *pin) {
        known.surface = surface;
    }
}

/// Marks what a policy may go back to: the last good one that does not run.
pub(super) fn note_good(record: &mut Freshness) {
    let earlier = record.good.get(1).cloned();
    for known in &mut record.candidates {
        known.is_last_good = earlier.as_ref() == Some(&known.pin);
    }
}
