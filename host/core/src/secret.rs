//! Secrets, as nouns and ports: a reference names one, the host finds its value at the last moment, and nobody prints it.
//!
//! What is stored, shown and logged is a [`SecretReference`]; a [`SecretValue`] exists from the moment that something is
//! launched, sent or asked for to the moment that it is dropped, and is then overwritten. Keeping the two apart by type is
//! what makes "values are never stored" a rule that the compiler helps with.

mod text;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::BoxFuture;
use crate::limits::SECRET_NAME_BYTES_MAX;
use crate::name::{ProviderName, TenantName};

pub use text::{SecretText, reveal};

/// How every reference begins.
pub const SCHEME: &str = "secret://";

/// The provider that keeps secrets itself, encrypted. A bare name means a secret of this one.
pub const STORE: &str = "store";

/// The provider of secrets in a cluster, which are named by object and key: `secret://kubernetes/<secret>/<key>`.
pub const KUBERNETES: &str = "kubernetes";

/// The key of the Secret that stands for one of the store in a cluster.
pub const STORE_KEY: &str = "value";

/// What is shown in place of a value that may be a secret. It is refused where a value is expected, so that what was read
/// and sent back does not overwrite what was there.
pub const REDACTED: &str = "<redacted>";

/// Names a secret: `secret://<provider>/<name>`. Whose it is, is said by where it stands: a tenant only ever names its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct SecretReference {
    provider: ProviderName,
    name: SecretName,
}

/// Name of a secret within its provider. What it means is the provider's: a name in the store, a path in a vault.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct SecretName(Arc<str>);

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretReferenceError {
    /// The beginning or the provider is missing.
    #[error("a secret is named `secret://<provider>/<name>`, such as `secret://store/github-token`")]
    Shape,
    /// There is no name.
    #[error("a secret has a name")]
    Empty,
    /// The name is too long.
    #[error("the name of a secret has {length} bytes, at most {SECRET_NAME_BYTES_MAX} are possible")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// A character that cannot be in a name. The text is not repeated: it may be a secret in the wrong place.
    #[error("the name of a secret has no control characters, no `}}`, no space at its ends and no `-` in front")]
    Character,
    /// `${` without its end.
    #[error("a reference in a text ends with `}}`: `${{secret://store/name}}`")]
    Unclosed,
    /// What was shown in place of a value.
    #[error("`{REDACTED}` stands for a value that is not shown; give the value, or name a secret")]
    Redacted,
}

