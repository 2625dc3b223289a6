//! Where an attachment may call out to: hosts, methods and ports.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::address::{AddressClass, classify, plain};

/// One line of a grant: `[METHOD[|METHOD] ][scheme://]host[:port]`.
///
/// Without methods every method is allowed, without a scheme only `https`, without a port that of the scheme. The host is a
/// name, `*.name` for everything below a name (and not the name itself), `*` for every public host, or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRule {
    /// Upper case; empty: all.
    methods: Vec<String>,
    tls: bool,
    host: HostPattern,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Any,
    Name(String),
    /// The suffix, with its leading dot.
    Below(String),
    Address(IpAddr),
}

/// Why a text is no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}: write `[METHOD[|METHOD] ][scheme://]host[:port]`, such as `GET https://api.example.com`")]
pub struct HttpRuleError(&'static str);

impl HttpRule {
    /// Whether the request is one of those that are meant. Where its name leads is a question of its own.
    #[must_use]
    pub fn allows(&self, method: &str, tls: bool, host: &str, port: u16) -> bool {
        let method_fits = self.methods.is_empty() || self.methods.iter().any(|allowed| allowed == method);
        method_fits && self.tls == tls && self.port == port && self.host.matches(host)
    }

    /// Whether the rule names this very address.
    #[must_use]
    pub fn is_address(&self, address: IpAddr) -> bool {
        matches!(self.host, HostPattern::Address(named) if named == plain(address))
    }

    /// Whether the rule names an address that is not public.
    #[must_use]
    pub(super) fn names_inside(&self) -> bool {
        matches!(self.host, HostPattern::Address(named) if classify(named) != AddressClass::Public)
    }

    /// Whether there is a request that both allow.
    #[must_use]
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let methods = self.methods.is_empty()
            || other.methods.is_empty()
            || self.methods.iter().any(|method| other.methods.contains(method));
        methods && self.tls == other.tls && self.port == other.port && self.host.overlaps(&other.host)
    }

    /// For whoever grants it.
    #[must_use]
    pub fn sentence(&self) -> String {
        let methods = if self.methods.is_empty() { "send any request".to_owned() } else { self.methods.join(" and ") };
        let host = match &self.host {
            HostPattern::Any => "every public host".to_owned(),
            HostPattern::Name(name) => name.clone(),
            HostPattern::Below(suffix) => format!("every host below {}", suffix.trim_start_matches('.')),
            HostPattern::Address(address) => address.to_string(),
        };
        let plain = if self.tls { "" } else { ", without encryption" };
        let port = if self.port == default_port(self.tls) { String::new() } else { format!(", port {}", self.port) };
        format!("{methods} to {host}{port}{plain}")
    }
}

impl fmt::Display for HttpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.methods.is_empty() {
            write!(f, "{} ", self.methods.join("|"))?;
        }
        f.write_str(if self.tls { "https://" } else { "http://" })?;
        match &self.host {
            HostPattern::Any => f.write_str("*")?,
            HostPattern::Name(name) => f.write_str(name)?,
            HostPattern::Below(suffix) => write!(f, "*{suffix}")?,
            HostPattern::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            HostPattern::Address(address) => write!(f, "{address}")?,
        }
        if self.port == default_port(self.tls) { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl FromStr for HttpRule {
    type Err = HttpRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (methods, rest) = match text.trim().split_once(' ') {
            Some((methods, rest)) => (methods.split('|').collect(), rest.trim()),
            None => (Vec::new(), text.trim()),
        };
        let is_method = |method: &&str| !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
        if !methods.iter().all(is_method) {
            return Err(HttpRuleError("a method is written in capitals"));
        }
        let (tls, rest) = match rest.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => return Err(HttpRuleError("the scheme is `https` or `http`")),
            None => (true, rest),
        };
        if rest.contains(['/', '?', '#', '@', ' ']) {
            return Err(HttpRuleError("has more than a host and a port"));
        }
        let (host, port) = split_port(rest)?;
        let port = port.unwrap_or(default_port(tls));
        let methods = methods.into_iter().map(str::to_owned).collect();
        Ok(Self { methods, tls, host: HostPattern::new(host)?, port })
    }
}

const fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), HttpRuleError> {
    let (host, port) = match text.rsplit_once(':') {
        // An address of IPv6 without brackets ends in no port.
        Some((host, _)) if host.contains(':') && !host.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    match port.map(str::parse::<u16>) {
        None => Ok((host, None)),
        Some(Ok(port)) if port > 0 => Ok((host, Some(port))),
        Some(_) => Err(HttpRuleError("the port is a number from 1 to 65535")),
    }
}

impl HostPattern {
    fn new(text: &str) -> Result<Self, HttpRuleError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::Address(plain(address)));
        }
        let (name, below) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        if !is_name(name) {
            return Err(HttpRuleError("the host is a name, `*.name`, `*` or an address"));
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        Ok(if below { Self::Below(format!(".{name}")) } else { Self::Name(name) })
    }

    fn matches(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = bare.trim_end_matches('.').to_ascii_lowercase();
        match self {
            Self::Any => true,
            Self::Name(granted) => *granted == name,
            Self::Below(suffix) => name.len() > suffix.len() && name.ends_with(suffix.as_str()) && is_name(&name),
            Self::Address(granted) => bare.parse::<IpAddr>().is_ok_and(|address| plain(address) == *granted),
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Name(name), pattern) | (pattern, Self::Name(name)) => pattern.matches(name),
            (Self::Below(one), Self::Below(other)) => one.ends_with(other.as_str()) || other.ends_with(one.as_str()),
            (one, other) => one == other,
        }
    }
}

/// A DNS name as it may be granted: labels of letters, digits, `-` and `_`, the last of which is no number, so that nobody
/// takes another way of writing an address (`0x7f.1`) for a name.
fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253
        && name.parse::<Ipv6Addr>().is_err()
        && name.split('.').all(label)
        && last.bytes().any(|byte| !byte.is_ascii_digit())
        && !last.starts_with("0x")
}
