//! The store on a disk of its own: what it keeps, what it refuses, and what a crash at each step of a rotation leaves.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;

use zeroize::Zeroizing;

use super::*;

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

fn vault_with(home: &Path, environment: &[(&str, &str)]) -> Vault {
    let environment: HashMap<String, OsString> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    let lookup = Box::new(move |name: &str| environment.get(name).cloned());
    Vault::new(home.join("secrets.json"), Keys { file: home.join("secrets.key"), lookup }, Arc::new(Still))
}

fn vault(home: &Path) -> Vault {
    vault_with(home, &[])
}

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

fn set(vault: &Vault, secret: &str, value: &str) {
    vault.set(&TenantName::default(), &name(secret), SecretValue::new(value.as_bytes())).unwrap();
}

fn get(vault: &Vault, secret: &str) -> Option<String> {
    let found = vault.find(&TenantName::default(), &name(secret)).unwrap();
    found.map(|value| value.reveal_text().unwrap().to_owned())
}

#[test]
fn what_was_set_is_there_after_a_restart_and_for_its_tenant_alone() {
    let home = tempfile::tempdir().unwrap();
    set(&vault(home.path()), "a", "one");
    let again = vault(home.path());
    assert_eq!(get(&again, "a").as_deref(), Some("one"));
    let other = TenantName::new("other").unwrap();
    assert_eq!(again.find(&other, &name("a")).unwrap(), None);
    assert!(again.list(&other).unwrap().is_empty());
    assert!(again.remove(&TenantName::default(), &name("a")).unwrap());
    assert!(!again.remove(&TenantName::default(), &name("a")).unwrap());
    assert_eq!(get(&vault(home.path()), "a"), None);
}

#[test]
fn nobody_else_may_read_the_store_or_its_key() {
    use std::os::unix::fs::PermissionsExt as _;

    let home = tempfile::tempdir().unwrap();
    set(&vault(home.path()), "a", "one");
    for file in ["secrets.json", "secrets.key"] {
        let mode = std::fs::metadata(home.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_wrong_key_is_called_one_and_nothing_is_overwritten() {
    let home = tempfile::tempdir().unwrap();
    set(&vault_with(home.path(), &[("FAIRLEAD_SECRETS_KEY", "right")]), "a", "one");
    let before = std::fs::read(home.path().join("secrets.json")).unwrap();
    let wrong = vault_with(home.path(), &[("FAIRLEAD_SECRETS_KEY", "wrong")]);
    let error = wrong.set(&TenantName::default(), &name("b"), SecretValue::new(b"x")).unwrap_err();
    assert!(error.to_string().contains("the key does not open it"), "{error}");
    assert!(error.to_string().contains("FAIRLEAD_SECRETS_KEY"), "{error}");
    let error = vault(home.path()).find(&TenantName::default(), &name("a")).unwrap_err();
    assert!(matches!(error, VaultError::Key(KeyError::Absent(_))), "{error}");
    assert_eq!(std::fs::read(home.path().join("secrets.json")).unwrap(), before);
}

#[test]
fn a_store_that_was_changed_is_refused_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    set(&vault(home.path()), "a", "one");
    let path = home.path().join("secrets.json");
    let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let other = tempfile::tempdir().unwrap();
    set(&vault(other.path()), "a", "two");
    let theirs: serde_json::Value =
        serde_json::from_slice(&std::fs::read(other.path().join("secrets.json")).unwrap()).unwrap();
    file["content"] = theirs["content"].clone();
    std::fs::write(&path, file.to_string()).unwrap();
    let error = vault(home.path()).find(&TenantName::default(), &name("a")).unwrap_err();
    assert!(error.to_string().contains("changed or damaged"), "{error}");
    assert!(vault(home.path()).set(&TenantName::default(), &name("a"), SecretValue::new(b"x")).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), file.to_string());
}

#[test]
fn a_store_that_somebody_restored_is_read_again() {
    let home = tempfile::tempdir().unwrap();
    let vault = vault(home.path());
    set(&vault, "a", "one");
    let backup = std::fs::read(home.path().join("secrets.json")).unwrap();
    set(&vault, "a", "two, which is longer");
    std::fs::write(home.path().join("secrets.json"), backup).unwrap();
    assert_eq!(get(&vault, "a").as_deref(), Some("one"));
}

#[test]
fn a_rotation_moves_everything_under_a_key_that_is_new() {
    let home = tempfile::tempdir().unwrap();
    set(&vault(home.path()), "a", "one");
    let key = std::fs::read_to_string(home.path().join("secrets.key")).unwrap();
    let old = std::fs::read(home.path().join("secrets.json")).unwrap();
    assert_eq!(vault(home.path()).rotate(None, None).unwrap(), KeySource::File);
    assert_eq!(get(&vault(home.path()), "a").as_deref(), Some("one"));
    let now = std::fs::read_to_string(home.path().join("secrets.key")).unwrap();
    assert_eq!(now.lines().count(), 1);
    assert_ne!(now, key);
    std::fs::write(home.path().join("secrets.json"), old).unwrap();
    assert!(vault(home.path()).find(&TenantName::default(), &name("a")).is_err(), "the old key is gone");
}

#[test]
fn a_key_can_move_into_the_environment_and_back() {
    let home = tempfile::tempdir().unwrap();
    set(&vault(home.path()), "a", "one");
    let given = Some(Zeroizing::new(b"passphrase".to_vec()));
    vault(home.path()).rotate(Some(KeySource::Environment), given).unwrap();
    assert!(!home.path().join("secrets.key").exists());
    let inside = || vault_with(home.path(), &[("FAIRLEAD_SECRETS_KEY", "passphrase")]);
    assert_eq!(get(&inside(), "a").as_deref(), Some("one"));
    inside().rotate(Some(KeySource::File), None).unwrap();
    assert_eq!(get(&vault(home.path()), "a").as_deref(), Some("one"));
}

#[test]
fn a_crash_at_any_step_of_a_rotation_leaves_a_key_that_opens() {
    let home = tempfile::tempdir().unwrap();
    set(&vault(home.path()), "a", "one");
    let keys = || std::fs::read(home.path().join("secrets.key")).unwrap();
    let store = std::fs::read(home.path().join("secrets.json")).unwrap();
    let before = keys();
    vault(home.path()).rotate(None, None).unwrap();
    let (after, sealed_anew) = (keys(), std::fs::read(home.path().join("secrets.json")).unwrap());
    let both = [after.as_slice(), before.as_slice()].concat();
    for (keys, store) in [(&both, &store), (&both, &sealed_anew), (&after, &sealed_anew), (&before, &store)] {
        std::fs::write(home.path().join("secrets.key"), keys).unwrap();
        std::fs::write(home.path().join("secrets.json"), store).unwrap();
        assert_eq!(get(&vault(home.path()), "a").as_deref(), Some("one"));
    }
}

#[test]
fn too_large_a_secret_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let large = SecretValue::new(&vec![0; SECRET_VALUE_BYTES_MAX + 1]);
    let error = vault(home.path()).set(&TenantName::default(), &name("a"), large).unwrap_err();
    assert!(error.to_string().contains("at most"), "{error}");
}
