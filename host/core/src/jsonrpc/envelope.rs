//! Reading the envelope of a message.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::id::is_request_id;
use super::measure::{Doubtful, Span, Spans, kind_of, measure};
use super::{INVALID_REQUEST, PARSE_ERROR, Rewrite};
use crate::json::items::Items;
use crate::json::scan::{self, Scanner};
use crate::json::{SyntaxError, decode_string, find};

/// In `_meta` of a self-describing request: the revision that it speaks.
pub const VERSION_KEY: &str = "/io.modelcontextprotocol~1protocolVersion";
/// In `_meta` of a self-describing request: what its client can do.
pub const CAPABILITIES_KEY: &str = "/io.modelcontextprotocol~1clientCapabilities";
/// In `_meta` of a self-describing request: which log messages its client wants.
pub const LOG_LEVEL_KEY: &str = "/io.modelcontextprotocol~1logLevel";
/// In `_meta` of what comes on a subscription: the id of the `subscriptions/listen` that opened it.
const SUBSCRIPTION_KEY: &str = "/io.modelcontextprotocol~1subscriptionId";

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Wants an answer.
    Request,
    /// Wants none.
    Notification,
    /// An answer with a result.
    Response,
    /// An answer with an error.
    Error,
}

/// Why a text is no message, and the id to answer with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct EnvelopeError {
    /// JSON text of the id, when it could be read.
    pub id: Option<String>,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Not UTF-8.
    #[error("the message is not UTF-8 text")]
    NotUtf8,
    /// Not JSON.
    #[error("the message is not JSON: {0}")]
    Syntax(SyntaxError),
    /// Longer than four gigabytes.
    #[error("the message is too long")]
    TooLong,
    /// Not an object.
    #[error("a message is a JSON object")]
    NotAnObject,
    /// An array of messages without any.
    #[error("a batch must not be empty")]
    EmptyBatch,
    /// `jsonrpc` is missing or another version.
    #[error("`jsonrpc` must be \"2.0\"")]
    Version,
    /// A key of the envelope, or one that decides what a request does, is there twice or in other letters: two readers could
    /// understand two different messages, and what a guard has let through would not be what is done.
    #[error("`{0}` is there more than once, or in other letters")]
    Duplicate(&'static str),
    /// The id is neither string nor integer.
    #[error("`id` must be a string or an integer")]
    Id,
    /// The method is no string.
    #[error("`method` must be a string")]
    Method,
    /// The parts do not make a message.
    #[error("a message has either `method`, or `id` and one of `result` and `error`")]
    Shape,
}

impl EnvelopeError {
    pub(super) fn new(reason: Reason) -> Self {
        Self { id: None, reason }
    }

    /// The JSON-RPC error code.
    #[must_use]
    pub const fn code(&self) -> i64 {
        match self.reason {
            Reason::NotUtf8 | Reason::Syntax(_) => PARSE_ERROR,
            _ => INVALID_REQUEST,
        }
    }
}

impl From<SyntaxError> for EnvelopeError {
    fn from(error: SyntaxError) -> Self {
        Self::new(Reason::Syntax(error))
    }
}

/// One message: its text, and where its parts are.
#[derive(Debug, Clone)]
pub struct Envelope {
    pub(super) raw: Bytes,
    kind: Kind,
    pub(super) spans: Spans,
    /// Only when the method is written with escapes.
    decoded_method: Option<Box<str>>,
}

/// Whether a text begins like an array.
#[must_use]
pub fn is_batch(raw: &[u8]) -> bool {
    raw.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

/// Reads an array of messages; each shares the buffer.
///
/// # Errors
/// The text is no array of messages, or an empty one.
pub fn parse_batch(raw: &Bytes) -> Result<Vec<Envelope>, EnvelopeError> {
    let text = utf8(raw)?;
    scan::document(text)?;
    let items = Items::enter(Scanner::new(text))?.filter(|items| !items.is_object());
    let mut items = items.ok_or_else(|| EnvelopeError::new(Reason::NotAnObject))?;
    let mut messages = Vec::new();
    while let Some(item) = items.next_item()? {
        messages.push(Envelope::parse(raw.slice(item.value))?);
    }
    if messages.is_empty() {
        return Err(EnvelopeError::new(Reason::EmptyBatch));
    }
    Ok(messages)
}

fn utf8(raw: &Bytes) -> Result<&str, EnvelopeError> {
    std::str::from_utf8(raw).map_err(|_| EnvelopeError::new(Reason::NotUtf8))
}

/// What of `params` decides what a request with this method does, and could be read in two ways.
fn doubtful(method: &str, found: Doubtful) -> Option<&'static str> {
    if found == Doubtful::default() {
        return None;
    }
    let Doubtful { name, uri, arguments } = found;
    match method {
        "tools/call" | "prompts/get" if name => Some("name"),
        "tools/call" | "prompts/get" if arguments => Some("arguments"),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" if uri => Some("uri"),
        _ => None,
    }
}

