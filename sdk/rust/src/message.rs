//! The message under decision: its head ready made, body and context read on demand.
//!
//! Natively both are served by [`crate::testing`]; a plugin sees no difference.

use serde::de::DeserializeOwned;

use crate::{Attributes, Failure, Head, HeaderError};

#[cfg(target_family = "wasm")]
use crate::bindings::fairlead::middleware::exchange as imp;
#[cfg(not(target_family = "wasm"))]
use crate::testing::exchange as imp;

/// A message at one moment of its way.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    head: &'a Head,
    context: Context<'a>,
    body: Option<Body<'a>>,
}

impl<'a> Message<'a> {
    pub(crate) const fn new(head: &'a Head, context: &'a imp::Context, body: Option<&'a imp::Body>) -> Self {
        let body = match body {
            Some(inner) => Some(Body { inner }),
            None => None,
        };
        Self { head, context: Context { inner: context }, body }
    }

    /// Method of the request; for a response, that of the request it answers.
    #[must_use]
    pub fn method(&self) -> &'a str {
        &self.head.method
    }

    /// Name of the tool or prompt, or URI of the resource, when the method has one.
    #[must_use]
    pub fn target(&self) -> Option<&'a str> {
        self.head.target.as_deref()
    }

    /// Length of the payload in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.head.size
    }

    /// Where the message comes from and where it goes to.
    #[must_use]
    pub const fn context(&self) -> Context<'a> {
        self.context
    }

    /// The payload: `params` of a request or notification, `result` of a response. Absent in the error phase.
    #[must_use]
    pub const fn body(&self) -> Option<Body<'a>> {
        self.body
    }

    /// The whole payload as JSON text; `null` where there is none.
    #[must_use]
    pub fn read(&self) -> String {
        let text = self.body.map(|body| body.read()).unwrap_or_default();
        if text.is_empty() { "null".to_owned() } else { text }
    }

    /// The whole payload, parsed.
    ///
    /// # Errors
    /// When it is not what `T` expects: the plugin cannot judge it, so this is a failure and not a decision.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.read())
            .map_err(|error| Failure::Internal(format!("payload of `{}` cannot be read: {error}", self.method())))
    }

    /// The value at an RFC 6901 pointer, parsed; none when nothing is there.
    ///
    /// # Errors
    /// When it is not what `T` expects.
    pub fn at<T: DeserializeOwned>(&self, pointer: &str) -> Result<Option<T>, Failure> {
        self.body.and_then(|body| body.pointer(pointer)).map_or(Ok(None), |text| {
            serde_json::from_str(&text).map(Some).map_err(|error| {
                Failure::Internal(format!("`{pointer}` of `{}` cannot be read: {error}", self.method()))
            })
        })
    }

    /// The string at an RFC 6901 pointer; none when there is none or something else.
    #[must_use]
    pub fn text(&self, pointer: &str) -> Option<String> {
        self.body.and_then(|body| body.text(pointer))
    }
}

/// The payload. Nothing is copied before it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a> {
    inner: &'a imp::Body,
}

impl Body<'_> {
    /// Length of the JSON text in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.inner.size()
    }

    /// The whole payload as JSON text, byte for byte.
    #[must_use]
    pub fn read(&self) -> String {
        self.inner.read()
    }

    /// The JSON text at an RFC 6901 pointer.
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<String> {
        self.inner.pointer(pointer)
    }

    /// The string at an RFC 6901 pointer, decoded.
    #[must_use]
    pub fn text(&self, pointer: &str) -> Option<String> {
        self.inner.text(pointer)
    }
}

/// Where a message comes from and where it goes to.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    inner: &'a imp::Context,
}

impl Context<'_> {
    /// JSON text of the JSON-RPC id; none for a notification.
    #[must_use]
    pub fn request_id(&self) -> Option<String> {
        self.inner.request_id()
    }

    /// Name of the managed MCP server.
    #[must_use]
    pub fn server(&self) -> String {
        self.inner.server()
    }

    /// The tenant whose chain this is.
    #[must_use]
    pub fn tenant(&self) -> String {
        self.inner.tenant()
    }

    /// An opaque key of the MCP session.
    #[must_use]
    pub fn session(&self) -> Option<String> {
        self.inner.session()
    }

    /// Who calls, when somebody established it.
    #[must_use]
    pub fn identity(&self) -> Option<String> {
        self.inner.identity()
    }

    /// A claim of the identity as JSON text.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<String> {
        self.inner.claim(name)
    }

    /// A header of the client's HTTP request, by lower-case name; never one that carries credentials.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.inner.header(name)
    }

    /// The revision of MCP that this exchange speaks.
    #[must_use]
    pub fn protocol_version(&self) -> Option<String> {
        self.inner.protocol_version()
    }

    /// An attribute that a middleware has set in this exchange.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.inner.attribute(name)
    }

    /// Sets an attribute for later middleware of this exchange, on the way in and on the way back.
    pub fn set_attribute(&self, name: &str, value: &str) {
        self.inner.set_attribute(name, value);
    }

    /// Establishes who calls.
    pub fn set_identity(&self, subject: &str, claims: &Attributes) {
        self.inner.set_identity(subject, claims);
    }

    /// Sets a header of the HTTP request that carries this message to the server. The value may hold placeholders of
    /// [`Secret::as_header`](crate::secrets::Secret::as_header). Does nothing for a server that is not reached over HTTP.
    ///
    /// # Errors
    /// As in the contract.
    pub fn set_upstream_header(&self, name: &str, value: &str) -> Result<(), HeaderError> {
        self.inner.set_upstream_header(name, value)
    }

    /// Milliseconds left until this call is cut off.
    #[must_use]
    pub fn remaining_ms(&self) -> u32 {
        self.inner.remaining_ms()
    }
}
