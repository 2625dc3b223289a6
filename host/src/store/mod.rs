//! The state of the daemon: servers, what was started and not yet seen to end, and the state of plugins.
//!
//! sled behind the ports of the core, one tree per kind of record, records as JSON with a version (ADR 0002). A record is on
//! disk before anybody is told that it exists. A store that is newer, damaged or incomplete is refused with the remedy; it
//! is never emptied in silence, because an empty store looks exactly like a user without servers.

mod freshness;
mod journal;
mod kv;
mod room;
mod scratch;
mod seal;

use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fairlead_core::BoxFuture;
use fairlead_core::clock::Clock;
use fairlead_core::freshness::{Deployed, Freshness};
use fairlead_core::name::ServerKey;
use fairlead_core::policy::PolicyRecord;
use fairlead_core::store::{GroupRecord, Leftover, PluginRecord, ServerRecord, Store, StoreError};
use fairlead_core::tenant::{TenantRecord, TokenRecord};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use kv::{MemoryKv, REHEARSAL};
pub(crate) use scratch::{Scratch, ScratchError};
use seal::Seal;

use crate::limits::STORE_CACHE_BYTES_MAX;
use crate::private;
use crate::text;

/// Version of everything in the store. It grows when an older program could not read it any more, or would leave out what
/// must not be left out: 2 brought the plugins of the platform and of tenants, without which servers would be unguarded; 3
/// what is deployed, without which a server would run what its tag names now.
const SCHEMA: u32 = 3;

/// Version of the encoding of one record.
const RECORD: u32 = 1;

const META_SCHEMA: &[u8] = b"schema";
const META_GENERATION: &[u8] = b"generation";

/// Why the store does not open.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// A newer program made it.
    #[error("the state store at `{}` has schema {found}, made by fairlead {written_by}; this program knows schema {SCHEMA}", path.display())]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The program that made it.
        written_by: String,
    },
    /// Something is missing or cannot be read.
    #[error("the state store at `{}` is damaged: {reason}", path.display())]
    Damaged {
        /// The store.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file system does not do what is asked.
    #[error("open the state store at `{}`", path.display())]
    Io {
        /// The store.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    /// Another program has the database open. sled tells it in a text alone.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.to_string().contains("could not acquire lock"))
    }

    /// What to do about it.
    #[must_use]
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Newer { written_by, .. } => {
                format!("install fairlead {written_by} or newer, or use another `FAIRLEAD_HOME`")
            }
            Self::Damaged { .. } => {
                "restore it from a backup, or run `fairlead serve --recover`: it puts the damaged store aside and starts \
                 with an empty one"
                    .to_owned()
            }
            Self::Io { .. } => "check that the directory is there and can be written, and that the disk is not full".to_owned(),
        }
    }
}

/// sled behind the store port.
pub(crate) struct SledStore {
    db: sled::Db,
    servers: sled::Tree,
    leftovers: sled::Tree,
    tenants: sled::Tree,
    policies: sled::Tree,
    tokens: sled::Tree,
    plugins: sled::Tree,
    groups: sled::Tree,
    freshness: sled::Tree,
    deployed: sled::Tree,
    meta: sled::Tree,
    path: PathBuf,
    /// The file of the database, to be synced: sled's own flush leaves that to the kernel on Linux.
    file: File,
    seal: Mutex<Seal>,
    kv: Arc<MemoryKv>,
}

impl std::fmt::Debug for SledStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SledStore {
    /// Opens or makes the store. Blocking; for one process at a time.
    ///
    /// # Errors
    /// It is newer, damaged, or the file system does not let us.
    pub(crate) fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Arc<Self>, OpenError> {
        match Self::open_guarded(path, &clock) {
            // Killed while it was made: sled cannot always read what it had written of an empty database by then.
            Err(OpenError::Damaged { .. }) if Self::holds_nothing(path) => {
                let made = path.join("sled");
                std::fs::remove_dir_all(&made)
                    .map_err(|error| OpenError::Io { path: path.to_owned(), source: error.into() })?;
                Self::open_guarded(path, &clock)
            }
            opened => opened,
        }
        .map(Arc::new)
    }

