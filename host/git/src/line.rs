//! One request and its answer, for somebody who waits: over a connection of its own, within what is left of time and bytes.
//!
//! Redirects of the first question are followed, because repositories move; a login stays behind when the host changes, a way
//! out of encryption is not taken, and a server in the Internet leads nowhere but into the Internet.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fairlead_core::address::{AddressClass, classify};
use fairlead_core::dial::{Admission, Dialer, Endpoint, PublicOnly};
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::limits::{HEAD_BYTES_MAX, READ_MAX, RECEIVED_BYTES_MAX, STALL_MAX};
use crate::{GitError, Login};

/// The way to one server.
pub(crate) struct Line {
    dialer: Arc<dyn Dialer>,
    admission: Mutex<Arc<dyn Admission>>,
    login: Option<(Endpoint, HeaderValue)>,
    host: String,
    runtime: Handle,
    until: Instant,
    received: Mutex<u64>,
    /// The first thing that went wrong: what gix makes of it is further away from the cause.
    failed: Mutex<Option<GitError>>,
}

/// An answer whose content is still to come.
pub(crate) struct Answer {
    pub(crate) head: http::response::Parts,
    peer: SocketAddr,
    body: Incoming,
    connection: Option<Running>,
}

type Running = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

impl Line {
    /// The way to the server of an address.
    pub(crate) fn new(
        dialer: Arc<dyn Dialer>,
        admission: Arc<dyn Admission>,
        url: &str,
        login: Option<Login>,
    ) -> Result<Arc<Self>, GitError> {
        let wrong = |reason: &str| GitError::Address { url: shown(url), reason: reason.to_owned() };
        if url.split_once("://").is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|host| host.contains('@')))
        {
            return Err(wrong("has a login in it, which would be seen; give it as a secret"));
        }
        let (endpoint, _) = endpoint(url).ok_or_else(|| wrong("is no address of the kind `https://host/path`"))?;
        let local = matches!(endpoint.host.as_str(), "localhost" | "127.0.0.1" | "::1");
        let login = match login {
            Some(_) if !endpoint.tls && !local => return Err(wrong("is not encrypted, and a login would be seen")),
            Some(Login { user, password }) => {
                let text = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
                let mut value = HeaderValue::from_str(&text).map_err(|_| wrong("takes no such login"))?;
                value.set_sensitive(true);
                Some((endpoint.clone(), value))
            }
            None => None,
        };
        Ok(Arc::new(Self {
            dialer,
            admission: Mutex::new(admission),
            login,
            host: endpoint.to_string(),
            runtime: Handle::current(),
            until: Instant::now() + READ_MAX,
            received: Mutex::new(0),
            failed: Mutex::new(None),
        }))
    }

    /// What went wrong first, or what somebody else says did.
    pub(crate) fn cause(&self, otherwise: &dyn std::error::Error) -> GitError {
        let known = self.failed.lock().clone();
        known.unwrap_or_else(|| {
            let causes = std::iter::successors(Some(otherwise), |error| error.source());
            let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
            GitError::Protocol { host: self.host.clone(), reason: text.lines().collect::<Vec<_>>().join(" ") }
        })
    }

    /// Remembers what went wrong, in the form in which gix takes it.
    pub(crate) fn fail(&self, error: GitError) -> std::io::Error {
        let mut failed = self.failed.lock();
        let first = failed.get_or_insert(error).clone();
        std::io::Error::other(first)
    }

    pub(crate) fn unreachable(&self, reason: impl Into<String>) -> GitError {
        GitError::Unreachable { host: self.host.clone(), reason: reason.into() }
    }

    pub(crate) fn protocol(&self, reason: impl Into<String>) -> GitError {
        GitError::Protocol { host: self.host.clone(), reason: reason.into() }
    }

    pub(crate) fn denied(&self, reason: impl Into<String>) -> GitError {
        GitError::Denied { host: self.host.clone(), reason: reason.into() }
    }

    /// When the reading has to be done.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    pub(crate) fn late(&self) -> GitError {
        self.unreachable(format!("it was not read within {READ_MAX:?}"))
    }

    /// Asks, and waits for the head of the answer.
    pub(crate) fn ask(&self, method: Method, url: &str, headers: &HeaderMap, body: Bytes) -> Result<Answer, GitError> {
        let (endpoint, path) = endpoint(url).ok_or_else(|| self.protocol("it leads to an address that is none"))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse::<Uri>().map_err(|_| self.protocol("it leads to an address that is none"))?;
        *request.headers_mut() = headers.clone();
        let host = HeaderValue::from_str(&authority(&endpoint));
        request.headers_mut().insert(HOST, host.map_err(|_| self.protocol("it leads to an address that is none"))?);
        if let Some((to, login)) = &self.login
            && *to == endpoint
        {
            request.headers_mut().insert(AUTHORIZATION, login.clone());
        }
        let asked = self.once(&endpoint, request);
        let until = self.until;
        let answer = self.runtime.block_on(async { timeout_at(until, asked).await });
        let answer = answer.map_err(|_| self.late())??;
        if classify(answer.peer.ip()) == AddressClass::Public {
            *self.admission.lock() = Arc::new(PublicOnly);
        }
        Ok(answer)
    }

    async fn once(&self, endpoint: &Endpoint, request: Request<Full<Bytes>>) -> Result<Answer, GitError> {
        let admission = Arc::clone(&*self.admission.lock());
        let dialed = self.dialer.dial(endpoint, &*admission).await.map_err(|error| {
            let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
            self.unreachable(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
        })?;
        let peer = dialed.peer;
        let broken = |error: hyper::Error| self.unreachable(error.to_string());
        let handshake = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(dialed.stream)).await;
        let (mut sender, connection) = handshake.map_err(broken)?;
        let mut connection: Option<Running> = Some(Box::pin(connection));
        let mut answer = pin!(sender.send_request(request));
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
        let quiet = Instant::now() + STALL_MAX;
        let answer: Response<Incoming> = timeout_at(quiet, answered)
            .await
            .map_err(|_| self.unreachable(format!("no answer within {STALL_MAX:?}")))?
            .map_err(broken)?;
        let (head, body) = answer.into_parts();
        Ok(Answer { head, peer, body, connection })
    }

    /// The next bytes of an answer; none at its end.
    pub(crate) fn next(&self, answer: &mut Answer) -> Result<Bytes, GitError> {
        loop {
            let quiet = (Instant::now() + STALL_MAX).min(self.until);
            let frame = self.runtime.block_on(async { timeout_at(quiet, answer.frame()).await });
            let frame = match frame {
                Err(_) if quiet == self.until => return Err(self.late()),
                Err(_) => return Err(self.unreachable(format!("no byte for {STALL_MAX:?}"))),
                Ok(None) => return Ok(Bytes::new()),
                Ok(Some(frame)) => frame.map_err(|error| self.unreachable(error.to_string()))?,
            };
            let Ok(bytes) = frame.into_data() else { continue };
            let mut received = self.received.lock();
            *received += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            if *received > RECEIVED_BYTES_MAX {
                return Err(GitError::TooMuch { what: "bytes to fetch", limit: RECEIVED_BYTES_MAX });
            }
            if !bytes.is_empty() {
                return Ok(bytes);
            }
        }
    }
}

