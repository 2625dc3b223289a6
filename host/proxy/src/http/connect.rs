//! Reaching a server: over TCP on this machine; elsewhere through whatever stands in between, and with TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use fairlead_core::remote::Reach;
use http::Uri;
use http::uri::Scheme;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::client::Place;
use crate::limits::{CONNECT_MAX, REMOTE_CONNECT_MAX};
use crate::remote::Remote;

/// The bytes of a connection.
pub(crate) enum Stream {
    /// As they are.
    Plain(TcpStream),
    /// Within TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection to the server at a place; `remote` says how to reach one that runs elsewhere.
pub(super) async fn connect(place: &Place, remote: Option<&Remote>) -> io::Result<Stream> {
    let uri = &place.uri;
    let within = if remote.is_some() { REMOTE_CONNECT_MAX } else { CONNECT_MAX };
    let connecting = async {
        match (remote, place.address()) {
            (Some(remote), _) => remote.connect(uri).await,
            (None, Some(address)) => to(&[address]).await.map(Stream::Plain),
            (None, None) if uri.scheme() == Some(&Scheme::HTTP) => reach(uri, Reach::Any).await.map(Stream::Plain),
            (None, None) => Err(invalid("servers of this machine are reached over http")),
        }
    };
    timeout(within, connecting).await.map_err(io::Error::from)?
}

/// A TCP connection to the host that `uri` names. Its name is resolved once, and the connection goes to one of the addresses
/// that were looked at: a name that leads elsewhere a moment later leads nobody astray.
pub(crate) async fn reach(uri: &Uri, within: Reach) -> io::Result<TcpStream> {
    let host = uri.host().ok_or_else(|| invalid("the address names no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let found = lookup_host((host, uri.port_u16().unwrap_or(port))).await?;
    let admitted: Vec<SocketAddr> = found.filter(|address| within.admits(address.ip())).collect();
    if admitted.is_empty() {
        let text = format!("`{host}` has no address that this server may be at");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    to(&admitted).await
}

async fn to(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addresses).await?;
    // Small requests at once; failing costs only latency.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