    /// sled reports some kinds of damage by panicking.
    fn open_guarded(path: &Path, clock: &Arc<dyn Clock>) -> Result<Self, OpenError> {
        std::panic::catch_unwind(AssertUnwindSafe(|| Self::open_unguarded(path, Arc::clone(clock))))
            .unwrap_or_else(|panic| Err(damaged(path, panic_text(&*panic))))
    }

    /// The seal counts every change that was acknowledged: as long as it says none, nothing can be lost.
    fn holds_nothing(path: &Path) -> bool {
        matches!(seal::read(path), Ok(Some(seal)) if seal.generation == 0) && path.join("sled").exists()
    }

    fn open_unguarded(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let io = |source: Box<dyn std::error::Error + Send + Sync>| OpenError::Io { path: path.to_owned(), source };
        private::make(path).map_err(|error| io(error.into()))?;
        room::release_if_full(path);
        let file = path.join("sled").join("db");
        let seal = match seal::read(path) {
            Ok(Some(seal)) if seal.schema > SCHEMA => {
                return Err(OpenError::Newer {
                    path: path.to_owned(),
                    found: seal.schema,
                    written_by: seal.written_by,
                });
            }
            Ok(Some(seal)) if seal.generation > 0 && !file.exists() => {
                return Err(damaged(path, format!("`{}` is missing", file.display())));
            }
            // First here, so that an older program knows at once that it is too old.
            Ok(Some(seal)) if seal.schema < SCHEMA => {
                let seal = Seal { schema: SCHEMA, written_by: env!("CARGO_PKG_VERSION").to_owned(), ..seal };
                seal::write(path, &seal).map_err(|error| io(error.into()))?;
                seal
            }
            Ok(Some(seal)) => seal,
            Ok(None) if file.exists() => {
                return Err(damaged(path, format!("`{}` is missing", seal::path(path).display())));
            }
            Ok(None) => {
                let seal = Seal { schema: SCHEMA, written_by: env!("CARGO_PKG_VERSION").to_owned(), generation: 0 };
                seal::write(path, &seal).map_err(|error| io(error.into()))?;
                seal
            }
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(damaged(path, error.to_string()));
            }
            Err(error) => return Err(io(error.into())),
        };
        let sled = |error: sled::Error| match error {
            sled::Error::Corruption { .. } | sled::Error::ReportableBug(_) => damaged(path, error.to_string()),
            other => io(other.into()),
        };
        clear_unfinished(&path.join("sled")).map_err(|error| io(error.into()))?;
        // Everything is flushed where it has to be, so the database needs no timer of its own.
        let db = sled::Config::new()
            .path(path.join("sled"))
            .cache_capacity(STORE_CACHE_BYTES_MAX)
            .flush_every_ms(None)
            .open()
            .map_err(sled)?;
        let tree = |name: &str| db.open_tree(name).map_err(sled);
        let (meta, servers, leftovers, kv) = (tree("meta")?, tree("servers")?, tree("leftovers")?, tree("kv")?);
        let (tenants, policies) = (tree("tenants")?, tree("policies")?);
        let (tokens, plugins, groups) = (tree("tokens")?, tree("plugins")?, tree("groups")?);
        let (freshness, deployed) = (tree("freshness")?, tree("deployed")?);
        check(path, &meta, &seal, sled)?;
        db.flush().map_err(sled)?;
        let kv = Arc::new(MemoryKv::load(kv, clock));
        let file = File::open(&file).map_err(|error| io(error.into()))?;
        let (path, seal) = (path.to_owned(), Mutex::new(seal));
        let store = Self {
            db,
            servers,
            leftovers,
            tenants,
            policies,
            tokens,
            plugins,
            groups,
            freshness,
            deployed,
            meta,
            path,
            file,
            seal,
            kv,
        };
        // What was begun as one change is ended, and a record that cannot be read is found now, not when somebody asks.
        match store.resume().and_then(|()| store.read_everything()) {
            Ok(()) => {
                room::reserve(&store.path);
                Ok(store)
            }
            Err(error) => Err(damaged(&store.path, text::chain(&error))),
        }
    }

    /// Puts a store aside, so that the next one starts empty. Returns where it went; `None` when there was none.
    ///
    /// # Errors
    /// The file system does not let us.
    pub(crate) fn put_aside(path: &Path, clock: &dyn Clock) -> std::io::Result<Option<PathBuf>> {
        if !path.exists() {
            return Ok(None);
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".put-aside-{}", clock.now().as_second()));
        let aside = path.with_file_name(name);
        std::fs::rename(path, &aside)?;
        Ok(Some(aside))
    }

    /// State of plugins.
    #[must_use]
    pub(crate) fn kv(&self) -> Arc<MemoryKv> {
        Arc::clone(&self.kv)
    }

    /// Writes plugin state that changed. Blocking.
    ///
    /// # Errors
    /// The disk is full, or the database does not take it; it is then written later.
    pub(crate) fn write_behind(&self) -> Result<(), StoreError> {
        if !self.kv.has_unwritten() {
            return Ok(());
        }
        room::check(&self.path)?;
        if self.kv.write_behind().map_err(failed("write to"))? {
            self.db.flush().map_err(failed("flush"))?;
        }
        Ok(())
    }

    fn read_everything(&self) -> Result<(), StoreError> {
        read_all::<ServerRecord>(&self.servers)?;
        read_all::<Leftover>(&self.leftovers)?;
        read_all::<TenantRecord>(&self.tenants)?;
        read_all::<PolicyRecord>(&self.policies)?;
        read_all::<TokenRecord>(&self.tokens)?;
        read_all::<PluginRecord>(&self.plugins)?;
        read_all::<GroupRecord>(&self.groups)?;
        read_all::<Freshness>(&self.freshness)?;
        read_all::<Deployed>(&self.deployed)?;
        Ok(())
    }

    /// One acknowledged change: record, count, disk, seal, in this order. Whatever of it a crash cuts off, the seal never
    /// counts more than the database has.
    fn change(&self, tree: &sled::Tree, key: &str, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        self.change_if(|| Ok(true), tree, key, value).map(drop)
    }

    /// The same, if `holds` says so under the lock under which all changes are made. False: it did not.
    fn change_if(
        &self,
        holds: impl FnOnce() -> Result<bool, StoreError>,
        tree: &sled::Tree,
        key: &str,
        value: Option<Vec<u8>>,
    ) -> Result<bool, StoreError> {
        let mut seal = self.seal.lock();
        if !holds()? {
            return Ok(false);
        }
        room::check(&self.path)?;
        let generation = seal.generation + 1;
        put(tree, key, value)?;
        self.meta.insert(META_GENERATION, &generation.to_be_bytes()).map_err(failed("write to"))?;
        self.db.flush().map_err(failed("flush"))?;
        self.file.sync_data().map_err(failed("sync"))?;
        let next = Seal { generation, ..seal.clone() };
        seal::write(&self.path, &next).map_err(failed("seal"))?;
        *seal = next;
        room::reserve(&self.path);
        Ok(true)
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        if let Err(error) = self.write_behind() {
            tracing::warn!(%error, "plugin state of the last moments is lost");
        }
    }
}

