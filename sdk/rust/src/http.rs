//! Outgoing HTTP, for kinds that may call out: one request, waited for to its end. Needs the capability `http`, and a grant that
//! names the host; natively the answers are those that a test prepared (`testing::http`).
//!
//! Nothing is followed: a redirect is an answer like any other.

#[cfg(target_family = "wasm")]
mod wasm;

#[cfg(target_family = "wasm")]
use self::wasm as imp;
#[cfg(not(target_family = "wasm"))]
use crate::testing::http as imp;
use crate::{Failure, secrets};

/// What is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, unless another is named.
    pub method: String,
    /// Where to: `https://host[:port]/path?query`.
    pub url: String,
    /// Headers, by name. A value may have placeholders of secrets in it.
    pub headers: Vec<(String, String)>,
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Headers, by name in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why nothing came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The URL is none.
    Url(String),
    /// The host does not allow this request.
    Denied,
    /// The other side cannot be reached, or broke off.
    Unreachable(String),
    /// The answer is larger than the host lets through.
    TooLarge,
}

impl Request {
    /// A `GET`.
    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self { method: "GET".to_owned(), url: url.into(), headers: Vec::new() }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With a granted secret as `Authorization: Bearer`, where one is named.
    ///
    /// # Errors
    /// The secret is not granted.
    pub fn bearer(self, secret: Option<&str>) -> Result<Self, Failure> {
        let Some(secret) = secret else { return Ok(self) };
        Ok(self.header("authorization", secrets::open(secret)?.as_header("Bearer {}")))
    }

    /// Sends it and waits for the whole answer.
    ///
    /// # Errors
    /// It is not allowed, nobody answers, or the answer breaks off.
    pub fn send(&self) -> Result<Response, Error> {
        imp::send(self)
    }
}

impl Response {
    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body, as text.
    ///
    /// # Errors
    /// It is none.
    pub fn text(&self) -> Result<&str, Failure> {
        std::str::from_utf8(&self.body).map_err(|_| Failure::upstream("the answer is no text"))
    }
}

impl Response {
    /// What a status means to whoever wanted something else: that it may be better later, or that something is wrong.
    #[must_use]
    pub fn refusal(&self) -> Failure {
        let text = format!("it answered {}", self.status);
        match self.status {
            408 | 429 | 500..=599 => Failure::unavailable(text),
            _ => Failure::upstream(text),
        }
    }
}

/// A text as it stands in the query of a URL.
#[must_use]
pub fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Url(url) => Self::Config(format!("`{url}` is no URL")),
            Error::Denied => Self::Config(
                "the request is not allowed: grant `http` for its host, and `http-private` where that is in a private \
                 network"
                    .to_owned(),
            ),
            Error::Unreachable(text) => Self::Unavailable(text),
            Error::TooLarge => Self::Upstream("the answer is larger than the host lets through".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_ends_no_query_and_a_status_says_whether_to_come_again() {
        assert_eq!(escaped("a b&c=d/\u{e9}~"), "a%20b%26c%3Dd%2F%C3%A9~");
        for (status, later) in
            [(408, true), (429, true), (500, true), (599, true), (404, false), (301, false), (200, false)]
        {
            let failure = Response { status, ..Response::default() }.refusal();
            assert_eq!(matches!(failure, Failure::Unavailable(_)), later, "{status}");
        }
    }
}
