//! One Redis, asked by the client library of the field over one connection that all questions share.
//!
//! Not with the library's own `ConnectionManager`: that makes another connection after errors of the network only, so what Redis
//! refuses while it comes up would be refused for ever, and nothing is to be restarted when it is back. Here a connection is
//! given up with the first question that it breaks off or leaves without an answer in time, and the next one makes another.

use std::sync::Arc;

use fairlead_core::secret::SecretValue;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo, RedisError,
    TlsCertificates, Value,
};
use tokio::time::{Instant, timeout_at};

use crate::StorageError;
use crate::limits::CALL_MAX;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("no answer within {CALL_MAX:?}")]
    Silent,
    #[error("{0}; is it signed by the authority of `sessionStorage.tls.ca`, for the host of `sessionStorage.address`?")]
    Untrusted(RedisError),
    #[error(transparent)]
    Failed(RedisError),
}

impl From<RedisError> for Unanswered {
    fn from(error: RedisError) -> Self {
        // As rustls says it; the library keeps no more of it than the text.
        let is_untrusted = error.is_io_error() && error.to_string().contains("invalid peer certificate");
        if is_untrusted { Self::Untrusted(error) } else { Self::Failed(error) }
    }
}

/// How a connection is encrypted.
#[derive(Debug, Clone)]
pub(crate) struct Encryption {
    /// Certificates of authorities, in PEM; those of this machine without them.
    pub(crate) authorities: Option<Vec<u8>>,
}

/// Where a Redis is.
pub(crate) struct Place<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) db: Option<u32>,
    pub(crate) encryption: Option<&'a Encryption>,
}

/// One Redis.
pub(crate) struct Redis {
    client: Client,
    current: Mutex<Option<Arc<MultiplexedConnection>>>,
    /// Whoever finds no connection makes one, and the others wait for that.
    making: tokio::sync::Mutex<()>,
}

impl Redis {
    /// Nothing is connected to yet.
    ///
    /// # Errors
    /// The address is none, the password cannot be said, or the authorities cannot be read.
    pub(crate) fn new(place: &Place<'_>, password: Option<&SecretValue>) -> Result<Self, StorageError> {
        let mut settings =
            RedisConnectionInfo::default().set_skip_set_lib_name().set_db(place.db.unwrap_or_default().into());
        if let Some(password) = password {
            // What is not text would become another password on its way.
            settings =
                settings.set_password(std::str::from_utf8(password.reveal()).map_err(|_| StorageError::Password)?);
        }
        let host = place.host.to_owned();
        let address = match place.encryption {
            None => ConnectionAddr::Tcp(host, place.port),
            Some(_) => ConnectionAddr::TcpTls { host, port: place.port, insecure: false, tls_params: None },
        };
        let no_address = |_| StorageError::Address(format!("{}:{}", place.host, place.port));
        let address = address.into_connection_info().map_err(no_address)?.set_redis_settings(settings);
        let authorities = place.encryption.and_then(|encryption| encryption.authorities.clone());
        let client = match authorities {
            None => Client::open(address).map_err(no_address)?,
            Some(root) if !has_certificate(&root) => return Err(StorageError::Authority(None)),
            Some(root) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(root) };
                Client::build_with_tls(address, certificates).map_err(|error| StorageError::Authority(Some(error)))?
            }
        };
        Ok(Self { client, current: Mutex::default(), making: tokio::sync::Mutex::default() })
    }

    /// Asks, in time or not at all. Asking the same twice must do no harm: over a connection that Redis has closed meanwhile
    /// nobody knows whether the question arrived.
    pub(crate) async fn ask(&self, question: &Cmd) -> Result<Value, Unanswered> {
        let end = Instant::now() + CALL_MAX;
        let (connection, was_there) = self.connection(end).await?;
        match self.exchange(&connection, question, end).await {
            Err(Unanswered::Failed(error)) if was_there && error.is_unrecoverable_error() => {
                let (connection, _) = self.connection(end).await?;
                self.exchange(&connection, question, end).await
            }
            answered => answered,
        }
    }

    /// The connection, and whether it was there before.
    async fn connection(&self, end: Instant) -> Result<(Arc<MultiplexedConnection>, bool), Unanswered> {
        let current = || self.current.lock().clone();
        if let Some(connection) = current() {
            return Ok((connection, true));
        }
        let _making = timeout_at(end, self.making.lock()).await.map_err(|_| Unanswered::Silent)?;
        if let Some(connection) = current() {
            return Ok((connection, true));
        }
        // The deadline is that of the question.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let made = timeout_at(end, self.client.get_multiplexed_async_connection_with_config(&config)).await;
        let connection = Arc::new(made.map_err(|_| Unanswered::Silent)??);
        *self.current.lock() = Some(Arc::clone(&connection));
        Ok((connection, false))
    }

    async fn exchange(
        &self,
        connection: &Arc<MultiplexedConnection>,
        question: &Cmd,
        end: Instant,
    ) -> Result<Value, Unanswered> {
        let mut shared = MultiplexedConnection::clone(connection);
        let answered = timeout_at(end, shared.send_packed_command(question)).await;
        let answered = match answered {
            Ok(answered) => answered.and_then(Value::extract_error).map_err(Unanswered::from),
            Err(_) => Err(Unanswered::Silent),
        };
        let is_over = match &answered {
            Ok(_) => false,
            Err(Unanswered::Silent | Unanswered::Untrusted(_)) => true,
            Err(Unanswered::Failed(error)) => error.is_unrecoverable_error(),
        };
        if is_over {
            let mut current = self.current.lock();
            // Somebody may have made another one since.
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
                *current = None;
            }
        }
        answered
    }
}

