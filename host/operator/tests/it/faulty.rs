//! A proxy between an operator and the API server that is as bad as networks and API servers get: it throttles, refuses, closes
//! connections before or after a request was carried out, says nothing at all, and goes away for a while. It also counts, so a
//! test sees what was really asked, not what the operator says of itself.
//!
//! Which request meets which fault is drawn from a fixed sequence; which request comes when is not fixed, so a run is like
//! another one in kind, not in each step.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fairlead_operator::controller;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use kube::{Client, Config};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// Closes a connection, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Broken(String);

fn broken(why: impl std::fmt::Display) -> Broken {
    Broken(why.to_string())
}

/// How many of a thousand requests meet which fault.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// `429` with `Retry-After`.
    pub(crate) throttled: u64,
    /// `409`, where something is written.
    pub(crate) conflicting: u64,
    /// The connection is closed instead of a request being carried out.
    pub(crate) reset: u64,
    /// It is carried out, and the connection is closed instead of an answer.
    pub(crate) unanswered: u64,
    /// Nothing happens until whoever asks gives up.
    pub(crate) hung: u64,
    /// Also lists and watches, for which an operator waits for a minute and a half.
    pub(crate) hangs_watches: bool,
    /// Requests about the lease never arrive.
    pub(crate) cuts_lease: bool,
}

impl Faults {
    /// A bad day.
    pub(crate) const MANY: Self = Self {
        throttled: 60,
        conflicting: 40,
        reset: 40,
        unanswered: 40,
        hung: 4,
        hangs_watches: false,
        cuts_lease: false,
    };
}

/// What a request meets.
enum Fate {
    Passed,
    Throttled,
    Conflicting,
    Reset,
    Unanswered,
    Hung,
}

/// What came by, faults included.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    /// All but those about the lease.
    pub(crate) requests: u64,
    /// Those that can change something.
    pub(crate) writes: u64,
    /// When the first and the last of them were passed on.
    pub(crate) written: Option<(Instant, Instant)>,
}

/// One.
pub(crate) struct Proxy {
    state: Arc<State>,
    url: String,
    listener: JoinHandle<()>,
}

struct State {
    upstream: Client,
    faults: Mutex<Faults>,
    seen: Mutex<Seen>,
    draws: AtomicU64,
    /// Until when it is away; a change closes every connection.
    away: watch::Sender<Instant>,
    /// Watches that have not begun since it was away: the first of each is told that it comes too late.
    late: Mutex<Option<BTreeSet<String>>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Proxy {
    /// Starts one in front of the API server of a configuration.
    pub(crate) async fn start(mut upstream: Config, faults: Faults) -> Self {
        // What the API server itself refuses is passed on as it is.
        upstream.default_retry = false;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            upstream: Client::try_from(upstream).unwrap(),
            faults: Mutex::new(faults),
            seen: Mutex::default(),
            draws: AtomicU64::new(0),
            away: watch::Sender::new(Instant::now()),
            late: Mutex::default(),
        });
        let listening = listen(listener, Arc::clone(&state));
        #[expect(clippy::disallowed_methods, reason = "aborted when the proxy is dropped, and all connections with it")]
        let listener = tokio::spawn(listening);
        Self { state, url, listener }
    }

    /// How a client reaches it.
    pub(crate) fn config(&self) -> Config {
        controller::patient(Config::new(self.url.parse().unwrap()))
    }

    pub(crate) fn set(&self, faults: Faults) {
        *self.state.faults.lock().unwrap() = faults;
    }

    pub(crate) fn seen(&self) -> Seen {
        *self.state.seen.lock().unwrap()
    }

    /// Goes away, as an API server that is started anew: every connection ends, none is taken for a while, and afterwards no
    /// watch goes on where it was.
    pub(crate) fn restart(&self, time: Duration) {
        *self.state.late.lock().unwrap() = Some(BTreeSet::new());
        self.state.away.send_replace(Instant::now() + time);
    }
}

