//! One conversation with a registry server: the official API over HTTP, on whatever leads to a port of its pod.

use std::fmt;

use bytes::Bytes;
use fairlead_core::BoxFuture;
use fairlead_core::registry::Offered;
use http::header::{ACCEPT, AUTHORIZATION, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Answer, EntryName};
use crate::limits::{REGISTRY_ANSWER_BYTES_MAX, REGISTRY_CALL_MAX};
use crate::status::shortened;

/// What is not written as it is in a part of a path.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A connection to a port of a pod.
pub struct Reached {
    /// The connection.
    pub stream: TcpStream,
    /// Kept for as long as it lasts.
    pub lease: Box<dyn Lease>,
}

/// What a connection lasts by.
pub trait Lease: Send + Sync {
    /// Why it broke, as far as somebody on the way knows it.
    fn trouble(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(std::future::ready(None))
    }
}

impl Lease for () {}

impl fmt::Debug for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reached").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// Leads to pods. A port of its own, so that what is made of answers needs no node to be tested.
pub trait Reach: fmt::Debug + Send + Sync {
    /// A connection to a port of a pod.
    ///
    /// # Errors
    /// There is none, in words that are the same the next time.
    fn reach<'a>(&'a self, namespace: &'a str, pod: &'a str, port: u16) -> BoxFuture<'a, Result<Reached, String>>;
}

/// Whom a conversation is with, and who asks.
#[derive(Clone)]
pub(crate) struct Parties {
    /// The name of the Service.
    pub(crate) host: String,
    /// Of the operator, made for that registry.
    pub(crate) token: Option<String>,
    /// Reads what it says.
    pub(crate) read: fn(&str) -> Result<Offered, String>,
}

/// A conversation.
pub(crate) struct Talk {
    sender: SendRequest<Empty<Bytes>>,
    parties: Parties,
    lease: Box<dyn Lease>,
    /// What carries it is dropped with it.
    _carrying: JoinSet<()>,
}

impl Talk {
    /// Begins one.
    ///
    /// # Errors
    /// Nobody is there.
    pub(crate) async fn begin(reached: Reached, parties: Parties) -> Result<Self, String> {
        let Reached { stream, lease } = reached;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| silent())?;
        let mut carrying = JoinSet::new();
        carrying.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the conversation with a registry broke");
            }
        });
        Ok(Self { sender, parties, lease, _carrying: carrying })
    }

    /// Whether nothing more can be asked in it.
    pub(crate) fn is_over(&self) -> bool {
        self.sender.is_closed()
    }

    /// Asks for an entry.
    ///
    /// # Errors
    /// The registry says nothing now, neither about this entry nor about another.
    pub(crate) async fn ask(&mut self, entry: &EntryName) -> Result<Answer, String> {
        match timeout(REGISTRY_CALL_MAX, self.exchange(entry)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(Broken)) => Err(self.lease.trouble().await.unwrap_or_else(silent)),
            Err(_) => Err(silent()),
        }
    }

    /// Asks, and reads; what a registry refuses to everybody is an error within.
    async fn exchange(&mut self, entry: &EntryName) -> Result<Result<Answer, String>, Broken> {
        let name = utf8_percent_encode(&entry.name, ENCODED);
        let version = utf8_percent_encode(&entry.version, ENCODED);
        let path = format!("/v0.1/servers/{name}/versions/{version}?include_deleted=true");
        let mut request = Request::get(path).header(HOST, &self.parties.host).header(ACCEPT, "application/json");
        if let Some(token) = &self.parties.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let Ok(request) = request.body(Empty::new()) else {
            return Ok(Ok(Answer::Unavailable("it cannot be asked for such a name".to_owned())));
        };
        self.sender.ready().await.map_err(|_| Broken)?;
        let answer = self.sender.send_request(request).await.map_err(|_| Broken)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                // Read, so that another one can be asked for.
                let _ = Limited::new(answer.into_body(), REGISTRY_ANSWER_BYTES_MAX).collect().await;
                return Ok(Ok(Answer::Missing));
            }
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                let status = status.as_u16();
                return Ok(Err(format!(
                    "it does not let this operator read it (status {status}): give it `get` of `mcpregistries/entries`"
                )));
            }
            status => return Ok(Err(format!("it answers with status {}", status.as_u16()))),
        }
        let body = match Limited::new(answer.into_body(), REGISTRY_ANSWER_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                let why = format!("its answer is longer than {REGISTRY_ANSWER_BYTES_MAX} bytes");
                return Ok(Ok(Answer::Unavailable(why)));
            }
            Err(_) => return Err(Broken),
        };
        Ok(Ok(understood(&body, entry, self.parties.read)))
    }
}

/// The connection ended.
struct Broken;

fn silent() -> String {
    "its pod does not answer".to_owned()
}

