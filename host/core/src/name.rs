//! Names, checked once at the edge so that nothing behind it has to ask again.
//!
//! Servers, tenants and plugins are named by DNS labels: the same name works in a URL, in a container label and as a
//! Kubernetes object.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::checked::checked_text;
use crate::limits::NAME_LENGTH_MAX;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name must not be empty")]
    Empty,
    /// More than a DNS label holds.
    #[error("`{name}` has {length} characters, at most {NAME_LENGTH_MAX} are possible")]
    TooLong {
        /// What was given.
        name: String,
        /// Its length in characters.
        length: usize,
    },
    /// A character that a DNS label cannot have.
    #[error("`{name}` is not a name: use lower-case letters, digits and `-`, and begin and end with a letter or digit")]
    Character {
        /// What was given.
        name: String,
    },
}

fn check(name: &str) -> Result<(), NameError> {
    let length = name.chars().count();
    if length == 0 {
        return Err(NameError::Empty);
    }
    if length > NAME_LENGTH_MAX {
        return Err(NameError::TooLong { name: name.to_owned(), length });
    }
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.chars().all(inner) || name.starts_with('-') || name.ends_with('-') {
        return Err(NameError::Character { name: name.to_owned() });
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks a text and makes it a name.
            ///
            /// # Errors
            /// The text is empty, too long or has a character that a DNS label cannot have.
            pub fn new(name: &str) -> Result<Self, NameError> {
                check(name).map(|()| Self(name.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        checked_text!($name, NameError);

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type!(
    /// Name of a managed MCP server, unique within its tenant.
    ServerName
);
name_type!(
    /// Name of a tenant.
    TenantName
);
name_type!(
    /// Name of an attachment: a plugin put into a chain with its configuration, unique within that chain.
    AttachmentName
);
name_type!(
    /// Name of a provider of secrets: `store`, `env`, or one that was configured.
    ProviderName
);
name_type!(
    /// Name of an installed plugin.
    PluginName
);

name_type!(
    /// Name of an MCP registry, unique within its tenant.
    RegistryName
);
name_type!(
    /// Name of a layer of trust: `trusted`, `reviewed`, `community`, or an own one.
    LayerName
);

name_type!(
    /// Name of a group of servers, unique within its tenant.
    GroupName
);

impl LayerName {
    /// The layer of what nobody vouches for.
    #[must_use]
    pub fn community() -> Self {
        Self("community".into())
    }

    /// The layer of what was approved.
    #[must_use]
    pub fn trusted() -> Self {
        Self("trusted".into())
    }
}

impl Default for GroupName {
    /// The group of everything that was put into none.
    fn default() -> Self {
        Self("default".into())
    }
}

impl GroupName {
    /// Whether this is the group of everything that was put into none.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.as_str() == "default"
    }
}

impl Default for TenantName {
    /// The tenant of everyone who never thought about tenants.
    fn default() -> Self {
        Self("default".into())
    }
}

/// A server, fully qualified.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerKey {
    /// The tenant that owns it.
    pub tenant: TenantName,
    /// Its name within the tenant.
    pub name: ServerName,
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dns_label_is_a_name() {
        for name in ["a", "a-b", "0", &"x".repeat(63)] {
            assert!(ServerName::new(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_is_no_dns_label_is_refused_with_a_reason() {
        for name in ["", "A", "a_b", "-a", "a-", "a/b", "é", &"x".repeat(64)] {
            assert!(ServerName::new(name).is_err(), "{name}");
        }
    }
}
