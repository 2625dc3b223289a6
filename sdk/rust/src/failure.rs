//! Failures: the plugin could not do its work. Never a decision; to refuse, return [`Verdict::deny`](crate::Verdict::deny).

use crate::{Failure, kv, secrets};

impl Failure {
    /// A bug or an exhausted limit inside the plugin.
    pub fn internal(text: impl Into<String>) -> Self {
        Self::Internal(text.into())
    }

    /// The configuration cannot be used; the text names the field.
    pub fn config(text: impl Into<String>) -> Self {
        Self::Config(text.into())
    }

    /// Something the plugin depends on answered badly.
    pub fn upstream(text: impl Into<String>) -> Self {
        Self::Upstream(text.into())
    }

    /// Something the plugin depends on cannot be reached now.
    pub fn unavailable(text: impl Into<String>) -> Self {
        Self::Unavailable(text.into())
    }

    /// The text, whatever the arm.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Config(text)
            | Self::Upstream(text)
            | Self::Unavailable(text)
            | Self::Internal(text)
            | Self::Other(text) => text,
        }
    }
}

impl From<kv::Error> for Failure {
    fn from(error: kv::Error) -> Self {
        match error {
            kv::Error::Denied => Self::Config("the attachment was not granted `kv`".to_owned()),
            kv::Error::Quota(limit) => Self::Unavailable(format!("the state of the attachment is full: {limit}")),
            kv::Error::TooLarge => Self::Internal("a key or a value was too large".to_owned()),
            kv::Error::WrongType => Self::Internal("a stored value is not what was expected".to_owned()),
            kv::Error::Unavailable(text) => Self::Unavailable(text),
            kv::Error::Other(text) => Self::Other(text),
        }
    }
}

impl From<secrets::Error> for Failure {
    fn from(error: secrets::Error) -> Self {
        match error {
            secrets::Error::Denied => Self::Config("the attachment was not granted this secret".to_owned()),
            secrets::Error::NotFound => Self::Config("no secret has this name".to_owned()),
            secrets::Error::Unavailable(text) => Self::Unavailable(text),
            secrets::Error::Other(text) => Self::Other(text),
        }
    }
}