fn understood(body: &[u8], entry: &EntryName, read: fn(&str) -> Result<Offered, String>) -> Answer {
    let read = std::str::from_utf8(body).map_err(|error| error.to_string()).and_then(read);
    match read {
        Ok(offered) if (&offered.name, &offered.version) == (&entry.name, &entry.version) => Answer::Offered(offered),
        Ok(_) => Answer::Unavailable("it answers with another entry".to_owned()),
        // What is wrong is quoted, and is as long as the answer if the registry likes.
        Err(error) => Answer::Unavailable(shortened(format!("its answer is not understood: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use fairlead_core::registry::EntryStatus;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::limits::MESSAGE_BYTES_MAX;

    const TOKEN: &str = "made-for-it";

    /// Gives each request what is told, on as many connections as it takes; and what was asked.
    async fn registry(answers: Vec<String>) -> (std::net::SocketAddr, JoinSet<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, mut tasks) = (listener.local_addr().unwrap(), JoinSet::new());
        tasks.spawn(async move {
            let (mut stream, mut asked) = (listener.accept().await.unwrap().0, Vec::new());
            for answer in answers {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                asked.push(String::from_utf8(head).unwrap());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
            asked
        });
        (address, tasks)
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    async fn talk(address: std::net::SocketAddr, token: Option<&str>) -> Talk {
        let read = |text: &str| match text {
            "" => Err("it is empty".to_owned()),
            quoted if quoted.starts_with('!') => Err(quoted.to_owned()),
            name => {
                let (name, version) = (name.to_owned(), "1+a b/ü".to_owned());
                Ok(Offered { name, version, status: EntryStatus::Active, offers: Vec::new() })
            }
        };
        let parties = Parties { host: "main-registry.team.svc".to_owned(), token: token.map(str::to_owned), read };
        let reached = Reached { stream: TcpStream::connect(address).await.unwrap(), lease: Box::new(()) };
        Talk::begin(reached, parties).await.unwrap()
    }

    fn entry() -> EntryName {
        EntryName::read("a.b/c@1+a b/ü").unwrap()
    }

    #[tokio::test]
    async fn several_entries_are_asked_for_in_one_conversation_and_only_with_a_token_where_one_is_taken() {
        for token in [None, Some(TOKEN)] {
            let answers = vec![answer("200 OK", "a.b/c"), answer("404 Not Found", "{}"), answer("200 OK", "")];
            let (address, mut tasks) = registry(answers).await;
            let mut talk = talk(address, token).await;
            assert!(matches!(talk.ask(&entry()).await, Ok(Answer::Offered(offered)) if offered.name == "a.b/c"));
            assert_eq!(talk.ask(&entry()).await, Ok(Answer::Missing));
            let unread = Answer::Unavailable("its answer is not understood: it is empty".to_owned());
            assert_eq!(talk.ask(&entry()).await, Ok(unread));
            let asked = tasks.join_next().await.unwrap().unwrap();
            let path = "GET /v0.1/servers/a.b%2Fc/versions/1%2Ba%20b%2F%C3%BC?include_deleted=true HTTP/1.1\r\n";
            assert!(asked[0].starts_with(path), "{asked:?}");
            assert!(asked[0].contains("host: main-registry.team.svc\r\n"), "{asked:?}");
            assert_eq!(asked[0].contains(&format!("authorization: Bearer {TOKEN}")), token.is_some(), "{asked:?}");
        }
    }

    #[tokio::test]
    async fn what_a_registry_says_of_everybody_is_said_of_no_entry() {
        for (status, said) in [
            ("401 Unauthorized", "mcpregistries/entries"),
            ("403 Forbidden", "(status 403)"),
            ("503 Service Unavailable", "status 503"),
            ("301 Moved Permanently", "status 301"),
        ] {
            let (address, _tasks) = registry(vec![answer(status, "")]).await;
            let refused = talk(address, Some(TOKEN)).await.ask(&entry()).await.unwrap_err();
            assert!(refused.contains(said) && !refused.contains(TOKEN), "{refused}");
        }
        // Somebody who hangs up.
        let (address, _tasks) = registry(vec![String::new()]).await;
        assert_eq!(talk(address, None).await.ask(&entry()).await, Err(silent()));
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_or_of_another_entry_is_none_and_ends_only_the_conversation() {
        let (address, _tasks) = registry(vec![answer("200 OK", "another/one")]).await;
        let other = Answer::Unavailable("it answers with another entry".to_owned());
        assert_eq!(talk(address, None).await.ask(&entry()).await, Ok(other));
        // Nor is it kept with what is wrong with it.
        let (address, _tasks) = registry(vec![answer("200 OK", &"!".repeat(REGISTRY_ANSWER_BYTES_MAX))]).await;
        let kept = talk(address, None).await.ask(&entry()).await;
        assert!(matches!(&kept, Ok(Answer::Unavailable(why)) if why.len() == MESSAGE_BYTES_MAX), "{kept:?}");
        let long = answer("200 OK", &"x".repeat(REGISTRY_ANSWER_BYTES_MAX + 1));
        let (address, _tasks) = registry(vec![long]).await;
        let mut talk = talk(address, None).await;
        let refused = talk.ask(&entry()).await;
        assert!(matches!(&refused, Ok(Answer::Unavailable(why)) if why.contains("longer than")), "{refused:?}");
        let over = async {
            while !talk.is_over() {
                tokio::task::yield_now().await;
            }
        };
        timeout(REGISTRY_CALL_MAX, over).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_that_says_nothing_is_not_waited_for_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut talk = talk(listener.local_addr().unwrap(), None).await;
        let begun = tokio::time::Instant::now();
        assert_eq!(talk.ask(&entry()).await, Err(silent()));
        assert!(begun.elapsed() <= REGISTRY_CALL_MAX + std::time::Duration::from_secs(1));
    }
}
