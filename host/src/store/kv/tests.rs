//! The laws of plugin state.

use std::collections::HashMap;
use std::sync::atomic::AtomicI64;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

/// A clock that the test moves.
struct Hand(AtomicI64);

impl Hand {
    fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

struct Bench {
    clock: Arc<Hand>,
    db: sled::Db,
    kv: MemoryKv,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hand(AtomicI64::new(1_000_000)));
        let db = sled::Config::new().path(directory.path().join("db")).open().unwrap();
        let kv = MemoryKv::load(db.open_tree("kv").unwrap(), Arc::clone(&clock) as Arc<dyn Clock>);
        Self { clock, db, kv, _directory: directory }
    }

    /// Another daemon over the same database.
    fn reload(&mut self) {
        self.kv = MemoryKv::load(self.db.open_tree("kv").unwrap(), Arc::clone(&self.clock) as Arc<dyn Clock>);
    }

    fn value(&self, scope: &KvScope, key: &str) -> Option<Vec<u8>> {
        self.kv.get(scope, key).unwrap().map(|entry| entry.value)
    }
}

fn scope(tenant: &str, place: &str, attachment: &str) -> KvScope {
    KvScope {
        tenant: TenantName::new(tenant).unwrap(),
        place: place.to_owned(),
        attachment: AttachmentName::new(attachment).unwrap(),
    }
}

fn one() -> KvScope {
    scope("default", "server/a", "limit")
}

#[test]
fn nobody_sees_the_state_of_another_tenant_place_or_attachment() {
    let bench = Bench::new();
    bench.kv.set(&one(), "k", b"v", None).unwrap();
    for other in [
        scope("other", "server/a", "limit"),
        scope("default", "server/b", "limit"),
        scope("default", "server/a", "audit"),
    ] {
        assert_eq!(bench.value(&other, "k"), None);
        assert!(bench.kv.keys(&other, "", None, 10).unwrap().is_empty());
    }
}

#[test]
fn an_expired_entry_is_gone_before_it_is_swept_and_its_memory_after() {
    let bench = Bench::new();
    bench.kv.set(&one(), "k", b"v", Some(Duration::from_millis(100))).unwrap();
    bench.clock.advance(99);
    assert_eq!(bench.value(&one(), "k").as_deref(), Some(&b"v"[..]));
    bench.clock.advance(1);
    assert_eq!(bench.value(&one(), "k"), None);
    assert!(bench.kv.keys(&one(), "", None, 10).unwrap().is_empty());
    bench.kv.sweep();
    assert_eq!(bench.kv.scope(&one()).lock().bytes, 0);
}

#[test]
fn more_entries_than_are_swept_or_written_at_once_are_all_swept_and_written() {
    let mut bench = Bench::new();
    let number = KV_PART_ENTRIES_MAX * 2 + 1;
    for key in 0..number {
        let ttl = (key % 2 == 0).then_some(Duration::from_millis(10));
        bench.kv.set(&one(), &format!("{key:06}"), b"v", ttl).unwrap();
    }
    bench.kv.write_behind().unwrap();
    bench.clock.advance(10);
    bench.kv.sweep();
    assert_eq!(bench.kv.scope(&one()).lock().entries.len(), number / 2);
    bench.kv.write_behind().unwrap();
    bench.clock.advance(-10);
    bench.reload();
    assert_eq!(bench.kv.scope(&one()).lock().entries.len(), number / 2, "what was swept is gone from the database too");
}

#[test]
fn a_counter_keeps_the_end_of_its_life_and_starts_anew_after_it() {
    let bench = Bench::new();
    let ttl = Some(Duration::from_millis(100));
    assert_eq!(bench.kv.increment(&one(), "c", 1, ttl).unwrap(), 1);
    bench.clock.advance(60);
    assert_eq!(bench.kv.increment(&one(), "c", 2, ttl).unwrap(), 3);
    bench.clock.advance(40);
    assert_eq!(bench.kv.increment(&one(), "c", 5, ttl).unwrap(), 5);
    assert_eq!(bench.value(&one(), "c").as_deref(), Some(&b"5"[..]));
}

#[test]
fn what_is_no_counter_is_not_incremented() {
    let bench = Bench::new();
    bench.kv.set(&one(), "k", b"v", None).unwrap();
    assert_eq!(bench.kv.increment(&one(), "k", 1, None), Err(KvError::WrongType));
    assert_eq!(bench.value(&one(), "k").as_deref(), Some(&b"v"[..]));
}

#[test]
fn only_the_first_of_two_writers_wins() {
    let bench = Bench::new();
    let first = bench.kv.compare_and_set(&one(), "k", None, b"1", None).unwrap().unwrap();
    assert_eq!(bench.kv.compare_and_set(&one(), "k", None, b"2", None).unwrap(), None);
    assert!(bench.kv.compare_and_set(&one(), "k", Some(first), b"3", None).unwrap().is_some());
    assert_eq!(bench.kv.compare_and_set(&one(), "k", Some(first), b"4", None).unwrap(), None);
    assert_eq!(bench.value(&one(), "k").as_deref(), Some(&b"3"[..]));
}