impl SecretName {
    /// Checks a text and makes it a name.
    ///
    /// # Errors
    /// It is empty, too long or has a character that would be misread: by a terminal, or by a program as an option.
    pub fn new(name: &str) -> Result<Self, SecretReferenceError> {
        if name.is_empty() {
            return Err(SecretReferenceError::Empty);
        }
        if name.len() > SECRET_NAME_BYTES_MAX {
            return Err(SecretReferenceError::TooLong { length: name.len() });
        }
        let misread = name.contains(|character: char| character.is_control() || character == '}');
        if misread || name.starts_with('-') || name.trim() != name {
            return Err(SecretReferenceError::Character);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SecretName {
    type Err = SecretReferenceError;
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl TryFrom<String> for SecretName {
    type Error = SecretReferenceError;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name)
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl SecretReference {
    /// A secret of a provider.
    #[must_use]
    pub fn new(provider: ProviderName, name: SecretName) -> Self {
        Self { provider, name }
    }

    /// What a person means who types a name: a whole reference, or a name in the store.
    ///
    /// # Errors
    /// It is neither.
    pub fn typed(text: &str) -> Result<Self, SecretReferenceError> {
        if text.starts_with(SCHEME) { text.parse() } else { format!("{SCHEME}{STORE}/{text}").parse() }
    }

    /// Who finds it.
    #[must_use]
    pub fn provider(&self) -> &ProviderName {
        &self.provider
    }

    /// Its name there.
    #[must_use]
    pub fn name(&self) -> &SecretName {
        &self.name
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.provider, self.name)
    }
}

impl FromStr for SecretReference {
    type Err = SecretReferenceError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (provider, name) =
            text.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')).ok_or(SecretReferenceError::Shape)?;
        let provider = ProviderName::new(provider).map_err(|_| SecretReferenceError::Shape)?;
        Ok(Self { provider, name: SecretName::new(name)? })
    }
}

impl TryFrom<String> for SecretReference {
    type Error = SecretReferenceError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SecretReference> for String {
    fn from(reference: SecretReference) -> Self {
        reference.to_string()
    }
}

/// The value of a secret. It has no text form, so that it cannot get into a log by accident, and is overwritten when the
/// last holder lets go of it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Arc<Zeroizing<Vec<u8>>>);

impl SecretValue {
    /// Takes a value.
    #[must_use]
    pub fn new(value: &[u8]) -> Self {
        Self(Arc::new(Zeroizing::new(value.to_vec())))
    }

    /// The value, for whoever has the right to it.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// The value, where only text will do.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn reveal_text(&self) -> Result<&str, std::str::Utf8Error> {
        std::str::from_utf8(&self.0)
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(..)")
    }
}

/// Why a secret cannot be had. Names only: never a value, nor what a provider printed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The provider knows no such secret.
    #[error("there is no secret `{0}`")]
    Absent(SecretReference),
    /// Nobody of that name finds secrets for this tenant.
    #[error("there is no provider of secrets `{0}`")]
    NoProvider(ProviderName),
    /// It is there and cannot be used here.
    #[error("the secret `{reference}` cannot be used: {reason}")]
    Unusable {
        /// Which.
        reference: SecretReference,
        /// Why not.
        reason: String,
    },
    /// The provider cannot be asked now.
    #[error("secrets are unavailable: {0}")]
    Unavailable(String),
}

impl SecretError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Absent(reference) if reference.provider.as_str() == STORE => {
                Some(format!("store it with `fairlead secret set {}`", reference.name))
            }
            Self::Absent(_) | Self::Unusable { .. } | Self::Unavailable(_) => None,
            Self::NoProvider(_) => Some("`store` and `env` are always there; others are configured".to_owned()),
        }
    }

    /// Whether asking again later may help without anybody doing something.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        !matches!(self, Self::Unavailable(_))
    }
}

/// Finds the values of references, for whoever is about to use them. An answer may take a program's run: every adapter has
/// a deadline.
pub trait Secrets: Send + Sync {
    /// The value of a secret of this tenant, now.
    fn resolve<'a>(
        &'a self,
        tenant: &'a TenantName,
        reference: &'a SecretReference,
    ) -> BoxFuture<'a, Result<SecretValue, SecretError>>;
}

/// Finds secrets for plugins. Synchronous: an adapter answers from memory, and what takes longer is unavailable here.
pub trait SecretSource: Send + Sync {
    /// The secret of this tenant with this name (a bare name, or a whole reference); `None` when there is none.
    ///
    /// # Errors
    /// The source cannot be used now.
    fn open(&self, tenant: &TenantName, name: &str) -> Result<Option<SecretValue>, SecretError>;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reference_has_one_spelling() {
        for text in ["secret://store/a", "secret://op/Private/GitHub/token", "secret://pass/web/a b.c"] {
            assert_eq!(text.parse::<SecretReference>().unwrap().to_string(), text);
        }
        assert_eq!(SecretReference::typed("github").unwrap().to_string(), "secret://store/github");
        assert_eq!(SecretReference::typed("secret://env/A").unwrap().provider().as_str(), "env");
    }

    #[test]
    fn what_names_no_secret_is_refused_without_being_repeated() {
        let long = format!("secret://store/{}", "x".repeat(SECRET_NAME_BYTES_MAX + 1));
        for text in ["", "hunter2", "secret://", "secret://store", "secret://store/", "secret://St/a", &long] {
            let error = text.parse::<SecretReference>().unwrap_err();
            assert!(text.is_empty() || !error.to_string().contains("hunter2"), "{error}");
        }
        for name in ["-rf", " a", "a\n", "a\0b", "a}"] {
            assert_eq!(SecretName::new(name), Err(SecretReferenceError::Character), "{name:?}");
        }
    }

    #[test]
    fn a_value_is_not_printed() {
        assert_eq!(format!("{:?}", SecretValue::new(b"hunter2")), "SecretValue(..)");
    }

    proptest! {
        #[test]
        fn what_parses_is_written_as_it_was(text in "secret://[a-z]{1,4}/[ -~]{0,12}") {
            if let Ok(reference) = text.parse::<SecretReference>() {
                prop_assert_eq!(reference.to_string(), text);
            }
        }
    }
}
