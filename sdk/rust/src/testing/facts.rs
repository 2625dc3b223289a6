//! Facts for the tests of update policies: a server that runs one image, and candidates to choose from.

use crate::policy::{Approval, Candidate, Facts, Running, Semver, Signal, Surface, Trigger, Workload};

/// Facts in which a server runs `sha256:running` and has no candidates; the time is one that is easy to count from.
#[must_use]
pub fn facts(now: u64) -> Facts {
    Facts {
        now,
        seed: 0,
        interval_ms: 900_000,
        trigger: Trigger::Schedule,
        workload: Workload {
            key: "default/server".to_owned(),
            tenant: "default".to_owned(),
            server: "server".to_owned(),
            group: None,
            labels: Vec::new(),
            created: 0,
            sessions: 0,
        },
        running: Running {
            reference: "registry.test/server:latest".to_owned(),
            pinned: false,
            digests: vec!["sha256:running".to_owned()],
            version: None,
            since: None,
            health: Signal::Good,
        },
        candidates: Vec::new(),
        truncated: false,
        history: Vec::new(),
        approvals: Vec::new(),
        peers: Vec::new(),
        auto_reinstall: true,
        zone_offsets: Vec::new(),
        attributes: Vec::new(),
    }
}

/// A candidate with a pin, that this host first saw at a time.
#[must_use]
pub fn candidate(pin: &str, first_seen: u64) -> Candidate {
    Candidate {
        tag: None,
        same_tag: false,
        version: None,
        pin: pin.to_owned(),
        digests: Vec::new(),
        first_seen,
        last_seen: first_seen,
        pushed: None,
        created_claimed: None,
        platform: Signal::Good,
        signature: Signal::Unknown,
        provenance: Signal::Unknown,
        tool_surface: Surface::Unknown,
        missing_settings: Vec::new(),
        failures: 0,
        quarantined_until: None,
        is_last_good: false,
        attributes: Vec::new(),
    }
}

/// A version from `major.minor.patch[-pre]`; what is left out is zero.
#[must_use]
pub fn version(text: &str) -> Semver {
    let (numbers, pre) = text.split_once('-').unwrap_or((text, ""));
    let mut numbers = numbers.split('.').map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    Semver { major: next(), minor: next(), patch: next(), pre: pre.to_owned(), build: String::new() }
}

/// A person's yes that expires at a time.
#[must_use]
pub fn approval(pin: &str, by: &str, expires: u64) -> Approval {
    Approval { pin: pin.to_owned(), by: by.to_owned(), at: 0, expires }
}