#[test]
fn a_deleted_key_never_has_an_old_version_again_not_even_after_a_restart() {
    let mut bench = Bench::new();
    let first = bench.kv.set(&one(), "k", b"1", None).unwrap();
    bench.kv.delete(&one(), "k").unwrap();
    bench.kv.write_behind().unwrap();
    bench.clock.advance(1);
    bench.reload();
    assert!(bench.kv.set(&one(), "k", b"2", None).unwrap() > first);
}

#[test]
fn what_was_written_behind_is_there_after_a_restart_and_what_was_deleted_is_not() {
    let mut bench = Bench::new();
    bench.kv.set(&one(), "keep", b"1", None).unwrap();
    bench.kv.set(&one(), "drop", b"2", None).unwrap();
    bench.kv.set(&one(), "end", b"3", Some(Duration::from_millis(10))).unwrap();
    assert!(bench.kv.write_behind().unwrap());
    bench.kv.delete(&one(), "drop").unwrap();
    assert!(bench.kv.write_behind().unwrap());
    assert!(!bench.kv.write_behind().unwrap(), "nothing changed, nothing is written");
    bench.clock.advance(10);
    bench.reload();
    assert_eq!(bench.kv.keys(&one(), "", None, 10).unwrap(), ["keep"]);
    assert_eq!(bench.value(&one(), "keep").as_deref(), Some(&b"1"[..]));
}

#[test]
fn the_quota_holds_and_expired_entries_do_not_count() {
    let mut bench = Bench::new();
    bench.kv.scope_bytes_max = 3 * (KV_ENTRY_OVERHEAD_BYTES + 11);
    for key in ["a", "b"] {
        bench.kv.set(&one(), key, &[0; 10], None).unwrap();
    }
    bench.kv.set(&one(), "c", &[0; 10], Some(Duration::from_millis(10))).unwrap();
    assert!(matches!(bench.kv.set(&one(), "d", &[0; 10], None), Err(KvError::Quota { .. })));
    bench.kv.set(&one(), "a", &[1; 10], None).unwrap();
    bench.clock.advance(10);
    bench.kv.set(&one(), "d", &[0; 10], None).unwrap();
    assert_eq!(bench.kv.keys(&one(), "", None, 10).unwrap(), ["a", "b", "d"]);
}

#[test]
fn what_is_too_large_is_refused() {
    let bench = Bench::new();
    let long = "k".repeat(KV_KEY_BYTES_MAX + 1);
    assert_eq!(bench.kv.set(&one(), &long, b"", None), Err(KvError::TooLarge));
    assert_eq!(bench.kv.increment(&one(), &long, 1, None), Err(KvError::TooLarge));
    assert_eq!(bench.kv.set(&one(), "k", &vec![0; KV_VALUE_BYTES_MAX + 1], None), Err(KvError::TooLarge));
}

#[test]
fn keys_come_in_order_and_in_pages() {
    let bench = Bench::new();
    for key in ["b/2", "a", "b/1", "b/3", "c"] {
        bench.kv.set(&one(), key, b"", None).unwrap();
    }
    assert_eq!(bench.kv.keys(&one(), "b/", None, 2).unwrap(), ["b/1", "b/2"]);
    assert_eq!(bench.kv.keys(&one(), "b/", Some("b/2"), 2).unwrap(), ["b/3"]);
    assert_eq!(bench.kv.keys(&one(), "b/", Some("a"), 1).unwrap(), ["b/1"]);
}

#[test]
fn a_place_that_is_forgotten_is_forgotten_for_good() {
    let mut bench = Bench::new();
    bench.kv.set(&one(), "k", b"v", None).unwrap();
    bench.kv.write_behind().unwrap();
    bench.kv.forget(&one().tenant, "server/a");
    bench.kv.write_behind().unwrap();
    bench.reload();
    assert_eq!(bench.value(&one(), "k"), None);
}

#[derive(Debug, Clone)]
enum Op {
    Set(u8, Vec<u8>),
    Delete(u8),
    Reload,
}

fn operation() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..6_u8, proptest::collection::vec(any::<u8>(), 0..8)).prop_map(|(key, value)| Op::Set(key, value)),
        2 => (0..6_u8).prop_map(Op::Delete),
        1 => Just(Op::Reload),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever happens in between, it behaves like a map, and its count of bytes is right.
    #[test]
    fn it_behaves_like_a_map(operations in proptest::collection::vec(operation(), 0..40)) {
        let mut bench = Bench::new();
        let mut model: HashMap<String, Vec<u8>> = HashMap::new();
        for operation in operations {
            match operation {
                Op::Set(key, value) => {
                    bench.kv.set(&one(), &key.to_string(), &value, None).unwrap();
                    model.insert(key.to_string(), value);
                }
                Op::Delete(key) => {
                    bench.kv.delete(&one(), &key.to_string()).unwrap();
                    model.remove(&key.to_string());
                }
                Op::Reload => {
                    bench.kv.write_behind().unwrap();
                    bench.reload();
                }
            }
        }
        for key in 0..6_u8 {
            let key = key.to_string();
            prop_assert_eq!(bench.value(&one(), &key), model.get(&key).cloned());
        }
        let bytes: u64 = model.iter().map(|(key, value)| cost(key, value)).sum();
        prop_assert_eq!(bench.kv.scope(&one()).lock().bytes, bytes);
    }
}
