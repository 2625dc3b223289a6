//! Which headers cross the proxy.

use std::net::{IpAddr, Ipv4Addr};

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

/// Headers that `Connection` names: they concern that connection only as well.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// The headers of a client as the server gets them. One that runs elsewhere does not learn who sits behind this proxy.
///
/// What goes on is copied, instead of removing the rest from a copy: of ten headers half stays behind.
pub(super) fn outbound(headers: &HeaderMap, peer: IpAddr, is_remote: bool) -> HeaderMap {
    let named = named_by_connection(headers);
    let is_told = |name: &HeaderName| [FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO].contains(name);
    let stays = |name: &HeaderName| {
        HOP_BY_HOP.contains(name) || ENDS_HERE.contains(name) || named.contains(name) || is_remote && is_told(name)
    };
    let mut sent = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter().filter(|(name, _)| !stays(name)) {
        sent.append(name, value.clone());
    }
    if is_remote {
        return sent;
    }
    if let Some(chain) = forwarded_for(sent.get(FORWARDED_FOR), peer) {
        sent.insert(FORWARDED_FOR, chain);
    }
    if let Some(host) = headers.get(HOST) {
        sent.entry(FORWARDED_HOST).or_insert_with(|| host.clone());
    }
    sent.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    sent
}

/// Who asked, after those through whom it came. Almost always it is this machine, of which the text is known.
fn forwarded_for(before: Option<&HeaderValue>, peer: IpAddr) -> Option<HeaderValue> {
    match before.and_then(|value| value.to_str().ok()) {
        None if peer == IpAddr::V4(Ipv4Addr::LOCALHOST) => Some(HeaderValue::from_static("127.0.0.1")),
        None => HeaderValue::try_from(peer.to_string()).ok(),
        Some(before) => HeaderValue::try_from(format!("{before}, {peer}")).ok(),
    }
}

/// The headers of a server as the client gets them.
pub(super) fn inbound(headers: &mut HeaderMap) {
    let named = named_by_connection(headers);
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_is_meant_for_one_connection_or_for_us_stays_behind() {
        let seen = outbound(
            &map(&[
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

    #[test]
    fn who_asked_stands_behind_those_through_whom_it_came_and_is_not_told_elsewhere() {
        let came = map(&[("x-forwarded-for", "10.0.0.7"), ("x-forwarded-proto", "https"), ("host", "proxy:1")]);
        let peer = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let expected = map(&[
            ("x-forwarded-for", "10.0.0.7, 192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "proxy:1"),
        ]);
        assert_eq!(outbound(&came, peer, false), expected);
        assert_eq!(outbound(&HeaderMap::new(), peer, false).get("x-forwarded-for").unwrap(), "192.0.2.1");
        assert_eq!(outbound(&came, peer, true), HeaderMap::new());
    }
}
