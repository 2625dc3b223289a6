//! Requests that a guest sends (`wasi:http/outgoing-handler`): who may be called, and what of a secret leaves.
//!
//! Every request is set against the grants of its attachment by method, scheme, host and port; where the host leads is
//! decided by the dialer on the address that it connects to. Nothing is followed: a redirect is an answer like any other, and
//! what the guest makes of it is a new request with the same questions. Secrets are put into headers here, at the last
//! moment, and only on their way to a host that may have them.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use fairlead_core::address::{AddressClass, classify};
use fairlead_core::dial::{Admission, DialError, Dialed, Endpoint};
use fairlead_core::grant::Grants;
use fairlead_core::grant::http::HttpRule;
use fairlead_core::middleware::Call;
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use tokio::time::{Duration, Instant, timeout_at};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::limits::{ANSWER_HEAD_BYTES_MAX, REQUEST_BODY_BYTES_MAX, REQUEST_CHUNK_BYTES, REQUEST_MAX};
use crate::owner::Owner;
use crate::placeholders::Placeholders;
use crate::records::{self, Record};
use crate::v0_1::Level;

/// What comes of sending: the answer, and the work that its body still needs.
type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

/// Sends for one attachment.
pub(crate) struct Outgoing {
    owner: Arc<Owner>,
}

impl Outgoing {
    pub(crate) fn new(owner: Arc<Owner>) -> Self {
        Self { owner }
    }
}

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let owner = Arc::clone(&self.owner);
        Box::new(async move { send(owner, request, options.unwrap_or_default()).await })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        REQUEST_CHUNK_BYTES
    }
}

/// For a guest that is only asked who it is: every request is refused.
pub(crate) struct Nobody;

impl WasiHttpHooks for Nobody {
    fn send_request(
        &mut self,
        _: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}

/// The addresses that one request may go to.
struct Granted<'a> {
    grants: &'a Grants,
    rule: &'a HttpRule,
}

impl Admission for Granted<'_> {
    fn admits(&self, address: IpAddr) -> bool {
        self.grants.admits(self.rule, address)
    }
}

async fn send(owner: Arc<Owner>, mut request: Request<WasiBody>, options: RequestOptions) -> Result<Sent, Error> {
    let until = Instant::now() + REQUEST_MAX;
    let endpoint = endpoint(request.uri())?;
    let rule = match owner.grants.http(request.method().as_str(), endpoint.tls, &endpoint.host, endpoint.port) {
        // Tunnels would carry what no grant has seen, and `TRACE` gives headers back to whoever sent them.
        Some(rule) if !matches!(*request.method(), Method::CONNECT | Method::TRACE) => rule,
        _ => {
            refused(&owner, &format!("{} {endpoint} is not granted", request.method()));
            return Err(Error::HttpRequestDenied);
        }
    };
    let turn = timeout_at(until, Arc::clone(&owner.requests).acquire_owned()).await;
    let turn = turn.map_err(|_| Error::ConnectionLimitReached)?.map_err(|_| Error::ConnectionLimitReached)?;
    let dialed = dial(&owner, rule, &endpoint, within(until, options.connect_timeout)).await?;
    put_secrets_in(&owner, &mut request, &endpoint, &dialed)?;
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    owner.counts.request();

    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(ANSWER_HEAD_BYTES_MAX).handshake(TokioIo::new(dialed.stream)).await?;
    let request = request.map(|body| limited(body, Error::HttpRequestBodySize));
    let mut connection = Some(Box::pin(connection));
    let mut answer = pin!(sender.send_request(request));
    // Nothing is read and nothing is written unless the connection is polled, so both go on together.
    let answered = poll_fn(|context| {
        if let Some(running) = &mut connection
            && let Poll::Ready(ended) = running.as_mut().poll(context)
        {
            connection = None;
            ended?;
        }
        answer.as_mut().poll(context).map_err(Error::from)
    });
    let first_byte = within(until, options.first_byte_timeout);
    let answer = timeout_at(first_byte, answered).await.map_err(|_| Error::ConnectionReadTimeout)??;
    let answer = answer.map(|body| limited(body.map_err(Error::from), Error::HttpResponseBodySize));
    let rest = async move {
        let _turn = turn;
        let Some(connection) = connection else { return Ok(()) };
        timeout_at(until, connection).await.map_err(|_| Error::HttpResponseTimeout)?.map_err(Error::from)
    };
    Ok((answer, Box::new(rest)))
}