/// Every method is one short blocking call: what is read is in memory, and a write waits for the disk on the worker that
/// asks, which is seldom and takes about a millisecond (ADR 0002).
impl Store for SledStore {
    fn servers(&self) -> BoxFuture<'_, Result<Vec<ServerRecord>, StoreError>> {
        Box::pin(async { read_all(&self.servers) })
    }

    fn put_server<'a>(&'a self, record: &'a ServerRecord) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { self.change(&self.servers, &record.key.to_string(), Some(encode(record)?)) })
    }

    fn remove_server<'a>(&'a self, key: &'a ServerKey) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { self.change(&self.servers, &key.to_string(), None) })
    }

    fn put_leftover<'a>(&'a self, leftover: &'a Leftover) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async {
            room::check(&self.path)?;
            put(&self.leftovers, &leftover_key(leftover), Some(encode(leftover)?))?;
            self.db.flush_async().await.map_err(failed("flush")).map(drop)
        })
    }

    /// Not flushed: a leftover that is remembered too long is looked at once more, and that is all.
    fn remove_leftover<'a>(&'a self, leftover: &'a Leftover) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async {
            room::check(&self.path)?;
            put(&self.leftovers, &leftover_key(leftover), None)
        })
    }

    fn leftovers(&self) -> BoxFuture<'_, Result<Vec<Leftover>, StoreError>> {
        Box::pin(async { read_all(&self.leftovers) })
    }
}

