//! Laws of the book: what is asked when, and what is said of it.

use fairlead_core::registry::{EntryStatus, Offered};

use super::*;

fn key(name: &str) -> RegistryKey {
    RegistryKey { namespace: "team".to_owned(), name: name.to_owned() }
}

fn entry(name: &str) -> EntryName {
    EntryName { name: format!("io.acme/{name}"), version: "1.0.0".to_owned() }
}

fn stand(uid: &str, pod: &str) -> Stand {
    Stand { uid: uid.to_owned(), generation: 1, pods: vec![pod.to_owned()] }
}

fn wanted(registries: &[(&str, Stand)], entries: &[&str]) -> BTreeMap<RegistryKey, (Stand, BTreeSet<EntryName>)> {
    let entries: BTreeSet<EntryName> = entries.iter().map(|name| entry(name)).collect();
    registries.iter().map(|(name, stand)| (key(name), (stand.clone(), entries.clone()))).collect()
}

fn active(name: &str) -> Answer {
    let EntryName { name, version } = entry(name);
    Answer::Offered(Offered { name, version, status: EntryStatus::Active, offers: Vec::new() })
}

fn away() -> Result<Answer, String> {
    Err("no pod of it is ready".to_owned())
}

/// The longest wait after an answer, and after none.
const EVERY: Duration = Duration::from_secs(360);
const AGAIN: Duration = Duration::from_secs(72);

/// A book about one registry, with its clock.
struct Scene {
    book: Book,
    now: Instant,
}

impl Scene {
    fn of(entries: &[&str]) -> Self {
        let (mut book, now) = (Book::default(), Instant::now());
        assert_eq!(
            book.expect(wanted(&[("main", stand("u", "a"))], entries), now),
            BTreeSet::from(["team".to_owned()])
        );
        Self { book, now }
    }

    fn expect(&mut self, stand: Stand, entries: &[&str]) {
        assert_eq!(self.book.expect(wanted(&[("main", stand)], entries), self.now), BTreeSet::new());
    }

    /// The one round that is due, answered alike for all; the entries that changed.
    fn hear(&mut self, heard: &Result<Answer, String>) -> Vec<String> {
        let rounds = self.book.due(self.now);
        assert_eq!(rounds.len(), 1, "{rounds:?}");
        let all = rounds[0].entries.iter().map(|entry| (entry.clone(), heard.clone())).collect();
        let changed = self.book.learn(&rounds[0], all, self.now);
        changed.into_iter().map(|entry| entry.name).collect()
    }

    fn shown(&self, name: &str) -> Option<Answer> {
        self.book.answers("team", vec!["main".to_owned()], &entry(name))["main"].clone()
    }

    fn is_due(&mut self) -> bool {
        self.book.due(self.now).len() == 1
    }
}

#[test]
fn an_entry_is_asked_once_for_all_who_name_it_and_again_after_its_time() {
    let mut scene = Scene::of(&["a", "b"]);
    assert_eq!(scene.shown("a"), None);
    let rounds = scene.book.due(scene.now);
    assert_eq!(rounds[0].entries, [entry("a"), entry("b")]);
    assert!(!scene.is_due(), "a registry has one round at a time");
    let heard = vec![(entry("a"), Ok(active("a"))), (entry("b"), Ok(Answer::Missing))];
    assert_eq!(scene.book.learn(&rounds[0], heard, scene.now).len(), 2);
    assert_eq!((scene.shown("a"), scene.shown("b")), (Some(active("a")), Some(Answer::Missing)));
    scene.expect(stand("u", "a"), &["a", "b"]);
    assert!(!scene.is_due());
    scene.now += Duration::from_secs(239);
    assert!(!scene.is_due(), "it is asked too often");
    scene.now += EVERY;
    assert_eq!(scene.hear(&Ok(Answer::Missing)), ["io.acme/a"], "only what is new is told");
    // Who comes later is asked for at once; who is due soon anyway, in the same round.
    scene.expect(stand("u", "a"), &["a", "b", "c"]);
    let rounds = scene.book.due(scene.now);
    assert_eq!(rounds[0].entries, [entry("c")]);
}

#[test]
fn what_is_due_soon_is_asked_in_the_same_round() {
    let mut scene = Scene::of(&["a"]);
    scene.hear(&Ok(Answer::Missing));
    scene.now += EVERY;
    scene.expect(stand("u", "a"), &["a", "b"]);
    assert_eq!(scene.book.due(scene.now)[0].entries.len(), 2);
}

