//! The store of secrets: one sealed file, read when it is asked for and replaced as a whole.
//!
//! What was read is kept in memory as long as the file is the same; the key as long as its header is. A file that does not
//! open is left as it is and says why: an empty store in its place would look like a user without secrets.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use fairlead_core::clock::Clock;
use fairlead_core::limits::SECRET_VALUE_BYTES_MAX;
use fairlead_core::name::TenantName;
use fairlead_core::secret::{SecretName, SecretValue};
use jiff::Timestamp;
use parking_lot::Mutex;

use super::key::{KeyError, KeySource, Keys, Material};
use super::sealed::{Content, Entry, Header, Key, SealError};
use crate::durable;
use crate::limits::SECRETS_MAX;
use crate::private;

/// Why the store did nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum VaultError {
    /// It is there and does not open.
    #[error("the store of secrets `{}` with the key in {key}: {source}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Where its key is.
        key: String,
        /// Why not.
        source: SealError,
    },
    /// There is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The file system says no.
    #[error("{operation} the store of secrets `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Too many, or too large.
    #[error("{0}")]
    Limit(String),
}

/// The store.
pub(super) struct Vault {
    path: PathBuf,
    keys: Keys,
    clock: Arc<dyn Clock>,
    opened: Mutex<Option<Opened>>,
}

/// What the file held when it was as `seen`.
struct Opened {
    seen: Option<Seen>,
    key: Arc<Key>,
    content: Content,
}

/// What changes with the file.
#[derive(PartialEq, Eq, Clone, Copy)]
struct Seen {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Vault {
    pub(super) fn new(path: PathBuf, keys: Keys, clock: Arc<dyn Clock>) -> Self {
        Self { path, keys, clock, opened: Mutex::default() }
    }

    /// A secret; `None` when there is none. Blocking, and long the first time.
    pub(super) fn find(&self, tenant: &TenantName, name: &SecretName) -> Result<Option<SecretValue>, VaultError> {
        let mut opened = self.opened.lock();
        let Some(opened) = self.current(&mut opened)? else { return Ok(None) };
        Ok(opened.content.get(tenant).and_then(|entries| entries.get(name)).map(|entry| entry.value.clone()))
    }

    /// Names of a tenant's secrets, and when they were set.
    pub(super) fn list(&self, tenant: &TenantName) -> Result<BTreeMap<SecretName, Timestamp>, VaultError> {
        let mut opened = self.opened.lock();
        let entries = self.current(&mut opened)?.and_then(|opened| opened.content.get(tenant));
        Ok(entries.into_iter().flatten().map(|(name, entry)| (name.clone(), entry.updated)).collect())
    }

    /// Stores a secret. It is on disk when this returns.
    pub(super) fn set(&self, tenant: &TenantName, name: &SecretName, value: SecretValue) -> Result<(), VaultError> {
        if value.reveal().len() > SECRET_VALUE_BYTES_MAX {
            return Err(VaultError::Limit(format!("a secret has at most {SECRET_VALUE_BYTES_MAX} bytes")));
        }
        let updated = self.clock.now();
        self.change(|content| {
            let entries = content.entry(tenant.clone()).or_default();
            if !entries.contains_key(name) && entries.len() >= SECRETS_MAX {
                return Err(VaultError::Limit(format!("there are {SECRETS_MAX} secrets, which is the limit")));
            }
            entries.insert(name.clone(), Entry { value, updated });
            Ok(())
        })
    }

    /// Forgets a secret. True if there was one.
    pub(super) fn remove(&self, tenant: &TenantName, name: &SecretName) -> Result<bool, VaultError> {
        let mut removed = false;
        self.change(|content| {
            removed = content.get_mut(tenant).is_some_and(|entries| entries.remove(name).is_some());
            content.retain(|_, entries| !entries.is_empty());
            Ok(())
        })?;
        Ok(removed)
    }

    /// Seals everything anew under a new key, in `to` or where the old one is. At every moment a crash leaves a store and a
    /// key that opens it: the new key is added, the store replaced, the old key forgotten, in this order.
    pub(super) fn rotate(&self, to: Option<KeySource>, given: Option<Material>) -> Result<KeySource, VaultError> {
        let mut guard = self.opened.lock();
        let (from, content) = match self.current(&mut guard)? {
            Some(opened) => (Some(opened.key.header.key), opened.content.clone()),
            None => (None, Content::new()),
        };
        let to = to.or(from).unwrap_or_else(|| self.keys.default_source());
        let material = self.keys.add(to, given)?;
        let header = Header::new(to).map_err(|error| self.sealed(to, error))?;
        let key = Key::derive(header, &material).map_err(|error| self.sealed(to, error))?;
        *guard = Some(self.write(Arc::new(key), content)?);
        self.keys.keep_only(to, &material)?;
        if from.is_some_and(|from| from != to)
            && let Some(from) = from
        {
            self.keys.forget(from)?;
        }
        Ok(to)
    }