async fn listen(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let mut away = state.away.subscribe();
        if *away.borrow_and_update() > Instant::now() {
            continue;
        }
        let state = Arc::clone(&state);
        connections.spawn(async move {
            tokio::select! {
                () = connection(stream, state) => {}
                _ = away.changed() => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(|request| {
        let state = Arc::clone(&state);
        async move { state.answer(request).await }
    });
    // That it breaks is what it is for.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Broken> {
        let is_write = !matches!(*request.method(), Method::GET | Method::HEAD);
        let is_lease = request.uri().path().contains("/leases");
        let faults = *self.faults.lock().unwrap();
        if !is_lease {
            let mut seen = self.seen.lock().unwrap();
            seen.requests += 1;
            seen.writes += u64::from(is_write);
        } else if faults.cuts_lease {
            return Err(broken("no lease"));
        }
        let query = request.uri().query().unwrap_or_default();
        let is_watch = query.contains("limit=") || query.contains("watch=");
        match self.fate(&faults, is_write, is_watch) {
            Fate::Passed => self.pass(request, is_write && !is_lease).await,
            Fate::Throttled => {
                let mut refused = refusal(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests");
                refused.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
                Ok(refused)
            }
            Fate::Conflicting => Ok(refusal(StatusCode::CONFLICT, "Conflict")),
            Fate::Reset => Err(broken("reset")),
            Fate::Unanswered => {
                self.pass(request, is_write && !is_lease).await?;
                Err(broken("unanswered"))
            }
            Fate::Hung => std::future::pending().await,
        }
    }

    async fn pass(&self, request: Request<Incoming>, counts: bool) -> Result<Response<Body>, Broken> {
        if let Some(late) = self.late(&request) {
            return Ok(late);
        }
        if counts {
            let now = Instant::now();
            let mut seen = self.seen.lock().unwrap();
            seen.written = Some((seen.written.map_or(now, |(first, _)| first), now));
        }
        let (mut parts, body) = request.into_parts();
        parts.headers.remove(header::HOST);
        let body = body.collect().await.map_err(broken)?.to_bytes();
        let answer = self.upstream.send(Request::from_parts(parts, Body::from(body))).await;
        let mut answer = answer.map_err(broken)?;
        answer.headers_mut().remove(header::TRANSFER_ENCODING);
        Ok(answer)
    }

    /// The answer to the first watch of each kind after a time away: that what it goes on from is not known any more.
    fn late(&self, request: &Request<Incoming>) -> Option<Response<Body>> {
        let query = request.uri().query().unwrap_or_default();
        let begun_before = query.contains("watch=true") && query.contains("resourceVersion=");
        let is_first = self.late.lock().unwrap().as_mut()?.insert(request.uri().path().to_owned());
        (begun_before && is_first).then(|| {
            let status = json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
                                "message": "too old resource version", "reason": "Expired", "code": 410});
            let event = json!({"type": "ERROR", "object": status});
            Response::new(Body::from(format!("{event}\n").into_bytes()))
        })
    }

    fn fate(&self, faults: &Faults, is_write: bool, is_watch: bool) -> Fate {
        let mut drawn = draw(self.draws.fetch_add(1, Ordering::Relaxed)) % 1000;
        let conflicting = if is_write { faults.conflicting } else { 0 };
        let hung = if is_watch && !faults.hangs_watches { 0 } else { faults.hung };
        for (share, fate) in [
            (faults.throttled, Fate::Throttled),
            (conflicting, Fate::Conflicting),
            (faults.reset, Fate::Reset),
            (faults.unanswered, Fate::Unanswered),
            (hung, Fate::Hung),
        ] {
            match drawn.checked_sub(share) {
                None => return fate,
                Some(left) => drawn = left,
            }
        }
        Fate::Passed
    }
}

fn refusal(code: StatusCode, reason: &str) -> Response<Body> {
    let status = json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
                        "message": "so the proxy says", "reason": reason, "code": code.as_u16()});
    let mut refused = Response::new(Body::from(status.to_string().into_bytes()));
    *refused.status_mut() = code;
    refused.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    refused
}

/// The numbers of `SplitMix64`, by their place.
fn draw(place: u64) -> u64 {
    let mut z = place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
