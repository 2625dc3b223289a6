//! Servers that run elsewhere: what a connection and a request to one need.
//!
//! Certificates are those of the system, and those of a file where one is named. A forward proxy is taken from the daemon's
//! environment or from the server's own setting. Headers are filled with secrets when a request leaves; what was filled is
//! kept for a moment, because a provider may be a program, and forgotten when the server refuses it. A redirect is followed
//! within the origin only: what was meant for one host, secrets above all, is never told to another.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fairlead_core::header::header_value;
use fairlead_core::name::TenantName;
use fairlead_core::remote::{ProxyChoice, Reach, RemoteSource};
use fairlead_core::secret::{SecretError, SecretReferenceError, SecretText, Secrets, reveal};
use http::header::{LOCATION, PROXY_AUTHORIZATION};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tower_service::Service as _;

use crate::http::connect::{Stream, reach};
use crate::limits::{CA_FILE_BYTES_MAX, REMOTE_HEADERS_KEEP};

/// Forward proxies, as the environment of the daemon names them.
#[derive(Clone, Default)]
pub struct EnvironmentProxies {
    /// `ALL_PROXY`.
    pub all: String,
    /// `HTTP_PROXY`.
    pub http: String,
    /// `HTTPS_PROXY`.
    pub https: String,
    /// `NO_PROXY`: hosts that are reached directly.
    pub no: String,
}

impl std::fmt::Debug for EnvironmentProxies {
    /// Without the URLs: they may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvironmentProxies").field("no", &self.no).finish_non_exhaustive()
    }
}

/// Why a remote server cannot be reached as it is described.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The URL is none.
    #[error("the URL of the server is none")]
    Url,
    /// The file with certificates cannot be read.
    #[error("read certificates from `{}`", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing is trusted.
    #[error("this machine trusts no certificate authority; install its `ca-certificates`, or name a file with one")]
    NoCertificates,
    /// TLS cannot be set up.
    #[error("set up TLS")]
    Tls(#[source] tokio_rustls::rustls::Error),
    /// The forward proxy is of a kind that is not spoken.
    #[error("the forward proxy is no `http://` proxy")]
    Proxy,
    /// A header is none.
    #[error("the header `{name}` cannot be sent")]
    Header {
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: SecretReferenceError,
    },
}

/// Why a request cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReady {
    #[error("header `{name}`: {source}")]
    Secret { name: HeaderName, source: SecretError },
    #[error("header `{0}`: the value has characters that cannot stand in a header")]
    Value(HeaderName),
}

/// What stands between.
enum Way {
    /// Nothing.
    Direct,
    /// A proxy that opens a tunnel.
    Tunnel { proxy: Uri, authorization: Option<HeaderValue> },
    /// A proxy that is told the whole URL.
    Forward { proxy: Uri, authorization: Option<HeaderValue> },
}

/// Headers that were filled, and when.
type Filled = (Instant, HeaderMap);

