//! How a server speaks, as the data plane says it.

use fairlead_core::remote::RemoteTransport;
use fairlead_core::server::{Isolation, Transport};
use fairlead_proxy::Wire;

/// A server that runs where we launch it.
pub(super) const fn wire_of(transport: &Transport, isolation: Isolation) -> Wire {
    match transport {
        Transport::Stdio => Wire::Stdio { isolation },
        Transport::StreamableHttp { .. } => Wire::Http,
        Transport::Sse { .. } => Wire::Sse { isolation },
    }
}

/// One that runs elsewhere.
pub(super) const fn wire_of_remote(transport: RemoteTransport, isolation: Isolation) -> Wire {
    match transport {
        RemoteTransport::Auto => Wire::Detect { isolation },
        RemoteTransport::StreamableHttp => Wire::Http,
        RemoteTransport::Sse => Wire::Sse { isolation },
    }
}