impl Answer {
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

    /// Where a redirect leads, if it is one.
    pub(crate) fn leads_to(&self, from: &str) -> Option<String> {
        let leads_on = matches!(
            self.head.status,
            StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT
        );
        let location = self.head.headers.get(http::header::LOCATION)?.to_str().ok()?;
        if !leads_on {
            return None;
        }
        if location.starts_with('/') {
            let (scheme, rest) = from.split_once("://")?;
            let authority = rest.split('/').next()?;
            return Some(format!("{scheme}://{authority}{location}"));
        }
        Some(location.to_owned())
    }
}

/// Where an address leads, and the path there.
fn endpoint(url: &str) -> Option<(Endpoint, String)> {
    let uri: Uri = url.parse().ok()?;
    let tls = match uri.scheme_str()? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    (!host.is_empty()).then_some((Endpoint { host, port, tls }, path))
}

/// Host and port, as a `Host` header has them.
fn authority(endpoint: &Endpoint) -> String {
    let host = if endpoint.host.contains(':') { format!("[{}]", endpoint.host) } else { endpoint.host.clone() };
    if endpoint.port == if endpoint.tls { 443 } else { 80 } { host } else { format!("{host}:{}", endpoint.port) }
}

/// An address without what may be secret in it.
fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "it".to_owned() };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}/{}", path.split(['?', '#']).next().unwrap_or_default())
}