    fn change(&self, change: impl FnOnce(&mut Content) -> Result<(), VaultError>) -> Result<(), VaultError> {
        let mut guard = self.opened.lock();
        let (key, mut content) = match self.current(&mut guard)? {
            Some(opened) => (Arc::clone(&opened.key), opened.content.clone()),
            None => (self.first_key()?, Content::new()),
        };
        change(&mut content)?;
        *guard = Some(self.write(key, content)?);
        Ok(())
    }

    /// A key for a store that is not there yet. One that lies in its place already is taken: a crash may have come between.
    fn first_key(&self) -> Result<Arc<Key>, VaultError> {
        let source = self.keys.default_source();
        let material = match self.keys.read(source) {
            Ok(found) => found.into_iter().next(),
            Err(KeyError::Absent(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let material = material.map_or_else(|| self.keys.add(source, None), Ok)?;
        let header = Header::new(source).map_err(|error| self.sealed(source, error))?;
        Ok(Arc::new(Key::derive(header, &material).map_err(|error| self.sealed(source, error))?))
    }

    fn write(&self, key: Arc<Key>, content: Content) -> Result<Opened, VaultError> {
        let file = key.seal(&content).map_err(|error| self.sealed(key.header.key, error))?;
        private::make_for(&self.path)
            .and_then(|()| durable::replace(&self.path, &file, 0o600))
            .map_err(|source| self.io("write", source))?;
        Ok(Opened { seen: self.look()?, key, content })
    }

    /// What is in the file now; `None` when there is none.
    fn current<'a>(&self, opened: &'a mut Option<Opened>) -> Result<Option<&'a Opened>, VaultError> {
        let seen = self.look()?;
        if seen.is_none() {
            *opened = None;
        } else if opened.as_ref().is_none_or(|known| known.seen != seen) {
            let known = opened.take().map(|known| known.key);
            *opened = Some(self.load(seen, known)?);
        }
        Ok(opened.as_ref())
    }

    fn load(&self, seen: Option<Seen>, known: Option<Arc<Key>>) -> Result<Opened, VaultError> {
        let file = std::fs::read(&self.path).map_err(|source| self.io("read", source))?;
        let header = Header::read(&file).map_err(|error| self.sealed(self.keys.default_source(), error))?;
        let source = header.key;
        if let Some(key) = known.filter(|key| key.header == header) {
            let content = key.open(&file).map_err(|error| self.sealed(source, error))?;
            return Ok(Opened { seen, key, content });
        }
        let mut refused = SealError::WrongKey;
        for material in self.keys.read(source)? {
            let key = Key::derive(header.clone(), &material).map_err(|error| self.sealed(source, error))?;
            match key.open(&file) {
                Ok(content) => return Ok(Opened { seen, key: Arc::new(key), content }),
                Err(error) => refused = error,
            }
        }
        Err(self.sealed(source, refused))
    }

    fn look(&self) -> Result<Option<Seen>, VaultError> {
        match std::fs::metadata(&self.path) {
            Ok(found) => {
                Ok(Some(Seen { inode: found.ino(), size: found.size(), changed: (found.mtime(), found.mtime_nsec()) }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.io("look at", error)),
        }
    }

    fn sealed(&self, key: KeySource, source: SealError) -> VaultError {
        VaultError::Sealed { path: self.path.clone(), key: self.keys.place(key), source }
    }

    fn io(&self, operation: &'static str, source: io::Error) -> VaultError {
        VaultError::Io { operation, path: self.path.clone(), source }
    }
}

impl VaultError {
    /// What to do about it.
    pub(super) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Sealed { source: SealError::WrongKey, .. } => {
                "start the daemon with the key that it was sealed with; a store whose key is lost is moved away, and its \
                 secrets are set anew"
                    .to_owned()
            }
            Self::Sealed { source: SealError::Changed | SealError::Form(_) | SealError::Derivation, .. } => {
                "restore it from a backup, or move it away and set its secrets anew".to_owned()
            }
            Self::Key(KeyError::Absent(place)) => format!("put the key back into {place}, or restore store and key together"),
            Self::Io { .. } => "check that the directory can be written, and that the disk is not full".to_owned(),
            Self::Key(KeyError::Keyring(_)) => {
                "unlock the keyring, or move the key: `fairlead secret rotate --key file`".to_owned()
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
