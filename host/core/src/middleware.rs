//! The port through which the data plane asks a middleware, and the values that cross it.
//!
//! These types mirror the WIT package `fairlead:middleware` one to one, but belong to the host: a second version of the
//! contract is adapted to them in the plugin host, and the data plane never knows.

use std::sync::Arc;

use bytes::Bytes;

use crate::BoxFuture;
use crate::name::ServerKey;
use crate::secret::SecretValue;

/// The moments at which a middleware is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// A request or notification on its way to the server.
    Request,
    /// A result on its way back.
    Response,
    /// A JSON-RPC error on its way back.
    Error,
    /// A message that the server sends on a stream.
    Event,
}

/// A set of [`Phase`]s.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases(u8);

impl Phases {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// The set with `phase` added.
    #[must_use]
    pub const fn with(self, phase: Phase) -> Self {
        Self(self.0 | 1 << phase as u8)
    }

    /// Whether `phase` is in the set.
    #[must_use]
    pub const fn contains(self, phase: Phase) -> bool {
        self.0 & (1 << phase as u8) != 0
    }
}

/// What a middleware wants to be called for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interest {
    /// Method or pattern with `*` at the start or the end.
    pub method: String,
    /// Pattern over the target; `*` stands for any run of characters. `None`: every target, and none.
    pub target: Option<String>,
    /// The moments of interest.
    pub phases: Phases,
}

/// What is read of every message once and given to every hook.
#[derive(Debug, Clone)]
pub struct Head {
    /// Method of the request; for a response, that of the request it answers.
    pub method: Arc<str>,
    /// Name of the tool or prompt, or URI of the resource.
    pub target: Option<Arc<str>>,
}

/// Where a message comes from: fixed for one exchange (request, events, response).
#[derive(Debug, Default, Clone)]
pub struct Origin {
    /// JSON text of the JSON-RPC id.
    pub request_id: Option<Bytes>,
    /// Opaque key of the session, never the session id itself.
    pub session: Option<Arc<str>>,
    /// Negotiated or claimed revision of MCP.
    pub protocol_version: Option<Arc<str>>,
    /// Headers of the client's request without those that carry credentials.
    pub headers: Headers,
}

/// Where the headers of a request are kept: asked for one by one, since most hooks want none.
pub trait HeaderSource: std::fmt::Debug + Send + Sync {
    /// The first header of this name, which is in lower case. Never one that carries credentials.
    fn header(&self, name: &str) -> Option<&str>;
}

/// Headers as a middleware may see them.
#[derive(Debug, Default, Clone)]
pub struct Headers(Option<Arc<dyn HeaderSource>>);

/// Who calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The subject.
    pub subject: String,
    /// Claims, JSON texts by name.
    pub claims: Vec<(String, String)>,
}

/// Methods of the host's own: moments that MCP has no message for, and at which middleware may be asked all the same. Only an
/// interest that begins with the prefix covers them; `*` stands for any method of MCP.
pub mod moment {
    /// What their names begin with.
    pub const PREFIX: &str = "fairlead/";
    /// A client opens the stream on which the server speaks unasked. `params` is empty.
    pub const LISTEN: &str = "fairlead/listen";
    /// A client answers a question of the server. `params` is empty.
    pub const ANSWER: &str = "fairlead/answer";
    /// A session has been opened at the server; its client does not know it yet. `params` is empty.
    pub const SESSION_OPEN: &str = "fairlead/session-open";
    /// A session ends: `{"by":"client"}` when its client asks for it, `{"by":"host"}` when it is over already.
    pub const SESSION_CLOSE: &str = "fairlead/session-close";
}

/// What the middleware of one exchange share and may change, on the way in and on the way back. Bounded by
/// [`crate::limits::ATTRIBUTES_MAX`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Set by a middleware or the host.
    pub identity: Option<Identity>,
    /// Attributes by name.
    pub attributes: Vec<(String, String)>,
    /// Headers for the HTTP request to the server, by lower-case name; later ones take the place of earlier ones. No
    /// middleware reads them. Bounded by [`crate::limits::UPSTREAM_HEADERS_MAX`].
    pub upstream_headers: Vec<(String, SecretValue)>,
}

