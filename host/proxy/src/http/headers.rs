//! Which headers cross the proxy.

use std::net::IpAddr;

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, ORIGIN,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers that concern one connection only.
const HOP_BY_HOP: [HeaderName; 8] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, PROXY_AUTHENTICATE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// Headers of a client that end here: they are meant for this proxy (host, origin), are measured anew (length), or carry
/// credentials that were given to us and to nobody else. Without `accept-encoding` the server does not compress, which would
/// only hide its reply from middleware.
const ENDS_HERE: [HeaderName; 9] =
    [HOST, ORIGIN, CONTENT_LENGTH, EXPECT, ACCEPT_ENCODING, AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, FORWARDED];

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// The headers of a client as the server gets them. One that runs elsewhere does not learn who sits behind this proxy.
pub(super) fn outbound(mut headers: HeaderMap, peer: IpAddr, is_remote: bool) -> HeaderMap {
    let host = headers.get(HOST).cloned();
    strip_hop_by_hop(&mut headers);
    for name in &ENDS_HERE {
        headers.remove(name);
    }
    if is_remote {
        for name in [FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO] {
            headers.remove(name);
        }
        return headers;
    }
    let before = headers.get(FORWARDED_FOR).and_then(|value| value.to_str().ok());
    let chain = before.map_or_else(|| peer.to_string(), |before| format!("{before}, {peer}"));
    if let Ok(chain) = HeaderValue::try_from(chain) {
        headers.insert(FORWARDED_FOR, chain);
    }
    if let Some(host) = host {
        headers.entry(FORWARDED_HOST).or_insert(host);
    }
    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    headers
}

/// The headers of a server as the client gets them.
pub(super) fn inbound(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_is_meant_for_one_connection_or_for_us_stays_behind() {
        let seen = outbound(
            map(&[
                ("connection", "keep-alive, X-Once"),
                ("x-once", "1"),
                ("host", "proxy:1"),
                ("origin", "http://localhost"),
                ("authorization", "Bearer secret"),
                ("cookie", "a=b"),
                ("mcp-session-id", "s"),
                ("mcp-param-region", "eu"),
                ("traceparent", "00-1-2-01"),
                ("accept", "application/json, text/event-stream"),
            ]),
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            false,
        );
        let expected = map(&[
            ("mcp-session-id", "s"),
            ("mcp-param-region", "eu"),
            ("traceparent", "00-1-2-01"),
            ("accept", "application/json, text/event-stream"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-host", "proxy:1"),
            ("x-forwarded-proto", "http"),
        ]);
        assert_eq!(seen, expected);
    }
}
