//! Connections to one Redis. Each carries one question at a time and belongs to whoever asks it: when a question is given up, so
//! is its connection, and no answer can ever be taken for that to another question.

use std::io;

use fairlead_core::secret::SecretValue;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::limits::{CALL_MAX, CONNECTIONS_MAX, READ_BYTES};
use crate::resp::{Nonsense, Reply, command, reply};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedisError {
    #[error("no connection to it could be made")]
    Connect(#[source] io::Error),
    #[error("the connection to it broke")]
    Broken(#[source] io::Error),
    #[error("no answer within {CALL_MAX:?}")]
    Silent,
    #[error(transparent)]
    Nonsense(#[from] Nonsense),
    #[error("it refuses: {0}")]
    Refused(String),
}

/// One Redis.
pub(crate) struct Redis {
    address: String,
    password: Option<SecretValue>,
    db: Option<u32>,
    idle: Mutex<Vec<Connection>>,
    room: Semaphore,
}

struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Redis {
    pub(crate) fn new(address: String, db: Option<u32>, password: Option<SecretValue>) -> Self {
        Self { address, password, db, idle: Mutex::default(), room: Semaphore::new(CONNECTIONS_MAX) }
    }

    /// Asks, in time or not at all. Asking the same twice must do no harm: over a connection that Redis has closed meanwhile
    /// nobody knows whether the question arrived.
    pub(crate) async fn ask(&self, words: &[&[u8]]) -> Result<Reply, RedisError> {
        timeout(CALL_MAX, self.ask_at_leisure(&command(words))).await.unwrap_or(Err(RedisError::Silent))
    }

    async fn ask_at_leisure(&self, question: &[u8]) -> Result<Reply, RedisError> {
        let _room = self.room.acquire().await.map_err(|error| RedisError::Connect(io::Error::other(error)))?;
        let resting = self.idle.lock().pop();
        if let Some(mut connection) = resting {
            match connection.exchange(question).await {
                Err(RedisError::Broken(_)) => self.idle.lock().clear(),
                answered => return self.settle(connection, answered),
            }
        }
        let mut connection = self.connect().await?;
        let answered = connection.exchange(question).await;
        self.settle(connection, answered)
    }

    /// A connection that has given its answer can carry the next question.
    fn settle(&self, connection: Connection, answered: Result<Reply, RedisError>) -> Result<Reply, RedisError> {
        let reply = answered?;
        self.idle.lock().push(connection);
        accepted(reply)
    }

    async fn connect(&self) -> Result<Connection, RedisError> {
        let stream = TcpStream::connect(&self.address).await.map_err(RedisError::Connect)?;
        // Small questions at once; failing costs only latency.
        let _ = stream.set_nodelay(true);
        let mut connection = Connection { stream, read: Vec::new() };
        if let Some(password) = &self.password {
            accepted(connection.exchange(&command(&[b"AUTH", password.reveal()])).await?)?;
        }
        if let Some(db) = self.db.filter(|db| *db != 0) {
            accepted(connection.exchange(&command(&[b"SELECT", db.to_string().as_bytes()])).await?)?;
        }
        Ok(connection)
    }
}

fn accepted(reply: Reply) -> Result<Reply, RedisError> {
    match reply {
        Reply::Error(refusal) => Err(RedisError::Refused(refusal)),
        reply => Ok(reply),
    }
}

impl Connection {
    async fn exchange(&mut self, question: &[u8]) -> Result<Reply, RedisError> {
        self.stream.write_all(question).await.map_err(RedisError::Broken)?;
        loop {
            if let Some((answer, taken)) = reply(&self.read)? {
                self.read.drain(..taken);
                // More than was asked for: whose answer would the next one be?
                return if self.read.is_empty() { Ok(answer) } else { Err(Nonsense.into()) };
            }
            self.read.reserve(READ_BYTES);
            let read = self.stream.read_buf(&mut self.read).await.map_err(RedisError::Broken)?;
            if read == 0 {
                return Err(RedisError::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// Answers each connection by its script, one text for each thing that it reads; then hangs up, or falls silent at `None`.
    async fn scripted(scripts: Vec<Vec<Option<&'static str>>>) -> (Arc<Redis>, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
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
        (Arc::new(Redis::new(address, None, None)), tasks)
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_meanwhile_costs_nobody_an_answer() {
        let (redis, _serving) = scripted(vec![vec![Some("+OK\r\n")], vec![Some(":2\r\n")]]).await;
        assert_eq!(redis.ask(&[b"A"]).await.unwrap(), Reply::Status("OK".to_owned()));
        assert_eq!(redis.ask(&[b"B"]).await.unwrap(), Reply::Integer(2));
    }

    #[tokio::test]
    async fn an_answer_that_nobody_asked_for_ends_the_connection() {
        let (redis, _serving) = scripted(vec![vec![Some(":1\r\n:9\r\n")], vec![Some(":2\r\n")]]).await;
        assert!(matches!(redis.ask(&[b"A"]).await, Err(RedisError::Nonsense(_))));
        assert_eq!(redis.ask(&[b"B"]).await.unwrap(), Reply::Integer(2));
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_words_of_redis_and_the_connection_stays() {
        let (redis, _serving) = scripted(vec![vec![Some("-LOADING later\r\n"), Some(":3\r\n")]]).await;
        let refused = redis.ask(&[b"A"]).await.unwrap_err();
        assert_eq!(refused.to_string(), "it refuses: LOADING later");
        assert_eq!(redis.ask(&[b"B"]).await.unwrap(), Reply::Integer(3));
    }

    #[tokio::test]
    async fn a_question_that_was_given_up_takes_its_connection_with_it() {
        let (redis, _serving) = scripted(vec![vec![None], vec![Some(":2\r\n")]]).await;
        let asked = std::time::Instant::now();
        assert!(matches!(redis.ask(&[b"A"]).await, Err(RedisError::Silent)));
        assert!(asked.elapsed() < CALL_MAX * 3);
        assert_eq!(redis.ask(&[b"B"]).await.unwrap(), Reply::Integer(2));
    }
}
