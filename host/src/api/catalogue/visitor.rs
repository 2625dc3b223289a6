//! Who asks: how often, and in which tenant. Nobody needs a token unless the operator says so; who shows one sees the catalogue of
//! its tenant, and who shows a bad one sees nothing. In a cluster it is the cluster that knows tokens, and says who may read: then
//! there is one catalogue, and nobody is let in while the cluster does not answer.
//!
//! Answers go out compressed to whoever takes that: entries are texts that say the same things again and again, and a tenth of
//! their size when compressed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use fairlead_core::BoxFuture;
use fairlead_core::name::TenantName;
use fairlead_core::tenant::Caller;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use zlib_rs::{DeflateConfig, compress_bound, compress_slice};

use super::Refused;
use crate::door::Peer;
use crate::limits::{
    CATALOGUE_BURST, CATALOGUE_COMPRESS_MIN, CATALOGUE_PER_SECOND, CATALOGUE_UNANSWERED_SECS, CATALOGUE_VISITORS_MAX,
};

/// Whose catalogue is asked for.
#[derive(Debug, Clone)]
pub(super) struct Visitor(pub(super) TenantName);

/// Knows whom a token is of.
pub(crate) type Callers = Arc<dyn Fn(&str) -> Option<Caller> + Send + Sync>;

/// Asks a cluster about a token.
pub(crate) type Gate = Arc<dyn Fn(String) -> BoxFuture<'static, Passage> + Send + Sync>;

/// What a cluster says of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    /// Let them in.
    Open,
    /// It is nobody's, or not for here.
    Unknown,
    /// They are known, and may not.
    Refused,
    /// Nothing.
    Silent,
}

/// Who is let in.
pub(crate) enum Admission {
    /// Whoever has a token of ours, and everybody else unless there are `tokens_only`.
    Callers {
        /// Knows them.
        callers: Callers,
        /// Nobody is let in without a token.
        tokens_only: bool,
    },
    /// Whom a cluster lets.
    Cluster(Gate),
}

/// Those who ask.
pub(crate) struct Visitors {
    admission: Admission,
    seen: Mutex<HashMap<IpAddr, Allowance>>,
}

/// Requests that somebody may make now.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    left: f64,
    at: Instant,
}

impl Visitors {
    pub(crate) fn new(admission: Admission) -> Self {
        Self { admission, seen: Mutex::default() }
    }

    /// Takes one request of an address; when there is none, the seconds until there is.
    fn allow(&self, peer: IpAddr, now: Instant) -> Result<(), u64> {
        let peer = owner_of(peer);
        let mut seen = self.seen.lock();
        if seen.len() >= CATALOGUE_VISITORS_MAX && !seen.contains_key(&peer) {
            // Who has all of it again is as good as never seen.
            seen.retain(|_, known| known.after(now).left < CATALOGUE_BURST);
        }
        if seen.len() >= CATALOGUE_VISITORS_MAX && !seen.contains_key(&peer) {
            return Err(1);
        }
        let known = seen.entry(peer).or_insert(Allowance { left: CATALOGUE_BURST, at: now });
        *known = known.after(now);
        if known.left < 1.0 {
            return Err(1);
        }
        known.left -= 1.0;
        Ok(())
    }

