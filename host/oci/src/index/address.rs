//! Where an index is, and what it is shown: the same address and the same files by which images are built.
//!
//! Credentials stand in the address, in npm's own configuration or in a netrc file. They are read at each check, so that a token
//! that is renewed is used, and shown to the host that they are for and nobody else.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fairlead_core::dial::Endpoint;
use fairlead_core::package::PackageKind;
use http::Uri;

/// One index.
#[derive(Clone)]
pub struct PackageIndex {
    kind: PackageKind,
    name: String,
    endpoint: Endpoint,
    path: String,
    authorisation: Option<String>,
}

/// Files with credentials, as text; empty: none.
#[derive(Default, Clone)]
pub struct IndexCredentials {
    /// Lines of npm's configuration.
    pub npmrc: String,
    /// A netrc file.
    pub netrc: String,
}

/// Why nobody can be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// It is no address.
    #[error("the package index has no address like `https://index.example.test/`")]
    Address,
    /// Modules come from where nobody can be asked.
    #[error("modules come from no proxy that can be asked (`{0}`); `build.go_proxy` names one")]
    NoProxy(String),
}

impl fmt::Debug for PackageIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackageIndex").field("kind", &self.kind).field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for IndexCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexCredentials").finish_non_exhaustive()
    }
}

impl PackageIndex {
    /// The index at an address: npm's registry, the simple API of a Python index, or a list of proxies of Go, of which the first
    /// that can be asked is.
    ///
    /// # Errors
    /// It is no address.
    pub fn new(kind: PackageKind, address: &str, credentials: &IndexCredentials) -> Result<Self, IndexError> {
        let address = match kind {
            PackageKind::Go => proxy_of(address)?,
            PackageKind::Npx | PackageKind::Uvx => address.trim(),
        };
        let uri: Uri = address.parse().map_err(|_| IndexError::Address)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(IndexError::Address),
        };
        let authority = uri.authority().ok_or(IndexError::Address)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let named = authority.port_u16();
        let name = named.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        let path = uri.path().trim_end_matches('/').to_owned();
        let written = authority.as_str().rsplit_once('@').map(|(user, _)| basic(&decoded(user)));
        let authorisation = written.or_else(|| match kind {
            PackageKind::Npx => of_npmrc(&credentials.npmrc, &format!("//{name}{path}")),
            PackageKind::Uvx | PackageKind::Go => of_netrc(&credentials.netrc, &host),
        });
        let port = named.unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { kind, name, endpoint: Endpoint { host, port, tls }, path, authorisation })
    }

    /// Whose packages it has.
    #[must_use]
    pub fn kind(&self) -> PackageKind {
        self.kind
    }

    /// Its host, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn authorisation(&self) -> Option<&str> {
        self.authorisation.as_deref()
    }
}

/// The first proxy of a list that is one.
fn proxy_of(list: &str) -> Result<&str, IndexError> {
    let mut all = list.split([',', '|']).map(str::trim);
    let found = all.find(|one| one.starts_with("https://") || one.starts_with("http://"));
    found.ok_or_else(|| IndexError::NoProxy(list.trim().to_owned()))
}

fn basic(user: &str) -> String {
    format!("Basic {}", STANDARD.encode(user))
}

/// Without the percent signs that an address needs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let code = (byte == b'%').then(|| Some((ahead.next()?, ahead.next()?))).flatten();
        let digit = |byte: u8| char::from(byte).to_digit(16);
        match code.and_then(|(high, low)| u8::try_from(digit(high)? * 16 + digit(low)?).ok()) {
            Some(code) => {
                bytes.push(code);
                rest = ahead;
            }
            None => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What npm's configuration says of a place, the longest place that it is in first.
fn of_npmrc(text: &str, place: &str) -> Option<String> {
    let mut found: Vec<(usize, String)> = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once('=') else { continue };
        let (key, value) = (key.trim(), value.trim().trim_matches('"'));
        let of = |name: &str| key.strip_suffix(name).map(|scope| scope.trim_end_matches('/'));
        let shown = match (of(":_authToken"), of(":_auth")) {
            (Some(scope), _) => Some((scope, format!("Bearer {value}"))),
            (_, Some(scope)) => Some((scope, format!("Basic {value}"))),
            _ => None,
        };
        if let Some((scope, shown)) = shown
            && place.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        {
            found.push((scope.len(), shown));
        }
    }
    found.into_iter().max_by_key(|(length, _)| *length).map(|(_, shown)| shown)
}

/// What a netrc file says of a host.
fn of_netrc(text: &str, host: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    let (mut ours, mut login, mut password) = (false, None, None);
    while let Some(word) = words.next() {
        match word {
            "machine" if ours => break,
            "machine" => ours = words.next() == Some(host),
            "default" if !ours => ours = true,
            "login" if ours => login = words.next(),
            "password" if ours => password = words.next(),
            _ => {}
        }
    }
    Some(basic(&format!("{}:{}", login?, password?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(kind: PackageKind, address: &str, npmrc: &str, netrc: &str) -> Option<String> {
        let credentials = IndexCredentials { npmrc: npmrc.to_owned(), netrc: netrc.to_owned() };
        PackageIndex::new(kind, address, &credentials).unwrap().authorisation
    }

    #[test]
    fn a_credential_is_shown_to_whom_it_is_for_and_to_nobody_else() {
        let npmrc = "registry=https://a.test/\n//a.test/npm/:_authToken=inner\n//a.test/:_authToken=outer\n//b.test/:_auth=dTpw\n";
        let npm = |address: &str| shown(PackageKind::Npx, address, npmrc, "machine a.test login u password p");
        assert_eq!(npm("https://a.test/npm/").as_deref(), Some("Bearer inner"));
        assert_eq!(npm("https://a.test/npmx/").as_deref(), Some("Bearer outer"));
        assert_eq!(npm("https://b.test").as_deref(), Some("Basic dTpw"));
        assert_eq!(npm("https://a.test.evil.test/"), None);
        assert_eq!(npm("https://u:p%40@c.test/").as_deref(), Some("Basic dTpwQA=="));
        let netrc = "machine a.test login u password p machine b.test\nlogin x\npassword y";
        let python = |address: &str| shown(PackageKind::Uvx, address, npmrc, netrc);
        assert_eq!(python("https://a.test/simple").as_deref(), Some("Basic dTpw"));
        assert_eq!(python("https://b.test/simple/").as_deref(), Some("Basic eDp5"));
        assert_eq!(python("https://c.test/simple/"), None);
    }

    #[test]
    fn an_index_is_an_address_and_of_proxies_the_first_that_can_be_asked() {
        let index = |kind, address: &str| PackageIndex::new(kind, address, &IndexCredentials::default());
        let npm = index(PackageKind::Npx, "http://127.0.0.1:4873/npm/").unwrap();
        assert_eq!((npm.name(), npm.path(), npm.endpoint.tls), ("127.0.0.1:4873", "/npm", false));
        let go = index(PackageKind::Go, "direct|file:///x,https://go.test,https://other.test").unwrap();
        assert_eq!(go.name(), "go.test");
        assert_eq!(index(PackageKind::Go, "off").unwrap_err(), IndexError::NoProxy("off".to_owned()));
        for none in ["", "index.test", "ftp://index.test/", "https://"] {
            assert_eq!(index(PackageKind::Uvx, none).unwrap_err(), IndexError::Address, "{none}");
        }
        let secret = index(PackageKind::Npx, "https://u:hunter2@a.test/").unwrap();
        assert!(!format!("{secret:?}").contains("hunter2") && !secret.name().contains("hunter2"));
    }
}
