//! What a request must be before anything else looks at it: addressed to us, by a page that may, in a form that we read.

use http::header::{ACCEPT, CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, StatusCode, Uri};

use crate::ProxyConfig;
use crate::body::Response;
use crate::reply;
use fairlead_core::jsonrpc::INVALID_REQUEST;

/// What an address names. Without the name of a server it is that of the only one that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Address<'a> {
    /// The endpoint of a server.
    Server { tenant: &'a str, server: &'a str },
    /// Its stream for clients of 2024-11-05.
    Stream { tenant: &'a str, server: &'a str },
    /// Where those clients post their messages.
    Messages { tenant: &'a str, server: &'a str },
    /// Whether this listener works.
    Health,
}

/// Where the servers of a tenant are that is not named.
const TENANT_DEFAULT: &str = "default";

impl Address<'_> {
    /// The path at which the messages of a stream are taken; empty for what is no stream.
    pub(crate) fn messages(&self) -> String {
        match self {
            Self::Stream { server: "", .. } => "/messages".to_owned(),
            Self::Stream { tenant, server } if *tenant == TENANT_DEFAULT => format!("/s/{server}/messages"),
            Self::Stream { tenant, server } => format!("/t/{tenant}/s/{server}/messages"),
            _ => String::new(),
        }
    }
}

/// `/s/<server>/mcp`, `/t/<tenant>/s/<server>/mcp`, `/mcp`, the same with `/sse` and `/messages`, or `/health`.
pub(crate) fn address(path: &str) -> Option<Address<'_>> {
    let (tenant, server) = ("", "");
    match path {
        "/health" => return Some(Address::Health),
        "/mcp" => return Some(Address::Server { tenant, server }),
        "/sse" => return Some(Address::Stream { tenant, server }),
        "/messages" => return Some(Address::Messages { tenant, server }),
        _ => {}
    }
    let (path, door) = path.rsplit_once('/')?;
    let (tenant, server) = match path.strip_prefix("/s/") {
        Some(server) => (TENANT_DEFAULT, server),
        None => path.strip_prefix("/t/")?.split_once("/s/")?,
    };
    let plain = |name: &str| !name.is_empty() && !name.contains('/');
    if !(plain(tenant) && plain(server)) {
        return None;
    }
    match door {
        "mcp" => Some(Address::Server { tenant, server }),
        "sse" => Some(Address::Stream { tenant, server }),
        "messages" => Some(Address::Messages { tenant, server }),
        _ => None,
    }
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// What nearly every client on this machine sends; it needs no parsing.
fn is_plainly_this_machine(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    matches!(name, "127.0.0.1" | "localhost") && port.bytes().all(|digit| digit.is_ascii_digit())
}

fn forbidden(text: &str) -> Response {
    reply::error(StatusCode::FORBIDDEN, None, INVALID_REQUEST, text)
}

/// Refuses what a web page must not do: a page of another origin, and a name that was bound to this machine behind the
/// browser's back.
pub(crate) fn check_origin(config: &ProxyConfig, loopback: bool, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
    let allowed = |host: &str| config.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host));
    if loopback || !config.allowed_hosts.is_empty() {
        let header = headers.get(HOST).and_then(|host| host.to_str().ok());
        let is_known = header.is_some_and(is_plainly_this_machine) || {
            let header = header.and_then(|host| host.parse::<Authority>().ok());
            let named = header.as_ref().or(uri.authority()).map(Authority::host);
            named.is_some_and(|host| is_this_machine(host) || allowed(host))
        };
        if !is_known {
            return Some(forbidden("this listener is not known under the name in `Host`"));
        }
    }
    let origin = headers.get(ORIGIN)?;
    let known = origin.to_str().is_ok_and(|origin| {
        config.allowed_origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
            || origin.parse::<Uri>().is_ok_and(|uri| {
                let web = matches!(uri.scheme_str(), Some("http" | "https"));
                web && uri.host().is_some_and(is_this_machine)
            })
    });
    (!known).then(|| forbidden("pages of this origin may not use this listener"))
}

