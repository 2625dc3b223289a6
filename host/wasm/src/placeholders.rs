//! Placeholders: what a guest holds in place of a secret that it may use and not see.
//!
//! A placeholder is a long random word, made once for each secret of an attachment. Whoever sends a request for the guest
//! (the data plane with a header that middleware set, the plugin host with an outgoing request) puts the value in with
//! [`Placeholders::fill`]. A word that this attachment was not given stands for nothing, so a guest gains nothing by
//! guessing, nor by the placeholder of another; and one that gets out says nothing.

use std::collections::HashMap;

use fairlead_core::name::TenantName;
use fairlead_core::secret::{SecretSource, SecretValue};
use parking_lot::Mutex;

/// What a placeholder begins with: rare in any header, so that a text without one is passed on unread.
const BEGIN: &str = "{fairlead-secret:";
const END: char = '}';

/// The placeholders of one attachment. Bounded by its grants: only a secret that was granted by name gets one.
#[derive(Default)]
pub(crate) struct Placeholders {
    /// Name of the secret by the random word, and the other way round.
    names: Mutex<(HashMap<String, String>, HashMap<String, String>)>,
}

/// Why a text cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FillError {
    #[error("no secret belongs to a placeholder")]
    Unknown,
    #[error("the secret `{0}` is not granted for this destination")]
    Denied(String),
    #[error("there is no secret `{0}` any more")]
    Gone(String),
    #[error("{0}")]
    Unavailable(String),
}

impl Placeholders {
    /// Whether a text could have a placeholder in it.
    pub(crate) fn concerns(text: &[u8]) -> bool {
        text.windows(BEGIN.len()).any(|window| window == BEGIN.as_bytes())
    }

    /// The placeholder of a secret; `None` when the system gives no random numbers.
    pub(crate) fn of(&self, secret: &str) -> Option<String> {
        let mut names = self.names.lock();
        let (by_word, by_name) = &mut *names;
        let word = match by_name.get(secret) {
            Some(word) => word.clone(),
            None => {
                let mut bytes = [0_u8; 16];
                getrandom::fill(&mut bytes).ok()?;
                let word = format!("{:032x}", u128::from_le_bytes(bytes));
                by_word.insert(word.clone(), secret.to_owned());
                by_name.insert(secret.to_owned(), word.clone());
                word
            }
        };
        Some(format!("{BEGIN}{word}{END}"))
    }

    /// The text with the values of secrets in it, as they are now; `may_go` says which of them may go where it is sent.
    pub(crate) fn fill(
        &self,
        text: &str,
        tenant: &TenantName,
        source: Option<&dyn SecretSource>,
        may_go: &dyn Fn(&str) -> bool,
    ) -> Result<SecretValue, FillError> {
        let mut rest = text;
        let mut filled = Vec::new();
        while let Some((before, after)) = rest.split_once(BEGIN) {
            let (word, after) = after.split_once(END).ok_or(FillError::Unknown)?;
            let name = self.names.lock().0.get(word).cloned().ok_or(FillError::Unknown)?;
            if !may_go(&name) {
                return Err(FillError::Denied(name));
            }
            let source = source.ok_or_else(|| FillError::Unavailable("this host has no secrets".to_owned()))?;
            let value = source.open(tenant, &name).map_err(|error| FillError::Unavailable(error.to_string()))?;
            let value = value.ok_or(FillError::Gone(name))?;
            filled.extend_from_slice(before.as_bytes());
            filled.extend_from_slice(value.reveal());
            rest = after;
        }
        filled.extend_from_slice(rest.as_bytes());
        Ok(SecretValue::new(&filled))
    }
}

#[cfg(test)]
mod tests {
    use fairlead_core::secret::SecretError;

    use super::*;

    struct One;

    impl SecretSource for One {
        fn open(&self, _: &TenantName, name: &str) -> Result<Option<SecretValue>, SecretError> {
            Ok((name == "token").then(|| SecretValue::new(b"hunter2")))
        }
    }

    fn fill(placeholders: &Placeholders, text: &str) -> Result<Vec<u8>, FillError> {
        let filled = placeholders.fill(text, &TenantName::default(), Some(&One), &|name| name != "kept")?;
        Ok(filled.reveal().to_vec())
    }

    #[test]
    fn a_placeholder_stands_for_its_secret_and_for_no_other() {
        let (ours, theirs) = (Placeholders::default(), Placeholders::default());
        let token = ours.of("token").unwrap();
        assert_eq!(ours.of("token").as_deref(), Some(token.as_str()), "the same each time");
        assert!(!token.contains("token") && !token.contains("hunter2"));
        assert_eq!(fill(&ours, &format!("Bearer {token}, {token}")).unwrap(), b"Bearer hunter2, hunter2");
        assert_eq!(fill(&theirs, &token), Err(FillError::Unknown));
        assert_eq!(fill(&ours, "{fairlead-secret:token}"), Err(FillError::Unknown));
        assert_eq!(fill(&ours, "{fairlead-secret:"), Err(FillError::Unknown));
        assert_eq!(fill(&ours, "plain {}").unwrap(), b"plain {}");
    }

    #[test]
    fn a_secret_goes_nowhere_but_where_it_may() {
        let ours = Placeholders::default();
        assert_eq!(fill(&ours, &ours.of("kept").unwrap()), Err(FillError::Denied("kept".to_owned())));
    }

    #[test]
    fn a_secret_that_went_away_is_an_error_and_not_an_empty_text() {
        let ours = Placeholders::default();
        let gone = ours.of("other").unwrap();
        assert_eq!(fill(&ours, &gone), Err(FillError::Gone("other".to_owned())));
        let tenant = TenantName::default();
        assert!(matches!(ours.fill(&gone, &tenant, None, &|_| true), Err(FillError::Unavailable(_))));
    }
}