fn endpoint(uri: &Uri) -> Result<Endpoint, Error> {
    let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
    if authority.as_str().contains('@') {
        return Err(Error::HttpRequestUriInvalid);
    }
    let tls = uri.scheme() != Some(&Scheme::HTTP);
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    Ok(Endpoint { host: host.to_owned(), port, tls })
}

/// The earlier of the two.
fn within(until: Instant, wish: Option<Duration>) -> Instant {
    wish.and_then(|wish| Instant::now().checked_add(wish)).map_or(until, |wish| wish.min(until))
}

async fn dial(owner: &Owner, rule: &HttpRule, endpoint: &Endpoint, until: Instant) -> Result<Dialed, Error> {
    let Some(dialer) = &owner.services.dialer else {
        refused(owner, "this host calls nobody");
        return Err(Error::HttpRequestDenied);
    };
    let admission = Granted { grants: &owner.grants, rule };
    let dialed = timeout_at(until, dialer.dial(endpoint, &admission)).await;
    dialed.map_err(|_| Error::ConnectionTimeout)?.map_err(|error| match error {
        DialError::Name { reason, .. } => Error::DnsError { rcode: Some(reason), info_code: None },
        DialError::Forbidden { .. } => {
            refused(owner, &format!("{error}: grant `http-private` for its address"));
            Error::DestinationIpProhibited
        }
        DialError::Connect { source, .. } => Error::Connect(source),
        DialError::Tls { source, .. } => Error::Tls(source),
        DialError::Timeout { .. } => Error::ConnectionTimeout,
    })
}

fn put_secrets_in(
    owner: &Owner,
    request: &mut Request<WasiBody>,
    endpoint: &Endpoint,
    dialed: &Dialed,
) -> Result<(), Error> {
    for value in request.headers_mut().values_mut() {
        if !Placeholders::concerns(value.as_bytes()) {
            continue;
        }
        let text = value.to_str().map_err(|_| Error::HttpRequestDenied)?;
        let filled = match owner.fill(text, Some(&endpoint.host)) {
            Ok(filled) => filled,
            Err(error) => {
                refused(owner, &error.to_string());
                return Err(Error::HttpRequestDenied);
            }
        };
        // Anybody on the way could read it; inside one's own network that is the operator's decision, made with the grant.
        if !endpoint.tls && classify(dialed.peer.ip()) == AddressClass::Public {
            refused(owner, &format!("a secret is not sent to {endpoint} without encryption"));
            return Err(Error::HttpRequestDenied);
        }
        let Ok(mut filled) = HeaderValue::from_bytes(filled.reveal()) else {
            refused(owner, "the value of a secret has characters that no header can hold");
            return Err(Error::ConfigurationError);
        };
        filled.set_sensitive(true);
        *value = filled;
    }
    Ok(())
}

/// A body that ends in an error when it is longer than it may be.
fn limited<B>(body: B, too_long: fn(Option<u64>) -> Error) -> WasiBody
where
    B: http_body::Body<Data = bytes::Bytes, Error = Error> + Send + 'static,
{
    let limit = u64::try_from(REQUEST_BODY_BYTES_MAX).unwrap_or(u64::MAX);
    let told = move |error: Box<dyn std::error::Error + Send + Sync>| {
        error.downcast::<Error>().map_or_else(|_| too_long(Some(limit)), |error| *error)
    };
    Limited::new(body, REQUEST_BODY_BYTES_MAX).map_err(told).boxed_unsync()
}

/// Tells the operator; the guest gets a code, and no reason to guess by.
fn refused(owner: &Owner, reason: &str) {
    owner.counts.request_refused();
    let message = format!("a request was refused: {reason}");
    records::write(owner, None::<&Call>, &Record { level: Level::Warn, message: &message, fields: &[] });
}