#[test]
fn what_a_registry_said_counts_for_a_while_after_it_went_silent_and_then_nobody_knows() {
    let mut scene = Scene::of(&["a"]);
    scene.hear(&Ok(active("a")));
    scene.now += EVERY;
    assert!(scene.hear(&away()).is_empty(), "it was there a moment ago");
    assert_eq!(scene.shown("a"), Some(active("a")));
    scene.now += AGAIN;
    assert!(scene.hear(&away()).is_empty(), "after a failure it is asked sooner");
    scene.now += REGISTRY_ANSWER_KEEP;
    assert_eq!(scene.hear(&away()), ["io.acme/a"]);
    assert_eq!(scene.shown("a"), Some(Answer::Unavailable("no pod of it is ready".to_owned())));
    scene.now += AGAIN;
    assert!(scene.hear(&away()).is_empty(), "nothing new");
    scene.now += AGAIN;
    assert_eq!(scene.hear(&Ok(active("a"))), ["io.acme/a"]);
    // One that never said anything is away from the beginning.
    assert_eq!(Scene::of(&["a"]).hear(&away()), ["io.acme/a"]);
}

#[test]
fn a_registry_that_changed_is_asked_at_once_and_another_of_its_name_is_another() {
    let mut scene = Scene::of(&["a"]);
    scene.hear(&Ok(active("a")));
    scene.expect(stand("u", "b"), &["a"]);
    assert_eq!(scene.shown("a"), Some(active("a")), "what was said stays meanwhile");
    // It changes again while it is asked: what it says counts, and it is asked once more.
    let rounds = scene.book.due(scene.now);
    scene.expect(stand("u", "c"), &["a"]);
    scene.book.learn(&rounds[0], vec![(entry("a"), Ok(Answer::Missing))], scene.now);
    assert_eq!(scene.shown("a"), Some(Answer::Missing));
    let rounds = scene.book.due(scene.now);
    assert_eq!(rounds[0].stand.pods, ["c"]);
    // It is removed and made anew while it is asked.
    scene.expect(stand("other", "c"), &["a"]);
    assert!(scene.book.learn(&rounds[0], vec![(entry("a"), Ok(active("a")))], scene.now).is_empty());
    assert_eq!(scene.shown("a"), None);
    assert!(scene.is_due());
}

#[test]
fn what_nobody_names_is_forgotten_and_a_registry_that_goes_or_comes_is_told() {
    let mut scene = Scene::of(&["a", "b"]);
    scene.hear(&Ok(Answer::Missing));
    scene.expect(stand("u", "a"), &["b"]);
    assert_eq!((scene.shown("a"), scene.shown("b")), (None, Some(Answer::Missing)));
    let both = wanted(&[("main", stand("u", "a")), ("other", stand("v", "x"))], &["b"]);
    assert_eq!(scene.book.expect(both, scene.now), BTreeSet::from(["team".to_owned()]));
    assert_eq!(scene.book.expect(BTreeMap::new(), scene.now), BTreeSet::from(["team".to_owned()]));
    assert!(scene.book.pages.is_empty());
}

#[test]
fn rounds_are_bounded_and_whoever_waited_longest_is_first() {
    let names: Vec<String> = (0..REGISTRY_ROUNDS_MAX * 2).map(|n| format!("r{n:03}")).collect();
    let all: Vec<(&str, Stand)> = names.iter().map(|name| (name.as_str(), stand(name, "a"))).collect();
    let (mut book, now) = (Book::default(), Instant::now());
    book.expect(wanted(&all, &["a"]), now);
    let first = book.due(now);
    assert_eq!(first.len(), REGISTRY_ROUNDS_MAX);
    assert!(book.due(now).is_empty());
    // Whoever removes registries and makes them anew has no more of them asked.
    book.expect(BTreeMap::new(), now);
    book.expect(wanted(&all, &["a"]), now);
    assert!(book.due(now).is_empty());
    for round in &first {
        book.learn(round, vec![(entry("a"), away())], now);
    }
    // All are due by now, and these have waited longer.
    let later = now + EVERY;
    let second: BTreeSet<RegistryKey> = book.due(later).into_iter().map(|round| round.registry).collect();
    assert!(first.iter().all(|round| !second.contains(&round.registry)));
    // What a round did not come to is due still.
    let (mut book, many) = (Book::default(), (0..REGISTRY_ROUND_ENTRIES_MAX + 1).map(|n| format!("e{n}")));
    let many: Vec<String> = many.collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    book.expect(wanted(&[("main", stand("u", "a"))], &many), now);
    let round = book.due(now).remove(0);
    assert_eq!(round.entries.len(), REGISTRY_ROUND_ENTRIES_MAX);
    book.learn(&round, round.entries.iter().skip(1).map(|entry| (entry.clone(), Ok(Answer::Missing))).collect(), now);
    assert_eq!(book.due(now).remove(0).entries.len(), 2);
}

#[test]
fn registries_are_not_all_asked_at_the_same_moment() {
    let waits: BTreeSet<Duration> = (0..41).map(|seed| spread(REGISTRY_ASK_EVERY, seed)).collect();
    assert_eq!(waits.len(), 41);
    assert_eq!(waits.first(), Some(&Duration::from_secs(240)));
    assert_eq!(waits.last(), Some(&EVERY));
}