    async fn tenant(&self, headers: &HeaderMap) -> Result<TenantName, Refused> {
        let refused = |status, text: &str| Err(Refused(status, text.to_owned()));
        let unknown = |text| refused(StatusCode::UNAUTHORIZED, text);
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token =
            shown.and_then(|value| value.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
        let token = token.map(|(_, token)| token.trim());
        match (&self.admission, token) {
            (Admission::Callers { callers, .. }, Some(token)) => match callers(token) {
                Some(caller) => Ok(caller.tenant.unwrap_or_default()),
                None => unknown("This token is not good"),
            },
            (Admission::Callers { tokens_only: false, .. }, None) => Ok(TenantName::default()),
            (Admission::Callers { .. }, None) => unknown("This registry needs a token"),
            (Admission::Cluster(gate), Some(token)) => match gate(token.to_owned()).await {
                Passage::Open => Ok(TenantName::default()),
                Passage::Unknown => {
                    unknown("This token is not good here: it is expired, nobody's, or made for something else")
                }
                Passage::Refused => {
                    refused(StatusCode::FORBIDDEN, "You may not `get` `mcpregistries/entries` of this registry")
                }
                Passage::Silent => {
                    refused(StatusCode::SERVICE_UNAVAILABLE, "The cluster does not say now who you are: try again")
                }
            },
            (Admission::Cluster(_), None) => unknown("This registry needs a token of its cluster"),
        }
    }
}

/// Who has an address, as far as it can be told: of IPv6 anybody has a whole network of sixty-four bits, and could be somebody else
/// at each request, and all of those who are remembered.
fn owner_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

impl Allowance {
    fn after(self, now: Instant) -> Self {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        Self { left: (self.left + passed * CATALOGUE_PER_SECOND).min(CATALOGUE_BURST), at: now }
    }
}

/// Stands before each handler.
pub(super) async fn receive(State(visitors): State<Arc<Visitors>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map(|Peer(address)| *address);
    if let Some(Err(seconds)) = peer.map(|peer| visitors.allow(peer, Instant::now())) {
        let mut response = Refused(StatusCode::TOO_MANY_REQUESTS, "Too many requests".to_owned()).into_response();
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        return response;
    }
    let tenant = match visitors.tenant(request.headers()).await {
        Ok(tenant) => tenant,
        Err(refused) => return not_let_in(refused),
    };
    request.extensions_mut().insert(Visitor(tenant));
    let by_token = request.headers().contains_key(AUTHORIZATION);
    let compressed = request.method() != Method::HEAD && takes_gzip(request.headers());
    let mut response = next.run(request).await;
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding, authorization"));
    if by_token {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
    let is_packed = response.headers().contains_key(CONTENT_ENCODING);
    if compressed && !is_packed { compress(response).await } else { response }
}

/// The answer to who wants to change something and does not say who they are.
pub(super) fn nobody(headers: &HeaderMap) -> Option<Response> {
    let text = "Whoever publishes shows a token";
    (!headers.contains_key(AUTHORIZATION)).then(|| not_let_in(Refused(StatusCode::UNAUTHORIZED, text.to_owned())))
}

fn not_let_in(refused: Refused) -> Response {
    let Refused(status, _) = refused;
    let mut response = refused.into_response();
    match status {
        StatusCode::UNAUTHORIZED => {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(CATALOGUE_UNANSWERED_SECS));
        }
        _ => {}
    }
    response
}

pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let said = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    said.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok()) == Some(0.0);
        matches!(name.trim(), "gzip" | "x-gzip" | "*") && !refused
    })
}

async fn compress(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    // What is answered here is in memory already.
    let Ok(whole) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if whole.len() < CATALOGUE_COMPRESS_MIN {
        return Response::from_parts(head, Body::from(whole));
    }
    // A page takes a millisecond; a whole catalogue takes a second, and not from a thread that serves.
    let packed =
        tokio::task::spawn_blocking(move || gzip(&whole).map_or((whole, false), |packed| (packed, true))).await;
    let Ok((bytes, packed)) = packed else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    if packed {
        head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        head.headers.remove(CONTENT_LENGTH);
    }
    Response::from_parts(head, Body::from(bytes))
}

