//! The protocol, explored exhaustively: two workers, a crash anywhere, leases that run out under a living worker, a tag that
//! moves, a person who edits, toggles that are turned off, good and bad images.
//!
//! Breadth first over the real transition functions; only the world around them (object, engine, registry, workers) is
//! modelled. Time stands still but for the lease: what waits may happen at any moment, which covers every timing.

mod explore;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use jiff::Timestamp;

use self::explore::explore;
use super::mutant::{self, Mutant};
use super::*;
use crate::digest::Digest;

/// Digests are numbers here: 0 runs at first, 1 and 2 are pushed.
type Image = u8;

/// The object, small: a world is copied and compared a hundred thousand times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Object {
    revision: u8,
    pin: Option<Image>,
    mark: Option<(u8, u8)>,
}

impl Object {
    fn whole(self) -> Deployed {
        let mark = self.mark.map(|(operation, fence)| Mark { operation: operation.into(), fence: fence.into() });
        Deployed { revision: self.revision.into(), pin: self.pin.map(digest), mark }
    }

    fn of(whole: &Deployed) -> Self {
        let small = |number: u64| u8::try_from(number).unwrap();
        Self {
            revision: small(whole.revision),
            pin: whole.pin.as_ref().map(image),
            mark: whole.mark.map(|mark| (small(mark.operation), small(mark.fence))),
        }
    }
}

/// A record by its number in [`RECORDS`]: few of them are different, and they are large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Stored(u32);

#[derive(Default)]
struct Records {
    numbers: HashMap<Rc<Freshness>, u32>,
    all: Vec<Rc<Freshness>>,
}

thread_local! {
    static RECORDS: RefCell<Records> = RefCell::default();
}

impl Stored {
    fn new(record: Freshness) -> Self {
        RECORDS.with_borrow_mut(|records| {
            if let Some(number) = records.numbers.get(&record) {
                return Self(*number);
            }
            let (number, record) = (u32::try_from(records.all.len()).unwrap(), Rc::new(record));
            records.all.push(Rc::clone(&record));
            records.numbers.insert(record, number);
            Self(number)
        })
    }

    fn get(self) -> Rc<Freshness> {
        RECORDS.with_borrow(|records| Rc::clone(&records.all[self.0 as usize]))
    }
}

