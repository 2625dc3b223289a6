//! Servers that run elsewhere and are reached by a URL.
//!
//! A header may hold secrets: then their references are written down and the values are put in when a request leaves, so that
//! a stored record, a listing or an export never holds a credential.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::{AddressClass, classify};

/// A server at a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoteSource {
    /// Its endpoint: `https://host/path`, or `http://` where nothing needs to be kept from others.
    pub url: String,
    /// How it speaks.
    #[serde(default)]
    pub transport: RemoteTransport,
    /// Headers that go with every request, by name; `${secret://store/name}` in a value stands for a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Certificates in PEM that are trusted besides those of the system: an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// What stands between this machine and the server.
    #[serde(default)]
    pub proxy: ProxyChoice,
    /// Where its name may lead. A tenant without `hostAccess` has `public`, whatever it says.
    #[serde(default, skip_serializing_if = "Reach::is_any")]
    pub reach: Reach,
}

/// The addresses at which a server may be found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// All.
    #[default]
    Any,
    /// Public ones: neither this machine, nor its neighbourhood, nor the metadata service of a cloud, whatever its name
    /// leads to at the moment of a connection.
    Public,
}

/// How a remote server speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RemoteTransport {
    /// Found out: streamable HTTP first, then HTTP+SSE, as the specification of MCP says.
    #[default]
    Auto,
    /// Streamable HTTP.
    StreamableHttp,
    /// HTTP+SSE, the transport of 2024-11-05.
    Sse,
}

/// What stands between this machine and a remote server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum ProxyChoice {
    /// What the daemon's environment says: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`.
    #[default]
    Environment,
    /// Nothing.
    Direct,
    /// This proxy.
    Url {
        /// `http://host:port`.
        url: String,
    },
}

impl Reach {
    /// Whether a connection may go to an address.
    #[must_use]
    pub fn admits(self, address: IpAddr) -> bool {
        self == Self::Any || classify(address) == AddressClass::Public
    }

    /// Whether nothing is ruled out.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self == Self::Any
    }
}

impl RemoteTransport {
    /// Its name, as flags and the API write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::StreamableHttp => "streamable-http",
            Self::Sse => "sse",
        }
    }
}

impl RemoteSource {
    /// A server at a URL, reached as it comes.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            transport: RemoteTransport::default(),
            headers: BTreeMap::new(),
            ca_file: None,
            proxy: ProxyChoice::default(),
            reach: Reach::default(),
        }
    }

    /// The URL as it may be shown: a query often carries a key.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }

    /// The host that the URL names, without its port; empty when it names none.
    #[must_use]
    pub fn host(&self) -> &str {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        match authority.split_once(']') {
            Some((literal, _)) => literal.trim_start_matches('['),
            None => authority.split(':').next().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_has_no_query_and_what_is_named_no_port() {
        for (url, shown, host) in [
            ("https://mcp.example.test/v1?key=hunter2", "https://mcp.example.test/v1", "mcp.example.test"),
            ("http://127.0.0.1:8080/mcp", "http://127.0.0.1:8080/mcp", "127.0.0.1"),
            ("https://[::1]:8443", "https://[::1]:8443", "::1"),
            ("nonsense", "nonsense", ""),
        ] {
            let remote = RemoteSource::new(url);
            assert_eq!((remote.shown(), remote.host()), (shown, host));
        }
    }
}
