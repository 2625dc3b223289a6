//! What a synchronisation keeps when its source is slow, wrong or gone.

use std::sync::Mutex;

use fairlead_core::BoxFuture;
use fairlead_core::registry::SourceFeatures;

use super::*;

/// A source that gives prepared answers, and remembers what it was asked.
#[derive(Clone, Default)]
struct Script {
    features: SourceFeatures,
    answers: Arc<Mutex<Vec<Result<SourceAnswer, SourceError>>>>,
    asked: Arc<Mutex<Vec<PageRequest>>>,
    /// After the prepared answers, this page for ever.
    endless: Option<fn(usize) -> SourcePage>,
}

impl Script {
    fn of(answers: impl IntoIterator<Item = Result<SourceAnswer, SourceError>>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Self::default() }
    }

    fn answer(&self, request: &PageRequest) -> Result<SourceAnswer, SourceError> {
        let mut asked = self.asked.lock().unwrap();
        asked.push(request.clone());
        let mut answers = self.answers.lock().unwrap();
        match self.endless {
            Some(page) if answers.is_empty() => Ok(SourceAnswer::Page(page(asked.len()))),
            _ => answers.remove(0),
        }
    }
}

impl RegistrySource for Script {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn SourceSession>, SourceError>> {
        Box::pin(async { Ok(Box::new(self.clone()) as Box<dyn SourceSession>) })
    }
}

impl SourceSession for Script {
    fn features(&self) -> SourceFeatures {
        self.features
    }

    fn enumerate<'a>(&'a mut self, request: &'a PageRequest) -> BoxFuture<'a, Result<SourceAnswer, SourceError>> {
        Box::pin(async { self.answer(request) })
    }

    fn transform(&mut self, entry: SourceEntry) -> BoxFuture<'_, Result<Option<SourceEntry>, SourceError>> {
        Box::pin(async { Ok(Some(entry)) })
    }
}