/// Where a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum At {
    Idle,
    /// Holds the lease, has to read what to do.
    Holds,
    /// Has decided how to change the object, from the revision that it read.
    Writes(u64, Object, u8),
    /// Likewise, to seal it.
    Seals(u64, Object, u8),
    /// Changed the object; has to store that.
    Wrote(u64),
    /// Sealed the object; has to store that.
    Sealed(u64),
    /// Found somebody else's change; has to store that.
    Beaten(u64),
    /// Effect before intent (only in a mutant): means to change the object for an operation that is not stored.
    Rash(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Worker {
    at: At,
    fence: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    /// Without what is kept beside it, because only its order matters: numbers that mean the same are made the same.
    record: Stored,
    leased: bool,
    fence: u8,
    base: u8,
    object: Object,
    /// The object names a tag, not a digest (only in a mutant, and after a person's edit).
    by_tag: bool,
    /// What the tag names.
    tag: Image,
    runs: Image,
    auto: bool,
    disabled: bool,
    edits: u8,
    crashes: u8,
    expiries: u8,
    /// Operations that have an outcome, in order.
    outcomes: Vec<u64>,
    workers: [Worker; 2],
    violation: Option<&'static str>,
}

const OPERATIONS_MAX: u64 = 4;

fn digest(image: Image) -> Digest {
    Digest::new(&format!("sha256:{image:064}")).unwrap()
}

fn image(digest: &Digest) -> Image {
    (0..3).find(|image| self::digest(*image) == *digest).unwrap()
}

fn candidate(image: Image) -> Candidate {
    serde_json::from_value(serde_json::json!({
        "pin": digest(image), "firstSeen": "2026-01-01T00:00:00Z", "lastSeen": "2026-01-01T00:00:00Z",
    }))
    .unwrap()
}

impl World {
    fn new(crashes: u8, expiries: u8) -> Self {
        let record =
            Freshness { good: vec![digest(0)], candidates: (0..3).map(candidate).collect(), ..Freshness::default() };
        Self {
            record: Stored::new(record),
            leased: false,
            fence: 0,
            base: 0,
            object: Object { revision: 0, pin: None, mark: None },
            by_tag: false,
            tag: 0,
            runs: 0,
            auto: true,
            disabled: false,
            edits: 1,
            crashes,
            expiries,
            outcomes: Vec::new(),
            workers: [const { Worker { at: At::Idle, fence: 0 } }; 2],
            violation: None,
        }
    }

    fn with_moment<T>(&self, look: impl FnOnce(&Moment<'_>) -> T) -> T {
        let against = if self.disabled { &[Ineligible::Disabled][..] } else { &[] };
        look(&Moment {
            now: Timestamp::UNIX_EPOCH,
            since: Timestamp::UNIX_EPOCH,
            toggles: UpdateToggles { check: true, auto_reinstall: self.auto },
            against,
            interval: Duration::from_secs(900),
            spread: 0,
        })
    }

    /// What the engine makes of the object: a bad image never comes up.
    fn engine(&self, bad: Option<Image>) -> Option<Image> {
        let wanted = self.object.pin.filter(|_| !self.by_tag).unwrap_or(self.tag);
        let initial = self.object.pin.is_none() && self.object.revision == 0;
        (!initial && self.runs != wanted && Some(wanted) != bad).then_some(wanted)
    }

    /// The record as it is stored.
    fn whole(&self) -> Freshness {
        let mut record = (*self.record.get()).clone();
        record.lease.fence = self.fence.into();
        record.lease.holder = self.leased.then(|| "w".to_owned());
        record.lease.expires = self.leased.then_some(Timestamp::MAX);
        if let Some(operation) = &mut record.operation {
            operation.base = self.base.into();
        }
        record
    }

    fn store(&self, mut record: Freshness) -> Self {
        let mut next = self.clone();
        // An attempt that has ended is moved to the outcomes: were it ended again, it would be there twice.
        let ended = record.attempts.iter().filter(|attempt| attempt.outcome != Outcome::InProgress);
        next.outcomes.extend(ended.rev().map(|attempt| attempt.operation));
        record.attempts.retain(|attempt| attempt.outcome == Outcome::InProgress);
        next.leased = record.lease.holder.is_some();
        next.fence = u8::try_from(record.lease.fence).unwrap();
        next.base = record.operation.as_ref().map_or(0, |operation| u8::try_from(operation.base).unwrap());
        // What only counts or waits would make equal worlds different.
        record.revision = 0;
        record.outbox.clear();
        record.check = Check::default();
        record.last_reinstall = None;
        record.lease = Lease::default();
        if let Some(operation) = &mut record.operation {
            operation.base = 0;
            operation.next = None;
            operation.deadline = None;
            operation.looks = 0;
        }
        for candidate in &mut record.candidates {
            candidate.failures = candidate.failures.min(2);
            candidate.quarantined_until = None;
            candidate.surface = Surface::Unknown;
        }
        next.record = Stored::new(record);
        next
    }

    /// Gives numbers of which only the order matters the smallest values, and workers an order.
    fn canonical(mut self) -> Self {
        let mut fences: Vec<u8> = self.workers.iter().map(|worker| worker.fence).collect();
        fences.extend([0, self.fence]);
        fences.extend(self.object.mark.map(|(_, fence)| fence));
        let mut revisions = vec![0, self.object.revision, self.base];
        for worker in &self.workers {
            if let At::Writes(_, object, read) | At::Seals(_, object, read) = worker.at {
                fences.extend(object.mark.map(|(_, fence)| fence));
                revisions.extend([object.revision, read]);
            }
        }
        let rank = |all: &mut Vec<u8>| {
            all.sort_unstable();
            all.dedup();
        };
        rank(&mut fences);
        rank(&mut revisions);
        let of = |all: &Vec<u8>, number: u8| u8::try_from(all.binary_search(&number).unwrap()).unwrap();
        let mend = |object: &mut Object| {
            object.revision = of(&revisions, object.revision);
            object.mark = object.mark.map(|(operation, fence)| (operation, of(&fences, fence)));
        };
        mend(&mut self.object);
        self.fence = of(&fences, self.fence);
        self.base = of(&revisions, self.base);
        for worker in &mut self.workers {
            worker.fence = of(&fences, worker.fence);
            if let At::Writes(_, object, read) | At::Seals(_, object, read) = &mut worker.at {
                mend(object);
                *read = of(&revisions, *read);
            }
        }
        self.workers.sort_unstable();
        self
    }

    fn worker(mut self, who: usize, at: At) -> Self {
        self.workers[who].at = at;
        if self.workers[who].at == At::Idle {
            self.workers[who].fence = 0;
        }
        self
    }

    /// Stores what an event makes of the record, if the lease still holds; otherwise the worker stops.
    fn tell(&self, who: usize, event: Event, then: At) -> Self {
        match self.with_moment(|at| step(&self.whole(), self.workers[who].fence.into(), event, at)) {
            Ok(record) => self.store(record).worker(who, then),
            Err(_) => self.clone().worker(who, At::Idle),
        }
    }

    fn release(self, who: usize) -> Self {
        self.tell(who, Event::Released, At::Idle)
    }

    fn called_off(&self) -> bool {
        self.disabled
    }

    fn next(&self, bad: Option<Image>) -> Vec<(String, Self)> {
        let mut out = Vec::new();
        if self.tag < 2 {
            out.push(("push".into(), Self { tag: self.tag + 1, ..self.clone() }));
        }
        if let Some(runs) = self.engine(bad) {
            out.push(("engine".into(), Self { runs, ..self.clone() }));
        }
        if self.edits > 0 {
            // A person's tool writes the old image, and strips marks.
            let object = Object { revision: self.object.revision + 1, pin: Some(0), mark: None };
            out.push(("edit".into(), Self { object, by_tag: false, edits: self.edits - 1, ..self.clone() }));
        }
        if self.auto {
            out.push(("auto-off".into(), Self { auto: false, ..self.clone() }));
        }
        if !self.disabled {
            out.push(("disable".into(), Self { disabled: true, ..self.clone() }));
        }
        // The lease of a dead holder runs out in any case; that of a living one only so often.
        let alive = self.workers.iter().any(|worker| worker.at != At::Idle && worker.fence == self.fence);
        if self.leased && (self.expiries > 0 || !alive) {
            let expiries = self.expiries - u8::from(alive);
            out.push(("expire".into(), Self { leased: false, expiries, ..self.clone() }));
        }
        for who in 0..2 {
            if self.workers[who].at != At::Idle && self.crashes > 0 {
                let crashed = Self { crashes: self.crashes - 1, ..self.clone() };
                out.push((format!("crash{who}"), crashed.worker(who, At::Idle)));
            }
            self.works(who, bad, &mut out);
        }
        out.into_iter().map(|(event, next)| (event, next.canonical())).collect()
    }

    fn works(&self, who: usize, bad: Option<Image>, out: &mut Vec<(String, Self)>) {
        let fence = self.workers[who].fence;
        match self.workers[who].at {
            At::Idle => self.acquires(who, out),
            At::Holds => self.holds(who, bad, out),
            At::Rash(id) => {
                // The mutant stores the intent after the effect.
                let mark = Some(Mark { operation: id, fence: fence.into() });
                let whole =
                    Deployed { revision: u64::from(self.object.revision) + 1, pin: Some(digest(self.tag)), mark };
                let object = Object::of(&whole);
                out.push((format!("rash{who}"), self.written(object, id).worker(who, At::Holds)));
            }
            At::Writes(id, object, read) => {
                let clean = self.object.revision == read || mutant::is_on(Mutant::NoObjectFence);
                if clean {
                    let object = Object { revision: self.object.revision + 1, ..object };
                    out.push((format!("write{who}"), self.written(object, id).worker(who, At::Wrote(id))));
                } else {
                    out.push((format!("conflict{who}"), self.clone().worker(who, At::Holds)));
                }
            }
            At::Seals(id, object, read) => {
                if self.object.revision == read {
                    let sealed = Self { object, ..self.clone() };
                    out.push((format!("seal{who}"), sealed.worker(who, At::Sealed(id))));
                } else {
                    out.push((format!("seal-conflict{who}"), self.clone().worker(who, At::Holds)));
                }
            }
            At::Wrote(_) => out.push((format!("applied{who}"), self.tell(who, Event::Applied, At::Holds))),
            At::Sealed(_) => out.push((format!("sealed{who}"), self.tell(who, Event::Sealed, At::Holds).release(who))),
            At::Beaten(_) => {
                out.push((format!("superseded{who}"), self.tell(who, Event::Superseded, At::Holds).release(who)));
            }
        }
    }

    fn acquires(&self, who: usize, out: &mut Vec<(String, Self)>) {
        let record = self.record.get();
        let fresh = self.runs == self.tag;
        let wants = record.operation.is_some()
            || (!fresh && !self.disabled && self.auto && record.operations < OPERATIONS_MAX && !self.is_quarantined());
        if !wants {
            return;
        }
        if let Some((record, fence)) = acquire(&self.whole(), "w", Timestamp::UNIX_EPOCH) {
            let mut next = self.store(record).worker(who, At::Holds);
            next.workers[who].fence = u8::try_from(fence).unwrap();
            out.push((format!("acquire{who}"), next));
        }
    }

    fn holds(&self, who: usize, bad: Option<Image>, out: &mut Vec<(String, Self)>) {
        let fence = self.workers[who].fence;
        let record = self.whole();
        if self.fence != fence && !mutant::is_on(Mutant::NoRecordFence) {
            return out.push((format!("lost{who}"), self.clone().worker(who, At::Idle)));
        }
        let Some(operation) = &record.operation else {
            let may = !self.disabled && self.auto && !self.is_quarantined() && record.operations < OPERATIONS_MAX;
            if self.runs == self.tag || !may {
                out.push((format!("nothing{who}"), self.clone().release(who)));
            } else if mutant::is_on(Mutant::EffectBeforeIntent) {
                out.push((format!("rash{who}"), self.clone().worker(who, At::Rash(record.operations + 1))));
            } else {
                let verdict = Verdict::from(Decision::Update(Plan::to(digest(self.tag))));
                let decided = Event::Decided(Box::new(verdict), self.object.revision.into());
                out.push((format!("decide{who}"), self.tell(who, decided, At::Holds)));
            }
            return;
        };
        let id = operation.id;
        match operation.phase {
            Phase::Pending => out.push((format!("begin{who}"), self.tell(who, Event::Begun, At::Holds))),
            // A trial touches nothing that others see, and passes, also for an image that is bad later: rollouts fail too.
            Phase::Preflight => {
                out.push((format!("try{who}"), self.tell(who, Event::Passed(Surface::Same), At::Holds)));
            }
            Phase::Applying => {
                let called_off = self.called_off();
                if called_off && mutant::is_on(Mutant::NoSeal) && operation.direction == Direction::Forward {
                    return out.push((format!("drop{who}"), self.tell(who, Event::Sealed, At::Holds).release(who)));
                }
                let read = self.object.revision;
                let (label, at) = match apply(operation, fence.into(), &self.object.whole(), called_off) {
                    Move::Yield => ("yield", At::Idle),
                    Move::Adopt => ("adopt", At::Wrote(id)),
                    Move::Supersede => ("beaten", At::Beaten(id)),
                    Move::Write(object) => ("read", At::Writes(id, Object::of(&object), read)),
                    Move::Seal(object) => ("read", At::Seals(id, Object::of(&object), read)),
                };
                out.push((format!("{label}{who}"), self.clone().worker(who, at)));
            }
            Phase::Verifying => {
                if mutant::is_on(Mutant::CheckClobbers) {
                    let error =
                        CheckError { class: ErrorClass::Other, message: String::new(), at: Timestamp::UNIX_EPOCH };
                    let failed = Event::CheckFailed { error, retry_after: None };
                    out.push((format!("check-fails{who}"), self.tell(who, failed, At::Holds).release(who)));
                }
                out.push((format!("verify{who}"), self.verify(who, operation, bad).release(who)));
            }
        }
    }

    fn verify(&self, who: usize, operation: &Operation, bad: Option<Image>) -> Self {
        let target = image(&operation.plan.pin);
        let settled = self.engine(bad).is_none();
        let evidence = Evidence {
            mark: self.object.whole().mark,
            revision: self.object.revision.into(),
            running: Running { digests: vec![digest(self.runs)], ..Running::default() },
            ready_since: (self.runs == target).then_some(Timestamp::MIN),
            terminal: (settled && self.runs != target).then(|| "it does not come up".to_owned()),
        };
        let mut next = self.tell(who, Event::Verified(Box::new(evidence)), At::Holds);
        let blamed = |candidate: &Candidate| candidate.failures > 0 && Some(image(&candidate.pin)) != bad;
        if next.record.get().candidates.iter().any(blamed) {
            next.violation = Some("I8 a good digest is quarantined");
        }
        next
    }

    /// What the tag names has failed twice: time may pass, but not for ever.
    fn is_quarantined(&self) -> bool {
        self.record.get().candidates.iter().any(|known| image(&known.pin) == self.tag && known.failures > 1)
    }

    /// The object is written for an operation: what must hold at that moment.
    fn written(&self, object: Object, id: u64) -> Self {
        let mut next = self.clone();
        let record = self.record.get();
        let live = record.live(id).is_some_and(|o| matches!(o.phase, Phase::Applying | Phase::Verifying));
        let twice = self.object.mark.is_some_and(|(operation, _)| u64::from(operation) == id);
        let base = record.live(id).map(|_| self.base);
        if !live {
            next.violation = Some("I1 the object is written without a live, stored operation");
        } else if twice {
            next.violation = Some("I2 an operation is applied twice");
        } else if self.object.mark.is_none() && base.is_some_and(|base| base != self.object.revision) {
            next.violation = Some("I6 a person's edit is fought");
        }
        next.by_tag = mutant::is_on(Mutant::ByTag);
        next.object = object;
        next
    }

    fn violation(&self) -> Option<&'static str> {
        if self.violation.is_some() {
            return self.violation;
        }
        let operations: HashSet<u64> = self.outcomes.iter().copied().collect();
        if operations.len() != self.outcomes.len() {
            return Some("I3 an operation has two outcomes");
        }
        let (operation, _) = self.object.mark.filter(|(operation, _)| *operation > 0)?;
        let operation = u64::from(operation);
        let accounted = operations.contains(&operation) || self.record.get().live(operation).is_some();
        (!accounted).then_some("I7 an applied operation is forgotten")
    }

    fn is_quiet(&self, bad: Option<Image>) -> bool {
        let pinned = self.object.pin.map_or(0, |pin| if self.by_tag { self.tag } else { pin });
        self.record.get().operation.is_none()
            && !self.leased
            && self.workers.iter().all(|worker| worker.at == At::Idle)
            && Some(pinned) != bad
    }
}

fn holds(bad: Option<Image>) {
    let explored = explore(None, bad, &[]);
    println!("bad {bad:?}: {} worlds", explored.worlds);
    assert!(explored.worlds > 10_000, "{} worlds are not the protocol", explored.worlds);
    assert_eq!(explored.violations, HashMap::new());
    assert_eq!(explored.stuck, 0, "from here there is no way to rest: {}", explored.stuck_example);
}

#[test]
fn the_protocol_holds_when_every_image_is_good() {
    holds(None);
}

#[test]
fn the_protocol_holds_when_the_next_image_is_bad() {
    holds(Some(1));
}

#[test]
fn the_protocol_holds_when_the_image_after_it_is_bad() {
    holds(Some(2));
}

fn caught(mutant: Mutant, bad: Option<Image>, expected: &[&str]) {
    let explored = explore(Some(mutant), bad, expected);
    let found: Vec<_> = explored.violations.iter().map(|(law, trace)| format!("{law}: {trace}")).collect();
    println!("{mutant:?}: {} worlds, {found:#?}, {} stuck", explored.worlds, explored.stuck);
    for law in expected {
        assert!(explored.violations.keys().any(|found| found.starts_with(law)), "{law} is not caught: {found:#?}");
    }
    if expected.is_empty() {
        assert!(explored.stuck > 0, "nothing is stuck");
    }
}

#[test]
fn t4_an_object_written_without_fence_is_caught() {
    caught(Mutant::NoObjectFence, None, &["I1"]);
}

#[test]
fn t4_an_effect_before_its_intent_is_caught() {
    caught(Mutant::EffectBeforeIntent, Some(1), &["I1"]);
}

#[test]
fn t4_an_operation_called_off_without_seal_is_caught() {
    caught(Mutant::NoSeal, None, &["I1"]);
}

#[test]
fn t4_a_check_that_forgets_the_operation_is_caught() {
    caught(Mutant::CheckClobbers, Some(1), &["I7"]);
}

#[test]
fn t4_a_rollout_by_tag_is_caught() {
    caught(Mutant::ByTag, None, &["I8"]);
}

#[test]
fn t4_a_record_written_without_fence_is_caught() {
    caught(Mutant::NoRecordFence, None, &["I1"]);
}

#[test]
fn t4_a_rollback_that_can_be_called_off_is_caught() {
    caught(Mutant::CancelsRollback, Some(1), &[]);
}