/// One call of one hook. Moved in and given back with the [`Answer`], so that an instance in another memory can hold it.
#[derive(Debug)]
pub struct Call {
    /// The server that the message belongs to.
    pub server: Arc<ServerKey>,
    /// Method and target.
    pub head: Head,
    /// Where the message comes from.
    pub origin: Arc<Origin>,
    /// Shared by the middleware of the exchange.
    pub notes: Notes,
    /// Which hook, and what it looks at.
    pub subject: Subject,
}

/// What a hook looks at.
#[derive(Debug, Clone)]
pub enum Subject {
    /// `params` of a request or notification (JSON text; empty when absent).
    Request(Bytes),
    /// `result` of a response (JSON text).
    Response(Bytes),
    /// A JSON-RPC error.
    Error(Rejection),
    /// `params` of a message that the server sent on a stream (JSON text; empty when absent).
    Event(Bytes),
}

impl Subject {
    /// The phase that this subject belongs to.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Request(_) => Phase::Request,
            Self::Response(_) => Phase::Response,
            Self::Error(_) => Phase::Error,
            Self::Event(_) => Phase::Event,
        }
    }
}

/// A refusal, or a JSON-RPC error on its way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// JSON-RPC error code.
    pub code: i64,
    /// For the person at the client.
    pub message: String,
    /// JSON text, sent as `error.data`.
    pub data: Option<String>,
    /// How long to wait before trying again, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

/// One change at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchOperation {
    /// RFC 6901 pointer.
    pub pointer: String,
    /// JSON text to put there; `None` removes.
    pub value: Option<String>,
}

/// What a middleware decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on, unchanged.
    Next,
    /// Go on with these places changed.
    Patch(Vec<PatchOperation>),
    /// Go on with this JSON text as payload.
    Replace(String),
    /// Answer with this JSON text as result.
    Respond(String),
    /// Refuse.
    Reject(Rejection),
}

/// What comes back from a hook that worked: the decision, and the notes that it was lent.
#[derive(Debug)]
pub struct Answer {
    /// The decision.
    pub verdict: Verdict,
    /// The notes, perhaps changed.
    pub notes: Notes,
}

/// Why a hook gave no decision. Never confused with a rejection: what happens next is the failure mode of the attachment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The guest trapped. The text is for the operator, never for a client.
    #[error("trapped: {0}")]
    Trap(String),
    /// The deadline passed.
    #[error("did not answer within {0} ms")]
    Deadline(u64),
    /// The memory limit was reached.
    #[error("wanted more than {0} bytes of memory")]
    Memory(u64),
    /// The guest returned a failure.
    #[error("failed: {0}")]
    Failure(String),
    /// The verdict makes no sense (invalid JSON, a pointer that leads nowhere, `respond` to an event).
    #[error("returned nonsense: {0}")]
    Nonsense(String),
    /// No instance was free in time.
    #[error("is overloaded")]
    Overload,
    /// The circuit breaker is open.
    #[error("is out of service after repeated faults")]
    CircuitOpen,
    /// The plugin could not be instantiated.
    #[error("could not be instantiated: {0}")]
    Instantiate(String),
}

impl Headers {
    /// Those of `source`.
    #[must_use]
    pub fn of(source: Arc<dyn HeaderSource>) -> Self {
        Self(Some(source))
    }

    /// The first header of this name, in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.as_ref()?.header(name)
    }
}

impl HeaderSource for Vec<(String, String)> {
    fn header(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl FromIterator<(String, String)> for Headers {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        Self::of(Arc::new(Vec::from_iter(pairs)))
    }
}

impl Fault {
    /// A stable word for metrics, logs and `error.data`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Deadline(_) => "deadline",
            Self::Memory(_) => "memory",
            Self::Failure(_) => "failure",
            Self::Nonsense(_) => "nonsense",
            Self::Overload => "overload",
            Self::CircuitOpen => "circuit_open",
            Self::Instantiate(_) => "instantiate",
        }
    }
}

/// A middleware that is ready to be called: a plugin, its configuration and its grants, for one tenant.
pub trait Middleware: Send + Sync {
    /// What it wants to be called for under its configuration. Fixed for the life of this value.
    fn interests(&self) -> &[Interest];

    /// Asks. The future may be dropped at any time; the instance that served it is then thrown away.
    ///
    /// On a fault the notes are lost with the instance that held them, so the caller keeps a copy when there is
    /// something in them to lose.
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, Fault>>;
}
