//! What replicas of a data plane have to know of a session so that each of them can go on with it, as a port.
//!
//! Where there is one replica nobody needs this, and nothing of it is on the way of a request. A record never changes: who
//! opened a session and which part of the server holds it is settled when it begins. So whoever has read it may believe it for
//! a while, and the worst that comes of that is a question to a server that has ended the session, which says so.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::BoxFuture;

/// One session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionRecord {
    /// The subject that opened it; absent: nobody in particular, and its id alone holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Who vouches for that subject, where somebody does: two who are called alike are two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Which of several addresses of its server holds it; absent where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<SocketAddr>,
}

/// Why nothing can be said of a session. A client reads the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionStoreError {
    /// Whoever keeps them does not answer; it may soon.
    #[error("sessions cannot be looked up now")]
    Unavailable,
}

/// Keeps sessions for all replicas. Every adapter has a deadline, and forgets what nobody has asked for in a long time.
pub trait SessionStore: Send + Sync {
    /// Keeps a session that has just been opened. When this is ready every replica knows it.
    fn keep<'a>(&'a self, session: &'a [u8], record: &'a SessionRecord)
    -> BoxFuture<'a, Result<(), SessionStoreError>>;
    /// A session that is being used; `None` when there is none.
    fn find<'a>(&'a self, session: &'a [u8]) -> BoxFuture<'a, Result<Option<Arc<SessionRecord>>, SessionStoreError>>;
    /// Forgets a session that has ended.
    fn forget<'a>(&'a self, session: &'a [u8]) -> BoxFuture<'a, Result<(), SessionStoreError>>;
    /// Remembers what a request is about whose answer comes on a stream, so that whichever replica the client takes that
    /// stream up at can show the answer to its guards. `id` is the request's, as JSON text.
    fn expect<'a>(
        &'a self,
        session: &'a [u8],
        id: &'a str,
        about: &'a [u8],
    ) -> BoxFuture<'a, Result<(), SessionStoreError>>;
    /// What was remembered so; `None` when nothing was.
    fn expected<'a>(
        &'a self,
        session: &'a [u8],
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, SessionStoreError>>;
}