fn given(name: &str) -> SourceEntry {
    SourceEntry {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        status: EntryStatus::Active,
        document: format!(r#"{{"name":"{name}","version":"1.0.0"}}"#),
        published: None,
        updated: None,
        is_latest: true,
        labels: BTreeMap::new(),
    }
}

fn page(names: &[&str], next: Option<&str>) -> Result<SourceAnswer, SourceError> {
    let entries = names.iter().map(|name| given(name)).collect();
    let checkpoint = next.is_none().then(|| "c".to_owned());
    let etag = next.is_none().then(|| "e".to_owned());
    Ok(SourceAnswer::Page(SourcePage {
        entries,
        next: next.map(str::to_owned),
        checkpoint,
        etag,
        ..SourcePage::default()
    }))
}

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

async fn sync(script: Script, before: Option<&Copy>, how: How) -> Result<Synced, SyncError> {
    synchronise(&script, "o", before, now(), how).await
}

async fn copy_of(names: &[&str]) -> Copy {
    match sync(Script::of([page(names, None)]), None, How::default()).await.unwrap() {
        Synced::Copy(copy, _) => *copy,
        Synced::Unmodified => panic!("unmodified"),
    }
}

fn names(copy: &Copy) -> Vec<&str> {
    copy.entries.keys().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn pages_are_put_together_and_a_bad_entry_is_told_and_left_out() {
    let mut second = page(&["a/c"], None).unwrap();
    if let SourceAnswer::Page(page) = &mut second {
        page.entries.push(SourceEntry { document: "{".to_owned(), ..given("a/bad") });
    }
    let script = Script::of([page(&["a/a", "a/b"], Some("2")), Ok(second)]);
    let asked = Arc::clone(&script.asked);
    let Synced::Copy(copy, tally) = sync(script, None, How::default()).await.unwrap() else { panic!() };
    assert_eq!(names(&copy), ["a/a", "a/b", "a/c"]);
    assert_eq!((tally.changed, tally.pages, copy.position.refused_count), (3, 2, 1));
    assert_eq!(copy.position.refused[0].entry, "a/bad@1.0.0");
    assert_eq!(asked.lock().unwrap()[1].cursor.as_deref(), Some("2"));
}

#[tokio::test]
async fn what_changed_is_put_upon_what_was_there() {
    let before = copy_of(&["a/a", "a/b"]).await;
    let mut answer = page(&["a/c"], None).unwrap();
    if let SourceAnswer::Page(page) = &mut answer {
        page.removed = vec![("a/a".to_owned(), None)];
    }
    let script =
        Script { features: SourceFeatures { incremental: true, ..Default::default() }, ..Script::of([Ok(answer)]) };
    let asked = Arc::clone(&script.asked);
    let Synced::Copy(copy, tally) = sync(script, Some(&before), How::default()).await.unwrap() else { panic!() };
    assert_eq!(names(&copy), ["a/b", "a/c"]);
    assert_eq!((tally.changed, tally.removed), (1, 1));
    assert_eq!(asked.lock().unwrap()[0].since.as_deref(), Some("c"));
    assert!(Arc::ptr_eq(
        &copy.entries[&("a/b".to_owned(), "1.0.0".to_owned())],
        &before.entries[&("a/b".to_owned(), "1.0.0".to_owned())]
    ));
}

#[tokio::test]
async fn nothing_changed_is_believed_only_of_a_source_that_was_asked() {
    let before = copy_of(&["a/a"]).await;
    assert_eq!(
        sync(Script::of([Ok(SourceAnswer::Unmodified)]), Some(&before), How::default()).await,
        Ok(Synced::Unmodified)
    );
    let fresh = sync(Script::of([Ok(SourceAnswer::Unmodified)]), None, How::default()).await;
    assert!(matches!(fresh, Err(SyncError::Source(SourceError::Fault(_)))));
}

#[tokio::test]
async fn a_source_is_never_able_to_empty_a_catalogue_by_itself() {
    let before = copy_of(&["a/a"]).await;
    let empty = || Script::of([page(&[], None)]);
    assert_eq!(sync(empty(), Some(&before), How::default()).await, Err(SyncError::Empty(1)));
    let meant = How { accept_empty: true, ..How::default() };
    assert!(matches!(sync(empty(), Some(&before), meant).await, Ok(Synced::Copy(copy, _)) if copy.entries.is_empty()));
    let nonsense =
        SourcePage { entries: vec![SourceEntry { document: "[".to_owned(), ..given("a/b") }], ..SourcePage::default() };
    let refused = sync(Script::of([Ok(SourceAnswer::Page(nonsense))]), Some(&before), meant).await;
    assert!(matches!(refused, Err(SyncError::AllRefused { count: 1, .. })));
    let half = Script::of([page(&["a/b"], Some("2")), Err(SourceError::Unavailable("gone".to_owned()))]);
    assert!(matches!(sync(half, Some(&before), How::default()).await, Err(SyncError::Source(_))));
}

#[tokio::test]
async fn pages_in_a_circle_and_pages_without_end_are_found_out() {
    let circle = Script::of([page(&["a/a"], Some("1")), page(&["a/b"], Some("2")), page(&["a/a"], Some("1"))]);
    assert_eq!(sync(circle, None, How::default()).await, Err(SyncError::Circle(3)));
    let endless = |at: usize| SourcePage { next: Some(at.to_string()), ..SourcePage::default() };
    let endless = Script { endless: Some(endless), ..Script::default() };
    assert!(matches!(sync(endless, None, How::default()).await, Err(SyncError::TooMuch { what: "pages", .. })));
}

#[tokio::test]
async fn a_checkpoint_that_is_forgotten_starts_from_the_beginning_once() {
    let before = copy_of(&["a/a", "a/b"]).await;
    let incremental = SourceFeatures { incremental: true, ..Default::default() };
    let forgot = || Ok(SourceAnswer::Resync("too old".to_owned()));
    let script = Script { features: incremental, ..Script::of([forgot(), page(&["a/b"], None)]) };
    let Synced::Copy(copy, tally) = sync(script, Some(&before), How::default()).await.unwrap() else { panic!() };
    assert_eq!((names(&copy), tally.removed), (vec!["a/b"], 1));
    let again = Script { features: incremental, ..Script::of([forgot(), forgot()]) };
    assert!(matches!(sync(again, Some(&before), How::default()).await, Err(SyncError::Resync(_))));
}

#[tokio::test]
async fn another_configuration_does_not_go_on_where_the_one_before_ended() {
    let before = copy_of(&["a/a"]).await;
    let script = Script {
        features: SourceFeatures { incremental: true, ..Default::default() },
        ..Script::of([page(&["a/b"], None)])
    };
    let asked = Arc::clone(&script.asked);
    let synced = synchronise(&script, "other", Some(&before), now(), How::default()).await.unwrap();
    assert!(matches!(synced, Synced::Copy(copy, _) if names(&copy) == ["a/b"]));
    let asked = asked.lock().unwrap().remove(0);
    assert_eq!((asked.since, asked.etag), (None, None));
}

#[test]
fn a_source_that_fails_is_asked_again_later_and_later_but_within_its_interval() {
    let hour = Duration::from_secs(3_600);
    let waits: Vec<_> = (1..=9).map(|failures| retry_after(failures, hour).as_secs()).collect();
    assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
    assert_eq!(retry_after(u32::MAX, Duration::from_secs(1)), Duration::from_secs(30));
}
