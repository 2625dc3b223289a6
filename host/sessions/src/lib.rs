//! Sessions that replicas of a data plane share, in Redis.
//!
//! The id of a session opens it, so it is never written down: keys are made of its digest. What is read is believed for a
//! moment ([`limits::KNOWN_KEEP`]), because a record never changes ([`fairlead_core::session`]).

mod connection;
pub mod limits;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fairlead_core::BoxFuture;
use fairlead_core::cluster::SessionStorage;
use fairlead_core::name::ServerKey;
use fairlead_core::secret::SecretValue;
use fairlead_core::session::{SessionRecord, SessionStore, SessionStoreError};
use parking_lot::Mutex;
use redis::{Cmd, Value, cmd};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use connection::{Encryption, Place, Redis, Unanswered};
use limits::{EXPECTED_KEEP, KNOWN_KEEP, KNOWN_MAX, SESSION_KEEP, VALUE_BYTES_MAX};

/// What keys begin with where nothing is said.
const PREFIX: &str = "fairlead:";

/// Why sessions cannot be kept as it is asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is nothing to connect to.
    #[error("`sessionStorage.address` is `{0}`, and not `host:port`")]
    Address(String),
    /// It cannot be said to Redis as it is.
    #[error(
        "the password of `sessionStorage` is no UTF-8 text, and would reach Redis as another one: choose a password of text"
    )]
    Password,
    /// Nobody would be trusted.
    #[error("the certificate authority of `sessionStorage.tls` is no certificate in PEM")]
    Authority(#[source] Option<redis::RedisError>),
}

/// The sessions of one server.
pub struct RedisSessions {
    redis: Redis,
    prefix: String,
    known: Mutex<HashMap<Digest, Known>>,
    /// Redis answered the last time.
    is_there: AtomicBool,
}

type Digest = [u8; 32];

struct Known {
    record: Arc<SessionRecord>,
    until: Instant,
}

impl std::fmt::Debug for RedisSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSessions").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl RedisSessions {
    /// Sessions of a server where `storage` says. Nothing is connected to yet: a Redis that is away keeps nobody from starting.
    ///
    /// With `storage.tls` whoever answers is held against the certificates of `authorities`, or those of this machine.
    ///
    /// # Errors
    /// The address is none, the password cannot be said, or the authorities cannot be read.
    pub fn new(
        server: &ServerKey,
        storage: &SessionStorage,
        password: Option<SecretValue>,
        authorities: Option<Vec<u8>>,
    ) -> Result<Self, StorageError> {
        let address = storage.address.clone().unwrap_or_default();
        let no_address = || StorageError::Address(address.clone());
        let (host, port) = address.rsplit_once(':').ok_or_else(no_address)?;
        // A URL has a place for more than is read here.
        let is_host = !host.is_empty() && !host.contains("://");
        let port = port.parse().ok().filter(|_| is_host).ok_or_else(no_address)?;
        // As addresses of IPv6 are written before a port.
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if storage.authority().is_some() && authorities.is_none() {
            return Err(StorageError::Authority(None));
        }
        let encryption = storage.tls.as_ref().map(|_| Encryption { authorities });
        let place = Place { host, port, db: storage.db, encryption: encryption.as_ref() };
        let redis = Redis::new(&place, password.as_ref())?;
        let prefix = storage.key_prefix.as_deref().unwrap_or(PREFIX);
        Ok(Self {
            redis,
            // A session of one server opens nothing at another.
            prefix: format!("{prefix}{}:{}:", server.tenant, server.name),
            known: Mutex::default(),
            is_there: AtomicBool::new(true),
        })
    }

    fn key(&self, digest: &Digest) -> String {
        format!("{}session:{}", self.prefix, hexadecimal(digest))
    }

    fn key_of_request(&self, session: &[u8], id: &str) -> String {
        let mut both = Sha256::new();
        both.update(digest(session));
        both.update(id.as_bytes());
        format!("{}request:{}", self.prefix, hexadecimal(&both.finalize()))
    }

    async fn ask(&self, question: &Cmd) -> Result<Value, SessionStoreError> {
        let answered = self.redis.ask(question).await;
        let is_there = answered.is_ok();
        // Said once, and not for each request that meets it.
        if self.is_there.swap(is_there, Ordering::Relaxed) != is_there {
            match &answered {
                Ok(_) => tracing::info!("Redis answers again"),
                Err(error) => {
                    tracing::warn!(error = chain_of(error), "sessions cannot be looked up: Redis does not answer")
                }
            }
        }
        answered.map_err(|_| SessionStoreError::Unavailable)
    }

    /// A value, if there is one that this or another replica can have written. The library takes whatever Redis sends, so no more is
    /// asked for: one byte beyond the bound tells that there is more.
    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>, SessionStoreError> {
        match self.ask(cmd("GETRANGE").arg(key).arg(0).arg(VALUE_BYTES_MAX)).await? {
            Value::BulkString(value) if value.len() > VALUE_BYTES_MAX => {
                tracing::warn!(key, "a value in Redis is longer than any of ours, and counts as none");
                Ok(None)
            }
            // What is not there is empty, and nothing of ours is.
            Value::BulkString(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            _ => Ok(None),
        }
    }

    fn known(&self, session: &Digest) -> Option<Arc<SessionRecord>> {
        let known = self.known.lock();
        known.get(session).filter(|known| Instant::now() < known.until).map(|known| Arc::clone(&known.record))
    }

    fn learn(&self, session: Digest, record: &Arc<SessionRecord>) {
        let mut known = self.known.lock();
        let now = Instant::now();
        if known.len() >= KNOWN_MAX {
            known.retain(|_, known| now < known.until);
        }
        if known.len() < KNOWN_MAX {
            known.insert(session, Known { record: Arc::clone(record), until: now + KNOWN_KEEP });
        }
    }
}

