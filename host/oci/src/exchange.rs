//! One request and its answer, over a connection of its own.
//!
//! A check is one `HEAD` in a quarter of an hour, and a pull is a handful of requests: a pool of connections would hold more
//! than it saves. Redirects are followed here and nowhere else, and what authorises a request stays behind when the host
//! changes.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fairlead_core::address::{AddressClass, classify};
use fairlead_core::dial::{Admission, DialError, Dialer, Endpoint, PublicOnly};
use fairlead_core::oci::RegistryError;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout, timeout_at};

use crate::limits::{ANSWER_BYTES_MAX, HEAD_BYTES_MAX, REDIRECTS_MAX, REQUEST_MAX, STALL_MAX, TRANSFER_MAX};

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) method: Method,
    pub(crate) endpoint: Endpoint,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Question {
    pub(crate) fn new(method: Method, endpoint: &Endpoint, path: String) -> Self {
        Self { method, endpoint: endpoint.clone(), path, headers: HeaderMap::new(), body: Bytes::new() }
    }

    pub(crate) fn get(endpoint: &Endpoint, path: String) -> Self {
        Self::new(Method::GET, endpoint, path)
    }

    pub(crate) fn with(mut self, name: http::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
        self
    }

    pub(crate) fn carrying(mut self, media_type: &str, body: Bytes) -> Self {
        self.body = body;
        self.with(CONTENT_TYPE, media_type)
    }

    /// With a text that authorises it and that no log shows.
    pub(crate) fn authorised(mut self, authorisation: &str) -> Self {
        if let Ok(mut value) = HeaderValue::from_str(authorisation) {
            value.set_sensitive(true);
            self.headers.insert(AUTHORIZATION, value);
        }
        self
    }
}

/// An answer whose content is still to come.
pub(crate) struct Answer {
    pub(crate) head: http::response::Parts,
    /// Who answered, after redirects.
    pub(crate) peer: SocketAddr,
    body: Incoming,
    connection: Option<Running>,
}

type Running = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// The way to registries.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) dialer: &'a dyn Dialer,
    pub(crate) admission: &'a dyn Admission,
    /// For errors.
    pub(crate) registry: &'a str,
}

impl Line<'_> {
    /// Asks, and follows redirects of what only reads.
    pub(crate) async fn ask(&self, question: Question) -> Result<Answer, RegistryError> {
        let mut question = question;
        let mut line = *self;
        for _ in 0..=REDIRECTS_MAX {
            let answer = line.once(&question).await?;
            let leads_on = matches!(
                answer.head.status,
                StatusCode::MOVED_PERMANENTLY
                    | StatusCode::FOUND
                    | StatusCode::SEE_OTHER
                    | StatusCode::TEMPORARY_REDIRECT
                    | StatusCode::PERMANENT_REDIRECT
            );
            if !leads_on || !matches!(question.method, Method::GET | Method::HEAD) {
                return Ok(answer);
            }
            let location = answer.head.headers.get(LOCATION).and_then(|location| location.to_str().ok());
            let location = location.ok_or_else(|| self.protocol("a redirect to nowhere"))?;
            let (endpoint, path) = self.join(&question.endpoint, &question.path, location)?;
            if question.endpoint.tls && !endpoint.tls {
                return Err(self.protocol("a redirect away from encryption"));
            }
            if endpoint != question.endpoint {
                question.headers.remove(AUTHORIZATION);
            }
            // A registry somewhere in the Internet does not send us into our own network.
            if classify(answer.peer.ip()) == AddressClass::Public {
                line.admission = &PublicOnly;
            }
            (question.endpoint, question.path) = (endpoint, path);
        }
        Err(self.protocol("too many redirects"))
    }

    async fn once(&self, question: &Question) -> Result<Answer, RegistryError> {
        let until = Instant::now() + REQUEST_MAX;
        let late = |_| self.unreachable(format!("no answer within {REQUEST_MAX:?}"));
        let dialed = timeout_at(until, self.dialer.dial(&question.endpoint, self.admission)).await.map_err(late)?;
        let dialed = dialed.map_err(|error| self.unreachable(told(&error)))?;
        let peer = dialed.peer;
        let broken = |error: hyper::Error| self.unreachable(error.to_string());
        let handshake = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(dialed.stream)).await;
        let (mut sender, connection) = handshake.map_err(broken)?;
        let mut connection: Option<Running> = Some(Box::pin(connection));
        let mut answer = pin!(sender.send_request(self.request(question)?));
        // Nothing is read and nothing is written unless the connection is polled, so both go on together.
        let answered = poll_fn(|context| {
            if let Some(running) = &mut connection
                && let Poll::Ready(ended) = running.as_mut().poll(context)
            {
                connection = None;
                ended?;
            }
            answer.as_mut().poll(context)
        });
        let waited = until + transfer_time(question.body.len());
        let answer: Response<Incoming> = timeout_at(waited, answered).await.map_err(late)?.map_err(broken)?;
        let (head, body) = answer.into_parts();
        Ok(Answer { head, peer, body, connection })
    }

    fn request(&self, question: &Question) -> Result<Request<Full<Bytes>>, RegistryError> {
        let wrong = |_| self.protocol("an address that is none");
        let mut request = Request::new(Full::new(question.body.clone()));
        *request.method_mut() = question.method.clone();
        *request.uri_mut() = question.path.parse::<Uri>().map_err(|_| self.protocol("an address that is none"))?;
        *request.headers_mut() = question.headers.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(&authority(&question.endpoint)).map_err(wrong)?);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("fairlead/", env!("CARGO_PKG_VERSION"))));
        // A digest is that of the bytes that are sent.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(request)
    }

    /// An address as an answer gives it: whole, or relative to what was asked.
    pub(crate) fn join(
        &self,
        from: &Endpoint,
        path: &str,
        location: &str,
    ) -> Result<(Endpoint, String), RegistryError> {
        let wrong = || self.protocol("an address that is none");
        let uri: Uri = location.parse().map_err(|_| wrong())?;
        let onward = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let Some(authority) = uri.authority() else {
            let base = path.split('?').next().unwrap_or_default().rsplit_once('/').map_or("", |(base, _)| base);
            let absolute = if onward.starts_with('/') { onward } else { format!("{base}/{onward}") };
            return Ok((from.clone(), absolute));
        };
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok((Endpoint { host, port, tls }, onward))
    }

    pub(crate) fn unreachable(&self, reason: String) -> RegistryError {
        RegistryError::Unreachable { registry: self.registry.to_owned(), reason }
    }

    pub(crate) fn protocol(&self, reason: &str) -> RegistryError {
        RegistryError::Protocol { registry: self.registry.to_owned(), reason: reason.to_owned() }
    }
}