/// How one remote server is reached.
pub struct Remote {
    way: Way,
    reach: Reach,
    tls: Option<TlsConnector>,
    headers: Vec<(HeaderName, SecretText)>,
    filled: Mutex<Option<Filled>>,
    tenant: TenantName,
    secrets: Arc<dyn Secrets>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl Remote {
    /// Makes everything ready that does not depend on a request. Reads files.
    ///
    /// # Errors
    /// The server cannot be reached as it is described.
    pub fn new(
        source: &RemoteSource,
        environment: &EnvironmentProxies,
        tenant: &TenantName,
        secrets: Arc<dyn Secrets>,
    ) -> Result<Self, RemoteError> {
        let uri: Uri = source.url.parse().map_err(|_| RemoteError::Url)?;
        let is_tls = match (uri.scheme_str(), uri.host()) {
            (Some("https"), Some(_)) => true,
            (Some("http"), Some(_)) => false,
            _ => return Err(RemoteError::Url),
        };
        let headers = source.headers.iter().map(|(name, text)| {
            let wrong = |source| RemoteError::Header { name: name.clone(), source };
            let text = SecretText::parse(text).map_err(wrong)?;
            let parsed = name.parse().map_err(|_| wrong(SecretReferenceError::Shape))?;
            Ok((parsed, text))
        });
        Ok(Self {
            way: way(&source.proxy, environment, &uri, is_tls)?,
            reach: source.reach,
            tls: if is_tls { Some(tls(source.ca_file.as_deref())?) } else { None },
            headers: headers.collect::<Result<_, _>>()?,
            filled: Mutex::default(),
            tenant: tenant.clone(),
            secrets,
        })
    }

    /// Whether requests name their whole URL, because a proxy forwards them.
    pub(crate) fn is_forwarded(&self) -> bool {
        matches!(self.way, Way::Forward { .. })
    }

    /// Connects. The caller has a deadline.
    pub(crate) async fn connect(&self, uri: &Uri) -> io::Result<Stream> {
        let stream = match &self.way {
            Way::Direct => reach(uri, self.reach).await?,
            // Where the proxy goes is for whoever runs it to say.
            Way::Forward { proxy, .. } => reach(proxy, Reach::Any).await?,
            Way::Tunnel { proxy, authorization } => {
                let mut connector = HttpConnector::new();
                connector.set_nodelay(true);
                let mut tunnel = Tunnel::new(proxy.clone(), connector);
                if let Some(authorization) = authorization {
                    tunnel = tunnel.with_auth(authorization.clone());
                }
                tunnel.call(uri.clone()).await.map_err(io::Error::other)?.into_inner()
            }
        };
        let Some(tls) = &self.tls else { return Ok(Stream::Plain(stream)) };
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(tls.connect(name, stream).await?)))
    }

    /// Puts the headers of this server into a request; what is there of the same name gives way.
    pub(crate) async fn equip(&self, headers: &mut HeaderMap) -> Result<(), NotReady> {
        if let Way::Forward { authorization: Some(authorization), .. } = &self.way {
            headers.insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        if self.headers.is_empty() {
            return Ok(());
        }
        let known = self.filled.lock().as_ref().filter(|(since, _)| since.elapsed() < REMOTE_HEADERS_KEEP).cloned();
        let filled = match known {
            Some((_, filled)) => filled,
            None => {
                let filled = self.fill().await?;
                *self.filled.lock() = Some((Instant::now(), filled.clone()));
                filled
            }
        };
        for (name, value) in &filled {
            headers.insert(name, value.clone());
        }
        Ok(())
    }

    async fn fill(&self) -> Result<HeaderMap, NotReady> {
        let mut filled = HeaderMap::new();
        for (name, text) in &self.headers {
            let value = reveal(&*self.secrets, &self.tenant, text).await;
            let value = value.map_err(|source| NotReady::Secret { name: name.clone(), source })?;
            let checked = header_value(name.as_str(), value.as_bytes()).ok();
            let value = checked.and_then(|()| HeaderValue::from_bytes(value.as_bytes()).ok());
            let mut value = value.ok_or_else(|| NotReady::Value(name.clone()))?;
            value.set_sensitive(text.has_secrets());
            filled.insert(name.clone(), value);
        }
        Ok(filled)
    }

    /// The server did not accept what it was shown: the next request asks for the secrets again.
    pub(crate) fn was_refused(&self) {
        *self.filled.lock() = None;
    }
}

fn way(choice: &ProxyChoice, environment: &EnvironmentProxies, uri: &Uri, is_tls: bool) -> Result<Way, RemoteError> {
    let matcher = match choice {
        ProxyChoice::Direct => return Ok(Way::Direct),
        ProxyChoice::Url { url } => Matcher::builder().all(url.as_str()).build(),
        ProxyChoice::Environment => Matcher::builder()
            .all(environment.all.as_str())
            .http(environment.http.as_str())
            .https(environment.https.as_str())
            .no(environment.no.as_str())
            .build(),
    };
    let Some(intercept) = matcher.intercept(uri) else { return Ok(Way::Direct) };
    if intercept.uri().scheme() != Some(&Scheme::HTTP) {
        return Err(RemoteError::Proxy);
    }
    let (proxy, authorization) = (intercept.uri().clone(), intercept.basic_auth().cloned());
    Ok(if is_tls { Way::Tunnel { proxy, authorization } } else { Way::Forward { proxy, authorization } })
}

fn tls(ca_file: Option<&Path>) -> Result<TlsConnector, RemoteError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        add(&mut roots, path).map_err(|source| RemoteError::CaFile { path: path.to_owned(), source })?;
    }
    if roots.is_empty() {
        return Err(RemoteError::NoCertificates);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(RemoteError::Tls)?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if std::fs::metadata(path)?.len() > CA_FILE_BYTES_MAX {
        return Err(format!("it is longer than {CA_FILE_BYTES_MAX} bytes").into());
    }
    let text = std::fs::read(path)?;
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        roots.add(certificate?)?;
        found = true;
    }
    if found { Ok(()) } else { Err("there is no certificate in it".into()) }
}