/// Compressed; `None` where that is not possible.
pub(super) fn gzip(bytes: &[u8]) -> Option<Bytes> {
    // Sixteen more than the size of the window is how zlib is asked for the envelope of gzip.
    let config = DeflateConfig { window_bits: 15 + 16, ..DeflateConfig::new(6) };
    let mut room = vec![0; compress_bound(bytes.len()) + 32];
    let (packed, _) = compress_slice(&mut room, bytes, config);
    let length = packed.len();
    room.truncate(length);
    (length > 0).then(|| Bytes::from(room))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn visitors(tokens_only: bool) -> Visitors {
        let callers: Callers = Arc::new(|token| {
            (token == "good").then(|| Caller { tenant: TenantName::new("team").ok(), ..Caller::owner() })
        });
        Visitors::new(Admission::Callers { callers, tokens_only })
    }

    async fn asks(visitors: &Visitors, shown: Option<&str>) -> Result<String, StatusCode> {
        let mut headers = HeaderMap::new();
        headers.extend(shown.map(|shown| (AUTHORIZATION, HeaderValue::from_str(shown).unwrap())));
        visitors.tenant(&headers).await.map(|tenant| tenant.to_string()).map_err(|Refused(status, _)| status)
    }

    #[tokio::test]
    async fn a_cluster_says_who_is_let_in_and_its_silence_is_nobodys_fault() {
        let gate: Gate = Arc::new(|token| {
            Box::pin(async move {
                match token.as_str() {
                    "reader" => Passage::Open,
                    "user" => Passage::Refused,
                    "away" => Passage::Silent,
                    _ => Passage::Unknown,
                }
            })
        });
        let visitors = Visitors::new(Admission::Cluster(gate));
        for (shown, wanted) in [
            (Some("Bearer reader"), Ok("default".to_owned())),
            (Some("bearer  reader "), Ok("default".to_owned())),
            (Some("Bearer user"), Err(StatusCode::FORBIDDEN)),
            (Some("Bearer away"), Err(StatusCode::SERVICE_UNAVAILABLE)),
            (Some("Bearer x"), Err(StatusCode::UNAUTHORIZED)),
            (Some("Basic reader"), Err(StatusCode::UNAUTHORIZED)),
            (Some("reader"), Err(StatusCode::UNAUTHORIZED)),
            (None, Err(StatusCode::UNAUTHORIZED)),
        ] {
            assert_eq!(asks(&visitors, shown).await, wanted, "{shown:?}");
        }
        let header =
            |status, name: http::HeaderName| not_let_in(Refused(status, String::new())).headers().get(name).is_some();
        assert!(
            header(StatusCode::UNAUTHORIZED, WWW_AUTHENTICATE) && header(StatusCode::SERVICE_UNAVAILABLE, RETRY_AFTER)
        );
        assert!(
            !header(StatusCode::FORBIDDEN, WWW_AUTHENTICATE)
                && !header(StatusCode::SERVICE_UNAVAILABLE, WWW_AUTHENTICATE)
        );
    }

    #[tokio::test]
    async fn a_token_says_whose_catalogue_it_is_and_a_bad_one_is_none() {
        assert_eq!(asks(&visitors(false), None).await, Ok("default".to_owned()));
        assert_eq!(asks(&visitors(false), Some("Bearer good")).await, Ok("team".to_owned()));
        assert_eq!(asks(&visitors(false), Some("bearer bad")).await, Err(StatusCode::UNAUTHORIZED));
        assert_eq!(asks(&visitors(true), None).await, Err(StatusCode::UNAUTHORIZED));
        assert_eq!(asks(&visitors(true), Some("Bearer good")).await, Ok("team".to_owned()));
    }

    #[test]
    fn who_asks_too_often_waits_and_nobody_else_does() {
        let visitors = visitors(false);
        let (one, other): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let now = Instant::now();
        let mut allowed = 0;
        while visitors.allow(one, now).is_ok() {
            allowed += 1;
        }
        assert_eq!(f64::from(allowed), CATALOGUE_BURST);
        assert!(visitors.allow(other, now).is_ok());
        assert!(visitors.allow(one, now + Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_visitor_and_ipv4_is_the_same_in_its_clothes() {
        let owner = |address: &str| owner_of(address.parse().unwrap());
        assert_eq!(owner("2001:db8:1:2::1"), owner("2001:db8:1:2:ffff::9"));
        assert_ne!(owner("2001:db8:1:2::1"), owner("2001:db8:1:3::1"));
        assert_eq!(owner("::ffff:192.0.2.1"), owner("192.0.2.1"));
        let (visitors, now) = (visitors(false), Instant::now());
        let asks = |host: u16| visitors.allow(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host).into(), now);
        let mut allowed = 0_u16;
        while asks(allowed).is_ok() {
            allowed += 1;
        }
        assert_eq!(f64::from(allowed), CATALOGUE_BURST, "another address is another visitor");
    }

    #[test]
    fn what_is_compressed_is_what_it_was() {
        for (said, takes) in [("gzip", true), ("br, gzip;q=0.5", true), ("*", true), ("gzip;q=0", false), ("br", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_str(said).unwrap());
            assert_eq!(takes_gzip(&headers), takes, "{said}");
        }
        let text = "all the same ".repeat(10_000);
        let packed = gzip(text.as_bytes()).unwrap();
        assert!(packed.len() < text.len() / 20 && packed.starts_with(&[0x1f, 0x8b]));
        let mut back = vec![0; text.len() + 1];
        let config = zlib_rs::InflateConfig { window_bits: 15 + 16 };
        let (back, _) = zlib_rs::decompress_slice(&mut back, &packed, config);
        assert_eq!(back, text.as_bytes());
    }
}
