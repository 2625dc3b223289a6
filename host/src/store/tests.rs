//! The laws of the store: what was acknowledged is there, and what is not whole is not opened.

use std::fs;

use fairlead_core::name::{ServerName, TenantName};
use fairlead_core::server::{Isolation, ServerSpec, Source, Transport};
use fairlead_core::status::Desired;
use jiff::Timestamp;

use super::*;

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }
}

fn open(path: &Path) -> Result<Arc<SledStore>, OpenError> {
    SledStore::open(path, Arc::new(Frozen))
}

fn record(name: &str) -> ServerRecord {
    ServerRecord {
        key: ServerKey { tenant: TenantName::default(), name: ServerName::new(name).unwrap() },
        spec: ServerSpec {
            source: Source::Command { program: "cat".into(), args: vec!["x".repeat(500)], directory: None },
            transport: Transport::Stdio,
            isolation: Isolation::Session,
            bridge: false,
            env: [("A".to_owned(), "b".to_owned())].into(),
            tools: vec!["t".into()],
            plugins: Vec::new(),
            updates: None,
            group: Default::default(),
            labels: Default::default(),
            annotations: Default::default(),
        },
        desired: Desired::Running,
        created: Frozen.now(),
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let leftover = Leftover { key: record("a").key, workload: "42".into() };
    {
        let store = open(home.path()).unwrap();
        for name in ["a", "b", "c"] {
            store.put_server(&record(name)).await.unwrap();
        }
        store.remove_server(&record("b").key).await.unwrap();
        store.put_leftover(&leftover).await.unwrap();
    }
    let store = open(home.path()).unwrap();
    assert_eq!(store.servers().await.unwrap(), [record("a"), record("c")]);
    assert_eq!(store.leftovers().await.unwrap(), std::slice::from_ref(&leftover));
    store.remove_leftover(&leftover).await.unwrap();
    assert!(store.leftovers().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_newer_store_is_refused_with_both_versions() {
    let home = tempfile::tempdir().unwrap();
    drop(open(home.path()).unwrap());
    let seal = r#"{"schema":7,"writtenBy":"3.2.1","generation":0,"more":true}"#;
    fs::write(seal::path(home.path()), seal).unwrap();
    let error = open(home.path()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 7, .. }), "{error}");
    assert!(error.to_string().contains("schema 7") && error.to_string().contains("schema 3"), "{error}");
    assert!(error.hint().contains("3.2.1"), "{}", error.hint());
}

#[tokio::test]
async fn a_database_of_a_newer_schema_is_refused_even_if_the_seal_is_not() {
    let home = tempfile::tempdir().unwrap();
    {
        let store = open(home.path()).unwrap();
        store.meta.insert(META_SCHEMA, "4".as_bytes()).unwrap();
        store.db.flush().unwrap();
    }
    assert!(matches!(open(home.path()).unwrap_err(), OpenError::Newer { found: 4, .. }));
}

#[tokio::test]
async fn an_older_store_is_taken_over_with_all_that_it_has() {
    let home = tempfile::tempdir().unwrap();
    {
        let store = open(home.path()).unwrap();
        store.put_server(&record("a")).await.unwrap();
        store.meta.insert(META_SCHEMA, "1".as_bytes()).unwrap();
        store.db.flush().unwrap();
    }
    let older = seal::read(home.path()).unwrap().unwrap();
    seal::write(home.path(), &Seal { schema: 1, ..older }).unwrap();
    assert_eq!(open(home.path()).unwrap().servers().await.unwrap(), [record("a")]);
    assert_eq!(seal::read(home.path()).unwrap().unwrap().schema, SCHEMA);
}

/// Cut anywhere, the store either has every acknowledged server or says that it is damaged; it is never merely emptier.
#[tokio::test]
async fn a_truncated_store_is_refused_or_whole() {
    let home = tempfile::tempdir().unwrap();
    let whole = home.path().join("whole");
    let names: Vec<String> = (0..40).map(|n| format!("s{n:02}")).collect();
    {
        let store = open(&whole).unwrap();
        for name in &names {
            store.put_server(&record(name)).await.unwrap();
        }
    }
    let length = fs::metadata(whole.join("sled/db")).unwrap().len();
    let mut refused = 0;
    for part in 0..16 {
        let cut = home.path().join(format!("cut-{part}"));
        copy(&whole, &cut);
        fs::OpenOptions::new().write(true).open(cut.join("sled/db")).unwrap().set_len(length * part / 16).unwrap();
        match open(&cut) {
            Ok(store) => assert_eq!(store.servers().await.unwrap().len(), names.len(), "cut at {part}/16"),
            Err(error) => {
                assert!(matches!(error, OpenError::Damaged { .. }), "cut at {part}/16: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "a database without its first bytes cannot be whole");
}

#[tokio::test]
async fn a_store_without_its_seal_or_database_is_refused() {
    let home = tempfile::tempdir().unwrap();
    open(home.path()).unwrap().put_server(&record("a")).await.unwrap();
    let kept = fs::read(seal::path(home.path())).unwrap();
    fs::remove_file(seal::path(home.path())).unwrap();
    assert!(matches!(open(home.path()).unwrap_err(), OpenError::Damaged { .. }));
    fs::write(seal::path(home.path()), &kept).unwrap();
    fs::remove_dir_all(home.path().join("sled")).unwrap();
    assert!(matches!(open(home.path()).unwrap_err(), OpenError::Damaged { .. }));
    fs::write(seal::path(home.path()), "{").unwrap();
    assert!(matches!(open(home.path()).unwrap_err(), OpenError::Damaged { .. }));
}

#[tokio::test]
async fn a_damaged_record_is_named() {
    let home = tempfile::tempdir().unwrap();
    {
        let store = open(home.path()).unwrap();
        store.put_server(&record("a")).await.unwrap();
        store.servers.insert("default/a", &b"{\"version\":1,\"record\":{}}"[..]).unwrap();
        store.db.flush().unwrap();
    }
    let error = open(home.path()).unwrap_err();
    assert!(error.to_string().contains("default/a"), "{error}");
}

#[tokio::test]
async fn a_damaged_store_that_is_put_aside_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("store");
    assert_eq!(SledStore::put_aside(&path, &Frozen).unwrap(), None);
    open(&path).unwrap().put_server(&record("a")).await.unwrap();
    let aside = SledStore::put_aside(&path, &Frozen).unwrap().unwrap();
    assert!(open(&path).unwrap().servers().await.unwrap().is_empty());
    assert_eq!(open(&aside).unwrap().servers().await.unwrap(), [record("a")]);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_database_that_was_killed_while_it_was_made_is_made_again_and_one_that_holds_something_never() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    drop(open(&path).unwrap());
    let database = path.join("sled").join("db");
    fs::write(&database, vec![0xaa; 70_000]).unwrap();
    drop(open(&path).unwrap());
    let store = open(&path).unwrap();
    store.put_server(&record("a")).await.unwrap();
    drop(store);
    fs::write(&database, vec![0xaa; 70_000]).unwrap();
    assert!(matches!(open(&path), Err(OpenError::Damaged { .. })));
}

#[tokio::test]
async fn a_snapshot_that_a_kill_cut_short_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    open(&path).unwrap().put_server(&record("a")).await.unwrap();
    for torn in [&b""[..], b"half a snapshot"] {
        fs::write(path.join("sled").join("snap.FFFFFFFFFFFFFFFF.generating"), torn).unwrap();
        assert_eq!(open(&path).unwrap().servers().await.unwrap().len(), 1);
    }
}