impl SessionStore for RedisSessions {
    fn keep<'a>(
        &'a self,
        session: &'a [u8],
        record: &'a SessionRecord,
    ) -> BoxFuture<'a, Result<(), SessionStoreError>> {
        Box::pin(async move {
            let digest = digest(session);
            let value = serde_json::to_vec(record).map_err(|_| SessionStoreError::Unavailable)?;
            if value.len() > VALUE_BYTES_MAX {
                tracing::warn!(bytes = value.len(), "a session is not kept: nobody could read it again");
                return Err(SessionStoreError::Unavailable);
            }
            self.ask(&set(self.key(&digest), &value, SESSION_KEEP)).await?;
            self.learn(digest, &Arc::new(record.clone()));
            Ok(())
        })
    }

    fn find<'a>(&'a self, session: &'a [u8]) -> BoxFuture<'a, Result<Option<Arc<SessionRecord>>, SessionStoreError>> {
        Box::pin(async move {
            let digest = digest(session);
            if let Some(record) = self.known(&digest) {
                return Ok(Some(record));
            }
            let (key, keep) = (self.key(&digest), SESSION_KEEP.as_millis().to_string());
            // One after the other on one connection, so that it costs the time of one.
            let prolonged = cmd("PEXPIRE").arg(&key).arg(keep).to_owned();
            let (value, prolonged) = tokio::join!(self.read(&key), self.ask(&prolonged));
            prolonged?;
            let Some(value) = value? else { return Ok(None) };
            match serde_json::from_slice::<SessionRecord>(&value) {
                Ok(record) => {
                    let record = Arc::new(record);
                    self.learn(digest, &record);
                    Ok(Some(record))
                }
                Err(error) => {
                    tracing::warn!(%error, "a session in Redis cannot be read, and counts as none");
                    Ok(None)
                }
            }
        })
    }

    fn forget<'a>(&'a self, session: &'a [u8]) -> BoxFuture<'a, Result<(), SessionStoreError>> {
        Box::pin(async move {
            let digest = digest(session);
            self.known.lock().remove(&digest);
            self.ask(cmd("DEL").arg(self.key(&digest))).await.map(drop)
        })
    }

    fn expect<'a>(
        &'a self,
        session: &'a [u8],
        id: &'a str,
        about: &'a [u8],
    ) -> BoxFuture<'a, Result<(), SessionStoreError>> {
        Box::pin(async move {
            if about.len() > VALUE_BYTES_MAX {
                // Its stream cannot be taken up elsewhere: an answer to nothing that is known does not pass.
                tracing::debug!(bytes = about.len(), "what a request is about is too long to be remembered");
                return Ok(());
            }
            self.ask(&set(self.key_of_request(session, id), about, EXPECTED_KEEP)).await.map(drop)
        })
    }

    fn expected<'a>(
        &'a self,
        session: &'a [u8],
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, SessionStoreError>> {
        Box::pin(async move { self.read(&self.key_of_request(session, id)).await })
    }
}

