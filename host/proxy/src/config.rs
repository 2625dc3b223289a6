//! What an operator may decide about the data plane.

use std::time::Duration;

use fairlead_core::name::ServerKey;

use crate::limits;

/// Settings of a [`crate::Proxy`].
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// Largest message of a client, in bytes.
    pub body_bytes_max: usize,
    /// All messages of clients that are being read at the same time, in bytes.
    pub bodies_bytes_max: usize,
    /// Largest message of a stdio server, in bytes.
    pub line_bytes_max: usize,
    /// Sessions of one server.
    pub sessions_max: usize,
    /// A session that nobody used for so long ends.
    pub session_idle_max: Duration,
    /// A process that was started for the next session of a server waits so long for it; zero: none is started ahead.
    pub spare_keep: Duration,
    /// Time without any sign of a request under way, after which its client gets an error.
    pub request_idle_max: Duration,
    /// Time for requests under way when the listener stops.
    pub drain_max: Duration,
    /// Origins (`https://app.example`) of web pages that may use this listener, besides those of this machine.
    pub allowed_origins: Vec<String>,
    /// Names, without port, under which this listener may be addressed, besides those of this machine. A listener on
    /// another address than loopback checks names only when some are given.
    pub allowed_hosts: Vec<String>,
    /// The only server that is there, which is found at `/mcp` as well.
    pub sole: Option<ServerKey>,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            body_bytes_max: limits::BODY_BYTES_MAX,
            bodies_bytes_max: limits::BODIES_BYTES_MAX,
            line_bytes_max: limits::LINE_BYTES_MAX,
            sessions_max: limits::SESSIONS_MAX,
            session_idle_max: limits::SESSION_IDLE_MAX,
            spare_keep: limits::SPARE_KEEP,
            request_idle_max: limits::REQUEST_IDLE_MAX,
            drain_max: limits::DRAIN_MAX,
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            sole: None,
        }
    }
}
