//! The fake of `fairlead:middleware/exchange`: a payload and the surroundings of one exchange.

use std::cell::RefCell;

use serde_json::Value;

use crate::HeaderError;

/// Most attributes of one exchange, and the longest, as in the contract.
const ATTRIBUTES_MAX: usize = 64;
const ATTRIBUTE_BYTES_MAX: usize = 4 * 1024;

/// A payload.
#[derive(Debug)]
pub(crate) struct Body {
    text: String,
}

impl Body {
    pub(super) const fn new(text: String) -> Self {
        Self { text }
    }

    fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub(crate) fn size(&self) -> u64 {
        self.text.len() as u64
    }

    pub(crate) fn read(&self) -> String {
        self.text.clone()
    }

    pub(crate) fn pointer(&self, pointer: &str) -> Option<String> {
        if pointer.is_empty() { Some(self.text.clone()) } else { self.value().pointer(pointer).map(Value::to_string) }
    }

    pub(crate) fn text(&self, pointer: &str) -> Option<String> {
        self.value().pointer(pointer).and_then(Value::as_str).map(str::to_owned)
    }
}

/// The surroundings of an exchange.
#[derive(Debug)]
pub(crate) struct Context {
    pub(super) server: String,
    pub(super) session: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    caller: Option<String>,
    exchange: RefCell<Exchange>,
}

/// What belongs to one exchange and is forgotten with it.
#[derive(Debug, Default)]
struct Exchange {
    identity: Option<(String, Vec<(String, String)>)>,
    attributes: Vec<(String, String)>,
    upstream_headers: Vec<(String, String)>,
}

impl Default for Context {
    fn default() -> Self {
        Self {
            server: "server".to_owned(),
            session: Some("session-1".to_owned()),
            headers: Vec::new(),
            caller: None,
            exchange: RefCell::default(),
        }
    }
}

impl Context {
    pub(super) fn begin(&self) {
        let identity = self.caller.clone().map(|subject| (subject, Vec::new()));
        self.exchange.replace(Exchange { identity, ..Exchange::default() });
    }

    pub(super) fn set_caller(&mut self, subject: Option<&str>) {
        self.caller = subject.map(str::to_owned);
        self.begin();
    }

    #[allow(clippy::unused_self, reason = "same shape as the resource of the contract")]
    pub(crate) fn request_id(&self) -> Option<String> {
        Some("1".to_owned())
    }

    pub(crate) fn server(&self) -> String {
        self.server.clone()
    }

    #[allow(clippy::unused_self, reason = "same shape as the resource of the contract")]
    pub(crate) fn tenant(&self) -> String {
        "default".to_owned()
    }

    pub(crate) fn session(&self) -> Option<String> {
        self.session.clone()
    }

    pub(crate) fn identity(&self) -> Option<String> {
        self.exchange.borrow().identity.as_ref().map(|(subject, _)| subject.clone())
    }

    pub(crate) fn claim(&self, name: &str) -> Option<String> {
        self.exchange.borrow().identity.as_ref().and_then(|(_, claims)| find(claims, name))
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        find(&self.headers, name)
    }

    #[allow(clippy::unused_self, reason = "same shape as the resource of the contract")]
    pub(crate) fn protocol_version(&self) -> Option<String> {
        Some("2025-11-25".to_owned())
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        find(&self.exchange.borrow().attributes, name)
    }

    pub(crate) fn set_attribute(&self, name: &str, value: &str) {
        let attributes = &mut self.exchange.borrow_mut().attributes;
        attributes.retain(|(other, _)| other != name);
        if attributes.len() < ATTRIBUTES_MAX && name.len() + value.len() <= ATTRIBUTE_BYTES_MAX {
            attributes.push((name.to_owned(), value.to_owned()));
        }
    }

    pub(crate) fn set_identity(&self, subject: &str, claims: &[(String, String)]) {
        self.exchange.borrow_mut().identity = Some((subject.to_owned(), claims.to_vec()));
    }

    /// What the host refuses as well; the rest of its rules are its own.
    pub(crate) fn set_upstream_header(&self, name: &str, value: &str) -> Result<(), HeaderError> {
        let name = name.to_ascii_lowercase();
        if name == "host" || name == "content-length" || name.starts_with("mcp-") {
            return Err(HeaderError::Reserved);
        }
        if name.is_empty() || value.contains(['\r', '\n', '\0']) {
            return Err(HeaderError::Invalid(name));
        }
        let headers = &mut self.exchange.borrow_mut().upstream_headers;
        headers.retain(|(other, _)| *other != name);
        headers.push((name, value.to_owned()));
        Ok(())
    }

    pub(super) fn upstream_header(&self, name: &str) -> Option<String> {
        find(&self.exchange.borrow().upstream_headers, name)
    }

    #[allow(clippy::unused_self, reason = "same shape as the resource of the contract")]
    pub(crate) fn remaining_ms(&self) -> u32 {
        50
    }
}

fn find(pairs: &[(String, String)], name: &str) -> Option<String> {
    pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
}