/// A file without any certificate would be an authority that nobody is signed by, and nobody would know why.
fn has_certificate(pem: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"-----BEGIN CERTIFICATE-----";
    pem.windows(BEGINNING.len()).any(|window| window == BEGINNING)
}

#[cfg(test)]
mod tests {
    use redis::cmd;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// Answers each connection by its script, one text for each thing that it reads; then hangs up, or falls silent at `None`.
    async fn scripted(scripts: Vec<Vec<Option<&'static str>>>) -> (Redis, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut silent = Vec::new();
            for script in scripts {
                let (mut stream, _) = listener.accept().await.unwrap();
                for answer in script {
                    let mut seen = [0; 256];
                    if stream.read(&mut seen).await.unwrap() == 0 {
                        break;
                    }
                    match answer {
                        Some(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                        None => {
                            silent.push(stream);
                            break;
                        }
                    }
                }
            }
            std::future::pending::<()>().await;
        });
        let place = Place { host: "127.0.0.1", port, db: None, encryption: None };
        (Redis::new(&place, None).unwrap(), tasks)
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_meanwhile_costs_nobody_an_answer() {
        let (redis, _serving) = scripted(vec![vec![Some("+OK\r\n")], vec![Some(":2\r\n")]]).await;
        assert_eq!(redis.ask(&cmd("A")).await.unwrap(), Value::Okay);
        assert_eq!(redis.ask(&cmd("B")).await.unwrap(), Value::Int(2));
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_words_of_redis_and_the_connection_stays() {
        let (redis, _serving) = scripted(vec![vec![Some("-LOADING later\r\n"), Some(":3\r\n")]]).await;
        let refused = redis.ask(&cmd("A")).await.unwrap_err().to_string();
        assert!(refused.contains("later"), "{refused}");
        assert_eq!(redis.ask(&cmd("B")).await.unwrap(), Value::Int(3));
    }

    #[tokio::test]
    async fn a_question_that_was_given_up_takes_its_connection_with_it() {
        let (redis, _serving) = scripted(vec![vec![None], vec![Some(":2\r\n")]]).await;
        let asked = std::time::Instant::now();
        assert!(matches!(redis.ask(&cmd("A")).await, Err(Unanswered::Silent)));
        assert!(asked.elapsed() < CALL_MAX * 3);
        assert_eq!(redis.ask(&cmd("B")).await.unwrap(), Value::Int(2));
    }

    #[tokio::test]
    async fn who_is_refused_at_the_door_may_come_again() {
        let refused = vec![Some("-LOADING later\r\n")];
        let (redis, _serving) = scripted(vec![refused, vec![Some("+OK\r\n"), Some(":4\r\n")]]).await;
        let redis = Redis { client: with_password(&redis), ..redis };
        assert!(redis.ask(&cmd("A")).await.is_err());
        assert_eq!(redis.ask(&cmd("B")).await.unwrap(), Value::Int(4));
    }

    /// The same Redis, where one has to say a password first.
    fn with_password(redis: &Redis) -> Client {
        let info = redis.client.get_connection_info().clone();
        let settings = RedisConnectionInfo::default().set_skip_set_lib_name().set_password("p");
        Client::open(info.set_redis_settings(settings)).unwrap()
    }
}
