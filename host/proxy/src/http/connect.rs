//! Reaching a server.

use std::io;

use http::Uri;
use http::uri::Scheme;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::limits::CONNECT_MAX;

/// A connection to the server that `uri` names.
pub(super) async fn connect(uri: &Uri) -> io::Result<TcpStream> {
    let invalid = |what: &'static str| io::Error::new(io::ErrorKind::InvalidInput, what);
    if uri.scheme() != Some(&Scheme::HTTP) {
        return Err(invalid("servers are reached over http"));
    }
    let host = uri.host().ok_or_else(|| invalid("the address names no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let connecting = TcpStream::connect((host, uri.port_u16().unwrap_or(80)));
    let stream = timeout(CONNECT_MAX, connecting).await.map_err(io::Error::from)??;
    // Small requests at once; failing costs only latency.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