/// Refuses a body that is not called JSON.
pub(crate) fn check_content_type(headers: &HeaderMap) -> Option<Response> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim();
    (!media_type.eq_ignore_ascii_case("application/json")).then(|| {
        let text = "`Content-Type` must be application/json";
        reply::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, None, INVALID_REQUEST, text)
    })
}

/// Refuses a client that does not take what we may have to send.
pub(crate) fn check_accept(headers: &HeaderMap, wanted: &[&str]) -> Option<Response> {
    let missing = wanted.iter().any(|wanted| !accepts(headers, wanted));
    missing.then(|| {
        let text = format!("`Accept` must name {}", wanted.join(" and "));
        reply::error(StatusCode::NOT_ACCEPTABLE, None, INVALID_REQUEST, &text)
    })
}

fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let group = wanted.split('/').next().unwrap_or_default();
    let ranges =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    ranges.map(|range| range.split(';').next().unwrap_or_default().trim()).any(|range| {
        range == "*/*"
            || range.eq_ignore_ascii_case(wanted)
            || range.strip_suffix("/*").is_some_and(|range| range.eq_ignore_ascii_case(group))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_servers() {
        let server = |tenant, server| Some(Address::Server { tenant, server });
        assert_eq!(address("/s/a/mcp"), server("default", "a"));
        assert_eq!(address("/t/x/s/a/mcp"), server("x", "a"));
        assert_eq!(address("/s/a/sse").unwrap().messages(), "/s/a/messages");
        assert_eq!(address("/t/x/s/a/sse").unwrap().messages(), "/t/x/s/a/messages");
        assert_eq!(address("/t/x/s/a/messages"), Some(Address::Messages { tenant: "x", server: "a" }));
        assert_eq!(address("/health"), Some(Address::Health));
        assert_eq!(address("/mcp"), server("", ""));
        assert_eq!(address("/sse").unwrap().messages(), "/messages");
        for path in ["/", "/s//mcp", "/s/a", "/s/a/b/mcp", "/t/x/mcp", "/t//s/a/mcp", "/s/a/mcp/"] {
            assert_eq!(address(path), None, "{path}");
        }
    }

    fn refused(loopback: bool, host: Option<&str>, origin: Option<&str>) -> bool {
        let config = ProxyConfig {
            allowed_hosts: vec!["proxy.example".to_owned()],
            allowed_origins: vec!["https://app.example".to_owned()],
            ..ProxyConfig::default()
        };
        let pairs = [(HOST, host), (ORIGIN, origin)];
        let headers = pairs.into_iter().filter_map(|(name, value)| Some((name, value?.parse().unwrap()))).collect();
        check_origin(&config, loopback, &Uri::from_static("/s/a/mcp"), &headers).is_some()
    }

    #[test]
    fn a_listener_is_addressed_by_names_of_this_machine() {
        for host in ["localhost", "LOCALHOST:7420", "127.0.0.1:1", "127.9.9.9", "[::1]:7420", "proxy.example:80"] {
            assert!(!refused(true, Some(host), None), "{host}");
        }
        for host in [Some("evil.example"), Some("127.0.0.1.evil.example"), Some("10.0.0.1:7420"), Some(""), None] {
            assert!(refused(true, host, None), "{host:?}");
        }
    }

    #[test]
    fn a_page_of_this_machine_may_and_others_may_not() {
        for origin in ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:80", "https://app.example"] {
            assert!(!refused(true, Some("localhost"), Some(origin)), "{origin}");
        }
        for origin in [
            "https://evil.example",
            "null",
            "",
            "http://localhost.evil.example",
            "file://localhost",
            "https://app.example:81",
        ] {
            assert!(refused(true, Some("localhost"), Some(origin)), "{origin}");
        }
    }

    #[test]
    fn accept_must_cover_what_may_come() {
        let both = ["application/json", "text/event-stream"];
        let accept = |value: &'static str| {
            check_accept(&HeaderMap::from_iter([(ACCEPT, value.parse().unwrap())]), &both).is_none()
        };
        assert!(accept("application/json, text/event-stream"));
        assert!(accept("text/event-stream;q=0.9,Application/JSON"));
        assert!(accept("*/*"));
        assert!(accept("application/*, text/*"));
        assert!(!accept("application/json"));
        assert!(!accept("text/event-stream"));
        assert!(!accept(""));
    }
}
