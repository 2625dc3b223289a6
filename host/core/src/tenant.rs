//! Tenants: whose servers, policies and state are whose, and who may do what about them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::ClusterDefaults;
use crate::name::TenantName;

/// The namespace of what belongs to the platform itself. No tenant can have this name.
pub const PLATFORM_NAMESPACE: &str = "fairlead-system";

/// A tenant, as somebody wants it to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantSpec {
    /// Who that is, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Lets the tokens of this tenant run commands of this machine, name its files and mount its directories: whoever may do
    /// that is no longer kept from other tenants. Without it, a tenant's servers come from images, packages and addresses.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host_access: bool,
    /// What its servers are in a cluster where their own documents do not say; without meaning on one machine.
    #[serde(default, skip_serializing_if = "ClusterDefaults::is_empty")]
    pub defaults: ClusterDefaults,
}

/// A tenant, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRecord {
    /// Its name.
    pub name: TenantName,
    /// For selection and display.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// As somebody wants it to be.
    pub spec: TenantSpec,
    /// When it was created.
    pub created: Timestamp,
}

/// What somebody may do, each role with all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// See.
    Viewer,
    /// Create, change, start, stop and remove servers, and the plugins of a server.
    Operator,
    /// Change chains and tokens.
    Admin,
}

impl Role {
    /// All of them, from the least to the most.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The same word as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| "expected `viewer`, `operator` or `admin`".to_owned())
    }
}

/// An API token, as it is stored: what it was is not known any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Names it; the beginning of the token.
    pub id: String,
    /// The tenant that it is for; none: the platform.
    #[serde(default)]
    pub tenant: Option<TenantName>,
    /// What its bearer may do.
    pub role: Role,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// SHA-256 of the whole token, in hexadecimal digits. A token is 256 random bits, so there is nothing to guess from it
    /// and nothing that a slow hash would protect.
    pub hash: String,
    /// When it was created.
    pub created: Timestamp,
    /// When it ends to be good; none: never.
    #[serde(default)]
    pub expires: Option<Timestamp>,
}

impl TokenRecord {
    /// Whether it is still good.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// Who asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The tenant that they belong to; none: the platform, which sees all.
    pub tenant: Option<TenantName>,
    /// What they may do.
    pub role: Role,
    /// The id of the token that they came with; none: they opened the socket.
    pub token: Option<String>,
}

impl Caller {
    /// Whoever may open the socket of the daemon: its owner.
    #[must_use]
    pub const fn owner() -> Self {
        Self { tenant: None, role: Role::Admin, token: None }
    }

    /// Whether they can see what belongs to a tenant.
    #[must_use]
    pub fn sees(&self, tenant: &TenantName) -> bool {
        self.tenant.as_ref().is_none_or(|own| own == tenant)
    }

    /// Whose word something is that they say: whoever may open the socket is who they say they are, and a token is itself. A name
    /// that everybody may claim would be nobody's.
    #[must_use]
    pub fn signs(&self, said: String) -> String {
        self.token.as_ref().map_or(said, |token| format!("token {token}"))
    }

    /// Whether they belong to the platform.
    #[must_use]
    pub const fn is_platform(&self) -> bool {
        self.tenant.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_the_ones_before_it_may() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        assert!("root".parse::<Role>().is_err());
    }

    #[test]
    fn a_tenant_sees_itself_and_the_platform_sees_all() {
        let (red, blue) = (TenantName::new("red").unwrap(), TenantName::new("blue").unwrap());
        let caller = Caller { tenant: Some(red.clone()), role: Role::Admin, token: Some("ab12".to_owned()) };
        assert!(caller.sees(&red) && !caller.sees(&blue) && !caller.is_platform());
        assert!(Caller::owner().sees(&blue));
        assert_eq!(caller.signs("ann".to_owned()), "token ab12", "anybody could say so");
        assert_eq!(Caller::owner().signs("ann".to_owned()), "ann");
    }
}
