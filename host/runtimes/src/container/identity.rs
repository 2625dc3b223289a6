//! Which container this is, beyond doubt: its id, which is random and never given twice, and the engine that has it.
//!
//! A name would not do: it is free again as soon as its container is gone, and somebody else may take it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A container of one engine, as text: `container <id> unix://<socket>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) container: String,
    pub(super) socket: PathBuf,
}

const PREFIX: &str = "container ";

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{} unix://{}", self.container, self.socket.display())
    }
}

impl FromStr for Identity {
    type Err = NotAnIdentity;

    fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
        let (container, address) =
            text.strip_prefix(PREFIX).and_then(|rest| rest.split_once(' ')).ok_or(NotAnIdentity)?;
        let socket = PathBuf::from(address.strip_prefix("unix://").ok_or(NotAnIdentity)?);
        // The whole id: an abbreviated one would be a pattern.
        let whole = container.len() == 64 && container.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
        if !whole || !socket.is_absolute() {
            return Err(NotAnIdentity);
        }
        Ok(Self { container: container.to_owned(), socket })
    }
}

/// A text that this runtime never wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the identity of a container")]
pub(super) struct NotAnIdentity;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_being_stored() {
        let id = Identity { container: "0a".repeat(32), socket: "/run/with space/docker.sock".into() };
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn what_this_runtime_never_wrote_is_no_identity() {
        let id = "0a".repeat(32);
        let texts = [
            String::new(),
            "12 boot/34".to_owned(),
            format!("container {id}"),
            format!("container {id} unix://relative"),
            format!("container {id} tcp://host"),
            "container 0a0a unix:///x".to_owned(),
            format!("container {} unix:///x", "Z".repeat(64)),
        ];
        for text in texts {
            assert_eq!(text.parse::<Identity>(), Err(NotAnIdentity), "{text}");
        }
    }
}
