//! HTTP+SSE, the transport of revision 2024-11-05: a stream on which everything comes, and an address to which everything
//! is posted.
//!
//! Towards a server it is a pipe that happens to run over HTTP: one stream for each session, so everything that is right for
//! a stdio server (a session of its own, streams that can be taken up again, questions to the right client) is right here.
//! Towards a client it is a client application of ours in its own process: what is posted becomes a request to the
//! streamable endpoint, and what comes back goes onto the one stream of whoever posted, and nowhere else.

pub(crate) mod downstream;
pub(crate) mod upstream;

pub(crate) use downstream::Listeners;