impl Envelope {
    /// Reads one message. Nothing is copied.
    ///
    /// # Errors
    /// The text is no JSON-RPC 2.0 message.
    pub fn parse(raw: Bytes) -> Result<Self, EnvelopeError> {
        if u32::try_from(raw.len()).is_err() {
            return Err(EnvelopeError::new(Reason::TooLong));
        }
        let text = utf8(&raw)?;
        let (spans, duplicate) = measure(text)?;
        let problem = |reason| {
            let id = spans.id.and_then(|id| text.get(id.range())).filter(|id| is_request_id(id));
            EnvelopeError { id: id.map(ToOwned::to_owned), reason }
        };
        if let Some(key) = duplicate {
            return Err(problem(Reason::Duplicate(key)));
        }
        let kind = kind_of(text, &spans).map_err(problem)?;
        let method = spans.method.and_then(|span| text.get(span.range()));
        let decoded_method = match method.map(decode_string) {
            None | Some(Some(Cow::Borrowed(_))) => None,
            Some(Some(Cow::Owned(method))) => Some(method.into_boxed_str()),
            Some(None) => return Err(problem(Reason::Method)),
        };
        let plain = method.map_or("", |method| method.trim_matches('"'));
        if let Some(key) = doubtful(decoded_method.as_deref().unwrap_or(plain), spans.doubtful) {
            return Err(problem(Reason::Duplicate(key)));
        }
        Ok(Self { raw, kind, spans, decoded_method })
    }

    fn text(&self, span: Option<Span>) -> Option<&str> {
        // The text was checked as a whole; checking a short part again costs next to nothing.
        self.raw.get(span?.range()).and_then(|part| std::str::from_utf8(part).ok())
    }

    fn bytes(&self, span: Option<Span>) -> Option<Bytes> {
        span.map(|span| self.raw.slice(span.range()))
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The whole text, as it was sent.
    #[must_use]
    pub const fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// JSON text of the id.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.text(self.spans.id).filter(|id| *id != "null")
    }

    /// JSON text of the id, sharing the buffer.
    #[must_use]
    pub fn id_bytes(&self) -> Option<Bytes> {
        self.id().and_then(|_| self.bytes(self.spans.id))
    }

    /// The method, decoded; empty for an answer.
    #[must_use]
    pub fn method(&self) -> &str {
        if let Some(method) = &self.decoded_method {
            return method;
        }
        self.text(self.spans.method).map_or("", |raw| raw.trim_matches('"'))
    }

    /// JSON text of `params`, sharing the buffer.
    #[must_use]
    pub fn params(&self) -> Option<Bytes> {
        self.bytes(self.spans.params)
    }

    /// JSON text of `result`, sharing the buffer.
    #[must_use]
    pub fn result(&self) -> Option<Bytes> {
        self.bytes(self.spans.result)
    }

    /// JSON text of `error`.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.text(self.spans.error)
    }

    /// What the message is about: the name of the tool or prompt, or the URI of the resource, when the method has one.
    #[must_use]
    pub fn target(&self) -> Option<Cow<'_, str>> {
        let span = match self.method() {
            "tools/call" | "prompts/get" => self.spans.name,
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" | "notifications/resources/updated" => {
                self.spans.uri
            }
            _ => None,
        };
        self.text(span).and_then(decode_string)
    }

    /// JSON text of `params.progressToken`: the request that a progress notification belongs to.
    #[must_use]
    pub fn progress_of(&self) -> Option<&str> {
        self.text(self.spans.progress_of)
    }

    /// JSON text of `params.requestId`: the request that a cancellation is about.
    #[must_use]
    pub fn cancelled(&self) -> Option<&str> {
        self.text(self.spans.cancelled)
    }

    /// JSON text of `params._meta.progressToken`. Looked for only when asked.
    #[must_use]
    pub fn progress_token(&self) -> Option<&str> {
        self.meta("/progressToken")
    }

    /// The revision that a self-describing request (2026-07-28 and later) claims to speak. Looked for only when asked.
    #[must_use]
    pub fn claimed_version(&self) -> Option<Cow<'_, str>> {
        self.meta(VERSION_KEY).and_then(decode_string)
    }

    /// JSON text of `params._meta`.
    #[must_use]
    pub fn metadata(&self) -> Option<&str> {
        self.text(self.spans.meta)
    }

    /// JSON text of what stands at `pointer` in `params._meta`. Looked for only when asked.
    #[must_use]
    pub fn meta(&self, pointer: &str) -> Option<&str> {
        find(self.metadata()?, pointer).ok().flatten()
    }

    /// JSON text of the `subscriptionId` in the `_meta` of a notification's `params` or of an answer's `result`: the id of
    /// the `subscriptions/listen` that the message belongs to. Looked for only when asked.
    #[must_use]
    pub fn subscription(&self) -> Option<&str> {
        match self.spans.result {
            None => self.meta(SUBSCRIPTION_KEY),
            result => find(self.text(result)?, &format!("/_meta{SUBSCRIPTION_KEY}")).ok().flatten(),
        }
    }

    /// Where a part of the text is that was found in it.
    fn range_of(&self, inside: &str) -> Range<usize> {
        let start = inside.as_ptr() as usize - self.raw.as_ptr() as usize;
        debug_assert!(start + inside.len() <= self.raw.len(), "a part of the text");
        start..start + inside.len()
    }

    /// Where [`Self::subscription`] is.
    pub(super) fn subscription_range(&self) -> Option<Range<usize>> {
        self.subscription().map(|inside| self.range_of(inside))
    }

    /// Where `params._meta.progressToken` is.
    pub(super) fn progress_token_range(&self) -> Option<Range<usize>> {
        self.progress_token().map(|inside| self.range_of(inside))
    }

    /// Begins to change parts; all other bytes stay.
    pub fn rewrite(&self) -> Rewrite<'_> {
        Rewrite::new(self)
    }
}