impl Answer {
    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            match timeout(STALL_MAX, self.frame()).await {
                Err(_) => return Err(format!("no byte for {STALL_MAX:?}")),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(error.to_string()),
                Ok(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    async fn frame(&mut self) -> Option<hyper::Result<hyper::body::Frame<Bytes>>> {
        let Self { body, connection, .. } = self;
        let mut next = pin!(body.frame());
        poll_fn(|context| {
            if let Some(running) = connection
                && running.as_mut().poll(context).is_ready()
            {
                // What went wrong is told by the body as well.
                *connection = None;
            }
            next.as_mut().poll(context)
        })
        .await
    }

    /// The whole content, when it is short and does not take for ever: a byte now and then is no stall, and no answer either.
    pub(crate) async fn whole(mut self, line: &Line<'_>, bytes_max: u64) -> Result<Bytes, RegistryError> {
        let reading = async {
            let mut whole = BytesMut::new();
            while let Some(bytes) = self.next().await.map_err(|reason| line.unreachable(reason))? {
                if u64::try_from(whole.len() + bytes.len()).unwrap_or(u64::MAX) > bytes_max {
                    return Err(RegistryError::TooLarge { subject: line.registry.to_owned(), bytes_max });
                }
                whole.extend_from_slice(&bytes);
            }
            Ok(whole.freeze())
        };
        let late = |_| line.unreachable(format!("the answer took longer than {TRANSFER_MAX:?}"));
        timeout(TRANSFER_MAX, reading).await.map_err(late)?
    }

    /// What a registry says about an error.
    pub(crate) async fn reason(self, line: &Line<'_>) -> String {
        let status = self.head.status;
        let body = self.whole(line, ANSWER_BYTES_MAX).await.unwrap_or_default();
        crate::client::reason_of(&body).unwrap_or_else(|| status.to_string())
    }
}

/// Host and port, as a `Host` header has them.
fn authority(endpoint: &Endpoint) -> String {
    let host = if endpoint.host.contains(':') { format!("[{}]", endpoint.host) } else { endpoint.host.clone() };
    if endpoint.port == if endpoint.tls { 443 } else { 80 } { host } else { format!("{host}:{}", endpoint.port) }
}

/// Time for what is sent: a second for each 64 KiB.
fn transfer_time(bytes: usize) -> Duration {
    Duration::from_secs(u64::try_from(bytes / (64 * 1024)).unwrap_or(u64::MAX).min(300))
}

/// An error with what is behind it.
fn told(error: &DialError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use fairlead_core::BoxFuture;
    use fairlead_core::dial::{Anywhere, Dialed};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinSet;

    use super::*;

    /// A registry that sends a byte now and then.
    struct Dripping(parking_lot::Mutex<JoinSet<()>>);

    impl Dialer for Dripping {
        fn dial<'a>(&'a self, _: &'a Endpoint, _: &'a dyn Admission) -> BoxFuture<'a, Result<Dialed, DialError>> {
            let (ours, mut theirs) = tokio::io::duplex(1024);
            let dripping = async move {
                let _ = theirs.read(&mut [0; 1024]).await;
                let _ = theirs.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4096\r\n\r\n").await;
                while theirs.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(STALL_MAX / 2).await;
                }
            };
            self.0.lock().spawn(dripping);
            let peer = SocketAddr::from(([192, 0, 2, 1], 443));
            Box::pin(async move { Ok(Dialed { stream: Box::new(ours), peer }) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_stalls_and_never_ends_is_none() {
        let dialer = Dripping(parking_lot::Mutex::default());
        let line = Line { dialer: &dialer, admission: &Anywhere, registry: "slow.test" };
        let endpoint = Endpoint { host: "slow.test".to_owned(), port: 443, tls: true };
        let answer = line.ask(Question::get(&endpoint, "/v2/".to_owned())).await.unwrap();
        let read = timeout(TRANSFER_MAX * 2, answer.whole(&line, ANSWER_BYTES_MAX)).await;
        let told = read.expect("still reading").unwrap_err();
        assert!(matches!(&told, RegistryError::Unreachable { reason, .. } if reason.contains("longer")), "{told}");
    }
}