/// Where a response sends its client, if it does.
pub(crate) fn redirected<B>(response: &Response<B>) -> Option<&HeaderValue> {
    // `303` asks for a GET, which is no answer to a message.
    let moved = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    response.headers().get(LOCATION).filter(|_| moved)
}

/// What a reference means that was found at `base`; `None` when it means nothing.
pub(crate) fn resolve(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.split('#').next().unwrap_or_default();
    if reference.contains("://") {
        return reference.parse().ok();
    }
    if let Some(rest) = reference.strip_prefix("//") {
        return format!("{}://{rest}", base.scheme_str()?).parse().ok();
    }
    let path = if reference.starts_with('/') {
        reference.to_owned()
    } else if reference.starts_with('?') || reference.is_empty() {
        format!("{}{reference}", base.path())
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{directory}/{reference}")
    };
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(path.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

/// Whether two URLs are of one scheme, host and port.
pub(crate) fn same_origin(one: &Uri, other: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 });
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    one.scheme() == other.scheme() && host(one) == host(other) && port(one) == port(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_mean_what_they_mean_in_a_browser() {
        let base = Uri::from_static("https://a.test:8443/v1/mcp?x=1");
        for (reference, expected) in [
            ("/messages?id=1", "https://a.test:8443/messages?id=1"),
            ("messages", "https://a.test:8443/v1/messages"),
            ("?id=2", "https://a.test:8443/v1/mcp?id=2"),
            ("//b.test/x", "https://b.test/x"),
            ("http://c.test/y#z", "http://c.test/y"),
        ] {
            assert_eq!(resolve(&base, reference).unwrap(), expected, "{reference}");
        }
        assert_eq!(resolve(&base, "/a b"), None);
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let base = Uri::from_static("https://a.test/mcp");
        for (other, same) in [
            ("https://a.test:443/x", true),
            ("https://A.test/x", true),
            ("http://a.test/x", false),
            ("https://a.test:8443/x", false),
            ("https://b.test/x", false),
            ("https://a.test.evil/x", false),
        ] {
            assert_eq!(same_origin(&base, &Uri::from_static(other)), same, "{other}");
        }
    }

    fn way_of(url: &'static str, choice: &ProxyChoice, environment: &EnvironmentProxies) -> Option<String> {
        let uri = Uri::from_static(url);
        match way(choice, environment, &uri, uri.scheme_str() == Some("https")) {
            Ok(Way::Direct) => Some("direct".to_owned()),
            Ok(Way::Tunnel { proxy, authorization }) => Some(format!("tunnel {proxy} {}", authorization.is_some())),
            Ok(Way::Forward { proxy, authorization }) => Some(format!("forward {proxy} {}", authorization.is_some())),
            Err(_) => None,
        }
    }

    #[test]
    fn the_environment_names_a_proxy_unless_the_server_does() {
        let environment = EnvironmentProxies {
            http: "http://plain:1".to_owned(),
            https: "http://user:word@tls:2".to_owned(),
            no: "direct.test,127.0.0.1".to_owned(),
            ..EnvironmentProxies::default()
        };
        let env = ProxyChoice::Environment;
        assert_eq!(way_of("http://a.test/", &env, &environment).unwrap(), "forward http://plain:1/ false");
        assert_eq!(way_of("https://a.test/", &env, &environment).unwrap(), "tunnel http://tls:2/ true");
        assert_eq!(way_of("https://x.direct.test/", &env, &environment).unwrap(), "direct");
        assert_eq!(way_of("http://127.0.0.1:9/", &env, &environment).unwrap(), "direct");
        assert_eq!(way_of("http://a.test/", &ProxyChoice::Direct, &environment).unwrap(), "direct");
        let own = ProxyChoice::Url { url: "http://own:3".to_owned() };
        assert_eq!(way_of("https://direct.test/", &own, &environment).unwrap(), "tunnel http://own:3/ false");
        let socks = EnvironmentProxies { all: "socks5://s:4".to_owned(), ..EnvironmentProxies::default() };
        assert_eq!(way_of("https://a.test/", &env, &socks), None);
    }
}