/// Writes a value down for a time.
fn set(key: String, value: &[u8], keep: Duration) -> Cmd {
    let mut command = cmd("SET");
    command.arg(key).arg(value).arg("PX").arg(keep.as_millis().to_string());
    command
}

fn digest(session: &[u8]) -> Digest {
    Sha256::digest(session).into()
}

fn hexadecimal(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::with_capacity(digest.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn chain_of(error: &Unanswered) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use fairlead_core::name::{ServerName, TenantName};

    use super::*;

    fn server(name: &str) -> ServerKey {
        ServerKey { tenant: TenantName::default(), name: ServerName::new(name).unwrap() }
    }

    fn storage(address: &str) -> SessionStorage {
        SessionStorage { address: Some(address.to_owned()), ..SessionStorage::default() }
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for address in ["", "redis", ":6379", "redis:x", "redis:70000", "rediss://redis:6379"] {
            let error = RedisSessions::new(&server("a"), &storage(address), None, None).err().unwrap().to_string();
            assert!(error.contains(&format!("`{address}`, and not `host:port`")), "{error}");
        }
        assert!(RedisSessions::new(&server("a"), &storage("redis:6379"), None, None).is_ok());
    }

    #[test]
    fn a_password_that_is_no_text_is_refused_and_not_changed_on_its_way() {
        let with = |password: &[u8]| {
            let password = Some(SecretValue::new(password));
            RedisSessions::new(&server("a"), &storage("redis:6379"), password, None).map(drop)
        };
        let error = with(b"p\xffq").unwrap_err();
        assert!(matches!(error, StorageError::Password), "{error}");
        with("päß".as_bytes()).unwrap();
    }

    #[test]
    fn an_authority_that_is_none_is_refused_before_anybody_is_trusted() {
        let storage = SessionStorage { tls: Some(Box::default()), ..storage("redis:6379") };
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for authority in [&b""[..], b"no certificate", broken] {
            let made = RedisSessions::new(&server("a"), &storage, None, Some(authority.to_vec()));
            assert!(matches!(made, Err(StorageError::Authority(_))), "{authority:?}");
        }
        assert!(RedisSessions::new(&server("a"), &storage, None, None).is_ok());
    }

    #[test]
    fn keys_tell_servers_sessions_and_requests_apart_and_no_session_id() {
        let [one, two] = ["a", "b"].map(|name| RedisSessions::new(&server(name), &storage("r:1"), None, None).unwrap());
        let key = |sessions: &RedisSessions, id: &[u8]| sessions.key(&digest(id));
        assert_eq!(key(&one, b"secret"), key(&one, b"secret"));
        assert_ne!(key(&one, b"secret"), key(&two, b"secret"));
        assert_ne!(key(&one, b"secret"), key(&one, b"other"));
        assert!(!key(&one, b"secret").contains("secret") && key(&one, b"secret").starts_with("fairlead:default:a:"));
        let requests = [(&b"s"[..], "1"), (b"s", "\"1\""), (b"t", "1"), (b"s", "11")];
        let keys: std::collections::HashSet<String> =
            requests.into_iter().map(|(session, id)| one.key_of_request(session, id)).collect();
        assert_eq!(keys.len(), requests.len());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_is_believed_for_a_moment_only() {
        let sessions = RedisSessions::new(&server("a"), &storage("r:1"), None, None).unwrap();
        sessions.learn(digest(b"s"), &Arc::default());
        assert!(sessions.find(b"s").await.unwrap().is_some());
        tokio::time::advance(KNOWN_KEEP).await;
        assert_eq!(sessions.known(&digest(b"s")), None);
    }

    #[tokio::test]
    async fn a_redis_that_is_not_there_is_said_to_be_away() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let sessions = RedisSessions::new(&server("a"), &storage(&free.to_string()), None, None).unwrap();
        assert_eq!(sessions.find(b"s").await, Err(SessionStoreError::Unavailable));
        assert_eq!(sessions.keep(b"s", &SessionRecord::default()).await, Err(SessionStoreError::Unavailable));
    }
}