/// How a record lies in the database.
#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    version: u32,
    record: T,
}

/// Removes snapshots that a killed daemon did not finish. sled 0.34 writes one as `snap.*.generating` and then renames it, but
/// takes every `snap.*` for a whole one when it opens, the torn one last and so first. The one before it is still there.
fn clear_unfinished(database: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(database) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Compares what the database says of itself with what the seal says of it.
fn check(
    path: &Path,
    meta: &sled::Tree,
    seal: &Seal,
    sled: impl Fn(sled::Error) -> OpenError,
) -> Result<(), OpenError> {
    match meta.get(META_SCHEMA).map_err(&sled)?.map(|bytes| std::str::from_utf8(&bytes).map(str::parse::<u32>)) {
        Some(Ok(Ok(found))) if found > SCHEMA => {
            return Err(OpenError::Newer { path: path.to_owned(), found, written_by: seal.written_by.clone() });
        }
        Some(Ok(Ok(found))) if found < SCHEMA => {
            meta.insert(META_SCHEMA, SCHEMA.to_string().as_bytes()).map_err(&sled)?;
        }
        Some(Ok(Ok(_))) => {}
        Some(_) => return Err(damaged(path, "its schema version cannot be read".to_owned())),
        None if seal.generation == 0 => {
            meta.insert(META_SCHEMA, SCHEMA.to_string().as_bytes()).map_err(&sled)?;
        }
        None => return Err(damaged(path, "it has lost its schema version".to_owned())),
    }
    let generation = match meta.get(META_GENERATION).map_err(&sled)? {
        None => 0,
        Some(bytes) => bytes
            .as_ref()
            .try_into()
            .map(u64::from_be_bytes)
            .map_err(|_| damaged(path, "its count of changes cannot be read".to_owned()))?,
    };
    if generation < seal.generation {
        let missing = seal.generation - generation;
        return Err(damaged(path, format!("{missing} of {} acknowledged changes are missing", seal.generation)));
    }
    Ok(())
}

fn put(tree: &sled::Tree, key: &str, value: Option<Vec<u8>>) -> Result<(), StoreError> {
    match value {
        Some(value) => tree.insert(key, value),
        None => tree.remove(key),
    }
    .map(drop)
    .map_err(failed("write to"))
}

fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(&Envelope { version: RECORD, record }).map_err(failed("encode a record for"))
}

fn read_all<T: DeserializeOwned>(tree: &sled::Tree) -> Result<Vec<T>, StoreError> {
    tree.iter()
        .map(|item| {
            let (key, value) = item.map_err(failed("read"))?;
            let envelope: Envelope<T> = serde_json::from_slice(&value)
                .map_err(|source| StoreError::Damaged { key: String::from_utf8_lossy(&key).into_owned(), source })?;
            Ok(envelope.record)
        })
        .collect()
}

fn leftover_key(leftover: &Leftover) -> String {
    format!("{}/{}", leftover.key, leftover.workload)
}

fn failed<E: std::error::Error + Send + Sync + 'static>(operation: &'static str) -> impl FnOnce(E) -> StoreError {
    move |source| StoreError::Io { operation, source: Box::new(source) }
}

fn damaged(path: &Path, reason: String) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), reason }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("the database gave up").to_owned()
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
